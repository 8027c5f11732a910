"""Found, name, delete and call back an organisation, and erase it for good."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from bursar.core.audit import service as audit
from bursar.core.identity.rules import sessions as rules
from bursar.core.identity.rules.rights import OWNER
from bursar.core.identity.service import must_be_fresh
from bursar.core.identity.store import attempts, people, sessions
from bursar.core.identity.store import organisations as store
from bursar.infra import jobs
from bursar.infra.db import Database, Tx, new_id
from bursar.infra.jobs import Context
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, NotFound

ERASE_ROWS_MAX = 20_000
"""Rows deleted in one transaction while an organisation is erased."""

Eraser = Callable[[UUID], Awaitable[None]]
"""Removes what an organisation has outside of PostgreSQL (files, lake, anchors); safe to call twice."""


@dataclass(frozen=True, slots=True)
class Erasers:
    """What else must go when an organisation is erased; wiring makes it and gives it to the worker."""

    each: tuple[Eraser, ...] = ()


async def organisation(tx: Tx, actor: Actor) -> store.Row:
    """Return the actor's organisation.

    Raises:
        NotAllowed: The actor lacks ``organisation:read``.
    """
    actor.must("organisation:read")
    return await own(tx)


async def found(db: Database, actor: Actor, *, name: str, now: datetime) -> UUID:
    """Make a further organisation with the caller as its owner; returns its id.

    Raises:
        Invalid: The name is malformed.
        NotFound: The caller is not a person.
        Conflict: The caller is the local owner, who has exactly one.
    """
    tidy, org = rules.check_name(name), new_id()
    async with db.writing(Actor(org, actor.name, person=actor.person, request_id=actor.request_id)) as tx:
        me = await people.by_id(tx, actor.person) if actor.person else None
        if me is None:
            raise NotFound("person", actor.name)
        if me.is_local:
            raise Conflict("the local owner has one organisation; sign up to have several")
        await store.add(tx, org, name=tidy, now=now)
        await store.join(tx, me.id, [OWNER], now=now)
        after = {"name": tidy, "owner": me.id}
        await audit.record(
            tx, tx.actor, action="organisation.created", subject=f"organisation:{org}", after=after, now=now
        )
    return org


async def rename(tx: Tx, actor: Actor, *, name: str, seen: Callable[[object], None], now: datetime) -> store.Row:
    """Change the organisation's name.

    Args:
        tx: Writing transaction.
        actor: Needs ``organisation:write``.
        name: The new one.
        seen: Called with the present version (instant of the last change); raises unless the caller has seen it.
        now: Instant of the change.

    Raises:
        NotAllowed: The actor lacks the right.
        Invalid: The name is malformed.
        Stale: Somebody else changed it meanwhile.
    """
    actor.must("organisation:write")
    tidy = rules.check_name(name)
    row = await own(tx, lock=True)
    seen(row.changed_at)
    await store.change(tx, {"name": tidy, "changed_at": now})
    await note(tx, actor, "organisation.renamed", f"organisation:{tx.org}", {"name": row.name}, {"name": tidy}, now)
    return await own(tx)


async def delete(tx: Tx, actor: Actor, *, now: datetime) -> datetime:
    """Delete the organisation: it is erased after 30 days unless it is called back.

    Returns:
        When it will be erased.

    Raises:
        NotAllowed: The actor lacks ``organisation:delete``.
        StepUpNeeded: Give the password again first.
        Conflict: It is deleted already.
    """
    actor.must("organisation:delete")
    must_be_fresh(actor)
    row = await own(tx, lock=True)
    if row.purge_after is not None:
        raise Conflict(f"it is deleted already and will be erased after {row.purge_after.isoformat()}")
    until: datetime = now + rules.GRACE
    await store.change(tx, {"purge_after": until, "changed_at": now})
    await note(tx, actor, "organisation.deleted", f"organisation:{tx.org}", None, {"erased_after": until}, now)
    return until


async def keep(tx: Tx, actor: Actor, *, now: datetime) -> None:
    """Call a deleted organisation back.

    Raises:
        NotAllowed: The actor lacks ``organisation:delete``.
        Conflict: It is not deleted, or its grace period is over.
    """
    actor.must("organisation:delete")
    row = await own(tx, lock=True)
    if row.purge_after is None or row.purge_after <= now:
        raise Conflict("it is not deleted" if row.purge_after is None else "its grace period is over")
    await store.change(tx, {"purge_after": None, "changed_at": now})
    await note(tx, actor, "organisation.kept", f"organisation:{tx.org}", {"erased_after": row.purge_after}, None, now)


async def living(tx: Tx) -> Sequence[UUID]:
    """Return the organisations that are not deleted, for jobs that visit each; in a transaction without one."""
    return await store.living(tx)


async def queue_for_each(ctx: Context, name: str, *, key: str | None = None) -> int:
    """Queue a job for every living organisation, each in its own name; returns how many organisations there are.

    Safe to run twice: one that waits is not queued again.

    Args:
        ctx: Of the job that asks.
        name: The job to queue.
        key: Jobs of one organisation with the same key run one at a time.
    """
    async with ctx.db.system(f"job:{ctx.job.name}") as tx:
        orgs = await store.living(tx)
    for org in orgs:
        async with ctx.db.writing(ctx.actor(org)) as tx:
            await jobs.enqueue(tx, name, once="all", key=key)
    return len(orgs)


async def erase_due(db: Database, *, erasers: Sequence[Eraser] = (), now: datetime) -> Sequence[UUID]:
    """Erase for good every organisation whose grace period is over: every row of every tenant table, found by catalogue.

    Opens transactions of its own, each deleting a bounded number of rows; safe to interrupt and to run twice. What is left
    is the id. People who belong to no other organisation are removed too.

    Args:
        db: The database.
        erasers: Remove what lies outside of PostgreSQL; called before the rows go.
        now: The present instant.

    Returns:
        What was erased.
    """
    async with db.system("eraser") as tx:
        orgs = await store.due(tx, now=now)
    for org in orgs:
        for eraser in erasers:
            await eraser(org)
        actor = Actor(org, "system:eraser")
        gone = 1
        while gone:
            async with db.writing(actor) as tx:
                gone = await store.erase_step(tx, org, ERASE_ROWS_MAX)
        async with db.system("eraser", write=True) as tx:
            await store.forget_people(tx, await store.dissolve(tx, org))
            await store.tombstone(tx, org, now=now)
    return orgs


async def forget_expired(db: Database, *, ended: datetime, tries: datetime, registrations: datetime) -> int:
    """Remove sessions and log-ins that ended before ``ended``, tries before ``tries``, unused ``registrations``.

    Returns:
        How many sessions, tries and registrations.
    """
    async with db.system("forget", write=True) as tx:
        return (
            await sessions.forget(tx, before=ended)
            + await attempts.forget(tx, before=tries)
            + await people.forget_registrations(tx, before=registrations)
        )


async def own(tx: Tx, *, lock: bool = False) -> store.Row:
    """Return the transaction's organisation; ``lock`` serialises changes of it and its members.

    Raises:
        NotFound: It was erased.
    """
    row = await store.own(tx, lock=lock)
    if row is None or row.purged_at is not None:
        raise NotFound("organisation", str(tx.org))
    return row


async def note(tx: Tx, actor: Actor, action: str, subject: str, before: object, after: object, now: datetime) -> None:
    """Record one change in the audit trail."""
    await audit.record(tx, actor, action=action, subject=subject, before=before, after=after, now=now)
