"""The books as beancount text and as CSV, row by row."""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID

from bursar.kernel.cells import harmless
from bursar.kernel.money import Money

CSV_COLUMNS = (
    "id",
    "key",
    "kind",
    "value_day",
    "recorded_at",
    "debit",
    "credit",
    "amount",
    "currency",
    "memo",
    "tags",
    "party",
    "actor",
)
_ROOTS = {"asset": "Assets", "liability": "Liabilities", "equity": "Equity", "income": "Income", "expense": "Expenses"}


class Row(NamedTuple):
    """A transfer with the codes of its accounts."""

    id: UUID
    key: str
    kind: str
    value_day: date
    recorded_at: datetime
    debit: str
    credit: str
    amount: int
    currency: str
    memo: str
    tags: Mapping[str, Any] | None
    party: UUID | None
    actor: str


def csv_text(rows: Sequence[Row], *, header: bool) -> str:
    """Return CSV lines (RFC 4180); amounts are decimal text, formulas are neutralised."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    if header:
        writer.writerow(CSV_COLUMNS)
    for row in rows:
        tags = json.dumps(row.tags, sort_keys=True, ensure_ascii=False) if row.tags else ""
        amount = f"{Money(row.amount, row.currency).amount:f}"
        texts = [harmless(text) for text in (row.memo, tags)]
        writer.writerow(
            [row.id, harmless(row.key), row.kind, row.value_day, row.recorded_at.isoformat(), harmless(row.debit), harmless(row.credit),
             amount, row.currency, *texts, row.party or "", harmless(row.actor)]
        )  # fmt: skip
    return out.getvalue()


class Beancount:
    """Writes beancount; accounts get names of their own, so that no two codes fall together.

    Args:
        accounts: (code, kind, currency, day opened) of every account.
    """

    def __init__(self, accounts: Sequence[tuple[str, str, str, date]]) -> None:
        self._names: dict[str, str] = {}
        self._taken: set[str] = set()
        self._accounts = accounts
        for code, kind, _, _ in accounts:
            self._names[code] = self._name(code, kind)

    def _name(self, code: str, kind: str) -> str:
        parts = [re.sub(r"[^A-Za-z0-9-]+", "-", part).strip("-") for part in code.split(":")]
        parts = [part[:1].upper() + part[1:] for part in parts if part]
        if parts and parts[0].lower() in {kind, kind + "s", _ROOTS[kind].lower()} and len(parts) > 1:
            parts = parts[1:]
        base = name = ":".join([_ROOTS[kind], *(parts or ["Unnamed"])])
        number = 1
        while name in self._taken:
            number += 1
            name = f"{base}-{number}"
        self._taken.add(name)
        return name

    def opening(self, first_day: date) -> str:
        """Return the directives that open every account, no later than ``first_day``."""
        return "".join(
            f"{min(day, first_day)} open {self._names[code]} {currency}\n  code: {_quoted(code)}\n"
            for code, _, currency, day in self._accounts
        )

    def transactions(self, rows: Sequence[Row]) -> str:
        """Return one balanced transaction for each transfer."""
        return "".join(self._transaction(row) for row in rows)

    def _transaction(self, row: Row) -> str:
        amount = f"{Money(row.amount, row.currency).amount:f}"
        return (
            f"\n{row.value_day} * {_quoted(row.memo)}\n  id: {_quoted(str(row.id))}\n  key: {_quoted(row.key)}\n"
            f"  {self._names[row.debit]}  {amount} {row.currency}\n  {self._names[row.credit]}  -{amount} {row.currency}\n"
        )


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]+", " ", escaped) + '"'
