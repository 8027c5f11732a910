"""Reports and exports over HTTP."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Query
from fastapi.responses import FileResponse

from bursar.core.ledger.books import service
from bursar.core.ledger.rules.exports import COLUMNS, cells
from bursar.core.ledger.rules.reports import Line, Section
from bursar.infra.clock import utc_now
from bursar.infra.traces import Tracer
from bursar.infra.web import As, Day, Instant, Out, TheDb, TracedOut, Traces, router
from bursar.infra.web_exports import EXPORTS, export, export_text
from bursar.kernel.errors import TooLarge
from bursar.kernel.money import Money
from bursar.kernel.trace import LedgerFigure, WorthFigure

r = router("books", tag="Books", about="Reports derived from transfers, at any value date as known at any instant.")

EARNING = "income,expense"
"""Kinds of account that earnings are made of."""

_On = Annotated[Day | None, Query(description="End of this value date; today's balances when empty.")]
_Known = Annotated[Instant | None, Query(description="Only what was recorded by this instant.")]
_Since = Annotated[Day, Query(description="First value date.")]
_Until = Annotated[Day, Query(description="Last value date.")]


class LineOut(Out):
    """One account in a report."""

    account: UUID
    code: str
    name: str
    kind: str
    debits: TracedOut
    credits: TracedOut
    balance: TracedOut


class TrialBalanceOut(Out):
    """Every account; `totals` are the debits of each currency, equal to its credits."""

    lines: list[LineOut]
    totals: list[TracedOut]


class SectionOut(Out):
    """Accounts of one kind and currency."""

    kind: str
    total: TracedOut
    lines: list[LineOut]


class StatementOut(Out):
    """Sections, and income less expenses by currency."""

    sections: list[SectionOut]
    earnings: list[TracedOut]


@dataclass(frozen=True, slots=True)
class _Telling:
    """Translates the amounts of one report, each with its token; the span is that of the report."""

    traces: Tracer
    since: date | None = None
    until: date | None = None
    known_at: datetime | None = None

    def money(self, minor: int, currency: str, side: str, *, account: UUID | None = None, kinds: str = "") -> TracedOut:
        figure = LedgerFigure(side, currency, account, kinds, self.since, self.until, self.known_at)
        return TracedOut.to(Money(minor, currency), self.traces.token(figure))

    def line(self, line: Line) -> LineOut:
        sides = {
            side: self.money(getattr(line, side), line.currency, side, account=line.account)
            for side in ("debits", "credits", "balance")
        }
        return LineOut(account=line.account, code=line.code, name=line.name, kind=line.kind, **sides)

    def sections(self, sections: Sequence[Section]) -> list[SectionOut]:
        return [
            SectionOut(
                kind=section.kind,
                total=self.money(section.total, section.currency, "balance", kinds=section.kind),
                lines=[self.line(line) for line in section.lines],
            )
            for section in sections
        ]

    def totals(self, minor: dict[str, int], side: str, kinds: str = "") -> list[TracedOut]:
        return [self.money(amount, currency, side, kinds=kinds) for currency, amount in sorted(minor.items())]


@r.get("/v1/books/trial-balance", right="ledger:read")
async def trial_balance(
    db: TheDb, actor: As, traces: Traces, on: _On = None, known_at: _Known = None
) -> TrialBalanceOut:
    """Show the trial balance at the end of a value date, as known at an instant."""
    async with db.reading(actor) as tx:
        found = await service.trial_balance(tx, actor, on=on, known_at=known_at)
    telling = _Telling(traces, until=on, known_at=known_at or utc_now())
    return TrialBalanceOut(
        lines=[telling.line(line) for line in found.lines], totals=telling.totals(found.totals, "debits")
    )


@r.get("/v1/books/income-statement", right="ledger:read")
async def income_statement(db: TheDb, actor: As, traces: Traces, since: _Since, until: _Until) -> StatementOut:
    """Show income and expenses of a period."""
    async with db.reading(actor) as tx:
        found = await service.income_statement(tx, actor, since=since, until=until)
    telling = _Telling(traces, since, until, utc_now())
    return StatementOut(
        sections=telling.sections(found.sections), earnings=telling.totals(found.earnings, "earnings", EARNING)
    )


@r.get("/v1/books/balance-sheet", right="ledger:read")
async def balance_sheet(
    db: TheDb,
    actor: As,
    traces: Traces,
    on: Annotated[Day, Query(description="End of this value date.")],
    known_at: _Known = None,
) -> StatementOut:
    """Show assets, liabilities and equity; they balance with the earnings in each currency."""
    async with db.reading(actor) as tx:
        found = await service.balance_sheet(tx, actor, on=on, known_at=known_at)
    telling = _Telling(traces, until=on, known_at=known_at or utc_now())
    return StatementOut(
        sections=telling.sections(found.sections), earnings=telling.totals(found.earnings, "earnings", EARNING)
    )


class FlowOut(Out):
    """What came in and went out against one account."""

    kind: str
    code: str
    inflow: TracedOut
    outflow: TracedOut


@r.get("/v1/books/cash-flow", right="ledger:read")
async def cash_flow(
    db: TheDb,
    actor: As,
    traces: Traces,
    since: _Since,
    until: _Until,
    cash: Annotated[str, Query(min_length=1, max_length=200, description="Code prefix of the cash accounts.")],
) -> list[FlowOut]:
    """Show where cash came from and went to; movements among cash accounts are left out."""
    async with db.reading(actor) as tx:
        flows = await service.cash_flow(tx, actor, cash=cash, since=since, until=until)

    def told(flow: service.Flow, part: str) -> TracedOut:
        facts = (("cash", cash), ("since", f"{since}"), ("until", f"{until}"), ("code", flow.code))
        return TracedOut.to(
            Money(getattr(flow, part), flow.currency), traces.asked("cash_flow", part, flow.currency, facts)
        )

    return [FlowOut(kind=f.kind, code=f.code, inflow=told(f, "inflow"), outflow=told(f, "outflow")) for f in flows]


class GroupOut(Out):
    """What one party or tag value moved; `key` is null for the rest."""

    key: str | None
    kind: str
    debits: TracedOut
    credits: TracedOut


@r.get("/v1/books/groups", right="ledger:read")
async def groups(
    db: TheDb,
    actor: As,
    traces: Traces,
    since: _Since,
    until: _Until,
    tag: Annotated[str, Query(max_length=64, description="Group by the value of this tag; by party when empty.")] = "",
) -> list[GroupOut]:
    """Show income and expenses of a period by party or by the value of a tag."""
    async with db.reading(actor) as tx:
        found = await service.groups(tx, actor, tag=tag, since=since, until=until)

    def told(group: service.Group, part: str) -> TracedOut:
        facts = (("tag", tag), ("since", f"{since}"), ("until", f"{until}"), ("key", group.key), ("kind", group.kind))
        money = Money(getattr(group, part), group.currency)
        return TracedOut.to(money, traces.asked("groups", part, group.currency, facts))

    return [GroupOut(key=g.key, kind=g.kind, debits=told(g, "debits"), credits=told(g, "credits")) for g in found]


class RateOut(Out):
    """A rate that was used."""

    base: str
    rate: str
    day: date
    source: str


class WorthOut(Out):
    """What an account is worth."""

    account: UUID
    worth: TracedOut


class RevaluationOut(Out):
    """Balances in one currency at stated rates."""

    worth: list[WorthOut]
    gain: TracedOut
    rates: list[RateOut]
    missing: list[str]


@r.get("/v1/books/revaluation", right="ledger:read")
async def revaluation(
    db: TheDb,
    actor: As,
    traces: Traces,
    on: Annotated[Day, Query(description="End of this value date.")],
    into: Annotated[str, Query(pattern="^[A-Z]{3}$", description="Reporting currency.")],
    known_at: _Known = None,
) -> RevaluationOut:
    """Show what every balance is worth in one currency, with the rates used and the currencies that lack one."""
    async with db.reading(actor) as tx:
        known = known_at or utc_now()
        found = await service.revalue(tx, actor, on=on, into=into, known_at=known)
    gain = (("on", f"{on}"), ("known_at", known.isoformat()))
    return RevaluationOut(
        worth=[
            WorthOut(
                account=account,
                worth=TracedOut.to(Money(minor, into), traces.token(WorthFigure(account, into, on, known))),
            )
            for account, minor in found.worth.items()
        ],
        gain=TracedOut.to(Money(found.gain, into), traces.asked("gain", "gain", into, gain)),
        rates=[
            RateOut(base=rate.base, rate=f"{rate.rate:f}", day=rate.day, source=rate.source)
            for rate in found.rates.values()
        ],
        missing=list(found.missing),
    )


_EXPORTS: dict[int | str, dict[str, Any]] = {
    200: {**EXPORTS[200], "content": {**EXPORTS[200]["content"], "text/plain": {"schema": {"type": "string"}}}}
}


@r.get("/v1/books/export", right="ledger:read", response_class=FileResponse, responses=_EXPORTS, refusals=[TooLarge])
async def export_books(
    db: TheDb,
    actor: As,
    form: Annotated[Literal["beancount", "csv", "parquet"], Query(description="Form of the file.")] = "csv",
    since: Annotated[Day | None, Query(description="First value date.")] = None,
    until: Annotated[Day | None, Query(description="Last value date.")] = None,
) -> FileResponse:
    """Export every transfer that moved money; formulas in CSV are made harmless, beancount has no limit of rows."""
    async with db.reading(actor) as tx:
        if form == "beancount":
            return await export_text("books.beancount", service.beancount(tx, actor, since=since, until=until))
        pages = ([cells(row) for row in page] async for page in service.transfers(tx, actor, since=since, until=until))
        return await export("books", COLUMNS, pages, form)
