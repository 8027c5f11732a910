"""A compaction is killed with SIGKILL at random moments: every line stays there exactly once, in whatever file it lies."""

import asyncio
import random
import subprocess
import sys
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from bursar.infra.clock import utc_now
from bursar.infra.db import Database
from bursar.infra.embedded_postgres import APP, EmbeddedPostgres
from bursar.infra.lake import Lake, by_object
from bursar.infra.lake_compact import compact, sweep
from bursar.kernel.actor import Actor
from bursar.kernel.lines import COST_LINES
from tests.infra.costs import lines, put

ORG = UUID("00000000-0000-7000-8000-0000000000f2")
KEEPER = Actor(ORG, "person:keeper")
KILLS = 8
KILLS_SLOW = 30
BILLS = 6
GRACE = timedelta(seconds=-60)
"""Over already, so that the sweep takes away files in the same run."""


async def compacting(url: str, root: str, way: str) -> None:
    """Compact, and sweep unless something is being imported, until killed."""
    db, lake = Database(url, pool_size=2), Lake(Path(root))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        await compact(db, KEEPER, lake, COST_LINES, now=utc_now(), objects_min=2)
        if way == "sweep":
            async with db.writing(KEEPER) as tx:
                await sweep(tx, lake, now=utc_now(), grace=GRACE)


def started(url: str, lake: Lake, way: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.faults.test_kill_compaction", url, str(lake.root), way]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n", child.communicate()[1]
    return child


async def added(lake: Lake, db: Database, kill: int) -> Decimal:
    """Put bills of a day and accounts of their own into the lake; return what they sum to."""
    cost = Decimal("0.000000000000001") * (kill + 1)
    for number in range(BILLS):
        async with db.writing(KEEPER) as tx:
            await put(lake, tx, lines(("s", date(2026, 3, 1), f"{cost:f}"), account=f"a{kill}-{number}"))
    return cost * BILLS


async def total(lake: Lake, db: Database) -> tuple[int, Decimal]:
    async with db.reading(KEEPER) as tx:
        held = (await lake.scan(tx, COST_LINES)).collect()
    return held["billing_account_id"].n_unique(), sum(held["billed_cost"], Decimal(0))


async def check(server: EmbeddedPostgres, root: Path, kills: int, chance: random.Random) -> None:
    url = server.url(APP)
    db, lake = Database(url, pool_size=2), Lake(root)
    expected = Decimal(0)
    try:
        for kill in range(kills):
            beside = kill % 2 == 0
            if not beside:
                expected += await added(lake, db, kill)
            child = await asyncio.to_thread(started, url, lake, "beside" if beside else "sweep")
            adding = asyncio.create_task(added(lake, db, kill)) if beside else None
            await asyncio.sleep(chance.uniform(0.0, 0.4))
            child.kill()
            child.communicate()
            expected += await adding if adding else 0
            assert await total(lake, db) == ((kill + 1) * BILLS, expected), f"after kill {kill}"
        await compact(db, KEEPER, lake, COST_LINES, now=utc_now(), objects_min=2)
        async with db.writing(KEEPER) as tx:
            await sweep(tx, lake, now=utc_now(), grace=GRACE)
            assert len(by_object(await lake.files(tx, "cost"))) == 1
        assert await total(lake, db) == (kills * BILLS, expected)
        assert len(list(lake.place.entries(""))) == 1
    finally:
        await db.close()


async def test_killed_compactions_lose_and_double_nothing(durable: EmbeddedPostgres, tmp_path: Path) -> None:
    await check(durable, tmp_path / "lake", KILLS, random.Random(7))


@pytest.mark.slow
async def test_compactions_killed_often_lose_and_double_nothing(durable: EmbeddedPostgres, tmp_path: Path) -> None:
    await check(durable, tmp_path / "lake", KILLS_SLOW, random.Random(8))


def main(arguments: Sequence[str]) -> None:
    """Be the process that is killed."""
    asyncio.run(compacting(*arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
