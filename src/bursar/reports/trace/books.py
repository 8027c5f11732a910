"""Figures over the ledger: volumes and balances, and what a balance is worth in another currency."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from bursar.core.ledger import service as ledger
from bursar.core.ledger.books import service as books
from bursar.core.ledger.rules.reports import Line, is_position
from bursar.kernel.errors import NotFound
from bursar.kernel.finding import Evidence, PriceUsed, SourceRow
from bursar.kernel.money import Money
from bursar.kernel.trace import AskedFigure, LedgerFigure, WorthFigure
from bursar.reports.trace.answer import ROWS_MAX, Asking, Traced, parts_of

PENDING = {"debits_pending": "debit", "credits_pending": "credit"}
"""What is held, and on which side of a hold."""


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
    if figure.side in PENDING and figure.account is not None:
        return await _pending(asking, figure, figure.account)
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


async def _pending(asking: Asking, figure: LedgerFigure, account: UUID) -> Traced:
    """Say which holds what is held on one side of an account is the sum of."""
    found = await ledger.get_account(asking.tx, asking.actor, account=account)
    total = Money(getattr(found, figure.side), figure.currency).amount
    side = PENDING[figure.side]
    holds = await ledger.open_holds(asking.tx, asking.actor, accounts=[account])
    mine = [hold for hold in holds if getattr(hold, side) == account]
    parts = parts_of([(f"{hold.value_day} {hold.memo or hold.id}", hold.money.amount) for hold in mine], total)
    formula = f"what is left of {len(mine)} holds on the {side} side of {found.code}"
    return Traced(f"{found.code}: {figure.side}", total, figure.currency, Evidence(formula, parts))


async def of_transfer(asking: Asking, figure: AskedFigure) -> Traced:
    """Say under which key, in which batch, by whom one transfer was recorded."""
    one = await ledger.get_transfer(asking.tx, asking.actor, transfer=UUID(figure.fact("transfer")))
    amount = Money(one.amount, one.currency).amount
    row = SourceRow(
        "", f"ledger batch {one.batch}", one.place, f"{one.value_day} {one.memo or one.key}", amount, one.currency
    )
    formula = f"{one.kind}, recorded under the key {one.key} by {one.actor} on {one.recorded_at:%Y-%m-%d %H:%M} UTC"
    evidence = Evidence(formula, parts_of([("as recorded", amount)], amount), (), (row,), 1)
    return Traced(f"Transfer {one.id}", amount, one.currency, evidence)


async def of_cash_flow(asking: Asking, figure: AskedFigure) -> Traced:
    """Say what came into or went out of cash against one account."""
    since, until = (date.fromisoformat(figure.fact(name)) for name in ("since", "until"))
    flows = await books.cash_flow(asking.tx, asking.actor, cash=figure.fact("cash"), since=since, until=until)
    mine = [one for one in flows if (one.code, one.currency) == (figure.fact("code"), figure.currency)]
    sums = [(f"against {one.code}", getattr(one, figure.part)) for one in mine]
    formula = f"{figure.part} of accounts that begin with {figure.fact('cash')}, from {since} to {until}, both included"
    return _summed(figure, f"{figure.part.capitalize()} against {figure.fact('code')}", sums, formula)


async def of_groups(asking: Asking, figure: AskedFigure) -> Traced:
    """Say what one party, or one value of a tag, moved."""
    since, until = (date.fromisoformat(figure.fact(name)) for name in ("since", "until"))
    tag, [key] = figure.fact("tag"), figure.all_of("key")
    found = await books.groups(asking.tx, asking.actor, tag=tag, since=since, until=until)
    mine = [one for one in found if (one.key, one.kind, one.currency) == (key, figure.fact("kind"), figure.currency)]
    by = f"tag {tag}" if tag else "party"
    sums = [(f"{by} {one.key or 'none'}", getattr(one, figure.part)) for one in mine]
    formula = f"{figure.part} of {figure.fact('kind')} accounts with {by} {key or 'none'}, from {since} to {until}, both included"
    return _summed(figure, f"{by.capitalize()} {key or 'none'}: {figure.part}", sums, formula)


async def of_gain(asking: Asking, figure: AskedFigure) -> Traced:
    """Say which open positions an unrealised exchange gain is the sum of, at which rates."""
    on, known_at = date.fromisoformat(figure.fact("on")), datetime.fromisoformat(figure.fact("known_at"))
    found = await books.revalue(asking.tx, asking.actor, on=on, into=figure.currency, known_at=known_at)
    lines = await books.lines(asking.tx, asking.actor, since=None, until=on, known_at=known_at, kinds=("equity",))
    sums = [
        (line.code, found.worth[line.account]) for line in lines if is_position(line) and line.account in found.worth
    ]
    used = tuple(
        PriceUsed(f"{one.base}/{figure.currency}", one.rate, figure.currency, one.base, one.day, one.source)
        for one in found.rates.values()
    )
    formula = "what the open positions (fx: accounts) are worth at the latest rates"
    return _summed(figure, f"Unrealised exchange gain on {on}", sums, formula, used)


def _summed(
    figure: AskedFigure, title: str, minor: Sequence[tuple[str, int]], formula: str, used: tuple[PriceUsed, ...] = ()
) -> Traced:
    """Return a sum of amounts in minor units; one that stands in no answer any more is nothing."""
    sums = [(label, Money(one, figure.currency).amount) for label, one in minor]
    amount = sum((one for _, one in sums), Money(0, figure.currency).amount)
    return Traced(title, amount, figure.currency, Evidence(formula, parts_of(sums, amount), used))
