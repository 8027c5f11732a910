"""Reports and exports over HTTP."""

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Query
from fastapi.responses import PlainTextResponse, Response
from pydantic import AwareDatetime

from bursar.core.ledger.books import service
from bursar.core.ledger.rules.reports import Line, Section
from bursar.infra.clock import utc_now
from bursar.infra.web import As, Day, MoneyOut, Out, TheDb, router
from bursar.kernel.money import Money

r = router("books", tag="Books", about="Reports derived from transfers, at any value date as known at any instant.")

_On = Annotated[Day | None, Query(description="End of this value date; today's balances when empty.")]
_Known = Annotated[AwareDatetime | None, Query(description="Only what was recorded by this instant.")]
_Since = Annotated[Day, Query(description="First value date.")]
_Until = Annotated[Day, Query(description="Last value date.")]


class LineOut(Out):
    """One account in a report."""

    account: UUID
    code: str
    name: str
    kind: str
    debits: MoneyOut
    credits: MoneyOut
    balance: MoneyOut


class TrialBalanceOut(Out):
    """Every account; `totals` are the debits of each currency, equal to its credits."""

    lines: list[LineOut]
    totals: list[MoneyOut]


class SectionOut(Out):
    """Accounts of one kind and currency."""

    kind: str
    total: MoneyOut
    lines: list[LineOut]


class StatementOut(Out):
    """Sections, and income less expenses by currency."""

    sections: list[SectionOut]
    earnings: list[MoneyOut]


def _money(minor: int, currency: str) -> MoneyOut:
    return MoneyOut.of(Money(minor, currency))


def _line(line: Line) -> LineOut:
    return LineOut(
        account=line.account, code=line.code, name=line.name, kind=line.kind, debits=_money(line.debits, line.currency),
        credits=_money(line.credits, line.currency), balance=_money(line.balance, line.currency),
    )  # fmt: skip


def _sections(sections: Sequence[Section]) -> list[SectionOut]:
    return [
        SectionOut(kind=s.kind, total=_money(s.total, s.currency), lines=[_line(line) for line in s.lines])
        for s in sections
    ]


def _totals(minor: dict[str, int]) -> list[MoneyOut]:
    return [_money(amount, currency) for currency, amount in sorted(minor.items())]


@r.get("/v1/books/trial-balance", right="ledger:read")
async def trial_balance(db: TheDb, actor: As, on: _On = None, known_at: _Known = None) -> TrialBalanceOut:
    """Show the trial balance at the end of a value date, as known at an instant."""
    async with db.reading(actor) as tx:
        found = await service.trial_balance(tx, actor, on=on, known_at=known_at)
    return TrialBalanceOut(lines=[_line(line) for line in found.lines], totals=_totals(found.totals))


@r.get("/v1/books/income-statement", right="ledger:read")
async def income_statement(db: TheDb, actor: As, since: _Since, until: _Until) -> StatementOut:
    """Show income and expenses of a period."""
    async with db.reading(actor) as tx:
        found = await service.income_statement(tx, actor, since=since, until=until)
    return StatementOut(sections=_sections(found.sections), earnings=_totals(found.earnings))


@r.get("/v1/books/balance-sheet", right="ledger:read")
async def balance_sheet(
    db: TheDb, actor: As, on: Annotated[Day, Query(description="End of this value date.")], known_at: _Known = None
) -> StatementOut:
    """Show assets, liabilities and equity; they balance with the earnings in each currency."""
    async with db.reading(actor) as tx:
        found = await service.balance_sheet(tx, actor, on=on, known_at=known_at)
    return StatementOut(sections=_sections(found.sections), earnings=_totals(found.earnings))


class FlowOut(Out):
    """What came in and went out against one account."""

    kind: str
    code: str
    inflow: MoneyOut
    outflow: MoneyOut


@r.get("/v1/books/cash-flow", right="ledger:read")
async def cash_flow(
    db: TheDb,
    actor: As,
    since: _Since,
    until: _Until,
    cash: Annotated[str, Query(min_length=1, max_length=200, description="Code prefix of the cash accounts.")],
) -> list[FlowOut]:
    """Show where cash came from and went to; movements among cash accounts are left out."""
    async with db.reading(actor) as tx:
        flows = await service.cash_flow(tx, actor, cash=cash, since=since, until=until)
    return [
        FlowOut(kind=f.kind, code=f.code, inflow=_money(f.inflow, f.currency), outflow=_money(f.outflow, f.currency))
        for f in flows
    ]


class GroupOut(Out):
    """What one party or tag value moved; `key` is null for the rest."""

    key: str | None
    kind: str
    debits: MoneyOut
    credits: MoneyOut


@r.get("/v1/books/groups", right="ledger:read")
async def groups(
    db: TheDb,
    actor: As,
    since: _Since,
    until: _Until,
    tag: Annotated[str, Query(max_length=64, description="Group by the value of this tag; by party when empty.")] = "",
) -> list[GroupOut]:
    """Show income and expenses of a period by party or by the value of a tag."""
    async with db.reading(actor) as tx:
        found = await (
            service.by_tag(tx, actor, tag=tag, since=since, until=until)
            if tag
            else service.by_party(tx, actor, since=since, until=until)
        )
    return [
        GroupOut(key=g.key, kind=g.kind, debits=_money(g.debits, g.currency), credits=_money(g.credits, g.currency))
        for g in found
    ]


class RateOut(Out):
    """A rate that was used."""

    base: str
    rate: str
    day: date
    source: str


class WorthOut(Out):
    """What an account is worth."""

    account: UUID
    worth: MoneyOut


class RevaluationOut(Out):
    """Balances in one currency at stated rates."""

    worth: list[WorthOut]
    gain: MoneyOut
    rates: list[RateOut]
    missing: list[str]


@r.get("/v1/books/revaluation", right="ledger:read")
async def revaluation(
    db: TheDb,
    actor: As,
    on: Annotated[Day, Query(description="End of this value date.")],
    into: Annotated[str, Query(pattern="^[A-Z]{3}$", description="Reporting currency.")],
    known_at: _Known = None,
) -> RevaluationOut:
    """Show what every balance is worth in one currency, with the rates used and the currencies that lack one."""
    async with db.reading(actor) as tx:
        found = await service.revalue(tx, actor, on=on, into=into, known_at=known_at or utc_now())
    return RevaluationOut(
        worth=[WorthOut(account=account, worth=_money(minor, into)) for account, minor in found.worth.items()],
        gain=_money(found.gain, into),
        rates=[
            RateOut(base=rate.base, rate=f"{rate.rate:f}", day=rate.day, source=rate.source)
            for rate in found.rates.values()
        ],
        missing=list(found.missing),
    )


_TEXT: dict[str, Any] = {"schema": {"type": "string"}}
_EXPORTS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The export.", "content": {"text/csv": _TEXT, "text/plain": _TEXT}}
}


@r.get("/v1/books/export", right="ledger:read", response_class=PlainTextResponse, responses=_EXPORTS)
async def export(
    db: TheDb, actor: As, form: Annotated[Literal["beancount", "csv"], Query(description="Form of the export.")] = "csv"
) -> Response:
    """Export every transfer that moved money, as beancount or CSV; formulas in CSV are neutralised."""
    async with db.reading(actor) as tx:
        text = "".join([piece async for piece in service.export(tx, actor, form=form)])
    kind, end = ("text/csv", "csv") if form == "csv" else ("text/plain", "beancount")
    return PlainTextResponse(
        text, media_type=kind, headers={"Content-Disposition": f'attachment; filename="books.{end}"'}
    )
