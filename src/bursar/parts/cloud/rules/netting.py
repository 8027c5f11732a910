"""Savings on one resource overlap: what one step saves, the next cannot save again."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_FLOOR, Decimal, localcontext

from bursar.kernel.money import Money, exponent

PRECISION = 80


@dataclass(frozen=True, slots=True)
class Saving:
    """One possible saving on one resource, per year, exact.

    Attributes:
        kind: Which rule.
        resource: What it is on; savings on the same resource are netted.
        currency: ISO 4217.
        base: Yearly cost of what the step touches (a meter of the resource, or all of it).
        total: Yearly cost of the whole resource; at least ``base``.
        share: Expected share of ``base`` saved, 0 to 1; ``low`` and ``high`` bound it (80 %).
        low: See ``share``.
        high: See ``share``.
        confidence: Probability that the step is right.
        scope: What part of the resource is touched: savings of the same scope act on the same cost.
    """

    kind: str
    resource: str
    currency: str
    base: Decimal
    total: Decimal
    share: Decimal
    low: Decimal
    high: Decimal
    confidence: float
    scope: str = ""

    @property
    def expected(self) -> Decimal:
        """Expected saving per year."""
        return self.base * self.share


def net(savings: Sequence[Saving]) -> list[Saving]:
    """Reduce savings so that their sum on a resource, even at the high ends, never exceeds what the resource costs.

    The most valuable step (expected saving times confidence) is kept whole; each further one acts on what is left of the
    cost it touches and of the whole resource.

    Args:
        savings: Any; several resources and currencies.

    Returns:
        Same order; each with its ``base`` reduced to what is left for it. Steps with nothing left are dropped.
    """
    left: dict[tuple[str, str], Decimal] = {}
    left_of_scope: dict[tuple[str, str, str], Decimal] = {}
    order = sorted(range(len(savings)), key=lambda i: (-savings[i].expected * Decimal(str(savings[i].confidence)), i))
    kept: dict[int, Saving] = {}
    with localcontext(prec=PRECISION):
        totals: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
        for one in savings:
            name = (one.resource, one.currency)
            totals[name] = max(totals[name], one.total)
        for index in order:
            one = savings[index]
            name = (one.resource, one.currency)
            scope = (*name, one.scope)
            whole = left.setdefault(name, totals[name])
            part = left_of_scope.setdefault(scope, one.base)
            base = min(one.base, part, whole)
            if base <= 0:
                continue
            kept[index] = replace(one, base=base)
            left[name] = whole - base * one.high
            left_of_scope[scope] = part - base * one.high
    return [kept[index] for index in sorted(kept)]


def floored(amount: Decimal, currency: str) -> Money:
    """Return ``amount`` rounded down to the minor unit, so that rounded savings never sum to more than the cost."""
    with localcontext(prec=PRECISION):
        units = amount.scaleb(exponent(currency)).to_integral_value(ROUND_FLOOR)
    return Money(int(units), currency)
