"""Recurring payments: any cadence, amounts may vary; next date and money range."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import polars as pl

OCCURRENCES_MIN = 3
"""Fewest payments that make a series."""

CADENCES: tuple[tuple[str, int, int, int], ...] = (
    ("weekly", 7, 1, 52),
    ("fortnightly", 14, 2, 26),
    ("monthly", 30, 4, 12),
    ("two-monthly", 61, 6, 6),
    ("quarterly", 91, 9, 4),
    ("half-yearly", 182, 14, 2),
    ("yearly", 365, 20, 1),
)
"""Name, days between, days it may be off, times a year."""

REGULAR_SHARE_MIN = 0.75
"""Least share of gaps that fit the cadence."""

GONE_AFTER = 1.6
"""A series has ended when this many gaps passed without a payment."""


@dataclass(frozen=True, slots=True)
class Recurring:
    """One recurring series of payments to (negative) or from (positive) one payee.

    Attributes:
        account: Own account.
        payee: Payee key.
        label: Name for people.
        currency: ISO 4217 code.
        cadence: ``weekly`` … ``yearly``.
        per_year: Payments a year.
        days: Booking days, ascending.
        amounts: Exact amounts, same order; money out negative.
        rows: (batch, file row) of each payment.
        regularity: Share of gaps that fit the cadence, 0 to 1.
    """

    account: str
    payee: str
    label: str
    currency: str
    cadence: str
    per_year: int
    gap_days: int
    days: tuple[date, ...]
    amounts: tuple[Decimal, ...]
    rows: tuple[tuple[str, int], ...]
    regularity: float

    @property
    def next_day(self) -> date:
        """The day the next payment is expected."""
        return self.days[-1] + timedelta(days=self.gap_days)

    def alive(self, on: date) -> bool:
        """Tell whether the series still runs on a day."""
        return (on - self.days[-1]).days <= self.gap_days * GONE_AFTER

    @property
    def varies(self) -> float:
        """Median absolute deviation of the amounts over their median (unitless; 0 for a fixed fee)."""
        sizes = np.abs(np.array([float(amount) for amount in self.amounts]))
        middle = float(np.median(sizes))
        return float(np.median(np.abs(sizes - middle)) / middle) if middle else 0.0


def cadence_of(days: Sequence[date]) -> tuple[str, int, int, float] | None:
    """Return (name, gap in days, times a year, share of fitting gaps) of ascending days; None when irregular.

    Args:
        days: Shape (n,), n >= 3, ascending; equal days count once.
    """
    ordered = np.unique(np.array(days, dtype="datetime64[D]"))
    if ordered.size < OCCURRENCES_MIN:
        return None
    gaps = np.diff(ordered).astype(int)
    middle = float(np.median(gaps))
    for name, gap, slack, per_year in CADENCES:
        if abs(middle - gap) <= slack:
            fits = float(np.mean(np.abs(gaps - gap) <= slack))
            return (name, gap, per_year, fits) if fits >= REGULAR_SHARE_MIN else None
    return None


def recurring(lines: pl.DataFrame) -> list[Recurring]:
    """Find recurring series among booked movements.

    Args:
        lines: Columns ``account``, ``payee``, ``label``, ``currency``, ``booking_date``, ``amount``, ``batch``, ``row``.

    Returns:
        Series by (account, payee, direction, currency), those with the most money per year first.
    """
    found = []
    groups = lines.sort("booking_date", "row").group_by(
        "account", "payee", "currency", pl.col("amount") < 0, maintain_order=True
    )
    few = pl.col("booking_date").n_unique() >= OCCURRENCES_MIN
    gathered = groups.agg(
        pl.col("label").last(), "booking_date", pl.col("amount").alias("amounts"), "batch", "row", few.alias("_many")
    ).filter(pl.col("_many"))
    for row in gathered.iter_rows(named=True):
        cadence = cadence_of(row["booking_date"])
        if cadence is None:
            continue
        name, gap, per_year, fits = cadence
        found.append(
            Recurring(
                account=row["account"],
                payee=row["payee"],
                label=row["label"],
                currency=row["currency"],
                cadence=name,
                per_year=per_year,
                gap_days=gap,
                days=tuple(row["booking_date"]),
                amounts=tuple(row["amounts"]),
                rows=tuple(zip(row["batch"], row["row"], strict=True)),
                regularity=fits,
            )
        )
    return sorted(found, key=lambda one: (-abs(one.amounts[-1]) * one.per_year, one.payee))


@dataclass(frozen=True, slots=True)
class Rise:
    """A fixed recurring fee that went up: ``before`` and ``after`` are amounts per payment, positive."""

    series: Recurring
    before: Decimal
    after: Decimal
    at: int


RISE_SHARE_MIN = Decimal("0.03")
"""Smallest rise, as a share of the old fee, worth a finding."""

STABLE_BEFORE_MIN = 3
"""Equal payments there must be before a step up: anything that varies has no price."""

NO_PRICE = re.compile(
    r"finanzamt|steuer|\btax|hmrc|\birs\b|gehalt|gehaelter|gehälter|lohn|salar|wages|payroll|sozialvers|krankenkasse|"
    r"\baok\b|\btkk\b|rentenvers|pension|social (security|insurance)",
    re.IGNORECASE,
)
"""Payees that are paid what is due, not a price: tax offices, wages, social insurance."""

STABLE_VARIES_MAX = 0.02
"""A fee counts as fixed before and after the rise when its amounts vary by at most this share."""


def price_rise(series: Recurring) -> Rise | None:
    """Return the last step up of a recurring outgoing fee that was fixed before and stayed up since, or None."""
    sizes = [-amount for amount in series.amounts]
    if len(sizes) <= STABLE_BEFORE_MIN or sizes[-1] <= 0 or NO_PRICE.search(f"{series.label} {series.payee}"):
        return None
    after = sizes[-1]
    at = len(sizes) - 1
    while at > 0 and _near(sizes[at - 1], after):
        at -= 1
    earlier = sizes[max(0, at - STABLE_BEFORE_MIN) : at]
    if len(earlier) < STABLE_BEFORE_MIN or not all(_near(size, sizes[at - 1]) for size in earlier):
        return None
    before = sizes[at - 1]
    if after < before * (1 + RISE_SHARE_MIN):
        return None
    return Rise(series, before, after, at)


def _near(one: Decimal, other: Decimal) -> bool:
    return abs(one - other) <= abs(other) * Decimal(str(STABLE_VARIES_MAX))
