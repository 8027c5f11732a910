"""What is known about days in advance: weekdays, working days, holidays per country, and planned events."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bursar.kernel.errors import Invalid
from bursar.kernel.period import Grain
from bursar.kernel.series import Days, Floats

Bools = NDArray[np.bool_]

DAY = np.timedelta64(1, "D")

NEAR_DAYS_MAX = 7
"""A holiday further away than this does not count as near."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """Where the series live and what is planned.

    Attributes:
        country: ISO 3166-1 alpha-2 code of the public holidays; empty for none.
        subdivision: State or region of the country, where holidays differ.
        events: Known days by name, such as renewals or price changes; the same name on several days is one effect.
    """

    country: str = ""
    subdivision: str = ""
    events: tuple[tuple[str, tuple[date, ...]], ...] = ()


@lru_cache(maxsize=64)
def public_holidays(country: str, subdivision: str, first_year: int, last_year: int) -> NDArray[np.datetime64]:
    """Return the public holidays of a country as sorted ``datetime64[D]``.

    Raises:
        Invalid: The country or subdivision is not known.
    """
    if not country:
        return np.empty(0, dtype="datetime64[D]")
    import holidays

    try:
        known = holidays.country_holidays(country, subdiv=subdivision or None, years=range(first_year, last_year + 1))
    except NotImplementedError as error:
        raise Invalid(f"no holidays are known for {country} {subdivision}".rstrip(), "Use an ISO code.") from error
    return np.array(sorted(known), dtype="datetime64[D]")


def holidays_between(calendar: Calendar, days: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    """Return the holidays of the years that ``days`` touch, with one year of margin."""
    if not len(days):
        return np.empty(0, dtype="datetime64[D]")
    years = days[[0, -1]].astype("datetime64[Y]").astype(int) + 1970
    return public_holidays(calendar.country, calendar.subdivision, int(years[0]) - 1, int(years[1]) + 1)


def working_days(days: NDArray[np.datetime64], holidays: NDArray[np.datetime64]) -> Bools:
    """Return whether each day (``datetime64[D]``) is Monday to Friday and no holiday."""
    return np.is_busday(days, holidays=holidays)


def working_day_of_month(
    days: NDArray[np.datetime64], holidays: NDArray[np.datetime64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the number of working days in the month up to and including each day, and after it.

    The first is 1 on the first working day; the second is 0 on and after the last one.
    """
    month = days.astype("datetime64[M]")
    first, following = month.astype("datetime64[D]"), (month + np.timedelta64(1, "M")).astype("datetime64[D]")
    through = np.busday_count(first, days + DAY, holidays=holidays)
    left = np.busday_count(days + DAY, following, holidays=holidays)
    return through, left


def days_to_holiday(
    days: NDArray[np.datetime64], holidays: NDArray[np.datetime64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return days since the last and until the next holiday (0 on one), each capped at ``NEAR_DAYS_MAX`` + 1."""
    far = np.full(len(days), NEAR_DAYS_MAX + 1)
    if not len(holidays):
        return far, far.copy()
    after = np.searchsorted(holidays, days, side="right")
    before = np.searchsorted(holidays, days, side="left")
    since = (days - holidays[np.maximum(after - 1, 0)]).astype(np.int64)
    until = (holidays[np.minimum(before, len(holidays) - 1)] - days).astype(np.int64)
    since = np.where((after == 0) | (since > NEAR_DAYS_MAX), NEAR_DAYS_MAX + 1, since)
    until = np.where((before == len(holidays)) | (until > NEAR_DAYS_MAX), NEAR_DAYS_MAX + 1, until)
    return since, until


def known_effects(times: Days, grain: Grain, calendar: Calendar) -> tuple[Floats, tuple[str, ...]]:
    """Return the regressors that are known for any time.

    Args:
        times: Shape (t,): period starts.
        grain: The calendar; holidays and working days count for days (and hours), events for all grains.
        calendar: Country and events.

    Returns:
        Shape (t, k) and the k names. Events first, then for days: holiday, day before, day after, first and last
        working days of the month, each 0 or 1.
    """
    columns: list[Floats] = []
    names: list[str] = []
    for name, when in calendar.events:
        names.append(f"event:{name}")
        columns.append(_covers(times, grain, np.array(when, dtype="datetime64[D]")))
    if grain in {Grain.DAY, Grain.HOUR}:
        days = times.astype("datetime64[D]")
        holidays = holidays_between(calendar, days)
        if len(holidays):
            for name, shift in (("holiday", 0), ("before holiday", 1), ("after holiday", -1)):
                names.append(name)
                columns.append(np.isin(days + shift * DAY, holidays).astype(np.float64))
        through, left = working_day_of_month(days, holidays)
        works = working_days(days, holidays)
        for name, hit in (
            ("first working day", works & (through == 1)),
            ("second working day", works & (through == 2)),
            ("last working day", works & (left == 0)),
            ("last but one working day", works & (left == 1)),
        ):
            names.append(name)
            columns.append(hit.astype(np.float64))
    table = np.stack(columns, axis=1) if columns else np.empty((len(times), 0))
    return table, tuple(names)


def _covers(times: Days, grain: Grain, when: NDArray[np.datetime64]) -> Floats:
    """Return 1 for each period that holds one of the days ``when``."""
    unit = "datetime64[M]" if grain is Grain.MONTH else "datetime64[D]"
    if grain is Grain.WEEK:
        starts = times.astype("datetime64[D]")
        hits: Sequence[Bools] = [(day >= starts) & (day < starts + 7 * DAY) for day in when]
        return np.any(hits, axis=0).astype(np.float64) if len(when) else np.zeros(len(times))
    return np.isin(times.astype(unit), when.astype(unit)).astype(np.float64)
