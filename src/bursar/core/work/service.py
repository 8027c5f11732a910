"""Use cases of jobs: look, follow, try again, cancel, forget."""

from collections import defaultdict
from datetime import datetime
from uuid import UUID

from bursar.core.audit import service as audit
from bursar.core.work import store
from bursar.core.work.rules import Happened, Run, State
from bursar.infra.db import Database, Tx
from bursar.infra.jobs_tables import run
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, NotFound

__all__ = ["Happened", "Run", "State", "cancel", "forget_old", "get", "happened", "listing", "retry"]

HAPPENED_MAX = 100
"""Events read at once."""


async def listing(
    tx: Tx,
    actor: Actor,
    *,
    state: State | None = None,
    name: str | None = None,
    limit: int = 50,
    after: UUID | None = None,
) -> list[Run]:
    """Return jobs, the newest first; ``state=State.DEAD`` is the dead-letter view.

    Raises:
        NotAllowed: The actor lacks ``job:read``.
    """
    actor.must("job:read")
    statement = store.listing(tx, state=state, name=name)
    if after is not None:
        statement = statement.where(run.c.id < after)
    return [store.run_of(row) for row in await tx.all(statement.order_by(run.c.id.desc()).limit(limit))]


async def get(tx: Tx, actor: Actor, *, id_: UUID) -> Run:
    """Return one job.

    Raises:
        NotAllowed: The actor lacks ``job:read``.
        NotFound: There is none in this organisation.
    """
    actor.must("job:read")
    found = await store.find(tx, id_)
    if found is None:
        raise NotFound("job", str(id_))
    return found


async def happened(tx: Tx, actor: Actor, *, id_: UUID, after: int) -> tuple[list[Happened], bool]:
    """Return up to 100 events after number ``after``, and whether the job has ended (read in this order).

    Raises:
        NotAllowed: The actor lacks ``job:read``.
        NotFound: There is no such job in this organisation.
    """
    found = await get(tx, actor, id_=id_)
    return await store.happened(tx, id_, after=after, limit=HAPPENED_MAX), found.state.ended


async def retry(tx: Tx, actor: Actor, *, id_: UUID, now: datetime) -> Run:
    """Try a dead or cancelled job again, with all its attempts.

    Raises:
        NotAllowed: The actor lacks ``job:write``.
        NotFound: There is no such job in this organisation.
        Conflict: It is not dead.
    """
    actor.must("job:write")
    before = await get(tx, actor, id_=id_)
    if before.state is State.DONE or not await store.revive(tx, id_):
        raise Conflict("Only a dead or cancelled job can be tried again")
    await audit.record(
        tx, actor, action="job.retried", subject=f"job:{id_}", now=now, before={"state": before.state.value}
    )
    return await get(tx, actor, id_=id_)


async def cancel(tx: Tx, actor: Actor, *, id_: UUID, now: datetime) -> Run:
    """Cancel a waiting job, or ask a running one to stop.

    Raises:
        NotAllowed: The actor lacks ``job:write``.
        NotFound: There is no such job in this organisation.
        Conflict: It has ended.
    """
    actor.must("job:write")
    before = await get(tx, actor, id_=id_)
    if before.state.ended or not await store.cancel(tx, id_):
        raise Conflict("The job has ended")
    await audit.record(
        tx, actor, action="job.cancelled", subject=f"job:{id_}", now=now, before={"state": before.state.value}
    )
    return await get(tx, actor, id_=id_)


async def forget_old(db: Database, *, actor_name: str) -> int:
    """Forget jobs that ended long ago, organisation by organisation; returns how many."""
    async with db.system("forget jobs") as tx:
        found = await store.old(tx)
    by_org: dict[str | None, list[int]] = defaultdict(list)
    for number, org in found:
        by_org[org].append(number)
    for org, numbers in by_org.items():
        opened = db.writing(Actor(UUID(org), actor_name)) if org else db.system("forget jobs", write=True)
        async with opened as tx:
            await store.forget(tx, numbers)
    return len(found)
