"""The database edge: one transaction for each use case, confined to one organisation by PostgreSQL itself.

``async with db.writing(actor) as tx:`` opens a transaction, sets ``bursar.org`` for it alone (in the same round trip as
BEGIN) and commits at the end; nothing else commits anywhere. Every tenant table has forced row-level security keyed by
that setting, and the application's role cannot step around it: without an organisation no row is visible.

Isolation is READ COMMITTED. Rules about money hold through row locks and constraints, never through SERIALIZABLE alone.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any
from uuid import UUID

import psycopg
import sqlalchemy as sa
from psycopg.pq import PipelineStatus, TransactionStatus
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from bursar.infra import schema
from bursar.infra.db_tables import global_table, global_tables, metadata, new_id, tenant_table
from bursar.infra.db_tx import (
    STATEMENT_TIMEOUT_S,
    Busy,
    Driver,
    OutcomeUnknown,
    Seat,
    Statement,
    TooSlow,
    Tx,
    driver_of,
    observe,
    query_observers,
    refusal_of,
)
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Unavailable

__all__ = [
    "Busy",
    "Database",
    "Driver",
    "OutcomeUnknown",
    "Statement",
    "TooSlow",
    "Tx",
    "driver_of",
    "global_table",
    "global_tables",
    "metadata",
    "new_id",
    "observe",
    "query_observers",
    "refusal_of",
    "tenant_table",
]

APP_ROLE = schema.APP
ORG_SETTING = schema.ORG_SETTING
POOL_SIZE = 10
POOL_OVERFLOW = 10
POOL_WAIT_S = 10
POOL_SPARE = 2
"""Connections of the pool that are never kept ready by :class:`Database`, for whoever asks the engine itself."""

LOCK_TIMEOUT_S = 5
IDLE_IN_TRANSACTION_TIMEOUT_S = 60
SLOW_QUERY_S = 0.1
"""The budget of one statement; ``query_observers`` see every statement with its time."""

COME_BACK_S = 10.0
"""How long the start of a transaction waits for a database that restarts."""


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
        self._idle: list[Seat] = []
        self._waiting = 0
        self._idle_max = max(0, pool_size - POOL_SPARE)
        sa.event.listen(self.engine.sync_engine, "connect", _refuse_a_role_that_bypasses)

    def writing(self, actor: Actor) -> AbstractAsyncContextManager[Tx]:
        """Open a transaction confined to the actor's organisation; committed at the end, rolled back on an error.

        Raises:
            Unavailable: The database is away.
            OutcomeUnknown: It went away during the commit.
        """
        return _Transaction(self, "", str(actor.org), actor, application_filter=self._filter)

    def reading(self, actor: Actor) -> AbstractAsyncContextManager[Tx]:
        """Open a read-only transaction confined to the actor's organisation.

        Raises:
            Unavailable: The database is away.
        """
        return _Transaction(self, " read only", str(actor.org), actor, application_filter=self._filter)

    def system(self, what: str, *, write: bool = False) -> AbstractAsyncContextManager[Tx]:
        """Open a transaction without an organisation: only global tables show rows.

        Args:
            what: What for, such as ``sign in``; becomes the actor's name.
            write: Whether it may write.
        """
        nobody = Actor(org=UUID(int=0), name=f"system:{what}")
        return _Transaction(self, "" if write else " read only", "", nobody, application_filter=self._filter)

    async def catalogue_faults(self) -> list[schema.Fault]:
        """Run the catalogue lints of :mod:`bursar.infra.schema`; empty when row-level security is whole."""
        async with self.engine.connect() as conn:
            return await conn.run_sync(lambda sync: schema.faults(sync, global_tables=global_tables()))

    async def close(self) -> None:
        """Close every connection."""
        while self._idle:
            await self._idle.pop().conn.close()
        await self.engine.dispose()

    async def _seat(self) -> Seat:
        """Return a connection that is between transactions: one kept ready, or one of the pool."""
        if self._idle:
            return self._idle.pop()
        self._waiting += 1
        try:
            conn = await self.engine.connect()
        finally:
            self._waiting -= 1
        try:
            return Seat(conn, await driver_of(conn))
        except BaseException:
            await conn.close()
            raise

    async def leave(self, seat: Seat) -> None:
        """Keep a connection whose transaction ended well ready for the next, past the pool's check-in and check-out."""
        clean = seat.driver.info.transaction_status == TransactionStatus.IDLE
        if not clean or self._waiting or len(self._idle) >= self._idle_max:
            await discard(seat)  # through the pool, which wakes whoever waits there
            return
        try:
            if seat.conn.in_transaction():
                await seat.conn.rollback()  # SQLAlchemy's own book-keeping; nothing is sent
        except BaseException:
            await discard(seat)
            raise
        self._idle.append(seat)

    async def begun(self, begin: bytes) -> Seat:
        """Return a connection on which ``begin`` ran, waiting for a database that is just restarting.

        Raises:
            Unavailable: It did not come back in time, or no connection was free.
        """
        end = time.monotonic() + self._come_back_s
        while True:
            try:
                seat = await self._seat()
            except sa.exc.OperationalError as error:
                if time.monotonic() > end:
                    raise Unavailable("The database") from error
                await asyncio.sleep(0.05)
                continue
            except sa.exc.TimeoutError as error:
                raise Unavailable("The database's pool of connections") from error
            start = time.perf_counter()
            try:
                await seat.driver.execute(begin, prepare=False)
            except BaseException as error:
                await discard(seat)
                if not isinstance(error, psycopg.OperationalError):
                    raise
                if time.monotonic() > end:
                    raise Unavailable("The database") from error
                continue
            observe(time.perf_counter() - start, "begin")
            return seat


async def discard(seat: Seat) -> None:
    """Roll back and give the connection back to the pool; a lost one is dropped.

    Shielded, so that a request that is cancelled still gives its connection back.
    """

    async def close() -> None:
        # a server that dies in the middle of a pipeline leaves a driver that is not closed and can send nothing
        lost = seat.driver.closed or seat.driver.pgconn.pipeline_status != PipelineStatus.OFF
        if lost and not seat.conn.invalidated:
            await seat.conn.invalidate()
        await seat.conn.close()

    await asyncio.shield(asyncio.ensure_future(close()))


class _Transaction:
    """One transaction as a context manager; a class because a generator costs twice as much on every request."""

    __slots__ = ("_actor", "_begin", "_db", "_filter", "_seat", "_tx")

    def __init__(self, db: Database, mode: str, org: str, actor: Actor, *, application_filter: bool) -> None:
        self._db = db
        self._begin = f"begin{mode}; set local role {APP_ROLE}; set local {ORG_SETTING} = '{org}'".encode()
        self._actor = actor
        self._filter = application_filter

    async def __aenter__(self) -> Tx:
        self._seat = await self._db.begun(self._begin)
        self._tx = Tx(self._seat, self._actor, application_filter=self._filter)
        return self._tx

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            await discard(self._seat)
            if isinstance(error, sa.exc.DBAPIError) and (refusal := refusal_of(error)) is not error:
                raise refusal from error
            return
        try:
            await _commit(self._seat.driver)
        except BaseException:
            await discard(self._seat)
            raise
        await self._db.leave(self._seat)
        for callback in self._tx.after_commit_callbacks:
            callback()


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
    observe(time.perf_counter() - start, "commit")


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


def _refuse_a_role_that_bypasses(connection: Any, _: object) -> None:
    """Check each new connection once: it acts as the application's role, which is under row-level security."""
    cursor = connection.cursor()
    cursor.execute("select current_user, rolsuper or rolbypassrls from pg_roles where rolname = current_user")
    user, bypasses = cursor.fetchone()
    cursor.close()
    if user != APP_ROLE or bypasses:
        message = f"connections act as {user}, which is not the role {APP_ROLE} under row-level security"
        raise RuntimeError(message)
