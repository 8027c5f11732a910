"""Panels from grouped rows: regular calendars, gaps and unfinished periods known as such."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl

from bursar.kernel.period import Grain
from bursar.kernel.series import Days, Floats, Panel

POINTS_MIN = 2
"""Fewest periods of a series."""

KEY_SEPARATOR = " | "
"""Between the parts of a series key; account names hold slashes."""

_DAY = np.timedelta64(24, "h")

DENSE_SHARE_MIN = 0.25
"""A daily series with charges on fewer days than this share is billed by the month, not by use."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """A column that makes series keys, and what stands for a missing value."""

    column: str
    missing: str = "(none)"


def covered_until(ends: Sequence[date], today: date) -> date:
    """Return the last day that is complete in the facts: the newest day seen, but never today or yesterday.

    Bills of yesterday are still being written when they are exported; scoring them would show a drop that is none.
    """
    return min(max(ends), today - timedelta(days=2))


def panels(sums: pl.DataFrame, *, until: Mapping[str, date], grain: Grain = Grain.DAY) -> dict[str, Panel]:
    """Lay grouped sums on a regular daily calendar, one panel per currency.

    Args:
        sums: Columns ``currency``, ``key``, ``day`` and ``amount``, one row each.
        until: Last complete day by key; a series is cut there and holds zeros where nothing was charged between its
            first and that day.
        grain: Daily only here; coarser calendars are summed from it by :func:`coarser`.

    Returns:
        Panels by currency, keys in order; series shorter than :data:`POINTS_MIN` are left out.
    """
    made: dict[str, Panel] = {}
    for (currency,), rows in (
        sums.sort("currency", "key", "day").partition_by("currency", as_dict=True, maintain_order=True).items()
    ):
        keys: list[str] = []
        starts: list[np.datetime64] = []
        values: list[Floats] = []
        for (key,), one in rows.partition_by("key", as_dict=True, maintain_order=True).items():
            name = str(key)
            series = _daily(one, until.get(name))
            if series is None:
                continue
            keys.append(name)
            starts.append(series[0])
            values.append(series[1])
        if keys:
            made[str(currency)] = Panel.of(keys, starts, values, grain=grain, currency=str(currency))
    return made


def dense(panel: Panel) -> Panel | None:
    """Return the series that have charges on enough days to be judged by the day; None when there is none."""
    chosen = [index for index in range(len(panel)) if float(np.mean(panel.series(index) != 0)) >= DENSE_SHARE_MIN]
    return _rows_of(panel, chosen) if chosen else None


def first_days(panel: Panel, days: int) -> tuple[Panel, list[int]]:
    """Return what a daily panel held after its first ``days``, and which of its rows these series are."""
    end = panel.starts.min() + np.timedelta64(24 * days, "h")
    kept = [row for row in range(len(panel)) if panel.starts[row] < end]
    return _rows_of(panel, kept, end), kept


def _rows_of(panel: Panel, rows: Sequence[int], end: np.datetime64 | None = None) -> Panel:
    whole = [panel.series(row) for row in rows]
    lengths = [
        len(one) if end is None else int((end - panel.starts[row]) / _DAY) for row, one in zip(rows, whole, strict=True)
    ]
    return Panel.of(
        [panel.keys[row] for row in rows],
        [panel.starts[row] for row in rows],
        [one[:length] for one, length in zip(whole, lengths, strict=True)],
        grain=panel.grain,
        currency=panel.currency,
    )


def _daily(one: pl.DataFrame, last: date | None) -> tuple[np.datetime64, Floats] | None:
    days = one["day"].to_numpy().astype("datetime64[D]")
    amounts = one["amount"].cast(pl.Float64).to_numpy()
    end = np.datetime64(last, "D") if last else days[-1]
    inside = days <= end
    days, amounts = days[inside], amounts[inside]
    length = int((end - days[0]).astype(int)) + 1 if days.size else 0
    if length < POINTS_MIN:
        return None
    filled = np.zeros(length)
    filled[(days - days[0]).astype(int)] = amounts
    return days[0].astype("datetime64[h]"), filled


def coarser(panel: Panel, grain: Grain) -> Panel:
    """Sum a daily panel into calendar months or ISO weeks; an unfinished last period is left out.

    Raises:
        ValueError: The grain is not coarser than a day.
    """
    unit = {Grain.MONTH: "M", Grain.WEEK: "W"}.get(grain)
    if unit is None or panel.grain is not Grain.DAY:
        message = f"a {panel.grain} panel cannot be summed to {grain}"
        raise ValueError(message)
    keys: list[str] = []
    starts: list[np.datetime64] = []
    sums: list[Floats] = []
    for index, key in enumerate(panel.keys):
        daily = panel.series(index)
        days = panel.starts[index].astype("datetime64[D]") + np.arange(len(daily))
        buckets = _bucket(days, unit)
        first, position = np.unique(buckets, return_inverse=True)
        total = np.bincount(position, weights=np.nan_to_num(daily)).astype(np.float64)
        whole = slice(0, None if _bucket(days[-1:] + np.timedelta64(1, "D"), unit)[0] != buckets[-1] else -1)
        if len(total[whole]) >= POINTS_MIN:
            keys.append(key)
            starts.append(first[0].astype("datetime64[h]"))
            sums.append(total[whole])
    return Panel.of(keys, starts, sums, grain=grain, currency=panel.currency)


def _bucket(days: Days, unit: str) -> Days:
    if unit == "M":
        return days.astype("datetime64[M]")
    monday = (days.astype("datetime64[D]").astype(int) + 3) // 7 * 7 - 3
    return monday.astype("datetime64[D]")
