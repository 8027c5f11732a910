"""Compaction: the same answers from fewer files, whatever was reverted or replaced before and after, and nothing lost."""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import polars as pl
import pytest
import sqlalchemy as sa
from sqlglot import exp, parse_one

from bursar.infra import lake_compact
from bursar.infra.clock import utc_now
from bursar.infra.db import Database
from bursar.infra.lake import Lake, LakeFile, by_object
from bursar.infra.lake_compact import Compacted, CompactionDiffers, compact, sweep
from bursar.infra.lake_place import LakeDamaged
from bursar.infra.lake_query import query
from bursar.infra.lake_tables import lake_file
from bursar.kernel.actor import Actor
from bursar.kernel.lines import COST_LINES
from tests.infra.costs import NOW, lines, put

AT_ONCE = timedelta(hours=-1)
"""A grace that is over already."""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake", memory_mb=256)


async def filled(lake: Lake, db: Database, actor: Actor, batches: int = 10) -> list[UUID]:
    """Put one small bill of each of several accounts into March and one into April."""
    made = []
    async with db.writing(actor) as tx:
        for number in range(batches):
            rows = [(f"s{number % 3}", date(2026, 3, day), f"{number}.00000000000000{day}") for day in range(1, 4)]
            made.append(await put(lake, tx, lines(*rows, account=f"a{number}")))
        await put(lake, tx, lines(("s0", date(2026, 4, 1), "1000")))
    return made


async def packed(lake: Lake, db: Database, actor: Actor) -> Compacted:
    return await compact(db, actor, lake, COST_LINES, now=utc_now(), objects_min=2)


async def swept(lake: Lake, db: Database, actor: Actor, grace: timedelta = AT_ONCE) -> int:
    async with db.writing(actor) as tx:
        return await sweep(tx, lake, now=utc_now(), grace=grace)


async def held(lake: Lake, db: Database, actor: Actor) -> list[tuple[object, ...]]:
    """Return what Polars and DuckDB see, which must be the same."""
    by_batch = parse_one("select billing_account_id, service_name, billed_cost from cost", read="duckdb")
    assert isinstance(by_batch, exp.Query)
    async with db.reading(actor) as tx:
        rows = (await lake.scan(tx, COST_LINES)).collect()
        asked = await query(lake, tx, by_batch, schemas=[COST_LINES])
    assert sorted(asked.rows()) == sorted(rows.select(asked.columns).rows())
    return sorted(rows.select("batch", *asked.columns).rows(), key=str)


async def objects(lake: Lake, db: Database, actor: Actor) -> int:
    async with db.reading(actor) as tx:
        return len(by_object(await lake.files(tx, "cost")))


def on_disk(lake: Lake) -> list[Path]:
    return [path for path in lake.root.rglob("*.parquet") if ".staging" not in path.parts]


async def test_small_files_of_a_month_become_one_with_the_same_rows(lake: Lake, db: Database, actor: Actor) -> None:
    await filled(lake, db, actor)
    before = await held(lake, db, actor)

    done = await packed(lake, db, actor)

    assert done == Compacted(packs=1, files=10, rows=30)
    assert await objects(lake, db, actor) == 2
    assert await held(lake, db, actor) == before


async def test_what_a_pack_replaced_goes_only_after_its_grace(lake: Lake, db: Database, actor: Actor) -> None:
    await filled(lake, db, actor)
    before = await held(lake, db, actor)
    await packed(lake, db, actor)

    assert await swept(lake, db, actor, timedelta(hours=24)) == 0
    assert len(on_disk(lake)) == 12
    assert await swept(lake, db, actor) == 10
    assert len(on_disk(lake)) == 2
    assert await held(lake, db, actor) == before


async def test_a_reader_that_began_before_sees_the_old_files_to_its_end(lake: Lake, db: Database, actor: Actor) -> None:
    await filled(lake, db, actor)
    async with db.reading(actor) as tx:
        old = await lake.scan(tx, COST_LINES)
        await packed(lake, db, actor)
        await swept(lake, db, actor, timedelta(hours=24))

        assert old.collect().height == 31


async def test_few_files_large_files_and_packs_are_left_alone(
    lake: Lake, db: Database, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(lake, db, actor, batches=7)
    assert await compact(db, actor, lake, COST_LINES, now=NOW) == Compacted()

    await packed(lake, db, actor)
    assert await packed(lake, db, actor) == Compacted()

    monkeypatch.setattr(lake_compact, "SMALL_BYTES_MAX", 10)
    await filled(lake, db, actor, batches=4)
    assert await packed(lake, db, actor) == Compacted()


async def test_packs_are_bounded_and_join_later(
    lake: Lake, db: Database, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(lake, db, actor)
    before = await held(lake, db, actor)
    monkeypatch.setattr(lake_compact, "PARTS_MAX", 4)
    assert (await packed(lake, db, actor)).packs == 3
    monkeypatch.undo()

    assert await packed(lake, db, actor) == Compacted(packs=1, files=3, rows=30)
    assert await held(lake, db, actor) == before
    assert await swept(lake, db, actor) == 13


async def test_a_batch_in_a_pack_can_be_reverted_and_replaced(lake: Lake, db: Database, actor: Actor) -> None:
    batches = await filled(lake, db, actor)
    await packed(lake, db, actor)
    await swept(lake, db, actor)

    async with db.writing(actor) as tx:
        assert await lake.drop_batch(tx, COST_LINES, batches[4], now=NOW) == 3
        newer = await put(lake, tx, lines(("s9", date(2026, 3, 2), "7"), account="a5"))
    replaced = await held(lake, db, actor)
    async with db.writing(actor) as tx:
        await lake.drop_batch(tx, COST_LINES, newer, now=NOW)
    restored = await held(lake, db, actor)

    assert len(replaced) == 31 - 3 - 1 + 1
    assert not any(row[1] == "a4" for row in restored)
    assert len(restored) == 28


async def test_what_was_hidden_when_the_pack_was_made_comes_back_from_its_own_file(
    lake: Lake, db: Database, actor: Actor
) -> None:
    await filled(lake, db, actor)
    before = await held(lake, db, actor)
    async with db.writing(actor) as tx:
        newer = await put(lake, tx, lines(*[("s9", date(2026, 3, day), "7") for day in range(1, 4)], account="a5"))
    await packed(lake, db, actor)
    await swept(lake, db, actor)

    async with db.writing(actor) as tx:
        await lake.drop_batch(tx, COST_LINES, newer, now=NOW)

    assert await held(lake, db, actor) == before


async def test_any_order_of_imports_reverts_and_compactions_ends_like_one_without_compactions(
    lake: Lake, db: Database, actor: Actor, other_actor: Actor, tmp_path: Path
) -> None:
    rng, calm = random.Random(11), Lake(tmp_path / "calm")
    standing: list[tuple[UUID, UUID]] = []
    for step in range(40):
        chosen = rng.random()
        if chosen < 0.55 or not standing:
            first = rng.randint(1, 20)
            days = [date(2026, rng.randint(3, 4), day) for day in range(first, first + rng.randint(1, 8))]
            frame = lines(*[("s", day, f"{step}.{day.day:02}") for day in days], account=f"a{rng.randint(1, 3)}")
            async with db.writing(actor) as tx:
                mine = await put(lake, tx, frame)
            async with db.writing(other_actor) as tx:
                standing.append((mine, await put(calm, tx, frame)))
        elif chosen < 0.75:
            mine, theirs = standing.pop(rng.randrange(len(standing)))
            async with db.writing(actor) as tx:
                await lake.drop_batch(tx, COST_LINES, mine, now=NOW)
            async with db.writing(other_actor) as tx:
                await calm.drop_batch(tx, COST_LINES, theirs, now=NOW)
        else:
            await packed(lake, db, actor)
            await swept(lake, db, actor)
        found, wanted = await held(lake, db, actor), await held(calm, db, other_actor)
        assert [row[1:] for row in sorted(found, key=lambda r: r[1:])] == [
            row[1:] for row in sorted(wanted, key=lambda r: r[1:])
        ], f"step {step}"
    assert standing


async def test_a_batch_reverted_while_its_pack_is_written_stays_gone(
    lake: Lake, db: Database, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = await filled(lake, db, actor)
    frames = lake.frames

    async def reverting(files: Sequence[LakeFile]) -> list[tuple[LakeFile, pl.LazyFrame]]:
        found = await frames(files)
        async with db.writing(actor) as tx:
            await lake.drop_batch(tx, COST_LINES, batches[3], now=NOW)
        return found

    monkeypatch.setattr(lake, "frames", reverting)

    done = await packed(lake, db, actor)

    assert done.packs == 1
    assert not any(row[1] == "a3" for row in await held(lake, db, actor))


async def test_of_two_compactions_at_once_one_gives_up(lake: Lake, db: Database, actor: Actor) -> None:
    await filled(lake, db, actor)
    before = await held(lake, db, actor)

    done = await asyncio.gather(packed(lake, db, actor), packed(lake, db, actor))

    assert sorted(one.packs for one in done) == [0, 1]
    assert await held(lake, db, actor) == before
    assert await swept(lake, db, actor) == 11


async def test_a_pack_that_differs_from_its_files_is_not_taken(lake: Lake, db: Database, actor: Actor) -> None:
    [batch, *_] = await filled(lake, db, actor)
    async with db.writing(actor) as tx:
        await tx.run(sa.update(lake_file).where(tx.own(lake_file), lake_file.c.batch == batch).values(rows=4))

    with pytest.raises(CompactionDiffers):
        await packed(lake, db, actor)

    assert await objects(lake, db, actor) == 11


async def test_a_missing_or_cut_file_is_named_and_never_skipped(lake: Lake, db: Database, actor: Actor) -> None:
    await filled(lake, db, actor)
    victim = on_disk(lake)[0]
    victim.write_bytes(victim.read_bytes()[:-1])

    with pytest.raises(LakeDamaged, match=r"bursar restore"):
        await held(lake, db, actor)
    victim.unlink()
    with pytest.raises(LakeDamaged, match=victim.name):
        await packed(lake, db, actor)


async def test_reverted_batches_leave_nothing_behind(lake: Lake, db: Database, actor: Actor) -> None:
    batches = await filled(lake, db, actor)
    async with db.writing(actor) as tx:
        for batch in batches:
            await lake.drop_batch(tx, COST_LINES, batch, now=datetime(2026, 4, 3, tzinfo=UTC))

    assert await swept(lake, db, actor) == 10
    assert len(on_disk(lake)) == 1
    async with db.reading(actor) as tx:
        assert await tx.scalar(sa.select(sa.func.count()).select_from(lake_file).where(tx.own(lake_file))) == 1
    assert [row[-1] for row in await held(lake, db, actor)] == [Decimal(1000)]


async def test_a_row_says_which_batch_it_came_from(lake: Lake, db: Database, actor: Actor) -> None:
    batches = await filled(lake, db, actor)
    await packed(lake, db, actor)

    async with db.reading(actor) as tx:
        found = (await lake.scan(tx, COST_LINES, months=[date(2026, 3, 1)])).collect()

    expected = {(f"a{number}", str(batch)) for number, batch in enumerate(batches)}
    assert set(found.select("billing_account_id", "batch").unique().iter_rows()) == expected
    assert isinstance(found, pl.DataFrame)
