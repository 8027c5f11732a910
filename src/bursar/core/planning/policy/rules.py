"""The alert policy of an organisation and its limits; pure."""

from dataclasses import dataclass
from decimal import Context, Decimal

from bursar.kernel.errors import Invalid
from bursar.kernel.money import Money, magnitude
from bursar.ml.anomaly.alerts import Rules

FALSE_ALERTS_MAX = 20.0
"""Largest alert budget: beyond one false alert for five series in a month nobody reads them."""

MONEY_FLOOR_MAX = Decimal(10**12)
MONEY_FLOOR_DECIMALS = 2
PERCENT_FLOOR_MAX = 1.0


_ROUGH = Context(prec=6)
"""As a rate is told."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What an organisation wants to hear about.

    Attributes:
        false_alerts: False alerts allowed in 100 series and 30 days.
        money_floor: Smallest impact that is told, in major units of ``currency``.
        percent_floor: ... and its smallest share of what was expected, 0.2 is 20 %.
        currency: ISO 4217; None takes the number for every currency whose unit is worth about a euro, see :func:`floor_in`.
    """

    false_alerts: float = 1.0
    money_floor: Decimal = Decimal("20.00")
    percent_floor: float = 0.2
    currency: str | None = None

    def rules(self, floor: "Floor") -> Rules:
        """Return it as detection of series with this floor reads it; its statistics are floats."""
        return Rules(budget_alerts=self.false_alerts, money_least=float(floor.amount), percent_least=self.percent_floor)

    def told(self, floor: "Floor") -> str:
        """Say for people what series with this floor were scanned under."""
        return (
            f"alert budget of {self.false_alerts:g} in 100 series and 30 days,"
            f" floors {floor} and {self.percent_floor * 100:g} % of the expected"
        )


@dataclass(frozen=True, slots=True)
class Floor:
    """The money floor in the currency of a series, and how it was made of the stated one where it is another number."""

    amount: Decimal
    currency: str
    made: str = ""

    def __str__(self) -> str:
        """Say it for people."""
        return f"{self.amount:,} {self.currency}" + (f" ({self.made})" if self.made else "")


def floor_in(policy: Policy, currency: str, rate: Decimal | None = None, source: str = "") -> Floor:
    """Return the money floor for series of ``currency``.

    By ``rate``, what one of the currency costs in that of the policy, said by ``source``. Without one by orders of
    magnitude: ten times as much where the unit is worth a tenth, which is right within a factor of about three.
    """
    if policy.currency == currency:
        return Floor(_in_minor(policy.money_floor, currency), currency)
    stated = f"{policy.money_floor:,.2f}" + (f" {policy.currency}" if policy.currency else "")
    if rate is not None:
        return Floor(
            _in_minor(policy.money_floor / rate, currency),
            currency,
            f"{stated} at {_ROUGH.plus(rate).normalize():f} {source}".rstrip(),
        )
    larger = magnitude(currency) - (magnitude(policy.currency) if policy.currency else 0)
    amount = _in_minor(policy.money_floor.scaleb(larger), currency)
    return Floor(
        amount, currency, f"{stated}, no rate known, by order of magnitude" if larger or policy.currency else ""
    )


def _in_minor(amount: Decimal, currency: str) -> Decimal:
    return Money.rounded(amount, currency).amount


def check(policy: Policy) -> None:
    """Refuse a policy that no scan can keep to.

    Raises:
        Invalid: The budget, the money floor or the percent floor lies outside of its limits, or is no number; or the
            currency is none.
    """
    if not 0 < policy.false_alerts <= FALSE_ALERTS_MAX:
        raise Invalid(f"the false alerts allowed are more than 0 and at most {FALSE_ALERTS_MAX:g}")
    floor = policy.money_floor
    if not (floor.is_finite() and 0 <= floor <= MONEY_FLOOR_MAX and round(floor, MONEY_FLOOR_DECIMALS) == floor):
        raise Invalid(f"the money floor is 0 to {MONEY_FLOOR_MAX:.0e} with at most {MONEY_FLOOR_DECIMALS} decimals")
    if policy.currency is not None:
        try:
            Money(0, policy.currency)
        except ValueError as error:
            raise Invalid(str(error)) from None
    if not 0 <= policy.percent_floor <= PERCENT_FLOOR_MAX:
        raise Invalid(f"the percent floor is 0 to {PERCENT_FLOOR_MAX:g}, 0.2 for 20 %")
