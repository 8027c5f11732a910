"""Findings: something noticed about a subject, worth money per year with a likely range, with evidence."""

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum

from bursar.kernel.money import Money
from bursar.kernel.period import Period


class FindingState(StrEnum):
    """Where a finding is in its life."""

    NEW = "new"
    ACCEPTED = "accepted"
    DONE = "done"
    MEASURED = "measured"
    DISMISSED = "dismissed"
    SNOOZED = "snoozed"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One row of an imported document that a finding rests on; ``row`` counts lines of the file from 1."""

    batch: str
    file: str
    row: int
    text: str = ""
    amount: Decimal | None = None
    currency: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """One additive part of a figure; the parts of an explanation sum exactly to the figure."""

    label: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class PriceUsed:
    """A price that entered a figure: where from, of which day."""

    id: str
    amount: Decimal
    currency: str
    unit: str
    day: date
    source: str


@dataclass(frozen=True, slots=True)
class Observed:
    """What was measured beside what was expected of the same days, exact, in the finding's currency.

    Attributes:
        days: Days that the sums are over.
        actual: What they cost.
        expected: What they were expected to cost.
        lower: Lower end of the 95 % range of that.
        upper: Upper end.
        causes: Parts that sum exactly to ``impact``, the most telling first.
    """

    days: Period
    actual: Decimal
    expected: Decimal
    lower: Decimal
    upper: Decimal
    causes: tuple[Part, ...] = ()

    @property
    def impact(self) -> Decimal:
        """Actual minus expected; positive is more spent."""
        return self.actual - self.expected


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why a finding is so.

    Attributes:
        formula: The calculation in words and figures.
        parts: Additive parts in the finding's currency, summing exactly to ``worth`` before rounding is undone.
        prices: Prices used, with their dates.
        rows: The most telling source rows, at most 50; ``rows_total`` counts all.
        rows_total: How many source rows the finding rests on.
        chart: Optional series for a chart: ``{"x": [...], "y": [...]}``, and where something was expected of each x also
            ``"expected"``, ``"lower"`` and ``"upper"``, with null where nothing was.
        observed: What was measured beside what was expected, where a figure stood out.
    """

    formula: str
    parts: tuple[Part, ...] = ()
    prices: tuple[PriceUsed, ...] = ()
    rows: tuple[SourceRow, ...] = ()
    rows_total: int = 0
    chart: dict[str, list[object]] = field(default_factory=dict)
    observed: Observed | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What a producer raises; unique by (kind, subject, period start).

    Attributes:
        kind: Producer and sort, dotted: ``cloud.idle_resource``, ``planning.anomaly``, ``banking.duplicate_payment``.
        subject: What it is about, stable: a resource id, an account, a party, a series key.
        period: The period of the facts it rests on.
        title: One line, at most 120 characters, no figures that ``worth`` already says.
        worth: Expected effect of acting, per year, signed: positive saves or recovers money. A one-off amount
            (``recurring`` False) counts once.
        low: Lower end of the likely range (80 %), same currency.
        high: Upper end of the likely range (80 %), same currency.
        confidence: Probability from 0 to 1 that the finding is right.
        action: The suggested action in one sentence.
        evidence: Formula, parts, prices, rows.
        recurring: Whether ``worth`` comes back each year.
        cost_basis: What the subject costs per year; open savings on one ``resource`` never exceed it.
        resource: What overlaps are netted on; the subject when empty.
        effort: ``low``, ``medium`` or ``high``.
        risk: ``low``, ``medium`` or ``high``.
        due: The day after which acting is worth less (a renewal notice), if any.
    """

    kind: str
    subject: str
    period: Period
    title: str
    worth: Money
    low: Money
    high: Money
    confidence: float
    action: str
    evidence: Evidence
    recurring: bool = True
    cost_basis: Money | None = None
    resource: str = ""
    effort: str = "low"
    risk: str = "low"
    due: date | None = None

    def __post_init__(self) -> None:
        """Refuse a finding that cannot be right: mixed currencies, a range that misses the worth, a bad confidence."""
        if not self.low.currency == self.high.currency == self.worth.currency:
            message = f"finding {self.kind} {self.subject}: worth, low and high are in different currencies"
            raise ValueError(message)
        if not self.low.minor <= self.worth.minor <= self.high.minor:
            message = f"finding {self.kind} {self.subject}: {self.worth} lies outside {self.low} to {self.high}"
            raise ValueError(message)
        if not 0 <= self.confidence <= 1:
            message = f"finding {self.kind} {self.subject}: confidence {self.confidence} is not between 0 and 1"
            raise ValueError(message)
