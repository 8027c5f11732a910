"""The input of every forecaster: a rectangle of series on one calendar, with what is known about the days ahead."""

from dataclasses import dataclass, field, replace

import numpy as np

from bursar.kernel.errors import Invalid
from bursar.kernel.period import Grain
from bursar.kernel.series import Days, Floats, Ints

SEASONS: dict[Grain, tuple[int, ...]] = {
    Grain.HOUR: (24, 168),
    Grain.DAY: (7, 365),
    Grain.WEEK: (52,),
    Grain.MONTH: (12,),
}
"""Season lengths in periods, shortest first; the first is the season of the seasonal-naive baseline."""

YEAR_PERIODS = {Grain.HOUR: 364 * 24, Grain.DAY: 364, Grain.WEEK: 52, Grain.MONTH: 12}
"""Periods of the whole seasons that make a year: 364 days keep the weekday."""

HISTORY_MAX = 3_000
"""Periods read back from the origin; older ones say little and cost time."""


@dataclass(frozen=True, slots=True)
class History:
    """Series side by side.

    Attributes:
        values: Shape (n, t): NaN before a series starts and where data is missing.
        times: Shape (t,), ``datetime64[h]``: starts of the periods.
        grain: The calendar.
        known: Shape (t + ahead, k): regressors known for the past and for ``ahead`` periods after it (holidays, working
            days, known events); k may be 0.
        near: Shape (t + ahead, c): effects known like those, but too many to be learned from one series; none if empty.
        near_names: Their c names.
    """

    values: Floats
    times: Days
    grain: Grain
    known: Floats
    near: Floats = field(default_factory=lambda: np.empty((0, 0)))
    near_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse infinite values and shapes that do not belong together."""
        if self.values.ndim != 2 or self.values.shape[1] != len(self.times) or not self.values.shape[1]:
            raise Invalid(f"values of shape {self.values.shape} do not fit {len(self.times)} periods")
        if np.isinf(self.values).any():
            raise Invalid("an infinite value cannot be forecast", "Send the amount itself, or null for a gap.")

    @property
    def season(self) -> int:
        """The main season in periods."""
        return SEASONS[self.grain][0]

    @property
    def ahead(self) -> int:
        """How many periods after the last are covered by ``known``."""
        return len(self.known) - len(self.times)

    def until(self, origin: int) -> "History":
        """Return what was known before period ``origin`` (0 < origin <= t); the regressors keep reaching beyond it."""
        return replace(self, values=self.values[:, :origin], times=self.times[:origin])

    def rows(self, index: Ints) -> "History":
        """Return the series ``index`` alone."""
        return replace(self, values=self.values[index])


def padded(effects: Floats, length: int) -> Floats:
    """Return the first ``length`` rows of known effects (t, k); where fewer are known, nothing is known to happen."""
    out = np.zeros((length, effects.shape[1]))
    kept = effects[:length]
    out[: len(kept)] = kept
    return out


def first_valid(values: Floats) -> Ints:
    """Return per row of ``values`` (n, t) the first column with a number; t where there is none."""
    valid = ~np.isnan(values)
    first = valid.argmax(axis=1)
    out: Ints = np.where(valid.any(axis=1), first, values.shape[1]).astype(np.int64)
    return out


def fill_gaps(values: Floats, season: int) -> Floats:
    """Fill gaps causally: with the value one season before, else with the previous one; NaN before the start stays.

    Args:
        values: Shape (n, t).
        season: Season length in periods.

    Returns:
        A new array of the same shape; a filled value never depends on later ones.
    """
    out = values.copy()
    started = np.arange(values.shape[1]) > first_valid(values)[:, None]
    gaps = np.isnan(values) & started
    for column in np.flatnonzero(gaps.any(axis=0)):
        rows = np.flatnonzero(gaps[:, column])
        seasonal = out[rows, column - season] if column >= season else np.full(len(rows), np.nan)
        out[rows, column] = np.where(np.isnan(seasonal), out[rows, column - 1], seasonal)
    return out


def seasonal_scale(values: Floats, season: int) -> Floats:
    """Return per row the mean absolute seasonal difference, the unit in which errors of different series compare.

    Args:
        values: Shape (n, t), NaN allowed.
        season: Season length in periods.

    Returns:
        Shape (n,), positive: falls back to the mean absolute step, then to the mean absolute value, then to 1.

    Source:
        Hyndman and Koehler (2006), the scale of MASE.
    """
    scale = np.zeros(len(values))
    for lag in (season, 1):
        if values.shape[1] > lag:
            scale = np.where(scale > 0, scale, _mean_abs(values[:, lag:] - values[:, :-lag]))
    scale = np.where(scale > 0, scale, _mean_abs(values))
    return np.where(scale > 0, scale, 1.0)


def _mean_abs(values: Floats) -> Floats:
    valid = ~np.isnan(values)
    total = np.abs(np.where(valid, values, 0.0)).sum(axis=1)
    out: Floats = total / np.maximum(valid.sum(axis=1), 1)
    return out
