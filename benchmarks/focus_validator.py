"""What it costs to decide the FOCUS 1.2 rules for a large file, and how many are decided; beside the reference tool.

``python benchmarks/focus_validator.py [--quick]`` generates a FOCUS 1.2 file (1M rows, 57 columns, high-cardinality
resource ids and amounts), validates it in a fresh process and reports CPU seconds, memory and rules decided. Without
``--quick`` it also tries PyPI's ``focus-validator`` on the first 100,000 rows in a virtual environment of its own
(Python 3.12 and a package index are needed; where they are missing, that is said).
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the root: this folder holds a module named http

import argparse
import json
import resource
import shutil
import subprocess
import tempfile
import time

import polars as pl

from benchmarks._figures import figure, finish, table

ROWS = 1_000_000
ROWS_QUICK = 400_000
CHUNK_ROWS = 50_000
PEER_ROWS = 100_000
CPU_S_MAX_PER_MILLION = 10.0
MEMORY_MB_MAX = 500.0
DECIDED_MIN = 600
PEER = ("focus-validator==2.2.1", "pyarrow<20")
PEER_TIMEOUT_S = 420


EMPTY = (
    *("CapacityReservationId", "CapacityReservationStatus", "CommitmentDiscountCategory", "CommitmentDiscountId"),
    *("CommitmentDiscountName", "CommitmentDiscountQuantity", "CommitmentDiscountStatus", "CommitmentDiscountType"),
    "CommitmentDiscountUnit",
)


def rows(start: int, count: int) -> pl.DataFrame:
    i = pl.int_range(start, start + count, eager=True)
    n = pl.col("i")
    day = pl.datetime(2026, 3, 1) + pl.duration(hours=n % 720)
    quantity = (n * 7919 % 1_000_003).cast(pl.Decimal(38, 6)) / 1000
    cost = (quantity * pl.lit("0.04", pl.String).cast(pl.Decimal(38, 2))).cast(pl.String)
    empty = pl.lit(None, pl.String)
    values = {
        "AvailabilityZone": pl.concat_str(pl.lit("eu-central-1"), pl.lit("abc").str.slice(0, 1)),
        "BilledCost": cost,
        "BillingAccountId": pl.lit("1234567890123"),
        "BillingAccountName": pl.lit("SunBird"),
        "BillingAccountType": pl.lit("Organization"),
        "BillingCurrency": pl.lit("USD"),
        "BillingPeriodEnd": pl.lit("2026-04-01T00:00:00Z"),
        "BillingPeriodStart": pl.lit("2026-03-01T00:00:00Z"),
        "ChargeCategory": pl.lit("Usage"),
        "ChargeClass": empty,
        "ChargeDescription": pl.concat_str(pl.lit("$0.04 per hour, tier "), n % 97),
        "ChargeFrequency": pl.lit("Usage-Based"),
        "ChargePeriodEnd": (day + pl.duration(hours=1)).dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "ChargePeriodStart": day.dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "ConsumedQuantity": quantity.cast(pl.String),
        "ConsumedUnit": pl.lit("Hours"),
        "ContractedCost": cost,
        "ContractedUnitPrice": pl.lit("0.04"),
        "EffectiveCost": cost,
        "InvoiceId": pl.lit("INV-2026-03"),
        "InvoiceIssuerName": pl.lit("AWS"),
        "ListCost": cost,
        "ListUnitPrice": pl.lit("0.04"),
        "PricingCategory": pl.lit("Standard"),
        "PricingCurrency": pl.lit("USD"),
        "PricingQuantity": quantity.cast(pl.String),
        "PricingUnit": pl.lit("Hours"),
        "ProviderName": pl.lit("AWS"),
        "PublisherName": pl.lit("AWS"),
        "RegionId": pl.lit("eu-central-1"),
        "RegionName": pl.lit("EU (Frankfurt)"),
        "ResourceId": pl.concat_str(pl.lit("arn:aws:ec2:eu-central-1:347410479675:instance/i-"), n % 300_000),
        "ResourceName": pl.concat_str(pl.lit("host-"), n % 300_000),
        "ResourceType": pl.lit("Instance"),
        "ServiceCategory": pl.lit("Compute"),
        "ServiceName": pl.concat_str(pl.lit("Service "), n % 60),
        "ServiceSubcategory": pl.lit("Virtual Machines"),
        "SkuId": pl.concat_str(pl.lit("SKU"), n % 3000),
        "SkuMeter": pl.concat_str(pl.lit("BoxUsage:"), n % 3000),
        "SkuPriceDetails": pl.concat_str(pl.lit('{"CoreCount": '), n % 3000 % 64, pl.lit("}")),
        "SkuPriceId": pl.concat_str(pl.lit("SKU"), n % 3000, pl.lit(".JRTCKXETXF")),
        "SubAccountId": (51738928000 + n % 40).cast(pl.String),
        "SubAccountName": pl.concat_str(pl.lit("Team "), n % 40),
        "SubAccountType": pl.lit("Account"),
        "Tags": pl.concat_str(pl.lit('{"application": "app-'), n % 20_000, pl.lit('", "env": "dev"}')),
        **dict.fromkeys(EMPTY, empty),
        "PricingCurrencyContractedUnitPrice": pl.lit("0.04"),
        "PricingCurrencyEffectiveCost": cost,
        "PricingCurrencyListUnitPrice": pl.lit("0.04"),
    }
    return i.to_frame("i").select(**values)


def generate(path: Path, count: int) -> None:
    with path.open("wb") as file:
        for start in range(0, count, CHUNK_ROWS):
            rows(start, min(CHUNK_ROWS, count - start)).write_csv(file, include_header=start == 0)


def child(document: Path) -> None:
    from bursar.parts.cloud.focus_validation.service import validate

    started = time.perf_counter()
    report = validate(document)
    used = resource.getrusage(resource.RUSAGE_SELF)
    figures = {
        "cpu": used.ru_utime + used.ru_stime,
        "mb": used.ru_maxrss / 1024,
        "wall": time.perf_counter() - started,
        "decided": report.decided,
        "rules": len(report.outcomes),
        "violations": [outcome.rule.id for outcome in report.violations],
    }
    print(json.dumps(figures))


def peer(document: Path, folder: Path, python: str | None) -> str:
    """Run the reference tool; return one line about it."""
    if python is None:
        return "focus-validator: not measured, there is no Python 3.12 (give --peer-python)"
    home = folder / "peer"
    try:
        subprocess.run([python, "-m", "venv", str(home)], check=True, capture_output=True, timeout=PEER_TIMEOUT_S)
        pip = [str(home / "bin/python"), "-m", "pip", "install", "-q", *PEER]
        subprocess.run(pip, check=True, capture_output=True, timeout=PEER_TIMEOUT_S)
        site = next(home.glob("lib/python*/site-packages"))
        command = [str(home / "bin/python"), "-m", "focus_validator.main", "--data-file", str(document)]
        command += ["--validate-version", "1.2", "--block-download", "--applicability-criteria", "ALL"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, cwd=site, capture_output=True, text=True, timeout=PEER_TIMEOUT_S, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    except (subprocess.SubprocessError, StopIteration) as error:
        said = getattr(error, "stderr", b"") or b""
        return f"focus-validator: not measured, {type(error).__name__} {said[-200:]!r}"
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    said = [line.strip() for line in done.stdout.splitlines() if "Total" in line or "Pass" in line]
    return f"focus-validator 2.2.1, {PEER_ROWS:,} rows: {cpu:.1f} CPU-s; {' '.join(said)[:160] or 'no summary'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller input, without the reference tool")
    parser.add_argument("--peer-python", default=shutil.which("python3.12"), help="Python 3.12 for the reference tool")
    options = parser.parse_args()
    quick = options.quick
    count = ROWS_QUICK if quick else ROWS
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        document = folder / "focus.csv"
        generate(document, count)
        size = document.stat().st_size / 1e6
        command = [sys.executable, __file__, "--child", str(document)]
        got = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        table(
            [
                (
                    count,
                    size,
                    got["cpu"],
                    got["wall"],
                    got["mb"],
                    f"{got['decided']} of {got['rules']}",
                    len(got["violations"]),
                )
            ],
            head=("rows", "MB", "CPU-s", "wall-s", "memory MB", "decided", "violated"),
        )
        if not quick:
            generate(folder / "small.csv", PEER_ROWS)
            print(peer(folder / "small.csv", folder, options.peer_python))
    cpu = got["cpu"] * 1_000_000 / count
    finish(
        figure("FOCUS validation, CPU per million rows", cpu, "CPU-s", target=CPU_S_MAX_PER_MILLION, better="lower"),
        others=(
            figure("FOCUS validation, memory", got["mb"], "MB", target=MEMORY_MB_MAX, better="lower"),
            figure("FOCUS 1.2 rules decided of 621", got["decided"], "rules", target=DECIDED_MIN, better="higher"),
        ),
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(Path(sys.argv[2]))
    else:
        main()
