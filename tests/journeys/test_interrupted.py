"""A review that is killed at any moment and run again ends with the answer of one that was never disturbed."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bursar.reports.sample import TRUTH_FILE, write_sample

KILLS = 10
KILLS_SLOW = 100
REVIEW_S_MAX = 240
GONE_S_MAX = 30
"""How long a server may take to notice that its starter is gone, in seconds."""


@pytest.fixture(scope="module")
def exports() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="bursar-killed-"))
    folder.chmod(0o755)
    write_sample(folder, seed=11)
    (folder / TRUTH_FILE).unlink()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def homes() -> Iterator[tuple[Path, Path]]:
    folder = Path(tempfile.mkdtemp(prefix="bursar-homes-"))
    folder.chmod(0o755)
    made = folder / "calm", folder / "killed"
    for home in made:
        home.mkdir(mode=0o755)
    yield made
    shutil.rmtree(folder, ignore_errors=True)


def started(home: Path, *args: str) -> subprocess.Popen[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BURSAR_")}  # noqa: TID251
    return subprocess.Popen(
        [sys.executable, "-m", "bursar.cli", *args],
        env=clean | {"BURSAR_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def reviewed(home: Path, exports: Path) -> tuple[dict[str, Any], float]:
    """Review to the end; return the answer and the seconds it took."""
    began = time.monotonic()
    process = started(home, "review", "--json", str(exports))
    out, err = process.communicate(timeout=REVIEW_S_MAX)
    assert process.returncode == 0, err
    return json.loads(out), time.monotonic() - began


def comparable(answer: dict[str, Any]) -> dict[str, Any]:
    """Leave out what may differ: seconds, ids of batches, and whether a document was known already."""
    kept = {name: value for name, value in answer.items() if name != "seconds"}
    kept["worth"] = [  # each home marks its own tokens
        {name: {**value, "trace": ""} if isinstance(value, dict) else value for name, value in total.items()}
        for total in answer["worth"]
    ]
    kept["batches"] = [
        {name: value for name, value in batch.items() if name not in {"id", "already"}} for batch in answer["batches"]
    ]
    return kept


def processes_of(home: Path) -> list[str]:
    """Return the command lines of living processes that name ``home``."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(home) in line:
            found.append(f"{entry.name} {line[:200]}")
    return found


def killed_again_and_again(home: Path, exports: Path, *, times: int, whole_s: float, rng: random.Random) -> int:
    """Start a review ``times`` times and kill its whole group at a random moment; return how many were still running."""
    hit = 0
    for _ in range(times):
        process = started(home, "review", str(exports))
        time.sleep(rng.uniform(0.05, whole_s))
        hit += process.poll() is None
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            assert process.poll() is not None
        process.communicate(timeout=GONE_S_MAX)
    return hit


def check(homes: tuple[Path, Path], exports: Path, times: int) -> None:
    calm, killed = homes
    expected, whole_s = reviewed(calm, exports)

    hit = killed_again_and_again(killed, exports, times=times, whole_s=whole_s, rng=random.Random(5))
    after, _ = reviewed(killed, exports)

    assert hit, "no review was running any more when it was killed"
    assert comparable(after) == comparable(expected)
    until = time.monotonic() + GONE_S_MAX
    while processes_of(killed) and time.monotonic() < until:
        time.sleep(0.2)
    assert processes_of(killed) == []


@pytest.mark.timeout(900)
def test_a_review_killed_ten_times_gives_the_same_answer(homes: tuple[Path, Path], exports: Path) -> None:
    check(homes, exports, KILLS)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_review_killed_a_hundred_times_gives_the_same_answer(homes: tuple[Path, Path], exports: Path) -> None:
    check(homes, exports, KILLS_SLOW)
