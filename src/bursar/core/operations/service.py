"""Use cases: store what was measured, hold it against the objectives, tell whether the server is well."""

import asyncio
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from bursar.core.identity.organisations import service as organisations
from bursar.core.operations import rules, store
from bursar.core.operations.rules import Check, Objective, Standing
from bursar.infra import log
from bursar.infra.clock import utc_now
from bursar.infra.db import Database, Tx
from bursar.infra.jobs import NOBODY
from bursar.infra.metrics import BOUNDS_S, METRICS, Metrics, exposition
from bursar.infra.migrate import heads
from bursar.kernel.actor import Actor

RECORD_EVERY_S = 10.0
"""How often a process stores what it measured; a report is at most this much behind for other processes."""

PRUNE_EVERY_S = 3600.0
"""How often samples older than :data:`rules.HOURS_MAX` are deleted."""

PING_S = 1.0
"""Longest answer of a database that counts as reachable."""


@dataclass(frozen=True, slots=True)
class Reported:
    """One objective, how it stands over the period, and the series that break it most often."""

    objective: Objective
    standing: Standing
    worst: Sequence[tuple[str, Standing]]


async def record(db: Database, *, now: datetime, metrics: Metrics = METRICS) -> int:
    """Add what this process measured since the last call to the present minute; return how many series.

    What could not be stored is kept for the next call, so nothing is lost or counted twice.
    """
    samples = metrics.sample()
    if not samples:
        return 0
    try:
        async with db.system("record performance", write=True) as tx:
            await store.add(tx, samples, minute=now.replace(second=0, microsecond=0))
    except BaseException:
        metrics.unsample(samples)
        raise
    return len(samples)


async def recorder(db: Database, metrics: Metrics = METRICS) -> None:
    """Record and prune for ever; the HTTP edge runs it as one of its loops and cancels it at the end."""
    pruned_s = time.monotonic()
    while True:
        await asyncio.sleep(RECORD_EVERY_S)
        try:
            await record(db, now=utc_now(), metrics=metrics)
            if time.monotonic() - pruned_s > PRUNE_EVERY_S:
                pruned_s = time.monotonic()
                async with db.system("prune performance", write=True) as tx:
                    await store.prune(tx, before=utc_now() - timedelta(hours=rules.HOURS_MAX))
        except Exception as error:  # the next turn stores it
            log.logger("operations").warning("performance not recorded", error=type(error).__name__)


async def performance(tx: Tx, actor: Actor, *, hours: int, now: datetime) -> list[Reported]:
    """Hold the last ``hours`` (1 to :data:`rules.HOURS_MAX`) against every objective.

    Raises:
        NotAllowed: The actor lacks the right ``operations:read``.
    """
    actor.must("operations:read")
    start = (now - timedelta(hours=hours)).replace(second=0, microsecond=0)
    series = rules.by_kind(await store.since(tx, start))
    reported = []
    for objective in await store.objectives(tx):
        own = series.get(objective.kind, [])
        standing = rules.judge(rules.total(own, BOUNDS_S), objective)
        reported.append(Reported(objective, standing, rules.worst(own, objective)))
    return reported


def exposed(actor: Actor, metrics: Metrics = METRICS) -> bytes:
    """Return the metrics of this process in Prometheus's text format.

    Raises:
        NotAllowed: The actor lacks the right ``operations:read``.
    """
    actor.must("operations:read")
    return exposition(metrics)


async def checks(db: Database, home: Path, more: Iterable[Callable[[], Check]] = ()) -> list[Check]:
    """Return what readiness rests on: the database answers, its migrations are those of this version, the disk has room.

    Args:
        db: The database.
        home: Folder whose disk holds the data.
        more: Further checks that answer at once (draining, worker).
    """
    found: list[Check] = []
    started = time.perf_counter()
    try:
        async with asyncio.timeout(PING_S), db.system("health") as tx:
            present = await store.heads(tx)
    except Exception as error:
        found.append(Check("database", False, f"does not answer ({type(error).__name__}); see `bursar doctor`"))
    else:
        found.append(Check("database", True, f"answered in {(time.perf_counter() - started) * 1000:.1f} ms"))
        found.append(rules.migration_check(present, heads()))
    usage = shutil.disk_usage(home)
    found.append(rules.disk_check(usage.free, usage.total))
    return found + [check() for check in more]


async def waiting_for_somebody(db: Database) -> list[Check]:
    """Return what nothing mends by itself: dead jobs, mails in doubt, holes in row-level security; over everybody."""
    async with db.system("doctor") as tx:
        dead, orgs = await store.dead_jobs(tx), await organisations.living(tx)
    unknown = given_up = 0
    for org in (NOBODY, *orgs):
        async with db.reading(Actor(org, "system:doctor")) as tx:
            counts = await store.mails_in_doubt(tx)
        unknown, given_up = unknown + counts[0], given_up + counts[1]
    faults = await db.catalogue_faults()
    return [rules.jobs_check(dead), rules.mails_check(unknown, given_up), rules.tenancy_check([f.what for f in faults])]
