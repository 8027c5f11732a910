"""Ridge regression on trend, season, month, year and holidays: what the panel shares, and how each series differs.

The panel's mean series is regressed on many effects, which one series could not tell from noise; the rest of each
series is regressed on a few, pulled towards none. Both designs are shared, so the normal equations of all series are
one matrix product and are solved once; values far from the fit are pulled towards it and solved for again. Recent
periods weigh more, and the level of the last residuals is carried forward.

Source: Hoerl and Kennard (1970) for the ridge; Huber (1981), section 7.8, modified residuals, for the pulling.
"""

from collections.abc import Callable
from typing import ClassVar, Self

import numpy as np

from bursar.kernel.period import Grain
from bursar.kernel.series import Days, Floats, calendar
from bursar.ml.calendar import Bools
from bursar.ml.forecast.contract import Forecaster
from bursar.ml.forecast.history import History, first_valid, padded
from bursar.ml.forecast.naive import mean_where

YEAR_DAYS = 365.2425
YEAR_ORDER = 6
"""Sine and cosine pairs of the year; used once a series spans ``YEAR_LEAST`` years."""

YEAR_LEAST = 1.5
BATCH = 2_000
ROUNDS = 3
"""Times that values far from the fit are pulled towards it."""

REACH = 1.0
"""Mean absolute residuals that a value may lie from the fit."""

PANEL_SERIES = 2_000
"""Series, evenly drawn, that tell what a panel shares; more tell the same."""

PANEL_HALF_LIFE = 2_000.0
PANEL_PENALTY = 3.0
NEAR_PENALTY = 2.0
OWN_PENALTY = 5.0
"""Ridge penalties in observations: of what the panel shares, twice that for its effects near holidays, and of what a
series has beyond that, each times the penalty of the regressor."""

RESIDUAL_DECAY = 0.95
RESIDUAL_PRIOR = 5.0
SPIKES_PRIOR = 20.0
RECENT = 200
"""Periods that the residual level is measured on when new ones arrive."""
FEW = 64
"""Up to this many series the normal equations are made one by one; beyond, all in one product with the outer products."""


def season_position(times: Days, season: int, grain: Grain) -> Floats:
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
    table = [np.stack(columns, axis=1), season_position(times, season, grain)]
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
        half_life: Periods after which an observation of a series weighs half.
        known_penalty: Ridge penalty of the holiday and event effects, in observations.
    """

    name: ClassVar[str] = "ridge"

    def __init__(self, half_life: float = 150.0, known_penalty: float = 1.0) -> None:
        self.half_life = half_life
        self.known_penalty = known_penalty

    def fit(self, history: History) -> Self:
        """Regress what the panel shares, then what each series has beyond it."""
        values, width = history.values, history.values.shape[1]
        self.history_ = history
        size = mean_where(np.abs(values), 1)
        self.unit_ = np.where(size > 0, size, 1.0)[:, None]
        scaled = _clipped(values / self.unit_, plain=~(history.known[:width] != 0).any(axis=1))
        table, penalty = self._design(history.times, history.known[:width])
        self.near_names_ = history.near_names
        whole = np.concatenate((table, padded(history.near, width)), axis=1)
        near_penalty = np.full(history.near.shape[1], NEAR_PENALTY)
        sample = scaled[np.unique(np.linspace(0, len(values) - 1, PANEL_SERIES).astype(int))]
        panel_penalty = PANEL_PENALTY * np.concatenate((penalty, near_penalty))
        self.shared_ = _shared(sample, whole, panel_penalty)
        rest = scaled - whole @ self.shared_
        recent = 0.5 ** (np.arange(width - 1, -1, -1.0) / self.half_life)
        self.own_ = np.empty((len(values), table.shape[1]))
        outer = None if len(values) <= FEW else (table[:, :, None] * table[:, None, :]).reshape(width, -1)
        for lo in range(0, len(values), BATCH):
            self.own_[lo : lo + BATCH] = _own(rest[lo : lo + BATCH], table, outer, OWN_PENALTY * penalty, recent)
        self.own_[first_valid(values) == width] = np.nan
        self._carry(values / self.unit_ - whole @ self.shared_ - self.own_ @ table.T)
        self.end_, self.ahead_, self.near_ahead_ = history.times[-1], history.known[width:], history.near[width:]
        return self

    def advance(self, history: History) -> Self:
        """Keep the regression and measure the residual level of the last periods anew."""
        width = len(history.times)
        recent = slice(max(0, width - RECENT), width)
        fitted = self._fitted(history.times[recent], history.known[recent], self._near(history)[recent])
        self._carry(history.values[:, recent] / self.unit_ - fitted)
        self.end_, self.ahead_, self.near_ahead_ = history.times[-1], history.known[width:], self._near(history)[width:]
        return self

    def _near(self, history: History) -> Floats:
        """Return the effects near holidays in the columns of the fit; what has a name since then has none."""
        at = {name: column for column, name in enumerate(history.near_names)}
        none = np.zeros(len(history.near))
        columns = [history.near[:, at[name]] if name in at else none for name in self.near_names_]
        return np.stack(columns, axis=1) if columns else history.near[:, :0]

    def _carry(self, residuals: Floats) -> None:
        """Measure the level of residuals (n, t), in units of the series, newer ones weighing more.

        Those within reach are the level of late; what lies beyond, spikes, is spread over all periods, so that a sum of
        forecasts is that of a sum with its spikes.
        """
        live = ~np.isnan(residuals)
        filled = np.where(live, residuals, 0.0)
        held = _within(filled, live)
        age = np.arange(residuals.shape[1] - 1, -1, -1.0)
        fresh, slow = live * RESIDUAL_DECAY**age, live * 0.5 ** (age / self.half_life)
        late = (held * fresh).sum(axis=1) / (fresh.sum(axis=1) + RESIDUAL_PRIOR)
        self.residual_ = late + ((filled - held) * slow).sum(axis=1) / (slow.sum(axis=1) + SPIKES_PRIOR)

    def _design(self, times: Days, known: Floats) -> tuple[Floats, Floats]:
        history = self.history_
        years = (history.times[-1] - history.times[0]).astype("timedelta64[h]").astype(float) / 24 / YEAR_DAYS
        table, penalty = design(times, history.grain, history.season, history.times[-1], float(years))
        return (
            np.concatenate((table, known), axis=1),
            np.concatenate((penalty, np.full(known.shape[1], self.known_penalty))),
        )

    def _fitted(self, times: Days, known: Floats, near: Floats) -> Floats:
        table, _ = self._design(times, known)
        out: Floats = np.concatenate((table, near), axis=1) @ self.shared_ + self.own_ @ table.T
        return out

    def predict(self, horizon: int) -> Floats:
        """Evaluate both regressions ahead and add the carried residual."""
        times = calendar(self.end_, self.history_.grain, horizon + 1)[1:]
        fitted = self._fitted(times, padded(self.ahead_, horizon), padded(self.near_ahead_, horizon))
        out: Floats = (fitted + self.residual_[:, None]) * self.unit_
        return out


def _shared(values: Floats, table: Floats, penalty: Floats) -> Floats:
    """Return the coefficients (p,) that all series (n, t) have in common, from a design (t, p)."""
    live = ~np.isnan(values)
    recent = 0.5 ** (np.arange(values.shape[1] - 1, -1, -1.0) / PANEL_HALF_LIFE)
    normal = (table.T * (live.sum(axis=0) * recent)) @ table + np.diag(penalty)

    def solve(pulled: Floats) -> Floats:
        out: Floats = np.linalg.solve(normal, table.T @ (pulled.sum(axis=0) * recent))
        return out

    return _robust(values, table, solve)


def _own(values: Floats, table: Floats, outer: Floats | None, penalty: Floats, recent: Floats) -> Floats:
    """Return the coefficients (n, p) of every series (n, t) alone.

    Args:
        values: NaN for gaps.
        table: Shape (t, p): the design.
        outer: Shape (t, p * p): its rows times themselves; None makes the normal equations one by one.
        penalty: Shape (p,).
        recent: Shape (t,): weight of each period.
    """
    weight = ~np.isnan(values) * recent
    if outer is None:
        normal = np.matmul(table.T * weight[:, None, :], table)
    else:
        normal = (weight @ outer).reshape(len(values), *[table.shape[1]] * 2)
    normal += np.diag(penalty)
    inverse = np.linalg.inv(normal)

    def solve(pulled: Floats) -> Floats:
        right = (weight * pulled) @ table
        out: Floats = np.matmul(inverse, right[:, :, None])[:, :, 0]
        return out

    return _robust(values, table, solve)


def _robust(values: Floats, table: Floats, solve: Callable[[Floats], Floats]) -> Floats:
    """Solve, pull values beyond reach of the fit towards it, and solve again; gaps are given as 0."""
    live = ~np.isnan(values)
    filled = np.where(live, values, 0.0)
    found = solve(filled)
    for _ in range(ROUNDS):
        fitted = np.where(live, found @ table.T, 0.0)
        found = solve(fitted + _within(filled - fitted, live))
    return found


def _within(residuals: Floats, live: Bools) -> Floats:
    """Hold residuals (n, t), 0 where not ``live``, to the reach of their series."""
    reach = REACH * np.abs(residuals).sum(axis=1, keepdims=True) / np.maximum(live.sum(axis=1, keepdims=True), 1)
    return np.clip(residuals, -reach, reach)


def _clipped(values: Floats, plain: Bools) -> Floats:
    """Pull values beyond six robust deviations of their series back to that, so that one spike cannot bend a year.

    Periods that are not ``plain`` (shape (t,)), where something known happens, keep their values; gaps stay.
    """
    masked = values.copy()
    masked[np.isnan(values).all(axis=1)] = 0.0
    middle = np.nanmedian(masked, axis=1, keepdims=True)
    spread = np.nanmedian(np.abs(masked - middle), axis=1, keepdims=True)
    spread = np.maximum(spread, np.nanmean(np.abs(masked - middle), axis=1, keepdims=True))
    return np.where(plain, np.clip(values, middle - 6 * spread, middle + 6 * spread), values)
