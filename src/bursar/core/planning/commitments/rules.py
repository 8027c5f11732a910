"""Which commitments a filter takes, and how much of each falls due in a period; pure."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal

from bursar.core.planning.rules.series import KEY_SEPARATOR
from bursar.core.planning.series.rules import TOTAL, Source, series_id
from bursar.kernel.finding import SourceRow
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


SAME_DAYS = 14
"""A planned amount and a contract or hold that begin so near to each other may be about the same money."""

SAME_SHARE = Decimal("0.1")
"""How far their amounts may differ, where the plan does not name the other."""

SAME_LOOKED_AT = 20
"""Claims of one day that are compared with a plan, the next smaller and larger ones in amount."""

CALLED_CHARS_MIN = 3
"""Shorter ids of contracts are found in any name."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Money that is committed.

    Attributes:
        label: For people.
        amount: All of it, exact major units.
        currency: ISO 4217.
        days: When it falls due; it is spread evenly over them.
        known: Every text that each known dimension of the source goes by; what is not known is not in it.
        origin: Where it is written; of an imported document, whose file has its name from its batch.
        held: Whether it is a hold: it stays open until it is paid, so what is late is still to come.
        name: Of a planned amount: what it is called.
        called: Ids that the name of a plan may hold.
        same: For a planned amount: the contract or hold that is about the same money, and counts in its place.
    """

    label: str
    amount: Decimal
    currency: str
    days: Period
    known: Mapping[str, frozenset[str]]
    origin: SourceRow
    held: bool = False
    name: str = ""
    called: tuple[str, ...] = ()
    same: "Claim | None" = None

    def due(self, start: date, end: date) -> Money:
        """Return what falls due from a day to before another: the share of its days, rounded half-even."""
        first, stop = max(self.days.start, start), min(self.days.end, end)
        if stop <= first:
            return Money(0, self.currency)
        whole = (self.days.end - self.days.start).days
        return Money.rounded(self.amount * (stop - first).days / whole, self.currency)


@dataclass(frozen=True, slots=True)
class Due:
    """What of a claim falls due in the rest of a period."""

    claim: Claim
    money: Money


@dataclass(frozen=True, slots=True)
class Committed:
    """What a filter takes of all claims, and what was not counted and why."""

    parts: tuple[Due, ...]
    notes: tuple[str, ...]

    def total(self, currency: str) -> Money:
        """Return the sum of the parts."""
        return Money(sum(one.money.minor for one in self.parts), currency)


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
    parts: list[Due] = []
    twice: list[str] = []
    apart: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    rest = max(period.start, seen + timedelta(days=1)) if seen else period.start
    since = {True: max(period.start, today), False: rest}
    for claim in claims:
        first = since[claim.held]
        if claim.days.start >= period.end or claim.days.end <= first:
            continue
        missing = unknown(claim, filter_)
        due = claim.due(first, period.end)
        if not due.minor or missing is None:
            continue
        if missing:
            apart[f"{' and '.join(missing)} not known"][due.currency] += due.minor
        elif due.currency != currency:
            apart["in another currency"][due.currency] += due.minor
        elif claim.same is not None and unknown(claim.same, filter_) == ():
            twice.append(f"Counted once: {claim.label} ({due}) is {claim.same.label}, which counts.")
        else:
            parts.append(Due(claim, due))
    notes = [
        f"Not counted as committed, {why}: {', '.join(str(Money(minor, each)) for each, minor in sorted(sums.items()))}."
        for why, sums in sorted(apart.items())
    ]
    return Committed(tuple(parts), (*([] if parts or twice else [NOTHING]), *twice, *notes))


def told_twice(planned: Iterable[Claim], stated: Sequence[Claim]) -> list[Claim]:
    """Return planned amounts, those that a contract or hold states too with that in ``same``.

    Both are about the same money where the plan's name holds an id of the other, during its days or shortly before, or they
    begin within :data:`SAME_DAYS` and differ by :data:`SAME_SHARE` at most, and nothing known of the one contradicts the
    other. What is not called answers one plan, the nearest in amount and then in time.
    """
    plans = list(planned)
    found = _called(plans, stated)
    by_day: dict[tuple[str, date], list[Claim]] = defaultdict(list)
    for one in sorted(stated, key=lambda one: one.amount):
        by_day[one.currency, one.days.start].append(one)
    near: list[tuple[Decimal, int, int, Claim]] = []
    for at, plan in enumerate(plans):
        for days in range(-SAME_DAYS, SAME_DAYS + 1):
            mine = by_day.get((plan.currency, plan.days.start + timedelta(days=days)), [])
            middle = bisect_left(mine, plan.amount, key=lambda one: one.amount)
            for one in mine[max(0, middle - SAME_LOOKED_AT) : middle + SAME_LOOKED_AT]:
                apart = abs(one.amount - plan.amount)
                if apart <= SAME_SHARE * max(one.amount, plan.amount) and _agree(plan, one):
                    near.append((apart, abs(days), at, one))
    taken: set[int] = {id(one) for one in found.values()}
    for _, _, at, one in sorted(near, key=lambda each: each[:3]):
        if at not in found and id(one) not in taken:
            found[at] = one
            taken.add(id(one))
    return [replace(plan, same=found.get(at)) for at, plan in enumerate(plans)]


def _called(plans: Sequence[Claim], stated: Sequence[Claim]) -> dict[int, Claim]:
    """Return by the place of a plan the claim whose id stands in its label."""
    ids = [(name.casefold(), one) for one in stated for name in one.called if len(name) >= CALLED_CHARS_MIN]
    said: dict[str, list[Claim]] = {}
    found: dict[int, Claim] = {}
    for at, plan in enumerate(plans):
        if plan.name not in said:
            name = plan.name.casefold()
            said[plan.name] = [one for id_, one in ids if id_ in name]
        for one in said[plan.name]:
            near = one.days.start - timedelta(days=SAME_DAYS) <= plan.days.start < one.days.end
            if near and _agree(plan, one):
                found.setdefault(at, one)
    return found


def _agree(plan: Claim, one: Claim) -> bool:
    """Tell whether two claims are of one currency and nothing known of them contradicts."""
    common = plan.known.keys() & one.known.keys()
    return plan.currency == one.currency and all(plan.known[name] & one.known[name] for name in common)


def nodes(source: Source, currency: str, leaves: Iterable[Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Return the level values of each series by its id, the total's (none) among them."""
    keys = {tuple(leaf[:depth]) for leaf in leaves for depth in range(len(source.levels) + 1)}
    return {series_id(source.name, currency, KEY_SEPARATOR.join(key) or TOTAL): key for key in keys | {()}}
