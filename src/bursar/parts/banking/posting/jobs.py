"""The job that books what changed."""

from bursar.infra import jobs
from bursar.infra.clock import utc_now
from bursar.infra.jobs import Context, job
from bursar.parts.banking.posting import service
from bursar.parts.banking.posting.service import Posted


@job("banking.post", attempts=10, seconds=3600, rights=("ledger:write",))
async def post(ctx: Context, *, org: str) -> dict[str, int]:
    """Book bank lines that were added or changed, 2,000 in a transaction, then opening balances.

    Safe to run twice: a transfer's key is its line's own, what stands is left alone.
    """
    actor, done = ctx.actor(org), Posted()
    while True:
        async with ctx.db.writing(actor) as tx:
            step = await service.post(tx, actor, now=utc_now())
        if not step.looked:
            break
        done += step
        await ctx.progress(done.looked)
    async with ctx.db.writing(actor) as tx:
        changed = await service.settle(tx, actor, now=utc_now())
        if done.looked:
            await jobs.enqueue(tx, "banking.cash", once="all", key="banking.cash")
    return {"booked": done.booked, "reversed": done.reversed, "refused": done.refused, "openings": changed}


JOBS = (post,)
