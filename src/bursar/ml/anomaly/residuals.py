"""How far each period lies from what its own past leads to expect, at several time scales at once.

One family of statistics covers spikes, shifts and drifts: the mean over the last k periods of the value minus the median
of the same season position, taken far enough back that the change itself has not entered the median.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bursar.kernel.series import Days, Floats
from bursar.ml.calendar import Calendar, holidays_between, working_day_of_month, working_days

SEASON_VALUES = 8
"""Season positions that an expected value is the median of."""

BLOCK_ROWS = 64
"""Series whose medians are taken at once: their numbers fit the processor's cache."""

EXCHANGED_MAX = 12
"""Rows up to which a median over them is taken by comparing whole rows."""

MONTHS = 4
"""Months looked back for amounts that come back on the same working day of the month."""

MONTHLY_DEVIATIONS = 3.0
"""A monthly amount counts as known when it is this many robust deviations from the weekly expectation."""


RETURN_DAYS = 3
"""A fee of every quarter or year may come this many days earlier or later."""


@dataclass(frozen=True, slots=True)
class Scale:
    """One time scale: ``width`` periods are averaged, the median starts ``gap`` seasons back."""

    name: str
    width: int
    gap: int


def scales_for(season: int) -> tuple[Scale, ...]:
    """Return the scales for a season: one period, half a season, one, two and four seasons."""
    return (
        Scale("spike", 1, 1),
        Scale("shift", max(2, season // 2), 2),
        Scale("shift", season, 2),
        Scale("shift", 2 * season, 3),
        Scale("drift", 4 * season, 8),
    )


def lagged_median(values: Floats, season: int, gap: int, first: int) -> Floats:
    """Return for columns from ``first`` the median of ``SEASON_VALUES`` earlier values at the same season position.

    Args:
        values: Shape (n, t), NaN for gaps.
        season: Season length.
        gap: The nearest value used lies ``gap`` seasons back.
        first: First column wanted.

    Returns:
        Shape (n, t - first); NaN with fewer than two such values.
    """
    width = values.shape[1] - first
    out = np.empty((len(values), width))
    for top in range(0, len(values), BLOCK_ROWS):
        block = values[top : top + BLOCK_ROWS]
        stack = np.full((SEASON_VALUES, len(block), width), np.nan)
        for at in range(SEASON_VALUES):
            back = season * (gap + at)
            lo = max(first, back)
            if lo < values.shape[1]:
                stack[at, :, lo - first :] = block[:, lo - back : values.shape[1] - back]
        out[top : top + BLOCK_ROWS] = median_of(stack)
    return out


def median_of(stack: Floats) -> Floats:
    """Return the median over axis 0 of the numbers present; NaN with fewer than two."""
    known = ~np.isnan(stack)
    count = known.sum(axis=0)
    ordered = np.where(known, stack, np.inf)
    if len(stack) <= EXCHANGED_MAX:
        _exchange(ordered)
    else:
        ordered.sort(axis=0)
    low = np.take_along_axis(ordered, np.maximum((count - 1) // 2, 0)[None], axis=0)[0]
    high = np.take_along_axis(ordered, (count // 2).clip(max=len(stack) - 1)[None], axis=0)[0]
    with np.errstate(invalid="ignore"):  # infinity where fewer than two are known
        middle = (low + high) / 2
    return np.where(count >= 2, middle, np.nan)


def _exchange(rows: Floats) -> None:
    """Sort a few rows (k, …) in place, column by column: whole rows are compared, many times faster than many short sorts.

    Source: odd-even transposition (Habermann 1972).
    """
    for turn in range(len(rows)):
        for at in range(turn % 2, len(rows) - 1, 2):
            lower = np.minimum(rows[at], rows[at + 1])
            np.maximum(rows[at], rows[at + 1], out=rows[at + 1])
            rows[at] = lower


def rolling_mean(values: Floats, width: int, *, least: float = 0.6) -> Floats:
    """Return the mean of the last ``width`` columns, NaN where fewer than the share ``least`` of them are numbers."""
    live = ~np.isnan(values)
    total = np.cumsum(np.where(live, values, 0.0), axis=1)
    count = np.cumsum(live, axis=1).astype(float)
    total[:, width:] = total[:, width:] - total[:, :-width]
    count[:, width:] = count[:, width:] - count[:, :-width]
    return np.where(count >= max(1.0, least * width), total / np.maximum(count, 1), np.nan)


def month_codes(times: Days, calendar: Calendar) -> NDArray[np.int64]:
    """Return three positions in the month per day, shape (3, t): calendar day, working day from start, from end; 0 is none."""
    days = times.astype("datetime64[D]")
    holidays = holidays_between(calendar, days)
    through, left = working_day_of_month(days, holidays)
    works = working_days(days, holidays)
    of_month = (days - days.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64) + 1
    return np.stack((of_month, np.where(works, through, 0), np.where(works, left + 1, 0)))


def monthly_profile(residuals: Floats, spread: Floats, times: Days, calendar: Calendar, first: int) -> Floats:
    """Return what comes back every month: known fees, salaries, settlements.

    Args:
        residuals: Shape (n, t): value minus its weekly expectation, NaN where that is unknown.
        spread: Shape (n,): robust deviation of the residuals.
        times: Shape (t,): days.
        calendar: For working days.
        first: First column wanted.

    Returns:
        Shape (n, t - first): the median residual at the same position of the last ``MONTHS`` months where it is beyond
        ``MONTHLY_DEVIATIONS`` deviations and nearly all of them share its sign, else 0. Uses earlier columns only.
    """
    out = np.zeros((len(residuals), residuals.shape[1] - first))
    month = times.astype("datetime64[M]").astype(np.int64)
    for code in month_codes(times, calendar):
        for column in np.flatnonzero(code > 0)[np.flatnonzero(code > 0) >= first]:
            past = np.flatnonzero((code[:column] == code[column]) & (month[:column] >= month[column] - MONTHS))
            if len(past) < 3:
                continue
            seen = residuals[:, past].T
            middle = median_of(seen)
            agree = (np.sign(seen) == np.sign(middle)).sum(axis=0) >= max(3, len(past) - 1)
            telling = agree & (np.abs(np.nan_to_num(middle)) > MONTHLY_DEVIATIONS * spread)
            found = np.where(telling, np.nan_to_num(middle), 0.0)
            at = column - first
            out[:, at] = np.where(np.abs(found) > np.abs(out[:, at]), found, out[:, at])
    return out


def returning(residuals: Floats, spread: Floats, times: Days, first: int) -> Floats:
    """Return what came a year before, or both one and two quarters before, on nearly the same date: fees and renewals.

    Args:
        residuals: Shape (n, t): value minus its weekly expectation, NaN where that is unknown.
        spread: Shape (n,): robust deviation of the residuals.
        times: Shape (t,): days.
        first: First column wanted.

    Returns:
        Shape (n, t - first): the deviation nearest to zero of those that must agree in sign, each the largest within
        :data:`RETURN_DAYS` of its date and beyond ``MONTHLY_DEVIATIONS`` deviations, else 0. Uses earlier columns only.
    """
    days = times.astype("datetime64[D]").astype(np.int64)
    telling = np.where(np.abs(np.nan_to_num(residuals)) > MONTHLY_DEVIATIONS * spread[:, None], residuals, 0.0)
    largest = telling.copy()
    for apart in range(1, RETURN_DAYS + 1):
        for near in (_moved(telling, apart), _moved(telling, -apart)):
            largest = np.where(np.abs(near) > np.abs(largest), near, largest)

    def before(months: int) -> Floats:
        column = _months_back(times, months) - days[0]
        out: Floats = np.where(column >= 0, largest[:, np.maximum(column, 0)], 0.0)
        return out[:, first:]

    quarter, half, year = before(3), before(6), before(12)
    twice = np.where(quarter * half > 0, np.sign(quarter) * np.minimum(np.abs(quarter), np.abs(half)), 0.0)
    out: Floats = np.where(np.abs(year) > np.abs(twice), year, twice)
    return out


def _moved(values: Floats, columns: int) -> Floats:
    """Return the values that lie ``columns`` later (earlier when negative), 0 beyond the edges."""
    out = np.zeros_like(values)
    if columns > 0:
        out[:, :-columns] = values[:, columns:]
    else:
        out[:, -columns:] = values[:, :columns]
    return out


def _months_back(times: Days, months: int) -> NDArray[np.int64]:
    """Return the day so many months before each day, the last of its month where that is shorter."""
    days = times.astype("datetime64[D]")
    month = days.astype("datetime64[M]")
    then = month - np.timedelta64(months, "M")
    last = ((then + 1).astype("datetime64[D]") - then.astype("datetime64[D]")).astype(np.int64) - 1
    into = (days - month.astype("datetime64[D]")).astype(np.int64)
    out: NDArray[np.int64] = then.astype("datetime64[D]").astype(np.int64) + np.minimum(into, last)
    return out


def robust_spread(values: Floats) -> Floats:
    """Return per row 1.4826 times the median absolute value, or the mean absolute value where that is larger; at least tiny."""
    ordered = np.sort(np.abs(values), axis=1)
    count = (~np.isnan(values)).sum(axis=1)
    middle = ordered[np.arange(len(values)), np.maximum(count - 1, 0) // 2]
    mean = np.where(np.isnan(values), 0.0, np.abs(values)).sum(axis=1) / np.maximum(count, 1)
    return np.where(count > 0, np.maximum(1.4826 * np.nan_to_num(middle), 0.5 * mean), 0.0)
