"""Periods, roll-over, forecast to the end, thresholds and their findings; pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from email.utils import parseaddr
from enum import StrEnum
from itertools import pairwise
from uuid import UUID

import numpy as np

from bursar.core.planning.commitments.rules import Committed, Due
from bursar.core.planning.forecasts.rules.stored import Run, Values, amount_of, period_ends
from bursar.core.planning.series.rules import Source, parts_of
from bursar.kernel.errors import Invalid
from bursar.kernel.money import Money
from bursar.kernel.period import MONTHS_A_YEAR, Period, add_months

NAME_CHARS_MAX = 120
FILTER_VALUES_MAX = 200
VALUE_CHARS_MAX = 300
TELL_MAX = 20
"""Mail addresses of one budget."""

PERIODS_MAX = 400
"""Periods that roll over, the newest ones."""

BUDGETS_MAX = 1_000
"""Budgets of one organisation."""

_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+")

NEAR_SHARE = Decimal("0.8")
SHARE_DAYS = 28
"""Days that say which share of a series a finer filter takes."""

SHARE_PLACES = 6
"""Decimal places of such a share."""

NO_FORECAST = "Nothing is forecast yet; `bursar forecast --all` does it."
KINDS = ("planning.budget_near", "planning.budget_over", "planning.budget_forecast")
"""Kinds of finding that budgets raise."""


class Cadence(StrEnum):
    """How long a period is."""

    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"


class RollOver(StrEnum):
    """What the next period takes over: nothing, what was left, or also what was overspent."""

    NONE = "none"
    UNSPENT = "unspent"
    BOTH = "both"


class Threshold(StrEnum):
    """What is told once a period."""

    NEAR = "actual80"
    OVER = "actual100"
    FORECAST = "forecast100"


_MONTHS = {Cadence.MONTH: 1, Cadence.QUARTER: 3, Cadence.YEAR: 12}


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent in each period.

    Attributes:
        id: Its id.
        name: Unique in the organisation.
        source: ``cost``, ``payment`` or ``bank``.
        filter: Dimension to the values that count; every dimension must match, an empty filter counts everything.
        amount: For one period.
        cadence: Length of a period; periods follow the calendar, or the year that begins in ``year_begins``.
        roll_over: What the next period takes over.
        start: First day; roll-over begins with its period.
        tell: Mail addresses told at a threshold.
        created_at: When it was made.
        changed_at: When it last changed.
        year_begins: Month, 1 to 12, in which its years begin, and with them its quarters.
    """

    id: UUID
    name: str
    source: str
    filter: Mapping[str, Sequence[str]]
    amount: Money
    cadence: Cadence
    roll_over: RollOver
    start: date
    tell: Sequence[str]
    created_at: datetime
    changed_at: datetime
    year_begins: int = 1


def check(
    source: Source, *, name: str, filter_: Mapping[str, Sequence[str]], amount: Money, tell: Sequence[str]
) -> None:
    """Refuse a budget that cannot work.

    Raises:
        Invalid: The name, the amount, a dimension, a value or an address is wrong.
    """
    if not 0 < len(name.strip()) <= NAME_CHARS_MAX or not name.isprintable():
        raise Invalid(f"A budget's name has 1 to {NAME_CHARS_MAX} printable characters.")
    if amount.minor <= 0:
        raise Invalid("A budget is more than 0.", "Send a positive amount.")
    for dimension, values in filter_.items():
        if source.column(dimension) is None:
            raise Invalid(
                f"{dimension[:40]!r} cannot be filtered by in {source.name}.", f"Use {', '.join(source.names)}."
            )
        if not 0 < len(values) <= FILTER_VALUES_MAX or not all(0 < len(one) <= VALUE_CHARS_MAX for one in values):
            raise Invalid(
                f"{dimension} takes 1 to {FILTER_VALUES_MAX} values of 1 to {VALUE_CHARS_MAX} characters.",
                "`GET /v1/series` shows how each is spelt, also those of rows that have none.",
            )
    if len(tell) > TELL_MAX:
        raise Invalid(f"A budget tells at most {TELL_MAX} addresses.")
    for address in tell:
        if parseaddr(address)[1] != address or not _ADDRESS.fullmatch(address) or not address.isprintable():
            raise Invalid(f"{address[:80]!r} is not one mail address")


def people(tell: Sequence[str]) -> list[str]:
    """Return mail addresses as they were written, each once; letter case makes no other person."""
    found: dict[str, str] = {}
    for address in tell:
        found.setdefault(address.casefold(), address)
    return list(found.values())


def period_of(cadence: Cadence, day: date, year_begins: int = 1) -> Period:
    """Return the month, quarter or year of a day, of years that begin with a month."""
    months = _MONTHS[cadence]
    first = add_months(day.replace(day=1), -((day.month - year_begins) % months))
    return Period(first, add_months(first, months))


def periods_until(budget: Budget, day: date) -> list[Period]:
    """Return the periods from the budget's first to that of ``day``; the first alone where ``day`` lies before it.

    Without roll-over earlier periods do not count, and with it the newest ``PERIODS_MAX`` do.
    """
    months = _MONTHS[budget.cadence]
    first, last = (period_of(budget.cadence, each, budget.year_begins).start for each in (budget.start, day))
    passed = max(0, (last.year - first.year) * MONTHS_A_YEAR + last.month - first.month) // months
    skipped = passed if budget.roll_over is RollOver.NONE else max(0, passed + 1 - PERIODS_MAX)
    starts = [add_months(first, at * months) for at in range(skipped, passed + 2)]
    return [Period(start, end) for start, end in pairwise(starts)]


def allowed(budget: Budget, spent: Sequence[Money]) -> Money:
    """Return what may be spent in the current period, given what each period before it spent (oldest first)."""
    carried = 0
    for one in spent:
        left = budget.amount.minor + carried - one.minor
        carried = 0 if budget.roll_over is RollOver.NONE else left
        if budget.roll_over is RollOver.UNSPENT:
            carried = max(0, left)
    return Money(budget.amount.minor + carried, budget.amount.currency)


def matches(source: Source, filter_: Mapping[str, Sequence[str]], key: str) -> bool:
    """Tell whether a leaf series counts: each of its level values is among those asked for."""
    parts = dict(zip(source.levels, parts_of(key, len(source.levels)), strict=True))
    return all(parts[name] in values for name, values in filter_.items() if name in parts)


@dataclass(frozen=True, slots=True)
class Ahead:
    """What is expected of the rest of a period: mean and interval ends in exact major units, and what was assumed."""

    mean: Decimal = Decimal(0)
    low80: Decimal = Decimal(0)
    high80: Decimal = Decimal(0)
    low95: Decimal = Decimal(0)
    high95: Decimal = Decimal(0)
    covered_until: date | None = None
    notes: tuple[str, ...] = ()

    def plus(self, other: "Ahead") -> "Ahead":
        """Add the part of the period that another forecast covers."""
        return Ahead(
            self.mean + other.mean,
            self.low80 + other.low80,
            self.high80 + other.high80,
            self.low95 + other.low95,
            self.high95 + other.high95,
            other.covered_until or self.covered_until,
            (*self.notes, *other.notes),
        )


def ahead(run: Run, leaves: Sequence[tuple[Values, Decimal]], *, after: date, before: date) -> Ahead:
    """Sum stored forecasts over the days after ``after`` and before ``before``.

    A week or month that lies partly inside counts by its share of days. Interval ends are added up, as if all days and
    series erred together: the cautious end.

    Args:
        run: The run.
        leaves: Series, each with the share of it that counts, of at most :data:`SHARE_PLACES` places.
        after: Last day that is known.
        before: Day after the last of the budget's period.
    """
    weighed = [(one, int(share.scaleb(SHARE_PLACES))) for one, share in leaves if share]
    sums = [Decimal(0)] * 5
    until = None
    for step, (start, end) in enumerate(zip(run.starts, period_ends(run), strict=True)):
        first, stop = max(start, after + timedelta(days=1)), min(end, before)
        if stop <= first:
            continue
        until = stop - timedelta(days=1)
        part = Decimal((stop - first).days) / Decimal((end - start).days)
        for at, name in enumerate(("mean", "lower80", "upper80", "lower95", "upper95")):
            units = sum(getattr(one, name)[step] * weight for one, weight in weighed)
            sums[at] += amount_of(units).scaleb(-SHARE_PLACES) * part
    return Ahead(sums[0], sums[1], sums[2], sums[3], sums[4], until)


@dataclass(frozen=True, slots=True)
class Status:
    """Where a budget stands in one period.

    Attributes:
        budget: Which.
        period: Which period.
        allowed: The amount with what was rolled over.
        carried: What was rolled over; negative after overspending.
        actual: Spent so far, exactly.
        committed: Known to come and not yet spent.
        commitments: What it is made of.
        known_until: Last day that is complete in the facts; None without facts.
        expected: Actual plus forecast to the end, at least ``sure``; None where nothing was forecast.
        low80: Lower end of its 80 % interval.
        high80: Upper end.
        low95: Lower end of its 95 % interval.
        high95: Upper end.
        others: Amounts of the same filter in other currencies, not counted.
        notes: What was assumed.
    """

    budget: Budget
    period: Period
    allowed: Money
    carried: Money
    actual: Money
    committed: Money
    commitments: tuple[Due, ...]
    known_until: date | None
    expected: Money | None
    low80: Money | None
    high80: Money | None
    low95: Money | None
    high95: Money | None
    others: tuple[Money, ...]
    notes: tuple[str, ...]

    @property
    def sure(self) -> Money:
        """Actual and committed: what the period costs at least."""
        return self.actual + self.committed

    @property
    def end(self) -> Money:
        """What is expected by the end; what is sure where nothing was forecast."""
        return self.expected if self.expected is not None else self.sure

    @property
    def share(self) -> float | None:
        """Actual over allowed; None where nothing is allowed."""
        return self.actual.minor / self.allowed.minor if self.allowed.minor > 0 else None

    @property
    def crossed(self) -> tuple[Threshold, ...]:
        """The thresholds that are crossed now."""
        limit, spent = self.allowed.minor, self.actual.minor
        out = []
        if spent > 0 and spent >= NEAR_SHARE * limit:
            out.append(Threshold.NEAR)
        if spent > 0 and spent >= limit:
            out.append(Threshold.OVER)
        elif self.end.minor > limit:
            out.append(Threshold.FORECAST)
        return tuple(out)


def standing(
    budget: Budget,
    period: Period,
    *,
    may: Money,
    actual: Money,
    complete: Money,
    committed: Committed,
    known: date | None,
    ahead: Ahead | None,
    others: tuple[Money, ...],
) -> Status:
    """Put together where a budget stands.

    What is committed is a part of what the forecast expects of the rest, not beside it: rent that is held falls due in a
    series that always had rent. So expected, and each end of its interval, is the larger of ``complete`` plus the
    forecast and ``actual`` plus what is committed; nothing is counted twice.

    Args:
        budget: Which.
        period: Which period.
        may: What may be spent.
        actual: Spent so far.
        complete: The part of it up to ``known``.
        committed: What is committed for the rest.
        known: Last day that is complete in the facts.
        ahead: Forecast of the days after it; None where there is none.
        others: Spent in other currencies.
    """
    owed = committed.total(actual.currency)
    sure = actual + owed

    def end(more: Decimal) -> Money:
        return max(Money.rounded(complete.amount + more, actual.currency), sure)

    ends = (ahead.mean, ahead.low80, ahead.high80, ahead.low95, ahead.high95) if ahead else ()
    expected, low80, high80, low95, high95 = map(end, ends) if ends else (None,) * 5
    apart = f"Not counted, in other currencies: {', '.join(map(str, others))}."
    notes = (*committed.notes, *(ahead.notes if ahead else (NO_FORECAST,)), *([apart] if others else []))
    return Status(
        budget, period, may, may - budget.amount, actual, owed, committed.parts, known, expected, low80, high80, low95, high95, others, notes
    )  # fmt: skip


def shares(whole: Mapping[str, float], mine: Mapping[str, float]) -> dict[str, Decimal]:
    """Return by leaf series which share of its recent amounts a finer filter takes, 0 to 1."""
    out = {}
    for key, total in whole.items():
        share = mine.get(key, 0.0) / total if total > 0 else 0.0
        out[key] = Decimal(str(round(float(np.clip(share, 0.0, 1.0)), SHARE_PLACES)))
    return out
