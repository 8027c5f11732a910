"""What it costs to ask the lake through Bursar instead of by hand: ten common questions on 10 million cost lines.

``python benchmarks/cloud_query.py [--quick]`` writes a lake of twelve months, then asks each question twice: through the
part's query builder and the locked-down engine of the lake, and as SQL written by hand for plain DuckDB over the same files.
Each is asked three times in turn and the quickest counts. The overhead is the ratio of the sums.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the root: this folder holds a module named http

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from typing import Any

import duckdb
import polars as pl

from bursar.infra.db import new_id
from bursar.infra.lake import Lake, LakeFile
from bursar.infra.lake_place import Held
from bursar.kernel.lines import COST_LINES
from bursar.kernel.period import Period, add_months
from bursar.parts.cloud import store
from bursar.parts.cloud.rules.dimensions import CostKind
from bursar.parts.cloud.rules.queries import CostQuery, costs

RATIO_MAX = 1.2
ROWS = 10_000_000
ROWS_QUICK = 1_000_000
MONTHS = 12
ROUNDS = 3
YEAR = Period(date(2025, 1, 1), date(2026, 1, 1))
QUARTER = Period(date(2025, 4, 1), date(2025, 7, 1))
COST = "sum(coalesce(effective_cost, billed_cost))"

QUESTIONS: tuple[tuple[str, CostQuery, str, str], ...] = (
    ("total of a year", CostQuery(YEAR), "currency", ""),
    ("by month", CostQuery(YEAR, ("month",)), "date_trunc('month', charge_period_start::date)::date, currency", ""),
    ("by day of a quarter", CostQuery(QUARTER, ("day",)), "charge_period_start::date, currency", ""),
    ("by service", CostQuery(YEAR, ("service",)), "service_name, currency", ""),
    ("by service and month", CostQuery(YEAR, ("month", "service")),
     "date_trunc('month', charge_period_start::date)::date, service_name, currency", ""),
    ("by account and region", CostQuery(YEAR, ("account", "region")), "sub_account_id, region_id, currency", ""),
    ("dearest 100 resources", CostQuery(YEAR, ("resource",), limit=100), "resource_id, currency", ""),
    ("by tag", CostQuery(QUARTER, ("tag:team",)), "tags ->> '$.team', currency", ""),
    ("one service by SKU, billed", CostQuery(YEAR, ("sku",), CostKind.BILLED, "service = 'Service 7'"),
     "sku_id, currency", "and service_name = 'Service 7'"),
    ("production by account", CostQuery(QUARTER, ("account",), where="tag:env = prod and charge = Usage"),
     "sub_account_id, currency", "and tags ->> '$.env' = 'prod' and charge_category = 'Usage'"),
)  # fmt: skip


def month_of_lines(month: date, rows: int) -> pl.DataFrame:
    i = pl.int_range(0, rows, eager=True).alias("i")
    days = (add_months(month, 1) - month).days
    made = {
        "row": pl.col("i"),
        "provider": pl.lit("aws"),
        "billing_account_id": pl.lit("payer"),
        "sub_account_id": (1_000 + pl.col("i") % 40).cast(pl.String),
        "charge_period_start": pl.lit(month).cast(pl.Datetime("us", "UTC")) + pl.duration(hours=pl.col("i") % (24 * days)),
        "charge_category": pl.when(pl.col("i") % 50 == 0).then(pl.lit("Tax")).otherwise(pl.lit("Usage")),
        "service_name": pl.concat_str(pl.lit("Service "), pl.col("i") * 31 % 60),
        "region_id": pl.concat_str(pl.lit("region-"), pl.col("i") * 7 % 12),
        "resource_id": pl.concat_str(pl.lit("arn:aws:thing/"), pl.col("i") * 7919 % 20_000),
        "sku_id": pl.concat_str(pl.lit("SKU"), pl.col("i") * 13 % 3000),
        "billed_cost": ((pl.col("i") * 7919 % 1_000_003).cast(pl.Decimal(38, 6)) / 1_000_000).cast(pl.Decimal(38, 15)),
        "currency": pl.lit("USD"),
        "tags": pl.concat_str(pl.lit('{"team": "team-'), pl.col("i") % 30, pl.lit('", "env": "'),
                              pl.when(pl.col("i") % 3 == 0).then(pl.lit("dev")).otherwise(pl.lit("prod")), pl.lit('"}')),
    }  # fmt: skip
    made["effective_cost"] = made["billed_cost"]
    return i.to_frame().select(
        made.get(name, pl.lit(None)).cast(kind).alias(name) for name, kind in COST_LINES.columns.items()
    )


class Listed(Lake):
    """A lake whose manifest is a list in memory: what is measured is the question, not PostgreSQL."""

    written: Sequence[tuple[date, Path]] = ()

    async def files(  # noqa: D102  the signature is that of the lake
        self, tx: Any, dataset: str, *, months: Any = None, batch: Any = None
    ) -> Any:
        del tx, batch
        one = new_id()
        return [
            LakeFile(new_id(), month, one, one, "focus", 0, (), Held(path.name, path.stat().st_size, ""), 0)
            for month, path in self.written
            if dataset == COST_LINES.name and (months is None or month in months)
        ]


def write(lake: Listed, rows: int) -> None:
    written = []
    for index in range(MONTHS):
        month = add_months(YEAR.start, index)
        path = lake.root / f"{month:%Y-%m}.parquet"
        month_of_lines(month, rows // MONTHS).write_parquet(
            path, compression="zstd", compression_level=1, row_group_size=65_536
        )
        written.append((month, path))
    lake.written = written


def by_hand(lake: Listed, question: tuple[str, CostQuery, str, str]) -> list[tuple[Any, ...]]:
    _, asked, group, extra = question
    months = list(store.around(asked.period))
    files = [str(path) for month, path in lake.written if month in months]
    cost = "sum(billed_cost)" if asked.kind is CostKind.BILLED else COST
    connection = duckdb.connect(config={"threads": lake.threads, "memory_limit": f"{lake.memory_mb}MiB"})
    connection.execute("set TimeZone = 'UTC'")
    text = (
        f"select {group}, {cost} as cost, count(*) as lines from read_parquet({files})"
        f" where charge_period_start >= timestamptz '{asked.period.start} 00:00:00+00'"
        f" and charge_period_start < timestamptz '{asked.period.end} 00:00:00+00' {extra}"
        f" group by all order by cost desc limit {asked.limit}"
    )
    return list(pl.DataFrame(connection.sql(text)).rows())


def through_bursar(lake: Listed, question: tuple[str, CostQuery, str, str]) -> list[tuple[Any, ...]]:
    asked = question[1]
    rows = asyncio.run(store.ask(None, lake, costs(asked), period=asked.period, engine="duckdb"))  # type: ignore[arg-type]
    return list(rows.rows())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    rows = ROWS_QUICK if parser.parse_args().quick else ROWS
    with tempfile.TemporaryDirectory() as folder:
        lake = Listed(Path(folder), memory_mb=1024)
        write(lake, rows)
        print(f"{rows:,} lines; CPU seconds, the quickest of {ROUNDS}")
        sums = [0.0, 0.0]
        for question in QUESTIONS:
            quickest = [float("inf"), float("inf")]
            answers: list[list[tuple[Any, ...]]] = [[], []]
            for _ in range(ROUNDS):
                for side, ask in enumerate((by_hand, through_bursar)):
                    began = time.process_time()
                    answers[side] = ask(lake, question)
                    quickest[side] = min(quickest[side], time.process_time() - began)
            assert sum(row[-2] for row in answers[0]) == sum(row[-2] for row in answers[1]), question[0]
            assert len(answers[0]) == len(answers[1]), question[0]
            sums = [total + one for total, one in zip(sums, quickest, strict=True)]
            print(f"{question[0]:28}{quickest[0]:8.3f}{quickest[1]:8.3f}{quickest[1] / quickest[0]:7.2f}x")
    ratio = sums[1] / sums[0]
    ok = ratio <= RATIO_MAX
    print(json.dumps({"figure": "cloud_query_overhead", "value": round(ratio, 3), "unit": "x hand-written SQL",
                      "target": RATIO_MAX, "ok": ok}))  # fmt: skip
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
