"""The lake: batches appear and vanish wholly, queries see exactly the manifest's files, and nothing else can be opened."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import polars as pl
import pytest
from sqlglot import exp, parse_one

from bursar.infra import lake_query
from bursar.infra.db import Database, Tx
from bursar.infra.lake import Lake
from bursar.infra.lake_compact import sweep
from bursar.infra.lake_query import QueryTooBig, QueryTooSlow, lock_down, query
from bursar.infra.lake_stage import stage
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Invalid, TooLarge, Unavailable
from bursar.kernel.lines import COST_LINES, Parsed
from tests.infra.costs import NOW, lines, put

SUM = "select service_name, sum(billed_cost) as cost from cost group by service_name order by service_name"


def sql(text: str) -> exp.Query:
    parsed = parse_one(text, read="duckdb")
    assert isinstance(parsed, exp.Query)
    return parsed


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake", memory_mb=256)


async def costs(lake: Lake, tx: Tx, text: str = SUM) -> dict[str, Decimal]:
    return dict((await query(lake, tx, sql(text), schemas=[COST_LINES])).iter_rows())


MARCH = (("ec2", date(2026, 3, 1), "1.000000000000001"), ("s3", date(2026, 3, 2), "0.5"))
APRIL = (("ec2", date(2026, 4, 1), "3"),)


async def test_a_query_sums_exactly(lake: Lake, db: Database, actor: Actor) -> None:
    async with db.writing(actor) as tx:
        await put(lake, tx, lines(*MARCH, *APRIL))
        assert await costs(lake, tx) == {"ec2": Decimal("4.000000000000001"), "s3": Decimal("0.5")}


async def test_an_empty_lake_answers_with_no_rows_of_the_right_types(lake: Lake, db: Database, actor: Actor) -> None:
    async with db.reading(actor) as tx:
        found = await query(lake, tx, sql("select * from cost"), schemas=[COST_LINES])
        scanned = (await lake.scan(tx, COST_LINES)).collect()

    assert found.is_empty()
    assert scanned.is_empty()
    assert scanned.schema["batch"] == pl.String()
    assert found.columns == list(COST_LINES.columns)
    assert found.schema["billed_cost"] == pl.Decimal(38, 15)


async def test_a_batch_is_seen_wholly_or_not_at_all(lake: Lake, db: Database, actor: Actor) -> None:
    async with db.writing(actor) as tx:
        await put(lake, tx, lines(*MARCH, *APRIL))
        async with db.reading(actor) as outside:
            assert await costs(lake, outside) == {}
    async with db.reading(actor) as tx:
        assert len(await costs(lake, tx)) == 2


async def test_a_batch_that_fails_leaves_nothing_but_an_orphan_that_is_swept(
    lake: Lake, db: Database, actor: Actor
) -> None:
    with pytest.raises(RuntimeError, match="power cut"):
        async with db.writing(actor) as tx:
            await put(lake, tx, lines(*MARCH))
            raise RuntimeError("power cut")

    async with db.reading(actor) as tx:
        assert await costs(lake, tx) == {}
        orphans = list((lake.root / str(actor.org)).rglob("*.parquet"))
        assert len(orphans) == 1
    async with db.writing(actor) as tx:
        assert await sweep(tx, lake, now=NOW) == 0
        assert await sweep(tx, lake, now=NOW, grace=timedelta(hours=-1)) == 1
    assert not orphans[0].exists()


async def test_a_newer_export_replaces_the_months_it_covers_and_nothing_else(
    lake: Lake, db: Database, actor: Actor
) -> None:
    async with db.writing(actor) as tx:
        await put(lake, tx, lines(*MARCH, *APRIL))
        await put(lake, tx, lines(("rds", date(2026, 3, 1), "7"), account="other"))
        newer = await put(lake, tx, lines(("ec2", date(2026, 3, 1), "2"), ("ec2", date(2026, 3, 2), "2")))
        after = await costs(lake, tx)
        await lake.drop_batch(tx, COST_LINES, newer, now=NOW)
        reverted = await costs(lake, tx)

    assert after == {"ec2": Decimal(7), "rds": Decimal(7)}
    assert reverted == {"ec2": Decimal("4.000000000000001"), "s3": Decimal("0.5"), "rds": Decimal(7)}


async def test_reverting_everything_returns_to_zero(lake: Lake, db: Database, actor: Actor) -> None:
    async with db.writing(actor) as tx:
        batch = await put(lake, tx, lines(*MARCH, *APRIL))
        assert await lake.drop_batch(tx, COST_LINES, batch, now=NOW) == 3
        assert await costs(lake, tx) == {}


async def test_another_organisation_sees_nothing(lake: Lake, db: Database, actor: Actor, other_actor: Actor) -> None:
    async with db.writing(actor) as tx:
        await put(lake, tx, lines(*MARCH))
    async with db.reading(other_actor) as tx:
        assert await costs(lake, tx) == {}


async def test_months_limit_the_files_that_are_opened(lake: Lake, db: Database, actor: Actor) -> None:
    async with db.writing(actor) as tx:
        await put(lake, tx, lines(*MARCH, *APRIL))
        found = await query(lake, tx, sql(SUM), schemas=[COST_LINES], months=[date(2026, 4, 1)])

    assert found.rows() == [("ec2", Decimal(3))]


async def test_joins_aliases_and_ctes_are_understood(lake: Lake, db: Database, actor: Actor) -> None:
    text = (
        "with top as (select service_name, sum(billed_cost) as cost from cost c group by 1)"
        " select t.service_name, t.cost from top t join cost on cost.service_name = t.service_name order by 1"
    )
    async with db.writing(actor) as tx:
        await put(lake, tx, lines(*MARCH))
        found = await query(lake, tx, sql(text), schemas=[COST_LINES])

    assert found["service_name"].to_list() == ["ec2", "s3"]


@pytest.mark.parametrize(
    "text",
    ["select * from bank", "select * from read_csv('/etc/passwd')", "select * from '/etc/passwd'",
     "select * from pg_catalog.pg_tables", "select (select max(x) from secrets) from cost"],
)  # fmt: skip
async def test_only_datasets_can_be_asked(lake: Lake, db: Database, actor: Actor, text: str) -> None:
    async with db.reading(actor) as tx:
        with pytest.raises(Invalid, match="is not a dataset"):
            await query(lake, tx, sql(text), schemas=[COST_LINES])


async def test_only_a_select_can_be_asked(lake: Lake, db: Database, actor: Actor) -> None:
    statement = parse_one("copy cost to '/tmp/out.csv'", read="duckdb")
    async with db.reading(actor) as tx:
        with pytest.raises(Invalid, match="only a SELECT"):
            await query(lake, tx, statement, schemas=[COST_LINES])  # type: ignore[arg-type]


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "allowed.parquet")
    pl.DataFrame({"a": [2]}).write_parquet(tmp_path / "other.parquet")
    connection = duckdb.connect()
    lock_down(connection, [str(tmp_path / "allowed.parquet")])
    yield connection
    connection.close()


def test_a_locked_connection_reads_what_is_allowed_and_nothing_else(
    locked: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    allowed, other = tmp_path / "allowed.parquet", tmp_path / "other.parquet"

    assert locked.execute(f"select a from read_parquet('{allowed}')").fetchall() == [(1,)]
    for text in (
        f"select * from read_parquet('{other}')",
        f"select * from read_parquet('{tmp_path}/*.parquet')",
        "select * from read_csv('/etc/passwd')",
        "select * from read_text('/etc/passwd')",
        f"copy (select 1) to '{tmp_path}/out.csv'",
        f"attach '{tmp_path}/new.db'",
        "install httpfs",
        "set enable_external_access = true",
        "set memory_limit = '64GB'",
        f"set allowed_paths = ['{other}']",
    ):
        with pytest.raises(duckdb.Error):
            locked.execute(text)


async def test_too_many_rows_are_refused(
    lake: Lake, db: Database, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake_query, "ROWS_MAX", 1)
    async with db.writing(actor) as tx:
        await put(lake, tx, lines(*MARCH))
        with pytest.raises(TooLarge, match="over the limit of 1 rows"):
            await query(lake, tx, sql(SUM), schemas=[COST_LINES])


async def test_a_query_that_takes_too_long_is_stopped(
    lake: Lake, db: Database, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake_query, "QUERY_SECONDS_MAX", 0.2)
    async with db.writing(actor) as tx:
        await put(lake, tx, lines(*[("s", date(2026, 3, 1), "1")] * 3000))
        slow = sql("select count(*) as n from cost a, cost b, cost c where a.row * b.row + c.row = 7")
        began = asyncio.get_running_loop().time()
        with pytest.raises(QueryTooSlow):
            await query(lake, tx, slow, schemas=[COST_LINES])

    assert asyncio.get_running_loop().time() - began < 20


async def test_a_query_that_needs_too_much_memory_is_refused(lake: Lake, db: Database, actor: Actor) -> None:
    small = Lake(lake.root, memory_mb=64)
    big = sql(
        "select length(string_agg(a.service_name || b.service_name || repeat('x', 900), ',')) as n from cost a, cost b"
    )
    async with db.writing(actor) as tx:
        await put(small, tx, lines(*[("s", date(2026, 3, 1), "1")] * 1000))
        with pytest.raises(QueryTooBig, match="64 MB"):
            await query(small, tx, big, schemas=[COST_LINES])


async def test_a_spark_server_that_is_not_there_is_said_to_be(lake: Lake, db: Database, actor: Actor) -> None:
    async with db.writing(actor) as tx:
        await put(lake, tx, lines(*MARCH))
        with pytest.raises(Unavailable):
            await query(lake, tx, sql(SUM), schemas=[COST_LINES], engine="sc://127.0.0.1:1")


IMPOSSIBLE = {
    "the year 1": ({"charge_period_start": datetime(1, 1, 1, tzinfo=UTC)}, "0001-01-01 is not of 1900 to 2199"),
    "the end of time": ({"charge_period_start": datetime(9999, 12, 31, tzinfo=UTC)}, "9999-12-31 is not of"),
    "a sign for a currency": ({"currency": "U$"}, "U$ is no currency code"),
    "small letters": ({"currency": "usd"}, "usd is no currency code"),
    "an amount of another world": ({"billed_cost": Decimal(10) ** 22}, "is beyond 1e+15"),
    "the same below zero": ({"billed_cost": -(Decimal(10) ** 22)}, "is beyond 1e+15"),
}


@pytest.mark.parametrize(("wrong", "words"), IMPOSSIBLE.values(), ids=IMPOSSIBLE.keys())
def test_rows_that_nothing_could_be_made_of_are_refused_alone(
    tmp_path: Path, wrong: dict[str, object], words: str
) -> None:
    """Whatever format they came in: planning, budgets and advice rely on days, amounts and currencies of this world."""
    usual = {
        "row": 1,
        "currency": "USD",
        "billed_cost": Decimal(5),
        "charge_period_start": datetime(2026, 1, 3, tzinfo=UTC),
        "billing_period_start": date(2026, 1, 1),
    }
    schema = {name: kind for name, kind in COST_LINES.columns.items() if name in usual}
    rows = pl.DataFrame([usual, usual | {"row": 2} | wrong, usual | {"row": 3}], schema=schema)
    rest = [pl.lit(None, dtype=kind).alias(name) for name, kind in COST_LINES.columns.items() if name not in usual]

    staged = stage(Parsed(COST_LINES, rows.lazy().with_columns(rest)), tmp_path / "staged")

    assert (staged.rows, staged.rows_refused, staged.totals) == (2, 1, {"USD": Decimal(10)})
    assert [problem.row for problem in staged.problems] == [2]
    assert words in staged.problems[0].what
    assert staged.problems[0].fix
