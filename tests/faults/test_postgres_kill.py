"""PostgreSQL is killed with SIGKILL under write load: every acknowledged row is there afterwards, whole and once."""

import asyncio
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
import sqlalchemy as sa

from bursar.infra.db import Database, OutcomeUnknown, new_id
from bursar.infra.embedded_postgres import APP, OWNER, EmbeddedPostgres
from bursar.infra.migrate import migrate
from bursar.infra.postgres_supervisor import processes_in
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Unavailable
from tests.infra.probe import make_tables, note, plain

WRITERS = 6
BATCH_ROWS = 5
RECOVERY_S_MAX = 30.0
CONTROL_KILLS = 5
"""Until the control must have lost something: its server writes the log every ten seconds, which may be just before one."""


@dataclass
class Book:
    """What the writers know about each batch they sent."""

    acknowledged: set[UUID] = field(default_factory=set)
    refused: set[UUID] = field(default_factory=set)
    open: set[UUID] = field(default_factory=set)


@contextmanager
def _server(settings: Mapping[str, str]) -> Iterator[EmbeddedPostgres]:
    home = Path(tempfile.mkdtemp(prefix="bursar-fault-"))
    home.chmod(0o755)
    try:
        with EmbeddedPostgres(home, settings=settings) as server:
            yield server
    finally:
        shutil.rmtree(home)


@asynccontextmanager
async def _database(settings: Mapping[str, str]) -> AsyncIterator[tuple[EmbeddedPostgres, Database]]:
    with _server(settings) as server:
        await migrate(server.url(OWNER))
        make_tables(server.url(OWNER))
        db = Database(server.url(APP), pool_size=WRITERS, come_back_s=RECOVERY_S_MAX)
        try:
            yield server, db
        finally:
            await db.close()


async def _send(db: Database, actor: Actor, book: Book) -> None:
    """Write one batch in one transaction and note what was said about it."""
    batch = new_id()
    rows = [{"org": actor.org, "id": new_id(), "text": str(batch)} for _ in range(BATCH_ROWS)]
    try:
        async with db.writing(actor) as tx:
            await tx.run(sa.insert(note), rows[:2])
            await tx.copy(note, ["id", "text"], [(row["id"], row["text"]) for row in rows[2:]])
    except OutcomeUnknown:
        book.open.add(batch)
    except Unavailable:
        book.refused.add(batch)
    else:
        book.acknowledged.add(batch)


async def _write(db: Database, actor: Actor, book: Book, stop: asyncio.Event) -> None:
    while not stop.is_set():
        await _send(db, actor, book)


def _stored(server: EmbeddedPostgres, actor: Actor) -> Counter[UUID]:
    """Count the rows of each batch, as the role that owns the schema, once the server is back."""
    end = time.monotonic() + RECOVERY_S_MAX
    while True:
        try:
            with psycopg.connect(plain(server.url(OWNER))) as owner:
                owner.execute("select set_config('bursar.org', %s, true)", [str(actor.org)])
                return Counter(
                    {UUID(text): n for text, n in owner.execute("select text, count(*) from probe_note group by 1")}
                )
        except psycopg.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


async def _kill(server: EmbeddedPostgres, chance: random.Random) -> None:
    """Kill the postmaster, or now and then one of its children (the postmaster then restarts them all)."""
    before = server.state()
    victim = before["postmaster"]
    if chance.random() < 0.25:
        victim = chance.choice([pid for pid in processes_in(server.place.data) if pid != victim])
    try:
        os.kill(victim, signal.SIGKILL)
    except ProcessLookupError:
        return
    if victim == before["postmaster"]:
        end = time.monotonic() + RECOVERY_S_MAX
        while server.state().get("restarts", 0) <= before["restarts"]:
            assert time.monotonic() < end, "the supervisor did not start it again"
            await asyncio.sleep(0.01)


async def _run(kills: int, seed: int) -> tuple[Book, Counter[UUID], float]:
    """Write under ``kills`` kills; return the book, what is stored, and the longest silence in seconds."""
    chance = random.Random(seed)
    book = Book()
    actor = Actor(new_id(), "job:fault")
    stop = asyncio.Event()
    silence_s = 0.0
    async with _database({}) as (server, db):
        writers = [asyncio.create_task(_write(db, actor, book, stop)) for _ in range(WRITERS)]
        for _ in range(kills):
            said = len(book.acknowledged)
            while len(book.acknowledged) < said + 5:  # noqa: ASYNC110  the writers do not know of this
                await asyncio.sleep(0.005)
            await asyncio.sleep(chance.uniform(0, 1.5))
            said, killed = len(book.acknowledged), time.monotonic()
            await _kill(server, chance)
            while len(book.acknowledged) <= said + WRITERS:
                assert time.monotonic() < killed + RECOVERY_S_MAX, "nothing was written after the kill"
                await asyncio.sleep(0.005)
            silence_s = max(silence_s, time.monotonic() - killed)
        stop.set()
        await asyncio.gather(*writers)
        return book, _stored(server, actor), silence_s


def _violations(book: Book, stored: Counter[UUID]) -> dict[str, int]:
    return {
        "lost": len([batch for batch in book.acknowledged if stored[batch] == 0]),
        "partial": len([n for n in stored.values() if 0 < n < BATCH_ROWS]),
        "doubled": len([n for n in stored.values() if n > BATCH_ROWS]),
        "refused but there": len([batch for batch in book.refused if stored[batch]]),
        "never sent": len(set(stored) - book.acknowledged - book.open - book.refused),
    }


_NONE = {"lost": 0, "partial": 0, "doubled": 0, "refused but there": 0, "never sent": 0}


@pytest.mark.parametrize(
    ("kills", "seed"),
    [(6, 1), pytest.param(250, 2, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])],
)
async def test_a_killed_server_loses_and_doubles_nothing_acknowledged(kills: int, seed: int) -> None:
    book, stored, silence_s = await _run(kills, seed)
    print(  # noqa: T201  shown with -s
        f"{kills} kills: {len(book.acknowledged)} batches of {BATCH_ROWS} rows acknowledged, {len(book.open)} open,"
        f" {len(book.refused)} refused; longest silence {silence_s:.2f} s"
    )

    assert _violations(book, stored) == _NONE
    assert len(book.acknowledged) >= kills * 5
    assert silence_s < RECOVERY_S_MAX


async def test_the_check_sees_a_loss_where_there_is_one() -> None:
    """The control: a server that acknowledges before the log is written does lose, and the check must say so."""
    book = Book()
    actor = Actor(new_id(), "job:fault")
    lossy = {"synchronous_commit": "off", "wal_writer_delay": "10s", "wal_writer_flush_after": "0"}
    async with _database(lossy) as (server, db):
        for _ in range(CONTROL_KILLS):
            for _ in range(20):
                await _send(db, actor, book)
            await _kill(server, random.Random(0.9))
            stored = _stored(server, actor)
            if _violations(book, stored)["lost"]:
                break

    assert len(book.acknowledged) >= 20
    assert _violations(book, stored)["lost"] > 0
