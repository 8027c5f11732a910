"""Complex exponential smoothing over all series at once, parameters found by zooming in on a grid per series.

The season carries the level, as two complex states per position; beside it a complex level without season follows what
is passing. Without that level the form is the simple seasonal one; both compete.

Source: Svetunkov and Kourentzes (2022), the simple and the full seasonal forms.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from bursar.kernel.series import Floats
from bursar.ml.forecast.contract import Forecaster, periods_since
from bursar.ml.forecast.history import History, fill_gaps, first_valid
from bursar.ml.forecast.smoothing import starting_states

CELLS = 24_000
ROUNDS = 3
"""Times the grid is narrowed around the best candidate."""

POINTS = 24
"""Candidates per round."""

FITTED_MAX = 730
"""Periods before the origin that parameters are fitted to."""

CENTRE = np.array([1.3, 0.92, 1.05, 1.001])
REACH = np.array([0.35, 0.09, 0.05, 0.003])
"""Centre and half width of the first grid: real and imaginary smoothing of the level, then of the season."""

LOWEST = np.array([0.9, 0.6, 0.97, 0.99])
HIGHEST = np.array([1.9, 1.02, 1.35, 1.02])


@dataclass(slots=True)
class _States:
    """States of every candidate: complex level (g, n) twice, complex season (m, g, n) twice, squared error (g, n)."""

    level: Floats
    shadow: Floats
    season: Floats
    season_shadow: Floats
    squares: Floats


def _pass(data: Floats, live: Floats, parameters: Floats, levelled: Floats, profile: Floats) -> _States:
    """Run every candidate once over time.

    Args:
        data: Shape (t, n), 0 where there is no value.
        live: Shape (t, n): 1 where there is one.
        parameters: Shape (4, g, n).
        levelled: Shape (g, 1): 1 where the passing level is on.
        profile: Shape (m, n): starting season, level included.
    """
    a0, a1, b0, b1 = parameters
    size = a0.shape
    level, shadow, squares = np.zeros(size), np.zeros(size), np.zeros(size)
    season = np.broadcast_to(profile[:, None, :], (len(profile), *size)).copy()
    season_shadow = season / b0
    up, down = (a0 - a1) * levelled, (a0 + a1) * levelled
    season_up, season_down, lose, season_lose = b0 - b1, b0 + b1, 1 - a1, 1 - b1
    keep, season_keep = 1 - a0, 1 - b0
    for t in range(len(data)):
        at = t % len(profile)
        one, two = season[at], season_shadow[at]
        error = (data[t] - one - level) * live[t]
        squares += error * error
        level, shadow = level - lose * shadow + up * error, level + keep * shadow + down * error
        if live[t].all():
            season[at] = one - season_lose * two + season_up * error
            season_shadow[at] = one + season_keep * two + season_down * error
        else:
            season[at] = np.where(live[t] > 0, one - season_lose * two + season_up * error, one)
            season_shadow[at] = np.where(live[t] > 0, one + season_keep * two + season_down * error, two)
    return _States(level, shadow, season, season_shadow, squares)


class ComplexSmoothing(Forecaster):
    """CES, form and parameters per series.

    Args:
        seed: Of the candidate points, the same for all series.
    """

    name: ClassVar[str] = "ces"

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed

    def fit(self, history: History) -> Self:
        """Zoom in on the parameters, then keep the states of the best."""
        values = fill_gaps(history.values, history.season)[:, -FITTED_MAX:]
        self.at_ = values.shape[1]
        self.empty_ = first_valid(values) == values.shape[1]
        chunk = max(1, CELLS // POINTS)
        parts = [self._fit_chunk(values[lo : lo + chunk], history.season) for lo in range(0, len(values), chunk)]
        self.parameters_ = np.concatenate([part[0] for part in parts], axis=1)
        self.level_, self.shadow_, self.season_, self.season_shadow_ = (
            np.concatenate([part[at] for part in parts], axis=-1) for at in range(1, 5)
        )
        self.levelled_ = np.concatenate([part[5] for part in parts])
        self.last_ = history.times[-1]
        return self

    def advance(self, history: History) -> Self:
        """Carry the states over the new periods; the parameters stay."""
        new = periods_since(self.last_, history)
        recent = fill_gaps(history.values[:, -(new + history.season) :], history.season)
        for column in recent.T[len(recent.T) - new :]:
            at = self.at_ % len(self.season_)
            self._step(np.nan_to_num(column - self.level_ - self.season_[at]), at)
            self.at_ += 1
        self.last_ = history.times[-1]
        return self

    def _step(self, error: Floats, at: int) -> None:
        """Carry the states over one period."""
        a0, a1, b0, b1 = self.parameters_
        one, two = self.season_[at].copy(), self.season_shadow_[at].copy()
        level, shadow, on = self.level_, self.shadow_, self.levelled_
        self.level_ = level - (1 - a1) * shadow + on * (a0 - a1) * error
        self.shadow_ = level + (1 - a0) * shadow + on * (a0 + a1) * error
        self.season_[at] = one - (1 - b1) * two + (b0 - b1) * error
        self.season_shadow_[at] = one + (1 - b0) * two + (b0 + b1) * error

    def _fit_chunk(self, values: Floats, season: int) -> tuple[Floats, ...]:
        rng = np.random.default_rng(self.seed)
        level, profile = starting_states(values, season, first_valid(values))
        data, live = np.nan_to_num(values.T), (~np.isnan(values.T)).astype(float)
        unit = np.abs(data).max(axis=0)
        unit = np.where(unit > 0, unit, 1.0)
        start = (level[:, None] + profile).T / unit
        data = data / unit
        rows = np.arange(len(values))
        levelled = (np.arange(POINTS) % 3 > 0).astype(float)[:, None]
        centre = np.repeat(CENTRE[:, None, None], len(values), axis=2)
        for zoom in range(ROUNDS):
            points = rng.uniform(-1, 1, (4, POINTS, 1))
            points[:, :2] = 0.0
            candidates = centre + points * REACH[:, None, None] * 0.5**zoom
            candidates = np.clip(candidates, LOWEST[:, None, None], HIGHEST[:, None, None])
            run = _pass(data, live, candidates, levelled, start)
            squares = np.where(np.isfinite(run.squares), run.squares, np.inf)
            squares = squares * np.where(levelled > 0, 1.0 + 4.0 / max(len(data), 1), 1.0)
            best = squares.argmin(axis=0)
            centre = candidates[:, best, rows][:, None, :]
        return (
            centre[:, 0, :],
            run.level[best, rows] * unit,
            run.shadow[best, rows] * unit,
            run.season[:, best, rows] * unit,
            run.season_shadow[:, best, rows] * unit,
            levelled[best, 0],
        )

    def predict(self, horizon: int) -> Floats:
        """Iterate the states without errors."""
        a0, a1, b0, b1 = self.parameters_
        level, shadow = self.level_, self.shadow_
        season, season_shadow = self.season_.copy(), self.season_shadow_.copy()
        out = np.empty((len(level), horizon))
        for step in range(horizon):
            at = (self.at_ + step) % len(season)
            one, two = season[at].copy(), season_shadow[at].copy()
            out[:, step] = level + one
            level, shadow = level - (1 - a1) * shadow, level + (1 - a0) * shadow
            season[at], season_shadow[at] = one - (1 - b1) * two, one + (1 - b0) * two
        out[self.empty_] = np.nan
        return out
