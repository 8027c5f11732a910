"""Migrations: up, down and up again; equal to the declared tables; patient with locks; one process at a time."""

import ast
import asyncio
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from bursar.infra import migrate as migrations
from bursar.infra.db import Database, metadata
from bursar.infra.embedded_postgres import ADMIN, APP, OWNER, EmbeddedPostgres
from bursar.infra.migrate import current_is_head, migrate
from bursar.kernel.errors import Unavailable
from tests.infra.declared import import_tables
from tests.infra.probe import plain


@pytest.fixture
def empty(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The name of an empty database."""
    with psycopg.connect(plain(postgres.url(ADMIN, "postgres")), autocommit=True) as admin:
        admin.execute(f"create database empty_one owner {OWNER}")
        yield "empty_one"
        admin.execute("drop database empty_one with (force)")


def _schema(postgres: EmbeddedPostgres, database: str) -> str:
    """Return the schema as pg_dump writes it, without what differs from run to run."""
    command = [
        str(postgres.place.binaries / "pg_dump"),
        "--schema-only",
        "--dbname",
        plain(postgres.url(OWNER, database)),
    ]
    dumped = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return re.sub(r"^\\(un)?restrict .*$", "", dumped, flags=re.MULTILINE)


async def test_up_down_and_up_again_gives_the_same_schema(postgres: EmbeddedPostgres, empty: str) -> None:
    url = postgres.url(OWNER, empty)
    await migrate(url)
    first = _schema(postgres, empty)

    await migrate(url, to="base")
    with psycopg.connect(plain(url)) as owner:
        left = owner.execute(
            """select relname from pg_class where relnamespace = 'public'::regnamespace and relname !~ '^alembic_version'
               union all select proname from pg_proc where pronamespace = 'public'::regnamespace
               union all select typname from pg_type where typnamespace = 'public'::regnamespace
                 and typname !~ 'alembic_version'"""
        ).fetchall()
    await migrate(url)

    assert left == []
    assert _schema(postgres, empty) == first
    assert "CREATE TABLE public.alembic_version" in first


def test_the_declared_tables_are_those_the_migrations_make(owner_url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    import_tables()
    engine = sa.create_engine(owner_url, poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "include_name": lambda name, kind, _: kind != "table" or not name.startswith("procrastinate_"),
            },
        )
        difference = compare_metadata(context, metadata)
    engine.dispose()

    assert not difference, "\n".join(str(one)[:200] for one in difference)


def test_keys_and_checks_carry_the_declared_names_and_columns(owner_url: str) -> None:
    """Alembic compares neither primary keys nor check constraints."""
    import_tables()
    engine = sa.create_engine(owner_url, poolclass=sa.pool.NullPool)
    look = sa.inspect(engine)
    wrong = []
    for table in metadata.tables.values():
        if not look.has_table(table.name):
            continue
        key = look.get_pk_constraint(table.name)
        declared = [column.name for column in table.primary_key.columns]
        if key["constrained_columns"] != declared:
            wrong.append(f"{table.name}: key {key['constrained_columns']} in the database, {declared} declared")
        made = {check["name"] for check in look.get_check_constraints(table.name)}
        named = {str(check.name) for check in table.constraints if isinstance(check, sa.CheckConstraint) and check.name}
        if made != named:
            wrong.append(f"{table.name}: checks {sorted(map(str, made ^ named))} are on one side only")
    engine.dispose()

    assert not wrong, "\n".join(wrong)


def test_the_heads_read_from_the_scripts_are_those_of_alembic(owner_url: str) -> None:
    from alembic.script import ScriptDirectory

    engine = sa.create_engine(owner_url, poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        heads = set(ScriptDirectory.from_config(migrations.config(connection)).get_heads())
    engine.dispose()

    assert set(migrations.heads()) == heads
    assert heads


@pytest.mark.parametrize("script", sorted((migrations.folder() / "versions").glob("*.py")), ids=lambda path: path.stem)
def test_each_migration_says_why_it_is_safe_and_can_be_taken_back(script: Path) -> None:
    module = ast.parse(script.read_text(encoding="utf-8"))
    docstring = ast.get_docstring(module) or ""

    assert "old version" in docstring, "say in the docstring why it is safe while the old version runs"
    assert "downgrade" in {node.name for node in module.body if isinstance(node, ast.FunctionDef)}


async def test_readiness_knows_whether_the_migrations_have_run(postgres: EmbeddedPostgres, empty: str) -> None:
    db = Database(postgres.url(APP, empty))
    before = await current_is_head(db)
    await migrate(postgres.url(OWNER, empty))
    after = await current_is_head(db)
    told = {}
    for version in ("0001", "of_a_newer_program"):
        with psycopg.connect(plain(postgres.url(OWNER, empty))) as owner:
            owner.execute("delete from alembic_version")
            owner.execute("insert into alembic_version values (%s)", [version])
        told[version] = await current_is_head(db)
    await db.close()

    assert (before, after) == (False, True)
    assert told == {"0001": False, "of_a_newer_program": True}


async def test_migrating_twice_at_once_does_it_once(postgres: EmbeddedPostgres, empty: str) -> None:
    await asyncio.gather(*(migrate(postgres.url(OWNER, empty)) for _ in range(3)))

    db = Database(postgres.url(APP, empty))
    assert await current_is_head(db)
    await db.close()


async def test_a_locked_table_is_waited_for_without_queueing_behind_it(
    postgres: EmbeddedPostgres, empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "PAUSE_S", 0.05)
    url = postgres.url(OWNER, empty)
    await migrate(url)
    started = time.monotonic()
    with psycopg.connect(plain(url)) as holder:
        holder.execute("lock table alembic_version in access exclusive mode")
        task = asyncio.create_task(migrate(url, to="base"))
        await asyncio.sleep(2.5)
        assert not task.done()
        holder.rollback()
    await task

    assert time.monotonic() - started < 30


async def test_a_table_that_stays_locked_is_refused(
    postgres: EmbeddedPostgres, empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "PAUSE_S", 0.01)
    monkeypatch.setattr(migrations, "ATTEMPTS_MAX", 2)
    url = postgres.url(OWNER, empty)
    await migrate(url)
    with psycopg.connect(plain(url)) as holder:
        holder.execute("lock table alembic_version in access exclusive mode")

        with pytest.raises(Unavailable, match="migration"):
            await migrate(url, to="base")
