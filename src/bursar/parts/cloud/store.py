"""What cloud reads of the lake, one function per question; rows come back as frames."""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta

import polars as pl
from sqlglot import exp

from bursar.infra.db import Tx
from bursar.infra.lake import Lake
from bursar.infra.lake_query import query
from bursar.kernel.lines import COST_LINES, INVOICE_DETAIL_LINES, MEASURE_LINES, UTILISATION_LINES
from bursar.kernel.period import Period, add_months
from bursar.parts.cloud.rules.telling import KEY_COLUMNS, KEY_SEPARATOR, line_key

ASKED = (COST_LINES, UTILISATION_LINES, MEASURE_LINES)
"""The datasets that questions are asked of."""

ROWS_A_RESOURCE = 5


async def ask(tx: Tx, lake: Lake, expression: exp.Query, *, period: Period | None, engine: str) -> pl.DataFrame:
    """Run a query over the cost lines, utilisation or quantities; ``period`` limits the files that are opened.

    A bill of one month may hold lines of the month before or after, so their files are opened as well.
    """
    months = list(around(period)) if period else None
    return await query(lake, tx, expression, schemas=ASKED, months=months, engine=engine)


def around(period: Period) -> Iterable[date]:
    """Yield the first days of the months of ``period``, one more on either side."""
    months = list(period.months())
    yield add_months(months[0], -1)
    yield from months
    yield add_months(months[-1], 1)


async def telling_rows(tx: Tx, lake: Lake, period: Period, *, ids: Sequence[str]) -> pl.DataFrame:
    """Return the dearest lines of resources or commitments, at most :data:`ROWS_A_RESOURCE` each, with all counted.

    Returns:
        Columns ``id``, ``batch``, ``row``, ``text``, ``cost``, ``currency``, ``total`` (lines of that id).
    """
    lines = await _lines(tx, lake, around(period))
    day = pl.col("charge_period_start").dt.date()
    wanted = pl.Series("id", sorted(set(ids)), dtype=pl.String())
    unused = pl.col("commitment_discount_status").fill_null("").eq("Unused")
    name = pl.when(unused).then(pl.col("commitment_discount_id")).otherwise(pl.col("resource_id"))
    kept = lines.filter((day >= period.start) & (day < period.end)).with_columns(name.alias("id"))
    return _dearest(kept.filter(pl.col("id").is_in(wanted.implode())), pl.lit(value=False))


async def rows_of_keys(tx: Tx, lake: Lake, wanted: Sequence[tuple[int, str, date, date, bool]]) -> pl.DataFrame:
    """Return the dearest lines by number, of keys (:func:`~…rules.telling.line_key`) between two days, both included.

    The last of each tells whether its lines are ranked by their billed cost instead of the effective one.

    Returns:
        As :func:`telling_rows`; ``id`` is the number as text.
    """
    asked = pl.DataFrame(wanted, schema=["id", "key", "from", "to", "billed"], orient="row").with_columns(
        pl.col("id").cast(pl.String)
    )
    days = Period(min(one[2] for one in wanted), max(one[3] for one in wanted) + timedelta(days=1))
    services = pl.Series(sorted({key.split(KEY_SEPARATOR)[SERVICE] for key in asked["key"].to_list()}))
    lines = await _lines(tx, lake, around(days))
    day = pl.col("charge_period_start").dt.date()
    kept = (
        lines.filter((day >= days.start) & (day < days.end))
        .filter(pl.col("service_name").fill_null("").is_in(services.implode()))
        .with_columns(line_key().alias("key"), day.alias("day"))
        .join(asked.lazy(), on="key")
        .filter(pl.col("day").is_between("from", "to"))
    )
    return _dearest(kept, pl.col("billed"))


SERVICE = KEY_COLUMNS.index("service_name")


async def _lines(tx: Tx, lake: Lake, months: Iterable[date]) -> pl.LazyFrame:
    lines = await lake.scan(tx, COST_LINES, months=months)
    if "batch" not in lines.collect_schema().names():
        lines = lines.with_columns(pl.lit("").alias("batch"))
    return lines


def _dearest(lines: pl.LazyFrame, billed: pl.Expr) -> pl.DataFrame:
    """Return the dearest lines of each ``id``, by billed cost where ``billed`` says so."""
    words = [
        pl.col("charge_period_start").dt.date().cast(pl.String),
        pl.col("service_name").fill_null(""),
        pl.coalesce("charge_description", "sku_meter").fill_null(""),
    ]
    return (
        lines.select(
            "id",
            "batch",
            "row",
            pl.concat_str(words, separator=" ").alias("text"),
            pl.when(billed).then("billed_cost").otherwise(pl.coalesce("effective_cost", "billed_cost")).alias("cost"),
            "currency",
        )
        .with_columns(pl.len().over("id").alias("total"))
        .sort("cost", "row", descending=[True, False])
        .group_by("id", maintain_order=True)
        .head(ROWS_A_RESOURCE)
        .collect()
    )


async def invoice_details(tx: Tx, lake: Lake, months: Sequence[date]) -> pl.DataFrame:
    """Return the imported invoice details of billing months: invoice, issuer, month, category, currency, amount."""
    lines = await lake.scan(tx, INVOICE_DETAIL_LINES, months=months)
    return (
        lines.filter(~pl.col("issue_status").fill_null("").str.to_lowercase().eq("voided"))
        .group_by("invoice_id", "invoice_issuer", "billing_period_start", "charge_category", "currency")
        .agg(pl.col("billed_cost").sum())
        .sort("billing_period_start", "invoice_id", "charge_category", nulls_last=True)
        .collect()
    )
