"""Intervals from errors that were really made: pooled over the panel, in units of each series' scale, per horizon block.

Errors of unusual periods (the turn of the year) say nothing of usual ones, nor these of those: each kind has its own.

Source: Vovk, Gammerman and Shafer (2005), split conformal prediction, with signed residuals and a scale per series that
is shrunk half-way to the panel; Vovk, Lindsay, Nouretdinov and Gammerman (2003), Mondrian, for the kinds of periods.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bursar.kernel.series import Floats
from bursar.ml.calendar import Bools
from bursar.ml.forecast.naive import mean_where

BLOCKS = 4
"""Horizon blocks of equal length that have their own quantiles."""

BLOCK_RESIDUALS_LEAST = 200
"""A block with fewer residuals shares the quantiles of all blocks."""

OWN_SHARE = 0.5
"""Power of a series' own relative error in its width: 0 is wholly pooled, 1 wholly its own."""

FACTOR_RANGE = (0.2, 5.0)
LEVELS = (0.8, 0.95)


@dataclass(frozen=True, slots=True)
class Intervals:
    """Lower and upper ends per level, each of shape (n, h)."""

    lower: dict[float, Floats]
    upper: dict[float, Floats]


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
) -> Intervals:
    """Return intervals around forecasts.

    Args:
        mean: Shape (n, h), units of the series.
        scale: Shape (n,): unit of the errors of each series at the origin.
        residuals: Shape (w, n, h): (actual - forecast) / scale at earlier origins; NaN where nothing was observed.
        levels: Nominal coverages.
        kinds: Unusual periods; none where not given. A kind with few errors shares those of all periods.

    Returns:
        Ends for every level, nested: a wider level never lies inside a narrower one.
    """
    kinds = kinds or Kinds.usual(residuals)
    factor = own_factor(residuals, kinds.tried)
    relative = residuals / factor[None, :, None]
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


def held_out_coverage(
    forecasts: Floats, actual: Floats, scale: Floats, levels: tuple[float, ...] = LEVELS, unusual: Bools | None = None
) -> dict[float, float]:
    """Return the share of actual values inside intervals calibrated on the other windows only.

    Args:
        forecasts: Shape (w, n, h).
        actual: Shape (w, n, h), NaN where nothing was observed.
        scale: Shape (w, n).
        levels: Nominal coverages.
        unusual: Shape (w, h): the kind of each period; none unusual where not given.

    Returns:
        Coverage per level; NaN with fewer than two windows.
    """
    residuals = (actual - forecasts) / scale[:, :, None]
    tried = Kinds.usual(residuals).tried if unusual is None else unusual
    hits = dict.fromkeys(levels, 0)
    seen = 0
    if len(forecasts) < 2:
        return dict.fromkeys(levels, float("nan"))
    for window in range(len(forecasts)):
        others = np.delete(residuals, window, axis=0)
        kinds = Kinds(np.delete(tried, window, axis=0), tried[window])
        made = intervals(forecasts[window], scale[window], others, levels, kinds)
        live = ~np.isnan(actual[window]) & ~np.isnan(forecasts[window])
        seen += int(live.sum())
        for level in levels:
            inside = (actual[window] >= made.lower[level]) & (actual[window] <= made.upper[level])
            hits[level] += int((inside & live).sum())
    return {level: hits[level] / seen if seen else float("nan") for level in levels}
