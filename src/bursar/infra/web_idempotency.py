"""Idempotency keys: the reply is stored in the very transaction of its effect.

The whole request runs in one transaction: the key is claimed with a transaction-level advisory lock (so a second request
with the same key is refused at once instead of waiting), then the handler runs, its reply is caught and stored, then all
is committed, and only then the reply leaves. Whatever ``db.writing`` or ``db.reading`` the handler opens joins that
transaction as a savepoint. A refusal or a crash rolls everything back, the key included: repeating is safe.
"""

import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, cast

import sqlalchemy as sa
from starlette.types import Message, Send

from bursar.infra.db import Database, Tx
from bursar.infra.web_context import Exchange
from bursar.infra.web_tables import idempotency
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, Invalid, NotSignedIn, Refusal, TooLarge

KEY_MAX_CHARS = 200
"""Longest key."""

REPLY_BYTES_MAX = 1_048_576
"""Largest reply that is kept; a creating route answers with what it made, not with a list."""

KEEP_DAYS = 30
"""Days a reply is kept; afterwards the same key counts as new."""

FORGOTTEN_AT_ONCE = 10
"""Most expired replies deleted with each one that is stored; so an organisation's table never grows for ever."""

_KEY = re.compile(r"[!-~]{1,200}")
_KEPT_HEADERS = frozenset({b"content-type", b"location", b"etag"})


@dataclass(eq=False)
class KeyMissing(Refusal):
    """Send an Idempotency-Key, so that repeating the request cannot do it twice."""

    status: ClassVar[int] = 400


@dataclass(eq=False)
class KeyReused(Refusal):
    """This Idempotency-Key was used for another request; take a new one."""


@dataclass(eq=False)
class KeyInFlight(Conflict):
    """The request with this Idempotency-Key is still running; repeat it in a moment."""

    what: str = "still running"


def key_of(header: bytes | None, *, demanded: bool) -> str | None:
    """Return the key that was sent.

    Raises:
        KeyMissing: There is none although the route demands it.
        Invalid: It is not 1 to 200 printable ASCII characters.
    """
    if header is None:
        if demanded:
            raise KeyMissing
        return None
    text = header.decode("latin-1")
    if not _KEY.fullmatch(text):
        raise Invalid("The Idempotency-Key is not valid.", fix=f"Send 1 to {KEY_MAX_CHARS} printable ASCII characters.")
    return text


def fingerprint(method: str, target: bytes, body: bytes) -> bytes:
    """Return the SHA-256 of what was asked: method, path with query, body."""
    return hashlib.sha256(b"\0".join((method.encode(), target, body))).digest()


class Caught:
    """Collects an answer instead of sending it."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""

    async def __call__(self, message: Message) -> None:
        """Take one ASGI message of the answer.

        Raises:
            TooLarge: The answer is over :data:`REPLY_BYTES_MAX`.
        """
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = list(message.get("headers", []))
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")
            if len(self.body) > REPLY_BYTES_MAX:
                raise TooLarge("the reply to an idempotent request", REPLY_BYTES_MAX, "bytes")

    async def send(self, send: Send) -> None:
        """Send what was caught."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


class OneTransaction:
    """Stands in for the database inside one request: every transaction of the request's actor is the same one."""

    def __init__(self, db: Database, tx: Tx) -> None:
        self._db = db
        self._tx = tx

    def __getattr__(self, name: str) -> Any:
        """Pass everything else (``system``, ``engine`` …) on."""
        return getattr(self._db, name)

    @asynccontextmanager
    async def writing(self, actor: Actor) -> AsyncIterator[Tx]:
        """Join the request's transaction as a savepoint; another organisation gets its own transaction."""
        if actor.org != self._tx.org:
            async with self._db.writing(actor) as other:
                yield other
            return
        async with self._tx.savepoint():
            yield self._tx

    @asynccontextmanager
    async def reading(self, actor: Actor) -> AsyncIterator[Tx]:
        """Join the request's transaction, so that what it wrote is seen."""
        async with self.writing(actor) as tx:
            yield tx


async def _claim(tx: Tx, actor: str, key: str) -> sa.Row[Any] | None:
    """Take hold of ``key`` until the transaction ends and return its stored reply, if there is one."""
    lock = hashlib.sha256(f"{tx.org}\0{actor}\0{key}".encode()).digest()[:8]
    held = await tx.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(int.from_bytes(lock, signed=True))))
    if not held:
        raise KeyInFlight
    table = idempotency
    return await tx.one(sa.select(table).where(tx.own(table), table.c.actor == actor, table.c.key == key))


async def _keep(tx: Tx, actor: str, key: str, print_: bytes, caught: Caught, now: datetime) -> None:
    headers = [[name.decode(), value.decode("latin-1")] for name, value in caught.headers if name in _KEPT_HEADERS]
    values = {"org": tx.org, "actor": actor, "key": key, "fingerprint": print_, "status": caught.status}
    values |= {"headers": headers, "body": caught.body, "at": now}
    await tx.run(sa.insert(idempotency).values(values))
    await forget(tx, now=now, at_most=FORGOTTEN_AT_ONCE)


async def once(
    exchange: Exchange, *, key: str, print_: bytes, now: datetime, run: Callable[[Send], Awaitable[None]], send: Send
) -> None:
    """Answer a request that carries a key: run it, or send the reply it had before.

    Args:
        exchange: The request; its ``db`` is the one transaction while the handler runs.
        key: The key; it belongs to the actor within the organisation.
        print_: :func:`fingerprint` of the request.
        now: The present instant.
        run: Runs the handler, which answers to the send it is given.
        send: Where the answer goes, after the commit.

    Raises:
        KeyReused: The key was used for another request.
        KeyInFlight: The request with this key has not ended yet.
    """
    actor, db = exchange.actor, exchange.db
    if actor is None:
        raise NotSignedIn
    caught = Caught()
    async with db.writing(actor) as tx:
        kept = await _claim(tx, actor.name, key)
        if kept is not None and kept.at < now - timedelta(days=KEEP_DAYS):
            table = idempotency
            await tx.run(sa.delete(table).where(tx.own(table), table.c.actor == actor.name, table.c.key == key))
            kept = None
        if kept is not None:
            if kept.fingerprint != print_:
                raise KeyReused
            caught.status, caught.body = kept.status, kept.body
            caught.headers = [(name.encode(), value.encode("latin-1")) for name, value in kept.headers]
            caught.headers.append((b"content-length", str(len(kept.body)).encode()))
            caught.headers.append((b"idempotent-replayed", b"true"))
        else:
            exchange.db = cast("Database", OneTransaction(db, tx))
            try:
                await run(caught)
            finally:
                exchange.db = db
            caught.headers += exchange.reply_headers
            exchange.reply_headers = []
            await _keep(tx, actor.name, key, print_, caught, now)
    await caught.send(send)


async def forget(tx: Tx, *, now: datetime, at_most: int) -> int:
    """Delete at most ``at_most`` replies of the organisation older than :data:`KEEP_DAYS`; return how many."""
    table = idempotency
    old = sa.select(table.c.actor, table.c.key).where(tx.own(table), table.c.at < now - timedelta(days=KEEP_DAYS))
    chosen = old.order_by(table.c.at).limit(at_most)
    gone = sa.delete(table).where(tx.own(table), sa.tuple_(table.c.actor, table.c.key).in_(chosen))
    return (await tx.run(gone)).rowcount
