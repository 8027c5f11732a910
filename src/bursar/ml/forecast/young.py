"""What serves series too young to be tried, and how far it errs: seen on older series that are cut as short.

At an earlier origin half of the series keep their history and the others forget all but their last weeks; the models that
do best for those get the weight, and their errors there make the intervals.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bursar.kernel.series import Floats, Ints
from bursar.ml.backtest import Backtest
from bursar.ml.calendar import Bools
from bursar.ml.conformal import LEVELS, Intervals, Kinds, intervals
from bursar.ml.forecast.contract import Forecaster
from bursar.ml.forecast.history import History, fill_gaps, first_valid, seasonal_scale
from bursar.ml.forecast.running import side_by_side
from bursar.ml.forecast.select import mix, pooled_weights

COLD_SEASONS = 4
"""A series younger than this many seasons is not tried itself."""

AGES = (1, 2, COLD_SEASONS)
"""Young series are told apart by age in seasons: up to one, two, and ``COLD_SEASONS``."""

TRIAL_SERIES = 1_000
"""Older series that speak for the young, at most."""

TRIAL_SERIES_LEAST = 12
"""With fewer older series the young are served by what serves them everywhere."""

TRIALS = 2
"""Origins, with the halves exchanged."""


@dataclass(frozen=True, slots=True)
class YoungTrial:
    """How series of one age were forecast.

    Attributes:
        rows: Shape (k,): the young series that it speaks for.
        weights: Shape (m,): of the models; sums to 1.
        residuals: Shape (w, p, h): (actual - forecast) / scale of the cut series, NaN where nothing was observed.
        tried: Shape (w, h): which of the periods tried lie around the turn of the year.
    """

    rows: Ints
    weights: Floats
    residuals: Floats
    tried: Bools

    def intervals(self, mean: Floats, scale: Floats, ahead: Bools) -> Intervals:
        """Return intervals of the young series.

        Args:
            mean: Shape (k, h).
            scale: Shape (k,): unit of the errors.
            ahead: Shape (h,): which periods lie around the turn of the year.
        """
        return intervals(mean, scale, self.residuals, LEVELS, Kinds(self.tried, ahead), own=False)


def ages_of(history: History, cold: Bools) -> Ints:
    """Return the age group of each series, shape (n,): a place in ``AGES``, -1 for series that are not cold."""
    age = (~np.isnan(history.values)).sum(axis=1)
    group = np.searchsorted(np.array(AGES) * history.season, age)
    return np.where(cold, np.minimum(group, len(AGES) - 1), -1)


def try_young(
    history: History, lineup: Sequence[Forecaster], record: Backtest, cold: Bools, unusual: Bools
) -> tuple[YoungTrial, ...]:
    """Try the models on older series cut to the age of the young ones.

    Args:
        history: Of n series.
        lineup: The m models; they are fitted anew.
        record: Of the whole panel, whose last origins are used.
        cold: Shape (n,): too young to be tried.
        unusual: Shape (t + h,): periods around the turn of the year.

    Returns:
        A trial for each age group that has young series; none where too few series are older.
    """
    group, begun = ages_of(history, cold), first_valid(history.values)
    groups = [int(one) for one in np.unique(group) if one >= 0]
    trials = range(max(0, len(record.origins) - TRIALS), len(record.origins))
    grown = begun + COLD_SEASONS * history.season <= record.origins[trials[0]]
    old = np.flatnonzero(~cold & grown)
    if not groups or len(old) < TRIAL_SERIES_LEAST:
        return ()
    old = old[np.unique(np.linspace(0, len(old) - 1, TRIAL_SERIES).astype(np.int64))]
    age = (~np.isnan(history.values)).sum(axis=1)
    ages = np.array([int(np.median(age[group == one])) for one in groups])
    cuts = [_cut(history, lineup, record, old, ages, at) for at in trials]
    tried = np.stack([unusual[cut.origin : cut.origin + cut.actual.shape[1]] for cut in cuts])
    return tuple(
        _trial(cuts, record.names, number, np.flatnonzero(group == one), tried)
        for number, one in enumerate(groups)
        if all((cut.group == number).any() for cut in cuts)
    )


@dataclass(frozen=True, slots=True)
class _Cut:
    """One origin, of p older series.

    Attributes:
        origin: What lies before it was seen.
        group: Shape (p,): the age that a series was cut to, -1 where it kept its history.
        forecasts: Shape (m, p, h).
        actual: Shape (p, h).
        whole: Shape (p,): unit of the errors by the whole history.
        short: Shape (p,): by what was left of it.
    """

    origin: int
    group: Ints
    forecasts: Floats
    actual: Floats
    whole: Floats
    short: Floats


def _cut(history: History, lineup: Sequence[Forecaster], record: Backtest, old: Ints, ages: Ints, at: int) -> _Cut:
    """Forecast at origin number ``at`` with every second of the ``old`` series cut to one of the ``ages``."""
    origin = record.origins[at]
    part = history.rows(old).until(origin)
    place = np.arange(len(old))
    group = np.where(place % 2 == at % 2, place // 2 % len(ages), -1)
    left = np.where(group >= 0, ages[group], origin)
    values = np.where(np.arange(origin) < origin - left[:, None], np.nan, part.values)
    rests = (~np.isnan(values)).sum(axis=1) == 0  # nothing would be left to forecast from
    group = np.where(rests, -1, group)
    part = replace(part, values=np.where(rests[:, None], part.values, values))
    forecasts = np.stack(side_by_side(lineup, lambda model: model.fit(part).predict(record.forecasts.shape[3])))
    short = seasonal_scale(fill_gaps(part.values, history.season), history.season)
    return _Cut(origin, group, forecasts, record.actual[at, old], record.scale[at, old], short)


def _trial(cuts: Sequence[_Cut], names: tuple[str, ...], number: int, rows: Ints, tried: Bools) -> YoungTrial:
    """Return what the series cut to age ``number`` say for the young ones in ``rows``."""
    picked = [np.flatnonzero(cut.group == number) for cut in cuts]
    least = min(len(one) for one in picked)
    both = [(cut, one[:least]) for cut, one in zip(cuts, picked, strict=True)]
    record = Backtest(
        tuple(cut.origin for cut in cuts),
        names,
        np.stack([cut.forecasts[:, at] for cut, at in both], axis=1),
        np.stack([cut.actual[at] for cut, at in both]),
        np.stack([cut.whole[at] for cut, at in both]),
    )
    weights = pooled_weights(record)
    mixed = mix(record.forecasts, np.tile(weights, (least, 1)))
    short = np.stack([cut.short[at] for cut, at in both])
    return YoungTrial(rows, weights, replace(record, scale=short).residuals(mixed), tried)
