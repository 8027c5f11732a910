"""One account's thirteen weeks: the balance, when it runs low, how long it lasts. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import numpy as np

from bursar.kernel.finding import Evidence, Finding
from bursar.kernel.money import Money
from bursar.kernel.period import Period
from bursar.kernel.series import Floats
from bursar.parts.banking.cash.rules.paths import AMOUNTS_LOOKED, DAYS, WEEKS, Band, Flow, usual_amount
from bursar.parts.banking.rules.recurring import Recurring

LOW_BALANCE = "banking.low_balance"
KINDS = (LOW_BALANCE,)
"""Every kind of finding that cash raises."""


@dataclass(frozen=True, slots=True)
class Week:
    """One week ahead: exact expected payments in and out, the rest, and the balance at its end with its intervals."""

    start: date
    recurring_in: Decimal
    recurring_out: Decimal
    committed: Decimal
    rest: float
    balance: float
    lower80: float
    upper80: float
    lower95: float
    upper95: float


WEEK_AMOUNTS = tuple(one.name for one in fields(Week) if one.name != "start")
"""The amounts of a week."""


def told_amount(amount: Decimal | float, currency: str) -> Decimal:
    """Return an exact amount as it is, an expected one rounded to the currency's minor unit."""
    return amount if isinstance(amount, Decimal) else Money.rounded(Decimal(str(amount)), currency).amount


def recurring_amounts(one: Recurring) -> dict[str, Decimal]:
    """Return what a recurring payment usually is, its lowest and highest of late, and what a year of it comes to."""
    recent, usual = one.amounts[-AMOUNTS_LOOKED:], usual_amount(one)
    return {"usual": usual, "lowest": min(recent), "highest": max(recent), "a_year": usual * one.per_year}


@dataclass(frozen=True, slots=True)
class Low:
    """When a balance is expected to fall below its limit: the likely day, and the days of the 80 % interval's ends.

    ``latest`` is None where the upper end stays above within the thirteen weeks.
    """

    day: date
    earliest: date
    latest: date | None


@dataclass(frozen=True, slots=True)
class Outlook:
    """The thirteen weeks of one account, or of all accounts of a currency (``account`` is empty).

    Attributes:
        on: The last day of the facts; the first week begins the day after.
        known: Whether a statement states the balance, for a total that of any account; else it counts from zero.
        runway_days: Days until the total is used up at the expected pace; None when it grows.
        runway_days_min: The same at the lower end of the 80 % interval.
    """

    account: str
    currency: str
    balance: Decimal
    known: bool
    on: date
    limit: Decimal
    weeks: Sequence[Week]
    low: Low | None
    runway_days: int | None
    runway_days_min: int | None
    tried: int
    coverage80: float
    model: str
    flows: Sequence[Flow]


def shifted(band: Band, by: Floats) -> Band:
    """Return intervals moved by what is committed: its day and amount are known, so they grow no wider."""
    ends = (band.lower80 + by, band.upper80 + by, band.lower95 + by, band.upper95 + by)
    return Band(*ends, band.tried, band.coverage80)


def flows_of(flows: Iterable[Flow], origin: date, week: int) -> list[Flow]:
    """Return the payments expected in one week ahead; what is overdue is expected in the first."""
    return [one for one in flows if max(0, min(DAYS - 1, (one.day - origin).days)) // 7 == week]


def sums_of(flows: Iterable[Flow], origin: date, week: int) -> tuple[Decimal, Decimal, Decimal]:
    """Return the exact sums of one week ahead: recurring in, recurring out, committed."""
    amounts = [(one.amount, one.source) for one in flows_of(flows, origin, week)]
    return (
        sum((amount for amount, source in amounts if source == "recurring" and amount > 0), Decimal(0)),
        sum((amount for amount, source in amounts if source == "recurring" and amount < 0), Decimal(0)),
        sum((amount for amount, source in amounts if source == "commitment"), Decimal(0)),
    )


def daily_ends(weekly: Floats, daily: Floats) -> Floats:
    """Return the end of an interval on each day: its distance from the path grows evenly between the weeks' ends."""
    gap = np.concatenate(([0.0], weekly - daily[6::7]))
    out: Floats = daily + np.interp(np.arange(1, DAYS + 1), np.arange(0, DAYS + 1, 7), gap)
    return out


def first_below(balance: Decimal, limit: Decimal, changes: Floats) -> int | None:
    """Return the number of the first day (from 0) whose balance is below the limit; None when no day is."""
    below = np.flatnonzero(float(balance - limit) + changes < 0)
    return int(below[0]) if len(below) else None


def low_of(balance: Decimal, limit: Decimal, on: date, daily: Floats, band: Band) -> Low | None:
    """Return when the path falls below the limit, with the 80 % range of the day; None when it does not."""
    if balance < limit:
        return Low(on, on, on)
    at = first_below(balance, limit, daily)
    if at is None:
        return None
    early = first_below(balance, limit, np.minimum(daily, daily_ends(band.lower80, daily)))
    late = first_below(balance, limit, np.maximum(daily, daily_ends(band.upper80, daily)))

    def day(number: int) -> date:
        return on + timedelta(days=1 + number)

    return Low(day(at), day(at if early is None else early), None if late is None else day(late))


def runway(balance: Decimal, weekly: Floats) -> int | None:
    """Return the days until a balance is used up: inside the thirteen weeks as they go, beyond at their mean pace.

    Args:
        balance: Today.
        weekly: Shape (13,): change of the balance by the end of each week.
    """
    start = float(balance)
    if start <= 0:
        return 0
    path_ = start + np.concatenate(([0.0], weekly))
    gone = np.flatnonzero(path_ < 0)
    if len(gone):
        end = int(gone[0])
        share = path_[end - 1] / (path_[end - 1] - path_[end])
        return int((end - 1 + share) * 7)
    pace = -float(weekly[-1]) / WEEKS
    return int(start / pace * 7) if pace > 0 else None


def told(one: Outlook, low: Low) -> dict[str, Any]:
    """Return what subscribers hear of an account that became low."""
    return {
        "account": one.account,
        "balance": {"amount": f"{one.balance:f}", "currency": one.currency},
        "least": {"amount": f"{one.limit:f}", "currency": one.currency},
        "on": one.on.isoformat(),
        "day": low.day.isoformat(),
        "earliest": low.earliest.isoformat(),
        "latest": low.latest.isoformat() if low.latest else None,
    }


def finding_of(one: Outlook) -> Finding | None:
    """Return the warning that an account will run low, with the likely day and its range; None when it will not."""
    if one.low is None or not one.known or one.balance < one.limit:
        return None
    low = one.low
    until = f"between {low.earliest} and {low.latest}" if low.latest else f"not before {low.earliest}"
    name = one.account or f"All accounts in {one.currency}"
    worst = min(one.weeks, key=lambda week: week.balance)
    zero = Money(0, one.currency)
    return Finding(
        kind=LOW_BALANCE,
        subject=one.account,
        period=Period(low.day.replace(day=1), low.day + timedelta(days=1)),
        title=f"Account {name} runs low about {low.day}",
        worth=zero,
        low=zero,
        high=zero,
        confidence=0.8,
        action=f"Move money to {name} before {low.earliest}, or hold payments back.",
        evidence=Evidence(
            formula=f"{one.balance:,.2f} {one.currency} on {one.on}, expected payments and the rest of {WEEKS} weeks; lowest"
            f" {worst.balance:,.2f} in the week of {worst.start}; 80 % likely {until}, from {one.tried} earlier forecasts",
        ),
        recurring=False,
        due=low.earliest,
    )
