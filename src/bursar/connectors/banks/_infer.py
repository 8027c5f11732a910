"""Columns of a table without a header, found by what they hold; nothing is taken unless it is unmistakable."""

import polars as pl

from bursar.connectors.banks import _amounts, _dates
from bursar.connectors.banks._roles import Roles

SHARE_MIN = 0.9
"""Share of the sample that must read as a date (or an amount) for the column to be one."""

_SIDES = frozenset({"debit", "credit", "dr", "cr", "d", "c", "s", "h", "af", "bij"})


def headerless(rows: list[list[str]]) -> Roles | None:
    """Return roles when exactly one column holds dates and exactly one holds amounts with decimals; else None."""
    if not rows or min(map(len, rows)) < 2:
        return None
    columns = [pl.Series([row[i] for row in rows], dtype=pl.String) for i in range(len(rows[0]))]
    dated = [
        i
        for i, column in enumerate(columns)
        if _share(_dates.read(column, "DMY").values, _dates.read(column, "MDY").values)
    ]
    priced = [i for i, column in enumerate(columns) if i not in dated and _is_money(column)]
    if len(dated) != 1 or len(priced) != 1:
        return None
    roles = Roles({"booking_date": dated[0], "amount": priced[0]})
    rest = [i for i in range(len(columns)) if i not in {dated[0], priced[0]}]
    side = next(
        (i for i in rest if {value.lower() for value in columns[i] if value} <= _SIDES and any(columns[i])), None
    )
    if side is not None:
        roles.at["side"] = side
        rest.remove(side)
    roles.descriptions = [i for i in rest if any(columns[i])]
    return roles if roles.descriptions else None


def _share(*readings: pl.Series) -> bool:
    return any(reading.len() - reading.null_count() >= SHARE_MIN * reading.len() for reading in readings)


def _is_money(column: pl.Series) -> bool:
    mark = _amounts.mark_of(column)
    return bool(mark) and _share(_amounts.loose(column, mark))
