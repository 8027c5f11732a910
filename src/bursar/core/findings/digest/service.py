"""Use cases of the digest: want it, send it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from bursar.core.findings import store as inbox
from bursar.core.findings.digest import rules, store
from bursar.core.findings.digest.rules import Every
from bursar.core.findings.rules import Kept
from bursar.core.identity.members import service as members
from bursar.core.identity.organisations import service as organisations
from bursar.core.identity.service import ROLES
from bursar.infra import mail
from bursar.infra.db import Tx
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Invalid
from bursar.kernel.finding import FindingState
from bursar.kernel.period import Period

ALERTS = UUID(int=0)
"""The taker that stands for the operator's Apprise addresses."""

MEMBERS_MAX = 10_000
KEEP = timedelta(days=400)


@dataclass(frozen=True, slots=True)
class Link:
    """Where the inbox is reached, for mails; a tool that wiring gives to jobs."""

    url: str


async def wish(tx: Tx, actor: Actor, *, every: Every | None, now: datetime, alerts: bool = False) -> None:
    """Say how often the caller (or, with ``alerts``, the operator's channels) gets a digest; None for never.

    Raises:
        NotAllowed: The actor may not read findings, or not change settings for ``alerts``.
        Invalid: The caller is no person, so there is no address.
    """
    actor.must("settings:write" if alerts else "finding:read")
    if actor.person is None and not alerts:
        raise Invalid("Only a person can get a digest by mail.", "Sign in as the person who wants it.")
    await store.wish(tx, ALERTS if alerts or actor.person is None else actor.person, every, now=now)


async def wished(tx: Tx, actor: Actor, *, alerts: bool = False) -> Every | None:
    """Return how often the caller (or the operator's channels) gets a digest; None for never."""
    actor.must("settings:read" if alerts else "finding:read")
    taker = ALERTS if alerts else actor.person
    return None if taker is None else await store.wish_of(tx, taker)


async def send(tx: Tx, actor: Actor, *, link: str, now: datetime) -> int:
    """Queue the digests that are due today, each once; return how many.

    Args:
        tx: Writing transaction; the mails leave only if it commits.
        actor: Needs ``finding:read``, ``member:read`` and ``organisation:read``.
        link: Where the inbox is reached.
        now: Instant; its UTC day decides.
    """
    actor.must("finding:read")
    addresses = await _addresses(tx, actor)
    organisation = str((await organisations.organisation(tx, actor)).name)
    sent = 0
    for row in await store.wishes(tx):
        every = Every(row.every)
        period = rules.told_on(every, now.date())
        to = addresses.get(row.taker)
        if period is None or (to is None and row.taker != ALERTS):
            continue
        found = await _new_in(tx, period)
        if not await store.claim(tx, row.taker, every, period.start, findings=len(found), now=now) or not found:
            continue
        await _queue(tx, to, found, period, every, organisation, link)
        sent += 1
    await store.forget(tx, before=(now - KEEP).date())
    return sent


async def _queue(
    tx: Tx, to: str | None, found: Sequence[Kept], period: Period, every: Every, organisation: str, link: str
) -> None:
    facts = rules.facts_of(found, period, every, organisation=organisation, link=link)
    if to is not None:
        await mail.queue(tx, to=to, template="digest", facts=facts)
        return
    lines = [f"{one['worth']} {one['often']}  {one['title']} ({one['id']})" for one in facts["findings"]]
    more = [f"… and {facts['more']} more"] if facts["more"] else []
    title = f"{organisation}: {facts['count']} new findings, {', '.join(facts['totals']) or 'nothing to save'}"
    await mail.alert(tx, title=title, body="\n".join([*lines, *more]), link=link)


async def _new_in(tx: Tx, period: Period) -> list[Kept]:
    """Return open findings first raised in a period that are sure enough, by expected money."""
    found = [
        kept
        for kept in await inbox.in_states(tx, [FindingState.NEW, FindingState.ACCEPTED])
        if kept.raised_at.date() in period and kept.finding.confidence >= rules.SURE_MIN
    ]
    return sorted(found, key=lambda kept: (-kept.expected, kept.number))


async def _addresses(tx: Tx, actor: Actor) -> dict[UUID, str]:
    """Return the addresses of members who may read findings; the local owner has none."""
    rows = await tx.all(members.members(tx, actor).limit(MEMBERS_MAX))
    return {
        row.person: row.email
        for row in rows
        if any("finding:read" in ROLES.get(role, frozenset()) for role in row.roles) and row.email != "owner@localhost"
    }
