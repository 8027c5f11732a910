"""SQL of measured minutes, objectives and health."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from bursar.core.operations.rules import Measured, Objective
from bursar.core.operations.tables import objective, sample
from bursar.infra.db import Tx
from bursar.infra.mail_tables import outbox
from bursar.infra.metrics import BOUNDS_S, Sample

SERIES_MAX = 20_000
"""Most series read for one report."""

_SUM = sa.text("""
    with filled as (
        select kind, name, place.at, sum(place.number)::bigint as number
        from operations_sample, unnest(buckets) with ordinality as place (number, at)
        where minute >= :since
        group by kind, name, place.at),
    shape as (select kind, name, array_agg(number order by at) as buckets from filled group by kind, name),
    sums as (
        select kind, name, sum(seconds) as seconds, sum(failures)::bigint as failures
        from operations_sample where minute >= :since group by kind, name)
    select kind, name, seconds, failures, buckets
    from shape join sums using (kind, name)
    order by kind, name
    limit :series_max
""")


async def add(tx: Tx, samples: Iterable[Sample], *, minute: datetime) -> None:
    """Add ``samples`` to the ``minute``; those of other processes stay."""
    rows: list[dict[str, Any]] = [
        {
            "minute": minute,
            "kind": each.kind,
            "name": each.name,
            "buckets": each.tally.buckets,
            "seconds": each.tally.seconds,
            "failures": each.tally.failures,
        }
        for each in sorted(samples, key=lambda each: (each.kind, each.name))  # one order of locks for all processes
    ]
    if not rows:
        return
    new = insert(sample).values(rows)
    added = sa.text(
        "(select array_agg(a + b order by i) from unnest(operations_sample.buckets, excluded.buckets)"
        " with ordinality as pair (a, b, i))"
    )
    await tx.run(
        new.on_conflict_do_update(
            index_elements=[sample.c.minute, sample.c.kind, sample.c.name],
            set_={
                "buckets": added,
                "seconds": sample.c.seconds + new.excluded.seconds,
                "failures": sample.c.failures + new.excluded.failures,
            },
        )
    )


async def since(tx: Tx, start: datetime) -> list[tuple[str, Measured]]:
    """Return every series with its kind, summed over the minutes from ``start`` on; its statement has a limit."""
    rows = await tx.all(_SUM, {"since": start, "series_max": SERIES_MAX})
    return [
        (row.kind, Measured(row.name, BOUNDS_S, tuple(row.buckets), float(row.seconds), int(row.failures)))
        for row in rows
    ]


async def prune(tx: Tx, *, before: datetime) -> int:
    """Delete minutes older than ``before``; return how many rows."""
    return (await tx.run(sa.delete(sample).where(sample.c.minute < before))).rowcount


async def objectives(tx: Tx) -> Sequence[Objective]:
    """Return every objective by name."""
    rows = await tx.all(sa.select(objective).order_by(objective.c.name).limit(100))
    return [Objective(row.name, row.kind, row.budget, row.unit, row.share, row.about) for row in rows]


async def heads(tx: Tx) -> list[str]:
    """Return the migrations that the database is at."""
    return [row.version_num for row in await tx.all(sa.text("select version_num from alembic_version limit 100"))]


async def dead_jobs(tx: Tx) -> int:
    """Return how many jobs gave up; in a transaction without an organisation."""
    return int(await tx.scalar("select count(*) from procrastinate_jobs where status = 'failed'"))


async def mails_in_doubt(tx: Tx) -> tuple[int, int]:
    """Return how many mails of one organisation may or may not have gone out, and how many were given up."""
    states = [sa.func.count().filter(outbox.c.state == state).label(state) for state in ("unknown", "dead")]
    row = await tx.one(sa.select(*states).where(tx.own(outbox)))
    return (row.unknown, row.dead) if row else (0, 0)
