"""The books as beancount text and as a table, row by row."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID

import polars as pl

from bursar.kernel.money import Money

COLUMNS: dict[str, pl.DataType] = {
    "id": pl.String(), "key": pl.String(), "kind": pl.String(), "value_day": pl.Date(), "recorded_at": pl.Datetime("us", "UTC"),
    "debit": pl.String(), "credit": pl.String(), "amount": pl.Decimal(38, 4), "currency": pl.String(), "memo": pl.String(),
    "tags": pl.String(), "party": pl.String(), "actor": pl.String(),
}  # fmt: skip
"""Columns of the books as a table."""

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


def cells(row: Row) -> list[Any]:
    """Return a transfer as the columns of :data:`COLUMNS`: an exact amount, tags as JSON text."""
    tags = json.dumps(row.tags, sort_keys=True, ensure_ascii=False) if row.tags else ""
    return [
        str(row.id), row.key, row.kind, row.value_day, row.recorded_at, row.debit, row.credit,
        Money(row.amount, row.currency).amount, row.currency, row.memo, tags, str(row.party) if row.party else None, row.actor,
    ]  # fmt: skip


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
