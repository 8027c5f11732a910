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

NEAR_DAYS = range(-7, 8)
"""Days around any holiday that have an effect, in days after it."""

NAMED_DAYS = range(-2, 2)
"""Days around each holiday, by its name, that have an effect."""

YEAR_END = "turn of the year"
YEAR_END_EDGES = (0, 7, 14, 20, 24, 27, 31, 34, 41)
"""Edges of the stretches around the turn of the year that differ from the rest of it, in days after 1 December."""


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
def named_holidays(
    country: str, subdivision: str, first_year: int, last_year: int
) -> tuple[NDArray[np.datetime64], tuple[str, ...]]:
    """Return the public holidays of a country as sorted ``datetime64[D]``, and their names.

    Raises:
        Invalid: The country or subdivision is not known.
    """
    if not country:
        return np.empty(0, dtype="datetime64[D]"), ()
    import holidays

    try:
        known = holidays.country_holidays(country, subdiv=subdivision or None, years=range(first_year, last_year + 1))
    except NotImplementedError as error:
        raise Invalid(f"no holidays are known for {country} {subdivision}".rstrip(), "Use an ISO code.") from error
    days = sorted(known)
    return np.array(days, dtype="datetime64[D]"), tuple(known[day] for day in days)


def holidays_between(calendar: Calendar, days: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    """Return the holidays of the years that ``days`` touch, with one year of margin."""
    return named_between(calendar, days)[0]


def named_between(calendar: Calendar, days: NDArray[np.datetime64]) -> tuple[NDArray[np.datetime64], tuple[str, ...]]:
    """Return the holidays of :func:`holidays_between` with their names."""
    if not len(days):
        return np.empty(0, dtype="datetime64[D]"), ()
    years = days[[0, -1]].astype("datetime64[Y]").astype(int) + 1970
    return named_holidays(calendar.country, calendar.subdivision, int(years[0]) - 1, int(years[1]) + 1)


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


def near_effects(times: Days, grain: Grain, calendar: Calendar) -> tuple[Floats, tuple[str, ...]]:
    """Return the effects of the days around holidays: too many to learn from one series, few for a whole panel.

    Args:
        times: Shape (t,): period starts.
        grain: The calendar; only days and hours have such effects.
        calendar: Country.

    Returns:
        Shape (t, k), each 0 or 1, and the k names: by distance from any holiday in the order of ``NEAR_DAYS``, by
        distance from each holiday, and stretches around the turn of the year. Without holidays the last alone.
    """
    if grain not in {Grain.DAY, Grain.HOUR}:
        return np.empty((len(times), 0)), ()
    days = times.astype("datetime64[D]")
    holidays, called = named_between(calendar, days)
    effects: dict[str, Bools] = {}
    if len(holidays):
        effects |= {f"{after:+d} from a holiday": _among(days, holidays + after * DAY) for after in NEAR_DAYS}
    titles = np.array(called, dtype=object)
    for name in sorted(set(called)):
        when = holidays[titles == name]
        effects |= {f"{after:+d} from {name}": _among(days, when + after * DAY) for after in NAMED_DAYS}
    month = days.astype("datetime64[M]").astype(np.int64)
    december = (month - (month - 11) % 12).astype("datetime64[M]").astype("datetime64[D]")
    stretch = np.searchsorted(YEAR_END_EDGES, (days - december).astype(np.int64), side="right")
    effects |= {f"{YEAR_END} {part}": stretch == part for part in range(1, len(YEAR_END_EDGES))}
    return np.stack(list(effects.values()), axis=1).astype(np.float64), tuple(effects)


def _among(days: NDArray[np.datetime64], wanted: NDArray[np.datetime64]) -> Bools:
    """Return which ascending days are wanted ones: ``np.isin`` by a table, a tenth of its time on a few years."""
    place = (days - days[0]).astype(np.int64)
    table = np.zeros(int(place[-1]) + 1, dtype=bool)
    at = (wanted - days[0]).astype(np.int64)
    table[at[(at >= 0) & (at < len(table))]] = True
    out: Bools = table[place]
    return out


def nearest_holiday(near: Floats, names: tuple[str, ...]) -> Floats:
    """Return days after (positive) or before the nearest holiday from :func:`near_effects`, shape (t,); far ones as 8."""
    out = np.full(len(near), NEAR_DAYS.stop, dtype=np.float64)
    for after in sorted(NEAR_DAYS, key=abs, reverse=True):
        name = f"{after:+d} from a holiday"
        if name in names:
            out[near[:, names.index(name)] > 0] = after
    return out


def turn_of_year(near: Floats, names: tuple[str, ...]) -> Bools:
    """Return which periods of :func:`near_effects` lie around the turn of the year, shape (t,)."""
    columns = [at for at, name in enumerate(names) if name.startswith(YEAR_END)]
    out: Bools = near[:, columns].sum(axis=1) > 0
    return out


def _covers(times: Days, grain: Grain, when: NDArray[np.datetime64]) -> Floats:
    """Return 1 for each period that holds one of the days ``when``."""
    unit = "datetime64[M]" if grain is Grain.MONTH else "datetime64[D]"
    if grain is Grain.WEEK:
        starts = times.astype("datetime64[D]")
        hits: Sequence[Bools] = [(day >= starts) & (day < starts + 7 * DAY) for day in when]
        return np.any(hits, axis=0).astype(np.float64) if len(when) else np.zeros(len(times))
    return np.isin(times.astype(unit), when.astype(unit)).astype(np.float64)
