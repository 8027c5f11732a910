"""Dates as people write them: the order of day and month is decided once, from the whole column."""

from dataclasses import dataclass

import polars as pl

from bursar.connectors.banks._amounts import sane

_PARTS = r"^\s*(?:[A-Za-z]{2,9}\.?,?\s+)?(\d{1,4})\s*[./\-' ]\s*(\d{1,2})\s*[./\-' ]\s*(\d{1,4})(?:\D|$)"
_NO_YEAR = r"^0\d{3}[./\-]|[./\-]0\d{3}(?:\D|$)"
"""A year of four digits that begins with 0 is a typing error, and none of two digits."""
_COMPACT = r"^\s*(\d{8})(?:\D|$)"
_NAMED = r"^\s*(?:[A-Za-z]{2,9}\.?,?\s+)?(\d{1,2})(?:st|nd|rd|th|\.)?[ \-/]+([\p{L}]{3,9})\.?,?[ \-/]+(\d{2,4})(?:\D|$)"
_NAMED_FIRST = r"^\s*([\p{L}]{3,9})\.?[ \-/]+(\d{1,2})(?:st|nd|rd|th)?,?[ \-/]+(\d{2,4})(?:\D|$)"
_MONTHS = {
    **{
        name: i
        for i, name in enumerate(
            ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], start=1
        )
    },
    "mai": 5,
    "mei": 5,
    "maj": 5,
    "maa": 3,
    "mrt": 3,
    "mär": 3,
    "okt": 10,
    "dez": 12,
    "des": 12,
    "dic": 12,
    "déc": 12,
    "ene": 1,
    "abr": 4,
    "ago": 8,
    "fév": 2,
    "fev": 2,
    "avr": 4,
    "aoû": 8,
    "gen": 1,
    "mag": 5,
    "giu": 6,
    "lug": 7,
    "set": 9,
    "ott": 10,
    "out": 10,
}
"""Month number by the first three letters, in the languages of the banks we know."""

_CENTURY = 70
"""Two-digit years from here on are of the 20th century."""

ORDERS = frozenset({"DMY", "MDY", "YMD"})
"""Values of the option ``date_order``."""


@dataclass(frozen=True, slots=True)
class Days:
    """Dates read from a column.

    Attributes:
        values: Dates; null where the text is none.
        order: ``YMD``, ``DMY`` or ``MDY``; "" when the column has no all-digit dates.
        certain: False when day and month could be swapped throughout the column.
    """

    values: pl.Series
    order: str
    certain: bool


def read(texts: pl.Series, order: str = "") -> Days:
    """Read a column of dates.

    Args:
        texts: Text column; a time of day after the date is ignored.
        order: ``DMY``, ``MDY`` or ``YMD`` when it is known; "" decides from the column: a part above 12 is a day, a
            part of four digits is a year, else the order under which the rows are sorted.
    """
    stripped = texts.str.strip_chars()
    frame = pl.DataFrame({"t": stripped.set(stripped.str.contains(_NO_YEAR), None)}).with_columns(
        pl.col("t").str.extract(_PARTS, i).cast(pl.Int64).alias(name) for i, name in enumerate("abc", start=1)
    )
    first = pl.col("t").str.extract(_PARTS, 1)
    parts = frame.with_columns((first.str.len_chars() == 4).fill_null(value=False).alias("ymd"))
    if order:
        return Days(_build(parts, order), order, certain=True)
    numeric = parts.filter(pl.col("a").is_not_null() & ~pl.col("ymd"))
    if numeric.is_empty():
        return Days(_build(parts, "YMD"), "YMD" if parts.get_column("ymd").any() else "", certain=True)
    day_first = numeric.filter((pl.col("a") > 12) & (pl.col("b") <= 12)).height
    month_first = numeric.filter((pl.col("b") > 12) & (pl.col("a") <= 12)).height
    if day_first or month_first:
        found = "DMY" if day_first >= month_first else "MDY"
        return Days(_build(parts, found), found, certain=not (day_first and month_first))
    if numeric.select((pl.col("a") == pl.col("b")).all()).item():
        return Days(_build(parts, "DMY"), "DMY", certain=True)
    return _by_sorting(parts)


def _by_sorting(parts: pl.DataFrame) -> Days:
    """Decide by which reading leaves the column sorted; uncertain when both or neither do."""
    readings = {order: _build(parts, order) for order in ("DMY", "MDY")}
    sorted_ones = [order for order, days in readings.items() if _is_sorted(days)]
    if len(sorted_ones) == 1 and readings[sorted_ones[0]].n_unique() >= 3:
        return Days(readings[sorted_ones[0]], sorted_ones[0], certain=True)
    return Days(readings["DMY"], "DMY", certain=False)


def _is_sorted(days: pl.Series) -> bool:
    known = days.drop_nulls()
    return known.is_sorted() or known.is_sorted(descending=True)


def _build(parts: pl.DataFrame, order: str) -> pl.Series:
    a, b, c = pl.col("a"), pl.col("b"), pl.col("c")
    day, month, year = {"DMY": (a, b, c), "MDY": (b, a, c), "YMD": (c, b, a)}[order]
    ymd = pl.col("ymd")
    digits = _assemble(
        pl.when(ymd).then(a).otherwise(year), pl.when(ymd).then(b).otherwise(month), pl.when(ymd).then(c).otherwise(day)
    )
    compact = pl.col("t").str.extract(_COMPACT).str.to_date("%Y%m%d", strict=False)
    return sane(
        parts.select(pl.coalesce(digits, compact, _named(_NAMED, 1, 2), _named(_NAMED_FIRST, 2, 1))).to_series()
    )


def _named(pattern: str, day: int, month: int) -> pl.Expr:
    text = pl.col("t")
    name = text.str.extract(pattern, month).str.to_lowercase().str.slice(0, 3)
    number = name.replace_strict(_MONTHS, default=None, return_dtype=pl.Int64)
    return _assemble(text.str.extract(pattern, 3).cast(pl.Int64), number, text.str.extract(pattern, day).cast(pl.Int64))


def _assemble(year: pl.Expr, month: pl.Expr, day: pl.Expr) -> pl.Expr:
    full = pl.when(year < _CENTURY).then(year + 2000).when(year < 100).then(year + 1900).otherwise(year)
    text = pl.concat_str(
        full.cast(pl.String).str.zfill(4), month.cast(pl.String).str.zfill(2), day.cast(pl.String).str.zfill(2)
    )
    return pl.when(text.str.len_chars() == 8).then(text).str.to_date("%Y%m%d", strict=False)
