"""Backups: made, checked, brought back; what is damaged or missing is named; nothing is lost by a failed restore."""

import asyncio
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from bursar.infra import backup as backups
from bursar.infra import backup_dump, backup_store
from bursar.infra.backup import (
    BackupDamaged,
    NewerBackup,
    NotEmpty,
    Report,
    back_up,
    restore,
    verify,
)
from bursar.infra.backup_dump import CannotReadAll, DumpFailed
from bursar.infra.backup_place import Manifest, Place
from bursar.infra.backup_seal import Damaged, WeakPassphrase, WrongPassphrase
from bursar.infra.backup_store import FolderStore, Missing, S3Store, Store
from bursar.infra.db import Database, new_id
from bursar.infra.embedded_postgres import ADMIN, APP, BACKUP, OWNER, EmbeddedPostgres
from bursar.infra.migrate import current_is_head, migrate
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, NotFound
from tests.infra.probe import make_tables, note, plain, reply

NOW = datetime(2026, 11, 20, 6, 30, tzinfo=UTC)
STAMP = "20261120T063000Z"
PHRASE = "correct horse battery"


@dataclass
class Source:
    """A small Bursar: a filled database, files and a lake."""

    url: str
    folders: dict[str, Store]
    programs: Path

    def back_up(self, place: Place, now: datetime = NOW, **more: Any) -> Manifest:
        return back_up(place, self.url, self.folders, programs=self.programs, now=now, version="0.1.0", **more)


@pytest.fixture
async def source(
    db: Database, owner_url: str, postgres: EmbeddedPostgres, tmp_path: Path, actor: Actor, other_actor: Actor
) -> Source:
    make_tables(owner_url)
    await fill(db, actor, 40)
    await fill(db, other_actor, 2)
    folders: dict[str, Store] = {}
    for name, count in (("files", 3), ("lake", 2)):
        folders[name] = FolderStore(tmp_path / "home" / name)
        for i in range(count):
            folders[name].write(f"org/{i:02}/part-{i}", [f"{name} {i} ".encode() * 50_000])
    (tmp_path / "home" / "files" / "drafts").mkdir()
    (tmp_path / "home" / "files" / "drafts" / "half").write_text("a file on its way")
    return Source(owner_url, folders, postgres.place.binaries)


async def fill(db: Database, actor: Actor, notes: int) -> None:
    ids = [new_id() for _ in range(notes)]
    async with db.writing(actor) as tx:
        await tx.copy(note, ["id", "text", "facts"], [(key, f"note {key} ä€", {"n": str(key)}) for key in ids])
        await tx.run(sa.insert(reply), [{"org": actor.org, "id": new_id(), "note": key} for key in ids[:5]])
        await tx.run("insert into probe_log values (:org, :id, 'said')", {"org": actor.org, "id": new_id()})


async def answers(db: Database, *actors: Actor) -> list[Any]:
    """Ask what a person would see."""
    found: list[Any] = []
    for actor in actors:
        async with db.reading(actor) as tx:
            found.append(
                [
                    tuple(row)
                    for row in await tx.all("select id, text, facts::text from probe_note order by id limit 99")
                ]
            )
            found.append([tuple(row) for row in await tx.all("select id, note from probe_reply order by id limit 99")])
    return found


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.open(FolderStore(tmp_path / "backups"))


@pytest.fixture
def target(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The name of an empty database to restore into."""
    with psycopg.connect(plain(postgres.url(ADMIN, "postgres")), autocommit=True) as admin:
        admin.execute(f"create database restored owner {OWNER}")
        yield "restored"
        admin.execute("drop database restored with (force)")


def _new_folders(root: Path) -> dict[str, Store]:
    return {name: FolderStore(root / "restored" / name) for name in ("files", "lake")}


def _content(folders: dict[str, Store]) -> dict[str, bytes]:
    return {
        f"{name}/{e.name}": b"".join(store.read(e.name)) for name, store in folders.items() for e in store.entries()
    }


def _object_of(place: Place, name: str) -> str:
    return next(f.object for f in place.manifest().files if f"{f.folder}/{f.path}" == name)


def _path(place: Place, name: str) -> Path:
    assert isinstance(place.store, FolderStore)
    return place.store.root / name


def _flip_a_bit(path: Path, seed: int = 1) -> None:
    data = bytearray(path.read_bytes())
    chance = random.Random(seed)
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(bytes(data))


@pytest.fixture
def root() -> Iterator[Path]:
    """A folder that the server's user can reach."""
    path = Path(tempfile.mkdtemp(prefix="bursar-journey-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


async def test_backup_destroy_restore_gives_the_same_answers(
    root: Path, tmp_path: Path, actor: Actor, other_actor: Actor
) -> None:
    """The whole journey on servers of its own: the first is deleted with its home before the second exists."""
    place = Place.open(FolderStore(tmp_path / "backups"), PHRASE, make=True)
    with EmbeddedPostgres(root / "first") as server:
        await migrate(server.url(OWNER))
        make_tables(server.url(OWNER))
        db = Database(server.url(APP))
        await fill(db, actor, 40)
        await fill(db, other_actor, 3)
        before = await answers(db, actor, other_actor)
        files = {name: FolderStore(root / "first" / name) for name in ("files", "lake")}
        files["files"].write("a/b", [b"a document"])
        files["lake"].write("c/d.parquet", [os.urandom(3_000_000)])
        content = _content(dict(files))
        manifest = Source(server.url(OWNER), dict(files), server.place.binaries).back_up(place)
        await db.close()
    shutil.rmtree(root / "first")

    again = Place.open(FolderStore(tmp_path / "backups"), PHRASE)
    homes: dict[str, Store] = {name: FolderStore(root / "second" / name) for name in ("files", "lake")}
    with EmbeddedPostgres(root / "second") as server:
        report = restore(again, "latest", server.url(OWNER), homes, programs=server.place.binaries)
        await migrate(server.url(OWNER))
        db = Database(server.url(APP))
        after = await answers(db, actor, other_actor)
        ready = await current_is_head(db)
        await fill(db, actor, 1)
        await db.close()

    assert report.ok, report.problems
    assert report.stamp == manifest.stamp == STAMP
    assert (report.files, report.rows) == (2, sum(table.rows for table in manifest.tables.values()))
    assert after == before
    assert before[0]
    assert ready
    assert _content(homes) == content
    assert content.keys() == {"files/a/b", "lake/c/d.parquet"}


async def test_a_backup_holds_every_row_of_every_organisation_and_every_file(
    source: Source, place: Place, tmp_path: Path, postgres: EmbeddedPostgres, target: str
) -> None:
    manifest = source.back_up(place)
    folders = _new_folders(tmp_path)

    report = restore(place, STAMP, postgres.url(OWNER, target), folders, programs=source.programs)

    assert report == Report(STAMP, len(manifest.tables), report.rows, 5, report.size, ())
    assert manifest.tables["probe_note"].rows == 42
    assert _content(folders) == {
        name: data for name, data in _content(source.folders).items() if not name.startswith("files/drafts")
    }
    assert "alembic_version" in manifest.tables
    assert manifest.revisions


def test_verify_says_yes_to_a_good_backup(source: Source, place: Place) -> None:
    source.back_up(place)

    report = verify(place)

    assert report.ok, report.problems
    assert (report.files, report.stamp) == (5, STAMP)
    assert report.rows > 42


@pytest.mark.parametrize("passphrase", [None, PHRASE], ids=["plain", "sealed"])
@pytest.mark.parametrize("seed", range(3))
def test_a_flipped_bit_is_named(source: Source, tmp_path: Path, passphrase: str | None, seed: int) -> None:
    place = Place.open(FolderStore(tmp_path / "backups"), passphrase, make=True)
    source.back_up(place)
    name = _object_of(place, "lake/org/01/part-1")
    _flip_a_bit(_path(place, name), seed)

    assert backups.check_streams(place, place.manifest()) == [f"lake/org/01/part-1 was changed ({name})"]


@pytest.mark.parametrize("seed", range(3))
def test_a_flipped_bit_of_the_dump_is_named_and_stops_the_restore(
    source: Source, place: Place, tmp_path: Path, postgres: EmbeddedPostgres, target: str, seed: int
) -> None:
    source.back_up(place)
    _flip_a_bit(_path(place, f"dumps/{STAMP}"), seed)

    report = verify(place)
    with pytest.raises(BackupDamaged, match="the database dump was changed"):
        restore(place, STAMP, postgres.url(OWNER, target), _new_folders(tmp_path), programs=source.programs)

    assert report.problems == (f"the database dump was changed (dumps/{STAMP})",)
    assert backup_dump.occupied(postgres.url(OWNER, target)) == (0, 0)
    assert _content(_new_folders(tmp_path)) == {}


def test_a_missing_file_is_named(source: Source, place: Place) -> None:
    source.back_up(place)
    name = _object_of(place, "files/org/00/part-0")
    _path(place, name).unlink()
    _path(place, f"dumps/{STAMP}").unlink()

    report = verify(place)

    assert report.problems == (
        f"the database dump is missing (dumps/{STAMP})",
        f"files/org/00/part-0 is missing ({name})",
    )


def test_rows_that_differ_from_the_manifest_are_named(
    source: Source, place: Place, owner_url: str, postgres: EmbeddedPostgres, database: str
) -> None:
    """A dump that loads but holds other rows than were counted, as a broken restore would leave."""
    manifest = source.back_up(place)
    with psycopg.connect(plain(postgres.url(ADMIN, database)), autocommit=True) as admin:
        admin.execute("update probe_note set text = 'changed' where id = (select min(id::text)::uuid from probe_note)")
        admin.execute("delete from probe_reply where id = (select min(id::text)::uuid from probe_reply)")
        admin.execute("create table probe_more (a int)")
        admin.execute(f"grant select on probe_more to {BACKUP}")
        admin.execute("drop table probe_global")

    assert backups.compare_tables(manifest.tables, backup_dump.sums(owner_url)) == [
        "table probe_global is missing",
        "table probe_more is not in the backup",
        "table probe_note has other content in its 42 rows",
        f"table probe_reply has {manifest.tables['probe_reply'].rows - 1} rows instead of 7",
    ]


def test_the_checksum_does_not_depend_on_the_order_of_rows_but_on_each_of_them(
    owner_url: str, postgres: EmbeddedPostgres, database: str
) -> None:
    found = []
    for rows in ("(1), (2), (2)", "(2), (1), (2)", "(1), (1), (2)"):
        with psycopg.connect(plain(postgres.url(ADMIN, database)), autocommit=True) as admin:
            admin.execute("drop table if exists probe_sum")
            admin.execute(f"create table probe_sum (a int); insert into probe_sum values {rows}")
            admin.execute(f"grant select on probe_sum to {BACKUP}")
        found.append(backup_dump.sums(owner_url)["probe_sum"])

    assert found[0] == found[1]
    assert found[0].rows == found[2].rows
    assert found[0].checksum != found[2].checksum


def test_a_target_that_holds_something_is_refused_unless_told(
    source: Source, place: Place, tmp_path: Path, postgres: EmbeddedPostgres, target: str
) -> None:
    source.back_up(place)
    folders, url = _new_folders(tmp_path), postgres.url(OWNER, target)
    folders["lake"].write("old/one", [b"old"])
    with pytest.raises(NotEmpty, match="The folder lake"):
        restore(place, STAMP, url, folders, programs=source.programs)
    with psycopg.connect(plain(url)) as owner:
        owner.execute(
            """create table kept (a int primary key); create view seen as select * from kept;
               create type mood as enum ('good'); create sequence counted;
               create function told(a mood) returns int language sql as 'select 1'"""
        )
    with pytest.raises(NotEmpty, match="The database"):
        restore(place, STAMP, url, folders, programs=source.programs)

    report = restore(place, STAMP, url, folders, programs=source.programs, replace=True)
    twice = restore(place, STAMP, url, folders, programs=source.programs, replace=True)

    assert report.ok
    assert twice.ok
    assert "lake/old/one" not in _content(folders)
    with psycopg.connect(plain(url)) as owner:
        left = owner.execute(
            "select to_regclass('kept'), to_regclass('seen'), to_regtype('mood'), to_regclass('counted')"
        )
        assert left.fetchone() == (None, None, None, None)


def test_a_database_in_use_is_not_restored_over(
    source: Source, place: Place, tmp_path: Path, postgres: EmbeddedPostgres, target: str
) -> None:
    source.back_up(place)
    with psycopg.connect(plain(postgres.url(OWNER, target))), pytest.raises(Conflict, match="stop Bursar first"):
        restore(place, STAMP, postgres.url(OWNER, target), _new_folders(tmp_path), programs=source.programs)


@pytest.mark.parametrize("cut", [0.3, 0.999])
def test_a_dump_that_ends_early_changes_nothing(
    source: Source, place: Place, postgres: EmbeddedPostgres, target: str, cut: float
) -> None:
    source.back_up(place)
    whole = b"".join(place.read(f"dumps/{STAMP}"))
    url = postgres.url(OWNER, target)
    with psycopg.connect(plain(url)) as owner:
        owner.execute("create table kept (a int)")

    with pytest.raises(DumpFailed, match="pg_restore"):
        backup_dump.load(url, [whole[: int(len(whole) * cut)]], source.programs, replace=True)

    with psycopg.connect(plain(url)) as owner:
        assert owner.execute("select to_regclass('kept') is not null, to_regclass('probe_note')").fetchone() == (
            True,
            None,
        )


def test_a_stream_that_fails_halfway_changes_nothing(
    source: Source, place: Place, postgres: EmbeddedPostgres, target: str
) -> None:
    source.back_up(place)
    whole = b"".join(place.read(f"dumps/{STAMP}"))
    url = postgres.url(OWNER, target)

    def failing() -> Iterator[bytes]:
        yield whole[:-100]
        raise Damaged("the rest")

    with pytest.raises(Damaged, match="the rest"):
        backup_dump.load(url, failing(), source.programs, replace=False)

    assert backup_dump.occupied(url)[0] == 0


def test_a_statement_that_fails_names_the_reason_and_changes_nothing(
    source: Source, place: Place, postgres: EmbeddedPostgres, target: str
) -> None:
    source.back_up(place)
    url = postgres.url(OWNER, target)
    with psycopg.connect(plain(url)) as owner:
        owner.execute("create table probe_note (a int)")

    with pytest.raises(DumpFailed, match=r"psql failed: .*probe_note"):
        backup_dump.load(url, place.read(f"dumps/{STAMP}"), source.programs, replace=False)

    assert backup_dump.occupied(url)[0] == 1


def test_programs_that_are_missing_are_named(source: Source, place: Place, tmp_path: Path) -> None:
    with pytest.raises(DumpFailed, match=r"pg_dump.*No such file"):
        back_up(place, source.url, {}, programs=tmp_path, now=NOW, version="0")

    assert place.stamps() == []


async def test_what_is_written_during_a_backup_is_all_in_it_or_not_at_all(
    source: Source, place: Place, db: Database, actor: Actor
) -> None:
    """The counts and the dump come from one snapshot, so they agree although rows keep coming."""
    stop = asyncio.Event()

    async def keep_writing() -> int:
        written = 0
        while not stop.is_set():
            await fill(db, actor, 7)
            written += 1
        return written

    writer = asyncio.create_task(keep_writing())
    while (await _count(db, actor)) < 60:  # noqa: ASYNC110  another task writes to the database
        await asyncio.sleep(0.01)
    await asyncio.to_thread(source.back_up, place)
    stop.set()
    written = await writer

    report = await asyncio.to_thread(verify, place)

    assert report.ok, report.problems
    assert place.manifest().tables["probe_note"].rows < 42 + 7 * written


async def _count(db: Database, actor: Actor) -> int:
    async with db.reading(actor) as tx:
        return int(await tx.scalar("select count(*) from probe_note"))


def test_one_url_of_the_owner_is_enough_where_it_may_act_as_the_backup_role(source: Source) -> None:
    with backup_dump.snapshot(source.url) as at:
        assert at.tables["probe_note"].rows == 42


def test_a_backup_role_under_row_level_security_is_refused_with_the_fix(
    source: Source, place: Place, postgres: EmbeddedPostgres
) -> None:
    with psycopg.connect(plain(postgres.url(ADMIN, "postgres")), autocommit=True) as admin:
        admin.execute(f"alter role {BACKUP} nobypassrls")
        try:
            with pytest.raises(CannotReadAll, match="alter role bursar_backup bypassrls"):
                source.back_up(place)
        finally:
            admin.execute(f"alter role {BACKUP} bypassrls")

    assert place.stamps() == []


def test_the_backup_role_cannot_write(postgres: EmbeddedPostgres, source: Source, database: str) -> None:
    with psycopg.connect(plain(postgres.url(BACKUP, database)), autocommit=True) as connection:
        connection.execute("set default_transaction_read_only = off")
        for verb in (
            "delete from probe_note",
            "update probe_note set text = ''",
            "truncate probe_log",
            "create table x ()",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(verb.encode())


def test_two_backups_at_once_are_refused(source: Source, place: Place) -> None:
    with backup_dump.snapshot(source.url), pytest.raises(Conflict, match="Another backup"):
        source.back_up(place)


def test_a_second_backup_in_the_same_second_is_refused(source: Source, place: Place) -> None:
    source.back_up(place)

    with pytest.raises(Conflict, match="exists already"):
        source.back_up(place)


def test_unchanged_files_are_stored_once_and_the_oldest_backups_go(source: Source, place: Place) -> None:
    for day in range(4):
        source.folders["files"].write("changing", [f"day {day}".encode()])
        source.back_up(place, NOW + timedelta(days=day), keep=2)
    objects = {entry.name for entry in place.store.entries("objects/")}
    for entry in objects:
        os.utime(_path(place, entry), (0, 0))
    backups.prune(place, place.manifest().installation, keep=2)
    left = {entry.name for entry in place.store.entries("objects/")}

    assert place.stamps() == ["20261122T063000Z", "20261123T063000Z"]
    assert [entry.name for entry in place.store.entries("dumps/")] == [f"dumps/{stamp}" for stamp in place.stamps()]
    assert len(objects) == 5 + 4
    assert len(left) == 5 + 2
    assert verify(place, "20261122T063000Z").ok


def test_retention_leaves_the_backups_of_another_database_alone(source: Source, place: Place) -> None:
    source.back_up(place)

    assert backups.prune(place, "somebody/else", keep=1) == []
    assert backups.prune(place, place.manifest().installation, keep=0) == [], "the last one always stays"


def test_a_backup_that_fails_leaves_the_older_ones(source: Source, place: Place, tmp_path: Path) -> None:
    source.back_up(place)
    with pytest.raises(DumpFailed):
        back_up(place, source.url, {}, programs=tmp_path, now=NOW + timedelta(days=1), version="0", keep=1)

    assert place.stamps() == [STAMP]
    assert verify(place).ok


def test_a_backup_of_a_newer_version_is_refused(
    source: Source, place: Place, tmp_path: Path, postgres: EmbeddedPostgres, target: str, owner_url: str
) -> None:
    with psycopg.connect(plain(owner_url)) as owner:
        owner.execute("insert into alembic_version values ('of_a_newer_program')")
    source.back_up(place)

    with pytest.raises(NewerBackup, match=r"made by Bursar 0\.1\.0, which is newer"):
        restore(place, STAMP, postgres.url(OWNER, target), _new_folders(tmp_path), programs=source.programs)


def test_there_is_no_latest_of_none(place: Place) -> None:
    with pytest.raises(NotFound):
        place.manifest()
    with pytest.raises(NotFound):
        place.manifest("20200101T000000Z")


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"format": 9}', b"\xff"])
def test_a_damaged_manifest_is_named(source: Source, place: Place, text: bytes) -> None:
    source.back_up(place)
    place.store.write(f"backups/{STAMP}.json", [text])

    with pytest.raises(Damaged, match=f"backups/{STAMP}"):
        place.manifest()


def test_a_sealed_backup_shows_nothing_and_needs_its_passphrase(source: Source, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "backups")
    place = Place.open(store, PHRASE, make=True)
    source.back_up(place)
    stored = b"".join(path.read_bytes() for path in store.root.rglob("*") if path.is_file())

    assert verify(Place.open(store, PHRASE)).ok
    assert b"files 0 files 0" not in stored
    assert b"probe_note" not in stored
    assert all(file.sha256 not in file.object for file in place.manifest().files)
    with pytest.raises(WrongPassphrase, match="are encrypted"):
        Place.open(store)
    with pytest.raises(WrongPassphrase, match="another passphrase"):
        Place.open(store, PHRASE + "!")


def test_a_passphrase_where_none_was_used_is_refused_and_a_short_one_is_too(source: Source, place: Place) -> None:
    source.back_up(place)
    with pytest.raises(WrongPassphrase, match="not encrypted"):
        Place.open(place.store, PHRASE)
    with pytest.raises(WeakPassphrase, match="12 characters"):
        Place.open(FolderStore(Path("/nonexistent")), "short", make=True)


def test_a_backup_to_s3_verifies_and_restores(
    source: Source, s3: S3Store, tmp_path: Path, postgres: EmbeddedPostgres, target: str
) -> None:
    place = Place.open(s3, PHRASE, make=True)
    source.back_up(place)
    source.back_up(place, NOW + timedelta(days=1), keep=1)
    folders = _new_folders(tmp_path)

    report = restore(place, "latest", postgres.url(OWNER, target), folders, programs=source.programs)

    assert report.ok, report.problems
    assert place.stamps() == ["20261121T063000Z"]
    assert _content(folders) == _content(source.folders)


def test_files_kept_in_s3_are_backed_up_from_there(source: Source, s3: S3Store, place: Place) -> None:
    s3.write("files/org/digest", [b"a document"])
    source.folders = {"files": s3}
    manifest = source.back_up(place)

    assert [(file.path, file.size) for file in manifest.files] == [("files/org/digest", 10)]


def test_a_file_that_goes_while_the_backup_runs_is_left_out(source: Source, place: Place) -> None:
    class Vanishing(FolderStore):
        def read(self, name: str) -> Iterator[bytes]:
            if name.endswith("part-0"):
                raise Missing(name)
            return super().read(name)

    source.folders["files"] = Vanishing(source.folders["files"].root)  # type: ignore[attr-defined]
    source.back_up(place)

    assert [file.path for file in place.manifest().files if file.folder == "files"] == [
        "org/01/part-1",
        "org/02/part-2",
    ]
    assert backup_store.PART_BYTES
