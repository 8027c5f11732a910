"""From residuals to probabilities: pooled ranks with a fitted tail, in units of each series' own spread.

Source: conformal p-values (Vovk et al. 2005); tail beyond the 95th percentile by a generalised Pareto distribution with
probability-weighted moments (Hosking and Wallis 1987).
"""

from dataclasses import dataclass

import numpy as np

from bursar.kernel.series import Floats
from bursar.ml.anomaly.alerts import Rules

TAIL = 0.05
"""Share of the calibration scores that the tail is fitted to."""

SURELY = 8.0
"""A calibration score this many times beyond where the tail begins was a change itself, and says nothing of the noise."""

SHAPE_RANGE = (0.0, 0.5)
OWN_POWER = 0.7
"""How far a series' own heavy tail replaces the panel's (1 wholly)."""

FACTOR_RANGE = (0.4, 6.0)
OWN_LEAST = 40
"""Scores a series needs for a tail of its own."""

CALIBRATION_MAX = 400_000
"""Scores the pooled ranks are taken from; evenly thinned beyond."""


@dataclass(frozen=True, slots=True)
class Tail:
    """The distribution of absolute scores seen in calibration.

    Attributes:
        ordered: Sorted scores.
        threshold: Score where the fitted tail begins.
        shape: Of the Pareto tail.
        scale: Of the Pareto tail.
    """

    ordered: Floats
    threshold: float
    shape: float
    scale: float

    @classmethod
    def fit(cls, scores: Floats) -> "Tail":
        """Fit to absolute scores of any shape; NaN is left out. Without scores nothing is ever unlikely."""
        flat = np.abs(scores[~np.isnan(scores)])
        if len(flat) > CALIBRATION_MAX:
            flat = flat[:: -(-len(flat) // CALIBRATION_MAX)]
        ordered = np.sort(flat)
        if len(ordered) < 20:
            return cls(ordered, float("inf"), 0.0, 1.0)
        threshold = float(np.quantile(ordered, 1 - TAIL))
        excess = ordered[(ordered > threshold) & (ordered <= SURELY * threshold)] - threshold
        if len(excess) < 5:
            return cls(ordered, threshold, 0.0, max(threshold, 1e-9))
        rank = (np.arange(1, len(excess) + 1) - 0.35) / len(excess)
        first, second = float(excess.mean()), float((excess * (1 - rank)).mean())
        gap = max(first - 2 * second, 1e-12)
        shape = float(np.clip(2 - first / gap, *SHAPE_RANGE))
        return cls(ordered, threshold, shape, max(first * (1 - shape), 1e-9))

    def beyond(self, scores: Floats) -> Floats:
        """Return the probability of an absolute score at least as large, in (0, 1]; NaN becomes 1."""
        size = np.abs(np.nan_to_num(scores))
        count = len(self.ordered)
        rank = (count - np.searchsorted(self.ordered, size, side="left") + 1.0) / (count + 1.0)
        over = np.maximum(size - (self.threshold if np.isfinite(self.threshold) else size), 0.0)
        if self.shape > 1e-6:
            tail = TAIL * (1 + self.shape * over / self.scale) ** (-1 / self.shape)
        else:
            tail = TAIL * np.exp(-over / self.scale)
        p = np.where(over > 0, np.minimum(rank, tail) if count < 2_000 else tail, rank)
        out: Floats = np.where(np.isnan(scores), 1.0, np.clip(p, 1e-30, 1.0))
        return out


def own_factor(scores: Floats) -> Floats:
    """Return how heavy each series' tail is against the panel's, shrunk; scores (n, c) give (n,)."""
    count = (~np.isnan(scores)).sum(axis=1)
    ordered = np.sort(np.abs(scores), axis=1)
    rows = np.arange(len(scores))

    def at(level: float) -> Floats:
        out: Floats = ordered[rows, np.minimum((level * np.maximum(count - 1, 0)).astype(int), scores.shape[1] - 1)]
        return out

    own = np.where(count >= OWN_LEAST, at(0.97), np.nan)
    known = own[~np.isnan(own) & (own > 0)]
    if not len(known):
        return np.ones(len(scores))
    relative = np.where(np.isnan(own) | (own <= 0), 1.0, own / np.median(known))
    out: Floats = np.clip(relative**OWN_POWER, *FACTOR_RANGE)
    return out


BLOCK_SHARE = 0.05
"""Share of the calibration blocks that the tail of their smallest p is fitted to; of 0.05, 0.1 and 0.2 the one with the
fewest alerts on NN5, whichever of its windows is left out of the choice."""

BLOCKS_LEAST = 60
"""Blocks needed before the budget is held by what they show; with fewer the p-values are taken at their word."""

POWER_RANGE = (0.2, 1.0)
"""Of the tail of smallest p-values: 1 is calibrated up to a factor, less is a heavier tail than was fitted."""


def budget_limit(p: Floats, rules: Rules) -> float:
    """Return the p below which earlier scans would have given as many alerts as the budget allows.

    Neighbouring periods and time scales are looked at together: the smallest p of each series in each stretch of
    ``budget_periods`` counts once, as a change is told once. Its distribution says how often a change is told, whatever
    the dependence between periods and however much the p-values of one period err.

    Args:
        p: Shape (n, b): p-values of earlier scans, 1 where the floors would not have let an alert through.
        rules: The budget.

    Returns:
        The limit; the rate of the budget with fewer than :data:`BLOCKS_LEAST` blocks. The tail of the smallest p is a
        power law (exponential in -log p, which is what calibrated p-values give), fitted to the :data:`BLOCK_SHARE`
        smallest by their mean: what happened before counts whole, as nobody can tell which of it was real.

    Source:
        Block maxima (Gumbel 1958) with an exponential tail (Hill 1975).
    """
    width = max(1, round(rules.budget_periods))
    count = p.shape[1] // width
    if not count or count * len(p) < BLOCKS_LEAST:
        return rules.rate
    blocks = np.sort(p[:, p.shape[1] - count * width :].reshape(len(p), count, width).min(axis=2), axis=None)
    taken = max(2, round(BLOCK_SHARE * len(blocks)))
    edge = float(blocks[taken])
    share = rules.share
    if share >= taken / len(blocks):
        return float(blocks[min(len(blocks) - 1, int(share * len(blocks)))])
    excess = np.log(edge / blocks[:taken])
    power = float(np.clip(1.0 / max(float(np.mean(excess)), 1e-9), *POWER_RANGE))
    limit = edge * (share * len(blocks) / taken) ** (1.0 / power)
    return float(limit)
