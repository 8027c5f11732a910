"""Every query of the part gives equal answers on DuckDB and on a Spark Connect server (Sail)."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from sqlglot import exp

from bursar.connectors.bills.focus import FOCUS
from bursar.infra.db import Database
from bursar.infra.lake import Lake
from bursar.infra.lake_query import spark_session
from bursar.kernel.actor import Actor
from bursar.kernel.lines import MEASURE_LINES, UTILISATION_LINES
from bursar.kernel.period import Period
from bursar.parts.cloud import store
from bursar.parts.cloud.rules import charges, eligible, queries, utilisation
from bursar.parts.cloud.rules.dimensions import COLUMNS, CostKind
from bursar.parts.cloud.rules.inheritance import TagRule
from bursar.parts.cloud.rules.queries import CostQuery
from bursar.parts.cloud.sharing.store import measures, quantities
from tests.conftest import spark_server
from tests.parts.cloud.bills import MARCH, daily, line, put, put_parsed
from tests.shared import shared_data

SEPTEMBER = Period(date(2024, 9, 1), date(2024, 10, 1))


def questions(period: Period) -> Iterator[exp.Query]:
    """Yield every query that the part composes."""
    for kind in CostKind:
        yield queries.costs(CostQuery(period, ("service",), kind))
    for name in (*COLUMNS, "day", "month", "tag:environment", "tag:a key.with dots"):
        if name != "currency":
            yield queries.costs(CostQuery(period, (name,), limit=queries.GROUPS_MAX))
    for where in (
        "service ~ amazon and not tag:environment = dev",
        "tag:environment in (dev, 'prod') or region is empty",
        "cost > 0.001 and billed <= 10 and resource is not empty",
        r"""service != "it's" or service = '\\ \" %_'""",
    ):
        yield queries.costs(CostQuery(period, ("provider", "day"), where=where, limit=queries.GROUPS_MAX))
    for kind in (CostKind.EFFECTIVE, CostKind.BILLED):
        yield queries.bridge_cells(period, kind, "provider = aws")
    yield queries.last_day()
    yield queries.uses(period)
    yield queries.uses(period, (("aws", "payer"), ("azure", "")))
    yield queries.commitments(period, (("aws", "payer"),))
    yield queries.months(period.start)
    yield queries.doubles(period, "0.01")
    yield queries.transfer_days(period, charges.TRANSFER_WORDS)
    yield queries.invoice_totals([period.start])
    yield utilisation.evidence(period)
    yield eligible.covered_and_not(period)
    yield eligible.unused(period)
    rules = (TagRule("environment", source="account", where="tag:team is empty"), TagRule("environment", value="prod"))
    yield queries.costs(CostQuery(period, ("tag:environment",), where="not tag:environment = dev", tags=rules))
    yield quantities(period, "orders")
    yield measures()


def ordered(frame: pl.DataFrame) -> list[tuple[object, ...]]:
    plain = frame.with_columns(pl.selectors.temporal().cast(pl.String), pl.selectors.integer().cast(pl.Int64))
    return sorted(plain.iter_rows(), key=str)


async def test_equal_answers_on_duckdb_and_spark(lake: Lake, db: Database, actor: Actor, sail: str) -> None:
    rows = daily(
        MARCH, "1.000000000000001", sku_meter="EUC1-DataTransfer-Out-Bytes", resource_id="r", list_cost=Decimal(2)
    )
    rows += [
        line(cost="3", tags='{"environment": "dev", "a key.with dots": "q\\"uote"}', region_id=None, resource_id="x")
    ] * 2
    rows += [line(cost="-1", charge_category="Credit", tags=None, billing_period_start=None)]
    busy = [
        {"provider": "aws", "sub_account_id": "1", "resource_id": "i-1", "metric": "cpu",
         "measured_at": datetime(2026, 3, day, tzinfo=UTC), "maximum": Decimal(day), "average": Decimal(1)}
        for day in range(1, 29)
    ]  # fmt: skip
    async with db.writing(actor) as tx:
        await put(lake, tx, rows)
        await put(lake, tx, busy, schema=UTILISATION_LINES)
        orders = [
            {"measure": "orders", "day": MARCH.start, "quantity": Decimal(day), "unit": "order"} for day in (1, 2)
        ]
        await put(lake, tx, orders, schema=MEASURE_LINES)
        asked = list(questions(MARCH))
        assert len(asked) > 30
        for expression in asked:
            here = await store.ask(tx, lake, expression, period=None, engine="duckdb")
            there = await store.ask(tx, lake, expression, period=None, engine=sail)

            assert here.columns == there.columns
            assert ordered(here) == ordered(there), expression.sql(dialect="duckdb")


async def test_equal_answers_for_the_public_sample(lake: Lake, db: Database, actor: Actor, sail: str) -> None:
    path = shared_data("cloud/focus_1_0/FOCUS-1.0/focus_sample.csv")
    async with db.writing(actor) as tx:
        await put_parsed(lake, tx, FOCUS.parse(path, options={}))
        for expression in questions(SEPTEMBER):
            here = await store.ask(tx, lake, expression, period=None, engine="duckdb")
            there = await store.ask(tx, lake, expression, period=None, engine=sail)

            assert ordered(here) == ordered(there), expression.sql(dialect="duckdb")


async def test_an_empty_lake_answers_the_same(lake: Lake, db: Database, actor: Actor, sail: str) -> None:
    async with db.reading(actor) as tx:
        for expression in (queries.costs(CostQuery(MARCH, ("service",))), queries.last_day()):
            here = await store.ask(tx, lake, expression, period=None, engine="duckdb")
            there = await store.ask(tx, lake, expression, period=None, engine=sail)

            assert here.rows() == there.rows()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake", memory_mb=256)


def answer_of(url: str) -> int:
    return int(spark_session(url).sql("select 6 * 7 as n").collect()[0].n)


async def test_a_server_is_not_taken_for_one_before_it() -> None:
    for _ in range(2):
        with spark_server() as url:
            assert await asyncio.to_thread(answer_of, url) == 42
