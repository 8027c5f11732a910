"""Splitting shared cost among targets so that the parts sum exactly to the whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal, localcontext
from enum import StrEnum

from bursar.kernel.errors import Invalid

QUANTUM = Decimal("1e-15")
PRECISION = 120


class Method(StrEnum):
    """How shared cost is split."""

    FIXED = "fixed"
    EVEN = "even"
    PROPORTIONAL = "proportional"


@dataclass(frozen=True, slots=True)
class Allocated:
    """What a target costs: its own lines, its share of the shared cost, and both."""

    target: str
    direct: Decimal
    shared: Decimal

    @property
    def total(self) -> Decimal:
        """Own and shared cost."""
        return self.direct + self.shared


def split(total: Decimal, weights: Sequence[Decimal]) -> tuple[Decimal, ...]:
    """Split ``total`` in proportion to ``weights`` without losing or making a 1e-15.

    Args:
        total: Exact amount with at most 15 places; may be negative (a credit).
        weights: Shape (n,), n >= 1. Non-negative, not all zero. Unitless.

    Returns:
        Shape (n,), same order; the parts sum to ``total`` exactly.

    Raises:
        ValueError: ``weights`` is empty, negative somewhere, or sums to zero, or ``total`` has more than 15 places.

    Source:
        Largest-remainder (Hamilton) apportionment; ties go to the earlier index.
    """
    with localcontext(prec=PRECISION):
        whole = sum(weights, Decimal(0))
        if not weights or min(weights) < 0 or whole <= 0:
            message = "weights must be non-negative and not all zero"
            raise ValueError(message)
        units = abs(total) / QUANTUM
        if units != units.to_integral_value():
            message = "the amount has more than 15 decimal places"
            raise ValueError(message)
        exact = [units * weight / whole for weight in weights]
        parts = [part.to_integral_value(ROUND_FLOOR) for part in exact]
        left = int(units - sum(parts, Decimal(0)))
        order = sorted(range(len(parts)), key=lambda index: (parts[index] - exact[index], index))
        extra = set(order[:left])
        sign = -1 if total < 0 else 1
        return tuple(sign * (part + (index in extra)) * QUANTUM for index, part in enumerate(parts))


def allocate(
    direct: Mapping[str, Decimal], shared: Decimal, *, method: Method, weights: Mapping[str, Decimal] | None = None
) -> list[Allocated]:
    """Add to each target its share of ``shared``.

    Args:
        direct: Own cost by target.
        shared: The cost to split.
        method: By given weights (percentages, or usage measured elsewhere), evenly, or in proportion to own cost.
        weights: For ``fixed``: weight by target; targets without cost of their own may be named.

    Returns:
        One per target, by name; their totals sum exactly to all of ``direct`` plus ``shared``.

    Raises:
        Invalid: There is nobody to split among, or the weights cannot be used.
    """
    match method:
        case Method.FIXED:
            chosen = {target: weight for target, weight in (weights or {}).items() if weight}
        case Method.EVEN:
            chosen = dict.fromkeys(direct, Decimal(1))
        case Method.PROPORTIONAL:
            chosen = {target: cost for target, cost in direct.items() if cost > 0}
    if shared and (not chosen or min(chosen.values()) < 0):
        raise Invalid("the shared cost cannot be split", "Give non-negative weights, or targets that cost something.")
    names = sorted(chosen)
    parts = split(shared, [chosen[name] for name in names]) if shared else ()
    share = dict(zip(names, parts, strict=False))
    return [
        Allocated(target, direct.get(target, Decimal(0)), share.get(target, Decimal(0)))
        for target in sorted(direct.keys() | share.keys())
    ]
