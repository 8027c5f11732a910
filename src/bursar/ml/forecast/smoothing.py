"""Additive exponential smoothing over all series at once: a grid of parameters, one pass over time for all origins.

Source: Hyndman, Koehler, Ord and Snyder (2008), the models ETS(A,N,N), (A,Ad,N), (A,N,A) and (A,Ad,A) in innovations form.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from bursar.kernel.series import Floats, Ints
from bursar.ml.forecast.contract import Forecaster, periods_since
from bursar.ml.forecast.history import History, fill_gaps, first_valid
from bursar.ml.forecast.naive import mean_where

CELLS = 24_000
"""Grid points times series worked on at once, so that the state stays in the processor's cache."""

START_CYCLES = 4
"""Seasons that the starting level and season are averaged over."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Candidate parameters, each array of shape (g,); ``seasonal`` and ``trended`` are 0 or 1 per candidate."""

    alpha: Floats
    beta: Floats
    gamma: Floats
    phi: Floats
    seasonal: Floats

    @property
    def free(self) -> Floats:
        """Shape (g,): free parameters and starting states per candidate, for the information criterion."""
        trended = self.beta > 0
        seasonal = np.where(self.gamma > 0, 2.0, 1.0) * self.seasonal
        out: Floats = np.asarray(2.0 + 3.0 * trended + seasonal, dtype=np.float64)
        return out


def grid_of(season: int, *, seasonal: bool) -> Grid:
    """Return the default candidates: four levels of smoothing, damped trend or none, season or none."""
    rows = [
        (alpha, beta, gamma, 0.9 if beta else 1.0, season_on)
        for season_on in ((0.0, 1.0) if seasonal and season > 1 else (0.0,))
        for alpha in (0.02, 0.06, 0.15, 0.35, 0.7, 0.95)
        for beta in (0.0, 0.03 * alpha)
        for gamma in ((0.0, 0.05, 0.2) if season_on else (0.0,))
    ]
    table = np.array(rows).T
    return Grid(*table)


@dataclass(slots=True)
class States:
    """The chosen state of every series at one origin: shapes (n,), (n,), (n,), (n, season).

    ``at`` is the origin; ``gains`` of shape (3, n) are the chosen smoothing of level, slope and season.
    """

    level: Floats
    slope: Floats
    phi: Floats
    seasonal: Floats
    at: int
    gains: Floats

    def take(self, values: Floats) -> None:
        """Carry the state over the columns of ``values`` (n, c); a gap changes no state."""
        alpha, beta, gamma = self.gains
        for column in values.T:
            position = self.at % self.seasonal.shape[1]
            self.slope = self.slope * self.phi
            self.level = self.level + self.slope
            error = np.nan_to_num(column - self.level - self.seasonal[:, position])
            self.level = self.level + alpha * error
            self.slope = self.slope + beta * error
            self.seasonal[:, position] += gamma * error
            self.at += 1

    def ahead(self, horizon: int) -> Floats:
        """Return the point forecasts, shape (n, horizon)."""
        steps = np.arange(1, horizon + 1)
        damping = np.cumsum(self.phi[:, None] ** steps, axis=1)
        season = self.seasonal[:, (self.at + np.arange(horizon)) % self.seasonal.shape[1]]
        out: Floats = self.level[:, None] + self.slope[:, None] * damping + season
        return out


def starting_states(values: Floats, season: int, first: Ints) -> tuple[Floats, Floats]:
    """Return the starting level (n,) and season by calendar position (n, season) from the first few seasons."""
    width = min(START_CYCLES * season, values.shape[1])
    columns = np.minimum(first[:, None] + np.arange(width), values.shape[1] - 1)
    block = np.take_along_axis(values, columns, axis=1)
    block = np.where(first[:, None] + np.arange(width) < values.shape[1], block, np.nan)
    level = mean_where(block, 1)
    profile = np.zeros((len(values), season))
    for offset in range(season):
        effect = mean_where(block[:, offset::season], 1) - level
        position = (first + offset) % season
        profile[np.arange(len(values)), position] = np.where(np.isnan(effect), 0.0, effect)
    return np.where(np.isnan(level), 0.0, level), profile


def smooth(values: Floats, season: int, grid: Grid, origins: tuple[int, ...]) -> list[States]:
    """Run every candidate over every series once and keep the best state at each origin.

    Args:
        values: Shape (n, t): gaps filled, NaN before the start only.
        season: Season length; 1 for none.
        grid: Candidates.
        origins: Ascending, each at most t. The choice at an origin uses errors before it only.

    Returns:
        One :class:`States` per origin; level is NaN where a series had not started.
    """
    chunk = max(1, CELLS // len(grid.alpha))
    parts = [_smooth_chunk(values[lo : lo + chunk], season, grid, origins) for lo in range(0, len(values), chunk)]
    joined = []
    for at, origin in enumerate(origins):
        pieces = [part[at] for part in parts]
        joined.append(
            States(
                np.concatenate([piece.level for piece in pieces]),
                np.concatenate([piece.slope for piece in pieces]),
                np.concatenate([piece.phi for piece in pieces]),
                np.concatenate([piece.seasonal for piece in pieces]),
                origin,
                np.concatenate([piece.gains for piece in pieces], axis=1),
            )
        )
    return joined


def _smooth_chunk(values: Floats, season: int, grid: Grid, origins: tuple[int, ...]) -> list[States]:
    first = first_valid(values)
    start_level, profile = starting_states(values, season, first)
    size = (len(grid.alpha), len(values))
    level = np.broadcast_to(start_level, size).copy()
    slope = np.zeros(size)
    seasonal = grid.seasonal[None, :, None] * profile.T[:, None, :]
    squares, count = np.zeros(size), np.zeros(len(values))
    data, live = np.nan_to_num(values.T), ~np.isnan(values.T)
    alpha, beta, gamma, phi = (one[:, None] for one in (grid.alpha, grid.beta, grid.gamma, grid.phi))
    error, step = np.empty(size), np.empty(size)
    whole = np.atleast_1d(live.all(axis=1))
    kept: list[States] = []
    for t in range(max(origins)):
        while len(kept) < len(origins) and origins[len(kept)] == t:
            kept.append(_best(level, slope, seasonal, squares, count, grid, t, first))
        state = seasonal[t % season]
        np.multiply(slope, phi, out=slope)
        np.add(level, slope, out=level)
        np.subtract(data[t], level, out=error)
        np.subtract(error, state, out=error)
        if not whole[t]:
            np.multiply(error, live[t], out=error)
        np.multiply(error, error, out=step)
        np.add(squares, step, out=squares)
        np.multiply(error, alpha, out=step)
        np.add(level, step, out=level)
        np.multiply(error, beta, out=step)
        np.add(slope, step, out=slope)
        np.multiply(error, gamma, out=step)
        np.add(state, step, out=state)
        count += live[t]
    kept.extend(_best(level, slope, seasonal, squares, count, grid, origin, first) for origin in origins[len(kept) :])
    return kept


def _best(
    level: Floats, slope: Floats, seasonal: Floats, squares: Floats, count: Floats, grid: Grid, at: int, first: Ints
) -> States:
    """Pick per series the candidate with the smallest corrected information criterion (AICc)."""
    free = np.minimum(grid.free[:, None], np.maximum(count - 2.0, 1.0))
    number = np.maximum(count, 1.0)
    tiny = np.maximum(squares.max(axis=0), 1e-300) * 1e-12
    fit = number * np.log((squares + tiny) / number)
    penalty = 2.0 * free * number / np.maximum(number - free - 1.0, 1.0)
    best = (fit + penalty).argmin(axis=0)
    rows = np.arange(level.shape[1])
    started = first < at
    return States(
        np.where(started, level[best, rows], np.nan),
        slope[best, rows],
        grid.phi[best],
        seasonal[:, best, rows].T.copy(),
        at,
        np.stack((grid.alpha[best], grid.beta[best], grid.gamma[best])),
    )


class Smoothing(Forecaster):
    """Damped additive ETS, form and parameters chosen per series by AICc over a grid.

    Args:
        seasonal: Whether forms with a season compete.
    """

    name: ClassVar[str] = "ets"

    def __init__(self, *, seasonal: bool = True) -> None:
        self.seasonal = seasonal

    def _run(self, history: History, origins: tuple[int, ...]) -> list[States]:
        season = history.season if self.seasonal else 1
        filled = fill_gaps(history.values, history.season)
        return smooth(filled, season, grid_of(season, seasonal=self.seasonal), origins)

    def fit(self, history: History) -> Self:
        """Smooth to the end of the history."""
        (self.states_,) = self._run(history, (history.values.shape[1],))
        self.last_ = history.times[-1]
        return self

    def advance(self, history: History) -> Self:
        """Carry the states over the new periods; form and parameters stay."""
        new = periods_since(self.last_, history)
        if new:
            recent = fill_gaps(history.values[:, -(new + history.season) :], history.season)
            self.states_.take(recent[:, -new:])
        self.last_ = history.times[-1]
        return self

    def predict(self, horizon: int) -> Floats:
        """Extrapolate level, damped slope and season."""
        return self.states_.ahead(horizon)

    def backtest(self, history: History, origins: tuple[int, ...], horizon: int) -> Floats:
        """One pass over time serves all origins; series whose starting states reach past the first are run per origin."""
        out = np.stack([states.ahead(horizon) for states in self._run(history, origins)])
        begin = START_CYCLES * history.season
        young = np.flatnonzero(first_valid(history.values) + begin > origins[0])
        if len(young):
            out[:, young] = super().backtest(history.rows(young), origins, horizon)
        return out
