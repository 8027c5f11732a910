"""Budgets over HTTP."""

from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Query, Response
from pydantic import Field

from bursar.core.planning.budgets import service
from bursar.core.planning.budgets.rules import limits as rules
from bursar.core.planning.budgets.service import Budget, Cadence, Change, Paid, RollOver, Status, Wanted
from bursar.core.planning.forecasts.api import ChangeIn
from bursar.infra.clock import utc_now
from bursar.infra.lake import Lake
from bursar.infra.traces import Tracer
from bursar.infra.web import (
    As,
    Day,
    In,
    Listed,
    Match,
    MoneyIn,
    MoneyOut,
    Out,
    Page,
    Router,
    TheDb,
    TracedOut,
    Traces,
    router,
)
from bursar.kernel.errors import Conflict, TooLarge
from bursar.kernel.money import Money
from bursar.kernel.trace import BudgetFigure

Value = Annotated[str, Field(max_length=rules.VALUE_CHARS_MAX)]
Name = Annotated[str, Field(min_length=1, max_length=rules.NAME_CHARS_MAX, examples=["Cloud, production"])]
Address = Annotated[str, Field(min_length=3, max_length=320, examples=["finance@example.com"])]


class BudgetIn(In):
    """What may be spent in each period; `filter` maps a dimension to the values that count."""

    name: Name
    source: Literal["cost", "payment", "bank"] = "cost"
    filter: Annotated[
        dict[str, Annotated[list[Value], Field(min_length=1, max_length=rules.FILTER_VALUES_MAX)]],
        Field(max_length=10, examples=[{"provider": ["aws"]}]),
    ] = Field(default_factory=dict)
    amount: MoneyIn
    cadence: Cadence = Cadence.MONTH
    roll_over: RollOver = RollOver.NONE
    year_begins: Annotated[
        int, Field(strict=True, ge=1, le=12, description="Month in which years, and with them quarters, begin.")
    ] = 1
    start: Annotated[Day, Field(description="First day; roll-over begins with its period.")]
    tell: Annotated[list[Address], Field(max_length=rules.TELL_MAX)] = Field(default_factory=list)

    def wanted(self) -> Wanted:
        """Translate for the service."""
        return Wanted(
            self.name,
            self.source,
            self.filter,
            self.amount.money(),
            self.cadence,
            self.roll_over,
            self.start,
            self.tell,
            self.year_begins,
        )


class BudgetOut(Out):
    """A budget."""

    id: UUID
    name: str
    source: str
    filter: dict[str, list[str]]
    amount: MoneyOut
    cadence: Cadence
    roll_over: RollOver
    year_begins: int
    start: date
    tell: list[str]
    created_at: datetime
    changed_at: datetime


class StatusOut(Out):
    """Where a budget stands in a period; expected amounts are null where nothing was forecast."""

    budget: UUID
    start: date
    end: Annotated[date, Field(description="Day after the last.")]
    allowed: TracedOut
    carried: TracedOut
    actual: TracedOut
    committed: TracedOut
    share: float | None
    known_until: date | None
    expected: TracedOut | None
    low80: TracedOut | None
    high80: TracedOut | None
    low95: TracedOut | None
    high95: TracedOut | None
    others: list[TracedOut]
    crossed: list[service.Threshold]
    notes: list[str]


class StandingOut(Out):
    """What is expected by the end of a period, null where nothing was forecast, and which thresholds that crosses."""

    expected: MoneyOut | None
    low80: MoneyOut | None
    high80: MoneyOut | None
    low95: MoneyOut | None
    high95: MoneyOut | None
    crossed: list[service.Threshold]
    notes: list[str]


class BudgetWhatIfOut(Out):
    """Where a budget stands in today's period, and where it would stand after a change."""

    budget: UUID
    start: date
    end: Annotated[date, Field(description="Day after the last.")]
    allowed: MoneyOut
    actual: MoneyOut
    before: StandingOut
    after: StandingOut
    trace: Annotated[
        str, "`/v1/trace/{token}` tells what was expected before is made of; the drivers of the question do the rest."
    ]


class AlertOut(Out):
    """A threshold that was told, and to whom."""

    start: date
    threshold: service.Threshold
    amount: TracedOut
    allowed: TracedOut
    told: list[str]
    told_at: datetime


def _out(one: Budget) -> BudgetOut:
    same = {"id", "name", "source", "cadence", "roll_over", "year_begins", "start", "created_at", "changed_at"}
    return BudgetOut(
        **{name: getattr(one, name) for name in same},
        filter={name: list(values) for name, values in one.filter.items()},
        amount=MoneyOut.of(one.amount),
        tell=list(one.tell),
    )


_FORECAST = ("expected", "low80", "high80", "low95", "high95")


def _status(one: Status, traces: Tracer) -> StatusOut:
    def told(name: str, money: Money | None = None) -> TracedOut:
        amount: Money = money or getattr(one, name)
        trace = traces.token(BudgetFigure(one.budget.id, one.period.start, name, amount.currency))
        return TracedOut.to(amount, trace)

    return StatusOut(
        budget=one.budget.id,
        start=one.period.start,
        end=one.period.end,
        allowed=told("allowed"),
        carried=told("carried"),
        actual=told("actual"),
        committed=told("committed"),
        share=one.share,
        known_until=one.known_until,
        **{name: None if getattr(one, name) is None else told(name) for name in _FORECAST},
        others=[told("actual", each) for each in one.others],
        crossed=list(one.crossed),
        notes=list(one.notes),
    )


def _standing(one: Status) -> StandingOut:
    amounts: dict[str, Money | None] = {name: getattr(one, name) for name in _FORECAST}
    known = {name: None if amount is None else MoneyOut.of(amount) for name, amount in amounts.items()}
    return StandingOut(**known, crossed=list(one.crossed), notes=list(one.notes))


def routes(lake: Lake, paid: Paid) -> Router:
    """Return the routes of budgets; ``lake`` holds the facts, ``paid`` names holds that lines have paid."""
    r = router("budgets", tag="Budgets", about="What may be spent, what was, and what is expected by the end.")
    _add_editing(r)
    _add_what_if(r, lake, paid)

    @r.get("/v1/budgets/{id}/status", right="budget:read")
    async def budget_status(
        id: UUID,  # noqa: A002  the word of the API
        db: TheDb,
        actor: As,
        traces: Traces,
        day: Annotated[Day | None, Query(description="A day of the period; today by default.")] = None,
    ) -> StatusOut:
        """Show actual, committed and expected amounts of a period, with the interval of the forecast."""
        async with db.reading(actor) as tx:
            found = await service.status(tx, actor, id_=id, lake=lake, now=utc_now(), day=day, paid=paid)
        return _status(found, traces)

    @r.get("/v1/budgets/{id}/alerts", right="budget:read")
    async def budget_alerts(id: UUID, db: TheDb, actor: As, traces: Traces) -> list[AlertOut]:  # noqa: A002
        """List what was told about a budget and to whom, newest first."""
        async with db.reading(actor) as tx:
            currency = (await service.get(tx, actor, id_=id)).amount.currency
            rows = await service.alerts(tx, actor, id_=id)

        def told(row: Any, part: str) -> TracedOut:
            facts = (("budget", str(id)), ("start", f"{row.start_day}"), ("threshold", row.threshold))
            return TracedOut.to(Money(getattr(row, part), currency), traces.asked("alert", part, currency, facts))

        return [
            AlertOut(
                start=row.start_day,
                threshold=row.threshold,
                amount=told(row, "amount"),
                allowed=told(row, "allowed"),
                told=row.told,
                told_at=row.told_at,
            )
            for row in rows
        ]

    return r


def _add_what_if(r: Router, lake: Lake, paid: Paid) -> None:
    @r.post("/v1/budgets/{id}/what-if", right="budget:read", once="never")
    async def budget_what_if(
        id: UUID,  # noqa: A002  the word of the API
        body: ChangeIn,
        db: TheDb,
        actor: As,
        traces: Traces,
    ) -> BudgetWhatIfOut:
        """Change price, volume or growth of a series; see what is expected of a budget move. Nothing is stored."""
        change = Change(body.series, body.drivers())
        async with db.reading(actor) as tx:
            before, after = await service.what_if(tx, actor, id_=id, change=change, lake=lake, now=utc_now(), paid=paid)
        return BudgetWhatIfOut(
            budget=before.budget.id,
            start=before.period.start,
            end=before.period.end,
            allowed=MoneyOut.of(before.allowed),
            actual=MoneyOut.of(before.actual),
            before=_standing(before),
            after=_standing(after),
            trace=traces.token(
                BudgetFigure(before.budget.id, before.period.start, "expected", before.allowed.currency)
            ),
        )


def _add_editing(r: Router) -> None:
    @r.get("/v1/budgets", right="budget:read")
    async def list_budgets(db: TheDb, actor: As, page: Page) -> Listed[BudgetOut]:
        """List the budgets by name."""
        async with db.reading(actor) as tx:
            found = await service.listed(tx, actor)
        start = int(page.after[0]) if page.after else 0
        numbered = list(enumerate(found[start : start + page.limit + 1], start + 1))
        return page.listed(numbered, key=lambda pair: (pair[0],), out=lambda pair: _out(pair[1]))

    @r.post("/v1/budgets", right="budget:write", status_code=201, refusals=[Conflict, TooLarge])
    async def create_budget(body: BudgetIn, db: TheDb, actor: As) -> BudgetOut:
        """Make a budget."""
        async with db.writing(actor) as tx:
            return _out(await service.create(tx, actor, wanted=body.wanted(), now=utc_now()))

    @r.get("/v1/budgets/{id}", right="budget:read")
    async def get_budget(id: UUID, db: TheDb, actor: As, match: Match) -> BudgetOut:  # noqa: A002
        """Show one budget."""
        async with db.reading(actor) as tx:
            found = await service.get(tx, actor, id_=id)
        match.tag(found.changed_at)
        return _out(found)

    @r.put("/v1/budgets/{id}", right="budget:write", edited=True, refusals=[Conflict])
    async def change_budget(id: UUID, body: BudgetIn, db: TheDb, actor: As, match: Match) -> BudgetOut:  # noqa: A002
        """Replace a budget; what was told in the running period stays told."""
        async with db.writing(actor) as tx:
            found = await service.change(tx, actor, id_=id, wanted=body.wanted(), seen=match.must, now=utc_now())
        match.tag(found.changed_at)
        return _out(found)

    @r.delete("/v1/budgets/{id}", right="budget:write", status_code=204, edited=True)
    async def remove_budget(id: UUID, db: TheDb, actor: As, match: Match) -> Response:  # noqa: A002
        """Delete a budget with what was told about it."""
        async with db.writing(actor) as tx:
            await service.remove(tx, actor, id_=id, seen=match.must, now=utc_now())
        return Response(status_code=204)
