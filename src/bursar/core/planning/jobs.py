"""By night and after imports: forecast every series, score what was forecast before, tell budgets."""

from bursar.core.identity.organisations import service as organisations
from bursar.core.planning.budgets import service as budgets
from bursar.core.planning.commitments.service import Paid
from bursar.core.planning.forecasts import service as forecasts
from bursar.core.planning.forecasts.service import Left
from bursar.core.planning.scores import service as scores
from bursar.infra.clock import utc_now
from bursar.infra.db import Database
from bursar.infra.fleet import Fleet
from bursar.infra.jobs import Context, job
from bursar.infra.lake import Lake
from bursar.infra.log import logger
from bursar.kernel.actor import Actor
from bursar.ml.forecast.lineup import Extras

REFRESH = "planning.refresh"
RIGHTS = ("series:read", "forecast:read", "forecast:write", "budget:read", "finding:write")


@job("planning.nightly", attempts=5, seconds=600, cron="23 4 * * *")
async def nightly(ctx: Context) -> int:
    """Queue a refresh for every organisation; safe to run twice: one that waits is not queued again."""
    return await organisations.queue_for_each(ctx, REFRESH, key="planning")


@job(REFRESH, attempts=3, seconds=3 * 3600, rights=RIGHTS)
async def refresh(ctx: Context, *, org: str) -> dict[str, int]:
    """Score, forecast and check budgets of one organisation.

    Safe to run twice and to interrupt: a panel whose data was forecast is left alone, a part of one that was done is not
    done again, scores are replaced by equal ones, a threshold is told once.
    """
    lake, fleet, extras, paid = ctx.tool(Lake), ctx.tool(Fleet), ctx.tool(Extras), ctx.tool(Paid)
    return await refreshed(
        ctx.db, ctx.actor(org), lake=lake, fleet=fleet, extras=extras, paid=paid, progress=ctx.progress
    )


async def refreshed(
    db: Database,
    actor: Actor,
    *,
    lake: Lake,
    fleet: Fleet | None = None,
    extras: Extras = forecasts.NO_EXTRAS,
    paid: Paid = budgets.NOBODY_KNOWS,
    progress: forecasts.Progress = forecasts.silent,
) -> dict[str, int]:
    """Do what :func:`refresh` does.

    Returns:
        Counts of panels, of those made now, of those that cannot be forecast, of runs scored and of thresholds told.
    """
    now, left = utc_now(), list[Left]()
    done, scored = await scores.renew(
        db, actor, lake=lake, now=now, progress=progress, fleet=fleet, extras=extras, leave=left.append
    )
    for one in left:
        logger("planning").warning(
            "a panel is not forecast", source=one.source, grain=one.grain, currency=one.currency, why=str(one.because)
        )
    async with db.writing(actor) as tx:
        told = await budgets.check(tx, actor, lake=lake, now=now, paid=paid)
        await forecasts.forget_old(tx, actor, now=now)
    return {
        "panels": len(done),
        "made": sum(one.made for one in done),
        "left": len(left),
        "scored": scored,
        "told": len(told),
    }


JOBS = (nightly, refresh)
