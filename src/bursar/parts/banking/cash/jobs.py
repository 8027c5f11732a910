"""The watch over balances: after bank lines were booked, and every morning."""

from bursar.core.identity.organisations import service as organisations
from bursar.infra.clock import utc_now
from bursar.infra.jobs import Context, job
from bursar.infra.lake import Lake
from bursar.parts.banking.cash import service


@job("banking.cash", attempts=3, seconds=600, rights=("bank:read", "finding:write"))
async def watch(ctx: Context, *, org: str) -> int:
    """Forecast the balances of an organisation, raise findings and tell who became low.

    Safe to run twice: a crossing is told when the kept state changes, in the same transaction.
    """
    async with ctx.db.writing(ctx.actor(org)) as tx:
        return await service.watch(tx, tx.actor, lake=ctx.tool(Lake), now=utc_now())


@job("banking.cash_daily", attempts=5, seconds=600, cron="20 5 * * *")
async def daily(ctx: Context) -> int:
    """Queue the watch of every organisation; safe to run twice: one that waits is not queued again."""
    return await organisations.queue_for_each(ctx, "banking.cash", key="banking.cash")


JOBS = (watch, daily)
