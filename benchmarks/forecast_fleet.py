"""A night of a fleet: 10,000 daily series trained once, then served without training; the same on a Spark Connect server.

The parts are those of ``bursar forecast --all``, in processes of this machine, and on Sail where the extra is installed; the
answers must be equal to the last bit. ``python -m benchmarks.forecast_fleet``
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the root: this folder holds a module named http

import asyncio
import resource
import time

import numpy as np

from benchmarks._figures import arguments, figure, finish, table
from benchmarks.forecast_speed import CORES, HORIZON, LENGTH, SERIES, fleet, panel_of
from bursar.infra.fleet import Fleet
from bursar.kernel.series import Panel
from bursar.ml.calendar import Calendar
from bursar.ml.forecast import fleet as parts
from bursar.ml.forecast.fleet import Task, chosen, cut, work
from bursar.ml.forecast.keeping import Kept

QUICK_SERIES = 1_000
TRAIN_SECONDS_MAX, SERVE_SECONDS_MAX = 120.0, 30.0
ON_SPARK_SERIES, ON_SPARK_PART, ON_SPARK_DAYS = 40, 20, 120
WHERE = Calendar("DE")


def cpu_s() -> float:
    """Return the processor seconds of this process and the children that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def tasks(panel: Panel, kept: list[bytes]) -> list[bytes]:
    """Return the parts of a panel: to train, or to serve what is kept."""
    if not kept:
        return [Task(chosen(panel, rows), HORIZON, WHERE, 0).pack() for rows in cut(panel)]
    rows = cut(panel, [Kept.unpack(one) for one in kept])
    return [Task(chosen(panel, mine), HORIZON, WHERE, 0, one).pack() for one, mine in zip(kept, rows, strict=True)]


async def computed(fleet_: Fleet, contents: list[bytes]) -> list[bytes]:
    """Return what came of every part, in order."""
    made = {place: content async for place, content in fleet_.run(work, contents)}
    return [made[place] for place in range(len(contents))]


async def measured(panel: Panel, kept: list[bytes]) -> tuple[list[bytes], float, float]:
    """Return what came of the parts, wall and processor seconds on two cores' worth of processes."""
    began, used = time.perf_counter(), cpu_s()
    made = await computed(Fleet(processes=CORES), tasks(panel, kept))
    return made, time.perf_counter() - began, cpu_s() - used


async def on_spark(values: "np.ndarray[tuple[int, int], np.dtype[np.float64]]") -> bool | None:
    """Return whether a Spark Connect server gives the same bytes; None where the extra is not installed."""
    try:
        from pysail.spark import SparkConnectServer
    except ImportError:
        return None
    contents = tasks(panel_of(values), [])
    server = SparkConnectServer()
    server.start()
    try:
        there = await computed(Fleet(f"sc://127.0.0.1:{server.listening_address[1]}"), contents)
    finally:
        server.stop()
    return there == await computed(Fleet(processes=1), contents)


async def run(*, quick: bool) -> None:
    """Print the table and the figures."""
    count = QUICK_SERIES if quick else SERIES
    values = fleet(count, LENGTH + 1)
    trained, train_wall, train_cpu = await measured(panel_of(values[:, :LENGTH]), [])
    _, serve_wall, serve_cpu = await measured(panel_of(values), trained)
    parts.PART_SERIES = ON_SPARK_PART
    same = await on_spark(values[:ON_SPARK_SERIES, :ON_SPARK_DAYS])
    scale = SERIES / count
    rows = [
        ("night with training: wall seconds, as busy as this machine is", count, train_wall, "s"),
        ("night with training: processor seconds", count, train_cpu, "s"),
        ("night without training: wall seconds", count, serve_wall, "s"),
        ("night without training: processor seconds", count, serve_cpu, "s"),
        ("kept model", count, sum(map(len, trained)) / 1e6, "MB"),
        ("equal bytes from Sail", ON_SPARK_SERIES, "not measured here" if same is None else same, ""),
    ]
    table(rows, head=("what", "series", "value", "unit"))
    named = f"{SERIES:,} series, processor seconds over two cores"
    finish(
        figure(
            f"night without training: {named}", serve_cpu / CORES * scale, "s", target=SERVE_SECONDS_MAX, better="lower"
        ),
        others=[
            figure(
                f"night with training: {named}",
                train_cpu / CORES * scale,
                "s",
                target=TRAIN_SECONDS_MAX,
                better="lower",
            ),
            *(
                []
                if same is None
                else [figure("equal bytes from a Spark server", float(same), "share", target=1, better="higher")]
            ),
        ],
    )


if __name__ == "__main__":
    asyncio.run(run(quick=arguments(__doc__).quick))
