"""The house convention of benchmarks: a readable table, then one JSON line; exit status 1 when a figure falls short."""

import argparse
import atexit
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, NoReturn

QUICK_S = 30
"""What ``--quick`` may take, seconds."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What the benchmark is about.

    Attributes:
        figure: Name, with what it is measured against.
        value: Measured.
        unit: Of ``value`` and ``target``.
        target: What is aimed for.
        ok: Whether the target is reached.
    """

    figure: str
    value: float
    unit: str
    target: float
    ok: bool


def figure(name: str, value: float, unit: str, *, target: float, better: Literal["higher", "lower"]) -> Figure:
    """Return the figure ``name``, judged against ``target``."""
    return Figure(name, round(value, 4), unit, target, value >= target if better == "higher" else value <= target)


def arguments(description: str | None) -> argparse.Namespace:
    """Read the command line; every benchmark knows ``--quick``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help=f"smaller input, at most {QUICK_S} s")
    return parser.parse_args()


def table(rows: Sequence[Sequence[object]], *, head: Sequence[str]) -> None:
    """Print ``rows`` under ``head``, numbers to the right."""
    cells = [[f"{cell:,.4g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(head), *cells]) for i in range(len(head))]
    print("  ".join(name.ljust(width) for name, width in zip(head, widths, strict=True)))
    print("  ".join("-" * width for width in widths))
    for row, sources in zip(cells, rows, strict=True):
        pairs = zip(row, widths, sources, strict=True)
        print("  ".join(c.rjust(w) if isinstance(source, int | float) else c.ljust(w) for c, w, source in pairs))
    print()


def finish(main: Figure, *, others: Sequence[Figure] = ()) -> NoReturn:
    """Print the figures, the main one as the last line, and exit: 0 when all reach their targets, 1 otherwise."""
    for each in others:
        print(json.dumps(asdict(each)))
    print(json.dumps(asdict(main)))
    sys.stdout.flush()
    status = 0 if all(each.ok for each in (main, *others)) else 1
    _ended.append(status)
    sys.exit(status)


_ended: list[int] = []


@atexit.register  # the first to be registered, so the last to run
def _leave() -> None:
    """Skip the teardown in which DuckDB's bindings complain about themselves, once everything else is closed."""
    if _ended and "duckdb" in sys.modules:
        sys.stderr.flush()
        os._exit(_ended[0])
