"""What does not fit a payee's own habit: an amount far off, a new account number, a trial that became a plan, two plans."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import numpy as np
import polars as pl

from bursar.parts.banking.rules.recurring import NO_PRICE, Recurring

UNUSUAL_TIMES = 2.5
"""An instalment this many times the usual one is unusual."""

HABIT_MIN = 6
"""Payments that make a habit."""

TRIAL_SHARE_MAX = Decimal("0.2")
"""A first payment below this share of the later fee was a trial."""

CREEP_MIN = 4
"""Small subscriptions that began one after another on one account."""


@dataclass(frozen=True, slots=True)
class Unusual:
    """One payment of a series far above the usual; ``usual`` is the median, positive."""

    series: Recurring
    at: int
    usual: Decimal


def unusual(series: Recurring, *, within_days: int) -> Unusual | None:
    """Return the newest outgoing payment far above the series' habit within the last days, or None."""
    sizes = [-amount for amount in series.amounts]
    if len(sizes) < HABIT_MIN or sizes[-1] <= 0:
        return None
    for at in range(len(sizes) - 1, 2, -1):
        if (series.days[-1] - series.days[at]).days > within_days:
            return None
        others = np.array([float(size) for place, size in enumerate(sizes) if place != at])
        usual = float(np.median(others))
        spread = float(np.median(np.abs(others - usual)))
        if float(sizes[at]) > UNUSUAL_TIMES * usual and spread <= 0.15 * usual:
            return Unusual(
                series, at, Decimal(sorted(size for place, size in enumerate(sizes) if place != at)[len(others) // 2])
            )
    return None


@dataclass(frozen=True, slots=True)
class Moved:
    """A payee paid at another account than ever before."""

    payee: str
    label: str
    account: str
    currency: str
    old: str
    new: str
    day: date
    amount: Decimal
    before: int
    row: tuple[str, int]


def moved(lines: pl.DataFrame) -> list[Moved]:
    """Find payees whose newest payment went to an account that was never used in at least :data:`HABIT_MIN` before."""
    paid = lines.filter((pl.col("amount") < 0) & (pl.col("counterparty_account") != "")).sort("booking_date", "row")
    found = []
    for row in (
        paid.group_by("payee", "currency", maintain_order=True)
        .agg("counterparty_account", "booking_date", "amount", "batch", "row", "account", pl.col("label").last())
        .filter(pl.col("counterparty_account").list.n_unique() == 2)
        .iter_rows(named=True)
    ):
        accounts: list[str] = row["counterparty_account"]
        new = accounts[-1]
        before = [place for place, account in enumerate(accounts) if account != new]
        first_new = accounts.index(new)
        if len(before) < HABIT_MIN or first_new != len(before):
            continue
        found.append(
            Moved(
                payee=row["payee"],
                label=row["label"],
                account=row["account"][first_new],
                currency=row["currency"],
                old=accounts[0],
                new=new,
                day=row["booking_date"][first_new],
                amount=-row["amount"][first_new],
                before=len(before),
                row=(row["batch"][first_new], row["row"][first_new]),
            )
        )
    return found


def trial(series: Recurring) -> bool:
    """Tell whether a series began with a token payment and went on at one fixed fee."""
    sizes = [-amount for amount in series.amounts]
    if len(sizes) < 4 or sizes[0] <= 0:
        return False
    rest = sizes[1:]
    return sizes[0] <= rest[-1] * TRIAL_SHARE_MAX and max(rest) == min(rest)


def twins(series: Sequence[Recurring]) -> list[tuple[Recurring, Recurring]]:
    """Return pairs of live series to one payee from two accounts: the same thing is probably paid twice."""
    by_name: dict[tuple[str, str], list[Recurring]] = defaultdict(list)
    for one in series:
        if one.amounts[-1] < 0 and not NO_PRICE.search(one.label):
            by_name[one.payee.split(" ")[0], one.currency].append(one)
    pairs = []
    for group in by_name.values():
        for place, first in enumerate(group):
            for second in group[place + 1 :]:
                overlap = min(first.days[-1], second.days[-1]) > max(first.days[0], second.days[0])
                if first.account != second.account and overlap and first.cadence == second.cadence:
                    pairs.append((first, second) if first.days[0] <= second.days[0] else (second, first))
    return pairs


def creep(series: Sequence[Recurring], *, since: date, fee_max: Decimal = Decimal(100)) -> dict[str, list[Recurring]]:
    """Return small fixed fees that began after ``since``, by account, where there are at least :data:`CREEP_MIN`."""
    small: dict[str, list[Recurring]] = defaultdict(list)
    for one in series:
        fixed = one.varies <= 0.02 and -fee_max <= one.amounts[-1] < 0
        if fixed and one.days[0] > since and one.cadence == "monthly":
            small[one.account].append(one)
    return {account: found for account, found in small.items() if len(found) >= CREEP_MIN}
