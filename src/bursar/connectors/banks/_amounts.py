"""Whole columns of text to exact decimals and dates; what does not fit becomes null, never a guess."""

from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

import polars as pl

from bursar.kernel.lines import DECIMAL
from bursar.kernel.money import PLACES_MAX, decimal_from

_PLAIN = r"^[+-]?(\d{1,23}(\.\d{0,15})?|\.\d{1,15})$"
"""What fits ``Decimal(38, 15)`` exactly; Polars would round a sixteenth place."""

_EXPONENT = r"^[+-]?(\d{1,23}(\.\d{0,15})?|\.\d{1,15})[eE][+-]?\d{1,2}$"

_GROUPED_COMMA = r"^[+-]?\d{1,3}(,\d{2,3})*,\d{3}\.\d{1,15}$"
_GROUPED_POINT = r"^[+-]?\d{1,3}(\.\d{2,3})*\.\d{3},\d{1,15}$"
_YEAR_MIN, _YEAR_MAX = 1950, 2200


def _exact(text: str) -> Decimal | None:
    """Return the value of a number with an exponent when 38 digits, 15 after the point, hold it."""
    try:
        value = decimal_from(text)
    except ValueError:
        return None
    shown = f"{value:f}".lstrip("+-")
    whole, _, places = shown.partition(".")
    fits = len(whole.lstrip("0")) <= 38 - PLACES_MAX and len(places.rstrip("0")) <= PLACES_MAX
    return value if fits else None


def plain(texts: pl.Series) -> pl.Series:
    """Read plain decimals (``-1234.50``, ``.5``, ``1e-7``); anything else is null.

    Args:
        texts: Text column of any length.

    Returns:
        ``Decimal(38, 15)`` of the same length; the same form check as :func:`bursar.kernel.money.decimal_from`.
    """
    stripped = texts.str.strip_chars()
    simple = stripped.str.contains(_PLAIN)
    values = pl.select(pl.when(simple).then(stripped)).to_series().cast(DECIMAL, strict=False)
    rare = stripped.str.contains(_EXPONENT).fill_null(value=False)
    if not rare.any():
        return values.alias(texts.name)
    read = pl.Series(
        [_exact(text) if odd and text else None for text, odd in zip(stripped, rare, strict=True)], dtype=DECIMAL
    )
    return values.fill_null(read).alias(texts.name)


def comma_or_point(texts: pl.Series) -> pl.Series:
    """Read decimals whose mark is a comma or a point (OFX, MT940, QIF); grouping only where it is unmistakable.

    ``1,234.50`` and ``1.234,50`` are grouped; ``1,234`` alone is null, for it may be either.
    """
    stripped = texts.str.strip_chars()
    frame = pl.DataFrame({"t": stripped})
    t = pl.col("t")
    cleaned = frame.select(
        pl.when(t.str.contains(_GROUPED_COMMA))
        .then(t.str.replace_all(",", "", literal=True))
        .when(t.str.contains(_GROUPED_POINT))
        .then(t.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True))
        .when(t.str.contains(r"^[+-]?\d{1,3},\d{3}$"))
        .then(None)
        .otherwise(t.str.replace(",", ".", literal=True))
    ).to_series()
    return plain(cleaned).alias(texts.name)


def compact_days(texts: pl.Series) -> pl.Series:
    """Read dates that begin with ``YYYYMMDD`` (a time and zone may follow, the local day counts); else null."""
    days = texts.str.strip_chars().str.extract(r"^(\d{8})(?:\d|[.:\[ T]|$)").str.to_date("%Y%m%d", strict=False)
    return sane(days)


def sane(days: pl.Series) -> pl.Series:
    """Turn days outside 1950 to 2200 into null: they are typing errors, and no calendar of ours holds them."""
    inside = days.is_between(date(_YEAR_MIN, 1, 1), date(_YEAR_MAX, 12, 31))
    return pl.select(pl.when(inside).then(days)).to_series().alias(days.name)


def one_amount(text: str) -> Decimal | None:
    """Read a single amount with a comma or a point as its mark; None when it is none."""
    value: Decimal | None = comma_or_point(pl.Series([text], dtype=pl.String)).item()
    return value


def one_day(text: str) -> date | None:
    """Read a single ``YYYYMMDD…`` date; None when it is none."""
    value: date | None = compact_days(pl.Series([text], dtype=pl.String)).item()
    return value


_NEGATIVE = r"^\((.*)\)$|^(.*[^-])-$|^-?\s*[£$€¥₹]?\s*-(.*)$"
_MARKED = r"^\d+([.,])(\d{1,2}|\d{4,30})$"
_POINT_LAST = r"^\d{1,3}(?:,\d{2,3})+(\.)\d*$"
_COMMA_LAST = r"^\d{1,3}(?:\.\d{2,3})+(,)\d*$"
_LONG = r"^-?\d{0,23}\.\d{16,30}$"
_GROUPS = r"^\d{1,3}(?:([.,])\d{3}){2,}$"


def _bare(texts: pl.Series) -> pl.DataFrame:
    """Return the column as unsigned digits with separators (``t``) and whether it is negative (``minus``)."""
    t = pl.col("t")
    frame = pl.DataFrame({"t": texts.cast(pl.String).str.strip_chars()})
    frame = frame.with_columns(t.str.replace_all(r"[\s\u{a0}\u{202f}'’]", "").str.replace(r"[−–]", "-"))
    frame = frame.with_columns(t.str.replace(r"^(?:[£$€¥₹]|[A-Z]{3})(\(.*\))$", "$1"))
    minus = t.str.contains(_NEGATIVE) | t.str.contains(r"^-") | t.str.contains(r"^[£$€¥₹]-") | t.str.contains(r"^\(")
    minus = minus | t.str.contains(r"(?i)[0-9.,]DR$")
    cleaned = t.str.replace(r"^\((.*)\)$", "$1").str.replace(r"-$", "").str.replace(r"^[+-]", "")
    cleaned = cleaned.str.replace(r"(?i)([0-9])(?:CR|DR)$", "$1").str.replace(r"^(?:[£$€¥₹]|[A-Z]{3})", "")
    cleaned = cleaned.str.replace(r"(?:[£$€¥₹]|[A-Z]{3})$", "").str.replace(r"^[+-]", "")
    signs = t.str.count_matches(r"[+\-(]")
    return frame.with_columns(minus.fill_null(value=False).alias("minus"), signs.alias("signs")).with_columns(
        pl.when(pl.col("signs") <= 1).then(cleaned).alias("t")
    )


def mark_of(texts: pl.Series) -> str:
    """Return the decimal mark that the column shows: ``.``, ``,`` or "" when it shows none.

    ``1,50`` and ``1.234,5`` show a comma, ``1,234.5`` and ``1,234,567`` a point, ``1,234`` nothing.
    """
    t = pl.col("t")
    votes = _bare(texts).select(
        pl.coalesce(t.str.extract(_MARKED), t.str.extract(_POINT_LAST), t.str.extract(_COMMA_LAST)).alias("mark"),
        t.str.extract(_GROUPS).alias("group"),
    )
    both = votes.with_columns(
        pl.when(pl.col("mark").is_null() & (pl.col("group") == ",")).then(pl.lit("."))
        .when(pl.col("mark").is_null() & (pl.col("group") == ".")).then(pl.lit(","))
        .otherwise(pl.col("mark"))
        .alias("mark")
    )  # fmt: skip
    counts = both.get_column("mark").drop_nulls().value_counts(sort=True)
    return "" if counts.is_empty() else str(counts.item(0, 0))


def loose(texts: pl.Series, mark: str) -> pl.Series:
    """Read amounts as statements and spreadsheets print them: ``£1,234.50``, ``(12.00)``, ``1.234,56-``, ``20 CR``.

    Args:
        texts: Text column.
        mark: The decimal mark, ``.`` or ``,``; "" when the column shows none, where ``1,234`` stays unread.

    Returns:
        ``Decimal(38, 15)``; null where the text is no amount or is grouped otherwise than by thousands.
    """
    frame = _bare(texts)
    group = "," if mark == "." else "."
    t = pl.col("t")
    if mark:
        grouped = t.str.contains(rf"^\d{{1,3}}(?:\{group}\d{{2,3}})*\{group}\d{{3}}(?:\{mark}\d*)?$")
        digits = pl.when(grouped).then(t.str.replace_all(group, "", literal=True)).otherwise(t)
        digits = digits.str.replace(mark, ".", literal=True) if mark == "," else digits
        unread = t.str.contains(group, literal=True) & ~grouped
    else:
        digits, unread = t, t.str.contains(r"[.,]")
    signed = frame.select(
        pl.when(~unread).then(pl.concat_str(pl.when("minus").then(pl.lit("-")).otherwise(pl.lit("")), digits))
    )
    return plain(_shortened(signed.to_series())).alias(texts.name)


def _shortened(texts: pl.Series) -> pl.Series:
    """Round the float noise of spreadsheets (``0.39999999999997726``) half-even at the last place we keep."""
    long = texts.str.contains(_LONG).fill_null(value=False)
    if not long.any():
        return texts
    place = Decimal(1).scaleb(-PLACES_MAX)
    with localcontext(prec=80):
        rounded = [
            f"{Decimal(text).quantize(place, ROUND_HALF_EVEN):f}" if odd else text
            for text, odd in zip(texts, long, strict=True)
        ]
    return pl.Series(rounded, dtype=pl.String)


def long_ones(texts: pl.Series) -> int:
    """Count the amounts that :func:`loose` had to round because they have more than 15 decimal places."""
    return int(texts.str.contains(r"[.,]\d{16,30}$").sum() or 0)
