"""Seal each second; prove every trail each night."""

import asyncio

import structlog

from bursar.core.audit import service
from bursar.core.audit.service import Means
from bursar.infra.clock import utc_now
from bursar.infra.db import Database
from bursar.infra.jobs import Context, job
from bursar.kernel.errors import Refusal

SEAL_EVERY_S = 1.0
_PAUSE_AFTER_FAILURE_S = 10.0


async def keep_sealing(db: Database, means: Means) -> None:
    """Seal once a second until cancelled; several processes may do so at once.

    The database being away is no reason to stop: what is committed meanwhile is sealed when it is back.
    """
    while True:
        pause = SEAL_EVERY_S
        try:
            await service.seal(db, keyring=means.keyring, now=utc_now(), anchors=means.anchors)
        except (Refusal, OSError) as error:
            structlog.get_logger("audit").warning("sealing failed", error=str(error))
            pause = _PAUSE_AFTER_FAILURE_S
        await asyncio.sleep(pause)


@job("audit.prove", attempts=3, seconds=3600, cron="17 3 * * *")
async def prove(ctx: Context) -> int:
    """Verify the trail of every organisation and alert the operator of a broken one; it only reads, so twice is safe."""
    return len(await service.prove_all(ctx.db, ctx.tool(Means), now=utc_now()))


JOBS = (prove,)
