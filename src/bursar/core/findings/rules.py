"""Netting, ranking, states and material change; pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from uuid import UUID

from bursar.kernel.errors import Conflict, Invalid
from bursar.kernel.finding import Finding, FindingState
from bursar.kernel.money import Money

MATERIAL_CHANGE = 0.25
"""A dismissed or snoozed finding returns when its worth grew by more than this share."""

REASON_CHARS_MAX = 2000
"""Longest reason or comment."""

OPEN = frozenset({FindingState.NEW, FindingState.ACCEPTED})
"""States in which a saving still lies ahead."""

_MOVES: Mapping[str, tuple[frozenset[FindingState], FindingState]] = {
    "accept": (frozenset({FindingState.NEW, FindingState.SNOOZED, FindingState.DISMISSED}), FindingState.ACCEPTED),
    "dismiss": (frozenset({FindingState.NEW, FindingState.ACCEPTED, FindingState.SNOOZED}), FindingState.DISMISSED),
    "snooze": (frozenset({FindingState.NEW, FindingState.ACCEPTED}), FindingState.SNOOZED),
    "done": (frozenset({FindingState.NEW, FindingState.ACCEPTED, FindingState.SNOOZED}), FindingState.DONE),
    "reopen": (
        frozenset({FindingState.DISMISSED, FindingState.SNOOZED, FindingState.DONE, FindingState.EXPIRED}),
        FindingState.NEW,
    ),
    "measure": (frozenset({FindingState.DONE}), FindingState.MEASURED),
}


@dataclass(frozen=True, slots=True)
class Kept:
    """A finding as the inbox keeps it.

    ``counted`` is the worth after netting overlaps: at most ``worth``; totals add ``counted`` only.
    """

    id: UUID
    number: int
    finding: Finding
    state: FindingState
    counted: Money
    raised_at: datetime
    changed_at: datetime
    assignee: str = ""
    because: str = ""
    until: date | None = None
    due: date | None = None
    seen: Money | None = None
    measured: Money | None = None
    measured_low: Money | None = None
    measured_high: Money | None = None

    @property
    def name(self) -> str:
        """The short id people type, such as ``F12``."""
        return f"F{self.number}"

    @property
    def expected(self) -> float:
        """Counted worth times confidence, in minor units: what the inbox ranks by."""
        return self.counted.minor * self.finding.confidence


@dataclass(frozen=True, slots=True)
class Totals:
    """Money worth acting on in one currency: sum of counted worth, likely range, number of findings."""

    currency: str
    worth: Money
    low: Money
    high: Money
    count: int
    overlap: Money = field(default=Money(0, "XXX"))


def after(action: str, state: FindingState) -> FindingState:
    """Return the state that ``action`` leads to.

    Raises:
        Invalid: There is no such action.
        Conflict: The action is not possible in ``state``.
    """
    if action not in _MOVES:
        raise Invalid(f"There is no action {action!r}.", f"Use one of {', '.join(_MOVES)}.")
    allowed, target = _MOVES[action]
    if state not in allowed:
        raise Conflict(f"A finding that is {state} cannot be moved by {action}; undo takes the last action back.")
    return target


def net(findings: Iterable[tuple[UUID, Finding]]) -> dict[UUID, Money]:
    """Count overlapping savings once.

    Findings on one resource in one currency share its yearly cost: the largest expected money is counted first, each
    next one only up to what is left of the cost basis. Findings without a cost basis count in full.

    Args:
        findings: Open findings with their ids.

    Returns:
        The counted worth of each; between zero and its worth (a negative worth is a warning and counts as it is).
    """
    counted: dict[UUID, Money] = {}
    groups: dict[tuple[str, str], list[tuple[UUID, Finding]]] = {}
    for identifier, finding in findings:
        groups.setdefault((finding.resource or finding.subject, finding.worth.currency), []).append(
            (identifier, finding)
        )
    for group in groups.values():
        bases = [finding.cost_basis.minor for _, finding in group if finding.cost_basis is not None]
        left = max(bases) if bases else None
        for identifier, finding in sorted(group, key=lambda pair: (-_expected(pair[1]), str(pair[0]))):
            worth = finding.worth.minor
            if left is not None and worth > 0 and finding.cost_basis is not None:
                worth = max(0, min(worth, left))
                left -= worth
            counted[identifier] = Money(worth, finding.worth.currency)
    return counted


def _expected(finding: Finding) -> float:
    return finding.worth.minor * finding.confidence


def totals(kept: Sequence[Kept]) -> list[Totals]:
    """Sum the counted worth and likely range per currency, largest first.

    The range adds each finding's own range, scaled to its counted share: a plain sum, so it is wide (it assumes that
    findings err together).
    """
    found: dict[str, list[Kept]] = {}
    for one in kept:
        found.setdefault(one.counted.currency, []).append(one)
    sums = []
    for currency, group in found.items():
        low = high = 0
        for one in group:
            worth = one.finding.worth.minor
            share = one.counted.minor / worth if worth else 1.0
            low += min(one.counted.minor, round(one.finding.low.minor * share))
            high += max(one.counted.minor, round(one.finding.high.minor * share))
        counted = sum(one.counted.minor for one in group)
        overlap = sum(one.finding.worth.minor for one in group) - counted
        sums.append(
            Totals(
                currency,
                Money(counted, currency),
                Money(low, currency),
                Money(high, currency),
                len(group),
                Money(overlap, currency),
            )
        )
    return sorted(sums, key=lambda total: -total.worth.minor)


def returns(seen: Money | None, now_worth: Money) -> bool:
    """Tell whether a dismissed or snoozed finding comes back: its worth grew materially beyond the figures seen."""
    if seen is None or seen.currency != now_worth.currency:
        return True
    return now_worth.minor > seen.minor + abs(seen.minor) * MATERIAL_CHANGE


def key_day(finding: Finding) -> date:
    """Return the day that makes a finding unique: a standing one has one row whatever the period."""
    return date.min if finding.recurring else finding.period.start
