import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bursar.infra import sandbox as module
from bursar.infra.sandbox import ImportRefused, Limits, Sandbox, keep_aside

PARSERS = "tests.infra.parsers"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TIGHT = Limits(cpu_seconds=1, wall_seconds=3, memory_bytes=256 * 1024**2, output_bytes=4 * 1024**2)


@pytest.fixture(scope="module")
async def box() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox(warm=[PARSERS], at_once=2)
    await sandbox.start()
    yield sandbox
    await sandbox.close()


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "bill.csv"
    path.write_text("day,amount\n" + "2026-01-01,0.10\n" * 1000, encoding="ascii")
    return path


async def refusal(box: Sandbox, name: str, limits: Limits = TIGHT, **args: Any) -> ImportRefused:
    with pytest.raises(ImportRefused) as caught:
        await box.run_parser(f"{PARSERS}:{name}", args, limits=limits)
    return caught.value


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="ascii")


def is_written(mark: Path) -> bool:
    return mark.exists() and mark.read_text(encoding="ascii") != ""


async def written(mark: Path) -> None:
    while not await asyncio.to_thread(is_written, mark):  # noqa: ASYNC110  another process writes it
        await asyncio.sleep(0.01)


async def gone(pid: int, seconds: float = 5) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not alive(pid):
            return True
        await asyncio.sleep(0.02)
    return False


async def test_a_parser_returns_its_json_and_may_use_polars(box: Sandbox, document: Path) -> None:
    found = await box.run_parser(f"{PARSERS}:total", {"document": str(document)})

    assert found == {"rows": 1000, "total": "100.00"}


async def test_lines_travel_as_a_file_the_parser_writes(box: Sandbox, document: Path, tmp_path: Path) -> None:
    out = tmp_path / "lines.parquet"
    rows = await box.run_parser(f"{PARSERS}:write_lines", {"document": str(document), "out": str(out)})

    assert rows == 1000
    assert out.stat().st_size > 0


async def test_a_refusal_keeps_its_words_and_its_fix(box: Sandbox) -> None:
    refused = await refusal(box, "refuse")

    assert (refused.what, refused.fix, refused.why) == ("Row 3 has no currency.", "Name the currency.", "refused")


@pytest.mark.parametrize(
    ("name", "args", "why", "says"),
    [
        ("divide", {"by": 0}, "bug", "ZeroDivisionError"),
        ("leave", {}, "bug", "SystemExit"),
        ("no_such_function", {}, "bug", "no_such_function"),
        ("return_a_set", {}, "bug", "not JSON"),
        ("segfault", {}, "crash", "SIGSEGV"),
        ("spin", {}, "time", "1 s of CPU"),
        ("hang_on_an_amount", {}, "time", "1 s of CPU"),
        ("sleep", {"seconds": 60}, "time", "3 s in all"),
        ("sleep_deaf_to_signals", {}, "time", "3 s in all"),
        ("take_memory", {"megabytes": 2000}, "memory", "256 MiB"),
        ("take_memory_in_polars", {"rows": 400_000_000}, "memory", "256 MiB"),
        ("return_much", {"bytes_": 5_000_000}, "crash", "status 1"),
    ],
)
async def test_whatever_a_parser_does_becomes_one_typed_refusal(
    box: Sandbox, name: str, args: dict[str, Any], why: str, says: str
) -> None:
    refused = await refusal(box, name, **args)

    assert refused.why == why
    assert says in refused.what


async def test_an_oversized_result_is_refused(box: Sandbox) -> None:
    refused = await refusal(box, "return_much", Limits(), bytes_=module.RESULT_BYTES_MAX + 1)

    assert refused.why == "output"


async def test_a_file_over_the_limit_is_cut(box: Sandbox, tmp_path: Path) -> None:
    out = tmp_path / "big"
    refused = await refusal(box, "fill_the_disk", out=str(out), megabytes=20)

    assert "File too large" in refused.what
    assert out.stat().st_size <= TIGHT.output_bytes


async def test_the_next_document_is_read_after_every_kind_of_crash(box: Sandbox, document: Path) -> None:
    for name in ("segfault", "leave", "kill_the_parent"):
        await refusal(box, name)

        assert (await box.run_parser(f"{PARSERS}:total", {"document": str(document)}))["rows"] == 1000


async def test_a_document_that_kills_the_zygote_takes_no_other_with_it(box: Sandbox) -> None:
    other = asyncio.create_task(box.run_parser(f"{PARSERS}:sleep", {"seconds": 0.5}))
    await asyncio.sleep(0.1)
    await refusal(box, "kill_the_parent")

    assert await other == "slept"


async def test_a_child_cannot_forge_an_answer_on_standard_output(box: Sandbox) -> None:
    assert await box.run_parser(f"{PARSERS}:talk", {}) == "talked"


async def test_no_setting_and_no_secret_reaches_the_child(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BURSAR_SECRET", "hidden")
    fresh = Sandbox()
    try:
        seen = await fresh.run_parser(f"{PARSERS}:environment", {})
    finally:
        await fresh.close()

    assert not [name for name in seen if name.startswith("BURSAR") or name in {"HOME", "USER"}]


async def test_a_late_child_takes_what_it_started_with_it(box: Sandbox, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    refused = await refusal(box, "leave_a_grandchild", Limits(wall_seconds=1), mark=str(mark))

    assert refused.why == "time"
    assert await gone(int(mark.read_text(encoding="ascii")))


async def test_a_cancelled_call_kills_its_child(box: Sandbox, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    call = asyncio.create_task(box.run_parser(f"{PARSERS}:sleep", {"seconds": 60, "mark": str(mark)}))
    await written(mark)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert await gone(int(mark.read_text(encoding="ascii")))


async def test_closing_leaves_no_process_behind(tmp_path: Path) -> None:
    box = Sandbox()
    mark = tmp_path / "pid"
    call = asyncio.create_task(box.run_parser(f"{PARSERS}:sleep", {"seconds": 60, "mark": str(mark)}))
    await written(mark)
    await box.close()
    with pytest.raises(ImportRefused):
        await call

    assert await gone(int(mark.read_text(encoding="ascii")))


async def test_two_run_at_once_and_the_third_waits(box: Sandbox) -> None:
    began = time.monotonic()
    await asyncio.gather(*(box.run_parser(f"{PARSERS}:sleep", {"seconds": 1.0}) for _ in range(3)))
    took = time.monotonic() - began

    assert 2.0 <= took < 2.9


async def test_a_small_file_costs_little_once_warm(box: Sandbox, document: Path) -> None:
    took = []
    for _ in range(20):
        began = time.perf_counter()
        await box.run_parser(f"{PARSERS}:total", {"document": str(document)})
        took.append(time.perf_counter() - began)

    assert sorted(took)[10] < 0.3, took  # 10 ms on an idle machine


def test_limits_grow_with_the_document() -> None:
    small, large = Limits.for_document(10_000), Limits.for_document(1_000_000_000)

    assert (small.cpu_seconds, large.cpu_seconds) == (20, 1020)
    assert large.memory_bytes > small.memory_bytes


def test_a_refused_document_is_kept_aside_with_a_note(tmp_path: Path, document: Path) -> None:
    folder = tmp_path / "aside"
    kept = keep_aside(document, folder, ImportRefused("No.", "Try again.", "bug"), now=NOW)
    again = keep_aside(document, folder, ImportRefused("No!", "Try again.", "bug"), now=NOW)

    assert kept == again
    assert kept.read_bytes() == document.read_bytes()
    note = json.loads((folder / f"{kept.name}.json").read_text(encoding="utf-8"))
    assert note == {"name": "bill.csv", "at": NOW.isoformat(), "what": "No!", "fix": "Try again.", "why": "bug"}


def test_the_oldest_document_aside_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUARANTINE_FILES_MAX", 3)
    folder = tmp_path / "aside"
    for index in range(5):
        path = tmp_path / f"{index}.csv"
        path.write_text(str(index), encoding="ascii")
        kept = keep_aside(path, folder, ImportRefused("No."), now=NOW)
        os.utime(folder / f"{kept.name}.json", (index, index))

    left = {path.read_text(encoding="ascii") for path in folder.iterdir() if path.suffix == ""}
    assert left == {"2", "3", "4"}
