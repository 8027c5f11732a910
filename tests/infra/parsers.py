"""Functions that the sandbox tests run in a child; some behave as badly as a parser can."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

import polars as pl

from bursar.kernel.errors import Invalid


def total(document: str) -> dict[str, Any]:
    """Sum the column ``amount`` of a CSV with Polars, as a real parser does."""
    rows = pl.scan_csv(document, infer_schema=False).select(pl.col("amount").cast(pl.Decimal(38, 2))).collect()
    return {"rows": rows.height, "total": str(rows["amount"].sum())}


def write_lines(document: str, out: str) -> int:
    """Write what was read as Parquet to ``out``; returns the rows."""
    frame = pl.read_csv(document)
    frame.write_parquet(out)
    return frame.height


def refuse() -> NoReturn:
    raise Invalid("Row 3 has no currency.", fix="Name the currency.")


def divide(by: int) -> float:
    return 1 / by


def leave() -> NoReturn:
    sys.exit(3)


def segfault() -> None:
    ctypes.string_at(0)


def spin() -> None:
    while True:
        pass


def hang_on_an_amount() -> int:
    return int(Decimal("1E+9999999"))


def sleep(seconds: float, mark: str = "") -> str:
    if mark:
        Path(mark).write_text(str(os.getpid()), encoding="ascii")
    time.sleep(seconds)
    return "slept"


def sleep_deaf_to_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGXCPU, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    time.sleep(60)


def leave_a_grandchild(mark: str) -> None:
    child = subprocess.Popen(["sleep", "60"])
    Path(mark).write_text(str(child.pid), encoding="ascii")
    time.sleep(60)


def take_memory(megabytes: int) -> int:
    return len(bytearray(megabytes * 1024**2))


def take_memory_in_polars(rows: int) -> int:
    return pl.select(pl.int_range(0, rows)).to_series().sort().len()


def fill_the_disk(out: str, megabytes: int) -> None:
    with Path(out).open("wb") as stream:
        stream.writelines(b"\0" * 1024**2 for _ in range(megabytes))


def talk() -> str:
    sys.stdout.write('{"id": 1, "signal": 0, "code": 0, "late": false, "cpu_seconds": 0}\n')
    sys.stdout.flush()
    os.write(1, b"garbage\n")
    return "talked"


def environment() -> dict[str, str]:
    return dict(os.environ)  # noqa: TID251  the test proves that it holds no secret


def return_a_set() -> set[int]:
    return {1}


def return_much(bytes_: int) -> str:
    return "x" * bytes_


def kill_the_parent() -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)
