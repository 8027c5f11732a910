"""How much more than a plain copy it costs to take a cloud bill: CPU and memory against Polars and DuckDB.

``python benchmarks/cloud_ingest.py [--quick]`` generates a FOCUS bill (1M rows) and a legacy AWS report (500k rows, 97
columns), then in fresh processes measures (a) Bursar: parse into exact cost lines and stage as Parquet with control
totals, (b) plain Polars ``scan_csv`` to ``sink_parquet``, (c) plain DuckDB ``COPY``. Then it imports the file into a house of
its own (database, store, sandbox, lake) and again unchanged, once known by its times and once by its hash. Ratios of CPU seconds
count, because walls depend on what else the machine does; the database server's own CPU (milliseconds) is not in them.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the root: this folder holds a module named http

import argparse
import asyncio
import json
import resource
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from bursar.core.intake.jobs import Importer
    from bursar.kernel.actor import Actor

CPU_RATIO_MAX = 1.6
MEMORY_MB_MAX = 600
AGAIN_SHARE_MAX = 0.01
REPEATS = 5
ROWS = {"focus": 1_000_000, "cur": 500_000}
ROWS_QUICK = {"focus": 200_000, "cur": 50_000}
CHUNK_ROWS = 50_000
CUR_COLUMNS = 97


def focus_rows(start: int, count: int) -> pl.DataFrame:
    i = pl.int_range(start, start + count, eager=True)
    hour = pl.datetime(2026, 3, 1) + pl.duration(hours=pl.col("i") % 720)
    text = pl.col("i").cast(pl.String)
    cents = (pl.col("i") * 7919 % 1_000_003).cast(pl.Decimal(38, 10)) / 1_000_000
    cost = cents.cast(pl.String)
    return i.to_frame("i").select(
        BilledCost=cost, BillingAccountId=pl.lit("1234567890123"), BillingAccountName=pl.lit("SunBird"),
        BillingCurrency=pl.lit("USD"), BillingPeriodEnd=pl.lit("2026-04-01T00:00:00Z"),
        BillingPeriodStart=pl.lit("2026-03-01T00:00:00Z"), ChargeCategory=pl.lit("Usage"),
        ChargeClass=pl.lit(None, pl.String), ChargeDescription=pl.concat_str(pl.lit("$0.40 per million requests tier "), (pl.col("i") % 97)),
        ChargeFrequency=pl.lit("Usage-Based"),
        ChargePeriodEnd=(hour + pl.duration(hours=1)).dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        ChargePeriodStart=hour.dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        CommitmentDiscountCategory=pl.lit(None, pl.String), CommitmentDiscountId=pl.lit(None, pl.String),
        CommitmentDiscountName=pl.lit(None, pl.String), CommitmentDiscountStatus=pl.lit(None, pl.String),
        CommitmentDiscountType=pl.lit(None, pl.String), ConsumedQuantity=(pl.col("i") % 1000).cast(pl.String),
        ConsumedUnit=pl.lit("Requests"), ContractedCost=cost, ContractedUnitPrice=pl.lit("0.0000004"), EffectiveCost=cost,
        InvoiceIssuerName=pl.lit("Amazon Web Services, Inc."), ListCost=cost, ListUnitPrice=pl.lit("0.0000004"),
        PricingCategory=pl.lit("Standard"), PricingQuantity=(pl.col("i") % 1000).cast(pl.String),
        PricingUnit=pl.lit("Requests"), ProviderName=pl.lit("AWS"), PublisherName=pl.lit("Amazon Web Services, Inc."),
        RegionId=pl.lit("eu-central-1"), RegionName=pl.lit("EU (Frankfurt)"),
        ResourceId=pl.concat_str(pl.lit("arn:aws:sqs:eu-central-1:347410479675:queue-"), pl.col("i") % 20_000),
        ResourceName=pl.lit(None, pl.String), ResourceType=pl.lit("Queue"), ServiceCategory=pl.lit("Integration"),
        ServiceName=pl.concat_str(pl.lit("Service "), pl.col("i") % 60), SkuId=pl.concat_str(pl.lit("SKU"), pl.col("i") % 3000),
        SkuPriceId=pl.concat_str(pl.lit("SKU"), pl.col("i") % 3000, pl.lit(".JRTCKXETXF.6YS6EN2CT7")),
        SubAccountId=(51738928000 + pl.col("i") % 40).cast(pl.String), SubAccountName=pl.lit("Atlas Nimbus"),
        Tags=pl.concat_str(pl.lit('{"application": "app-'), pl.col("i") % 200, pl.lit('", "environment": "dev"}')),
        x_Row=text,
    )  # fmt: skip


def cur_rows(start: int, count: int) -> pl.DataFrame:
    i = pl.int_range(start, start + count, eager=True)
    hour = pl.datetime(2026, 3, 1) + pl.duration(hours=pl.col("i") % 720)
    cost = ((pl.col("i") * 7919 % 1_000_003).cast(pl.Decimal(38, 10)) / 1_000_000).cast(pl.String)
    named = {
        "identity/LineItemId": pl.concat_str(pl.lit("qmooz4hg3jabcdabcdabcdabcdabcdabcdabcdabc"), pl.col("i")),
        "bill/InvoiceId": pl.lit("1234567"),
        "bill/InvoicingEntity": pl.lit("Amazon Web Services, Inc."),
        "bill/PayerAccountId": pl.lit("123412340534"),
        "bill/BillingPeriodStartDate": pl.lit("2026-03-01T00:00:00.000Z"),
        "bill/BillingPeriodEndDate": pl.lit("2026-04-01T00:00:00.000Z"),
        "lineItem/UsageAccountId": (123412340000 + pl.col("i") % 40).cast(pl.String),
        "lineItem/LineItemType": pl.lit("Usage"),
        "lineItem/UsageStartDate": hour.dt.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "lineItem/UsageEndDate": (hour + pl.duration(hours=1)).dt.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "lineItem/ProductCode": pl.lit("AmazonEC2"),
        "lineItem/UsageType": pl.concat_str(pl.lit("EUC1-BoxUsage:m5."), pl.col("i") % 9, pl.lit("xlarge")),
        "lineItem/Operation": pl.lit("RunInstances"),
        "lineItem/ResourceId": pl.concat_str(pl.lit("i-0abcdef"), pl.col("i") % 20_000),
        "lineItem/UsageAmount": pl.lit("1.0"),
        "lineItem/CurrencyCode": pl.lit("USD"),
        "lineItem/UnblendedRate": pl.lit("0.0960000000"),
        "lineItem/UnblendedCost": cost,
        "lineItem/LineItemDescription": pl.lit("$0.096 per On Demand Linux m5.large Instance Hour"),
        "product/ProductName": pl.lit("Amazon Elastic Compute Cloud"),
        "product/region": pl.lit("eu-central-1"),
        "product/location": pl.lit("EU (Frankfurt)"),
        "product/sku": pl.concat_str(pl.lit("SKU"), pl.col("i") % 3000),
        "pricing/publicOnDemandCost": cost,
        "pricing/publicOnDemandRate": pl.lit("0.0960000000"),
        "pricing/unit": pl.lit("Hrs"),
        "resourceTags/user:Team": pl.concat_str(pl.lit("team-"), pl.col("i") % 30),
        "resourceTags/user:Name": pl.concat_str(pl.lit("host-"), pl.col("i") % 20_000),
    }
    for index in range(CUR_COLUMNS - len(named)):
        named[f"product/attribute{index}"] = pl.lit(f"value {index}" if index % 3 == 0 else None, pl.String)
    return i.to_frame("i").select(**named)


def generate(kind: str, rows: int, path: Path) -> None:
    make = focus_rows if kind == "focus" else cur_rows
    with path.open("wb") as file:
        for start in range(0, rows, CHUNK_ROWS):
            make(start, min(CHUNK_ROWS, rows - start)).write_csv(file, include_header=start == 0)


def child(way: str, document: Path, folder: Path) -> None:
    """Do one thing once and print what it cost."""
    total = ""
    started = time.perf_counter()
    if way == "bursar":
        from bursar.connectors.bills import BILL_FORMATS
        from bursar.infra.lake_stage import stage
        from bursar.kernel.connector import HEAD_BYTES_MAX, Head

        with document.open("rb") as file:
            head = Head(document.name, file.read(HEAD_BYTES_MAX), document.stat().st_size)
        best = max(BILL_FORMATS, key=lambda connector: connector.sniff(head))
        total = str(stage(best.parse(document, options={}), folder / "staged").totals["USD"])
    elif way == "polars":
        pl.scan_csv(document).sink_parquet(folder / "plain.parquet", compression="zstd", compression_level=1)
    elif way == "duckdb":
        import duckdb

        connection = duckdb.connect(config={"threads": 2})
        target = folder / "duck.parquet"
        connection.execute(f"copy (from read_csv('{document}')) to '{target}' (format parquet, compression zstd)")
    else:
        folder.chmod(0o755)  # the database's user has to get to its data
        print(json.dumps(asyncio.run(again(document, folder))))
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    wall = time.perf_counter() - started
    print(json.dumps({"cpu": used.ru_utime + used.ru_stime, "mb": used.ru_maxrss / 1024, "wall": wall, "total": total}))


async def again(document: Path, home: Path) -> dict[str, float]:
    """Import a file, then again unchanged, known by its times and by its hash; return the CPU seconds of each."""
    from bursar import wiring
    from bursar.core.intake.jobs import files_under
    from bursar.infra.clock import utc_now
    from bursar.settings import Settings

    async def taken(importer: "Importer", actor: "Actor", *, trust: bool) -> float:
        began = time.process_time()
        sources = files_under([document])
        batches = [b async for b in importer.import_sources(actor, sources, clock=utc_now, trust_marks=trust)]
        assert batches[0].rows_taken > 0
        return time.process_time() - began

    async with wiring.open_house(Settings(home=home)) as house:
        actor = await wiring.local_actor(house)
        first = await taken(house.importer, actor, trust=True)
        await house.importer.sandbox.close()
        child = resource.getrusage(resource.RUSAGE_CHILDREN)
        known = [await taken(house.importer, actor, trust=True) for _ in range(REPEATS)]
        hashed = await taken(house.importer, actor, trust=False)
    return {"first": first + child.ru_utime + child.ru_stime, "known": sum(known) / REPEATS, "hashed": hashed}


def surroundings(way: str) -> dict[str, str] | None:
    """Return the environment that a parser's child has in the product; the peers keep their own defaults."""
    from bursar.infra.sandbox import environment

    return environment() if way == "bursar" else None


def measure(way: str, document: Path, folder: Path) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        command = [sys.executable, __file__, "--child", way, str(document), scratch]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=surroundings(way))
    return dict(json.loads(done.stdout.splitlines()[-1]))


def report(kind: str, rows: int, folder: Path) -> dict[str, float]:
    document = folder / f"{kind}.csv"
    generate(kind, rows, document)
    size_mb = document.stat().st_size / 1e6
    measured = {way: measure(way, document, folder) for way in ("polars", "bursar", "duckdb")}
    repeat = measure("again", document, folder)
    document.unlink()
    print(f"\n{kind}: {rows:,} rows, {size_mb:,.0f} MB")
    print(f"{'':10}{'CPU s':>8}{'wall s':>8}{'RSS MB':>8}{'rows/CPU-s':>12}")
    for way, cost in measured.items():
        print(f"{way:10}{cost['cpu']:8.2f}{cost['wall']:8.2f}{cost['mb']:8.0f}{rows / cost['cpu']:12,.0f}")
    ratio = measured["bursar"]["cpu"] / measured["polars"]["cpu"]
    print(
        f"CPU against plain Polars {ratio:.2f}x, against DuckDB {measured['bursar']['cpu'] / measured['duckdb']['cpu']:.2f}x"
    )
    share = repeat["known"] / repeat["first"]
    print(f"imported with everything {repeat['first']:.2f} CPU-s; unchanged again {repeat['known'] * 1e3:.1f} ms ({share:.2%}),"
          f" by its hash {repeat['hashed'] * 1e3:.0f} ms ({repeat['hashed'] / repeat['first']:.1%})")  # fmt: skip
    return {"ratio": ratio, "mb": measured["bursar"]["mb"], "again": share}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--child", nargs=3, metavar=("WAY", "DOCUMENT", "FOLDER"))
    given = parser.parse_args()
    if given.child:
        child(given.child[0], Path(given.child[1]), Path(given.child[2]))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        found = [report(kind, rows, Path(folder)) for kind, rows in (ROWS_QUICK if given.quick else ROWS).items()]
    worst = max(result["ratio"] for result in found)
    memory = max(result["mb"] for result in found)
    repeated = max(result["again"] for result in found)
    ok = worst <= CPU_RATIO_MAX and memory <= MEMORY_MB_MAX and repeated <= AGAIN_SHARE_MAX
    print(json.dumps({"figure": "cloud_ingest_cpu_ratio", "value": round(worst, 3), "unit": "x plain Polars",
                      "target": CPU_RATIO_MAX, "memory_mb": round(memory), "memory_mb_max": MEMORY_MB_MAX,
                      "again_share": round(repeated, 5), "again_share_max": AGAIN_SHARE_MAX, "ok": ok}))  # fmt: skip
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
