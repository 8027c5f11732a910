"""Arithmetic of the reports, in minor units."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from uuid import UUID

from bursar.kernel.money import exponent

DEBIT_KINDS = frozenset({"asset", "expense"})
"""Kinds whose balance is debits minus credits; the others count the other way."""


@dataclass(frozen=True, slots=True)
class Line:
    """One account in a report; ``debits`` and ``credits`` in minor units."""

    account: UUID
    code: str
    name: str
    kind: str
    currency: str
    debits: int
    credits: int

    @property
    def balance(self) -> int:
        """Minor units, positive on the side where the kind of account usually stands."""
        return self.debits - self.credits if self.kind in DEBIT_KINDS else self.credits - self.debits


@dataclass(frozen=True, slots=True)
class Section:
    """Lines of one kind with their total in one currency, minor units."""

    kind: str
    currency: str
    lines: tuple[Line, ...]
    total: int


@dataclass(frozen=True, slots=True)
class Rate:
    """One ``base`` costs ``rate`` of the reporting currency on ``day``, by ``source``."""

    base: str
    rate: Decimal
    day: date
    source: str


_INVERSE = Context(prec=28)


def rate_of(currency: str, direct: bool, rate: Decimal, day: date, source: str) -> Rate:
    """Return the rate of a currency; one that is recorded the other way round is inverted, and its source says so."""
    if direct:
        return Rate(currency, rate, day, source)
    return Rate(currency, _INVERSE.divide(Decimal(1), rate), day, f"{source}, inverted")


class OutOfBalance(AssertionError):  # noqa: N818  a state of the books, as the refusals are named
    """A report does not balance: a bug, or tampering; prove the books."""


def sections(lines: Iterable[Line], kinds: Sequence[str]) -> list[Section]:
    """Group lines by currency and kind, in the order of ``kinds``."""
    grouped: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        grouped.setdefault((line.currency, line.kind), []).append(line)
    return [
        Section(kind, currency, tuple(inside), sum(line.balance for line in inside))
        for currency in sorted({currency for currency, _ in grouped})
        for kind in kinds
        if (inside := grouped.get((currency, kind)))
    ]


def check_trial_balance(lines: Iterable[Line]) -> dict[str, int]:
    """Return the debits of each currency, which equal its credits.

    Raises:
        OutOfBalance: They do not.
    """
    totals: dict[str, list[int]] = {}
    for line in lines:
        both = totals.setdefault(line.currency, [0, 0])
        both[0] += line.debits
        both[1] += line.credits
    if off := [currency for currency, both in totals.items() if both[0] != both[1]]:
        raise OutOfBalance(", ".join(off))
    return {currency: debits for currency, (debits, _) in totals.items()}


def earnings(lines: Iterable[Line]) -> dict[str, int]:
    """Return income less expenses by currency, minor units."""
    total: dict[str, int] = {}
    for line in lines:
        sign = {"income": 1, "expense": -1}.get(line.kind, 0)
        if sign:
            total[line.currency] = total.get(line.currency, 0) + sign * line.balance
    return total


def translated(minor: int, currency: str, into: str, rate: Decimal) -> int:
    """Return minor units of ``into``, rounded half-even, for minor units of ``currency`` at ``rate``."""
    with localcontext(prec=80):
        amount = Decimal(minor).scaleb(exponent(into) - exponent(currency)) * rate
        return int(amount.to_integral_value(ROUND_HALF_EVEN))


def is_position(line: Line) -> bool:
    """Tell whether an account holds an open position in a foreign currency."""
    return line.kind == "equity" and line.code.startswith("fx:")


def revalued(lines: Iterable[Line], into: str, rates: Mapping[str, Rate]) -> tuple[int, list[str]]:
    """Return what the open positions of ``fx:`` accounts are worth in ``into``, and currencies without a rate.

    Positions are equity accounts whose code begins with ``fx:``; a conversion books against one of each currency, so
    their worth at today's rates is the unrealised exchange gain (currency trading accounts, P. Selinger).
    """
    gain, missing = 0, set()
    for line in lines:
        if not is_position(line):
            continue
        if line.currency == into:
            gain += line.balance
        elif line.currency in rates:
            gain += translated(line.balance, line.currency, into, rates[line.currency].rate)
        else:
            missing.add(line.currency)
    return gain, sorted(missing)
