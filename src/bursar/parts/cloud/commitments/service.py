"""Use case: plan commitments for machines, family by family or for a provider as a whole."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum

import numpy as np
import polars as pl

from bursar.infra.db import Tx
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Invalid
from bursar.kernel.period import Grain, Period, add_months, month_of
from bursar.kernel.series import Panel
from bursar.ml.forecast.contract import Forecaster
from bursar.ml.forecast.naive import RunRate, SeasonalMean, SeasonalNaive
from bursar.ml.forecast.panel import forecast_panel
from bursar.ml.forecast.regression import Ridge
from bursar.ml.forecast.smoothing import Smoothing
from bursar.ml.forecast.theta import Theta
from bursar.parts.cloud import store
from bursar.parts.cloud.prices.service import PriceList
from bursar.parts.cloud.rules import commitments as planner
from bursar.parts.cloud.rules import eligible, queries

DUCKDB = "duckdb"
HISTORY_DAYS_MIN = 28
"""Four weeks are the least that shows a week's rhythm."""

HISTORY_DAYS_MAX = 730
FORECAST_DAYS = 365
"""A longer term repeats the last year forecast."""

FAMILIES_MAX = 50
"""Most families planned for, the dearest first; the rest is named by its number."""

LATELY_DAYS = 30

LEVEL_MIN = 0.001
"""A commitment of less an hour, in major units, is none."""


class Scope(StrEnum):
    """What one plan is for: a family (reservations) or a provider (a compute savings plan)."""

    FAMILY = "family"
    PROVIDER = "provider"


class Source(StrEnum):
    """Where a discount comes from."""

    GIVEN = "given"
    LISTED = "price list"
    OWN = "own commitments"


HOURS_A_YEAR = 8760
HOURLY, CENT = Decimal("0.000001"), Decimal("0.01")
OUTCOMES = {"demand": "demand", "best_level": "best", "saving": "saving", "regret": "regret"}
"""What is told of each scenario of demand."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for.

    Attributes:
        provider: Whose machines; every provider's when empty.
        years: Term, 1 or 3.
        payment: As price lists name it: ``no_upfront``, ``partial_upfront``, ``all_upfront``; empty where there is no choice.
        scope: One plan a family or one a provider.
        discount: Share off the on-demand price; what price lists or own commitments tell when None.
    """

    provider: str = ""
    years: int = 1
    payment: str = "no_upfront"
    scope: Scope = Scope.FAMILY
    discount: float | None = None

    def __post_init__(self) -> None:
        """Refuse a discount or a term that cannot be."""
        if self.discount is not None and not 0 < self.discount <= eligible.DISCOUNT_MAX:
            raise Invalid(f"a discount of {self.discount} cannot be", "Give a share such as 0.3.")
        if self.years not in {1, 3}:
            raise Invalid(f"a term of {self.years} years cannot be bought", "Give 1 or 3.")

    @property
    def terms(self) -> tuple[str, ...]:
        """The terms of price lists that answer, the first known one."""
        ends = (f"_{self.payment}", "") if self.payment else ("",)
        kinds = ("reserved", "savings_plan") if self.scope is Scope.FAMILY else ("savings_plan", "reserved")
        return tuple(f"{kind}_{self.years}y{end}" for kind in kinds for end in ends)


@dataclass(frozen=True, slots=True)
class Offered:
    """A discount, where it comes from, and of which term."""

    discount: float
    source: Source
    term: str


@dataclass(frozen=True, slots=True)
class Planned:
    """One plan, per hour in ``currency``; ``families`` have the offers in the same order.

    Attributes:
        provider: Whose machines.
        families: What it covers.
        offers: The discount of each family.
        currency: Of every amount.
        plan: Levels and what they do.
        purchases: Tranches with the day on which each is bought, so that a wrong forecast costs one of them.
        main_type: The type in use that most is spent on, and how many of it the level reserves.
        main_count: See ``main_type``.
    """

    provider: str
    families: tuple[str, ...]
    offers: tuple[Offered, ...]
    currency: str
    plan: planner.Plan
    purchases: tuple[tuple[date, float], ...]
    main_type: str
    main_count: float

    def amount(self, part: str) -> Decimal:
        """Return one of its amounts, a statistic written exactly: per hour to six places, a year to the cent.

        Args:
            part: ``hourly``, ``on_demand_a_year``, ``cost_a_year``, ``saving_a_year``; ``purchase`` or one of
                :data:`OUTCOMES` with a blank and the number of the tranche or scenario.
        """
        name, _, at = part.partition(" ")
        match name:
            case "hourly":
                return Decimal(self.plan.level).quantize(HOURLY)
            case "purchase":
                return Decimal(self.purchases[int(at)][1]).quantize(HOURLY)
            case "saving_a_year":
                return self.amount("on_demand_a_year") - self.amount("cost_a_year")
            case "on_demand_a_year" | "cost_a_year":
                hourly = self.plan.cost if name == "cost_a_year" else self.plan.on_demand
                return Decimal(hourly * HOURS_A_YEAR).quantize(CENT)
            case _:
                return Decimal(getattr(self.plan.outcomes[int(at)], OUTCOMES[name])).quantize(HOURLY)


@dataclass(frozen=True, slots=True)
class Answer:
    """Every plan, how commitments do now, and what could not be planned.

    Attributes:
        history: The days of bills that the forecast rests on.
        hours_measured: Whether the bills tell hours; else every hour of a day is taken to be alike.
        served_by: What forecast the demand.
        standing: How commitments do now, by provider and currency.
        plans: The plans, most saving first.
        without_offer: Families whose discount nobody tells.
        left_out: Families beyond :data:`FAMILIES_MAX`.
    """

    history: Period
    hours_measured: bool
    served_by: tuple[str, ...]
    standing: Mapping[tuple[str, str], eligible.Standing]
    plans: tuple[Planned, ...]
    without_offer: tuple[str, ...]
    left_out: int


@dataclass(frozen=True, slots=True)
class _Family:
    provider: str
    name: str
    currency: str
    rows: pl.DataFrame


async def plan(
    tx: Tx, actor: Actor, *, lake: Lake, prices: PriceList, wanted: Wanted, today: date, engine: str = DUCKDB
) -> Answer:
    """Choose how much to commit to, over quantiles of the forecast of what no commitment covers yet.

    Args:
        tx: Reading transaction.
        actor: Needs the right ``cost:read``.
        lake: The lake.
        prices: The price lists.
        wanted: What is asked for.
        today: Days after it are no facts; the first purchase is on the day after it.
        engine: Where the queries run.

    Raises:
        Invalid: No machine is billed, the bills cover less than four weeks, or no discount is known for any family.
    """
    actor.must("cost:read")
    span = await _span(tx, lake, wanted, today, engine)
    rows = await store.ask(tx, lake, eligible.covered_and_not(span), period=span, engine=engine)
    lost = await store.ask(tx, lake, eligible.unused(span), period=span, engine=engine)
    if wanted.provider:
        rows = rows.filter(pl.col("provider") == wanted.provider)
    if rows.is_empty():
        raise Invalid(
            "no machine is billed by the hour here", "Import bills with instance types, as CUR and FOCUS have."
        )
    return await asyncio.to_thread(_answer, rows, lost, prices, wanted, span, today)


async def _span(tx: Tx, lake: Lake, wanted: Wanted, today: date, engine: str) -> Period:
    """Return the days of bills looked at, up to the last that all providers asked for cover."""
    payers = await store.ask(tx, lake, queries.last_day(), period=None, engine=engine)
    mine = payers.filter(pl.col("provider") == wanted.provider) if wanted.provider else payers
    if mine.is_empty():
        raise Invalid("no bill is imported", "Import a bill with `bursar review`.")
    last, first = mine.select(pl.col("last").max(), pl.col("first").min()).row(0)
    end = min(last, today) + timedelta(days=1)
    start = max(first, end - timedelta(days=HISTORY_DAYS_MAX))
    if (end - start).days < HISTORY_DAYS_MIN:
        what = f"the bills cover {max((end - start).days, 0)} days"
        raise Invalid(what, f"A commitment is planned from {HISTORY_DAYS_MIN} days or more.")
    return Period(start, end)


def _answer(
    rows: pl.DataFrame, lost: pl.DataFrame, prices: PriceList, wanted: Wanted, span: Period, today: date
) -> Answer:
    told = eligible.with_families(rows)
    standing = {}
    for (provider, currency), group in told.group_by("provider", "currency", maintain_order=True):
        gone = lost.filter((pl.col("provider") == provider) & (pl.col("currency") == currency))["cost"].sum()
        standing[str(provider), str(currency)] = eligible.standing(group, float(gone or 0))
    families, left_out = _families(told)
    offers = {family.name: _offer(family, told, prices, wanted, span) for family in families}
    offered = [family for family in families if offers[family.name]]
    if families and not offered:
        raise Invalid(
            f"no discount is known for {wanted.years} years",
            "Load a price list (`bursar prices refresh`), or give a discount such as 0.3.",
        )
    plans: list[Planned] = []
    served: set[str] = set()
    for chosen in _groups(offered, wanted.scope):
        made, model = _plan(chosen, [offer for one in chosen if (offer := offers[one.name])], wanted, span, today)
        served.add(model)
        plans += [made] if made.plan.level >= LEVEL_MIN else []
    plans.sort(key=lambda one: one.plan.cost - one.plan.on_demand)
    without = tuple(family.name for family in families if not offers[family.name])
    hours = eligible.week_shape(told)[1]
    return Answer(span, hours, tuple(sorted(served)), standing, tuple(plans), without, left_out)


def _families(told: pl.DataFrame) -> tuple[list[_Family], int]:
    """Return the families that most is spent on without a commitment, and how many are left out."""
    found = []
    for (provider, name, currency), rows in told.group_by("provider", "family", "currency", maintain_order=True):
        uncovered = float(rows.filter(~pl.col("covered"))["plain"].sum() or 0)
        if uncovered > 0:
            found.append((uncovered, _Family(str(provider), f"{provider} {name}", str(currency), rows)))
    found.sort(key=lambda one: (-one[0], one[1].name, one[1].currency))
    return [family for _, family in found[:FAMILIES_MAX]], max(len(found) - FAMILIES_MAX, 0)


def _offer(family: _Family, told: pl.DataFrame, prices: PriceList, wanted: Wanted, span: Period) -> Offered | None:
    """Return the discount given, else the listed one, else that of the organisation's own commitments; None if unknown."""
    if wanted.discount is not None:
        return Offered(wanted.discount, Source.GIVEN, f"{wanted.years}y")
    on = span.end - timedelta(days=1)
    plain = prices.machines(on=on, providers=[family.provider])
    for term in wanted.terms:
        committed = prices.machines(on=on, providers=[family.provider], term=term)
        if (listed := eligible.listed_discount(family.rows, plain, committed)) is not None:
            return Offered(listed, Source.LISTED, term)
    mine = told.filter(pl.col("provider") == family.provider)
    for rows in (family.rows, mine):
        if (own := eligible.own_discount(rows)) is not None:
            return Offered(own, Source.OWN, "as bought before")
    return None


def _groups(families: Sequence[_Family], scope: Scope) -> list[list[_Family]]:
    if scope is Scope.FAMILY:
        return [[family] for family in families]
    groups: dict[tuple[str, str], list[_Family]] = {}
    for family in families:
        groups.setdefault((family.provider, family.currency), []).append(family)
    return list(groups.values())


def lineup() -> tuple[Forecaster, ...]:
    """Return the models that forecast demand: those that need no training over many series."""
    return (SeasonalNaive(), RunRate(), SeasonalMean(), Smoothing(), Theta(), Ridge())


def _plan(
    group: Sequence[_Family], offers: Sequence[Offered], wanted: Wanted, span: Period, today: date
) -> tuple[Planned, str]:
    days = np.stack([eligible.daily(family.rows, span) for family in group])
    starts = [np.datetime64(span.start, "h")] * len(group)
    panel = Panel.of([family.name for family in group], starts, list(days), grain=Grain.DAY, currency=group[0].currency)
    made = forecast_panel(panel, FORECAST_DAYS, models=lineup())
    outlook = eligible.Outlook(
        span.end, dict(zip(eligible.QUANTILES, (made.lower95, made.lower80, made.mean, made.upper80, made.upper95), strict=True))
    )  # fmt: skip
    shapes = np.stack([eligible.week_shape(family.rows)[0] for family in group])
    demand = eligible.scenarios(outlook, shapes, days=wanted.years * FORECAST_DAYS)
    offer = planner.Offer(np.ones(len(group)), np.array([1 - one.discount for one in offers]))
    found = planner.plan(demand, offer)
    main, count = _main(group, found.level, offers)
    first = add_months(month_of(today), 1)
    purchases = tuple((add_months(first, index), part) for index, part in enumerate(found.ladder))
    names = tuple(family.name.partition(" ")[2] for family in group)
    planned = Planned(group[0].provider, names, tuple(offers), group[0].currency, found, purchases, main, count)
    return planned, made.served_by(0)


def _main(group: Sequence[_Family], level: float, offers: Sequence[Offered]) -> tuple[str, float]:
    """Return the type that most is spent on lately, and how many of it a level reserves; no number for several families."""
    rows = group[0].rows
    latest = rows["day"].max()
    since = latest - timedelta(days=LATELY_DAYS) if isinstance(latest, date) else None
    open_ = rows.filter(~pl.col("covered") & (pl.col("day") > since))
    if open_.is_empty():
        open_ = rows.filter(~pl.col("covered"))
    types = open_.group_by("instance_type").agg(pl.col("plain").sum().cast(pl.Float64)).sort("plain", descending=True)
    name = str(types["instance_type"][0])
    paid, hours = (
        open_.filter(pl.col("instance_type") == name).select(pl.col("plain", "hours").sum().cast(pl.Float64)).row(0)
    )
    if len(group) > 1 or not hours or not paid:
        return name, 0.0
    return name, level / (paid / hours * (1 - offers[0].discount))
