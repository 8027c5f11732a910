"""Cloud costs over HTTP: what it costs, why it changed, who bears the shared part, and whether the invoice is right."""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Annotated, Any

from fastapi import Query
from fastapi.responses import FileResponse
from pydantic import Field

from bursar.infra.lake import Lake
from bursar.infra.traces import Tracer
from bursar.infra.web import As, Day, In, MoneyIn, Out, Router, TheDb, TracedOut, Traces, router
from bursar.infra.web_exports import EXPORTS, Form, export
from bursar.kernel.errors import Invalid, TooLarge
from bursar.kernel.money import decimal_from
from bursar.kernel.period import Period
from bursar.kernel.trace import BridgeFigure
from bursar.parts.cloud import service
from bursar.parts.cloud.rules.bridge import Bridge, Change
from bursar.parts.cloud.rules.dimensions import CostKind
from bursar.parts.cloud.rules.filters import FILTER_CHARS_MAX
from bursar.parts.cloud.rules.invoices import Match, Stated
from bursar.parts.cloud.rules.queries import DIMENSIONS_MAX, GROUPS_MAX, CostQuery
from bursar.parts.cloud.sharing import service as sharing
from bursar.parts.cloud.sharing.rules import SPLIT_RULES_MAX as SPLITS_MAX
from bursar.parts.cloud.sharing.rules import Method, RuleBook, Share, per_unit

MONTHS_MAX = 36
ENTERED_MAX = 200
RATES_MAX = 50
WEIGHTS_MAX = 1000

Since = Annotated[Day, Query(alias="from", description="First day.")]
Until = Annotated[Day, Query(alias="to", description="The day after the last.")]
Filter = Annotated[str, Query(alias="filter", max_length=FILTER_CHARS_MAX, description='As `service = "Amazon S3"`.')]
Dimensions = Annotated[
    list[str] | None, Query(max_length=DIMENSIONS_MAX, description="As `service`, `region`, `tag:team`, `month`.")
]


class CostOut(Out):
    """One group: the values of the dimensions asked for, its cost (null where no bill tells it) and its lines.

    `shared` is the part of `cost` that splits gave it; `units` and `per_unit` are told where a quantity was asked for.
    """

    values: list[str | None]
    cost: TracedOut | None
    lines: int
    shared: TracedOut | None
    units: str | None
    per_unit: TracedOut | None


class CostsOut(Out):
    """Cost by dimensions; amounts of several currencies stay apart. `applied` names every rule and quantity used."""

    by: list[str]
    data: list[CostOut]
    applied: list[str]


class ChangeOut(Out):
    """One part of a difference."""

    cause: str
    service: str
    amount: TracedOut


class BridgeOut(Out):
    """Why a bill changed: `causes` sum exactly to `new` minus `old`; so do `movers` and `rest`."""

    old: TracedOut
    new: TracedOut
    causes: list[ChangeOut]
    movers: list[ChangeOut]
    rest: TracedOut


class RateIn(In):
    """What one unit of a currency is worth in the currency asked for, in the earlier and in the later period."""

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    old: str
    new: str


class BridgeIn(In):
    """Two periods to compare, as half-open days, and the rates of other currencies."""

    old_from: Day
    old_to: Day
    new_from: Day
    new_to: Day
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "USD"
    kind: CostKind = CostKind.EFFECTIVE
    filter: Annotated[str, Field(max_length=FILTER_CHARS_MAX)] = ""
    rates: list[RateIn] = Field(default_factory=list, max_length=RATES_MAX)


class SplitIn(In):
    """Which cost is shared, and how it is split among the values of a dimension."""

    from_: Annotated[Day, Field(alias="from")]
    to: Day
    by: str
    shared: Annotated[str, Field(max_length=FILTER_CHARS_MAX)] = ""
    filter: Annotated[str, Field(max_length=FILTER_CHARS_MAX)] = ""
    method: Method = Method.PROPORTIONAL
    weights: dict[str, str] = Field(default_factory=dict, max_length=WEIGHTS_MAX)


class ShareOut(Out):
    """What one target costs: its own lines, its share of the shared cost, and both."""

    target: str
    direct: TracedOut
    shared: TracedOut
    total: TracedOut


class SharesOut(Out):
    """Every target in every currency; the totals sum exactly to the whole cost."""

    data: list[ShareOut]


class EnteredIn(In):
    """An invoice total typed in from paper."""

    month: Day
    invoice: Annotated[str, Field(min_length=1, max_length=200)]
    total: MoneyIn


class MatchIn(In):
    """Which billing months to match, and invoices that were not imported."""

    months: Annotated[list[Day], Field(min_length=1, max_length=MONTHS_MAX)]
    entered: list[EnteredIn] = Field(default_factory=list, max_length=ENTERED_MAX)


class MatchOut(Out):
    """One invoice against its lines; `by_kind` sums exactly to `difference`."""

    month: date
    invoice: str
    stated: TracedOut
    billed: TracedOut
    difference: TracedOut
    by_kind: dict[str, TracedOut]
    lines: int
    settled: bool


class MatchesOut(Out):
    """Every invoice asked for."""

    data: list[MatchOut]


def period_of(start: date, end: date) -> Period:
    """Return the half-open period.

    Raises:
        Invalid: It is empty or reversed.
    """
    try:
        return Period(start, end)
    except ValueError as error:
        raise Invalid(str(error), "Let `to` be the day after the last one.") from error


def exact(text: str) -> Decimal:
    """Return the decimal that ``text`` writes.

    Raises:
        Invalid: It is not a plain decimal number.
    """
    try:
        return decimal_from(text)
    except ValueError as error:
        raise Invalid(str(error), "Write it like 1.0842.") from error


def bridge_out(found: Bridge, figure: BridgeFigure, traces: Tracer) -> BridgeOut:
    """Translate a bridge; ``figure`` holds what was asked."""

    def told(amount: Decimal, part: str, service: str | None = None) -> TracedOut:
        trace = traces.token(replace(figure, part=part, service=service))
        return TracedOut.exactly(amount, found.currency, trace)

    def changes(of: Sequence[Change], *, whole: bool) -> list[ChangeOut]:
        names = [None if whole else one.service for one in of]
        return [
            ChangeOut(cause=one.cause, service=one.service, amount=told(one.amount, one.cause, name))
            for one, name in zip(of, names, strict=True)
        ]

    return BridgeOut(
        old=told(found.old, "old"),
        new=told(found.new, "new"),
        causes=changes(found.causes, whole=True),
        movers=changes(found.movers, whole=False),
        rest=told(found.rest, "rest"),
    )


def costs_out(asked: CostQuery, options: sharing.Options, found: sharing.Answer, traces: Tracer) -> CostsOut:
    """Translate the answer to a cost query, with the tokens of its amounts."""

    def told(amount: Decimal | None, group: Share, part: str) -> TracedOut | None:
        if amount is None:
            return None
        if part == "cost" and not found.ruled:
            trace = traces.token(asked.figure(group.values, group.currency))
            return TracedOut.exactly(amount, group.currency, trace)
        facts = (*sharing.facts_of(asked, options), *(("value", value) for value in group.values))
        return TracedOut.exactly(amount, group.currency, traces.asked("shares", part, group.currency, facts))

    data = [
        CostOut(
            values=list(group.values),
            cost=told(group.cost, group, "cost"),
            lines=group.lines,
            shared=told(group.shared, group, "shared"),
            units=None if units is None else f"{units:f}",
            per_unit=told(per_unit(group.cost, units), group, "per_unit"),
        )
        for group, units in zip(found.groups, found.units, strict=True)
    ]
    return CostsOut(by=list(asked.by), data=data, applied=list(found.applied))


def match_out(found: Match, entered: Sequence[Stated], traces: Tracer) -> MatchOut:
    """Translate an invoice match; ``entered`` are the totals that came with the question."""
    mine = [
        one for one in entered if (one.month, one.invoice, one.currency) == (found.month, found.invoice, found.currency)
    ]

    def told(amount: Decimal, part: str) -> TracedOut:
        facts = (
            ("month", f"{found.month}"),
            ("invoice", found.invoice),
            *(("entered", f"{one.amount:f}") for one in mine),
        )
        return TracedOut.exactly(amount, found.currency, traces.asked("invoice", part, found.currency, facts))

    return MatchOut(
        month=found.month,
        invoice=found.invoice,
        stated=told(found.stated, "stated"),
        billed=told(found.billed, "billed"),
        difference=told(found.difference, "difference"),
        by_kind={kind: told(amount, f"kind {kind}") for kind, amount in found.by_kind.items()},
        lines=found.lines,
        settled=found.settled,
    )


def routes(lake: Lake, *, engine: str = service.DUCKDB) -> Router:
    """Return the routes of cloud costs.

    Args:
        lake: The lake of this installation.
        engine: Where queries run.
    """
    r = router("cloud", tag="Cloud costs", about="What clouds cost, why it changed, and whether the invoice is right.")
    _questions(r, lake, engine)
    _why(r, lake, engine)
    _decisions(r, lake, engine)
    return r


def _questions(r: Router, lake: Lake, engine: str) -> None:
    @r.get("/v1/cloud/costs", right="cost:read", refusals=[Invalid])
    async def list_costs(
        db: TheDb,
        actor: As,
        traces: Traces,
        since: Since,
        until: Until,
        by: Dimensions = None,
        kind: CostKind = CostKind.EFFECTIVE,
        where: Filter = "",
        limit: Annotated[int, Query(ge=1, le=GROUPS_MAX)] = 1000,
        inherit: Annotated[bool, Query(description="Complete missing tags by the rules.")] = False,
        split: Annotated[
            list[str] | None, Query(max_length=SPLITS_MAX, description="Names of splits to apply.")
        ] = None,
        per: Annotated[str, Query(max_length=200, description="An imported quantity to divide by.")] = "",
    ) -> CostsOut:
        """Sum cost by dimensions and tags over a period; with tags inherited, shared cost split, per unit of business."""
        asked = CostQuery(period_of(since, until), tuple(by or ()), kind, where, limit)
        options = sharing.Options(inherit, tuple(split or ()), per)
        async with db.reading(actor) as tx:
            found = await sharing.ask(tx, actor, lake=lake, asked=asked, options=options, engine=engine)
        return costs_out(asked, options, found, traces)

    @r.get(
        "/v1/cloud/costs/export",
        right="cost:read",
        response_class=FileResponse,
        responses=EXPORTS,
        refusals=[Invalid, TooLarge],
    )
    async def export_costs(
        db: TheDb,
        actor: As,
        since: Since,
        until: Until,
        by: Dimensions = None,
        kind: CostKind = CostKind.EFFECTIVE,
        where: Filter = "",
        form: Form = "csv",
    ) -> FileResponse:
        """Export cost by dimensions and tags; one row a group, formulas in CSV are made harmless."""
        asked = CostQuery(period_of(since, until), tuple(by or ()), kind, where, GROUPS_MAX)
        async with db.reading(actor) as tx:
            found = await service.costs(tx, actor, lake=lake, asked=asked, engine=engine)
        if len(found) == GROUPS_MAX:
            raise TooLarge("The export", GROUPS_MAX - 1, "groups")
        columns = service.export_columns(asked)

        async def pages() -> AsyncIterator[list[list[Any]]]:
            yield [[*group.values, group.currency, group.cost, group.lines] for group in found]

        return await export("costs", columns, pages(), form)


def _why(r: Router, lake: Lake, engine: str) -> None:
    @r.post("/v1/cloud/bridge", right="cost:read", refusals=[Invalid])
    async def explain_change(body: BridgeIn, db: TheDb, actor: As, traces: Traces) -> BridgeOut:
        """Explain why a bill changed between two periods; the causes sum exactly to the difference."""
        async with db.reading(actor) as tx:
            found = await service.bridge(
                tx,
                actor,
                lake=lake,
                old=period_of(body.old_from, body.old_to),
                new=period_of(body.new_from, body.new_to),
                currency=body.currency,
                kind=body.kind,
                where=body.filter,
                rates={rate.currency: (exact(rate.old), exact(rate.new)) for rate in body.rates},
                engine=engine,
            )
        rates = tuple((rate.currency, rate.old, rate.new) for rate in body.rates)
        asked = BridgeFigure(
            body.old_from, body.old_to, body.new_from, body.new_to, body.currency, body.kind, body.filter, rates, ""
        )
        return bridge_out(found, asked, traces)


def _decisions(r: Router, lake: Lake, engine: str) -> None:
    @r.post("/v1/cloud/allocation", right="cost:read", refusals=[Invalid, TooLarge])
    async def split_shared(body: SplitIn, db: TheDb, actor: As, traces: Traces) -> SharesOut:
        """Split shared cost among the values of a dimension; nothing is lost."""
        asked = CostQuery(period_of(body.from_, body.to), (body.by,), where=body.filter)
        weights = {target: exact(weight) for target, weight in body.weights.items()}
        rule = sharing.loose_rule(body.by, body.shared, body.method, weights)
        async with db.reading(actor) as tx:
            found = await sharing.allocate(tx, actor, lake=lake, asked=asked, rule=rule, engine=engine)
        facts = (*sharing.facts_of(asked), ("rule", json.dumps(RuleBook(splits=(rule,)).to_json()["splits"][0])))

        def told(one: Share, amount: Decimal | None, part: str) -> TracedOut:
            trace = traces.asked("shares", part, one.currency, (*facts, ("value", one.values[0])))
            return TracedOut.exactly(amount or Decimal(0), one.currency, trace)

        return SharesOut(
            data=[
                ShareOut(
                    target=one.values[0] or "",
                    direct=told(one, one.own, "own"),
                    shared=told(one, one.shared, "shared"),
                    total=told(one, one.cost, "cost"),
                )
                for one in found
            ]
        )

    @r.post("/v1/cloud/invoice-match", right="cost:read", refusals=[Invalid])
    async def match_invoices(body: MatchIn, db: TheDb, actor: As, traces: Traces) -> MatchesOut:
        """Compare invoices with the lines of their months, to the cent."""
        months = [month.replace(day=1) for month in body.months]
        entered = []
        for one in body.entered:
            money = one.total.money()
            entered.append(Stated(one.month.replace(day=1), one.invoice, "", money.currency, money.amount))
        async with db.reading(actor) as tx:
            found = await service.match_invoices(tx, actor, lake=lake, months=months, entered=entered, engine=engine)
        return MatchesOut(data=[match_out(match, entered, traces) for match in found])
