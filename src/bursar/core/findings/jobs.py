"""Look for findings after imports and by night, keep levels at acceptance, measure what is done, send digests."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from bursar.core.findings.digest import service as digest
from bursar.core.findings.digest.service import Link
from bursar.core.findings.measuring import service as measuring
from bursar.core.findings.measuring.service import Facts
from bursar.core.findings.service import EXPECT
from bursar.core.identity.organisations import service as organisations
from bursar.infra.clock import utc_now
from bursar.infra.db import Database
from bursar.infra.jobs import Context, job

ADVISE = "findings.advise"
MEASURE = "findings.measure"
DIGEST = "findings.digest"
READS = ("finding:read", "finding:write", "cost:read", "bank:read", "intake:read")


@dataclass(frozen=True, slots=True)
class Advisors:
    """Who looks for findings.

    Attributes:
        run: Lets every advisor look at the facts of an organisation and brings its inbox up to date; returns a sentence
            about each that failed.
    """

    run: Callable[[Database, UUID], Awaitable[tuple[str, ...]]]


@job(ADVISE, attempts=3, seconds=1800, rights=READS)
async def advise(ctx: Context, *, org: str) -> list[str]:
    """Look for findings in what one organisation holds now; safe to run twice: equal facts raise the same findings."""
    return list(await ctx.tool(Advisors).run(ctx.db, UUID(org)))


@job(EXPECT, attempts=5, seconds=300, rights=READS)
async def expect(ctx: Context, *, org: str, finding: str) -> None:
    """Keep the level of a finding that was just accepted.

    Safe to run twice: a level that was kept for this acceptance stays.
    """
    async with ctx.db.writing(ctx.actor(org)) as tx:
        await measuring.expect(tx, ctx.actor(org), finding=UUID(finding), facts=ctx.tool(Facts), now=utc_now())


@job(MEASURE, attempts=3, seconds=1800, rights=READS)
async def measure(ctx: Context, *, org: str) -> list[str]:
    """Measure the done findings of one organisation; safe to run twice: what is measured is not done any more."""
    async with ctx.db.writing(ctx.actor(org)) as tx:
        return await measuring.measure_done(tx, ctx.actor(org), facts=ctx.tool(Facts), now=utc_now())


@job(DIGEST, attempts=5, seconds=300, rights=("finding:read", "member:read", "organisation:read"))
async def send_digest(ctx: Context, *, org: str) -> int:
    """Queue the digests of one organisation that are due; safe to run twice: a period is told once to each."""
    async with ctx.db.writing(ctx.actor(org)) as tx:
        return await digest.send(tx, ctx.actor(org), link=ctx.tool(Link).url, now=utc_now())


@job("findings.advise_all", attempts=3, seconds=600, cron="3 5 * * *")
async def advise_all(ctx: Context) -> int:
    """Queue advice for every organisation; safe to run twice: one that waits is not queued again."""
    return await organisations.queue_for_each(ctx, ADVISE, key=ADVISE)


@job("findings.measure_all", attempts=3, seconds=600, cron="43 5 * * *")
async def measure_all(ctx: Context) -> int:
    """Queue measuring for every organisation; safe to run twice: one that waits is not queued again."""
    return await organisations.queue_for_each(ctx, MEASURE)


@job("findings.digest_all", attempts=3, seconds=600, cron="13 6 * * *")
async def digest_all(ctx: Context) -> int:
    """Queue the digest for every organisation; safe to run twice: one that waits is not queued again."""
    return await organisations.queue_for_each(ctx, DIGEST)


JOBS = (advise, advise_all, expect, measure, send_digest, measure_all, digest_all)
