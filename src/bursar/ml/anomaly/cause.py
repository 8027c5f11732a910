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

LEAD_CYCLES = 4
FOLLOWED_CYCLES = 6
"""Season cycles before a change in which a child's own change may have begun instead, and after it that are looked at."""

ONSET_PERIODS = 1
"""A child's change may begin this many periods before or after the parent's and still be the same."""

SIBLINGS_LEAST = 8
"""Children of which the median says what all of them did together."""

TEMPER = 0.25
"""Periods remember each other: this share of them counts as independent when onsets are held against each other."""


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
    expected = carried_on(values, onset, stop - onset, season).sum(axis=1)
    missed = [
        np.abs(values[:, at : at + stop - onset].sum(axis=1) - carried_on(values, at, stop - onset, season).sum(axis=1))
        for at in range(onset - (stop - onset), max(2 * season, onset - (stop - onset) - TRIED * season), -season)
    ]
    off = 1.4826 * np.median(missed, axis=0) if missed else np.zeros(len(values))
    return expected, off


def begins_then(values: Floats, onset: int, stop: int, season: int) -> Floats:
    """Return how well the onset of the parent's change fits each child's own path, against the onset that fits it best.

    A child that stepped up a week later, or has been growing for long, costs more too; it is not why the parent changed.

    Args:
        values: Shape (c, t): amounts of the children.
        onset: First period of the change, at least 1.
        stop: The period after its last, over ``onset``; nothing from it on is looked at.
        season: Season length in periods.

    Returns:
        Shape (c,), over 0 to 1: 1 where a spike, step or line that begins within :data:`ONSET_PERIODS` of the onset
        leaves no more of the child's deviation from its usual season unexplained than one that begins anywhere else
        from :data:`LEAD_CYCLES` cycles before; the better of the child's path as it is and without what most of at
        least :data:`SIBLINGS_LEAST` children did. All 1 without a cycle of history before these.

    Source:
        Ratio of profile likelihoods of Gaussian change points, tempered for dependence (:data:`TEMPER`).
    """
    begin = max(min(2 * season, onset), onset - LEAD_CYCLES * season)
    cycles = min(CYCLES, begin // season)
    if not cycles:
        return np.ones(len(values))
    stop = min(stop, onset + FOLLOWED_CYCLES * season)
    values = np.nan_to_num(values[:, :stop])
    past = values[:, begin - cycles * season : begin].reshape(len(values), cycles, season)
    profile = np.median(past, axis=1)
    apart = values[:, begin:] - profile[:, np.arange(stop - begin) % season]
    noise = 1.4826 * np.median(np.abs(past - profile[:, None]).reshape(len(values), -1), axis=1)
    size = np.median(np.abs(profile), axis=1)
    fit = _fit_of_onset(apart, noise, onset - begin)
    if np.count_nonzero(size) >= SIBLINGS_LEAST:
        together = np.median(apart[size > 0] / size[size > 0, None], axis=0)
        fit = np.maximum(fit, _fit_of_onset(apart - together * size[:, None], noise, onset - begin))
    return fit


def _fit_of_onset(apart: Floats, noise: Floats, at: int) -> Floats:
    """Return the likelihood of a change that begins near column ``at`` of ``apart`` (c, w) over that of the best, (c,)."""
    width = apart.shape[1]
    since = np.arange(width) - np.arange(width)[:, None]
    apart = apart - apart.mean(axis=1, keepdims=True)
    gain = np.zeros_like(apart)
    for paths in (since == 0, since >= 0, np.maximum(since + 1, 0)):
        shape = paths - paths.mean(axis=1, keepdims=True)
        size = (shape * shape).sum(axis=1)
        gain = np.maximum(gain, np.where(size > 1e-9, (apart @ shape.T) ** 2 / np.maximum(size, 1e-9), 0.0))
    whole = (apart * apart).sum(axis=1)
    here = gain[:, max(0, at - ONSET_PERIODS) : at + ONSET_PERIODS + 1].max(axis=1)
    floor = 0.25 * width * noise**2 + 1e-9
    left = (np.maximum(whole - gain.max(axis=1), 0) + floor) / (np.maximum(whole - here, 0) + floor)
    out: Floats = left ** (TEMPER * width / 2)
    return out


def carried_on(values: Floats, onset: int, periods: int, season: int) -> Floats:
    """Return ``periods`` from ``onset`` on of the usual season at the newest level, shape (c, periods).

    The season is the median of the last :data:`CYCLES` cycles of ``values`` (c, t), the level that of the last
    :data:`LEVEL_CYCLES`; with less than a cycle the mean stands for both.
    """
    cycles = min(CYCLES, onset // season)
    if not cycles:
        return np.repeat(values[:, :onset].mean(axis=1, keepdims=True), periods, axis=1)
    past = values[:, onset - cycles * season : onset].reshape(len(values), cycles, season)
    profile = np.median(past, axis=1)
    newest = past[:, -LEVEL_CYCLES:]
    level = np.median((newest - profile[:, None]).reshape(len(values), -1), axis=1)
    out: Floats = profile[:, np.arange(periods) % season] + level[:, None]
    return out


def explain(
    actual: Ints, expected: Ints, parent_expected: int, usual: Floats | None = None, timing: Floats | None = None
) -> tuple[Cause, ...]:
    """Return the children's contributions to the parent's change, the most telling first.

    Args:
        actual: Shape (c,): what each child cost, minor units.
        expected: Shape (c,): what was expected of each, minor units, forecast separately.
        parent_expected: What was expected of the parent; need not be the sum of ``expected``.
        usual: Shape (c,): the deviation usual for each child, minor units; a large child's ordinary noise then does not
            hide a small child's change. None orders by amount alone.
        timing: Shape (c,), of :func:`begins_then`; None takes every child's change as begun with the parent's.

    Returns:
        c causes, by how far the absolute amount exceeds the usual deviation, times ``timing``. Their amounts sum to
        ``sum(actual) - parent_expected`` exactly: what the children's expectations miss of the parent's is spread over
        them in proportion to their size (largest remainder).

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
    excess = np.abs(np.array(changes, dtype=np.float64)) - (0.0 if usual is None else usual)
    telling = np.where(excess > 0, excess * (1.0 if timing is None else timing), excess)
    return tuple(causes[at] for at in np.argsort(-telling, kind="stable"))


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
