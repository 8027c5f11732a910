"""What cloud reads of the lake, one function per question; rows come back as frames."""

from collections.abc import Iterable, Sequence
from datetime import date

import polars as pl
from sqlglot import exp

from bursar.infra.db import Tx
from bursar.infra.lake import Lake
from bursar.infra.lake_query import query
from bursar.kernel.lines import COST_LINES, INVOICE_DETAIL_LINES
from bursar.kernel.period import Period, add_months

ROWS_A_RESOURCE = 5


async def ask(tx: Tx, lake: Lake, expression: exp.Query, *, period: Period | None, engine: str) -> pl.DataFrame:
    """Run a query over the cost lines; ``period`` limits the files that are opened.

    A bill of one month may hold lines of the month before or after, so their files are opened as well.
    """
    months = list(around(period)) if period else None
    return await query(lake, tx, expression, schemas=[COST_LINES], months=months, engine=engine)


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
    lines = await lake.scan(tx, COST_LINES, months=around(period))
    if "batch" not in lines.collect_schema().names():
        lines = lines.with_columns(pl.lit("").alias("batch"))
    day = pl.col("charge_period_start").dt.date()
    wanted = pl.Series("id", sorted(set(ids)), dtype=pl.String())
    unused = pl.col("commitment_discount_status").fill_null("").eq("Unused")
    name = pl.when(unused).then(pl.col("commitment_discount_id")).otherwise(pl.col("resource_id"))
    words = [
        day.cast(pl.String),
        pl.col("service_name").fill_null(""),
        pl.coalesce("charge_description", "sku_meter").fill_null(""),
    ]
    return (
        lines.filter((day >= period.start) & (day < period.end))
        .select(
            name.alias("id"),
            "batch",
            "row",
            pl.concat_str(words, separator=" ").alias("text"),
            pl.coalesce("effective_cost", "billed_cost").alias("cost"),
            "currency",
        )
        .filter(pl.col("id").is_in(wanted.implode()))
        .with_columns(pl.len().over("id").alias("total"))
        .sort("cost", descending=True)
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
