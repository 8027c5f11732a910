"""Two years of charges by month: what the rules look back at, as exact rows and as a grid of months."""

import calendar
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bursar.kernel.period import Period, add_months, month_of
from bursar.parts.cloud.rules.queries import Payer
from bursar.parts.cloud.rules.telling import KEY_SEPARATOR, line_key
from bursar.parts.cloud.rules.waste import NAME_TAG

HISTORY_MONTHS = 25
"""How far the rules look back: the last two years and the month before."""


Floats = NDArray[np.float64]


@dataclass(frozen=True)
class History:
    """Charges by key and month.

    Attributes:
        rows: One row per key and month: ``key``, its columns, ``month``, exact ``cost``, ``price_cost``, ``quantity``,
            ``lines``, ``first_day``, ``last_day``, and ``until``, the day after the last that the payer's bills cover.
        keys: Keys in order, shape (n,).
        months: First days of months in order, shape (m,).
        cost: Cost of key and month in major units, shape (n, m); NaN where there is no charge or the month is incomplete.
        price_cost: Cost before commitments, same shape.
        quantity: Quantity, same shape; NaN where unknown.
        last: Index of the last complete month of each key's payer, shape (n,); -1 where there is none.
        runs: How many months in a row each key was charged for, up to ``last``; shape (n,).
        slices: Where the rows of a key begin, and how many there are.
    """

    rows: pl.DataFrame
    keys: tuple[str, ...]
    months: tuple[date, ...]
    cost: Floats
    price_cost: Floats
    quantity: Floats
    last: NDArray[np.int64]
    runs: NDArray[np.int64]
    slices: Mapping[str, tuple[int, int]]

    def of(self, key: str) -> pl.DataFrame:
        """Return the rows of a key by month."""
        return self.rows.slice(*self.slices[key])

    def latest(self, key: str) -> dict[str, Any]:
        """Return the row of the last month of a key."""
        return self.of(key).row(-1, named=True)

    def cell(self, key: str, at: int) -> dict[str, Decimal]:
        """Return the exact ``cost``, ``price_cost`` and ``quantity`` of a key in the month at an index."""
        row = self.of(key).filter(pl.col("month") == self.months[at]).row(0, named=True)
        return {name: row[name] or Decimal(0) for name in ("cost", "price_cost", "quantity")}

    def span(self, first: int, last: int) -> Period:
        """Return the days of the months between two indices, both included."""
        return Period(self.months[first], add_months(self.months[last], 1))


def complete(month: date, first: date, until: date) -> bool:
    """Tell whether bills from ``first`` up to (not including) ``until`` cover all of ``month``."""
    return first <= month and add_months(month, 1) <= until


def history(months: pl.DataFrame, covered: Mapping[Payer, Period]) -> History:
    """Lay the answer of :func:`~bursar.parts.cloud.rules.queries.months` on a grid.

    Args:
        months: Rows of that query.
        covered: The days that the bills of each payer cover.
    """
    spans = {KEY_SEPARATOR.join(payer): span for payer, span in covered.items()}
    payer = pl.concat_str("provider", pl.col("billing_account_id").fill_null(""), separator=KEY_SEPARATOR)
    until = pl.col("payer").replace_strict(
        {name: span.end for name, span in spans.items()}, default=None, return_dtype=pl.Date()
    )
    rows = (
        months.with_columns(
            line_key().alias("key"),
            payer.alias("payer"),
            pl.coalesce("resource_name", pl.col("tags").str.extract(NAME_TAG), "resource_id", "service_name").alias(
                "name"
            ),
        )
        .filter(pl.col("payer").is_in(list(spans)))
        .with_columns(until.alias("until"))
    )
    rows = _one_a_month(rows)
    counts = rows.group_by("key", maintain_order=True).len()
    keys = counts["key"].to_list()
    begins = (counts["len"].cum_sum() - counts["len"]).to_list()
    starts = sorted(rows["month"].unique().to_list())
    calendar_ = _months_between(starts[0], starts[-1]) if starts else ()
    place = {key: at for at, key in enumerate(keys)}
    column = {month: at for at, month in enumerate(calendar_)}
    ends = {name: _last_complete(span, calendar_) for name, span in spans.items()}
    at = (
        np.array([place[key] for key in rows["key"].to_list()], dtype=int),
        np.array([column[month] for month in rows["month"].to_list()], dtype=int),
    )
    whole = np.array(
        [complete(month, month_of(spans[name].start), spans[name].end) for name, month in rows.select("payer", "month").iter_rows()],
        dtype=bool,
    )  # fmt: skip
    grids = []
    for name in ("cost", "price_cost", "quantity"):
        grid = np.full((len(keys), len(calendar_)), np.nan)
        values = rows[name].cast(pl.Float64).to_numpy().copy()
        values[~whole] = np.nan
        grid[at] = values
        grids.append(grid)
    last = np.array([ends[KEY_SEPARATOR.join(key.split(KEY_SEPARATOR, 2)[:2])] for key in keys], dtype=np.int64)
    slices = dict(zip(keys, zip(begins, counts["len"].to_list(), strict=True), strict=True))
    return History(
        rows, tuple(keys), calendar_, grids[0], grids[1], grids[2], last, _runs(~np.isnan(grids[0]), last), slices
    )


def _runs(charged: NDArray[np.bool_], last: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many months in a row each key was charged for, counting back from its last complete one."""
    runs = np.zeros(len(last), dtype=np.int64)
    going = last >= 0
    for back in range(charged.shape[1]):
        at = last - back
        going &= at >= 0
        going &= charged[np.arange(len(last)), np.maximum(at, 0)]
        runs += going
    return runs


def _one_a_month(rows: pl.DataFrame) -> pl.DataFrame:
    """Add up what the query kept apart (SKUs, ways of paying) of one key and month."""
    told = ("provider", "billing_account_id", "sub_account_id", "service_name", "service_category", "resource_id", "name",
            "resource_type", "sku_meter", "instance_type", "pricing_unit", "charge_category", "charge_description",
            "currency", "tags", "until", "payer")  # fmt: skip
    committed = pl.col("commitment_discount_status").is_not_null() | pl.col("pricing_category").fill_null(
        "Standard"
    ).ne("Standard")
    return (
        rows.group_by("key", "month", maintain_order=True)
        .agg(
            *[pl.col(name).drop_nulls().first() for name in told],
            committed.any().alias("committed"),
            pl.col("cost").sum(),
            pl.col("price_cost").sum(),
            pl.when(pl.col("quantity").is_null().any())
            .then(None)
            .otherwise(pl.col("quantity").sum())
            .alias("quantity"),
            pl.col("lines").sum(),
            pl.col("first_day").min(),
            pl.col("last_day").max(),
        )
        .sort("key", "month")
    )


def _months_between(first: date, last: date) -> tuple[date, ...]:
    count = (last.year - first.year) * 12 + last.month - first.month
    return tuple(add_months(first, index) for index in range(count + 1))


def _last_complete(span: Period, months: tuple[date, ...]) -> int:
    found = [at for at, month in enumerate(months) if complete(month, month_of(span.start), span.end)]
    return found[-1] if found else -1


def lifetimes(seen: History) -> pl.DataFrame:
    """Return each named resource's first and last day of usage, its names and what it is.

    Returns:
        One row per provider, account and resource: ``provider``, ``sub_account_id``, ``resource_id``, ``service_name``,
        ``service_category``, ``currency``, ``name``, ``names`` (lower case), ``text`` (its meters, lower case), ``units``,
        ``resource_type``, ``first_day``, ``last_day``, ``until``.
    """
    used = seen.rows.filter((pl.col("charge_category") == "Usage") & pl.col("resource_id").is_not_null())
    tail = pl.col("resource_id").str.extract(r"([^/:]+)$").fill_null("")
    return (
        used.group_by("provider", "sub_account_id", "resource_id", "service_name", "currency", maintain_order=True)
        .agg(
            pl.col("service_category").drop_nulls().first(),
            pl.col("tags").drop_nulls().first(),
            pl.col("name").drop_nulls().first(),
            pl.concat_str(pl.col("sku_meter").fill_null(""), pl.col("charge_description").fill_null(""), separator=" | ")
            .unique()
            .str.join("; ")
            .str.to_lowercase()
            .alias("text"),
            pl.col("pricing_unit").drop_nulls().unique().str.join("; ").str.to_lowercase().alias("units"),
            pl.col("resource_type").drop_nulls().first(),
            pl.col("cost").sum(),
            pl.col("first_day").min(),
            pl.col("last_day").max(),
            pl.col("until").first(),
        )
        .with_columns(pl.concat_list(pl.col("name").str.to_lowercase(), tail.str.to_lowercase()).alias("names"))
        .sort("provider", "sub_account_id", "resource_id", "service_name", "currency")
    )  # fmt: skip


def days_of(month: date) -> int:
    """Return the number of days of the month that begins on ``month``."""
    return calendar.monthrange(month.year, month.month)[1]


def month_end(month: date) -> date:
    """Return the last day of the month that begins on ``month``."""
    return add_months(month, 1) - timedelta(days=1)
