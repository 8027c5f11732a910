"""Numbers that a caller sends: read onto a calendar, refused where nothing sensible can be said, forecast."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np

from bursar.core.planning.forecasts.rules.stored import HORIZON_MAX
from bursar.kernel.errors import Invalid, TooLarge
from bursar.kernel.period import Grain
from bursar.kernel.series import Floats, Panel, steps_between
from bursar.ml.calendar import Calendar
from bursar.ml.forecast.contract import Forecaster
from bursar.ml.forecast.global_trees import GlobalTrees
from bursar.ml.forecast.lineup import default_lineup
from bursar.ml.forecast.panel import ForecastResult, forecast_panel

SERIES_MAX = 200
"""Series in one request."""

POINTS_MAX = 100_000
"""Points in one request, gaps between the first and the last stamp included."""

KEY_CHARS_MAX = 300
AMOUNT_MAX = 1e15
"""Largest absolute amount; beyond it the unit is wrong."""

YEAR_MIN, YEAR_MAX = 1970, 2200


@dataclass(frozen=True, slots=True)
class Given:
    """One series as sent: (when, amount) pairs in any order; an amount of None is a gap.

    An instant without an offset is taken as UTC.
    """

    key: str
    currency: str
    points: Sequence[tuple[datetime, float | None]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A forecast of one sent series: arrays over the periods, major units; ``notes`` says what was assumed."""

    key: str
    currency: str
    starts: tuple[datetime, ...]
    mean: Floats
    lower80: Floats
    upper80: Floats
    lower95: Floats
    upper95: Floats
    model: str
    baseline: str
    beats_baseline: bool
    error: float | None
    baseline_error: float | None
    coverage80: float | None
    coverage95: float | None
    first: datetime
    last: datetime
    notes: tuple[str, ...]


def check(given: Sequence[Given], horizon: int) -> None:
    """Refuse what passes a limit before anything is computed.

    Raises:
        Invalid: No series, a key twice, a horizon out of range, an amount that is not finite or too large.
        TooLarge: More than ``SERIES_MAX`` series or ``POINTS_MAX`` points.
    """
    if not given:
        raise Invalid("there is no series to forecast", "Send at least one.")
    if len(given) > SERIES_MAX:
        raise TooLarge("one forecast", SERIES_MAX, "series")
    if sum(len(one.points) for one in given) > POINTS_MAX:
        raise TooLarge("one forecast", POINTS_MAX, "points")
    if not 1 <= horizon <= HORIZON_MAX:
        raise Invalid(f"a horizon of {horizon} periods is not between 1 and {HORIZON_MAX}")
    keys: set[str] = set()
    for one in given:
        if one.key in keys:
            raise Invalid(f"series {one.key} comes twice", "Give every series its own key, or add the two up first.")
        if not 0 < len(one.key) <= KEY_CHARS_MAX:
            raise Invalid(f"a series key has 1 to {KEY_CHARS_MAX} characters")
        keys.add(one.key)
        _check_amounts(one)


def _check_amounts(one: Given) -> None:
    for when, amount in one.points:
        if amount is not None and not np.isfinite(amount):
            raise Invalid(f"series {one.key} is not a finite number at {when.isoformat()}", "Send null for a gap.")
        if amount is not None and abs(amount) > AMOUNT_MAX:
            raise Invalid(f"series {one.key} is beyond {AMOUNT_MAX:.0e} at {when.isoformat()}", "Check its unit.")
        if not YEAR_MIN <= when.year <= YEAR_MAX:
            raise Invalid(f"series {one.key} has a point in the year {when.year}", f"{YEAR_MIN} to {YEAR_MAX} is read.")
    if not any(amount is not None for _, amount in one.points):
        raise Invalid(f"series {one.key} has no values, only gaps", "Leave it out, or send 0 where nothing was spent.")


def answer(
    given: Sequence[Given], grain: Grain, horizon: int, country: str, left_out: Sequence[str] = ()
) -> list[Answer]:
    """Forecast sent series; each currency is a panel of its own. Models that are ``left_out`` are named in the notes.

    Raises:
        Invalid: Two points of a series fall into one period, or the country is not known.
        TooLarge: The periods between first and last point of all series are too many.
    """
    laid = {one.key: _laid(one, grain) for one in given}
    if sum(len(values) for _, values in laid.values()) > POINTS_MAX:
        raise TooLarge("one forecast with its gaps", POINTS_MAX, "points")
    out: dict[str, Answer] = {}
    for currency in sorted({one.currency for one in given}):
        mine = [one for one in given if one.currency == currency]
        panel = Panel.of(
            [one.key for one in mine],
            [laid[one.key][0] for one in mine],
            [laid[one.key][1] for one in mine],
            grain=grain,
            currency=currency,
        )
        result = forecast_panel(panel, horizon, calendar=Calendar(country), models=_at_once(len(panel), horizon))
        for row in range(len(panel)):
            out[panel.keys[row]] = _answer(panel, result, row, left_out)
    return [out[one.key] for one in given]


def _at_once(series: int, horizon: int) -> list[Forecaster]:
    """Return the line-up that answers while the caller waits: all but the global trees, which cost twenty times as much."""
    return [model for model in default_lineup(series, horizon, 0) if not isinstance(model, GlobalTrees)]


def _floor(when: datetime, grain: Grain) -> np.datetime64:
    """Return the start of the period of an instant: the UTC hour; the day, week or month as written."""
    if grain is Grain.HOUR:
        there = when.astimezone(UTC) if when.tzinfo else when
        return np.datetime64(there.replace(tzinfo=None, minute=0, second=0, microsecond=0), "h")
    day: date = when.date()
    if grain is Grain.WEEK:
        day -= timedelta(days=day.weekday())
    if grain is Grain.MONTH:
        day = day.replace(day=1)
    return np.datetime64(day, "h")


def _laid(one: Given, grain: Grain) -> tuple[np.datetime64, Floats]:
    """Lay points on the calendar from the first to the last; periods in between without a point are gaps."""
    starts = np.array([_floor(when, grain) for when, _ in one.points], dtype="datetime64[h]")
    unique, first = np.unique(starts, return_index=True)
    if len(unique) != len(starts):
        again = np.ones(len(starts), dtype=bool)
        again[first] = False
        twice = int(np.flatnonzero(again)[0])
        naive = grain is Grain.HOUR and one.points[twice][0].tzinfo is None
        fix = "Send the offset from UTC: the hour when clocks go back comes twice." if naive else "Add them up first."
        raise Invalid(f"series {one.key} has two points in the {grain} of {starts[twice].astype(object)}", fix)
    count = int(steps_between(unique[:1], unique[-1:], grain)[0]) + 1
    if count > POINTS_MAX:
        raise TooLarge(f"Series {one.key} from its first to its last point", POINTS_MAX, f"{grain}s")
    values = np.full(count, np.nan)
    at = steps_between(np.repeat(unique[:1], len(starts)), starts, grain)
    values[at] = [np.nan if amount is None else amount for _, amount in one.points]
    return unique[0], values


def _answer(panel: Panel, result: ForecastResult, row: int, left_out: Sequence[str]) -> Answer:
    values = panel.series(row)
    times = panel.times(row)
    notes = []
    gaps = int(np.isnan(values).sum())
    if gaps:
        notes.append(
            f"{gaps} of {len(values)} periods have no amount; they are filled from a season before to fit models."
        )
    late = int(steps_between(panel.ends[row : row + 1], panel.ends.max()[None], panel.grain)[0])
    if late:
        notes.append(
            f"It ends {late} periods before the latest series; they count as gaps, send 0 if nothing was spent."
        )
    if result.cold[row]:
        notes.append("The history is too short to try models on it; the forecast repeats what is known, cautiously.")
    elif not result.beats_baseline[row]:
        notes.append(f"No model beat {result.baseline} on earlier windows, so it serves.")
    known = values[~np.isnan(values)]
    if len(known) and float(known.max()) == float(known.min()):
        notes.append("Every amount is the same; the interval cannot say how it will vary.")
    if left_out:
        notes.append(f"{', '.join(left_out)} took no part: numbers that are sent are answered at once.")

    def number(value: float) -> float | None:
        return None if np.isnan(value) else float(value)

    return Answer(
        panel.keys[row],
        panel.currency,
        tuple(_instant(one) for one in result.times),
        result.mean[row],
        result.lower80[row],
        result.upper80[row],
        result.lower95[row],
        result.upper95[row],
        result.served_by(row),
        result.baseline,
        bool(result.beats_baseline[row]),
        number(result.error[row]),
        number(result.baseline_error[row]),
        number(result.coverage.get(0.8, float("nan"))),
        number(result.coverage.get(0.95, float("nan"))),
        _instant(times[0]),
        _instant(times[-1]),
        tuple(notes),
    )


def _instant(time: np.datetime64) -> datetime:
    made: datetime = time.astype("datetime64[s]").astype(object)
    return made.replace(tzinfo=UTC)
