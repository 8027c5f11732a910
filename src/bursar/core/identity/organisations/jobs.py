"""Erase organisations whose grace period is over; forget what has expired."""

from datetime import timedelta

from bursar.core.identity.organisations import service
from bursar.core.identity.organisations.service import Erasers
from bursar.infra.clock import utc_now
from bursar.infra.jobs import Context, job

KEEP_ENDED = timedelta(days=90)
"""How long ended sessions and log-ins stay, for looking into an incident."""

KEEP_TRIES = timedelta(days=2)
KEEP_REGISTRATIONS = timedelta(days=7)


@job("identity.erase", attempts=5, seconds=3600, cron="41 2 * * *")
async def erase(ctx: Context) -> int:
    """Erase every organisation that is due; safe to run twice and to interrupt: it goes on where it was."""
    return len(await service.erase_due(ctx.db, erasers=ctx.tool(Erasers).each, now=utc_now()))


@job("identity.forget", attempts=3, seconds=600, cron="11 2 * * *")
async def forget(ctx: Context) -> int:
    """Forget old sessions, tries and registrations; safe to run twice: what is gone is gone."""
    now = utc_now()
    return await service.forget_expired(
        ctx.db, ended=now - KEEP_ENDED, tries=now - KEEP_TRIES, registrations=now - KEEP_REGISTRATIONS
    )


JOBS = (erase, forget)
