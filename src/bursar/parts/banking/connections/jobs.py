"""Jobs of connections: list links, pull one, and every night all of them."""

from datetime import date
from uuid import UUID

from bursar.core.identity.organisations import service as organisations
from bursar.infra import jobs
from bursar.infra.clock import utc_now
from bursar.infra.jobs import Context, job
from bursar.kernel.errors import NotFound
from bursar.parts.banking.connections import service
from bursar.parts.banking.connections.service import Feeds

RIGHTS = ("bank:read", "bank:write", "intake:import")


@job("banking.links", attempts=5, seconds=300, backoff_s=30, rights=RIGHTS)
async def links(ctx: Context, *, org: str, connection: str) -> int:
    """Read the links of a connection and queue a pull of each; safe to run twice: a queued pull is not queued again."""
    try:
        return await service.refresh(
            ctx.db, ctx.actor(org), ctx.tool(Feeds), connection=UUID(connection), now=utc_now()
        )
    except NotFound:
        return 0  # the connection was removed while this waited


@job("banking.pull", attempts=6, seconds=1_800, backoff_s=60, rights=RIGHTS)
async def pull(
    ctx: Context, *, org: str, connection: str, link: str, since: str = "", until: str = "", collected: bool = False
) -> dict[str, int]:
    """Pull one link and import what comes; safe to run twice: the same rows are the same lines."""
    days = {name: date.fromisoformat(day) for name, day in (("since", since), ("until", until)) if day}
    try:
        batch = await service.pull(
            ctx.db, ctx.actor(org), ctx.tool(Feeds), connection=UUID(connection), link=link, now=utc_now(),
            collected=collected, **days,
        )  # fmt: skip
    except NotFound:
        return {}  # the connection was removed while this waited
    return {"taken": batch.rows_taken, "known": batch.rows_known} if batch else {}


@job("banking.feeds", attempts=5, seconds=600, rights=RIGHTS, cron="40 4 * * *")
async def nightly(ctx: Context) -> int:
    """Queue the links of every connection; safe to run twice: one that waits is not queued again."""
    if not ctx.tool(Feeds).kinds:
        return 0
    async with ctx.db.system("feeds") as tx:
        orgs = await organisations.living(tx)
    queued = 0
    for org in orgs:
        actor = ctx.actor(org)
        async with ctx.db.writing(actor) as tx:
            for row in await service.listed(tx, actor):
                await jobs.enqueue(tx, "banking.links", {"connection": str(row.id)}, once=str(row.id))
                queued += 1
    return queued


JOBS = (links, pull, nightly)
