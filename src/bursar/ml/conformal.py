"""Intervals from errors that were really made: pooled over the panel, in units of each series' scale, per horizon block.

Source: Vovk, Gammerman and Shafer (2005), split conformal prediction, with signed residuals and a scale per series that
is shrunk half-way to the panel.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bursar.kernel.series import Floats
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


def own_factor(residuals: Floats) -> Floats:
    """Return how much wider than the panel each series errs, shrunk; residuals (w, n, h) give (n,)."""
    own = mean_where(np.abs(residuals).transpose(1, 0, 2).reshape(residuals.shape[1], -1), 1)
    every = np.abs(residuals[~np.isnan(residuals)])
    pooled = float(every.mean()) if len(every) else 0.0
    if pooled <= 0:
        return np.ones(residuals.shape[1])
    factor = np.where(np.isnan(own), 1.0, np.maximum(own, 0.0) / pooled) ** OWN_SHARE
    out: Floats = np.clip(factor, *FACTOR_RANGE)
    return out


def blocks(horizon: int) -> list[slice]:
    """Return the horizon blocks, at most ``BLOCKS``, covering every step once."""
    edges = np.unique(np.linspace(0, horizon, min(BLOCKS, horizon) + 1).astype(int))
    return [slice(int(a), int(b)) for a, b in pairwise(edges)]


def intervals(mean: Floats, scale: Floats, residuals: Floats, levels: tuple[float, ...] = LEVELS) -> Intervals:
    """Return intervals around forecasts.

    Args:
        mean: Shape (n, h), units of the series.
        scale: Shape (n,): unit of the errors of each series at the origin.
        residuals: Shape (w, n, h): (actual - forecast) / scale at earlier origins; NaN where nothing was observed.
        levels: Nominal coverages.

    Returns:
        Ends for every level, nested: a wider level never lies inside a narrower one.
    """
    factor = own_factor(residuals)
    relative = residuals / factor[None, :, None]
    width = (scale * factor)[:, None]
    everything = relative[~np.isnan(relative)]
    lower = {level: np.empty_like(mean) for level in levels}
    upper = {level: np.empty_like(mean) for level in levels}
    for block in blocks(mean.shape[1]):
        part = relative[:, :, block]
        part = part[~np.isnan(part)]
        if len(part) < BLOCK_RESIDUALS_LEAST:
            part = everything
        low_before, high_before = 0.0, 0.0
        for level in sorted(levels):
            tail = (1 - level) / 2
            low_before = min(low_before, -quantile(-part, 1 - tail))
            high_before = max(high_before, quantile(part, 1 - tail))
            lower[level][:, block] = mean[:, block] + low_before * width
            upper[level][:, block] = mean[:, block] + high_before * width
    return Intervals(lower, upper)


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
    residuals = (actual - forecasts) / scale[:, :, None]
    hits = dict.fromkeys(levels, 0)
    seen = 0
    if len(forecasts) < 2:
        return dict.fromkeys(levels, float("nan"))
    for window in range(len(forecasts)):
        others = np.delete(residuals, window, axis=0)
        made = intervals(forecasts[window], scale[window], others, levels)
        live = ~np.isnan(actual[window]) & ~np.isnan(forecasts[window])
        seen += int(live.sum())
        for level in levels:
            inside = (actual[window] >= made.lower[level]) & (actual[window] <= made.upper[level])
            hits[level] += int((inside & live).sum())
    return {level: hits[level] / seen if seen else float("nan") for level in levels}
