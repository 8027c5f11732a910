"""Which children explain a change: contributions that sum to it exactly."""

from dataclasses import dataclass

import numpy as np

from bursar.kernel.errors import Invalid
from bursar.kernel.series import Floats, Ints

CYCLES = 8
LEVEL_CYCLES = 2
"""Season cycles before a change that say what is usual, and the newest of them, which say at which level."""

TRIED = 26
"""Earlier onsets that say how far the usual is off."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One child's part in a change.

    Attributes:
        child: Index of the child.
        amount: Its contribution in minor units; all contributions sum to the parent's change exactly.
        share: Contribution over the sum of absolute contributions, from -1 to 1.
    """

    child: int
    amount: int
    share: float


def usual_until(values: Floats, onset: int, stop: int, season: int) -> tuple[Floats, Floats]:
    """Return what each child would have cost from ``onset`` to ``stop`` had nothing changed, and how far that is usually off.

    The expectation is the season of the last :data:`CYCLES` cycles at the level of the last :data:`LEVEL_CYCLES`: a change
    that began earlier is part of it, so that it does not pass for the cause of this one.

    Args:
        values: Shape (c, t): amounts of the children.
        onset: First period of the change, at least 1.
        stop: The period after its last, over ``onset``.
        season: Season length in periods.

    Returns:
        Shape (c,) each, units of the values. The deviation is 1.4826 times the median of what the same expectation missed
        at up to :data:`TRIED` earlier onsets; 0 where there is no history for one.
    """
    values = np.nan_to_num(values)
    expected = _carried_on(values, onset, stop - onset, season)
    missed = [
        np.abs(values[:, at : at + stop - onset].sum(axis=1) - _carried_on(values, at, stop - onset, season))
        for at in range(onset - (stop - onset), max(2 * season, onset - (stop - onset) - TRIED * season), -season)
    ]
    off = 1.4826 * np.median(missed, axis=0) if missed else np.zeros(len(values))
    return expected, off


def _carried_on(values: Floats, onset: int, periods: int, season: int) -> Floats:
    """Return the sums over ``periods`` from ``onset`` of the usual season at the newest level."""
    cycles = min(CYCLES, onset // season)
    if not cycles:
        out: Floats = values[:, :onset].mean(axis=1) * periods
        return out
    past = values[:, onset - cycles * season : onset].reshape(len(values), cycles, season)
    profile = np.median(past, axis=1)
    newest = past[:, -LEVEL_CYCLES:]
    level = np.median((newest - profile[:, None]).reshape(len(values), -1), axis=1)
    place = np.arange(periods) % season
    summed: Floats = profile[:, place].sum(axis=1) + level * periods
    return summed


def explain(actual: Ints, expected: Ints, parent_expected: int, usual: Floats | None = None) -> tuple[Cause, ...]:
    """Return the children's contributions to the parent's change, the most telling first.

    Args:
        actual: Shape (c,): what each child cost, minor units.
        expected: Shape (c,): what was expected of each, minor units, forecast separately.
        parent_expected: What was expected of the parent; need not be the sum of ``expected``.
        usual: Shape (c,): the deviation usual for each child, minor units; a large child's ordinary noise then does not
            hide a small child's change. None orders by amount alone.

    Returns:
        c causes, by how far the absolute amount exceeds twice the usual deviation. Their amounts sum to ``sum(actual) - parent_expected`` exactly: what the children's
        expectations miss of the parent's is spread over them in proportion to their size (largest remainder).

    Raises:
        Invalid: No child, or the shapes differ.
    """
    if not len(actual) or actual.shape != expected.shape:
        raise Invalid(f"{len(actual)} amounts cannot be explained by {len(expected)} expectations")
    gap = parent_expected - int(expected.sum())
    adjusted = [int(one) + add for one, add in zip(expected, spread_exactly(gap, np.abs(expected)), strict=True)]
    changes = [int(one) - other for one, other in zip(actual, adjusted, strict=True)]
    whole = sum(abs(change) for change in changes) or 1
    causes = [Cause(child, change, change / whole) for child, change in enumerate(changes)]
    noise = np.zeros(len(actual)) if usual is None else usual
    return tuple(sorted(causes, key=lambda cause: (2 * float(noise[cause.child]) - abs(cause.amount), cause.child)))


def spread_exactly(total: int, weights: Ints) -> list[int]:
    """Split the whole number ``total`` in proportion to non-negative ``weights``, evenly where all are zero.

    Source: largest-remainder apportionment; ties go to the earlier index.
    """
    shares = [int(weight) for weight in weights]
    if not any(shares):
        shares = [1] * len(shares)
    whole, sign, size = sum(shares), (1 if total >= 0 else -1), abs(total)
    parts = [size * share // whole for share in shares]
    order = sorted(range(len(shares)), key=lambda at: (-(size * shares[at] % whole), at))
    for at in order[: size - sum(parts)]:
        parts[at] += 1
    return [sign * part for part in parts]
