"""The alert policy of an organisation and its limits; pure."""

from dataclasses import dataclass
from decimal import Decimal

from bursar.kernel.errors import Invalid
from bursar.ml.anomaly.alerts import Rules

FALSE_ALERTS_MAX = 20.0
"""Largest alert budget: beyond one false alert for five series in a month nobody reads them."""

MONEY_FLOOR_MAX = Decimal(10**12)
MONEY_FLOOR_DECIMALS = 2
PERCENT_FLOOR_MAX = 1.0


@dataclass(frozen=True, slots=True)
class Policy:
    """What an organisation wants to hear about.

    Attributes:
        false_alerts: False alerts allowed in 100 series and 30 days.
        money_floor: Smallest impact that is told, in major units of whatever currency a series is billed in.
        percent_floor: ... and its smallest share of what was expected, 0.2 is 20 %.
    """

    false_alerts: float = 1.0
    money_floor: Decimal = Decimal("20.00")
    percent_floor: float = 0.2

    def rules(self) -> Rules:
        """Return it as detection reads it; its statistics are floats."""
        return Rules(
            budget_alerts=self.false_alerts, money_least=float(self.money_floor), percent_least=self.percent_floor
        )

    def __str__(self) -> str:
        """Say it for people."""
        return (
            f"alert budget of {self.false_alerts:g} in 100 series and 30 days,"
            f" floors {self.money_floor:,.2f} and {self.percent_floor * 100:g} % of the expected"
        )


def check(policy: Policy) -> None:
    """Refuse a policy that no scan can keep to.

    Raises:
        Invalid: The budget, the money floor or the percent floor lies outside of its limits, or is no number.
    """
    if not 0 < policy.false_alerts <= FALSE_ALERTS_MAX:
        raise Invalid(f"the false alerts allowed are more than 0 and at most {FALSE_ALERTS_MAX:g}")
    floor = policy.money_floor
    if not (floor.is_finite() and 0 <= floor <= MONEY_FLOOR_MAX and round(floor, MONEY_FLOOR_DECIMALS) == floor):
        raise Invalid(f"the money floor is 0 to {MONEY_FLOOR_MAX:.0e} with at most {MONEY_FLOOR_DECIMALS} decimals")
    if not 0 <= policy.percent_floor <= PERCENT_FLOOR_MAX:
        raise Invalid(f"the percent floor is 0 to {PERCENT_FLOOR_MAX:g}, 0.2 for 20 %")
