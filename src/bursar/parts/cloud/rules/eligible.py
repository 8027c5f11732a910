"""What a commitment could cover: machines paid for by the hour, by family and day; what commitments cover already."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from sqlglot import exp

from bursar.kernel.period import Period
from bursar.parts.cloud.rules.commitments import Floats
from bursar.parts.cloud.rules.dimensions import CostKind, column, cost, day
from bursar.parts.cloud.rules.machines import model_of
from bursar.parts.cloud.rules.queries import USES_MAX, within

HOURS_A_DAY = 24
WEEK_HOURS = 7 * HOURS_A_DAY

QUANTILES = (0.025, 0.1, 0.5, 0.9, 0.975)
"""The quantiles that a forecast with intervals of 80 and 95 % tells."""

SCENARIOS = 20
"""Equally likely levels of demand."""

DISCOUNT_MIN, DISCOUNT_MAX = 0.02, 0.95
"""No provider gives less or more; what seems to be outside is a bill that does not tell what would have been paid."""

KEYS = ("provider", "instance_type", "currency")


def covered_and_not(period: Period) -> exp.Query:
    """Return the query for machines by type, day and hour: what they cost, and what they would cost on demand.

    A reserved hour that a report bills at nothing has the list price for what it would cost.
    """
    committed = exp.func("coalesce", column("commitment_discount_status"), exp.Literal.string("")).eq(
        exp.Literal.string("Used")
    )
    contracted = exp.Nullif(this=column("contracted_cost"), expression=exp.Literal.number(0))
    plain = exp.func("coalesce", contracted, column("list_cost"), cost(CostKind.EFFECTIVE))
    hour = exp.Extract(this=exp.var("hour"), expression=column("charge_period_start"))
    return (
        exp.select(
            *KEYS,
            day().as_("day"),
            hour.as_("hour"),
            committed.as_("covered"),
            exp.func("sum", cost(CostKind.EFFECTIVE)).as_("cost"),
            exp.func("sum", exp.Case().when(committed.copy(), plain).else_(cost(CostKind.EFFECTIVE))).as_("plain"),
            exp.func("sum", column("pricing_quantity")).as_("hours"),
        )
        .from_("cost")
        .where(within(period))
        .where(column("charge_category").eq(exp.Literal.string("Usage")))
        .where(column("instance_type").is_(exp.null()).not_())
        .where(column("service_category").eq(exp.Literal.string("Compute")))
        .where(exp.func("coalesce", column("pricing_category"), exp.Literal.string("Standard")).isin(
            exp.Literal.string("Standard"), exp.Literal.string("Committed")))
        .group_by(*[exp.Literal.number(index + 1) for index in range(len(KEYS) + 3)])
        .limit(USES_MAX)
    )  # fmt: skip


def unused(period: Period) -> exp.Query:
    """Return the query for what is paid for commitments and not used, per provider and currency."""
    return (
        exp.select("provider", "currency", exp.func("sum", cost(CostKind.EFFECTIVE)).as_("cost"))
        .from_("cost")
        .where(within(period))
        .where(column("commitment_discount_status").eq(exp.Literal.string("Unused")))
        .group_by(exp.Literal.number(1), exp.Literal.number(2))
        .limit(USES_MAX)
    )


def family_of(instance_type: str) -> str:
    """Return what a reservation is bought for: the family of an instance type, or the type itself."""
    name, dot, _ = instance_type.partition(".")
    if dot:
        return name
    model = model_of(instance_type)
    return (
        instance_type
        if model is None
        else f"{model.letters.upper()}{model.chip}{model.extras} v{model.generation}"
        if model.provider == "azure"
        else model.letters
    )


def with_families(rows: pl.DataFrame) -> pl.DataFrame:
    """Add the column ``family``."""
    names = {name: family_of(name) for name in rows["instance_type"].unique().to_list()}
    return rows.with_columns(
        pl.col("instance_type").replace_strict(names, default=None, return_dtype=pl.String()).alias("family")
    )


def daily(rows: pl.DataFrame, span: Period) -> Floats:
    """Return the uncovered cost of each day of ``span``, shape (days,); a day without is 0."""
    out = np.zeros(span.days)
    sums = rows.filter(~pl.col("covered")).group_by("day").agg(pl.col("plain").sum().cast(pl.Float64))
    at = [(value - span.start).days for value in sums["day"].to_list()]
    out[at] = sums["plain"].to_numpy()
    return np.maximum(out, 0.0)


def week_shape(rows: pl.DataFrame) -> tuple[Floats, bool]:
    """Return how a day's demand spreads over its hours, shape (7, 24), mean 1 for each weekday, and whether it was measured.

    A bill by the day says nothing about hours: then every hour of a day is taken to be alike.
    """
    shape = np.ones((7, HOURS_A_DAY))
    if rows["hour"].n_unique() < HOURS_A_DAY / 2:
        return shape, False
    sums = (
        rows.filter(~pl.col("covered"))
        .group_by(pl.col("day").dt.weekday().alias("weekday"), "hour")
        .agg(pl.col("plain").sum().cast(pl.Float64))
    )
    found = np.zeros_like(shape)
    found[sums["weekday"].to_numpy().astype(int) - 1, sums["hour"].to_numpy().astype(int)] = sums["plain"].to_numpy()
    mean = found.mean(axis=1, keepdims=True)
    return np.where(mean > 0, found / np.where(mean > 0, mean, 1.0), shape), True


@dataclass(frozen=True, slots=True)
class Outlook:
    """The quantiles of a forecast of daily demand, each of shape (families, days), from ``start`` on."""

    start: date
    quantiles: Mapping[float, Floats]


def scenarios(outlook: Outlook, shapes: Floats, *, days: int) -> Floats:
    """Return equally likely demands by the hour.

    Args:
        outlook: The forecast; when it ends before ``days`` its last year repeats.
        shapes: Shape (families, 7, 24), of :func:`week_shape`.
        days: How long the commitment runs; of it every fourth week is looked at, which is enough for its mean.

    Returns:
        Shape (:data:`SCENARIOS`, hours, families): on-demand cost of each hour, in major units.

    Source:
        The expected cost of a commitment depends on the demand of each hour alone, so moving all hours to the same quantile
        (comonotone paths) gives the same expectation as any other dependence between them.
    """
    levels = np.array(QUANTILES)
    known = np.stack([outlook.quantiles[level] for level in QUANTILES])
    weeks = np.arange(0, max(days // 7, 1), 4)
    chosen = (weeks[:, None] * 7 + np.arange(7)).ravel() % known.shape[2]
    asked = (np.arange(SCENARIOS) + 0.5) / SCENARIOS
    upper = np.clip(np.searchsorted(levels, asked), 1, len(levels) - 1)
    share = np.clip((asked - levels[upper - 1]) / (levels[upper] - levels[upper - 1]), 0.0, 1.0)[:, None, None]
    picked = known[:, :, chosen]
    paths = np.maximum(picked[upper - 1] * (1 - share) + picked[upper] * share, 0.0)
    weekdays = (outlook.start.weekday() + chosen) % 7
    hourly = paths[..., None] / HOURS_A_DAY * shapes[:, weekdays, :][None]
    out: Floats = np.moveaxis(hourly.reshape(SCENARIOS, known.shape[1], -1), 1, 2)
    return out


@dataclass(frozen=True, slots=True)
class Standing:
    """How commitments do now, in shares: what they cover, how much of them is used, and what they save in all."""

    coverage: float
    utilisation: float
    savings_rate: float


def standing(rows: pl.DataFrame, lost: float) -> Standing:
    """Return how the commitments of one provider and currency did.

    Args:
        rows: Of :func:`covered_and_not`.
        lost: What was paid for commitments and not used.
    """
    sums = rows.group_by("covered").agg(pl.col("cost", "plain").sum().cast(pl.Float64))
    by = {covered: (paid, plain) for covered, paid, plain in sums.iter_rows()}
    used, used_plain = by.get(True, (0.0, 0.0))
    open_, open_plain = by.get(False, (0.0, 0.0))
    whole = used_plain + open_plain
    return Standing(
        coverage=used_plain / whole if whole > 0 else 0.0,
        utilisation=used / (used + lost) if used + lost > 0 else 0.0,
        savings_rate=1 - (used + lost + open_) / whole if whole > 0 else 0.0,
    )


def own_discount(rows: pl.DataFrame) -> float | None:
    """Return the discount that the organisation's own commitments give; None where none is used or it saves nothing."""
    used = rows.filter("covered").select(pl.col("cost", "plain").sum().cast(pl.Float64)).row(0)
    share = 1 - used[0] / used[1] if used[1] else 0.0
    return share if DISCOUNT_MIN <= share <= DISCOUNT_MAX else None


def listed_discount(rows: pl.DataFrame, on_demand: pl.DataFrame, committed: pl.DataFrame) -> float | None:
    """Return the discount that price lists give for the types in use, weighted by their cost; None where none is listed.

    Args:
        rows: Uncovered machines of one family.
        on_demand: ``provider``, ``instance_type``, ``region``, ``os`` and ``price``.
        committed: The same at a committed term.
    """
    keys = ["provider", "_type", "region", "os"]
    sides = [
        frame.with_columns(pl.col("instance_type").str.to_lowercase().alias("_type")).select(*keys, "price")
        for frame in (on_demand, committed)
    ]
    pairs = (
        sides[0]
        .join(sides[1].rename({"price": "less"}), on=keys)
        .with_columns((1 - pl.col("less").cast(pl.Float64) / pl.col("price").cast(pl.Float64)).alias("discount"))
    )
    mean = pairs.group_by("provider", "_type").agg(pl.col("discount").mean())
    cost_of = (
        rows.filter(~pl.col("covered"))
        .group_by("provider", pl.col("instance_type").str.to_lowercase().alias("_type"))
        .agg(pl.col("plain").sum().cast(pl.Float64))
    )
    both = cost_of.join(mean, on=["provider", "_type"])
    if both.is_empty():
        return None
    weights, discounts = both["plain"].to_numpy(), both["discount"].to_numpy()
    share = float(np.average(discounts, weights=weights)) if weights.sum() > 0 else 0.0
    return share if DISCOUNT_MIN <= share <= DISCOUNT_MAX else None
