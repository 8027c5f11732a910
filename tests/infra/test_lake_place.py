"""The lake in S3: the same lake, read through copies that are proved before they are used and let go of when unused."""

import os
import shutil
import time
from datetime import date, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from bursar.infra import lake_place
from bursar.infra.backup import back_up, restore
from bursar.infra.backup_place import Place as Backups
from bursar.infra.backup_store import FolderStore, S3Store, Store, store_at
from bursar.infra.clock import utc_now
from bursar.infra.db import Database
from bursar.infra.embedded_postgres import EmbeddedPostgres
from bursar.infra.files import DiskFull
from bursar.infra.lake import Lake
from bursar.infra.lake_compact import compact, sweep
from bursar.infra.lake_place import Held, LakeDamaged, Place
from bursar.infra.lake_query import query
from bursar.infra.lake_tables import lake_file
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Unavailable
from bursar.kernel.lines import COST_LINES
from bursar.settings import Settings
from bursar.wiring.house import lake_store, open_lake
from tests.infra.costs import NOW, lines, put
from tests.infra.test_lake import SUM, sql


@pytest.fixture
def lake(tmp_path: Path, s3: Store) -> Lake:
    return Lake(tmp_path / "copies", memory_mb=256, remote=s3)


def elsewhere(lake: Lake, s3: Store, tmp_path: Path) -> Lake:
    """The same lake on another machine, without copies."""
    shutil.rmtree(tmp_path / "other", ignore_errors=True)
    return Lake(tmp_path / "other", memory_mb=lake.memory_mb, remote=s3)


async def total(lake: Lake, db: Database, actor: Actor) -> str:
    """Return the sum of all costs, which Polars and DuckDB must agree on."""
    async with db.reading(actor) as tx:
        found = dict((await query(lake, tx, sql(SUM), schemas=[COST_LINES])).iter_rows())
        rows = (await lake.scan(tx, COST_LINES)).collect()
    assert sum(found.values()) == sum(rows["billed_cost"])
    return f"{sum(found.values()):f}"


async def test_a_lake_in_s3_is_the_same_lake_on_any_machine(
    lake: Lake, s3: Store, db: Database, actor: Actor, tmp_path: Path
) -> None:
    batches = []
    async with db.writing(actor) as tx:
        for number in range(10):
            row = ("ec2", date(2026, 3, 1), f"{number}.000000000000001")
            batches.append(await put(lake, tx, lines(row, account=f"a{number}")))
    assert await total(elsewhere(lake, s3, tmp_path), db, actor) == "45.000000000000010"

    done = await compact(db, actor, elsewhere(lake, s3, tmp_path), COST_LINES, now=utc_now())
    async with db.writing(actor) as tx:
        assert await sweep(tx, lake, now=utc_now(), grace=timedelta(hours=-1)) == 10
        await lake.drop_batch(tx, COST_LINES, batches[9], now=NOW)

    assert done.packs == 1
    assert [entry.size > 0 for entry in s3.entries(f"{actor.org}/")] == [True]
    assert await total(elsewhere(lake, s3, tmp_path), db, actor) == "36.000000000000009"


async def test_erasing_an_organisation_leaves_nothing_in_the_bucket(
    lake: Lake, s3: Store, db: Database, actor: Actor, other_actor: Actor
) -> None:
    for one in (actor, other_actor):
        async with db.writing(one) as tx:
            await put(lake, tx, lines(("ec2", date(2026, 3, 1), "1")))

    await lake.remove_all(actor.org)
    await lake.remove_all(actor.org)

    assert [entry.name.split("/")[0] for entry in s3.entries()] == [str(other_actor.org)]
    assert not list(lake.root.glob(f"{actor.org}/**/*.parquet"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"x" * 5_000_000)
    return path


def test_a_copy_that_was_damaged_here_is_fetched_again(s3: Store, source: Path, tmp_path: Path) -> None:
    place = Place(tmp_path / "copies", s3)
    held = place.settle(source, "o/cost/2026-03/a.parquet")
    (tmp_path / "copies" / held.name).write_bytes(b"cut")

    path = place.local([held])[held.name]

    assert path.read_bytes() == b"x" * 5_000_000
    assert not list((tmp_path / "copies" / ".staging").iterdir())


@pytest.mark.parametrize("wrong", [b"y" * 5_000_000, b"x" * 4_999_999, None])
def test_an_object_that_is_not_what_was_written_is_never_read(
    s3: Store, source: Path, tmp_path: Path, wrong: bytes | None
) -> None:
    held = Place(tmp_path / "copies", s3).settle(source, "o/cost/2026-03/a.parquet")
    s3.delete(held.name)
    if wrong is not None:
        s3.write(held.name, [wrong])
    other = Place(tmp_path / "other", s3)

    with pytest.raises(LakeDamaged, match=r"a\.parquet is missing or damaged"):
        other.local([held])

    assert not list((tmp_path / "other").rglob("*.parquet"))
    assert not list((tmp_path / "other" / ".staging").iterdir())


def test_the_longest_unused_copies_go_and_those_in_use_stay(s3: Store, tmp_path: Path) -> None:
    maker, names = Place(tmp_path / "maker", s3), "abcd"
    held: dict[str, Held] = {}
    for name in names:
        (tmp_path / name).write_bytes(name.encode() * 1000)
        held[name] = maker.settle(tmp_path / name, f"o/cost/2026-03/{name}.parquet")
    place = Place(tmp_path / "copies", s3, cache_bytes_max=2500)
    place.local([held["a"], held["b"], held["c"]])
    for name, hours in (("a", 2), ("b", 3)):
        ago = time.time() - hours * 3600
        os.utime(tmp_path / "copies" / held[name].name, (ago, ago))

    place.local([held["a"]])
    place.local([held["d"]])

    assert sorted(path.stem for path in (tmp_path / "copies").rglob("*.parquet")) == ["a", "c", "d"]


def test_a_full_disk_is_refused_before_anything_is_fetched(
    s3: Store, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Place(tmp_path / "copies", s3).settle(source, "o/cost/2026-03/a.parquet")
    monkeypatch.setattr(lake_place, "FREE_BYTES_MIN", shutil.disk_usage(tmp_path).total)

    with pytest.raises(DiskFull):
        Place(tmp_path / "other", s3).local([held])


async def test_a_store_that_does_not_answer_takes_no_batch(
    db: Database, actor: Actor, tmp_path: Path, s3: Store
) -> None:
    gone = Lake(tmp_path / "copies", remote=store_at("s3://no-such-bucket/lake", endpoint=endpoint_of(s3)))

    with pytest.raises(Unavailable, match="no bucket"):
        async with db.writing(actor) as tx:
            await put(gone, tx, lines(("ec2", date(2026, 3, 1), "1")))

    async with db.reading(actor) as tx:
        assert await gone.files(tx, "cost") == []


def endpoint_of(store: Store) -> str:
    assert isinstance(store, S3Store)
    return str(store._s3.meta.endpoint_url)


async def test_a_backup_brings_a_lake_in_a_folder_to_s3_and_back(
    lake: Lake, s3: Store, db: Database, actor: Actor, tmp_path: Path, owner_url: str, postgres: EmbeddedPostgres
) -> None:
    home = Lake(tmp_path / "lake", memory_mb=256)
    async with db.writing(actor) as tx:
        await put(home, tx, lines(("ec2", date(2026, 3, 1), "1.5")))
    backups = Backups.open(FolderStore(tmp_path / "backups"))
    programs = postgres.place.binaries
    back_up(backups, owner_url, {"lake": FolderStore(home.root)}, programs=programs, now=NOW, version="0")
    await db.close()

    report = restore(backups, "latest", owner_url, {"lake": s3}, programs=programs, replace=True)

    assert report.ok
    again = Database(owner_url, pool_size=2)
    assert await total(lake, again, actor) == "1.500000000000000"
    back_up(backups, owner_url, {"lake": s3}, programs=programs, now=NOW + timedelta(days=1), version="0")
    assert backups.manifest("latest").files == backups.manifest("20260402T000000Z").files
    await again.close()


def test_the_settings_say_where_the_lake_lies(tmp_path: Path) -> None:
    at_home = Settings(home=tmp_path)
    in_s3 = Settings(home=tmp_path, lake_bucket="b", lake_cache_mb=64)

    assert isinstance(lake_store(at_home), FolderStore)
    assert open_lake(at_home).root == tmp_path / "lake"
    assert isinstance(lake_store(in_s3), S3Store)
    assert open_lake(in_s3).root == tmp_path / "lake-copies"


async def test_a_file_from_before_digests_were_kept_is_still_read(
    lake: Lake, s3: Store, db: Database, actor: Actor, tmp_path: Path
) -> None:
    async with db.writing(actor) as tx:
        await put(lake, tx, lines(("ec2", date(2026, 3, 1), "1.5")))
        await tx.run(sa.update(lake_file).where(tx.own(lake_file)).values(sha256=""))

    assert await total(elsewhere(lake, s3, tmp_path), db, actor) == "1.500000000000000"
