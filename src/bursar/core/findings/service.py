"""Use cases of the inbox: raise, list, act, undo, measure, keep score."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from bursar.core.audit import service as audit
from bursar.core.findings import rules, store
from bursar.core.notices import service as notices
from bursar.infra import jobs
from bursar.infra.db import Tx
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, Invalid, NotFound
from bursar.kernel.finding import Finding, FindingState
from bursar.kernel.money import Money

Kept = rules.Kept
Totals = rules.Totals
returns = rules.returns

EXPECT = "findings.expect"
"""The job that keeps the level of an accepted finding."""

ANNOUNCED_MAX = 50
"""New findings of one run that are announced one by one, the dearest first; the last event says how many more there are."""

_NAME = re.compile(r"[Ff]?(\d{1,12})")


@dataclass(frozen=True, slots=True)
class Raised:
    """What a run of producers changed in the inbox."""

    new: int
    refreshed: int
    returned: int
    expired: int


@dataclass(frozen=True, slots=True)
class Score:
    """How one producer's promises held: promised and verified money per currency of measured findings."""

    kind: str
    currency: str
    raised: int
    accepted: int
    done: int
    measured: int
    dismissed: int
    promised: Money
    verified: Money


async def raise_(tx: Tx, actor: Actor, *, kinds: Sequence[str], findings: Sequence[Finding], now: datetime) -> Raised:
    """Bring the inbox up to date with what producers noticed; raising the same again changes nothing.

    Args:
        tx: Writing transaction.
        actor: Needs ``finding:write``.
        kinds: Every kind the producers that ran may raise: an open finding of these kinds that is not among
            ``findings`` any more expires.
        findings: What holds now; at most one per (kind, subject, key day), the one of largest worth wins.
        now: Instant of the run.
    """
    actor.must("finding:write")
    await store.lock(tx)
    wanted: dict[tuple[str, str, date], Finding] = {}
    for finding in sorted(findings, key=lambda one: one.worth.minor):
        named = replace(finding, resource=finding.resource or finding.subject)
        wanted[finding.kind, finding.subject, rules.key_day(finding)] = named
    held = {
        (kept.finding.kind, kept.finding.subject, rules.key_day(kept.finding)): kept
        for kept in await store.of_kinds(tx, kinds)
    }
    fresh = [finding for key, finding in wanted.items() if key not in held]
    changed = [
        (kept, wanted[key], _state_again(kept, wanted[key], now.date())) for key, kept in held.items() if key in wanted
    ]
    changed = [
        (kept, finding, state) for kept, finding, state in changed if finding != kept.finding or state != kept.state
    ]
    gone = [kept for key, kept in held.items() if key not in wanted and kept.state is FindingState.NEW]
    fresh.sort(key=lambda one: (-one.worth.minor * one.confidence, one.kind, one.subject))
    number = await store.next_number(tx)
    await store.insert(tx, fresh, first_number=number, now=now)
    await store.refresh(tx, changed, now=now)
    await store.set_state(tx, [kept.id for kept in gone], FindingState.EXPIRED, now=now)
    await _net(tx)
    await _announce_new(tx, fresh, first_number=number, now=now)
    returned = sum(1 for kept, _, state in changed if state is FindingState.NEW and kept.state is not FindingState.NEW)
    return Raised(len(fresh), len(changed) - returned, returned, len(gone))


async def _announce_new(tx: Tx, fresh: Sequence[Finding], *, first_number: int, now: datetime) -> None:
    """Tell subscribed endpoints of new findings, in the transaction that made them."""
    for at, finding in enumerate(fresh[:ANNOUNCED_MAX]):
        last = at == ANNOUNCED_MAX - 1
        data = {
            "finding": f"F{first_number + at}",
            "kind": finding.kind,
            "worth": finding.worth.on_the_wire(),
            "more": len(fresh) - ANNOUNCED_MAX if last else 0,
        }
        if await notices.announce(tx, type_="finding.created", data=data, now=now) is None:
            return  # nobody listens


def _state_again(kept: Kept, finding: Finding, today: date) -> FindingState:
    """Return the state of a finding that is raised again."""
    if kept.state is FindingState.EXPIRED:
        return FindingState.NEW
    if kept.state is FindingState.DISMISSED and rules.returns(kept.seen, finding.worth):
        return FindingState.NEW
    if kept.state is FindingState.SNOOZED and (
        (kept.until is not None and today >= kept.until) or rules.returns(kept.seen, finding.worth)
    ):
        return FindingState.NEW
    return kept.state


async def _net(tx: Tx) -> None:
    opened = await store.in_states(tx, rules.OPEN)
    await store.set_counted(tx, rules.net([(kept.id, kept.finding) for kept in opened]))


async def inbox(
    tx: Tx,
    actor: Actor,
    *,
    states: Sequence[FindingState] = (FindingState.NEW, FindingState.ACCEPTED),
    kind_prefix: str = "",
    confidence_min: float = 0.0,
) -> list[Kept]:
    """Return findings ranked by expected money (counted worth times confidence), the dearest first."""
    actor.must("finding:read")
    found = [
        kept
        for kept in await store.in_states(tx, states)
        if kept.finding.kind.startswith(kind_prefix) and kept.finding.confidence >= confidence_min
    ]
    return sorted(found, key=lambda kept: (-kept.expected, kept.due or date.max, kept.number))


def totals(kept: Sequence[Kept]) -> list[Totals]:
    """Return money worth acting on per currency, overlaps counted once."""
    return rules.totals(kept)


def number_of(name: str) -> int:
    """Return the number in a finding's short name such as ``F12``; refuse other text."""
    match = _NAME.fullmatch(name.strip())
    if match is None:
        raise Invalid(f"{name[:40]!r} is not the id of a finding.", "It looks like F12; `bursar findings` lists them.")
    return int(match[1])


async def get(tx: Tx, actor: Actor, *, name: str) -> Kept:
    """Return one finding by its short name; refuse with :class:`NotFound`."""
    actor.must("finding:read")
    found = await store.by_number(tx, number_of(name))
    if found is None:
        raise NotFound("finding", name)
    return found


async def act(
    tx: Tx,
    actor: Actor,
    *,
    name: str,
    action: str,
    now: datetime,
    because: str = "",
    until: date | None = None,
    assignee: str = "",
    due: date | None = None,
) -> Kept:
    """Move a finding: ``accept``, ``dismiss``, ``snooze``, ``done`` or ``reopen``.

    Args:
        tx: Writing transaction.
        actor: Needs ``finding:act``.
        name: Short name such as ``F12``.
        action: What is done.
        now: Instant.
        because: The reason; required to dismiss.
        until: Day a snoozed finding returns; required to snooze, in the future.
        assignee: Who takes care, for ``accept``.
        due: Until when, for ``accept``.

    Returns:
        The finding afterwards.

    Raises:
        NotFound: No such finding here.
        Conflict: Its state does not allow the action.
        Invalid: A fact is missing or wrong.
    """
    actor.must("finding:act")
    if action == "measure":
        raise Invalid("Measuring follows from facts; it is not an action.", "Use done.")
    if action == "dismiss" and not because.strip():
        raise Invalid("Say why it is dismissed.", 'For instance `--because "two deliveries"`.')
    if action == "snooze" and until is None:
        raise Invalid("Say until which day it is snoozed.", "Give a day after today.")
    if action == "snooze" and until is not None and until <= now.date():
        raise Invalid(f"{until} is not after today.", "Give a later day, on which it returns.")
    if len(because) > rules.REASON_CHARS_MAX:
        raise Invalid(f"The reason is over {rules.REASON_CHARS_MAX} characters.")
    kept = await store.by_number(tx, number_of(name), for_update=True)
    if kept is None:
        raise NotFound("finding", name)
    state = rules.after(action, kept.state)
    before = _changeable(kept)
    after = before | {"state": state.value, "because": because.strip(), "until": until and until.isoformat()}
    after["seen"] = kept.finding.worth.minor
    if assignee:
        after["assignee"] = assignee
    if due:
        after["due"] = due.isoformat()
    await store.record(tx, finding=kept.id, actor=actor.name, action=action, before=before, after=after, now=now)
    await audit.record(
        tx, actor, action=f"finding.{action}", subject=f"finding:{kept.id}", before=before, after=after, now=now
    )
    await store.change(tx, kept.id, values=_columns(after), now=now)
    await _net(tx)
    if action in {"accept", "done"}:
        await jobs.enqueue(tx, EXPECT, {"finding": str(kept.id)}, once=str(kept.id))
    return await get(tx, actor, name=name)


def _changeable(kept: Kept) -> dict[str, Any]:
    return {
        "state": kept.state.value,
        "because": kept.because,
        "until": kept.until and kept.until.isoformat(),
        "seen": kept.seen and kept.seen.minor,
        "assignee": kept.assignee,
        "due": kept.due and kept.due.isoformat(),
    }


def _columns(facts: Mapping[str, Any]) -> dict[str, Any]:
    def day(text: str | None) -> date | None:
        return date.fromisoformat(text) if text else None

    return dict(facts) | {"until": day(facts["until"]), "due": day(facts["due"])}


async def undo(tx: Tx, actor: Actor, *, now: datetime) -> tuple[str, Kept]:
    """Take back the newest action that is not undone yet; return its name and the finding afterwards.

    Raises:
        Conflict: There is nothing to undo.
    """
    actor.must("finding:act")
    await store.lock(tx)
    event = await store.last_event(tx)
    if event is None:
        raise Conflict("There is nothing to undo.")
    kept = await store.by_id(tx, event.finding)
    if kept is None:
        raise NotFound("finding", str(event.finding))
    await store.change(tx, kept.id, values=_columns(event.before), now=now)
    await store.mark_undone(tx, event.id)
    await audit.record(
        tx,
        actor,
        action="finding.undo",
        subject=f"finding:{kept.id}",
        before=event.after,
        after=event.before,
        now=now,
    )
    await store.record(
        tx, finding=kept.id, actor=actor.name, action="undo", before=event.after, after=event.before, now=now
    )
    await _net(tx)
    return event.action, await get(tx, actor, name=kept.name)


async def history(tx: Tx, actor: Actor, *, name: str) -> list[dict[str, Any]]:
    """Return what happened to a finding, oldest first: at, actor, action, before, after, undone."""
    kept = await get(tx, actor, name=name)
    return [dict(row._mapping) for row in await store.events(tx, kept.id)]  # noqa: SLF001  SQLAlchemy's public spelling


async def measure(
    tx: Tx,
    actor: Actor,
    *,
    name: str,
    verified: Money,
    low: Money,
    high: Money,
    now: datetime,
    why: str = "",
) -> Kept:
    """Record what a done saving really brought per year, with its 80 % interval, and announce it.

    Args:
        tx: Writing transaction.
        actor: Needs ``finding:write``.
        name: Short name such as ``F12``.
        verified: What was saved a year.
        low: Lower end of the interval.
        high: Upper end of the interval.
        now: Instant.
        why: The calculation in words; kept in the finding's history.

    Raises:
        Conflict: The finding is not done.
        Invalid: The currencies differ or the interval misses the amount.
    """
    actor.must("finding:write")
    kept = await store.by_number(tx, number_of(name), for_update=True)
    if kept is None:
        raise NotFound("finding", name)
    if not verified.currency == low.currency == high.currency == kept.finding.worth.currency:
        raise Invalid("The verified amount is in another currency than the finding.")
    if not low.minor <= verified.minor <= high.minor:
        raise Invalid("The interval must hold the verified amount.")
    state = rules.after("measure", kept.state)
    values = {
        "state": state.value,
        "measured": verified.minor,
        "measured_low": low.minor,
        "measured_high": high.minor,
    }
    after = {"state": state.value, "verified": verified.on_the_wire(), "why": why}
    before = {"state": kept.state.value}
    await store.record(tx, finding=kept.id, actor=actor.name, action="measure", before=before, after=after, now=now)
    await store.change(tx, kept.id, values=values, now=now)
    data = {"finding": kept.name, "kind": kept.finding.kind, "promised": kept.finding.worth.on_the_wire()}
    data |= {"verified": verified.on_the_wire(), "low": low.on_the_wire(), "high": high.on_the_wire()}
    await notices.announce(tx, type_="finding.measured", data=data, now=now)
    return await get(tx, actor, name=name)


async def scoreboard(tx: Tx, actor: Actor) -> list[Score]:
    """Return promised against verified money per producer and currency, most raised first."""
    actor.must("finding:read")
    groups: dict[tuple[str, str], list[Kept]] = defaultdict(list)
    for kept in await store.in_states(tx, FindingState):
        groups[kept.finding.kind, kept.finding.worth.currency].append(kept)
    scores = []
    for (kind, currency), group in groups.items():
        by_state: dict[FindingState, int] = defaultdict(int)
        for kept in group:
            by_state[kept.state] += 1
        measured = [kept for kept in group if kept.state is FindingState.MEASURED]
        scores.append(
            Score(
                kind=kind,
                currency=currency,
                raised=len(group),
                accepted=by_state[FindingState.ACCEPTED],
                done=by_state[FindingState.DONE],
                measured=len(measured),
                dismissed=by_state[FindingState.DISMISSED],
                promised=Money(sum(kept.finding.worth.minor for kept in measured), currency),
                verified=Money(sum(kept.measured.minor for kept in measured if kept.measured), currency),
            )
        )
    return sorted(scores, key=lambda score: (-score.raised, score.kind))


def evidence_dict(kept: Kept) -> dict[str, Any]:
    """Return the evidence of a finding as JSON-able values."""
    return evidence_to_json(kept.finding.evidence)


evidence_to_json = store.evidence_to_json
