"""What-if: exact scaling of stored forecasts by drivers of cost."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

from bursar.core.planning.forecasts.rules.stored import Values
from bursar.kernel.errors import Invalid
from bursar.kernel.period import MONTHS_A_YEAR

CHANGE_MIN = Decimal(-1)
CHANGE_MAX = Decimal(100)
"""A price or volume may fall to nothing or grow a hundredfold."""

GROWTH_MIN = Decimal("-0.9")
GROWTH_MAX = Decimal(2)
"""A month may lose 90 % or triple."""


@dataclass(frozen=True, slots=True)
class Drivers:
    """What changes from a day on.

    Attributes:
        price: Relative change of the price; 0.1 is 10 % dearer.
        volume: Relative change of what is used (seats, hours, gigabytes).
        growth: Relative change a month, compounding with every whole month after ``since``.
        since: First day of the change; None for the first day forecast.
    """

    price: Decimal = Decimal(0)
    volume: Decimal = Decimal(0)
    growth: Decimal = Decimal(0)
    since: date | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A series, by its id, and what changes it."""

    series: str
    drivers: Drivers


@dataclass(frozen=True, slots=True)
class Moved:
    """One series before and after, in stored units; the interval of the changed series scales with it."""

    values: Values
    mean: Sequence[int]
    lower80: Sequence[int]
    upper80: Sequence[int]
    lower95: Sequence[int]
    upper95: Sequence[int]


def check(drivers: Drivers, first: date) -> None:
    """Refuse drivers out of range.

    Args:
        drivers: What changes.
        first: First day forecast; what changed before it is in the history already, and growth would count it again.

    Raises:
        Invalid: Naming the driver and its range.
    """
    if drivers.since is not None and drivers.since < first:
        raise Invalid(
            f"a change since {drivers.since} begins before the first day forecast, {first}",
            "Leave it out, or send that day or a later one: what was before is in the history.",
        )
    ranges = {
        "price": (drivers.price, CHANGE_MIN, CHANGE_MAX),
        "volume": (drivers.volume, CHANGE_MIN, CHANGE_MAX),
        "growth": (drivers.growth, GROWTH_MIN, GROWTH_MAX),
    }
    for name, (value, least, most) in ranges.items():
        if not value.is_finite() or not least <= value <= most:
            raise Invalid(f"{name} {value} is not between {least} and {most}", "0.1 stands for 10 % more.")


def factors(starts: Sequence[date], drivers: Drivers) -> list[Decimal]:
    """Return what each period is multiplied by; 1 before the change."""
    since = drivers.since or starts[0]
    out = []
    with localcontext(prec=60):
        for start in starts:
            if start < since:
                out.append(Decimal(1))
                continue
            months = (start.year - since.year) * MONTHS_A_YEAR + start.month - since.month - (start.day < since.day)
            out.append((1 + drivers.price) * (1 + drivers.volume) * (1 + drivers.growth) ** max(0, months))
    return out


def scaled(units: Sequence[int], by: Sequence[Decimal]) -> list[int]:
    """Multiply stored units and round half-even to whole units."""
    with localcontext(prec=60):
        return [
            int((Decimal(one) * factor).to_integral_value(ROUND_HALF_EVEN))
            for one, factor in zip(units, by, strict=True)
        ]


def moved(chain: Sequence[Values], starts: Sequence[date], drivers: Drivers) -> list[Moved]:
    """Return the changed series and everything above it; all move by the same units, so the tree still adds up.

    Args:
        chain: The series, its parent, and so on up to the total.
        starts: Periods forecast.
        drivers: What changes.
    """
    by = factors(starts, drivers)
    changed = chain[0]
    new = {name: scaled(getattr(changed, name), by) for name in _ENDS}
    steps = [after - before for after, before in zip(new["mean"], changed.mean, strict=True)]
    out = [Moved(changed, **new)]
    for above in chain[1:]:
        ends = {name: [one + step for one, step in zip(getattr(above, name), steps, strict=True)] for name in _ENDS}
        out.append(Moved(above, **ends))
    return out


def changed(values: Sequence[Values], starts: Sequence[date], change: Change) -> list[Values]:
    """Return every series of a run after a change: the series, what is above it, and in proportion what is below it.

    Args:
        values: Every series of the run; one without the changed series stays as it is.
        starts: Periods forecast.
        change: Which series, and what changes it.
    """
    by_id = {one.id: one for one in values}
    if change.series not in by_id:
        return list(values)
    chain = [by_id[change.series]]
    while chain[-1].parent in by_id:
        chain.append(by_id[chain[-1].parent])
    new = {one.values.id: _with(one.values, one) for one in moved(chain, starts, change.drivers)}
    by = factors(starts, change.drivers)
    below = {change.series}
    while below:
        children = [one for one in values if one.parent in below]
        for one in children:
            new[one.id] = _with(one, Moved(one, *(scaled(getattr(one, name), by) for name in _ENDS)))
        below = {one.id for one in children}
    return [new.get(one.id, one) for one in values]


def _with(values: Values, new: Moved) -> Values:
    return replace(
        values,
        mean=new.mean,
        lower80=new.lower80,
        upper80=new.upper80,
        lower95=new.lower95,
        upper95=new.upper95,
    )


_ENDS = ("mean", "lower80", "upper80", "lower95", "upper95")
