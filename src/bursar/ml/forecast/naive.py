"""The baselines: seasonal naive, run-rate, and the mean by season position."""

from typing import ClassVar, Self

import numpy as np

from bursar.kernel.series import Floats
from bursar.ml.forecast.contract import Forecaster
from bursar.ml.forecast.history import History, fill_gaps


def seasonal_positions(values: Floats, season: int, cycles: int) -> Floats:
    """Return the last ``cycles`` seasons, shape (n, cycles, season), the latest last, NaN where there is no value."""
    width = season * cycles
    padded = values
    if values.shape[1] < width:
        padded = np.full((len(values), width), np.nan)
        padded[:, width - values.shape[1] :] = values
    out: Floats = padded[:, -width:].reshape(len(values), cycles, season)
    return out


def mean_where(values: Floats, axis: int) -> Floats:
    """Return the mean over ``axis`` of the numbers present; NaN where there is none, without a warning."""
    valid = ~np.isnan(values)
    count = valid.sum(axis=axis)
    total = np.where(valid, values, 0.0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def last_valid(values: Floats) -> Floats:
    """Return per row the last number; NaN where there is none."""
    valid = ~np.isnan(values)
    last = values.shape[1] - 1 - valid[:, ::-1].argmax(axis=1)
    out: Floats = values[np.arange(len(values)), last]
    return out


def repeat_season(profile: Floats, horizon: int) -> Floats:
    """Continue a season profile of shape (n, season), whose last column is the last period seen, over ``horizon``."""
    times = -(-horizon // profile.shape[1])
    return np.tile(profile, (1, times))[:, :horizon]


class SeasonalNaive(Forecaster):
    """Repeats the last season; the declared baseline wherever a full season exists, the last value elsewhere."""

    name: ClassVar[str] = "seasonal_naive"

    def fit(self, history: History) -> Self:
        """Remember the last season, gaps filled causally."""
        filled = fill_gaps(history.values, history.season)
        profile = seasonal_positions(filled, history.season, 1)[:, 0, :]
        self.profile_ = np.where(np.isnan(profile), last_valid(filled)[:, None], profile)
        return self

    def predict(self, horizon: int) -> Floats:
        """Repeat it."""
        return repeat_season(self.profile_, horizon)


class RunRate(Forecaster):
    """The mean of the last ``window`` periods, flat: what a spreadsheet does.

    Args:
        window: Periods; rounded up to whole seasons.
    """

    name: ClassVar[str] = "run_rate"

    def __init__(self, window: int = 28) -> None:
        self.window = window

    def fit(self, history: History) -> Self:
        """Average."""
        cycles = -(-self.window // history.season)
        recent = seasonal_positions(history.values, history.season, cycles).reshape(len(history.values), -1)
        level = mean_where(recent, 1)
        self.level_ = np.where(np.isnan(level), last_valid(history.values), level)
        self.level_ = np.where(np.isnan(self.level_), mean_where(history.values, 1), self.level_)
        return self

    def predict(self, horizon: int) -> Floats:
        """Continue flat."""
        return np.repeat(self.level_[:, None], horizon, axis=1)


class SeasonalMean(Forecaster):
    """The weighted mean by season position over the last ``cycles`` seasons, newer seasons weighing more.

    Args:
        cycles: Seasons looked back.
        decay: Weight of a season relative to the next newer one, in (0, 1].
    """

    name: ClassVar[str] = "seasonal_mean"

    def __init__(self, cycles: int = 12, decay: float = 0.9) -> None:
        self.cycles = cycles
        self.decay = decay

    def fit(self, history: History) -> Self:
        """Average by position; a position without data takes the mean of the others."""
        recent = seasonal_positions(history.values, history.season, self.cycles)
        weight = self.decay ** np.arange(self.cycles - 1, -1, -1.0)[None, :, None] * ~np.isnan(recent)
        total = (np.where(np.isnan(recent), 0.0, recent) * weight).sum(axis=1)
        mass = weight.sum(axis=1)
        profile = np.where(mass > 0, total / np.maximum(mass, 1e-300), np.nan)
        rest = mean_where(profile, 1)
        rest = np.where(np.isnan(rest), mean_where(history.values, 1), rest)
        self.profile_ = np.where(np.isnan(profile), rest[:, None], profile)
        return self

    def predict(self, horizon: int) -> Floats:
        """Repeat the profile."""
        return repeat_season(self.profile_, horizon)
