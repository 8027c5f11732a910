"""When an account will run low: its own balance path, and how its net monthly flow varies."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

import numpy as np

DAYS_A_MONTH = 30.44
MONTHS_MIN = 3
MONTHS_MAX = 6
HORIZON_DAYS = 91
"""Thirteen weeks, the usual horizon of cash planning."""


@dataclass(frozen=True, slots=True)
class Low:
    """An account that is expected to fall below zero: likely day with an 80 % range, and the balance it comes from."""

    account: str
    currency: str
    balance: Decimal
    monthly: float
    day: date
    earliest: date
    latest: date


def runs_low(
    account: str, currency: str, *, balance: Decimal, on: date, days: Sequence[date], amounts: Sequence[Decimal]
) -> Low | None:
    """Return when the balance is expected to pass zero within :data:`HORIZON_DAYS`, or None.

    The net flows of the last whole calendar months (at most six: older habits are no guide) give the median and its
    spread; the day is where the balance plus the median flow passes zero, its range where the 10 % and 90 % quantiles of
    the flow would.

    Args:
        account: Account number.
        currency: Its currency.
        balance: Balance at the end of ``on``.
        on: Last day of the facts.
        days: Shape (n,): booking days.
        amounts: Shape (n,): signed amounts.
    """
    if not days:
        return None
    months = np.array([on.year * 12 + on.month - day.year * 12 - day.month for day in days])
    if (on + timedelta(days=1)).month == on.month:
        months -= 1  # the running month is not over
    kept = months >= 0
    whole = min(MONTHS_MAX, int(months.max()))
    if whole < MONTHS_MIN or balance <= 0:
        return None
    weights = np.array([float(amount) for amount in amounts])[kept]
    flows = np.bincount(months[kept], weights=weights)[:whole]
    middle = float(np.median(flows))
    if middle >= 0:
        return None
    left = float(balance) / -middle * DAYS_A_MONTH
    if left > HORIZON_DAYS:
        return None
    worst, best = float(np.quantile(flows, 0.1)), float(np.quantile(flows, 0.9))
    early = float(balance) / -min(worst, middle) * DAYS_A_MONTH
    late = float(balance) / -best * DAYS_A_MONTH if best < 0 else 2 * left
    return Low(
        account,
        currency,
        balance,
        middle,
        on + timedelta(days=round(left)),
        on + timedelta(days=round(early)),
        on + timedelta(days=round(max(late, left))),
    )
