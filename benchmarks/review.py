"""How long the main job takes from nothing to the answer, and how much memory: ``bursar review`` in a fresh home.

``python benchmarks/review.py [--quick]`` writes (a) a folder of 20 files and 100,000 rows and (b) a year of bills of 1M
rows with 100,000 bank rows, then runs ``bursar review`` on each in a fresh home with the embedded database, as a person
would: the clock runs from the start of the process to its exit, so everything is in it (the database's first start, the
import, every advisor, the screen). Findings are printed at the end, so the time to the first is the time of all. Memory is
the sum of the proportional set sizes of the process and everything it started, sampled ten times a second. CPU seconds are
told because walls depend on what else the machine does. ``--quick`` runs (a) only.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the root: this folder holds a module named http

import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

import polars as pl

from benchmarks._figures import arguments, figure, finish, table

FIRST_S_MAX = 10.0
WHOLE_S_MAX = 30.0
MEMORY_MB_MAX = 1000.0
SAMPLE_S = 0.1
START = date(2025, 11, 1)
SERVICES, ACCOUNTS = 60, 40
PAYEES = 400


def bill(start: date, days: int, rows_a_year: int, path: Path) -> None:
    """Write a FOCUS bill of ``days`` days; one account's services step up, one service spikes for a day."""
    per_day = rows_a_year // 365
    i = pl.col("i")
    day_at, at = i // per_day, i % per_day
    service, account = at % SERVICES, at // SERVICES % ACCOUNTS
    noise = (i * 7919 % 1_000) / 10_000 + 0.95
    since = day_at + (start - START).days
    risen = pl.when((account == 3) & (service < 4) & (since > 300)).then(3.0).otherwise(1.0)
    spiked = pl.when((service == 7) & (since == 200)).then(6.0).otherwise(1.0)
    cost = ((service + 1) * 1.7 * noise * risen * spiked).round(6).cast(pl.String)
    stamp = pl.lit(start).cast(pl.Datetime) + pl.duration(days=day_at)
    month = start.replace(day=1)
    later = (month + timedelta(days=32)).replace(day=1)
    pl.int_range(0, per_day * days, eager=True).to_frame("i").select(
        BilledCost=cost, BillingAccountId=pl.lit("1234567890123"), BillingAccountName=pl.lit("Payer"),
        BillingCurrency=pl.lit("USD"), BillingPeriodEnd=pl.lit(f"{later}T00:00:00Z"),
        BillingPeriodStart=pl.lit(f"{month}T00:00:00Z"), ChargeCategory=pl.lit("Usage"), ChargeClass=pl.lit(None, pl.String),
        ChargeDescription=pl.concat_str(pl.lit("usage tier "), at % 97), ChargeFrequency=pl.lit("Usage-Based"),
        ChargePeriodEnd=(stamp + pl.duration(days=1)).dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        ChargePeriodStart=stamp.dt.strftime("%Y-%m-%dT%H:%M:%SZ"), ConsumedQuantity=pl.lit("24"),
        ConsumedUnit=pl.lit("Hours"), ContractedCost=cost, EffectiveCost=cost, InvoiceIssuerName=pl.lit("AWS"),
        ListCost=cost, PricingCategory=pl.lit("Standard"), PricingQuantity=pl.lit("24"), PricingUnit=pl.lit("Hours"),
        ProviderName=pl.lit("AWS"), PublisherName=pl.lit("AWS"), RegionId=pl.lit("eu-central-1"),
        RegionName=pl.lit("EU (Frankfurt)"), ResourceId=pl.concat_str(pl.lit("arn:aws:x:eu-central-1:1:thing-"), at),
        ResourceType=pl.lit("Thing"), ServiceCategory=pl.lit("Compute"),
        ServiceName=pl.concat_str(pl.lit("Service "), service), SkuId=pl.concat_str(pl.lit("SKU"), at % 3000),
        SkuPriceId=pl.concat_str(pl.lit("SKU"), at % 3000, pl.lit(".X")),
        SubAccountId=(51738928000 + account).cast(pl.String), SubAccountName=pl.lit("Team"),
        Tags=pl.concat_str(pl.lit('{"application": "app-'), at % 200, pl.lit('"}')),
    ).write_csv(path)  # fmt: skip


def statement(account: int, rows: int, path: Path) -> None:
    """Write a bank's CSV of a year: payments to a few hundred payees, monthly fees among them, one paid twice."""
    i = pl.col("i")
    amount = pl.when(i % 9 == 0).then(i * 31 % 90_000 / 100).otherwise(-(i * 17 % 40_000) / 100 - 1)
    days = pl.lit(START) + pl.duration(days=i * 365 // rows)
    made = pl.int_range(0, rows, eager=True).to_frame("i").select(
        pl.lit(f"DE{account:020d}").alias("Account"), days.dt.strftime("%Y-%m-%d").alias("Date"),
        pl.concat_str(pl.lit("Supplier "), i * 13 % PAYEES, pl.lit(" GmbH invoice "), i).alias("Description"),
        amount.round(2).cast(pl.String).alias("Amount"), pl.lit("EUR").alias("Currency"),
    )  # fmt: skip
    twice = {"Account": f"DE{account:020d}", "Date": str(START + timedelta(days=340)), "Currency": "EUR"}
    twice |= {"Description": "Brandt Metallbau GmbH invoice 4711", "Amount": "-8730.00"}
    pl.concat([made, pl.DataFrame([twice, twice]).select(made.columns)]).write_csv(path)


def small(folder: Path) -> None:
    """Write 20 files of 100,000 rows together: 12 months of bills, 8 accounts."""
    for month, (first, days) in enumerate(months()):
        bill(first, days, 60_000, folder / f"bill-{month:02d}.csv")
    for account in range(8):
        statement(account, 5_000, folder / f"account-{account}.csv")


def large(folder: Path) -> None:
    """Write a year of bills of 1M rows and four accounts of 100,000 rows together."""
    for month, (first, days) in enumerate(months()):
        bill(first, days, 1_000_000, folder / f"bill-{month:02d}.csv")
    for account in range(4):
        statement(account, 25_000, folder / f"account-{account}.csv")


def months() -> list[tuple[date, int]]:
    """Return the first day and number of days of twelve months."""
    firsts = [START]
    while len(firsts) < 13:
        firsts.append((firsts[-1] + timedelta(days=32)).replace(day=1))
    return [(first, (later - first).days) for first, later in pairwise(firsts)]


@dataclass
class Cost:
    """What one run cost: wall and CPU seconds, peak memory in MB, rows read, findings."""

    wall: float
    cpu: float
    mb: float
    rows: int
    findings: int


class Memory(threading.Thread):
    """Samples the proportional memory of a process and everything below it."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak, self.over = pid, 0, threading.Event()

    def run(self) -> None:
        """Sample until it is over."""
        while not self.over.wait(SAMPLE_S):
            self.peak = max(self.peak, sum(pss(pid) for pid in family(self.pid)))


def family(root: int) -> set[int]:
    """Return a process and its descendants."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
    found, new = {root}, {root}
    while new:
        new = {pid for pid, parent in parents.items() if parent in new} - found
        found |= new
    return found


def pss(pid: int) -> int:
    """Return the proportional set size of a process in kB; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def reviewed(exports: Path, home: Path) -> Cost:
    """Run ``bursar review --json`` in a fresh home."""
    home.mkdir(mode=0o755)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BURSAR_")}  # noqa: TID251
    before, began = os.times(), time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "bursar.cli", "review", "--json", str(exports)],
        env=clean | {"BURSAR_HOME": str(home)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    memory = Memory(process.pid)
    memory.start()
    out, _ = process.communicate()
    wall, after = time.perf_counter() - began, os.times()
    memory.over.set()
    if process.returncode != 0:
        sys.exit(f"bursar review ended with {process.returncode}")
    answer = json.loads(out)
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(wall, cpu, memory.peak / 1024, answer["rows_read"], len(answer["findings"]))


def main() -> None:
    given = arguments(__doc__)
    root = Path(tempfile.mkdtemp(prefix="bursar-bench-"))
    root.chmod(0o755)
    costs: dict[str, Cost] = {}
    try:
        for name, write in (("20 files", small), *(() if given.quick else (("1M + 100k rows", large),))):
            exports = root / name.replace(" ", "-")
            exports.mkdir()
            write(exports)
            costs[name] = reviewed(exports, root / f"home-{len(costs)}")
            shutil.rmtree(exports)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    table(
        [(name, f"{cost.rows:,}", cost.findings, cost.wall, cost.cpu, cost.mb) for name, cost in costs.items()],
        head=("input", "rows", "findings", "wall s", "CPU s", "peak MB"),
    )
    first = costs["20 files"]
    small_figure = figure(
        "review: 20 files, 100k rows, to the first finding", first.wall, "s", target=FIRST_S_MAX, better="lower"
    )
    if given.quick:
        finish(small_figure)
    whole = costs["1M + 100k rows"]
    finish(
        figure("review: 1M cost and 100k bank rows", whole.wall, "s", target=WHOLE_S_MAX, better="lower"),
        others=[small_figure, figure("review: peak memory", whole.mb, "MB", target=MEMORY_MB_MAX, better="lower")],
    )


if __name__ == "__main__":
    main()
