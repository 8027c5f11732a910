"""What follows an import: derive transactions, then say what each was for."""

from bursar.infra.clock import utc_now
from bursar.infra.jobs import Context, job
from bursar.infra.lake import Lake
from bursar.parts.banking.transactions import service as transactions
from bursar.parts.banking.understanding import service

RIGHTS = ("transaction:write", "party:write")


@job("banking.refresh", attempts=5, seconds=900, rights=RIGHTS)
async def refresh(ctx: Context, *, org: str) -> dict[str, int]:
    """Bring transactions in line with the lake and answer new ones.

    Safe to run twice: only months whose files changed are read, rows that people decided on are never touched.
    """
    actor = ctx.actor(org)
    async with ctx.db.writing(actor) as tx:
        derived = await transactions.derive(tx, actor, lake=ctx.tool(Lake), now=utc_now())
        done = await service.understand(tx, actor)
    return {"added": derived.added, "gone": derived.gone, "automatic": done.automatic, "suggested": done.suggested}


JOBS = (refresh,)
