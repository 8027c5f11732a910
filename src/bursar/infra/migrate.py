"""Runs the migrations with Alembic, imported only when there is something to do."""

import ast
import asyncio
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from bursar.infra.db import Database
from bursar.infra.schema import BACKUP
from bursar.kernel.errors import Refusal, Unavailable

if TYPE_CHECKING:
    from alembic.config import Config

LOCK_TIMEOUT_S = 1
"""A migration that waits longer for a table would make everybody queue behind it; it lets go and tries again."""

ATTEMPTS_MAX = 20
PAUSE_S = 1.0
ADVISORY_KEY = 0x62757273  # "burs"


class MigrationsMissing(Refusal):
    """The folder of migrations is missing from this installation; install Bursar again."""

    status = 503


def folder() -> Path:
    """Return the folder of migrations: inside the installed package, or at the root of a checkout."""
    here = Path(__file__).resolve()
    for candidate in (here.parents[1] / "migrations", here.parents[3] / "migrations"):
        if (candidate / "env.py").exists():
            return candidate
    raise MigrationsMissing


@lru_cache
def _revisions() -> tuple[frozenset[str], frozenset[str]]:
    """Return every revision and those that another follows, read from the scripts without running them."""
    every: set[str] = set()
    followed: set[str] = set()
    for script in (folder() / "versions").glob("*.py"):
        for node in ast.parse(script.read_text(encoding="utf-8")).body:
            target, value = _assignment(node)
            if target == "revision":
                every.add(str(value))
            elif target in {"down_revision", "depends_on"} and value:
                followed |= {value} if isinstance(value, str) else set(value)
    return frozenset(every), frozenset(followed)


def known() -> frozenset[str]:
    """Return every revision this program knows."""
    return _revisions()[0]


def heads() -> frozenset[str]:
    """Return the newest revisions this program knows."""
    every, followed = _revisions()
    return every - followed


def _assignment(node: ast.stmt) -> tuple[str, Any]:
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=value) if name in {
            "revision",
            "down_revision",
            "depends_on",
        }:
            return name, ast.literal_eval(value)
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value) if name != "branch_labels":
            return name, ast.literal_eval(value)
        case _:
            return "", None


async def migrate(url: str, *, to: str = "heads") -> None:
    """Bring the database of ``url`` up to ``to``; does nothing when it is there already.

    Args:
        url: Of the role that owns the schema.
        to: A revision, ``heads``, or for tests ``base`` (down).

    Raises:
        Unavailable: A table stayed locked through every attempt.
    """
    for _ in range(ATTEMPTS_MAX):
        if await asyncio.to_thread(_migrate_once, url, to):
            return
        await asyncio.sleep(PAUSE_S)
    raise Unavailable("A table that the migration needs")


async def current_is_head(db: Database) -> bool:
    """Tell whether the database has every migration this program knows; one cheap query, for readiness.

    A database that a newer version has migrated counts: migrations are safe while the old version runs.
    """
    async with db.system("readiness") as tx:
        if await tx.scalar("select to_regclass('public.alembic_version')") is None:
            return False
        found = {row[0] for row in await tx.all("select version_num from alembic_version limit 100")}
    return found == heads() or (bool(found - known()) and found & known() <= heads())


def config(connection: sa.Connection) -> "Config":
    """Return Alembic's configuration, made here instead of in an ini file."""
    from alembic.config import Config

    made = Config()
    made.set_main_option("script_location", str(folder()).replace("%", "%%"))
    made.attributes["connection"] = connection
    return made


def _migrate_once(url: str, to: str) -> bool:
    """Migrate under a lock that only one process holds; False when a lock on a table was not to be had."""
    from alembic import command

    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    try:
        with engine.connect() as connection:
            connection.execute(sa.text(f"select pg_advisory_lock({ADVISORY_KEY})"))
            connection.execute(sa.text(f"set lock_timeout = '{LOCK_TIMEOUT_S}s'"))
            connection.commit()
            if to == "base":
                command.downgrade(config(connection), to)
            else:
                command.upgrade(config(connection), to)
                for kind in ("tables", "sequences"):  # also of the queue, whose schema is not ours
                    connection.execute(sa.text(f"grant select on all {kind} in schema public to {BACKUP}"))
                connection.commit()
            return True
    except sa.exc.OperationalError as error:
        if getattr(error.orig, "sqlstate", None) == "55P03":
            return False
        raise
    finally:
        engine.dispose()
