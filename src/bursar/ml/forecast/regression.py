"""Ridge regression on trend, season, month, year and holidays: one design for all series, solved in batches.

The design is shared, so the normal equations of all series are one matrix product; recent periods weigh more, and the
level of the last residuals is carried forward.
"""

from typing import ClassVar, Self

import numpy as np

from bursar.kernel.period import Grain
from bursar.kernel.series import Days, Floats, calendar
from bursar.ml.calendar import Bools
from bursar.ml.forecast.contract import Forecaster
from bursar.ml.forecast.history import History, first_valid
from bursar.ml.forecast.naive import mean_where

YEAR_DAYS = 365.2425
YEAR_ORDER = 6
"""Sine and cosine pairs of the year; used once a series spans ``YEAR_LEAST`` years."""

YEAR_LEAST = 1.5
BATCH = 2_000
RESIDUAL_DECAY = 0.97
RECENT = 200
"""Periods that the residual level is measured on when new ones arrive."""
FEW = 64
"""Up to this many series the normal equations are made one by one; beyond, all in one product with the outer products."""


def _position(times: Days, season: int, grain: Grain) -> Floats:
    """Return dummies of the position in the season, shape (t, season), centred so that they sum to zero."""
    if grain is Grain.MONTH:
        at = times.astype("datetime64[M]").astype(np.int64) % season
    else:
        hours = {Grain.HOUR: 1, Grain.DAY: 24, Grain.WEEK: 168}[grain]
        at = (times.astype("datetime64[h]").astype(np.int64) // hours) % season
    return np.eye(season)[at] - 1.0 / season


def design(times: Days, grain: Grain, season: int, origin: Days, years: float) -> tuple[Floats, Floats]:
    """Return the regressors (t, p) and the ridge penalty of each (p,).

    Args:
        times: Period starts.
        grain: The calendar.
        season: Main season in periods.
        origin: Shape (): the last period of the history; the trend is 0 there and held flat after a while.
        years: Length of the history in years.
    """
    age = (times - origin).astype("timedelta64[h]").astype(np.float64) / 24 / YEAR_DAYS
    columns = [np.ones_like(age), np.minimum(age, 0.25)]
    penalty = [1e-6, 2.0]
    for hinge in (0.08, 0.25, 0.5, 1.0):
        if hinge < years:
            columns.append(np.minimum(np.maximum(age + hinge, 0.0), hinge))
            penalty.append(5.0)
    table = [np.stack(columns, axis=1), _position(times, season, grain)]
    weights = [np.array(penalty), np.full(season, 0.3)]
    day_of_year = times.astype("datetime64[D]") - times.astype("datetime64[Y]").astype("datetime64[D]")
    if years >= YEAR_LEAST and grain is not Grain.MONTH:
        order = np.arange(1, YEAR_ORDER + 1)
        angle = 2 * np.pi * day_of_year.astype(np.float64)[:, None] / YEAR_DAYS * order
        table += [np.sin(angle), np.cos(angle)]
        weights += [2.0 * order**1.0, 2.0 * order**1.0]
    if grain is Grain.DAY:
        month_day = (times.astype("datetime64[D]") - times.astype("datetime64[M]").astype("datetime64[D]")).astype(int)
        table.append(np.stack([(month_day // 4 == part) - 4 / 30.4 for part in range(8)], axis=1))
        weights.append(np.full(8, 5.0))
    return np.concatenate(table, axis=1), np.concatenate(weights)


class Ridge(Forecaster):
    """Fourier, trend, season and holiday regression with recency weights.

    Args:
        half_life: Periods after which an observation weighs half.
        known_penalty: Ridge penalty of the holiday and event effects, in observations.
    """

    name: ClassVar[str] = "ridge"

    def __init__(self, half_life: float = 240.0, known_penalty: float = 1.0) -> None:
        self.half_life = half_life
        self.known_penalty = known_penalty

    def fit(self, history: History) -> Self:
        """Solve the weighted normal equations of every series."""
        values, width = history.values, history.values.shape[1]
        self.history_ = history
        self.unit_ = mean_where(np.abs(values), 1)
        unit = np.where(self.unit_ > 0, self.unit_, 1.0)
        table, penalty = self._design(history.times, history.known[:width])
        recent = 0.5 ** (np.arange(width - 1, -1, -1.0) / self.half_life)
        plain = ~(history.known[:width] != 0).any(axis=1)
        few = len(values) <= FEW
        outer = None if few else (table[:, :, None] * table[:, None, :]).reshape(width, -1)
        self.weights_ = np.empty((len(values), table.shape[1]))
        self.residual_ = np.empty(len(values))
        for lo in range(0, len(values), BATCH):
            part = values[lo : lo + BATCH] / unit[lo : lo + BATCH, None]
            live = ~np.isnan(part)
            part = np.where(live, part, 0.0)
            part, weight = _clip(part, live, plain), live * recent
            if outer is None:
                normal = np.matmul(table.T * weight[:, None, :], table)
            else:
                normal = (weight @ outer).reshape(len(part), *[table.shape[1]] * 2)
            normal[:, np.arange(len(penalty)), np.arange(len(penalty))] += penalty
            right = (weight * part) @ table
            solved = np.linalg.solve(normal, right[:, :, None])[:, :, 0]
            self.weights_[lo : lo + BATCH] = solved
            fresh = live * RESIDUAL_DECAY ** np.arange(width - 1, -1, -1.0)
            errors = (part - solved @ table.T) * fresh
            self.residual_[lo : lo + BATCH] = errors.sum(axis=1) / (fresh.sum(axis=1) + 10.0)
        self.weights_[first_valid(values) == width] = np.nan
        self.end_, self.ahead_ = history.times[-1], history.known[width:]
        return self

    def advance(self, history: History) -> Self:
        """Keep the regression and measure the residual level of the last periods anew."""
        recent = history.values[:, -RECENT:]
        columns = len(history.times) - recent.shape[1]
        table, _ = self._design(history.times[columns:], history.known[columns : len(history.times)])
        unit = np.where(self.unit_ > 0, self.unit_, 1.0)[:, None]
        live = ~np.isnan(recent)
        fresh = live * RESIDUAL_DECAY ** np.arange(recent.shape[1] - 1, -1, -1.0)
        errors = (np.where(live, recent, 0.0) / unit - self.weights_ @ table.T) * fresh
        self.residual_ = errors.sum(axis=1) / (fresh.sum(axis=1) + 10.0)
        self.end_, self.ahead_ = history.times[-1], history.known[len(history.times) :]
        return self

    def _design(self, times: Days, known: Floats) -> tuple[Floats, Floats]:
        history = self.history_
        years = (history.times[-1] - history.times[0]).astype("timedelta64[h]").astype(float) / 24 / YEAR_DAYS
        table, penalty = design(times, history.grain, history.season, history.times[-1], float(years))
        return (
            np.concatenate((table, known), axis=1),
            np.concatenate((penalty, np.full(known.shape[1], self.known_penalty))),
        )

    def predict(self, horizon: int) -> Floats:
        """Evaluate the regression ahead and add the carried residual."""
        history = self.history_
        times = calendar(self.end_, history.grain, horizon + 1)[1:]
        known = np.zeros((horizon, history.known.shape[1]))
        ahead = self.ahead_[:horizon]
        known[: len(ahead)] = ahead
        table, _ = self._design(times, known)
        unit = np.where(self.unit_ > 0, self.unit_, 1.0)
        out: Floats = (self.weights_ @ table.T + self.residual_[:, None]) * unit[:, None]
        return out


def _clip(part: Floats, live: Bools, plain: Bools) -> Floats:
    """Pull values beyond six robust deviations of their series back to that, so that one spike cannot bend a year.

    Periods that are not ``plain`` (shape (t,)), where something known happens, keep their values.
    """
    masked = np.where(live, part, np.nan)
    empty = ~live.any(axis=1)
    masked[empty] = 0.0
    middle = np.nanmedian(masked, axis=1, keepdims=True)
    spread = np.nanmedian(np.abs(masked - middle), axis=1, keepdims=True)
    spread = np.maximum(spread, np.nanmean(np.abs(masked - middle), axis=1, keepdims=True))
    out: Floats = np.where(live, np.where(plain, np.clip(part, middle - 6 * spread, middle + 6 * spread), part), 0.0)
    return out
