"""What follows an import: derive transactions, then say what each was for."""

from bursar.core.language.service import Means
from bursar.infra.clock import utc_now
from bursar.infra.jobs import Context, job
from bursar.infra.lake import Lake
from bursar.parts.banking.transactions import service as transactions
from bursar.parts.banking.understanding import service
from bursar.parts.banking.understanding.opinions import jobs as asking
from bursar.parts.banking.understanding.opinions import service as opinions

RIGHTS = ("transaction:write", "party:write", "ledger:read", "language:read", "language:use")


@job("banking.refresh", attempts=5, seconds=900, rights=RIGHTS)
async def refresh(ctx: Context, *, org: str) -> dict[str, int]:
    """Bring transactions in line with the lake, answer new ones, and ask about the rest where that is wanted.

    Safe to run twice: only months whose files changed are read, rows that people decided on are never touched.
    """
    actor = ctx.actor(org)
    async with ctx.db.writing(actor) as tx:
        derived = await transactions.derive(tx, actor, lake=ctx.tool(Lake), now=utc_now())
        done = await service.understand(tx, actor)
        await opinions.begin(tx, actor, means=ctx.tool(Means), wait=False, now=utc_now())
    return {"added": derived.added, "gone": derived.gone, "automatic": done.automatic, "suggested": done.suggested}


JOBS = (refresh, *asking.JOBS)
