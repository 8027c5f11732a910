"""One open transaction: statements, COPY, savepoints, and what the database's refusals mean."""

import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import psycopg
import sqlalchemy as sa
from psycopg import sql
from psycopg.types.json import Jsonb
from sqlalchemy.ext.asyncio import AsyncConnection

from bursar.kernel.actor import Actor
from bursar.kernel.errors import Refusal, Unavailable

STATEMENT_TIMEOUT_S = 30

Driver = psycopg.AsyncConnection[Any]
Statement = sa.Executable | str
QueryObserver = Callable[[float, Statement], None]

query_observers: list[QueryObserver] = []
"""Called after each statement with its seconds and itself; must be quick and must not raise."""


@dataclass(eq=False)
class Busy(Refusal):
    """Somebody else is changing this right now; try again."""

    status: ClassVar[int] = 409


@dataclass(eq=False)
class TooSlow(Refusal):
    """The database stopped a query after {seconds} s; narrow it down."""

    status: ClassVar[int] = 503
    seconds: int = STATEMENT_TIMEOUT_S


@dataclass(eq=False)
class OutcomeUnknown(Refusal):
    """The database went away while it was saving; look whether the change is there before you repeat it."""

    status: ClassVar[int] = 503


class Seat(NamedTuple):
    """A connection and the driver's connection beneath it."""

    conn: AsyncConnection
    driver: Driver


class Tx:
    """One open transaction of one actor.

    Attributes:
        actor: Who asked for it.
        org: The organisation it is confined to.
        conn: The connection, for the rare need; it must not be committed or kept.
        driver: The psycopg connection beneath.
    """

    __slots__ = ("_filter", "actor", "after_commit_callbacks", "conn", "driver", "org")

    def __init__(self, seat: Seat, actor: Actor, *, application_filter: bool) -> None:
        self.conn, self.driver = seat
        self.actor = actor
        self.org = actor.org
        self._filter = application_filter
        self.after_commit_callbacks: list[Callable[[], None]] = []

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
            raise refusal_of(error) from error
        finally:
            observe(time.perf_counter() - start, stmt)

    async def allow_idle(self, seconds: int) -> None:
        """Let this transaction stand still so long between two statements: for long computing, never while people wait."""
        wait = {"wait": f"{seconds}s"}
        await self.run("select set_config('idle_in_transaction_session_timeout', :wait, true)", wait)

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
        driver = self.driver
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
            column, value = ("org, ", f"'{self.org}'::uuid, ") if tenant else ("", "")
            insert = sql.SQL(f"insert into {{}} ({column}{{}}) select {value}{{}} from {{}}")
            done = await driver.execute(insert.format(target, names, names, draft))
            await driver.execute(sql.SQL("drop table {}").format(draft))
        except psycopg.Error as error:
            raise refusal_of(sa.exc.DBAPIError("copy", None, error)) from error
        finally:
            observe(time.perf_counter() - start, f"copy {table.name}")
        return done.rowcount

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undo only what is inside when it raises; the error still passes through."""
        async with self.conn.begin_nested():
            yield

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once the transaction is committed (never when it is rolled back); it must not raise."""
        self.after_commit_callbacks.append(callback)


async def driver_of(conn: AsyncConnection) -> Driver:
    """Return the psycopg connection beneath."""
    driver = (await conn.get_raw_connection()).driver_connection
    if not isinstance(driver, psycopg.AsyncConnection):
        raise TypeError(type(driver))
    return driver


def observe(seconds: float, statement: Statement) -> None:
    """Tell every observer."""
    for observer in query_observers:
        observer(seconds, statement)


def refusal_of(error: sa.exc.DBAPIError) -> Exception:
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
