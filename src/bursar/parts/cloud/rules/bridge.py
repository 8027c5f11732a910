"""Why a bill changed between two periods, in parts that sum exactly to the difference.

Usage is compared at the price before commitments. Within a family (provider, service and unit) whose keys (account, region,
SKU, meter) exist in both periods, with quantities q and unit prices p:

* volume = (Q1 - Q0) x P0, the family's quantity at its old average price;
* mix = sum(p0 x q1) - P0 x Q1, the move between dearer and cheaper keys;
* price = what remains, sum((p1 - p0) x q1).

Keys of one period only are new or gone. What commitments saved, their fees and their unused part are one cause; credits,
purchases and taxes are causes of their own. Amounts of several currencies are brought together at the old rates, and what
the rates did is the cause currency.

Source: price-volume-mix decomposition of management accounting.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from enum import StrEnum

from bursar.kernel.errors import Invalid

PRECISION = 120
"""Digits of intermediate results: products of costs and rates stay exact."""

QUANTUM = Decimal("1e-15")
ONE = Decimal(1)
MOVERS_MAX = 50


class Cause(StrEnum):
    """What moved a bill."""

    PRICE = "price"
    VOLUME = "volume"
    MIX = "mix"
    NEW = "new"
    GONE = "gone"
    UNMEASURED = "unmeasured"
    COMMITMENTS = "commitments"
    CREDITS = "credits"
    PURCHASES = "purchases"
    TAX = "tax"
    CURRENCY = "currency"


@dataclass(frozen=True, slots=True)
class Cell:
    """What one key cost in one period.

    Attributes:
        family: Provider, service and unit: quantities of one family may be added.
        key: Account, region, SKU, meter and operation within the family.
        charge: FOCUS charge category.
        commitment: ``Used``, ``Unused`` or empty.
        commitment_type: Type of commitment discount, empty when none.
        currency: ISO 4217.
        cost: Cost in the period.
        before: Cost before commitments; equal to ``cost`` where none applied.
        quantity: Quantity priced; None where the bill has none.
    """

    family: tuple[str, str, str]
    key: tuple[str, ...]
    charge: str
    commitment: str
    commitment_type: str
    currency: str
    cost: Decimal
    before: Decimal
    quantity: Decimal | None


@dataclass(frozen=True, slots=True)
class Change:
    """One part of a difference: its cause, the service it is about (empty for all), and its amount."""

    cause: Cause
    service: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Bridge:
    """The way from one total to another.

    ``causes`` has one change per cause and sums exactly to ``new - old``; ``movers`` are the largest changes by cause and
    service, at most :data:`MOVERS_MAX`, with ``rest`` the sum of those left out.
    """

    currency: str
    old: Decimal
    new: Decimal
    causes: tuple[Change, ...]
    movers: tuple[Change, ...]
    rest: Decimal


Amounts = dict[tuple[Cause, str], Decimal]


def bridge(
    old: Sequence[Cell],
    new: Sequence[Cell],
    *,
    currency: str,
    rates: Mapping[str, tuple[Decimal, Decimal]] | None = None,
) -> Bridge:
    """Explain the difference between two periods.

    Args:
        old: Cells of the earlier period.
        new: Cells of the later period.
        currency: The currency of the answer.
        rates: For each other currency, units of ``currency`` per unit of it in the old and in the new period.

    Returns:
        The bridge, every amount with at most 15 places; its causes sum exactly to its difference. What rounding the
        products with rates leaves (below 1e-12) counts as currency.

    Raises:
        Invalid: A currency has no rates.
    """
    known = {currency: (ONE, ONE), **(rates or {})}
    amounts: Amounts = defaultdict(Decimal)
    totals = [Decimal(0), Decimal(0)]
    with localcontext(prec=PRECISION):
        for code in sorted({cell.currency for cell in (*old, *new)}):
            if code not in known:
                raise Invalid(f"there is no rate from {code} to {currency}", "Give rates, or filter by one currency.")
            before, after = known[code]
            was = [cell for cell in old if cell.currency == code]
            now = [cell for cell in new if cell.currency == code]
            for name, amount in _in_one_currency(was, now).items():
                amounts[name] += amount * before
            was_cost, now_cost = _cost(was), _cost(now)
            amounts[Cause.CURRENCY, ""] += now_cost * (after - before)
            totals[0] += was_cost * before
            totals[1] += now_cost * after
        total0, total1 = (total.quantize(QUANTUM) for total in totals)
        rounded = {name: amount.quantize(QUANTUM) for name, amount in amounts.items()}
        left = total1 - total0 - sum(rounded.values(), Decimal(0))
        rounded[Cause.CURRENCY, ""] = rounded.get((Cause.CURRENCY, ""), Decimal(0)) + left
        return _told(currency, total0, total1, rounded)


def _told(currency: str, old: Decimal, new: Decimal, amounts: Amounts) -> Bridge:
    causes = [
        Change(cause, "", sum((amount for (one, _), amount in amounts.items() if one is cause), Decimal(0)))
        for cause in Cause
    ]
    ranked = sorted((Change(*name, amount) for name, amount in amounts.items() if amount), key=lambda c: -abs(c.amount))
    rest = sum((change.amount for change in ranked[MOVERS_MAX:]), Decimal(0))
    kept = tuple(change for change in causes if change.amount)
    assert sum((change.amount for change in kept), Decimal(0)) == new - old
    return Bridge(currency, old, new, kept, tuple(ranked[:MOVERS_MAX]), rest)


def _cost(cells: Iterable[Cell]) -> Decimal:
    return sum((cell.cost for cell in cells), Decimal(0))


def _in_one_currency(old: Sequence[Cell], new: Sequence[Cell]) -> Amounts:
    amounts: Amounts = defaultdict(Decimal)
    usage: tuple[list[Cell], list[Cell]] = ([], [])
    for sign, side, cells in ((-1, 0, old), (1, 1, new)):
        for cell in cells:
            cause = _cause_outside_usage(cell)
            service = cell.family[1]
            if cause is None:
                usage[side].append(cell)
                amounts[Cause.COMMITMENTS, service] += sign * (cell.cost - cell.before)
            else:
                amounts[cause, service] += sign * cell.cost
    for name, amount in _usage(*usage).items():
        amounts[name] += amount
    return amounts


def _cause_outside_usage(cell: Cell) -> Cause | None:
    if cell.commitment == "Unused" or (cell.charge == "Purchase" and cell.commitment_type):
        return Cause.COMMITMENTS
    outside = {"Purchase": Cause.PURCHASES, "Credit": Cause.CREDITS, "Adjustment": Cause.CREDITS, "Tax": Cause.TAX}
    return outside.get(cell.charge)


@dataclass(slots=True)
class _Sum:
    cost: Decimal = Decimal(0)
    quantity: Decimal = Decimal(0)
    measured: bool = True

    def add(self, cell: Cell) -> None:
        self.cost += cell.before
        self.measured &= cell.quantity is not None
        self.quantity += cell.quantity or Decimal(0)

    @property
    def usable(self) -> bool:
        return self.measured and self.quantity > 0


def _summed(cells: Iterable[Cell]) -> dict[tuple[tuple[str, str, str], tuple[str, ...]], _Sum]:
    sums: dict[tuple[tuple[str, str, str], tuple[str, ...]], _Sum] = defaultdict(_Sum)
    for cell in cells:
        sums[cell.family, cell.key].add(cell)
    return sums


def _usage(old: Sequence[Cell], new: Sequence[Cell]) -> Amounts:
    amounts: Amounts = defaultdict(Decimal)
    was, now = _summed(old), _summed(new)
    families: dict[tuple[str, str, str], list[tuple[_Sum, _Sum]]] = defaultdict(list)
    for name in was.keys() | now.keys():
        family, service = name[0], name[0][1]
        if name not in was:
            amounts[Cause.NEW, service] += now[name].cost
        elif name not in now:
            amounts[Cause.GONE, service] -= was[name].cost
        elif was[name].usable and now[name].usable:
            families[family].append((was[name], now[name]))
        else:
            amounts[Cause.UNMEASURED, service] += now[name].cost - was[name].cost
    for family, pairs in families.items():
        volume, mix, price = _decomposed(pairs)
        amounts[Cause.VOLUME, family[1]] += volume
        amounts[Cause.MIX, family[1]] += mix
        amounts[Cause.PRICE, family[1]] += price
    return amounts


def _decomposed(pairs: Sequence[tuple[_Sum, _Sum]]) -> tuple[Decimal, Decimal, Decimal]:
    """Return volume, mix and price; the first two are rounded to 15 places and the last is the exact rest."""
    cost0 = sum((was.cost for was, _ in pairs), Decimal(0))
    cost1 = sum((now.cost for _, now in pairs), Decimal(0))
    quantity0 = sum((was.quantity for was, _ in pairs), Decimal(0))
    quantity1 = sum((now.quantity for _, now in pairs), Decimal(0))
    at_old_prices = sum((was.cost / was.quantity * now.quantity for was, now in pairs), Decimal(0))
    at_old_average = cost0 / quantity0 * quantity1
    volume = (at_old_average - cost0).quantize(QUANTUM)
    mix = (at_old_prices - at_old_average).quantize(QUANTUM)
    return volume, mix, cost1 - cost0 - volume - mix
