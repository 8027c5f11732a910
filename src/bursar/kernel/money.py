"""Exact money: a signed count of a currency's minor units, and the only door from text to numbers.

Invariants: adding two currencies is a bug and raises ``TypeError``; splitting uses :func:`allocate` and loses nothing.
Source detail (unit prices, FOCUS costs) stays ``Decimal`` with up to 15 places until it is booked as :class:`Money`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal

_EXPONENTS: dict[str, int] = dict.fromkeys(
    [
        "BIF",
        "CLP",
        "DJF",
        "GNF",
        "ISK",
        "JPY",
        "KMF",
        "KRW",
        "PYG",
        "RWF",
        "UGX",
        "UYI",
        "VND",
        "VUV",
        "XAF",
        "XOF",
        "XPF",
    ],
    0,
) | dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3)
"""ISO 4217 minor-unit exponents other than 2."""

_MAGNITUDES = {
    1: "AED BRL BWP CNY CZK DKK GTQ HKD ILS MAD MDL MXN MYR NAD NOK PEN PLN QAR RON SAR SEK TND UYU ZAR ZMW",
    2: "AFN ALL BDT DOP DZD EGP ETB INR ISK JMD JPY KES KGS MKD MUR NIO NPR PHP RSD RUB THB TRY TWD UAH XPF",
    3: "AMD ARS CLP CRC DJF HUF IQD KMF KRW KZT LKR MMK MWK NGN PKR RWF TZS XAF XOF YER",
    4: "BIF COP GNF IDR KHR LAK MGA MNT PYG SLL UGX UZS VND",
    5: "IRR LBP",
}
"""Currencies by the power of ten, rounded on the scale of logarithms, of how many units a euro cost in 2026; 0 for others."""

_AMOUNT = re.compile(r"[+-]?(\d{1,38}(\.\d{0,38})?|\.\d{1,38})([eE][+-]?\d{1,2})?", re.ASCII)
"""The form of an amount; checked before ``Decimal`` because an exponent of 9999999 would hang later."""

_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)

_WIDE = Context(prec=80)
"""Exact for every amount that is taken; named at each step, because entering a context costs more than the arithmetic."""

PLACES_MAX = 15
"""Decimal places kept of a source amount (``Decimal(38, 15)``)."""


def exponent(currency: str) -> int:
    """Return the number of decimal places of ``currency`` (ISO 4217): 2 unless listed otherwise."""
    return _EXPONENTS.get(currency, 2)


def magnitude(currency: str) -> int:
    """Return the power of ten of how many units of a currency a euro costs: 2 for yen; 0 for euro, dollar, or unknown."""
    return next((power for power, codes in _MAGNITUDES.items() if currency in codes.split()), 0)


def plainly(amount: Decimal, currency: str) -> str:
    """Write an exact amount with the places of its currency, and as many more as it has: no digit is lost."""
    whole, _, places = f"{amount:f}".partition(".")
    shown = places.rstrip("0").ljust(exponent(currency), "0")
    return f"{whole}.{shown}" if shown else whole


def decimal_from(text: str) -> Decimal:
    """Read one plain decimal number such as ``-1234.50`` or ``1e-7``.

    Args:
        text: ASCII digits with at most one point and a small exponent; no grouping, no currency sign.

    Returns:
        The exact value.

    Raises:
        ValueError: ``text`` has any other form (``NaN``, ``1,5``, an exponent beyond two digits …).
    """
    stripped = text.strip()
    if not _AMOUNT.fullmatch(stripped):
        message = f"{text[:40]!r} is not a decimal number"
        raise ValueError(message)
    return Decimal(stripped)


@dataclass(frozen=True, slots=True, order=False)
class Money:
    """An exact amount: ``minor`` minor units (cents, yen, fils) of an ISO 4217 ``currency``."""

    minor: int
    currency: str

    def __post_init__(self) -> None:
        """Refuse a currency that is not three capital letters, and a fraction of a minor unit."""
        if not _CURRENCY.fullmatch(self.currency):
            message = f"{self.currency!r} is not an ISO 4217 currency code"
            raise ValueError(message)
        if not isinstance(self.minor, int):
            message = f"minor units are whole numbers, not {type(self.minor).__name__}"
            raise TypeError(message)

    @classmethod
    def of(cls, amount: Decimal | str | int, currency: str) -> "Money":
        """Make money from an exact decimal amount.

        Raises:
            ValueError: The amount has more places than the currency, or is not a number.
        """
        value = decimal_from(amount) if isinstance(amount, str) else Decimal(amount)
        scaled = value.scaleb(exponent(currency), _WIDE)
        if not scaled.is_finite() or scaled != scaled.to_integral_value(context=_WIDE):
            message = f"{amount} has more places than {currency} has"
            raise ValueError(message)
        return cls(int(scaled), currency)

    @classmethod
    def rounded(cls, amount: Decimal, currency: str) -> "Money":
        """Round ``amount`` half-even to the currency's minor unit (booking of source detail)."""
        scaled = amount.scaleb(exponent(currency), _WIDE)
        return cls(int(scaled.to_integral_value(ROUND_HALF_EVEN, _WIDE)), currency)

    @property
    def amount(self) -> Decimal:
        """The exact decimal amount, with the currency's number of places."""
        return Decimal(self.minor).scaleb(-exponent(self.currency), _WIDE)

    def _same(self, other: object) -> "Money":
        if not isinstance(other, Money) or other.currency != self.currency:
            message = f"cannot mix {self.currency} with {getattr(other, 'currency', type(other).__name__)}"
            raise TypeError(message)
        return other

    def __add__(self, other: "Money") -> "Money":
        """Add money of the same currency."""
        return Money(self.minor + self._same(other).minor, self.currency)

    def __sub__(self, other: "Money") -> "Money":
        """Subtract money of the same currency."""
        return Money(self.minor - self._same(other).minor, self.currency)

    def __neg__(self) -> "Money":
        """Return the opposite amount."""
        return Money(-self.minor, self.currency)

    def __mul__(self, times: int) -> "Money":
        """Multiply by a whole number."""
        return Money(self.minor * times, self.currency)

    def __lt__(self, other: "Money") -> bool:
        """Compare money of the same currency."""
        return self.minor < self._same(other).minor

    def __str__(self) -> str:
        """Return for instance ``1234.50 EUR``."""
        return f"{self.amount:f} {self.currency}"

    def on_the_wire(self) -> dict[str, str]:
        """Return the JSON form: a decimal string and the currency, never a float."""
        return {"amount": f"{self.amount:f}", "currency": self.currency}


def allocate(total: Money, weights: Sequence[int]) -> tuple[Money, ...]:
    """Split ``total`` in proportion to ``weights`` without losing or making a minor unit.

    Args:
        total: Amount to split; may be negative (a credit).
        weights: Shape (n,), n >= 1. Non-negative whole numbers, not all zero. Unitless.

    Returns:
        Shape (n,), same order and currency; the parts sum to ``total`` exactly.

    Raises:
        ValueError: ``weights`` is empty, negative somewhere, or sums to zero.

    Source:
        Largest-remainder (Hamilton) apportionment; ties go to the earlier index.
    """
    whole = sum(weights)
    if not weights or min(weights) < 0 or whole == 0:
        message = "weights must be non-negative and not all zero"
        raise ValueError(message)
    sign = -1 if total.minor < 0 else 1
    shares = [divmod(abs(total.minor) * weight, whole) for weight in weights]
    rest = abs(total.minor) - sum(share for share, _ in shares)
    by_remainder = sorted(range(len(shares)), key=lambda i: (-shares[i][1], i))
    extra = set(by_remainder[:rest])
    return tuple(Money(sign * (share + (i in extra)), total.currency) for i, (share, _) in enumerate(shares))
