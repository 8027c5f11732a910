"""Intervals from errors that were really made: pooled over the panel, in units of each series' scale, per horizon block.

Errors of unusual periods (the turn of the year) say nothing of usual ones, nor these of those: each kind has its own.

Source: Vovk, Gammerman and Shafer (2005), split conformal prediction, with signed residuals and a scale per series that
is shrunk half-way to the panel; Vovk, Lindsay, Nouretdinov and Gammerman (2003), Mondrian, for the kinds of periods.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bursar.kernel.series import Floats, Ints
from bursar.ml.calendar import Bools
from bursar.ml.forecast.naive import mean_where

BLOCKS = 4
"""Horizon blocks of equal length that have their own quantiles."""

BLOCK_RESIDUALS_LEAST = 200
"""A block with fewer residuals shares the quantiles of all blocks."""

OWN_SHARE = 0.5
"""Power of a series' own relative error in its width: 0 is wholly pooled, 1 wholly its own."""

FACTOR_RANGE = (0.2, 5.0)
STRETCH_MAX = 3.0
"""The most that an interval is widened for what windows left out have shown."""

LEVELS = (0.8, 0.95)


@dataclass(frozen=True, slots=True)
class Intervals:
    """Lower and upper ends per level, each of shape (n, h)."""

    lower: dict[float, Floats]
    upper: dict[float, Floats]

    def take(self, rows: Ints, others: "Intervals") -> None:
        """Put the intervals ``others`` (k, h) in the place of those of ``rows``, shape (k,)."""
        for level, lower in self.lower.items():
            lower[rows] = others.lower[level]
            self.upper[level][rows] = others.upper[level]


def quantile(residuals: Floats, level: float) -> float:
    """Return the conformal quantile: the ceil((r + 1) level)-th smallest of r residuals, capped at the largest."""
    ordered = np.sort(residuals)
    if not len(ordered):
        return 0.0
    at = int(np.ceil((len(ordered) + 1) * level)) - 1
    return float(ordered[min(max(at, 0), len(ordered) - 1)])


def own_factor(residuals: Floats, unusual: Bools) -> Floats:
    """Return how much wider than the panel each series errs, shrunk, each error in units of the panel's of its kind.

    Args:
        residuals: Shape (w, n, h), NaN allowed.
        unusual: Shape (w, h): the kind of each period.

    Returns:
        Shape (n,), within ``FACTOR_RANGE``.
    """
    size = np.abs(residuals)
    for kind in (unusual, ~unusual):
        each = size.transpose(0, 2, 1)[kind]
        each = each[~np.isnan(each)]
        pooled = float(each.mean()) if len(each) else 0.0
        size = np.where(kind[:, None, :], size / (pooled if pooled > 0 else np.inf), size)
    own = mean_where(size.transpose(1, 0, 2).reshape(residuals.shape[1], -1), 1)
    factor = np.where(np.isnan(own) | ~(size > 0).any(), 1.0, own) ** OWN_SHARE
    out: Floats = np.clip(factor, *FACTOR_RANGE)
    return out


def blocks(horizon: int) -> list[slice]:
    """Return the horizon blocks, at most ``BLOCKS``, covering every step once."""
    edges = np.unique(np.linspace(0, horizon, min(BLOCKS, horizon) + 1).astype(int))
    return [slice(int(a), int(b)) for a, b in pairwise(edges)]


@dataclass(frozen=True, slots=True)
class Kinds:
    """Which periods are unusual.

    Attributes:
        tried: Shape (w, h): those that the residuals are of.
        ahead: Shape (h,): those forecast.
    """

    tried: Bools
    ahead: Bools

    @classmethod
    def usual(cls, residuals: Floats) -> "Kinds":
        """Return kinds of residuals (w, n, h) where no period is unusual."""
        windows, _, horizon = residuals.shape
        return cls(np.zeros((windows, horizon), dtype=bool), np.zeros(horizon, dtype=bool))


def intervals(
    mean: Floats,
    scale: Floats,
    residuals: Floats,
    levels: tuple[float, ...] = LEVELS,
    kinds: Kinds | None = None,
    *,
    own: bool = True,
) -> Intervals:
    """Return intervals around forecasts.

    Args:
        mean: Shape (n, h), units of the series.
        scale: Shape (n,): unit of the errors of each series at the origin.
        residuals: Shape (w, n, h): (actual - forecast) / scale at earlier origins; NaN where nothing was observed.
        levels: Nominal coverages.
        kinds: Unusual periods; none where not given. A kind with few errors shares those of all periods.
        own: Whether the errors are of the same series; else they are of others, (w, p, h), and each errs like them.

    Returns:
        Ends for every level, nested: a wider level never lies inside a narrower one.
    """
    kinds = kinds or Kinds.usual(residuals)
    factor = own_factor(residuals, kinds.tried) if own else np.ones(len(mean))
    relative = residuals / factor[None, :, None] if own else residuals
    width = (scale * factor)[:, None]
    lower = {level: np.empty_like(mean) for level in levels}
    upper = {level: np.empty_like(mean) for level in levels}
    for block in blocks(mean.shape[1]):
        for unusual in (False, True):
            steps = np.arange(mean.shape[1])[block]
            steps = steps[kinds.ahead[block] == unusual]
            if not len(steps):
                continue
            part = _alike(relative, kinds.tried == unusual, block)
            low_before, high_before = 0.0, 0.0
            for level in sorted(levels):
                tail = (1 - level) / 2
                low_before = min(low_before, -quantile(-part, 1 - tail))
                high_before = max(high_before, quantile(part, 1 - tail))
                lower[level][:, steps] = mean[:, steps] + low_before * width
                upper[level][:, steps] = mean[:, steps] + high_before * width
    return Intervals(lower, upper)


def _alike(relative: Floats, kind: Bools, block: slice) -> Floats:
    """Return the errors (w, n, h) of one kind (w, h) in a block; with too few of them those of all blocks, then of all."""
    steps = relative.transpose(0, 2, 1)
    for part in (steps[:, block][kind[:, block]], steps[kind], steps):
        found = part[~np.isnan(part)]
        if len(found) >= BLOCK_RESIDUALS_LEAST:
            break
    return found


def held_out(residuals: Floats, levels: tuple[float, ...], unusual: Bools) -> dict[float, Floats]:
    """Return how far out each error lies in intervals calibrated on the other windows only.

    Args:
        residuals: Shape (w, n, h), w >= 2: (actual - forecast) / scale; NaN where nothing was observed.
        levels: Nominal coverages.
        unusual: Shape (w, h): the kind of each period.

    Returns:
        Per level shape (w, n, h): 0 at the forecast, 1 at the end of the interval, more outside; NaN as in the input.
    """
    centre, scale = np.zeros(residuals.shape[1:]), np.ones(residuals.shape[1])
    out = {level: np.empty_like(residuals) for level in levels}
    for window, errors in enumerate(residuals):
        kinds = Kinds(np.delete(unusual, window, axis=0), unusual[window])
        made = intervals(centre, scale, np.delete(residuals, window, axis=0), levels, kinds)
        for level in levels:
            reach = np.where(errors > 0, made.upper[level], made.lower[level])
            exact = np.where(np.isnan(errors), np.nan, np.where(errors == 0, 0.0, np.inf))
            out[level][window] = np.where(reach != 0, errors / np.where(reach != 0, reach, 1.0), exact)
    return out


def stretch(held: Floats, level: float) -> float:
    """Return what intervals must be multiplied by so that ``level`` of the errors of :func:`held_out` lie inside."""
    seen = held[~np.isnan(held)]
    return min(quantile(seen, level), STRETCH_MAX) if len(seen) >= BLOCK_RESIDUALS_LEAST else 1.0


def stretched(made: Intervals, mean: Floats, held: dict[float, Floats]) -> Intervals:
    """Widen or narrow intervals so that the same rule, one window left out, would have covered what it promised.

    Errors of one window resemble each other more than those of another, so quantiles of all windows cover the next one
    less than they promise. The wider level stays outside the narrower one.

    Source: Dunn, Wasserman and Ramdas (2023), conformal prediction under two-layer hierarchical sampling; here as a
    second conformal step on the errors of left-out windows in units of their intervals.
    """
    lower, upper = {}, {}
    low, high = mean, mean
    for level in sorted(made.lower):
        factor = stretch(held[level], level)
        low = np.minimum(low, mean + (made.lower[level] - mean) * factor)
        high = np.maximum(high, mean + (made.upper[level] - mean) * factor)
        lower[level], upper[level] = low, high
    return Intervals(lower, upper)


def stretched_coverage(held: dict[float, Floats]) -> dict[float, float]:
    """Return the share of errors of :func:`held_out` inside intervals that were stretched by the other windows alone."""
    out = {}
    for level, errors in held.items():
        factors = [stretch(np.delete(errors, window, axis=0), level) for window in range(len(errors))]
        inside = errors <= np.array(factors)[:, None, None]
        seen = int((~np.isnan(errors)).sum())
        out[level] = float(inside.sum() / seen) if seen else float("nan")
    return out


def held_out_coverage(
    forecasts: Floats, actual: Floats, scale: Floats, levels: tuple[float, ...] = LEVELS
) -> dict[float, float]:
    """Return the share of actual values inside intervals calibrated on the other windows only.

    Args:
        forecasts: Shape (w, n, h).
        actual: Shape (w, n, h), NaN where nothing was observed.
        scale: Shape (w, n).
        levels: Nominal coverages.

    Returns:
        Coverage per level; NaN with fewer than two windows.
    """
    if len(forecasts) < 2:
        return dict.fromkeys(levels, float("nan"))
    residuals = (actual - forecasts) / scale[:, :, None]
    held = held_out(residuals, levels, Kinds.usual(residuals).tried)
    seen = {level: out[~np.isnan(out)] for level, out in held.items()}
    return {level: float((out <= 1).mean()) if len(out) else float("nan") for level, out in seen.items()}
