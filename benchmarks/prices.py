"""What it costs to take a regional price list, and how fast a price is found.

``python benchmarks/prices.py [--quick]`` generates an offer like EC2's for one region (30,000 products, 630,000 price
rows, about 450 MB of CSV), reads it into the price table in a fresh process, beside plain DuckDB ``read_csv`` with the
same filter; then looks up 20,000 prices among one million, most of them not asked for before.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the root: this folder holds a module named http

import argparse
import json
import resource
import subprocess
import tempfile
import time
from datetime import date

import numpy as np
import polars as pl

from benchmarks._figures import arguments, figure, finish, table

PRODUCTS = 30_000
PRODUCTS_QUICK = 6_000
PRICES_A_PRODUCT = 21
PRICES = 1_000_000
LOOKUPS = 20_000
LOOKUPS_QUICK = 5_000
CPU_S_MAX = 3.0
MEMORY_MB_MAX = 200.0
LOOKUP_MS_MAX = 1.0
DAY = date(2026, 11, 1)
REGION = "us-east-1"

METADATA = (
    '"FormatVersion","v1.0"\n"Disclaimer","This pricing list is for informational purposes only."\n'
    '"Publication Date","2026-10-30T00:00:00Z"\n"Version","20261030000000"\n"OfferCode","AmazonEC2"\n'
)
ATTRIBUTES = 64
"""Further product attributes of a row, as in the real file."""


def rows(products: pl.Series) -> pl.DataFrame:
    """Return the price rows of some products; one in twelve is a plain shared machine, as in the real file."""
    frame = products.to_frame("p").join(pl.DataFrame({"t": range(PRICES_A_PRODUCT)}), how="cross")
    p, t = pl.col("p"), pl.col("t")
    plain = p % 12 == 0
    reserved = t > 0
    sku = pl.concat_str(pl.lit("SKU"), p.cast(pl.String).str.pad_start(13, "0"))
    upfront = reserved & (t % 2 == 0)
    named = {
        "SKU": sku,
        "OfferTermCode": pl.when(reserved)
        .then(pl.concat_str(pl.lit("TERM"), (t + 1) // 2))
        .otherwise(pl.lit("JRTCKXETXF")),
        "RateCode": pl.concat_str(sku, pl.lit(".RATE."), t),
        "TermType": pl.when(reserved).then(pl.lit("Reserved")).otherwise(pl.lit("OnDemand")),
        "PriceDescription": pl.concat_str(pl.lit("$0.0960000000 per On Demand Linux instance hour of product "), p),
        "EffectiveDate": pl.lit("2026-10-01"),
        "StartingRange": pl.lit("0"),
        "EndingRange": pl.lit("Inf"),
        "Unit": pl.when(upfront).then(pl.lit("Quantity")).otherwise(pl.lit("Hrs")),
        "PricePerUnit": pl.when(upfront).then(pl.lit("307")).otherwise(pl.concat_str(pl.lit("0."), 1000 + p % 8999)),
        "Currency": pl.lit("USD"),
        "LeaseContractLength": pl.when(reserved).then(pl.lit("1yr")).otherwise(pl.lit("")),
        "PurchaseOption": pl.when(reserved).then(pl.lit("Partial Upfront")).otherwise(pl.lit("")),
        "OfferingClass": pl.when(reserved).then(pl.lit("standard")).otherwise(pl.lit("")),
        "Product Family": pl.lit("Compute Instance"),
        "serviceCode": pl.lit("AmazonEC2"),
        "Instance Type": pl.concat_str(pl.lit("m"), p % 9, pl.lit("."), p // 9 % 40, pl.lit("xlarge")),
        "vCPU": (p % 64 + 1).cast(pl.String),
        "Physical Processor": pl.lit("Intel Xeon Platinum 8175"),
        "Memory": pl.concat_str(p % 512 + 1, pl.lit(" GiB")),
        "Operating System": pl.when(p % 24 == 0).then(pl.lit("Linux")).otherwise(pl.lit("Windows")),
        "Tenancy": pl.when(plain).then(pl.lit("Shared")).otherwise(pl.lit("Dedicated")),
        "Pre Installed S/W": pl.lit("NA"),
        "CapacityStatus": pl.lit("Used"),
        "usageType": pl.concat_str(pl.lit("BoxUsage:"), p % 900),
        "Region Code": pl.lit(REGION),
        **{f"Attribute {index}": pl.lit(f"value {index}" if index % 3 == 0 else "") for index in range(ATTRIBUTES)},
    }
    return frame.select(**named)


def generate(path: Path, products: int) -> None:
    with path.open("wb") as file:
        file.write(METADATA.encode())
        for start in range(0, products, 1000):
            part = rows(pl.int_range(start, min(start + 1000, products), eager=True))
            part.write_csv(file, include_header=start == 0, quote_style="always")


def child(way: str, path: Path) -> None:
    """Do one thing once and print what it cost."""
    started = time.perf_counter()
    if way == "bursar":
        from bursar.connectors.prices.aws_bulk import offer_table

        count = offer_table(path, region=REGION, day=DAY).height
    else:
        import duckdb

        source = f"read_csv('{path}', skip=5, header=true, all_varchar=true)"
        sql = f"select count(*) from {source} where \"Tenancy\" = 'Shared' and \"PricePerUnit\" > '0'"
        found = duckdb.connect(config={"threads": 2}).execute(sql).fetchone()
        count = found[0] if found else 0
    used = resource.getrusage(resource.RUSAGE_SELF)
    cost = {"cpu": used.ru_utime + used.ru_stime, "mb": used.ru_maxrss / 1024, "wall": time.perf_counter() - started}
    print(json.dumps(cost | {"count": count}))


def measure(way: str, path: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", way, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def million() -> pl.DataFrame:
    from bursar.kernel.prices import PRICE_COLUMNS
    from bursar.parts.cloud.prices.rules import checked

    n = pl.col("n")
    frame = pl.int_range(0, PRICES, eager=True).to_frame("n")
    return checked(
        frame.select(
            provider=pl.lit("aws"),
            service=pl.lit("AmazonEC2"),
            sku=pl.concat_str(pl.lit("SKU"), n),
            region=pl.concat_str(pl.lit("region-"), n % 30),
            unit=pl.lit("Hrs"),
            term=pl.lit("on_demand"),
            currency=pl.lit("USD"),
            tier_start=pl.lit(0),
            price=(n % 10_000).cast(pl.Decimal(38, 15)) / 1000,
            seen_on=pl.lit(DAY),
            source=pl.lit("benchmark"),
        ).with_columns(pl.lit(None, kind).alias(name) for name, kind in PRICE_COLUMNS.items() if name not in KNOWN)
    )


KNOWN = frozenset("provider service sku region unit term currency tier_start price seen_on source".split())  # noqa: SIM905  a list of words


def lookups(count: int) -> tuple[float, float, float]:
    """Return the median and 99th percentile of a lookup in milliseconds, and the share answered from the cache."""
    from bursar.infra.metrics import CACHE, METRICS
    from bursar.parts.cloud.prices.rules import Wanted
    from bursar.parts.cloud.prices.service import PriceList

    with tempfile.TemporaryDirectory() as scratch:
        known = PriceList(Path(scratch), default=million, clock=time.monotonic)
        known.book()
        draw = np.random.default_rng(7)
        asked = np.minimum(draw.zipf(1.3, count), PRICES) - 1
        took = []
        for number in asked.tolist():
            wanted = Wanted("aws", f"region-{number % 30}", sku=f"SKU{number}")
            started = time.perf_counter()
            found = known.price(wanted, on=DAY)
            took.append((time.perf_counter() - started) * 1000)
            assert found is not None
        tally = METRICS.read(CACHE)["prices",]
        return float(np.median(took)), float(np.quantile(took, 0.99)), 1 - tally.failures / tally.count


def main(options: argparse.Namespace) -> None:
    products = PRODUCTS_QUICK if options.quick else PRODUCTS
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "offer.csv"
        generate(path, products)
        size = path.stat().st_size / 1e6
        ours, plain = measure("bursar", path), measure("duckdb", path)
    head = ("way", "MB of CSV", "CPU-s", "wall-s", "memory MB", "rows kept")
    table(
        [
            (name, size, got["cpu"], got["wall"], got["mb"], int(got["count"]))
            for name, got in (("Bursar", ours), ("plain DuckDB", plain))
        ],
        head=head,
    )
    median, p99, hits = lookups(LOOKUPS_QUICK if options.quick else LOOKUPS)
    table([(PRICES, median, p99, hits)], head=("prices", "median ms", "p99 ms", "cache hits"))
    finish(
        figure("price list of an EC2 region, CPU", ours["cpu"], "CPU-s", target=CPU_S_MAX, better="lower"),
        others=(
            figure("price list of an EC2 region, memory", ours["mb"], "MB", target=MEMORY_MB_MAX, better="lower"),
            figure("price lookup, 99th percentile", p99, "ms", target=LOOKUP_MS_MAX, better="lower"),
            figure("price cache hit ratio", hits, "", target=0.8, better="higher"),
        ),
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], Path(sys.argv[3]))
    else:
        main(arguments(__doc__))
