"""The database edge: one transaction for each use case, confined to one organisation by PostgreSQL itself.

``async with db.writing(actor) as tx:`` opens a transaction, sets ``bursar.org`` for it alone (in the same round trip as
BEGIN) and commits at the end; nothing else commits anywhere. Every tenant table has forced row-level security keyed by
that setting, and the application's role cannot step around it: without an organisation no row is visible.

Isolation is READ COMMITTED. Rules about money hold through row locks and constraints, never through SERIALIZABLE alone.
"""

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
import sqlalchemy as sa
from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg.types.json import Jsonb
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from bursar.infra import schema
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, Refusal, Unavailable

APP_ROLE = schema.APP
ORG_SETTING = schema.ORG_SETTING
POOL_SIZE = 10
POOL_OVERFLOW = 10
POOL_WAIT_S = 10
STATEMENT_TIMEOUT_S = 30
LOCK_TIMEOUT_S = 5
IDLE_IN_TRANSACTION_TIMEOUT_S = 60
SLOW_QUERY_S = 0.1
"""The budget of one statement; ``query_observers`` see every statement with its time."""

COME_BACK_S = 10.0
"""How long the start of a transaction waits for a database that restarts."""

Driver = psycopg.AsyncConnection[Any]
Statement = sa.Executable | str
QueryObserver = Callable[[float, Statement], None]

query_observers: list[QueryObserver] = []
"""Called after each statement with its seconds and itself; must be quick and must not raise."""

metadata = sa.MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)
"""Every table of every feature; migrations are compared with it."""


@dataclass(eq=False)
class Busy(Conflict):
    """Somebody else is changing this right now; try again."""

    what: str = "this"


@dataclass(eq=False)
class TooSlow(Refusal):
    """The database stopped a query after {seconds} s; narrow it down."""

    status = 503
    seconds: int = STATEMENT_TIMEOUT_S


@dataclass(eq=False)
class OutcomeUnknown(Refusal):
    """The database went away while it was saving; look whether the change is there before you repeat it."""

    status = 503


def tenant_table(name: str, *items: sa.schema.SchemaItem, **options: Any) -> sa.Table:
    """Declare a table whose rows belong to organisations; column ``org`` is added and leads the primary key.

    Raises:
        ValueError: No column is a primary key, or a unique key does not begin with ``org``.
    """
    table = sa.Table(name, metadata, sa.Column("org", sa.Uuid, primary_key=True), *items, **options)
    if len(table.primary_key) == 1 and not options.get("info", {}).get("one_per_org"):
        message = f"{name}: give the column that identifies a row within its organisation primary_key=True"
        raise ValueError(message)
    keys: list[Iterable[sa.Column[Any]]] = [c.columns for c in table.constraints if isinstance(c, sa.UniqueConstraint)]
    keys += [index.columns for index in table.indexes if index.unique]
    for key in keys:
        if next(iter(key)).name != "org":
            message = (
                f"{name}: a unique key across organisations tells that a value exists elsewhere; begin it with org"
            )
            raise ValueError(message)
    return table


def global_table(name: str, *items: sa.schema.SchemaItem, reason: str, **options: Any) -> sa.Table:
    """Declare a table outside of organisations; ``reason`` says why nobody's data can leak through it."""
    return sa.Table(name, metadata, *items, info={"global": reason}, **options)


def global_tables() -> dict[str, str]:
    """Return the declared tables without an organisation, each with its reason."""
    return {table.name: table.info["global"] for table in metadata.tables.values() if "global" in table.info}


_counter = itertools.count(int.from_bytes(os.urandom(2)))


def new_id() -> UUID:
    """Return a new time-ordered id (UUID version 7, RFC 9562): 48 bits of milliseconds, 12 of a counter, 62 random."""
    milliseconds = time.time_ns() // 1_000_000
    value = milliseconds << 80 | 0x7 << 76 | (next(_counter) & 0xFFF) << 64 | 0b10 << 62
    return UUID(int=value | int.from_bytes(os.urandom(8)) >> 2)


class Tx:
    """One open transaction of one actor.

    Attributes:
        actor: Who asked for it.
        org: The organisation it is confined to.
        conn: The connection, for the rare need; it must not be committed or kept.
    """

    __slots__ = ("_after_commit", "_filter", "actor", "conn", "org")

    def __init__(self, conn: AsyncConnection, actor: Actor, *, application_filter: bool) -> None:
        self.conn = conn
        self.actor = actor
        self.org = actor.org
        self._filter = application_filter
        self._after_commit: list[Callable[[], None]] = []

    async def run(self, stmt: Statement, params: Any = None) -> sa.CursorResult[Any]:
        """Execute one statement (SQLAlchemy Core, or SQL text with ``:name`` parameters).

        Args:
            stmt: The statement.
            params: A mapping, or a sequence of mappings for many rows at once.

        Raises:
            Busy: A lock was not to be had within 5 s, or a deadlock was broken.
            TooSlow: It ran longer than the statement timeout.
        """
        start = time.perf_counter()
        try:
            return await self.conn.execute(sa.text(stmt) if isinstance(stmt, str) else stmt, params)
        except sa.exc.DBAPIError as error:
            raise _refusal_of(error) from error
        finally:
            _observe(time.perf_counter() - start, stmt)

    async def all(self, stmt: Statement, params: Any = None) -> Sequence[sa.Row[Any]]:
        """Return every row; the statement bounds how many there can be."""
        return (await self.run(stmt, params)).all()

    async def one(self, stmt: Statement, params: Any = None) -> sa.Row[Any] | None:
        """Return the row, or None when there is none.

        Raises:
            sqlalchemy.exc.MultipleResultsFound: There is more than one (a bug).
        """
        return (await self.run(stmt, params)).one_or_none()

    async def scalar(self, stmt: Statement, params: Any = None) -> Any:
        """Return the first column of the first row, or None."""
        return (await self.run(stmt, params)).scalar()

    def own(self, table: sa.FromClause) -> sa.ColumnElement[bool]:
        """Return the application's own filter ``table.org = this organisation``; row-level security holds without it."""
        return table.c.org == self.org if self._filter else sa.true()

    async def copy(self, table: sa.Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
        """Insert many rows by COPY; ``org`` is filled in unless it is one of ``columns``.

        COPY cannot write under row-level security, so rows go through a temporary table and one INSERT.

        Args:
            table: Where to.
            columns: Names, in the order of the values of each row.
            rows: Values; dicts and lists are written as JSON into JSON columns.

        Returns:
            How many rows were inserted.
        """
        start = time.perf_counter()
        tenant = "org" in table.c and "org" not in columns
        driver = await driver_of(self.conn)
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        target, draft = sql.Identifier(table.name), sql.Identifier(f"copy_{table.name}"[:63])
        json_at = {i for i, name in enumerate(columns) if isinstance(table.c[name].type, sa.JSON)}
        try:
            await driver.execute(
                sql.SQL("create temp table {} as select {} from {} limit 0").format(draft, names, target)
            )
            async with (
                driver.cursor() as cursor,
                cursor.copy(sql.SQL("copy {} ({}) from stdin").format(draft, names)) as sink,
            ):
                for row in rows:
                    values = [Jsonb(v) if i in json_at and v is not None else v for i, v in enumerate(row)]
                    await sink.write_row(values if json_at else row)
            head = (sql.SQL("org, "), sql.SQL("{}::uuid, ").format(sql.Literal(str(self.org)))) if tenant else ("", "")
            insert = sql.SQL("insert into {} ({}{}) select {}{} from {}")
            before, value = (part if isinstance(part, sql.Composable) else sql.SQL("") for part in head)
            done = await driver.execute(insert.format(target, before, names, value, names, draft))
            await driver.execute(sql.SQL("drop table {}").format(draft))
        except psycopg.Error as error:
            raise _refusal_of(sa.exc.DBAPIError("copy", None, error)) from error
        finally:
            _observe(time.perf_counter() - start, f"copy {table.name}")
        return done.rowcount

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undo only what is inside when it raises; the error still passes through."""
        async with self.conn.begin_nested():
            yield

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once the transaction is committed (never when it is rolled back); it must not raise."""
        self._after_commit.append(callback)


class Database:
    """The pool of connections of one process, all as the application's role.

    Args:
        url: ``postgresql+psycopg://…``; of the role ``bursar_app`` itself, or of a role that may act as it.
        pool_size: Connections kept open.
        pool_overflow: Further connections at peaks.
        application_filter: False switches :meth:`Tx.own` off, to prove that row-level security holds alone.
        come_back_s: How long the start of a transaction waits for a database that restarts.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = POOL_SIZE,
        pool_overflow: int = POOL_OVERFLOW,
        application_filter: bool = True,
        come_back_s: float = COME_BACK_S,
    ) -> None:
        self._filter = application_filter
        self._come_back_s = come_back_s
        self.engine: AsyncEngine = create_async_engine(
            url,
            pool_size=pool_size,
            max_overflow=pool_overflow,
            pool_timeout=POOL_WAIT_S,
            isolation_level="AUTOCOMMIT",  # BEGIN is ours: it carries the organisation in one round trip
            connect_args=connect_args(),
        )
        sa.event.listen(self.engine.sync_engine, "connect", _refuse_a_role_that_bypasses)

    @asynccontextmanager
    async def writing(self, actor: Actor) -> AsyncIterator[Tx]:
        """Open a transaction confined to the actor's organisation; committed at the end, rolled back on an error.

        Raises:
            Unavailable: The database is away.
            OutcomeUnknown: It went away during the commit.
        """
        async with self._transaction("", str(actor.org), actor) as tx:
            yield tx

    @asynccontextmanager
    async def reading(self, actor: Actor) -> AsyncIterator[Tx]:
        """Open a read-only transaction confined to the actor's organisation.

        Raises:
            Unavailable: The database is away.
        """
        async with self._transaction(" read only", str(actor.org), actor) as tx:
            yield tx

    @asynccontextmanager
    async def system(self, what: str, *, write: bool = False) -> AsyncIterator[Tx]:
        """Open a transaction without an organisation: only global tables show rows.

        Args:
            what: What for, such as ``sign in``; becomes the actor's name.
            write: Whether it may write.
        """
        nobody = Actor(org=UUID(int=0), name=f"system:{what}")
        async with self._transaction("" if write else " read only", "", nobody) as tx:
            yield tx

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()

    @asynccontextmanager
    async def _transaction(self, mode: str, org: str, actor: Actor) -> AsyncIterator[Tx]:
        conn, driver = await self._begun(f"begin{mode}; set local role {APP_ROLE}; set local {ORG_SETTING} = '{org}'")
        try:
            tx = Tx(conn, actor, application_filter=self._filter)
            yield tx
            await _commit(driver)
        except sa.exc.DBAPIError as error:
            raise _refusal_of(error) from error
        finally:
            # Rolls back what is not committed; shielded, so that a cancelled request still gives its connection back.
            await asyncio.shield(asyncio.ensure_future(_give_back(conn, driver)))
        for callback in tx._after_commit:  # noqa: SLF001  the two classes are one unit
            callback()

    async def _begun(self, begin: str) -> tuple[AsyncConnection, Driver]:
        """Return a connection on which ``begin`` ran, waiting for a database that is just restarting."""
        end = time.monotonic() + self._come_back_s
        while True:
            try:
                conn = await self.engine.connect()
            except sa.exc.OperationalError as error:
                if time.monotonic() > end:
                    raise Unavailable("The database") from error
                await asyncio.sleep(0.05)
                continue
            except sa.exc.TimeoutError as error:
                raise Unavailable("The database's pool of connections") from error
            start = time.perf_counter()
            try:
                driver = await driver_of(conn)
                await driver.execute(begin.encode(), prepare=False)
            except psycopg.OperationalError as error:
                await conn.invalidate()
                await conn.close()
                if time.monotonic() > end:
                    raise Unavailable("The database") from error
                continue
            except BaseException:
                await conn.close()
                raise
            _observe(time.perf_counter() - start, "begin")
            return conn, driver


async def _commit(driver: Driver) -> None:
    if driver.info.transaction_status == TransactionStatus.INERROR:
        message = "a failed statement was swallowed inside the transaction; use tx.savepoint() around it"
        raise RuntimeError(message)
    start = time.perf_counter()
    try:
        await driver.commit()
    except psycopg.OperationalError as error:
        if driver.closed:
            raise OutcomeUnknown from error
        raise
    _observe(time.perf_counter() - start, "commit")


async def _give_back(conn: AsyncConnection, driver: Driver) -> None:
    if driver.closed and not conn.invalidated:
        await conn.invalidate()
    await conn.close()


def connect_args(role: str = APP_ROLE) -> Mapping[str, Any]:
    """Return psycopg's arguments for a connection that acts as ``role`` from its first statement on.

    The role is a start-up option, so that RESET ROLE, RESET ALL and DISCARD ALL come back to it and not to the role that
    signed in. Timeouts are start-up options too, because a role's own settings count only for who signs in as it.
    """
    options = {
        "role": role,
        "statement_timeout": f"{STATEMENT_TIMEOUT_S}s",
        "lock_timeout": f"{LOCK_TIMEOUT_S}s",
        "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_TIMEOUT_S}s",
        "timezone": "UTC",
    }
    return {
        "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
        "application_name": "bursar",
        "connect_timeout": 10,
    }


async def driver_of(conn: AsyncConnection) -> Driver:
    """Return the psycopg connection beneath."""
    driver = (await conn.get_raw_connection()).driver_connection
    if not isinstance(driver, psycopg.AsyncConnection):
        raise TypeError(type(driver))
    return driver


def _refuse_a_role_that_bypasses(connection: Any, _: object) -> None:
    """Check each new connection once: it acts as the application's role, which is under row-level security."""
    cursor = connection.cursor()
    cursor.execute("select current_user, rolsuper or rolbypassrls from pg_roles where rolname = current_user")
    user, bypasses = cursor.fetchone()
    cursor.close()
    if user != APP_ROLE or bypasses:
        message = f"connections act as {user}, which is not the role {APP_ROLE} under row-level security"
        raise RuntimeError(message)


def _observe(seconds: float, statement: Statement) -> None:
    for observer in query_observers:
        observer(seconds, statement)


def _refusal_of(error: sa.exc.DBAPIError) -> Exception:
    """Return the refusal that a driver's error amounts to, or the error itself."""
    cause = error.orig
    match cause:
        case psycopg.errors.LockNotAvailable() | psycopg.errors.DeadlockDetected():
            return Busy()
        case psycopg.errors.QueryCanceled():
            return TooSlow()
        case psycopg.OperationalError() if (
            error.connection_invalidated or cause.sqlstate is None or cause.sqlstate[:2] in {"57", "08"}
        ):
            return Unavailable("The database")
        case _:
            return error
