"""Workers are killed with SIGKILL while they work: every queued job has its effect once, whole, and soon."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import psycopg
import pytest

from bursar.infra.db import Database
from bursar.infra.embedded_postgres import APP, OWNER, EmbeddedPostgres
from bursar.infra.jobs import enqueue
from tests.faults.processes import ORG, ROWS, WRITER, Child, run_work
from tests.infra.probe import plain

WORKERS = 2
RESUME_S_MAX = 15.0
STALL_S_MAX = 30.0
JOBS_PER_KILL = 6


@contextmanager
def children(target: Callable[..., None], *arguments: object, count: int) -> Iterator[list[Child]]:
    started = [Child(target, arguments) for _ in range(count)]
    try:
        yield started
    finally:
        for child in started:
            child.kill()


async def queue(db: Database, chance: random.Random, texts: Sequence[str]) -> None:
    for text in texts:
        async with db.writing(WRITER) as tx:
            await enqueue(tx, "fault.write", {"text": text, "pause_s": chance.uniform(0.02, 0.3)})


async def work_goes_on(db: Database) -> None:
    """Wait until a job that was queued lately is running."""
    running = """select count(*) from procrastinate_jobs j join procrastinate_workers w on w.id = j.worker_id
                 where j.status = 'doing' and w.last_heartbeat > now() - interval '3 seconds'"""
    end = time.monotonic() + 30
    while True:
        async with db.system("look") as tx:
            if await tx.scalar(running):
                return
        assert time.monotonic() < end, "no worker works"
        await asyncio.sleep(0.02)


async def unfinished(db: Database) -> int:
    async with db.system("look") as tx:
        return int(await tx.scalar("select count(*) from procrastinate_jobs where status in ('todo', 'doing')"))


async def all_done(db: Database) -> None:
    """Wait until nothing is unfinished; a backlog may be long, but it must shrink within each :data:`STALL_S_MAX`."""
    least, end = await unfinished(db), time.monotonic() + STALL_S_MAX
    while left := await unfinished(db):
        if left < least:
            least, end = left, time.monotonic() + STALL_S_MAX
        assert time.monotonic() < end, f"{left} jobs were left over"
        await asyncio.sleep(0.1)


def effects(server: EmbeddedPostgres) -> Counter[str]:
    with psycopg.connect(plain(server.url(OWNER))) as owner:
        owner.execute("select set_config('bursar.org', %s, true)", [str(ORG)])
        return Counter(dict(owner.execute("select text, count(*) from probe_note group by 1").fetchall()))


def history(server: EmbeddedPostgres) -> dict[int, list[tuple[str, float]]]:
    """Return by job its starts and returns to the queue, in order."""
    query = "select job_id, type::text, extract(epoch from at)::float from procrastinate_events order by id"
    found: dict[int, list[tuple[str, float]]] = {}
    with psycopg.connect(plain(server.url(OWNER))) as owner:
        for number, kind, at in owner.execute(query).fetchall():
            found.setdefault(number, []).append((kind, at))
    return found


def resumes(told: Sequence[tuple[str, float]]) -> list[float]:
    """Return seconds from each start of an interrupted run to the next start (the kill lies between)."""
    starts = [at for kind, at in told if kind == "started"]
    return [later - earlier for earlier, later in pairwise(starts)]


async def torment(server: EmbeddedPostgres, kills: int, seed: int) -> list[str]:
    """Queue jobs while workers are killed at random moments; returns what was queued and acknowledged."""
    chance, queued = random.Random(seed), []
    db = Database(server.url(APP), pool_size=4)
    try:
        with children(run_work, server.url(APP), count=WORKERS) as workers:
            for number in range(kills):
                texts = [f"{number}.{index}" for index in range(JOBS_PER_KILL)]
                await queue(db, chance, texts)
                queued += texts
                await work_goes_on(db)
                await asyncio.sleep(chance.uniform(0, 0.5))
                await asyncio.to_thread(chance.choice(workers).kill_and_start)
            await all_done(db)
    finally:
        await db.close()
    return queued


def check(server: EmbeddedPostgres, queued: Sequence[str]) -> None:
    stored, told = effects(server), history(server)
    wanted = {f"job:{text}" for text in queued}
    interrupted = [gap for each in told.values() for gap in resumes(each)]

    assert {text for text in wanted if stored[text] == 0} == set(), "lost"
    assert {text: n for text, n in stored.items() if n < ROWS} == {}, "partial"
    assert {text: n for text, n in stored.items() if n > ROWS} == {}, "doubled"
    assert interrupted, "no kill hit a running job: the test proves nothing"
    assert max(interrupted) <= RESUME_S_MAX
    print(f"\n{len(queued)} jobs, {len(interrupted)} runs interrupted, longest resume {max(interrupted):.1f} s")  # noqa: T201


async def test_25_kills_lose_and_double_no_job(durable: EmbeddedPostgres) -> None:
    check(durable, await torment(durable, kills=25, seed=1))


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_500_kills_lose_and_double_no_job(durable: EmbeddedPostgres) -> None:
    check(durable, await torment(durable, kills=500, seed=2))
