"""The cash forecast at earlier dates: ``python -m benchmarks.cash [--quick]``.

What the outlook would have said of the change of each balance over thirteen weeks, at origins whose weeks are over, each seeing
only what came before it, beside two plain ways: the mean of the last thirteen weeks carried on, and the last thirteen weeks
repeated. The way is chosen at each origin by the others. Error: the mean absolute error of the path in units of the account's mean weekly movement. Coverage: the share of weeks
inside 80 % intervals that were made without that origin. Inputs: the bank accounts of the sample organisation (recurring payments
planted, seeds 7 to 9; ``--quick``: 7) and the 100 real cash machines of the NN5 competition (daily withdrawals, nothing recurring;
``--quick``: 30). Aim: at most the error of the better plain way on both, and coverage of 70 % to 90 %.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the root: this folder holds a module named http

import asyncio
import os
import tempfile
from datetime import date, timedelta

import numpy as np
import polars as pl

from benchmarks._figures import arguments, figure, finish, table
from benchmarks._planning_data import nn5
from bursar import settings, wiring
from bursar.infra.clock import utc_now
from bursar.infra.db import new_id
from bursar.kernel.actor import Actor
from bursar.kernel.series import Floats
from bursar.ml.conformal import held_out_coverage
from bursar.parts.banking import service as banking
from bursar.parts.banking.cash import service
from bursar.parts.banking.cash.rules import paths
from bursar.reports.sample import write_sample

READER = Actor(new_id(), "person:bench", frozenset({"forecast:read"}))


async def imported(home: Path, exports: Path) -> pl.DataFrame:
    """Return bank movements as the product sees them after an import."""
    async with wiring.open_house(settings.load(home=home)) as house:
        actor = await wiring.local_actor(house)
        async for _ in house.importer.import_paths(actor, [exports], clock=utc_now):
            pass
        async with house.db.reading(actor) as tx:
            return await banking.movements(tx, actor, lake=house.lake)


def sample(seed: int) -> pl.DataFrame:
    """Return the bank movements of the sample organisation."""
    with tempfile.TemporaryDirectory(prefix="bursar-bench-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        write_sample(home / "exports", seed=seed)
        return asyncio.run(imported(home / "home", home / "exports" / "bank"))


def machines(many: int) -> pl.DataFrame:
    """Return the daily withdrawals of real cash machines as movements; gaps are days without one."""
    found, start = nn5(many), date(1996, 3, 18)
    rows = [
        (name, "GBP", start + timedelta(days=day), -round(float(amount), 2), "cash", "cash", "nn5", n * 10_000 + day)
        for n, (name, values) in enumerate(zip(found.keys, found.amounts, strict=True))
        for day, amount in enumerate(values)
        if np.isfinite(amount) and amount
    ]
    names = ["account", "currency", "booking_date", "amount", "payee", "label", "batch", "row"]
    frame = pl.DataFrame(rows, schema=names, orient="row")
    return frame.with_columns(pl.col("amount").cast(pl.Decimal(38, 15)))


def error(said: Floats, tried: service.Tried) -> float:
    """Return the mean absolute error of the paths in units of each account's mean weekly movement."""
    return float(np.nanmean(np.abs(said - tried.actual) / tried.scales[:, :, None]))


def plain(tried: service.Tried, *, repeat: bool) -> Floats:
    """Return the paths of a plain way: the last thirteen weeks repeated, or their mean carried on."""
    out = np.full_like(tried.actual, np.nan)
    for at, look in enumerate(tried.looks[1:]):
        for place, key in enumerate(tried.keys):
            if not np.isnan(tried.actual[at, place, 0]):
                last = look.net[key][-paths.WEEKS :]
                out[at, place] = np.cumsum(
                    last if repeat and len(last) == paths.WEEKS else np.full(paths.WEEKS, last.mean())
                )
    return out


async def line(label: str, lines: pl.DataFrame) -> list[object]:
    """Return a row of the table: accounts, origins, errors of the outlook and of the plain ways, coverage."""
    newest: date = lines["booking_date"].max()  # type: ignore[assignment]
    tried = await service.tried(READER, lines, newest + timedelta(days=1))
    grown = np.sqrt(np.arange(1, paths.WEEKS + 1))
    said = paths.held_out(tried.said, tried.actual, tried.scales)
    live = np.where(np.isnan(said), np.nan, tried.actual)
    coverage = held_out_coverage(np.nan_to_num(said) / grown, live / grown, tried.scales)
    errors = [error(one, tried) for one in (said, plain(tried, repeat=False), plain(tried, repeat=True))]
    return [label, len(tried.keys), len(tried.looks) - 1, *errors, coverage[0.8]]


def measure(seeds: tuple[int, ...], many: int) -> list[list[object]]:
    found = [asyncio.run(line(f"sample, seed {seed}", sample(seed))) for seed in seeds]
    return [*found, asyncio.run(line("cash machines (NN5)", machines(many)))]


def main(*, quick: bool) -> None:
    rows = measure((7,) if quick else (7, 8, 9), 30 if quick else 100)
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    table(rows, head=["movements", "balances", "origins", "error", "mean carried on", "repeated", "in 80 %"])
    numbers = np.array([[float(str(cell)) for cell in row[3:]] for row in rows])
    ratio = round(float((numbers[:, 0] / numbers[:, 1:3].min(axis=1)).max()), 6)
    finish(
        figure("error against the better plain way, the worst input", ratio, "times", target=1.0, better="lower"),
        others=[
            figure(
                "least coverage of 80 % intervals", float(numbers[:, 3].min()), "share", target=0.7, better="higher"
            ),
            figure("most coverage of 80 % intervals", float(numbers[:, 3].max()), "share", target=0.9, better="lower"),
        ],
    )


if __name__ == "__main__":
    main(quick=arguments(__doc__).quick)
