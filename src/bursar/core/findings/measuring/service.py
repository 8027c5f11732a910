"""Use cases of measuring: keep the level at acceptance, compare later facts with it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from bursar.core.findings import service as findings
from bursar.core.findings import store as inbox
from bursar.core.findings.measuring import rules, store
from bursar.core.findings.rules import Kept
from bursar.infra.db import Tx
from bursar.kernel.actor import Actor
from bursar.kernel.errors import NotFound
from bursar.kernel.finding import Finding, FindingState

Daily = rules.Daily

NOTHING_TO_COMPARE = "no later fact can show what it brought"


@dataclass(frozen=True, slots=True)
class Facts:
    """Reads the facts behind a finding; a tool that wiring gives to jobs.

    ``daily`` returns the daily amounts since a day, or None where no fact can show what acting on the finding brought.
    """

    daily: Callable[[Tx, Actor, Finding], Awaitable[Daily | None]]


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the measuring of a finding is: ``note`` in words; the level is in ``before``, None when there is none."""

    note: str
    checked_at: datetime
    before: rules.Level | None


async def standing(tx: Tx, actor: Actor, *, name: str) -> Standing | None:
    """Return how far the measuring of a finding is; None when nothing was looked for yet."""
    kept = await findings.get(tx, actor, name=name)
    row = await store.of(tx, kept.id)
    return None if row is None else Standing(row.note, row.checked_at, store.level_of(row))


async def expect(tx: Tx, actor: Actor, *, finding: UUID, facts: Facts, now: datetime) -> None:
    """Keep the level that an accepted finding's subject has; does nothing when it was kept for this acceptance before.

    Args:
        tx: Writing transaction.
        actor: Needs ``finding:write`` and the rights to read the facts.
        finding: Id.
        facts: Reads the facts.
        now: Instant.

    Raises:
        NotFound: No such finding here.
    """
    actor.must("finding:write")
    kept = await inbox.by_id(tx, finding)
    if kept is None:
        raise NotFound("finding", str(finding))
    accepted, _ = await _days(tx, kept)
    row = await store.of(tx, finding)
    if accepted is None or (row is not None and row.accepted == accepted and row.end_day is not None):
        return
    await _take_level(tx, actor, kept, accepted, facts, now)


async def _take_level(
    tx: Tx, actor: Actor, kept: Kept, accepted: date, facts: Facts, now: datetime
) -> tuple[rules.Level | None, Daily | None]:
    daily = await facts.daily(tx, actor, kept.finding)
    level = rules.level_at(daily, accepted) if daily and kept.finding.recurring else None
    if daily is None:
        note = NOTHING_TO_COMPARE
    elif not kept.finding.recurring:
        note = "paid once: what comes back is counted"
    elif level is None:
        note = f"fewer than {rules.BLOCKS_BEFORE_MIN * daily.block_days} days of facts before it was accepted"
    else:
        note = "waits until it is done and later facts are there"
    block_days = daily.block_days if daily else 7
    await store.put(tx, kept.id, accepted=accepted, level=level, block_days=block_days, note=note, now=now)
    return level, daily


async def measure_done(tx: Tx, actor: Actor, *, facts: Facts, now: datetime) -> list[str]:
    """Measure every done finding for which enough later facts exist; return the names of those measured now."""
    actor.must("finding:write")
    done = await inbox.in_states(tx, [FindingState.DONE])
    return [kept.name for kept in done if await _measured(tx, actor, kept, facts, now)]


async def _measured(tx: Tx, actor: Actor, kept: Kept, facts: Facts, now: datetime) -> bool:
    accepted, done = await _days(tx, kept)
    if accepted is None or done is None:
        return False
    row = await store.of(tx, kept.id)
    level = store.level_of(row) if row is not None and row.accepted == accepted else None
    if level is None:
        level, daily = await _take_level(tx, actor, kept, accepted, facts, now)
    else:
        daily = await facts.daily(tx, actor, kept.finding)
    if daily is None or (level is None and kept.finding.recurring):
        return False
    found, note = _judged(kept.finding, level, daily, done)
    await store.say(tx, kept.id, note=note, now=now)
    if found is None:
        return False
    await findings.measure(
        tx, actor, name=kept.name, verified=found.amount, low=found.low, high=found.high, now=now, why=found.why
    )
    return True


def _judged(finding: Finding, level: rules.Level | None, daily: Daily, done: date) -> tuple[rules.Verified | None, str]:
    """Return what was verified, or None and what is missing."""
    if level is None:
        back = rules.refunded(daily, done, finding.worth)
        return back, back.why if back else f"waits for money to come back, up to {rules.REFUND_DAYS_MAX} days"
    later = rules.after(daily, done)
    if len(later) < rules.BLOCKS_AFTER_MIN:
        need = rules.BLOCKS_AFTER_MIN * level.block_days
        return None, f"needs {need} days of facts after {done}; {len(later) * level.block_days} are there"
    found = rules.verified(level, later, finding.worth.currency)
    return found, found.why


async def _days(tx: Tx, kept: Kept) -> tuple[date | None, date | None]:
    """Return the day a finding was accepted (done without being accepted counts as both) and the day it was done."""
    accepted: date | None = None
    done: date | None = None
    for event in await inbox.events(tx, kept.id):
        if event.undone:
            continue
        if event.action == "accept":
            accepted = event.at.date()
        elif event.action == "done":
            done = event.at.date()
        elif event.action in {"reopen", "dismiss"}:
            accepted = done = None
    return accepted or done, done
