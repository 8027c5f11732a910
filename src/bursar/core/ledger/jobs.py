"""Jobs of the ledger: holds whose time has come, and the proof of the books."""

from datetime import datetime

from bursar.core.identity.organisations import service as organisations
from bursar.core.ledger import service
from bursar.infra.clock import utc_now
from bursar.infra.jobs import Context, GiveUp, job


@job("ledger.expire", attempts=10, seconds=120, rights=("ledger:write",))
async def expire(ctx: Context, *, org: str) -> int:
    """Let go the holds whose time has come.

    Safe to run twice: each hold is let go under a key of its own.
    """
    now: datetime = utc_now()
    gone = 0
    while True:
        async with ctx.db.writing(ctx.actor(org)) as tx:
            done = await service.expire_due(tx, tx.actor, now=now)
        gone += done
        if done < service.EXPIRE_MAX:
            return gone


@job("ledger.nightly", attempts=5, seconds=600, cron="53 3 * * *")
async def nightly(ctx: Context) -> int:
    """Queue the proof of every organisation's books; safe to run twice: one that waits is not queued again."""
    return await organisations.queue_for_each(ctx, "ledger.prove", key="ledger.prove")


@job("ledger.prove", attempts=3, seconds=3600, rights=("ledger:read",))
async def prove(ctx: Context, *, org: str) -> int:
    """Prove the books again from the transfers; a fault is final and loud.

    Safe to run twice: it only reads.
    """
    async with ctx.db.reading(ctx.actor(org)) as tx:
        faults = await service.prove(tx, tx.actor)
    if faults:
        raise GiveUp("; ".join(f"{fault.what}: {fault.where}" for fault in faults))
    return 0


JOBS = (expire, nightly, prove)
