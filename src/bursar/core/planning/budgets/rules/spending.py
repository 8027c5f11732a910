"""Spending from grouped facts: exact sums of what a filter takes; pure."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal

import polars as pl

from bursar.core.planning.rules.series import KEY_SEPARATOR
from bursar.core.planning.series.rules import TOTAL, TOTAL_LEVEL, Source, text_of
from bursar.kernel.money import Money
from bursar.kernel.period import Period


def matching(source: Source, filter_: Mapping[str, Sequence[str]]) -> list[pl.Expr]:
    """Return one condition for each dimension of a filter."""
    out = []
    for name, values in filter_.items():
        column = source.column(name)
        assert column is not None, name
        out.append(text_of(column).is_in(list(values)))
    return out


def summed(source: Source, sums: pl.DataFrame, filter_: Mapping[str, Sequence[str]]) -> pl.DataFrame:
    """Sum what counts exactly by currency and day, from the grouping of the series."""
    chosen = [pl.col(f"part{source.levels.index(name)}").is_in(list(values)) for name, values in filter_.items()]
    return sums.filter(*chosen).group_by("currency", "day").agg(pl.col("amount").sum())


def scanned(source: Source, lines: pl.LazyFrame, filter_: Mapping[str, Sequence[str]]) -> pl.DataFrame:
    """Sum what counts exactly by currency and day, from the rows, for a filter that the series cannot answer."""
    day = pl.col(source.schema.day).cast(pl.Date).alias("day")
    chosen = lines.filter(*matching(source, filter_)).group_by("currency", day)
    return chosen.agg(pl.col(source.amount).sum().alias("amount")).collect(engine="streaming")


def spent(sums: pl.DataFrame, currency: str, period: Period, *, until: date | None = None) -> Money:
    """Return what was spent in a period, exactly, optionally only up to a day."""
    inside = (pl.col("currency") == currency) & pl.col("day").is_between(period.start, period.end, closed="left")
    if until is not None:
        inside &= pl.col("day") <= until
    return Money.rounded(Decimal(sums.filter(inside)["amount"].sum() or 0), currency)


def last_day(sums: pl.DataFrame, currency: str) -> date | None:
    """Return the last day with facts of a currency, None without any."""
    found: date | None = sums.filter(pl.col("currency") == currency)["day"].max()  # type: ignore[assignment]
    return found


def others(sums: pl.DataFrame, currency: str, period: Period) -> tuple[Money, ...]:
    """Return what was spent in other currencies."""
    found = sorted({str(one) for one in sums["currency"].unique().to_list()} - {currency})
    return tuple(amount for one in found if (amount := spent(sums, one, period)).minor)


def node_of(source: Source, filter_: Mapping[str, Sequence[str]]) -> tuple[str, str] | None:
    """Return level and key of the node that a filter is equal to; None when it is not one node."""
    names = source.levels[: len(filter_)]
    if set(filter_) != set(names) or any(len(set(values)) != 1 for values in filter_.values()):
        return None
    return (names[-1], KEY_SEPARATOR.join(filter_[name][0] for name in names)) if names else (TOTAL_LEVEL, TOTAL)


def by_key(sums: pl.DataFrame, names: Sequence[str]) -> dict[str, float]:
    """Sum by the key of the leaf series, major units."""
    out: dict[str, float] = defaultdict(float)
    keyed = sums.with_columns(pl.concat_str(names, separator=KEY_SEPARATOR).alias("key"))
    for key, amount in keyed.group_by("key").agg(pl.col("amount").cast(pl.Float64).sum()).iter_rows():
        out[str(key)] += float(amount)
    return out
