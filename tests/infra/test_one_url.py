"""An external server of which Bursar knows one URL: it makes its roles there and acts as the application all the same."""

import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from bursar.infra import backup_dump
from bursar.infra.backup import back_up, verify
from bursar.infra.backup_dump import CannotReadAll
from bursar.infra.backup_place import Place
from bursar.infra.backup_store import FolderStore
from bursar.infra.db import Database, global_table, metadata, new_id
from bursar.infra.embedded_postgres import ADMIN, APP, BACKUP, DATABASE, OWNER, EmbeddedPostgres
from bursar.infra.migrate import current_is_head, migrate
from bursar.kernel.actor import Actor
from tests.infra.declared import import_tables
from tests.infra.probe import make_tables, note, plain


@pytest.fixture
def server() -> Iterator[EmbeddedPostgres]:
    """A server that has a database ``theirs`` and a login that may create roles, and nothing of Bursar."""
    home = Path(tempfile.mkdtemp(prefix="bursar-external-"))
    home.chmod(0o755)
    with EmbeddedPostgres(home, settings={"fsync": "off"}) as running:
        with psycopg.connect(plain(running.url(ADMIN, "postgres")), autocommit=True) as admin:
            admin.execute(f"drop database {DATABASE}")
            admin.execute(f"drop role {APP}, {BACKUP}")
            admin.execute(f"create database theirs owner {OWNER}")
        yield running
    shutil.rmtree(home)


@pytest.fixture
def _probe_is_declared() -> Iterator[None]:
    table = global_table("probe_global", sa.Column("name", sa.Text, primary_key=True), reason="stands for one")
    yield
    metadata.remove(table)


@pytest.mark.parametrize("login", [OWNER, ADMIN], ids=["a login that may create roles", "a superuser"])
@pytest.mark.usefixtures("_probe_is_declared")
async def test_one_url_migrates_serves_and_is_confined(
    server: EmbeddedPostgres, login: str, actor: Actor, other_actor: Actor, tmp_path: Path
) -> None:
    import_tables()
    url = server.url(login, "theirs")
    await migrate(url)
    make_tables(url)
    db = Database(url)
    async with db.writing(actor) as tx:
        await tx.run(sa.insert(note).values(org=actor.org, id=new_id(), text="mine"))
        who = await tx.one("select session_user, current_user")
    async with db.reading(other_actor) as tx:
        seen = await tx.all("select * from probe_note limit 9")
    ready, faults = await current_is_head(db), await db.catalogue_faults()
    await db.close()

    assert who == (login, APP)
    assert seen == []
    assert ready
    assert faults == []
    if login == OWNER:
        _check_backup_needs_a_superuser_once(server, url, tmp_path)


def _check_backup_needs_a_superuser_once(server: EmbeddedPostgres, url: str, folder: Path) -> None:
    """Only a superuser can let a role read past row-level security; until then a backup says so and makes nothing."""
    place = Place.open(FolderStore(folder))
    facts = {"programs": server.place.binaries, "now": datetime(2026, 1, 1, tzinfo=UTC), "version": "0"}
    with pytest.raises(CannotReadAll):
        back_up(place, url, {}, **facts)  # type: ignore[arg-type]
    assert place.stamps() == []
    with psycopg.connect(plain(server.url(ADMIN, "postgres")), autocommit=True) as admin:
        admin.execute(f"alter role {BACKUP} bypassrls")
    back_up(place, url, {}, **facts)  # type: ignore[arg-type]

    assert verify(place).ok
    assert backup_dump.sums(url)["probe_note"].rows == 1
