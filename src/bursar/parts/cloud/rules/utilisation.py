"""What imported utilisation proves about a machine: percentiles of CPU, the most memory used, and for how long."""

from datetime import timedelta

import polars as pl
from sqlglot import exp

from bursar.kernel.period import Period
from bursar.parts.cloud.rules.dimensions import column
from bursar.parts.cloud.rules.queries import within_instants

LOOK_BACK_DAYS = 45
"""Measurements older than this, counted from the last day that the bill covers, prove nothing about today."""

EVIDENCE_DAYS_MIN = 14
"""A shorter time may have missed the busy days of two weeks."""

MACHINES_MAX = 100_000
"""Most pairs of a machine and a metric that are looked at."""

CPU, MEMORY = "cpu", "memory"


KEYS = ("provider", "sub_account_id", "resource_id", "metric")


def evidence(period: Period) -> exp.Query:
    """Return the query for what was measured: one row per resource and metric.

    A sample counts by its maximum, else its 99th or 95th percentile, else its average; percentiles that a source gives itself
    go before those over samples.

    Source:
        Percentiles by the nearest rank: the smallest sample that at least that share of the samples does not exceed.
    """
    asked = Period(period.end - timedelta(days=LOOK_BACK_DAYS), period.end)
    high = exp.cast(exp.func("coalesce", *[column(name) for name in ("maximum", "p99", "p95", "average")]), "double")
    same = [column(name) for name in KEYS]
    order = exp.Order(expressions=[exp.Ordered(this=high.copy(), nulls_first=True)])
    ranked = (
        exp.select(
            *KEYS, "resource_name", "maximum", "days",
            *[exp.cast(column(name), "double").as_(name) for name in ("p95", "p99")],
            exp.cast(column("measured_at"), "date").as_("day"),
            high.as_("high"),
            exp.Window(this=exp.RowNumber(), partition_by=same, order=order).as_("place"),
            exp.Window(this=exp.Count(this=exp.Star()), partition_by=[one.copy() for one in same]).as_("whole"),
        )
        .from_("utilisation")
        .where(within_instants("measured_at", asked))
    )  # fmt: skip
    return (
        exp.select(
            *KEYS,
            exp.func("max", column("resource_name")).as_("resource_name"),
            _percentile("p95", "0.95").as_("p95"),
            _percentile("p99", "0.99").as_("p99"),
            exp.func("max", column("high")).as_("peak"),
            exp.func("count", exp.Star()).as_("samples"),
            exp.func("count", column("maximum")).as_("maxima"),
            exp.Count(this=exp.Distinct(expressions=[column("day")])).as_("days_seen"),
            exp.func("max", column("days")).as_("days_summed"),
        )
        .from_(ranked.subquery("ranked"))
        .group_by(*[exp.Literal.number(index + 1) for index in range(len(KEYS))])
        .limit(MACHINES_MAX)
    )


def _percentile(given: str, share: str) -> exp.Expr:
    rank = exp.Ceil(this=exp.Mul(this=column("whole"), expression=exp.Literal.number(share)))
    upto = exp.Case().when(exp.LTE(this=column("place"), expression=rank), column("high"))
    return exp.func("coalesce", exp.func("max", column(given)), exp.func("max", upto))


def _tail(name: str) -> pl.Expr:
    return pl.col(name).fill_null("").str.extract(r"([^/:]+)$").fill_null("").str.to_lowercase()


EVIDENCE = {
    "cpu_p95": pl.Float64(), "cpu_p99": pl.Float64(), "cpu_peak": pl.Float64(), "memory_peak": pl.Float64(),
    "measured_days": pl.Int64(), "samples": pl.Int64(), "averages": pl.Boolean(),
}  # fmt: skip
"""Columns that :func:`measured` adds; percent of the whole machine."""


def measured(found: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Add to machines what was measured of them for two weeks or longer.

    Args:
        found: Of :func:`~bursar.parts.cloud.rules.machines.machines`.
        rows: Of :func:`evidence`. A machine is known by the end of its id or by its name, and by its account where both tell.

    Returns:
        The machines with :data:`EVIDENCE`; null where nothing, or not enough, was measured. ``averages`` says that the source
        tells no maxima.
    """
    long_enough = rows.with_columns(
        pl.max_horizontal("days_seen", pl.col("days_summed").fill_null(0)).cast(pl.Int64).alias("days")
    ).filter(pl.col("days") >= EVIDENCE_DAYS_MIN)
    named = pl.concat(
        [
            long_enough.with_columns(key.alias("key"))
            for key in (_tail("resource_id"), pl.col("resource_name").fill_null("").str.to_lowercase())
        ]
    ).filter(pl.col("key") != "")
    places = named.with_columns(_tail("sub_account_id").alias("place")).unique(
        ["provider", "key", "place", "metric"], keep="first", maintain_order=True
    )
    plain = found.with_columns(_tail("resource_id").alias("key"), _tail("account").alias("_account"))
    joined = plain.select("resource", "currency", "provider", "key", "_account").join(places, on=["provider", "key"])
    joined = joined.filter(
        (pl.col("place") == pl.col("_account")) | (pl.col("place") == "") | (pl.col("_account") == "")
    )
    cpu, memory = (_of(joined, metric) for metric in (CPU, MEMORY))
    on = ["resource", "currency"]
    added = found.join(cpu, on=on, how="left", maintain_order="left").join(
        memory.select(*on, pl.col("peak").alias("memory_peak"), pl.col("days").alias("_days")),
        on=on,
        how="left",
        maintain_order="left",
    )
    return (
        added.rename({"p95": "cpu_p95", "p99": "cpu_p99", "peak": "cpu_peak"})
        .with_columns(pl.min_horizontal("days", "_days").alias("measured_days"))
        .drop("days", "_days")
    )


def _of(joined: pl.DataFrame, metric: str) -> pl.DataFrame:
    """Return the evidence of one metric by resource."""
    return (
        joined.filter(pl.col("metric") == metric)
        .group_by("resource", "currency", maintain_order=True)
        .agg(
            pl.col("p95", "p99", "peak", "days").max(),
            pl.col("samples").sum().cast(pl.Int64),
            (pl.col("maxima").sum() == 0).alias("averages"),
        )
    )
