"""The dynamic optimised theta model over all series at once.

Source: Fiorucci, Pellegrini, Louzada, Petropoulos and Koehler (2016), equations of the DOTM state-space form; season
removed by classical additive decomposition.
"""

from typing import ClassVar, Self

import numpy as np

from bursar.kernel.series import Floats
from bursar.ml.forecast.contract import Forecaster, periods_since
from bursar.ml.forecast.history import History, fill_gaps, first_valid
from bursar.ml.forecast.naive import mean_where

ALPHAS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)
THETAS = (1.0, 1.5, 2.0, 4.0)
CELLS = 24_000
SEASONS_LEAST = 2
"""Fewer whole seasons than this are not decomposed."""


def seasonal_effects(values: Floats, season: int) -> Floats:
    """Return additive effects by calendar position, shape (n, season), each row summing to zero.

    Args:
        values: Shape (n, t): no gaps after the start.
        season: Season length.

    Returns:
        Zeros for series with fewer than ``SEASONS_LEAST`` seasons, and where the season is not significant: the
        autocorrelation at the season's lag is tested at 90 % as in the original method.
    """
    count, width = values.shape
    if season <= 1 or width < SEASONS_LEAST * season:
        return np.zeros((count, max(season, 1)))
    trend = _centred_mean(values, season)
    detrended = values - trend
    effects = np.stack([mean_where(detrended[:, at::season], 1) for at in range(season)], axis=1)
    effects = np.where(np.isnan(effects), 0.0, effects)
    effects -= effects.mean(axis=1, keepdims=True)
    enough = (width - first_valid(values)) >= SEASONS_LEAST * season
    significant = _is_seasonal(values, season)
    out: Floats = effects * (enough & significant)[:, None]
    return out


def _centred_mean(values: Floats, season: int) -> Floats:
    """Return the centred moving average over one season (2 x m for even m), NaN at both ends and before the start."""
    width = values.shape[1]
    sums = np.concatenate((np.zeros((len(values), 1)), np.nancumsum(values, axis=1)), axis=1)
    holes = np.concatenate((np.zeros((len(values), 1)), np.cumsum(np.isnan(values), axis=1)), axis=1)

    def moving(size: int) -> Floats:
        mean = (sums[:, size:] - sums[:, :-size]) / size
        return np.where(holes[:, size:] - holes[:, :-size] > 0, np.nan, mean)

    out = np.full(values.shape, np.nan)
    half = season // 2
    if season % 2:
        out[:, half : width - half] = moving(season)
    else:
        mean = moving(season)
        out[:, half : width - half] = (mean[:, 1:] + mean[:, :-1]) / 2
    return out


def _is_seasonal(values: Floats, season: int) -> Floats:
    centred = values - mean_where(values, 1)[:, None]
    centred = np.where(np.isnan(centred), 0.0, centred)
    power = np.maximum((centred**2).sum(axis=1), 1e-300)
    lags = np.stack([(centred[:, lag:] * centred[:, :-lag]).sum(axis=1) / power for lag in range(1, season + 1)])
    length = np.maximum((~np.isnan(values)).sum(axis=1), 1)
    limit = 1.645 * np.sqrt((1.0 + 2.0 * (lags[:-1] ** 2).sum(axis=0)) / length)
    out: Floats = np.abs(lags[-1]) > limit
    return out


class Theta(Forecaster):
    """DOTM with smoothing and theta chosen per series by one-step squared error over a grid."""

    name: ClassVar[str] = "theta"

    def fit(self, history: History) -> Self:
        """Deseasonalise, then run every candidate once over time."""
        filled = fill_gaps(history.values, history.season)
        self.effects_ = seasonal_effects(filled, history.season)
        season = self.effects_.shape[1]
        width = filled.shape[1]
        adjusted = filled - self.effects_[:, np.arange(width) % season]
        chunk = max(1, CELLS // (len(ALPHAS) * len(THETAS)))
        parts = [_run(adjusted[lo : lo + chunk]) for lo in range(0, len(adjusted), chunk)]
        self.level_, self.mean_, self.slope_, self.alpha_, self.theta_, self.count_ = (
            np.concatenate([part[at] for part in parts]) for at in range(6)
        )
        self.at_ = width
        self.last_ = history.times[-1]
        return self

    def advance(self, history: History) -> Self:
        """Carry the states over the new periods; season, smoothing and theta stay."""
        new = periods_since(self.last_, history)
        recent = fill_gaps(history.values[:, -(new + history.season) :], history.season)
        for column in recent.T[len(recent.T) - new :]:
            value = column - self.effects_[:, self.at_ % self.effects_.shape[1]]
            value = np.where(np.isnan(value), self.level_, value)
            self._step(value)
            self.at_ += 1
        self.last_ = history.times[-1]
        return self

    def _step(self, value: Floats) -> None:
        count = self.count_
        self.level_ = self.alpha_ * value + (1 - self.alpha_) * self.level_
        self.slope_ = ((count - 1) * self.slope_ + 6 / (count + 1) * (value - self.mean_)) / (count + 2)
        self.mean_ = (count * self.mean_ + value) / (count + 1)
        self.count_ = count + 1

    def predict(self, horizon: int) -> Floats:
        """Iterate the state equations with each forecast in place of the observation."""
        level, mean, slope = self.level_.copy(), self.mean_.copy(), self.slope_.copy()
        keep, count = 1 - self.alpha_, self.count_ + np.arange(horizon)[:, None]
        tilt, decay = 1 - 1 / self.theta_, keep**self.count_
        half, slower, turn = (count + 1) / 2, (count - 1) / (count + 2), 6 / ((count + 1) * (count + 2))
        out = np.empty((len(level), horizon))
        for step in range(horizon):  # few operations: one series takes as long as a hundred here
            rise = slope / self.alpha_
            ahead = tilt * (decay * (mean - half[step] * slope - keep * rise) + rise)
            forecast = level + ahead
            out[:, step] = forecast
            level += self.alpha_ * ahead
            gap = forecast - mean
            slope = slower[step] * slope + turn[step] * gap
            mean += gap / (count[step] + 1)
            decay *= keep
        season = self.effects_.shape[1]
        out += self.effects_[:, (self.at_ + np.arange(horizon)) % season]
        out[self.count_ == 0] = np.nan
        return out


def _run(values: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats]:
    """Return per series the final level, mean, slope, the best alpha and theta, and the number of values seen."""
    first = first_valid(values)
    series = len(values)
    alpha = np.array(ALPHAS)[:, None]
    weight = 1 - 1 / np.array(THETAS)[:, None, None]
    data, live = np.nan_to_num(values.T), ~np.isnan(values.T)
    begin = values[np.arange(series), np.minimum(first, values.shape[1] - 1)]
    level = np.repeat(np.nan_to_num(begin)[None, :], len(ALPHAS), axis=0)
    mean, slope, count = np.zeros(series), np.zeros(series), np.zeros(series)
    squares = np.zeros((len(THETAS), len(ALPHAS), series))
    decay = np.ones((len(ALPHAS), series))
    for t in range(values.shape[1]):
        now = live[t]
        line = mean - (count + 1) / 2 * slope
        drift = decay * line + (1 - decay * (1 - alpha)) / alpha * slope
        error = (data[t] - level) - weight * drift
        squares += error * error * (now & (count > 2))
        level += alpha * (data[t] - level) * now
        slope = np.where(now, ((count - 1) * slope + 6 / (count + 1) * (data[t] - mean)) / (count + 2), slope)
        slope = np.where(count < 1, 0.0, slope)
        mean = np.where(now, (count * mean + data[t]) / (count + 1), mean)
        decay = np.where(now, decay * (1 - alpha), decay)
        count += now
    best = squares.reshape(-1, series).argmin(axis=0)
    chosen = best % len(ALPHAS)
    return (
        level[chosen, np.arange(series)],
        mean,
        slope,
        np.array(ALPHAS)[chosen],
        np.array(THETAS)[best // len(ALPHAS)],
        count,
    )
