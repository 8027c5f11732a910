"""When an account will run low: its own balance path, and how its net monthly flow varies."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

import numpy as np

DAYS_A_MONTH = 30.44
MONTHS_MIN = 4
HORIZON_DAYS = 91
"""Thirteen weeks, the usual horizon of cash planning."""

BLOCK_DAYS = 30


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

    The net flow of whole 30-day blocks back from ``on`` gives the monthly median and its spread; the day is where the
    balance plus the median flow passes zero, its range where the 10 % and 90 % quantiles of the flow would.

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
    back = np.array([(on - day).days for day in days]) // BLOCK_DAYS
    blocks = min(12, int(back.max()))
    if blocks < MONTHS_MIN or balance <= 0:
        return None
    flows = np.bincount(back, weights=np.array([float(amount) for amount in amounts]))[:blocks]
    middle = float(np.median(flows))
    if middle >= 0:
        return None
    left = float(balance) / -middle * BLOCK_DAYS
    if left > HORIZON_DAYS:
        return None
    worst, best = float(np.quantile(flows, 0.1)), float(np.quantile(flows, 0.9))
    early = float(balance) / -min(worst, middle) * BLOCK_DAYS
    late = float(balance) / -best * BLOCK_DAYS if best < 0 else 2 * left
    return Low(
        account,
        currency,
        balance,
        middle / BLOCK_DAYS * DAYS_A_MONTH,
        on + timedelta(days=round(left)),
        on + timedelta(days=round(early)),
        on + timedelta(days=round(max(late, left))),
    )
