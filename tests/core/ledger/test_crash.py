"""kill -9 at labelled points: nothing acknowledged is lost, nothing is half there, every proof still holds."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from bursar.core.ledger import service
from bursar.infra.db import Database, new_id
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
