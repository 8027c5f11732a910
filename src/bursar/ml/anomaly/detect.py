"""The facade: a panel in, alerts out, at most as many false ones as the organisation's budget allows."""

from dataclasses import replace

import numpy as np

from bursar.kernel.errors import Invalid
from bursar.kernel.period import Grain
from bursar.kernel.series import Days, Floats, Ints, Panel
from bursar.ml.anomaly.alerts import Alert, AlertKind, Detection, Evidence, Rules, Work
from bursar.ml.anomaly.episodes import cancelling_pairs, matters, one_per_episode
from bursar.ml.anomaly.keys import new_keys, vanished_keys
from bursar.ml.anomaly.pvalues import Tail, budget_limit, own_factor
from bursar.ml.anomaly.residuals import (
    Scale,
    lagged_median,
    median_of,
    monthly_profile,
    returning,
    robust_spread,
    rolling_mean,
    scales_for,
)
from bursar.ml.calendar import Bools, Calendar, holidays_between
from bursar.ml.forecast.history import HISTORY_MAX, SEASONS, YEAR_PERIODS

ECHOED = frozenset({Grain.DAY, Grain.WEEK})
"""Calendars on which what deviated one year before is no news now."""

SEASONS_LEAST = 6
SHORT_SEASON = {Grain.WEEK: 4, Grain.MONTH: 3}
"""Seasons of history that a year of weeks or months is judged by; with fewer, months and quarters stand in for the year."""

CLIP = 3.0
"""Robust deviations that one period may contribute to a shift."""

REPLAYS = 5
REPLAY_STRETCHES = 2
"""Earlier scans that the alert budget is held by, most of a year, and how many of the budget's stretches each covers."""

CALIBRATION_PERIODS = 182
"""Periods before the scanned ones that say what is normal."""

FAMILIES = 2
"""Single periods, and changes that last: families of evidence that share the alert budget evenly."""

TOGETHER_LEAST = 8
TOGETHER_RANGE = 1.5
"""Series whose median says what the panel did together, and how many times the largest movement it made before is taken
for one more; what goes beyond it is news. Of 1, 1.5, 2 and 3 the one with the fewest alerts on NN5 until July 1997 that
finds as many planted changes there."""


def detect(
    panel: Panel,
    *,
    periods: int,
    rules: Rules | None = None,
    calendar: Calendar | None = None,
    ignore: Bools | None = None,
    parents: Ints | None = None,
    doubt: Floats | None = None,
) -> Detection:
    """Scan the last ``periods`` periods of every series.

    Args:
        panel: Series of one currency and grain. Leave a partial last period out or give it as NaN: gaps are not scored.
        periods: Number of periods to scan, at least 1.
        rules: Alert budget and floors.
        calendar: Country for holidays; on a holiday anything between a normal day and a Sunday is expected.
        ignore: Shape (n, periods): True where a change is known and wanted.
        parents: Shape (n,): number of each series' parent; two opposite changes under one parent that cancel in it are
            told as one alert. None looks for no pairs.
        doubt: Shape (n,), positive: what the p-values of each series are multiplied by, learned from feedback.

    Returns:
        Alerts and evidence; the answer for a period depends on it and earlier periods only.

    Raises:
        Invalid: No series, ``periods`` out of range, or ``ignore`` or ``doubt`` of another shape.
    """
    if not len(panel) or periods < 1:
        raise Invalid("there is nothing to scan")
    panel.check()
    values, times = panel.matrix(length_max=HISTORY_MAX)
    start = max(0, values.shape[1] - periods)
    scanned = values.shape[1] - start
    if doubt is not None and (doubt.shape != (len(panel),) or not (doubt > 0).all()):
        raise Invalid("doubt is one positive number for each series")
    if ignore is not None and ignore.shape != (len(panel), periods):
        raise Invalid(f"ignore has shape {ignore.shape}, not {(len(panel), periods)}")
    ignored = np.zeros((len(panel), scanned), dtype=bool) if ignore is None else ignore[:, -scanned:]
    season = SEASONS[panel.grain][0]
    season = season if start >= SEASONS_LEAST * season else SHORT_SEASON.get(panel.grain, season)
    work = Work(_begun(values), times, start, ignored, season)
    rules = rules or Rules()
    where = calendar or Calendar()
    expected = _measure(work, panel.grain, where, rules.rate)
    _hold_to_budget(work, _replayed(work, panel.grain, where, rules), rules)
    if doubt is not None:
        for one in work.evidence:
            one.p = np.minimum(one.p * doubt[:, None], 1.0)
    corrected = np.min([one.p for one in work.evidence], axis=0, initial=1.0)
    alerts = _changes(work, rules.rate, expected)
    alerts += [
        Alert(row, AlertKind.NEW, times[at], times[at], actual, 0.0, 0.0, 0.0, rules.rate)
        for row, at, actual in new_keys(values, start, work.season, ignored)
    ]
    spread = work.evidence[0].spread if work.evidence else np.zeros(len(panel))
    trust = np.ones(len(panel)) if doubt is None else doubt
    for row, since, at, usual, p in vanished_keys(values, start, work.season, ignored):
        if p * trust[row] <= rules.rate:
            room = min(usual, 2.0 * float(spread[row]) * (at - since + 1))
            alerts.append(
                Alert(row, AlertKind.VANISHED, times[since], times[at], 0.0, usual, usual - room, usual + room, p)
            )
    alerts += [] if parents is None else cancelling_pairs(work, rules.rate, parents)
    kept = one_per_episode([one for one in alerts if matters(one, rules)], work, rules)
    return Detection(tuple(kept), times[start:], expected, spread, corrected, rules.rate)


def _begun(values: Floats) -> Floats:
    """Return values (n, t) with the zeros before a series' first charge unknown: they say nothing of what is usual then."""
    out: Floats = np.where(np.cumsum(np.nan_to_num(values) != 0, axis=1) > 0, values, np.nan)
    return out


def _hold_to_budget(work: Work, past: list[Floats], rules: Rules) -> None:
    """Correct the p-values so that earlier scans would have told no more than the budget, each family its even part.

    First every time scale is held to it alone, because long averages remember more and err more; then the scales of a
    family together. A family that real data makes too often does not silence the other.

    Args:
        work: With the evidence of the scanned periods; its p-values are replaced.
        past: Per time scale, shape (n, b): those of earlier scans.
        rules: The budget; a p up to its rate is told.
    """
    part = replace(rules, budget_alerts=rules.budget_alerts / FAMILIES)
    alone = [max(part.rate / budget_limit(one, part), 1.0) for one in past]
    for single in (True, False):
        mine = [at for at, one in enumerate(work.evidence) if (one.scale.width == 1) is single]
        if not mine:
            continue
        jointly = np.min([past[at] * alone[at] for at in mine], axis=0)
        together = max(part.rate / budget_limit(jointly, part), 1.0)
        for at in mine:
            one = work.evidence[at]
            one.p = np.minimum(one.p * alone[at] * together * FAMILIES, 1.0)


def _replayed(work: Work, grain: Grain, calendar: Calendar, rules: Rules) -> list[Floats]:
    """Return the p-values that scans of earlier stretches would have given, per time scale, shape (n, b); b may be 0.

    Every stretch is scored by what was known before it, as the scanned one is. What the floors hold back is 1.
    """
    span = REPLAY_STRETCHES * max(1, round(rules.budget_periods))
    found = [[np.empty((len(work.values), 0))] for _ in work.evidence]
    for replay in range(REPLAYS):
        stop = work.start - replay * span
        start = stop - span
        if start < CALIBRATION_PERIODS:
            break
        ignored = np.zeros((len(work.values), span), dtype=bool)
        past = Work(work.values[:, :stop], work.times[:stop], start, ignored, work.season)
        _measure(past, grain, calendar, rules.rate)
        for each, one in zip(found, past.evidence, strict=True):
            each.append(_through_floors(past, one, rules))
    return [np.concatenate(each, axis=1) for each in found]


def _through_floors(work: Work, one: Evidence, rules: Rules) -> Floats:
    """Return the p-values of a time scale, 1 where money floor or percent floor would hold the alert back."""
    size = np.abs(np.nan_to_num(one.mean))
    whole = rolling_mean(work.values, one.scale.width)[:, work.start :]
    usual = np.abs(np.nan_to_num(whole - one.mean))
    held = (size * one.scale.width < rules.money_least) | (size < rules.percent_least * usual)
    return np.where(held, 1.0, one.p)


def _measure(work: Work, grain: Grain, calendar: Calendar, rate: float) -> Floats:
    """Fill the evidence of every time scale; return the expected values of the scanned periods."""
    first = max(0, work.start - CALIBRATION_PERIODS)
    year = YEAR_PERIODS[grain] if grain in ECHOED else 0
    expected = np.full((len(work.values), work.values.shape[1] - work.start), np.nan)
    for scale in scales_for(work.season):
        residual, base = _residual(work, scale, grain, calendar, first)
        if scale.name == "spike":
            fitted = work.values[:, first:] - residual
            expected = np.where(np.isnan(fitted), base, fitted)[:, work.start - first :]
        residual[:, work.start - first :][work.ignored] = np.nan
        raw = rolling_mean(residual, scale.width)
        if work.evidence:
            residual[:, work.start - first :][_isolated(work.evidence[0].p, rate)] = 0.0
        mean = _clipped_mean(residual, scale.width, work.start - first)
        shared = _shared(mean, scale, work, work.start - first)
        raw, mean = raw - shared, mean - shared
        if year and work.values.shape[1] > year:
            begin = max(first - year, 0)
            echo = _residual(work, scale, grain, calendar, begin, work.values.shape[1] - year)[0]
            before = _clipped_mean(echo, scale.width, echo.shape[1])
            before = before - _shared(before, scale, work, echo.shape[1])
            mean[:, -echo.shape[1] :] = _less(mean[:, -echo.shape[1] :], before)
        work.evidence.append(_score(work, scale, mean, first, raw))
    return expected


def _shared(mean: Floats, scale: Scale, work: Work, before: int) -> Floats:
    """Return the part of mean residuals (n, c) that is a movement of the whole panel: before holidays, in its season.

    The median over the series of the mean in units of each one's usual size, as far as the panel has moved in the first
    ``before`` columns. Single periods keep it: on one day few series move alike. 0 with few series.
    """
    nothing = np.zeros_like(mean)
    if scale.width == 1 or not before or not work.start:
        return nothing
    past = work.values[:, max(0, work.start - CALIBRATION_PERIODS) : work.start]
    size = np.nan_to_num(median_of(np.abs(past).T))
    relative = mean[size > 0] / size[size > 0, None]
    if len(relative) < TOGETHER_LEAST:
        return nothing
    enough = (~np.isnan(relative)).sum(axis=0) >= TOGETHER_LEAST
    together = np.where(enough, np.nan_to_num(median_of(relative)), 0.0)
    room = TOGETHER_RANGE * np.abs(together[:before]).max()
    out: Floats = size[:, None] * np.clip(together, -room, room)
    return out


def _isolated(p: Floats, rate: float) -> Bools:
    """Return where a spike stands alone: unlikely now, and not in the two periods before."""
    hit = p <= rate
    before = np.zeros_like(hit)
    before[:, 1:] |= hit[:, :-1]
    before[:, 2:] |= hit[:, :-2]
    out: Bools = hit & ~before
    return out


def _clipped_mean(residual: Floats, width: int, before: int) -> Floats:
    """Return the rolling mean with single values held to ``CLIP`` deviations, so that one spike is no shift."""
    if width == 1:
        return residual
    seen = residual[:, :before] if before else residual
    limit = CLIP * robust_spread(seen)[:, None]
    limit = np.where(limit > 0, limit, np.inf)
    return rolling_mean(np.clip(residual, -limit, limit), width)


def _residual(
    work: Work, scale: Scale, grain: Grain, calendar: Calendar, first: int, stop: int | None = None
) -> tuple[Floats, Floats]:
    """Return value minus expectation, and the expectation, of columns ``first`` to ``stop``."""
    values, times = work.values[:, :stop], work.times[:stop]
    base = lagged_median(values, work.season, scale.gap, first)
    if grain is not Grain.DAY:
        return values[:, first:] - base, base
    base = _widen_on_holidays(values, times, base, first, calendar)
    residual = values[:, first:] - base
    if scale.name == "spike":
        apart = values - lagged_median(values, work.season, 1, 0)
        spread = robust_spread(apart[:, : max(min(work.start, values.shape[1]), 1)])
        monthly = monthly_profile(apart, spread, times, calendar, first)
        fees = returning(apart, spread, times, first)
        known = np.where(np.abs(fees) > np.abs(monthly), fees, monthly)
        residual = _less(residual, known)
        base = base + known
    return residual, base


def _less(residual: Floats, known: Floats) -> Floats:
    """Take a known deviation out of a residual of the same sign; never past zero, so its absence is no anomaly."""
    same = np.sign(residual) * np.sign(np.nan_to_num(known)) > 0
    shrunk = np.sign(residual) * np.maximum(np.abs(residual) - np.abs(np.nan_to_num(known)), 0.0)
    return np.where(same, shrunk, residual)


def _widen_on_holidays(values: Floats, times: Days, base: Floats, first: int, calendar: Calendar) -> Floats:
    """On holidays expect the nearest value between a normal day's and a Sunday's."""
    days = times.astype("datetime64[D]")
    off = np.isin(days, holidays_between(calendar, days))
    sunday = (days.astype(np.int64) + 3) % 7 == 6
    for column in np.flatnonzero(off[first:]) + first:
        sundays = np.flatnonzero(sunday[:column])[-8:]
        if not len(sundays):
            continue
        rest = median_of(values[:, sundays].T)
        usual = base[:, column - first]
        base[:, column - first] = np.clip(values[:, column], np.fmin(usual, rest), np.fmax(usual, rest))
    return base


def _score(work: Work, scale: Scale, mean: Floats, first: int, raw: Floats) -> Evidence:
    """Turn mean residuals (n, first..t) into p-values of the scanned columns, calibrated on the earlier ones."""
    before = work.start - first
    past = mean[:, :before] if before else mean[:, :0]
    spread = robust_spread(past) if before else np.zeros(len(mean))
    floor = 1e-3 * robust_spread(work.values[:, : max(work.start, 1)])
    unit = np.maximum(np.maximum(spread, floor), 1e-12)
    scores = past / unit[:, None]
    factor = own_factor(scores) if before else np.ones(len(mean))
    tail = Tail.fit(scores / factor[:, None])
    p = tail.beyond(mean[:, before:] / (unit * factor)[:, None])
    p[(~np.isnan(past)).sum(axis=1) < 3 * work.season] = 1.0
    p[work.ignored] = 1.0
    return Evidence(scale, raw[:, before:], p, unit * factor)


def _changes(work: Work, limit: float, expected: Floats) -> list[Alert]:
    """Return an alert for every scale and scanned period whose p lies under the limit."""
    alerts = []
    for one in work.evidence:
        width = one.scale.width
        for row, column in np.argwhere(one.p <= limit):
            at = work.start + int(column)
            begin = max(0, at - width + 1)
            if one.scale.name == "spike":
                actual, usual = float(work.values[row, at]), float(expected[row, column])
            else:
                actual = float(np.nansum(work.values[row, begin : at + 1]))
                usual = actual - float(one.mean[row, column]) * width
            room = 2.0 * float(one.spread[row]) * width
            alerts.append(
                Alert(
                    int(row),
                    AlertKind(one.scale.name),
                    work.times[begin],
                    work.times[at],
                    actual,
                    usual,
                    usual - room,
                    usual + room,
                    float(one.p[row, column]),
                )
            )
    return alerts
