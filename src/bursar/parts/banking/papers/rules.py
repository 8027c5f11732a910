"""What of bills and invoice details makes an invoice; pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import sqlglot.expressions as exp

from bursar.kernel.lines import COST_LINES, INVOICE_DETAIL_LINES, LineSchema


@dataclass(frozen=True, slots=True)
class Paper:
    """One invoice, or what one month of files says of it.

    Attributes:
        id: Stable: provider or issuer, number (else account and month), currency.
        provider: Such as ``aws``; the issuer's name in lower case where only that is known.
        issuer: Who wants the money.
        number: Empty where the lines name no invoice.
        currency: ISO 4217.
        total: What is owed, exactly; negative where the issuer owes.
        last_day: When it is due, else the last day it bills.
        source: The dataset.
    """

    id: str
    provider: str
    issuer: str
    number: str
    currency: str
    total: Decimal
    last_day: date
    source: str

    @property
    def told(self) -> str:
        """How it is called to people."""
        what = f"invoice {self.number}" if self.number else f"the bill of {self.last_day:%Y-%m}"
        return f"{what} of {self.issuer}"


def _or(*columns: str, default: str | None = None) -> exp.Expr:
    last = [] if default is None else [exp.Literal.string(default)]
    return exp.func("coalesce", *[exp.column(name) for name in columns], *last)


def _summed(amount: exp.Expr, last_day: exp.Expr, *, dataset: str, **keys: exp.Expr) -> exp.Select:
    named = [key.as_(name) for name, key in keys.items()]
    totals = [exp.func("sum", amount).as_("total"), exp.func("max", last_day).as_("last_day")]
    places = [exp.Literal.number(place + 1) for place in range(len(named))]
    return exp.select(*named, *totals).from_(dataset).group_by(*places)


def billed() -> exp.Query:
    """Return the query for what the lines of bills add up to by invoice, or by account and month where none is named."""
    day = exp.cast(exp.column("charge_period_start"), "date")
    start = exp.func("coalesce", exp.column("billing_period_start"), day)
    return _summed(
        exp.column("billed_cost"),
        day.copy(),
        dataset=COST_LINES.name,
        provider=exp.column("provider"),
        issuer=_or("invoice_issuer", "provider"),
        account=_or("billing_account_id", default=""),
        number=_or("invoice_id", default=""),
        currency=exp.column("currency"),
        month=exp.cast(exp.func("date_trunc", exp.Literal.string("month"), start, dialect="duckdb"), "date"),
    )


def stated() -> exp.Query:
    """Return the query for what invoice details add up to by invoice, in the currency that it is paid in."""
    voided = exp.EQ(this=exp.func("lower", _or("issue_status", default="")), expression=exp.Literal.string("voided"))
    return _summed(
        exp.Case(
            ifs=[exp.If(this=exp.column("payment_currency").is_(exp.null()), true=exp.column("billed_cost"))],
            default=exp.column("payment_cost"),
        ),
        _or("due_day", "issue_day", "billing_period_end", "billing_period_start"),
        dataset=INVOICE_DETAIL_LINES.name,
        issuer=_or("invoice_issuer", default=""),
        number=exp.column("invoice_id"),
        currency=_or("payment_currency", "currency"),
    ).where(exp.not_(voided))


def of_bill(row: Mapping[str, Any]) -> Paper:
    """Return the paper of a row of :func:`billed`."""
    where = row["number"] or f"{row['account']} {row['month']:%Y-%m}"
    id_ = f"{row['provider']}:{where}:{row['currency']}"
    facts = (row["provider"], row["issuer"], row["number"], row["currency"], row["total"], row["last_day"])
    return Paper(id_, *facts, COST_LINES.name)


def of_detail(row: Mapping[str, Any]) -> Paper:
    """Return the paper of a row of :func:`stated`."""
    issuer, number, currency = row["issuer"], row["number"], row["currency"]
    facts = (issuer.casefold(), issuer, number, currency, row["total"], row["last_day"], INVOICE_DETAIL_LINES.name)
    return Paper(f"{issuer}:{number}:{currency}", *facts)


SOURCES: tuple[tuple[LineSchema, Callable[[], exp.Query], Callable[[Mapping[str, Any]], Paper]], ...] = (
    (COST_LINES, billed, of_bill),
    (INVOICE_DETAIL_LINES, stated, of_detail),
)
"""Datasets that state invoices, with the query for one and the reading of its rows."""


def gathered(papers: list[Paper]) -> list[Paper]:
    """Return papers by id, those of one id added up: one invoice may be issued under several names or in several periods."""
    found: dict[str, Paper] = {}
    for one in papers:
        old = found.get(one.id)
        total, last = (one.total + old.total, max(one.last_day, old.last_day)) if old else (one.total, one.last_day)
        issuer = min(one.issuer, old.issuer) if old else one.issuer
        found[one.id] = Paper(one.id, one.provider, issuer, one.number, one.currency, total, last, one.source)
    return list(found.values())


def stated_once(papers: list[Paper]) -> list[Paper]:
    """Return papers without those of bills whose number an invoice detail states as well: what the issuer states counts."""
    details = {paper.number for paper in papers if paper.source == INVOICE_DETAIL_LINES.name}
    return [one for one in papers if one.source == INVOICE_DETAIL_LINES.name or one.number not in details]
