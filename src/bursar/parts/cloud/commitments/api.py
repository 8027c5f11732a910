"""The commitment planner over HTTP."""

from datetime import date
from decimal import Decimal
from typing import Annotated

from fastapi import Query

from bursar.infra.clock import utc_now
from bursar.infra.lake import Lake
from bursar.infra.web import As, MoneyOut, Out, Router, TheDb, router
from bursar.kernel.errors import Invalid
from bursar.parts.cloud.commitments import service
from bursar.parts.cloud.commitments.service import Answer, Planned, Scope, Source, Wanted
from bursar.parts.cloud.prices.service import PriceList

HOURS_A_YEAR = 8760
_CENT = Decimal("0.01")
_HOURLY = Decimal("0.000001")


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
    demand: MoneyOut
    best_level: MoneyOut
    saving: MoneyOut
    regret: MoneyOut


class PurchaseOut(Out):
    """One tranche to buy."""

    on: date
    hourly: MoneyOut


class PlanOut(Out):
    """How much to commit to an hour, and what it does.

    `break_even` is the utilisation below which it loses money; `main_count` is how many machines of `main_type` a level of
    one family reserves, null for several families.
    """

    provider: str
    offers: list[OfferOut]
    hourly: MoneyOut
    on_demand_a_year: MoneyOut
    cost_a_year: MoneyOut
    saving_a_year: MoneyOut
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


def money(amount: float, currency: str, quantum: Decimal = _HOURLY) -> MoneyOut:
    """Translate an expected amount, which is a statistic, for the wire."""
    return MoneyOut.exact(Decimal(amount).quantize(quantum), currency)


def planned_out(one: Planned) -> PlanOut:
    """Translate one plan."""
    plan, currency = one.plan, one.currency

    def yearly(hourly: float) -> MoneyOut:
        return money(hourly * HOURS_A_YEAR, currency, _CENT)

    return PlanOut(
        provider=one.provider,
        offers=[
            OfferOut(family=family, discount=round(offer.discount, 4), source=offer.source, term=offer.term)
            for family, offer in zip(one.families, one.offers, strict=True)
        ],
        hourly=money(plan.level, currency),
        on_demand_a_year=yearly(plan.on_demand),
        cost_a_year=yearly(plan.cost),
        saving_a_year=yearly(plan.on_demand - plan.cost),
        coverage=round(plan.coverage, 4),
        utilisation=round(plan.utilisation, 4),
        savings_rate=round(plan.savings_rate, 4),
        break_even=round(plan.break_even, 4),
        outcomes=[
            OutcomeOut(
                quantile=outcome.quantile,
                demand=money(outcome.demand, currency),
                best_level=money(outcome.best, currency),
                saving=money(outcome.saving, currency),
                regret=money(outcome.regret, currency),
            )
            for outcome in plan.outcomes
        ],
        purchases=[PurchaseOut(on=day, hourly=money(part, currency)) for day, part in one.purchases],
        main_type=one.main_type,
        main_count=round(one.main_count, 2) if one.main_count else None,
    )


def answer_out(answer: Answer) -> CommitmentsOut:
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
        plans=[planned_out(one) for one in answer.plans],
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
        return answer_out(found)

    return r
