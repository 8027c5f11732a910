"""Fixtures: a real embedded PostgreSQL for the session, a migrated template, and a fresh database for each test."""

import asyncio
import itertools
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from bursar.infra.db import Database, new_id
from bursar.infra.embedded_postgres import ADMIN, APP, DATABASE, OWNER, EmbeddedPostgres
from bursar.infra.migrate import migrate
from bursar.kernel.actor import Actor
from tests import network

network.install()
sys.modules["__main__"].__dict__.setdefault(
    "__file__", __file__
)  # a worker of pytest-xdist has none; pyspark asks for it

FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}
"""Durability is switched off where nothing crashes; fault tests start servers of their own."""

_numbers = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--without-tenant-filter",
        action="store_true",
        help="switch the application's tenant filter off: row-level security must hold alone",
    )


@pytest.fixture(scope="session")
def short_home() -> Iterator[Path]:
    """A home that another operating-system user can reach (pytest's own folder is private) with a short path."""
    home = Path(tempfile.mkdtemp(prefix="bursar-test-"))
    home.chmod(0o755)
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(short_home: Path) -> Iterator[EmbeddedPostgres]:
    """The embedded server of the session."""
    with EmbeddedPostgres(short_home, settings=FAST) as server:
        yield server


@pytest.fixture(scope="session")
def template(postgres: EmbeddedPostgres) -> str:
    """The name of a migrated database that nobody is connected to."""
    asyncio.run(migrate(postgres.url(OWNER)))
    return DATABASE


@contextmanager
def fresh(postgres: EmbeddedPostgres, template: str) -> Iterator[str]:
    """Yield the name of a fresh migrated database, dropped afterwards."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(
        f"postgresql:///postgres?host={postgres.place.socket}&user={ADMIN}&port=5432", autocommit=True
    ) as admin:
        admin.execute(f"create database {name} template {template} owner {OWNER} strategy wal_log")
        yield name
        admin.execute(f"drop database {name} with (force)")


@pytest.fixture
def database(postgres: EmbeddedPostgres, template: str) -> Iterator[str]:
    """The name of a fresh migrated database."""
    with fresh(postgres, template) as name:
        yield name


@pytest.fixture(scope="module")
def module_database(postgres: EmbeddedPostgres, template: str) -> Iterator[str]:
    """The name of a migrated database that the tests of one module share."""
    with fresh(postgres, template) as name:
        yield name


@pytest.fixture
def database_url(postgres: EmbeddedPostgres, database: str) -> str:
    """The URL of the fresh database for the application's role."""
    return postgres.url(APP, database)


@pytest.fixture
def owner_url(postgres: EmbeddedPostgres, database: str) -> str:
    """The URL of the fresh database for the role that owns the schema."""
    return postgres.url(OWNER, database)


@pytest.fixture
async def db(database_url: str, pytestconfig: pytest.Config) -> AsyncIterator[Database]:
    """The application's edge to a fresh migrated database."""
    unfiltered = pytestconfig.getoption("--without-tenant-filter")
    database = Database(database_url, pool_size=4, application_filter=not unfiltered)
    yield database
    await database.close()


@pytest.fixture
def make_actor() -> Callable[..., Actor]:
    """Return a maker of actors: ``make_actor("ledger:read", org=None, person=None)``."""

    def make(*rights: str, org: UUID | None = None, person: UUID | None = None) -> Actor:
        who = person or new_id()
        return Actor(org or new_id(), f"person:{who}", frozenset(rights), who, request_id="test")

    return make


class EveryRight(frozenset[str]):
    """A set of rights that holds each one asked for."""

    def __contains__(self, right: object) -> bool:
        return isinstance(right, str)


@pytest.fixture
def actor() -> Actor:
    """Somebody with every right in an organisation of their own."""
    who = new_id()
    return Actor(new_id(), f"person:{who}", EveryRight(), who, request_id="test")


@pytest.fixture
def other_actor() -> Actor:
    """Somebody with every right in another organisation."""
    who = new_id()
    return Actor(new_id(), f"person:{who}", EveryRight(), who, request_id="test")


@contextmanager
def spark_server() -> Iterator[str]:
    """Give the URL of a Spark Connect server in this process, on a free port of the loopback interface."""
    server = pytest.importorskip("pysail.spark", reason="the extra spark is not installed").SparkConnectServer()
    server.start()
    _, port = server.listening_address
    yield f"sc://127.0.0.1:{port}"
    server.stop()


@pytest.fixture(scope="session")
def sail() -> Iterator[str]:
    """The URL of a Spark Connect server."""
    with spark_server() as url:
        yield url
