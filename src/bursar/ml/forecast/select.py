"""Which model serves which series: weights pooled over the panel, shrunk per series, and a baseline that must be beaten.

Picking one model per series by one window is worse than not picking; pooling and shrinking is what makes picking pay.
"""

from dataclasses import dataclass

import numpy as np

from bursar.kernel.series import Floats
from bursar.ml.backtest import Backtest
from bursar.ml.forecast.naive import mean_where

GREEDY_STEPS = 20
"""Rounds of adding one model to the pooled mix; a weight is a multiple of one over this."""

SHRINK = 0.5
"""Share of the pooled weights and of the pooled error in what a series uses."""

SHARPNESS = 6.0
"""Power of the inverse error in the weights per series."""

ERROR_MAX = 20.0
"""A scaled error beyond this counts as this, so that one exploded forecast does not decide for the whole panel."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The outcome.

    Attributes:
        names: The m models.
        weights: Shape (n, m): non-negative, each row sums to 1.
        error: Shape (n,): scaled error of the mix over the windows.
        baseline_error: Shape (n,): the same for the baseline.
        beats_baseline: Shape (n,): False where the baseline serves.
    """

    names: tuple[str, ...]
    weights: Floats
    error: Floats
    baseline_error: Floats
    beats_baseline: np.ndarray[tuple[int], np.dtype[np.bool_]]


def pooled_weights(backtest: Backtest) -> Floats:
    """Return one weight per model for the whole panel by greedy addition with replacement, shape (m,).

    Source: Caruana, Niculescu-Mizil, Crew and Ksikes (2004), ensemble selection.
    """
    models = len(backtest.names)
    chosen = np.zeros(models)
    total = np.zeros_like(backtest.actual)
    for step in range(1, GREEDY_STEPS + 1):
        scores = np.empty(models)
        for model in range(models):
            errors = backtest.errors((total + backtest.forecasts[model]) / step)
            scores[model] = np.nanmean(np.minimum(errors, ERROR_MAX))
        best = int(np.nanargmin(scores))
        chosen[best] += 1
        total += backtest.forecasts[best]
    return chosen / GREEDY_STEPS


def series_weights(errors: Floats, pooled: Floats) -> Floats:
    """Return weights per series from errors shrunk towards the panel's.

    Args:
        errors: Shape (m, n): mean scaled error of each model over the windows; NaN where nothing was observed.
        pooled: Shape (m,): pooled weights; models without weight stay without.

    Returns:
        Shape (n, m), rows sum to 1.
    """
    panel = np.nanmean(np.minimum(errors, ERROR_MAX), axis=1)
    typical = np.nanmean(np.minimum(errors, ERROR_MAX), axis=0, keepdims=True)
    relative = errors / np.where(typical > 0, typical, 1.0)
    prior = (panel / max(float(panel.mean()), 1e-12))[:, None]
    shrunk = SHRINK * prior + (1 - SHRINK) * np.where(np.isnan(relative), prior, relative)
    inverse = np.maximum(shrunk, 1e-3) ** -SHARPNESS * (pooled > 0)[:, None]
    own = inverse / inverse.sum(axis=0, keepdims=True)
    out: Floats = (SHRINK * pooled[:, None] + (1 - SHRINK) * own).T
    return out


def mix(forecasts: Floats, weights: Floats) -> Floats:
    """Return the weighted mean of models: forecasts (m, ..., n, h) and weights (n, m) give (..., n, h).

    A model without a forecast (NaN) where it carries weight is left out and the other weights are scaled up.
    """
    shaped = weights.T.reshape(len(forecasts), *[1] * (forecasts.ndim - 3), weights.shape[0], 1)
    used = np.where(np.isnan(forecasts), 0.0, shaped)
    mass = used.sum(axis=0)
    total = (np.nan_to_num(forecasts) * used).sum(axis=0)
    return np.where(mass > 0, total / np.where(mass > 0, mass, 1.0), np.nan)


def select(backtest: Backtest, baseline: str) -> Selection:
    """Choose weights and hold them against the baseline.

    Args:
        backtest: Windows that lie wholly before what will be forecast.
        baseline: Name of the declared baseline, one of the models.

    Returns:
        The weights; where the mix does not beat the baseline on errors shrunk half to the panel's, the baseline alone.
    """
    each = mean_where(backtest.errors(backtest.forecasts), 1)
    pooled = pooled_weights(backtest)
    weights = series_weights(each, pooled)
    mixed = mean_where(backtest.errors(mix(backtest.forecasts, weights)), 0)
    at = backtest.names.index(baseline)
    base = each[at]
    gain = mixed / np.where(base > 0, base, np.nan)
    panel = np.nanmean(np.minimum(mixed, ERROR_MAX)) / max(np.nanmean(np.minimum(base, ERROR_MAX)), 1e-12)
    shrunk = SHRINK * panel + (1 - SHRINK) * np.where(np.isnan(gain), panel, gain)
    beats = (shrunk < 1.0) & (base > 0)
    alone = np.eye(len(backtest.names))[at]
    served = np.where(beats[:, None], weights, alone)
    return Selection(backtest.names, served, np.where(beats, mixed, base), base, beats)
