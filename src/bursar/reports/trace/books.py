"""Figures over the ledger: volumes and balances, and what a balance is worth in another currency."""

from decimal import Decimal
from typing import Any

from bursar.core.ledger.books import service as books
from bursar.core.ledger.rules.reports import Line
from bursar.kernel.errors import NotFound
from bursar.kernel.finding import Evidence, PriceUsed, SourceRow
from bursar.kernel.money import Money
from bursar.kernel.trace import LedgerFigure, WorthFigure
from bursar.reports.trace.answer import ROWS_MAX, Asking, Traced, parts_of


def _minor(line: Line, side: str) -> int:
    """Return what a line adds to a figure, minor units; income adds to earnings, expenses take from them."""
    if side == "earnings":
        return line.balance if line.kind == "income" else -line.balance
    found: int = getattr(line, side)
    return found


def _span(figure: LedgerFigure) -> str:
    since = f" from {figure.since}" if figure.since else ""
    until = f" to {figure.until}" if figure.until else ""
    known = f", as known on {figure.known_at:%Y-%m-%d %H:%M:%S} UTC" if figure.known_at else ""
    return f"{since}{until}{known}"


async def of_ledger(asking: Asking, figure: LedgerFigure) -> Traced:
    """Say which accounts, or which accounts on the other side, an amount of the books is the sum of."""
    kinds = tuple(figure.kinds.split(",")) if figure.kinds else ()
    span: dict[str, Any] = {"since": figure.since, "until": figure.until, "known_at": figure.known_at}
    if figure.account is None:
        lines = await books.lines(asking.tx, asking.actor, kinds=kinds, **span)
        mine = [line for line in lines if line.currency == figure.currency]
        total = Money(sum(_minor(line, figure.side) for line in mine), figure.currency)
        parts = [(line.code, Money(_minor(line, figure.side), line.currency).amount) for line in mine]
        formula = f"sum of the {figure.side} of {len(mine)} accounts ({figure.kinds or 'every kind'}){_span(figure)}"
        evidence = Evidence(formula, parts_of(parts, total.amount))
        return Traced(f"{figure.side.capitalize()}{_span(figure)}", total.amount, figure.currency, evidence)
    found = await books.moves(asking.tx, asking.actor, account=figure.account, rows=ROWS_MAX, **span)
    total = Money(_minor(found.line, figure.side), figure.currency)
    sides = [(f"against {line.code}", Money(_minor(line, figure.side), line.currency).amount) for line in found.against]
    rows = tuple(
        SourceRow("", f"ledger batch {one.batch}", one.place, f"{one.value_day} {one.memo or one.key}", Money(one.minor, figure.currency).amount, figure.currency)
        for one in found.moves
    )  # fmt: skip
    formula = f"{figure.side} of {found.count:,} transfers of {found.line.code}{_span(figure)}"
    title = f"{found.line.code}: {figure.side}{_span(figure)}"
    evidence = Evidence(formula, parts_of(sides, total.amount), (), rows, found.count)
    return Traced(title, total.amount, figure.currency, evidence)


async def of_worth(asking: Asking, figure: WorthFigure) -> Traced:
    """Say what balance and which rate the worth of an account is made of."""
    found = await books.revalue(
        asking.tx, asking.actor, on=figure.on, into=figure.into, known_at=figure.known_at
    )  # fmt: skip
    minor = found.worth.get(figure.account)
    if minor is None:
        raise NotFound("rate for the account", str(figure.account))
    moved = await books.moves(
        asking.tx, asking.actor, account=figure.account, rows=ROWS_MAX, until=figure.on, known_at=figure.known_at
    )
    line, worth = moved.line, Money(minor, figure.into)
    balance = Money(line.balance, line.currency)
    rate = found.rates.get(line.currency)
    used = (
        (PriceUsed(f"{rate.base}/{figure.into}", rate.rate, figure.into, rate.base, rate.day, rate.source),)
        if rate
        else ()
    )
    factor = f" x {rate.rate.normalize():f}, the latest rate on or before {figure.on}" if rate else ""
    rows = tuple(
        SourceRow("", f"ledger batch {one.batch}", one.place, f"{one.value_day} {one.memo or one.key}", Money(one.minor, line.currency).amount, line.currency)
        for one in moved.moves
    )  # fmt: skip
    exact = balance.amount * (rate.rate if rate else Decimal(1))
    evidence = Evidence(
        f"{balance}{factor}", parts_of([(f"{line.code}, {balance}", exact)], worth.amount), used, rows, moved.count
    )
    return Traced(f"{line.code} in {figure.into} on {figure.on}", worth.amount, figure.into, evidence)
