"""Which children explain a change: contributions that sum to it exactly."""

from dataclasses import dataclass

import numpy as np

from bursar.kernel.errors import Invalid
from bursar.kernel.series import Ints


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


def explain(actual: Ints, expected: Ints, parent_expected: int) -> tuple[Cause, ...]:
    """Return the children's contributions to the parent's change, largest first.

    Args:
        actual: Shape (c,): what each child cost, minor units.
        expected: Shape (c,): what was expected of each, minor units, forecast separately.
        parent_expected: What was expected of the parent; need not be the sum of ``expected``.

    Returns:
        c causes, by absolute amount. Their amounts sum to ``sum(actual) - parent_expected`` exactly: what the children's
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
    return tuple(sorted(causes, key=lambda cause: (-abs(cause.amount), cause.child)))


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
