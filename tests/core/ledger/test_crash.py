"""kill -9 at labelled points: nothing acknowledged is lost, nothing is half there, every proof still holds."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from bursar.core.ledger import service
from bursar.infra.db import Database, new_id
from bursar.infra.embedded_postgres import APP, OWNER, EmbeddedPostgres
from bursar.infra.migrate import migrate
from bursar.kernel.actor import Actor
from tests.core.ledger.crasher import POINTS

ROOT = Path(__file__).resolve().parents[3]
ROUNDS = 40
"""Runs for each labelled point: 200 in all."""


class Crasher:
    """The process that forks doomed children."""

    def __init__(self, acknowledged: Path) -> None:
        command = [sys.executable, "-m", "tests.core.ledger.crasher", str(acknowledged)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, url: str, org: UUID, point: str, turn: int, seed: int) -> str:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{url}\t{org}\t{point}\t{turn}\t{seed}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def stop(self) -> None:
        """End the child that runs, if one does."""
        self.process.send_signal(signal.SIGUSR1)

    def close(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait(timeout=20)
        self.process.stdout.close()


@pytest.fixture
def acknowledged(tmp_path: Path) -> Path:
    return tmp_path / "acknowledged"


@pytest.fixture
def crasher(acknowledged: Path) -> Iterator[Crasher]:
    made = Crasher(acknowledged)
    yield made
    made.close()


def _keys(acknowledged: Path) -> set[str]:
    return set(acknowledged.read_text().split()) if acknowledged.exists() else set()


async def check(db: Database, org: UUID, acknowledged: Path) -> int:
    """Assert every promise; return how many transfers were acknowledged."""
    actor = Actor(org, "person:x", frozenset({"ledger:read"}))
    promised = _keys(acknowledged)
    async with db.reading(actor) as tx:
        assert await service.prove(tx, actor) == []
        rows = await tx.all("select key, entry from ledger_transfer")
    assert promised <= {row.key for row in rows}
    entries = [row.entry for row in rows if row.entry is not None]
    assert all(entries.count(entry) == 2 for entry in set(entries))
    return len(promised)


async def crash(crasher: Crasher, db: Database, url: str, acknowledged: Path, rounds: int) -> int:
    org, promised = new_id(), 0
    for seed in range(rounds):
        for point in POINTS:
            assert crasher.run(url, org, point, 1 + seed % 7, seed) == "9", point
        promised = await check(db, org, acknowledged)
    return promised


async def test_a_killed_process_breaks_no_promise(
    crasher: Crasher, db: Database, database_url: str, acknowledged: Path
) -> None:
    assert await crash(crasher, db, database_url, acknowledged, 7) > 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_two_hundred_killed_processes_break_no_promise(
    crasher: Crasher, db: Database, database_url: str, acknowledged: Path
) -> None:
    assert await crash(crasher, db, database_url, acknowledged, ROUNDS) > 0


def _grown(acknowledged: Path, more: int, child: "asyncio.Task[str]") -> None:
    """Return once the child acknowledged ``more`` further transfers, or ended."""
    size, end = len(_keys(acknowledged)) + more, time.monotonic() + 60
    while not child.done() and len(_keys(acknowledged)) < size:
        assert time.monotonic() < end, "the child acknowledges nothing"
        time.sleep(0.05)


async def kill_server(crasher: Crasher, home: Path, acknowledged: Path, rounds: int) -> int:
    """Kill PostgreSQL under load, with real durability; return how many transfers were acknowledged before."""
    org, promised = new_id(), 0
    with EmbeddedPostgres(home) as server:
        await migrate(server.url(OWNER))
        db = Database(server.url(APP), pool_size=2, come_back_s=60)
        for seed in range(rounds):
            child = asyncio.create_task(asyncio.to_thread(crasher.run, server.url(APP), org, "", 1, 1000 + seed))
            await asyncio.to_thread(_grown, acknowledged, 20, child)
            assert not child.done()
            os.kill(server.state()["postmaster"], signal.SIGKILL)
            await asyncio.to_thread(_grown, acknowledged, 20, child)
            crasher.stop()
            assert await child in {
                "exit 3",
                "9",
            }  # one killed between its transactions waits for the server and goes on
            promised = await check(db, org, acknowledged)
        await db.close()
    return promised


@pytest.fixture
def durable_home() -> Iterator[Path]:
    """A home for a server that keeps what it promised, reachable by the server's own user."""
    with tempfile.TemporaryDirectory(prefix="bursar-kill-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


async def test_a_killed_database_breaks_no_promise(crasher: Crasher, durable_home: Path, acknowledged: Path) -> None:
    assert await kill_server(crasher, durable_home, acknowledged, 2) >= 40


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_a_database_killed_twenty_times_breaks_no_promise(
    crasher: Crasher, durable_home: Path, acknowledged: Path
) -> None:
    assert await kill_server(crasher, durable_home, acknowledged, 20) >= 400
