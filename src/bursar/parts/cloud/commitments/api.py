"""The commitment planner over HTTP."""

from datetime import date
from typing import Annotated

from fastapi import Query

from bursar.infra.clock import utc_now
from bursar.infra.lake import Lake
from bursar.infra.traces import Tracer
from bursar.infra.web import As, Out, Router, TheDb, TracedOut, Traces, router
from bursar.kernel.errors import Invalid
from bursar.parts.cloud.commitments import service
from bursar.parts.cloud.commitments.service import OUTCOMES, Answer, Planned, Scope, Source, Wanted
from bursar.parts.cloud.prices.service import PriceList


class StandingOut(Out):
    """How the commitments of a provider do now, in shares."""

    provider: str
    currency: str
    coverage: float
    utilisation: float
    savings_rate: float


class OfferOut(Out):
    """The discount that a plan rests on, and where it comes from."""

    family: str
    discount: float
    source: Source
    term: str


class OutcomeOut(Out):
    """What the plan does in the 10, 50 or 90 % scenario of demand: amounts per hour."""

    quantile: float
    demand: TracedOut
    best_level: TracedOut
    saving: TracedOut
    regret: TracedOut


class PurchaseOut(Out):
    """One tranche to buy."""

    on: date
    hourly: TracedOut


class PlanOut(Out):
    """How much to commit to an hour, and what it does.

    `break_even` is the utilisation below which it loses money; `main_count` is how many machines of `main_type` a level of
    one family reserves, null for several families.
    """

    provider: str
    offers: list[OfferOut]
    hourly: TracedOut
    on_demand_a_year: TracedOut
    cost_a_year: TracedOut
    saving_a_year: TracedOut
    coverage: float
    utilisation: float
    savings_rate: float
    break_even: float
    outcomes: list[OutcomeOut]
    purchases: list[PurchaseOut]
    main_type: str
    main_count: float | None


class CommitmentsOut(Out):
    """Every plan, how commitments do now, and what could not be planned."""

    history_from: date
    history_to: date
    hours_measured: bool
    forecast_by: list[str]
    standing: list[StandingOut]
    plans: list[PlanOut]
    without_offer: list[str]
    left_out: int


def planned_out(one: Planned, wanted: Wanted, traces: Tracer) -> PlanOut:
    """Translate one plan, with the tokens of its amounts."""
    plan = one.plan
    facts = (
        ("provider", wanted.provider), ("years", f"{wanted.years}"), ("payment", wanted.payment), ("scope", wanted.scope),
        ("discount", None if wanted.discount is None else f"{wanted.discount!r}"), ("of", one.provider),
        *(("family", family) for family in one.families),
    )  # fmt: skip

    def told(part: str) -> TracedOut:
        trace = traces.asked("commitments", part, one.currency, facts)
        return TracedOut.exactly(one.amount(part), one.currency, trace)

    return PlanOut(
        provider=one.provider,
        offers=[
            OfferOut(family=family, discount=round(offer.discount, 4), source=offer.source, term=offer.term)
            for family, offer in zip(one.families, one.offers, strict=True)
        ],
        hourly=told("hourly"),
        on_demand_a_year=told("on_demand_a_year"),
        cost_a_year=told("cost_a_year"),
        saving_a_year=told("saving_a_year"),
        coverage=round(plan.coverage, 4),
        utilisation=round(plan.utilisation, 4),
        savings_rate=round(plan.savings_rate, 4),
        break_even=round(plan.break_even, 4),
        outcomes=[
            OutcomeOut(quantile=outcome.quantile, **{name: told(f"{name} {at}") for name in OUTCOMES})
            for at, outcome in enumerate(plan.outcomes)
        ],
        purchases=[PurchaseOut(on=day, hourly=told(f"purchase {at}")) for at, (day, _) in enumerate(one.purchases)],
        main_type=one.main_type,
        main_count=round(one.main_count, 2) if one.main_count else None,
    )


def answer_out(answer: Answer, wanted: Wanted, traces: Tracer) -> CommitmentsOut:
    """Translate the answer."""
    return CommitmentsOut(
        history_from=answer.history.start,
        history_to=answer.history.end,
        hours_measured=answer.hours_measured,
        forecast_by=list(answer.served_by),
        standing=[
            StandingOut(
                provider=provider,
                currency=currency,
                coverage=round(one.coverage, 4),
                utilisation=round(one.utilisation, 4),
                savings_rate=round(one.savings_rate, 4),
            )
            for (provider, currency), one in answer.standing.items()
        ],
        plans=[planned_out(one, wanted, traces) for one in answer.plans],
        without_offer=list(answer.without_offer),
        left_out=answer.left_out,
    )


def routes(lake: Lake, prices: PriceList, *, engine: str = service.DUCKDB) -> Router:
    """Return the route of the planner.

    Args:
        lake: The lake of this installation.
        prices: Its price lists.
        engine: Where queries run.
    """
    r = router(
        "commitments", tag="Cloud costs", about="How much to commit to, from forecast quantiles of your own bills."
    )

    @r.get("/v1/cloud/commitments", right="cost:read", refusals=[Invalid])
    async def plan_commitments(
        db: TheDb,
        actor: As,
        traces: Traces,
        provider: Annotated[str, Query(max_length=40, pattern=r"^[a-z0-9-]*$")] = "",
        years: Annotated[int, Query(ge=1, le=3, description="1 or 3.")] = 1,
        payment: Annotated[str, Query(pattern=r"^(|no_upfront|partial_upfront|all_upfront)$")] = "no_upfront",
        scope: Scope = Scope.FAMILY,
        discount: Annotated[float | None, Query(gt=0, le=0.95, description="Share off the on-demand price.")] = None,
    ) -> CommitmentsOut:
        """Plan commitments over what none covers yet: level, regret, break-even, purchases month by month."""
        wanted = Wanted(provider, years, payment, scope, discount)
        async with db.reading(actor) as tx:
            found = await service.plan(
                tx, actor, lake=lake, prices=prices, wanted=wanted, today=utc_now().date(), engine=engine
            )
        return answer_out(found, wanted, traces)

    return r
