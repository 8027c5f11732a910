"""The document of a pull from Belvo, read like any other bank statement.

It holds the answers of Belvo's API unchanged. Amounts are always positive there; ``type`` gives the sign.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from bursar.kernel.connector import Head
from bursar.kernel.errors import Invalid, Problem
from bursar.kernel.lines import BANK_LINES, REFUSED, DocumentKind, Parsed, Statement

START = '{"bursar_belvo": 1'
"""How the document of a pull begins."""


def exact(body: bytes) -> Any:
    """Read JSON with exact numbers.

    Raises:
        Invalid: It is not JSON.
    """
    try:
        return json.loads(body, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise Invalid("Belvo's answer is not JSON", fix="Pull again later.") from error


def document(link: str, accounts: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the document of one pull; the same rows give the same bytes, whatever their order."""
    body = {
        "link": link,
        "accounts": sorted(accounts, key=lambda one: str(one.get("id"))),
        "transactions": sorted(rows, key=lambda one: (str(one.get("value_date")), str(one.get("id")))),
    }
    text = json.dumps(body, default=str, ensure_ascii=False, sort_keys=True)
    return (START + ", " + text[1:]).encode()


class BelvoFormat:
    """The document of a pull as a bank statement file."""

    name = "belvo"
    title = "Belvo accounts and transactions"
    kind = DocumentKind.BANK

    def sniff(self, head: Head) -> float:
        """Return 1 for the envelope that :func:`document` writes."""
        return 1.0 if head.data.startswith(START.encode()) else 0.0

    def parse(self, document: Path, *, options: Mapping[str, str]) -> Parsed:  # noqa: ARG002  nothing to ask
        """Read the document; a transaction without direction, day, account or amount is refused with its number."""
        told = exact(document.read_bytes())
        rows = [row if isinstance(row, dict) else {} for row in told.get("transactions", ())]
        accounts = {str(one.get("id")): one for one in told.get("accounts", ()) if isinstance(one, dict)}
        named = [_account_name(row.get("account"), accounts) for row in rows]
        order = {name: n for n, name in enumerate(dict.fromkeys(name for name in named if name))}
        for name in (_account_name(one, accounts) for one in accounts.values()):
            order.setdefault(name, len(order))
        columns = {
            "row": list(range(1, len(rows) + 1)),
            "statement": [order.get(name, 0) for name in named],
            "account": named,
            **{name: [_text(row.get(field)) for row in rows] for name, field in _PLAIN.items()},
            "amount": [_amount(row) for row in rows],
            "status": ["pending" if row.get("status") == "PENDING" else "booked" for row in rows],
            "counterparty_name": [_text(_merchant(row).get("merchant_name")) for row in rows],
            "counterparty_ids": [
                f"domain:{site}" if (site := "".join(str(_merchant(row).get("website") or "").split())) else None
                for row in rows
            ],
            "bank_id": [_text(row.get("internal_identification") or row.get("id")) for row in rows],
        }
        frame = pl.DataFrame(columns, schema_overrides={"amount": BANK_LINES.columns["amount"]}, strict=False)
        day = pl.col("day").str.slice(0, 10).str.to_date(strict=False)
        lines = frame.lazy().with_columns(
            day.alias("booking_date"), day.alias("value_date"), _refused(day).alias(REFUSED)
        )
        full = [
            pl.col(name).cast(kind) if name in columns or name in _DERIVED else pl.lit(None, dtype=kind).alias(name)
            for name, kind in BANK_LINES.columns.items()
        ]
        problems: list[Problem] = []
        statements = [_statement(name, accounts) for name in order]
        return Parsed(BANK_LINES, lines.select(*full, REFUSED), problems, statements, ("Pulled from Belvo.",))


_PLAIN = {"day": "value_date", "currency": "currency", "description": "description", "reference": "reference", "category": "category"}  # fmt: skip
_DERIVED = frozenset({"booking_date", "value_date"})


def _refused(day: pl.Expr) -> pl.Expr:
    return pl.coalesce(
        pl.when(day.is_null()).then(pl.lit("booking_date|the value date is missing or no date|Pull again")),
        pl.when(pl.col("amount").is_null()).then(
            pl.lit("amount|the amount or its direction (INFLOW, OUTFLOW) is missing|Ask Belvo about this transaction")
        ),
        pl.when(~pl.col("currency").str.contains("^[A-Z]{3}$").fill_null(value=False)).then(
            pl.lit("currency|the currency is missing|Ask Belvo about this transaction")
        ),
        pl.when(pl.col("account") == "").then(pl.lit("account|the account is missing|Pull the accounts too")),
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _merchant(row: Mapping[str, Any]) -> Mapping[str, Any]:
    found = row.get("merchant")
    return found if isinstance(found, Mapping) else {}


def _account_name(account: object, accounts: Mapping[str, Mapping[str, Any]]) -> str:
    """Return how the bank names an account: its public identification (CLABE, IBAN), number, or Belvo's id."""
    if isinstance(account, str):
        account = accounts.get(account, {"id": account})
    if not isinstance(account, Mapping):
        return ""
    for field in ("public_identification_value", "number", "id"):
        if account.get(field):
            return str(account[field])
    return ""


def _amount(row: Mapping[str, Any]) -> Decimal | None:
    """Return the signed exact amount; None where it or its direction is missing."""
    sign = {"INFLOW": 1, "OUTFLOW": -1}.get(str(row.get("type")))
    raw = row.get("amount")
    if sign is None or isinstance(raw, bool) or not isinstance(raw, int | str | Decimal):
        return None
    try:
        amount = Decimal(raw)
    except ArithmeticError:
        return None
    return sign * amount if amount.is_finite() and amount >= 0 else None


def _statement(name: str, accounts: Mapping[str, Mapping[str, Any]]) -> Statement:
    """Return the account's balance as a statement that only closes; a debt stands negative."""
    found = next((one for one in accounts.values() if _account_name(one, accounts) == name), {})
    current = (found.get("balance") or {}).get("current")
    sign = -1 if found.get("balance_type") == "LIABILITY" else 1
    known = isinstance(current, int | Decimal | str) and not isinstance(current, bool)
    collected = str(found.get("collected_at") or "")[:10]
    return Statement(
        account=name,
        currency=str(found.get("currency") or ""),
        closing=sign * Decimal(str(current)) if known else None,
        closing_day=date.fromisoformat(collected) if len(collected) == 10 else None,
    )


BELVO_FORMAT = BelvoFormat()
