"""A streaming detector for dense series (minutes to hours): changes of the short mean against the long, at three scales.

A change counts in units of the largest such changes that the series itself has made before, so the score needs no scale:
1 is as large as the most extreme two in a thousand of the past. Once a change is told, only a clearly larger one is told
again for a while. Every score depends on the present and the past alone.
"""

from dataclasses import dataclass

import numpy as np

from bursar.kernel.errors import Invalid
from bursar.kernel.series import Floats

PAIRS = ((1, 100), (12, 288), (48, 500))
"""Short and long windows, in rows."""

EVERY = 50
"""Rows after which the quantile of the past is brought up to date."""

PAST_MAX = 5_000
"""Rows of the past that it is taken from."""


@dataclass(frozen=True, slots=True)
class Stream:
    """The detector.

    Attributes:
        warm_up: Rows at the beginning that only teach; at least 60.
        pairs: Short and long windows in rows.
        level: Quantile of the past that a score of 1 stands for.
        larger: A change within the quiet time is told again when it is this many times the last one told.
        quiet: Rows after a told change.
    """

    warm_up: int
    pairs: tuple[tuple[int, int], ...] = PAIRS
    level: float = 0.998
    larger: float = 1.3
    quiet: int = 150

    def scores(self, values: Floats) -> Floats:
        """Return the score of every row, 0 where nothing is told.

        Args:
            values: Shape (t,): finite.

        Returns:
            Shape (t,): 0, or above 1; a threshold on it sets how much is told.

        Raises:
            Invalid: A value is missing or infinite.
        """
        if values.ndim != 1 or not np.isfinite(values).all():
            raise Invalid("a stream has finite values, one per row", "Fill or drop the gaps first.")
        if not len(values):
            return np.empty(0)
        start = max(self.warm_up // 2, 60)
        floor = 1e-3 * float(values[: max(self.warm_up, 10)].std()) + 1e-9
        best = np.zeros(len(values))
        for short, long in self.pairs:
            change = np.abs(trailing_mean(values, short) - _before(trailing_mean(values, long), short))
            best = np.maximum(best, change / np.maximum(self._extreme(change, start), floor))
        return self._told(best)

    def _extreme(self, change: Floats, start: int) -> Floats:
        """Return the quantile of earlier changes at every row, refreshed every ``EVERY`` rows; infinite before ``start``."""
        out = np.full(len(change), np.inf)
        for at in range(start, len(change), EVERY):
            out[at : at + EVERY] = np.quantile(change[max(0, at - PAST_MAX) : at], self.level)
        return out

    def _told(self, scores: Floats) -> Floats:
        out = np.zeros(len(scores))
        last, peak = -self.quiet - 1, 0.0
        for at in np.flatnonzero(scores > 1.0):
            if at - last > self.quiet:
                peak = 0.0
            if scores[at] > peak * self.larger:
                out[at] = peak = float(scores[at])
                last = int(at)
        return out


def trailing_mean(values: Floats, width: int) -> Floats:
    """Return the mean of the last ``width`` values at every row, of fewer at the beginning."""
    sums = np.concatenate(([0.0], np.cumsum(values)))
    end = np.arange(1, len(values) + 1)
    begin = np.maximum(end - width, 0)
    out: Floats = (sums[end] - sums[begin]) / (end - begin)
    return out


def _before(values: Floats, rows: int) -> Floats:
    out = np.empty_like(values)
    out[:rows] = values[0]
    out[rows:] = values[:-rows]
    return out
