"""Which commitments a filter takes, and how much of each falls due in a period; pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from bursar.core.planning.rules.series import KEY_SEPARATOR
from bursar.core.planning.series.rules import TOTAL, Source, series_id
from bursar.kernel.money import Money
from bursar.kernel.period import Period

CASH_CODES = "asset:bank:"
"""Beginning of the ledger codes of own bank accounts."""

OVER = frozenset({"cancelled", "canceled", "closed", "expired", "inactive", "rejected", "terminated"})
"""Lifecycle states of a contracted commitment that is owed no more."""

FORMULA = (
    "open holds due, and the days of contracted commitments and planned amounts, in the rest of the period: what is not in"
    " the amount spent yet"
)
NOTHING = "Nothing is known to be committed for this filter; 0 is counted."


@dataclass(frozen=True, slots=True)
class Claim:
    """Money that is committed.

    Attributes:
        label: For people.
        amount: All of it, exact major units.
        currency: ISO 4217.
        days: When it falls due; it is spread evenly over them.
        known: Every text that each known dimension of the source goes by; what is not known is not in it.
        held: Whether it is a hold: it stays open until it is paid, so what is late is still to come.
    """

    label: str
    amount: Decimal
    currency: str
    days: Period
    known: Mapping[str, frozenset[str]]
    held: bool = False

    def due(self, start: date, end: date) -> Money:
        """Return what falls due from a day to before another: the share of its days, rounded half-even."""
        first, stop = max(self.days.start, start), min(self.days.end, end)
        whole = (self.days.end - self.days.start).days
        return Money.rounded(self.amount * max(0, (stop - first).days) / whole, self.currency)


@dataclass(frozen=True, slots=True)
class Committed:
    """What a filter takes of all claims: each amount with its label, and what was not counted and why."""

    parts: tuple[tuple[str, Money], ...]
    notes: tuple[str, ...]

    def total(self, currency: str) -> Money:
        """Return the sum of the parts."""
        return Money(sum(money.minor for _, money in self.parts), currency)


def one_day(day: date) -> Period:
    """Return a day as a period."""
    return Period(day, day + timedelta(days=1))


def unknown(claim: Claim, filter_: Mapping[str, Sequence[str]]) -> tuple[str, ...] | None:
    """Return which dimensions of a filter are not known of a claim; None when a known one says that it does not count."""
    if any(not claim.known[name] & set(values) for name, values in filter_.items() if name in claim.known):
        return None
    return tuple(name for name in filter_ if name not in claim.known)


def counted(
    claims: Iterable[Claim],
    filter_: Mapping[str, Sequence[str]],
    currency: str,
    period: Period,
    *,
    today: date,
    seen: date | None,
) -> Committed:
    """Return what is committed for the rest of a period.

    Args:
        claims: What is committed at all.
        filter_: Dimension to the values that count.
        currency: What is added; other currencies are named.
        period: Of the budget; nothing is left of one that is over.
        today: A hold counts from this day on, one that is late counts today.
        seen: Last day with facts; contracted and planned amounts count after it, because earlier ones are in the facts.
    """
    if period.end <= today:
        return Committed((), ("The period is over: nothing is committed for it any more.",))
    parts: list[tuple[str, Money]] = []
    apart: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    rest = max(period.start, seen + timedelta(days=1)) if seen else period.start
    for claim in claims:
        due = claim.due(max(period.start, today) if claim.held else rest, period.end)
        missing = unknown(claim, filter_)
        if not due.minor or missing is None:
            continue
        if missing:
            apart[f"{' and '.join(missing)} not known"][due.currency] += due.minor
        elif due.currency != currency:
            apart["in another currency"][due.currency] += due.minor
        else:
            parts.append((claim.label, due))
    notes = [
        f"Not counted as committed, {why}: {', '.join(str(Money(minor, each)) for each, minor in sorted(sums.items()))}."
        for why, sums in sorted(apart.items())
    ]
    return Committed(tuple(parts), (*([] if parts else [NOTHING]), *notes))


def nodes(source: Source, currency: str, leaves: Iterable[Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Return the level values of each series by its id, the total's (none) among them."""
    keys = {tuple(leaf[:depth]) for leaf in leaves for depth in range(len(source.levels) + 1)}
    return {series_id(source.name, currency, KEY_SEPARATOR.join(key) or TOTAL): key for key in keys | {()}}
