"""Use cases of connections: register, list links, pull, go on after a second factor, take webhooks."""

import hashlib
import json
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

import sqlalchemy as sa

from bursar.core.audit import service as audit
from bursar.core.intake.service import Batch
from bursar.core.notices import service as notices
from bursar.infra import jobs
from bursar.infra.crypto import Keyring
from bursar.infra.db import Database, Tx, new_id
from bursar.kernel.actor import Actor
from bursar.kernel.connector import Feed, LinkGone, Notice, StillCollecting, TokenRequired
from bursar.kernel.errors import Invalid, NotFound, Refusal, TooMany
from bursar.parts.banking.connections import store

PULL = "banking.pull"
LISTED = "banking.links"
ATTENTION = "bank.attention"
NEEDS_A_PERSON = frozenset({"token_required", "gone", "failed", "invalid"})
"""States of a link of which that event tells, once when it gets there."""
"""The event of a link that needs a person: a second factor, a broken or vanished link."""

FIRST_DAYS = 365
"""How far back the first pull of a link reaches."""
OVERLAP_DAYS = 10
"""Later pulls read these days again: banks book late."""
DAYS_MAX = 1_826
COLLECTING_AGAIN = timedelta(minutes=15)
"""When a pull that the service goes on collecting is looked at again, if no webhook says so before."""
NOTICES_KEPT = timedelta(days=60)
NAME_CHARS_MAX = 100
SECRET_CHARS_MAX = 500
_NAME = re.compile(r"[^A-Za-z0-9-]+")
STATES = {"valid": "valid", "invalid": "invalid", "token_required": "token_required", "unconfirmed": "invalid"}
"""State of a link by what the service calls it."""


@dataclass(eq=False)
class FeedOff(Refusal):
    """The bank service {provider} is switched off here; name it in the setting BURSAR_BANK_FEEDS."""

    status: ClassVar[int] = 409
    provider: str


@dataclass(frozen=True, slots=True)
class FeedKind:
    """One service that banks are reached through.

    Attributes:
        secrets: Names of what its credentials hold.
        environments: Where it can be called, such as ``sandbox`` and ``production``.
        open: Given credentials and environment, opens the way to it.
        notice: Reads a webhook's body, given the authorization it carries and the one agreed on.
    """

    secrets: tuple[str, ...]
    environments: tuple[str, ...]
    open: Callable[[Mapping[str, str], str], AbstractAsyncContextManager[Feed]]
    notice: Callable[[bytes, str, str], Notice]


@dataclass(frozen=True, slots=True)
class Feeds:
    """What connections need: the services that are switched on, the keys, and the way into the importer.

    ``take`` imports one document (actor, bytes, file name) as an upload is imported.
    """

    kinds: Mapping[str, FeedKind]
    keyring: Keyring
    take: Callable[[Actor, bytes, str], Awaitable[Batch]]

    def kind(self, provider: str) -> FeedKind:
        """Return a service that is switched on, else refuse with :class:`FeedOff`."""
        if provider not in self.kinds:
            raise FeedOff(provider[:40])
        return self.kinds[provider]


def _place(org: UUID, id_: UUID) -> str:
    return f"{org}:bank-connection:{id_}"


async def create(
    tx: Tx,
    actor: Actor,
    feeds: Feeds,
    *,
    provider: str,
    environment: str,
    name: str,
    credentials: Mapping[str, str],
    now: datetime,
) -> tuple[UUID, str]:
    """Register a connection; returns its id and the ``Authorization`` that its webhooks must carry, shown this once.

    Raises:
        NotAllowed: The actor lacks ``bank:write``.
        FeedOff: The service is switched off.
        Invalid: Environment, name or credentials are not what the service takes.
        TooMany: There are 20 already.
    """
    actor.must("bank:write")
    kind = feeds.kind(provider)
    if environment not in kind.environments:
        raise Invalid(f"{environment[:40]!r} is no environment of {provider}", f"Use {', '.join(kind.environments)}.")
    lengths = [len(credentials.get(each, "")) for each in kind.secrets]
    if set(credentials) != set(kind.secrets) or not all(0 < length <= SECRET_CHARS_MAX for length in lengths):
        raise Invalid(f"{provider} needs {', '.join(kind.secrets)}, each of 1 to {SECRET_CHARS_MAX} characters")
    if not 0 < len(name.strip()) <= NAME_CHARS_MAX or not name.isprintable():
        raise Invalid(f"A connection has a name of 1 to {NAME_CHARS_MAX} printable characters")
    if len(await store.connections(tx)) >= store.CONNECTIONS_MAX:
        raise TooMany("bank connections", 86_400)
    id_, authorization = new_id(), f"Bearer {secrets.token_urlsafe(32)}"
    plain = json.dumps({"credentials": dict(credentials), "authorization": authorization}).encode()
    facts = {"provider": provider, "environment": environment, "name": name.strip()}
    sealed = feeds.keyring.seal(plain, place=_place(tx.org, id_))
    await store.add(tx, {"id": id_, **facts, "sealed": sealed, "created_at": now, "created_by": actor.name})
    await audit.record(tx, actor, action="bank.connected", subject=f"bank-connection:{id_}", now=now, after=facts)
    await jobs.enqueue(tx, LISTED, {"connection": str(id_)}, once=str(id_))
    return id_, authorization


async def listed(tx: Tx, actor: Actor) -> Sequence[sa.Row[Any]]:
    """Return the connections."""
    actor.must("bank:read")
    return await store.connections(tx)


async def links(tx: Tx, actor: Actor, *, connection: UUID) -> Sequence[sa.Row[Any]]:
    """Return up to 1,000 links of a connection as they stand.

    Raises:
        NotFound: There is no such connection.
    """
    actor.must("bank:read")
    await _found(tx, connection)
    return await store.links(tx, connection)


async def remove(tx: Tx, actor: Actor, *, connection: UUID, now: datetime) -> None:
    """Forget a connection and its credentials; what it brought stays.

    Raises:
        NotFound: There is no such connection.
    """
    actor.must("bank:write")
    row = await _found(tx, connection)
    await store.remove(tx, connection)
    told = {"provider": row.provider, "name": row.name}
    await audit.record(
        tx, actor, action="bank.disconnected", subject=f"bank-connection:{connection}", now=now, before=told
    )


async def ask(
    tx: Tx, actor: Actor, *, connection: UUID, link: str = "", since: date | None = None, until: date | None = None
) -> UUID:
    """Queue a pull of one link, or without one the listing of all and a pull of each; returns the run's id.

    Raises:
        NotFound: There is no such connection or link.
        Invalid: The days are no span of up to five years.
    """
    actor.must("bank:write")
    await _found(tx, connection)
    if not link:
        return await jobs.enqueue(tx, LISTED, {"connection": str(connection)}, once=str(connection))
    if await store.find_link(tx, connection, link) is None:
        raise NotFound("link", link[:80])
    if since and until and not 0 <= (until - since).days <= DAYS_MAX:
        raise Invalid(f"A pull reaches over 0 to {DAYS_MAX} days")
    days = {name: day.isoformat() for name, day in (("since", since), ("until", until)) if day}
    return await _queue(tx, connection, link, days)


async def _queue(
    tx: Tx,
    connection: UUID,
    link: str,
    days: Mapping[str, str] | None = None,
    *,
    at: datetime | None = None,
    collected: bool = False,
) -> UUID:
    args = {"connection": str(connection), "link": link, **(days or {})} | ({"collected": True} if collected else {})
    once = hashlib.sha256(json.dumps(args, sort_keys=True).encode()).hexdigest()
    return await jobs.enqueue(tx, PULL, args, once=once, key=f"{connection}/{link}", at=at)


async def _found(tx: Tx, id_: UUID) -> sa.Row[Any]:
    row = await store.find(tx, id_)
    if row is None:
        raise NotFound("connection", str(id_))
    return row


async def _opened(tx: Tx, feeds: Feeds, id_: UUID) -> tuple[sa.Row[Any], Mapping[str, Any]]:
    row = await _found(tx, id_)
    return row, json.loads(feeds.keyring.open(row.sealed, place=_place(tx.org, id_)))


async def refresh(db: Database, actor: Actor, feeds: Feeds, *, connection: UUID, now: datetime) -> int:
    """Read the links of a connection anew and queue a pull of each valid one; returns how many links there are.

    Opens transactions of its own: none is open while the service is waited for.
    """
    actor.must("bank:write")
    async with db.reading(actor) as tx:
        row, opened = await _opened(tx, feeds, connection)
    async with feeds.kind(row.provider).open(opened["credentials"], row.environment) as feed:
        found = await feed.links()
    rows = [
        {"id": str(one["id"]), "institution": str(one.get("institution") or "")[:200], "state": STATES.get(str(one.get("status")), "invalid")}
        for one in found[: store.LINKS_MAX]
    ]  # fmt: skip
    async with db.writing(actor) as tx:
        stood = await _states(tx, connection)
        await store.put_links(tx, connection, rows, now=now)
        await _tell(tx, connection, stood, now)
        for one in await store.links(tx, connection, states=("valid",)):
            await _queue(tx, connection, one.id)
        await store.forget(tx, before=now - NOTICES_KEPT)
    return len(rows)


async def pull(
    db: Database,
    actor: Actor,
    feeds: Feeds,
    *,
    connection: UUID,
    link: str,
    now: datetime,
    since: date | None = None,
    until: date | None = None,
    collected: bool = False,
) -> Batch | None:
    """Pull one link and import what comes; None when the service, the bank or a person has to act first.

    Opens transactions of its own: none is open while the service is waited for. Safe to run twice: the same rows are the
    same lines.

    Args:
        db: The database.
        actor: Needs ``bank:write`` and ``intake:import``.
        feeds: The services.
        connection: Which connection.
        link: Which link.
        now: Instant, aware.
        since: First day; by default ten days before the last pull ended, or a year ago.
        until: Last day; by default today.
        collected: Take what the service has instead of asking the bank anew.
    """
    actor.must("bank:write")
    async with db.reading(actor) as tx:
        row, opened = await _opened(tx, feeds, connection)
        stands = await store.find_link(tx, connection, link)
    if stands is None or stands.state == "gone":
        return None
    last = until or now.date()
    back = timedelta(days=OVERLAP_DAYS if stands.pulled_until else FIRST_DAYS)
    first = since or min(last, (stands.pulled_until or now.date()) - back)
    try:
        async with feeds.kind(row.provider).open(opened["credentials"], row.environment) as feed:
            document = await feed.pull(link, since=first, until=last, collected=collected)
    except (TokenRequired, StillCollecting, LinkGone) as refused:
        await _stopped(db, actor, connection, link, refused, now)
        return None
    except Refusal as refused:
        async with db.writing(actor) as tx:
            stood = await _states(tx, connection)
            await store.set_link(tx, connection, link, now=now, state="failed", why=str(refused)[:500])
            await _tell(tx, connection, stood, now)
        raise  # the job tries again, or gives up in sight of everybody
    batch = await feeds.take(actor, document, f"{row.provider}-{_NAME.sub('-', link)[:60]}-{first}-{last}.json")
    async with db.writing(actor) as tx:
        reached = max(last, stands.pulled_until or last)
        await store.set_link(tx, connection, link, now=now, state="valid", why="", asked=None, pulled_until=reached)
    return batch


async def _stopped(
    db: Database,
    actor: Actor,
    connection: UUID,
    link: str,
    refused: TokenRequired | StillCollecting | LinkGone,
    now: datetime,
) -> None:
    """Keep why a pull did not come to its end, and what makes it go on."""
    async with db.writing(actor) as tx:
        if isinstance(refused, StillCollecting):
            await store.set_link(tx, connection, link, now=now, state="collecting", why=str(refused), asked=None)
            await _queue(tx, connection, link, at=now + COLLECTING_AGAIN, collected=True)
            return
        asked = isinstance(refused, TokenRequired)
        state = "token_required" if asked else "gone"
        facts = {**asdict(refused), "at": now.isoformat()} if isinstance(refused, TokenRequired) else None
        stood = await _states(tx, connection)
        await store.set_link(tx, connection, link, now=now, state=state, why=str(refused)[:500], asked=facts)
        await _tell(tx, connection, stood, now)


async def _states(tx: Tx, connection: UUID) -> dict[str, str]:
    return {row.id: row.state for row in await store.links(tx, connection)}


async def _tell(tx: Tx, connection: UUID, stood: Mapping[str, str], now: datetime) -> None:
    """Tell of each link that needs a person since just now; one that needed one already was told of then."""
    for link, state in (await _states(tx, connection)).items():
        if state in NEEDS_A_PERSON and stood.get(link) != state:
            data = {"connection": str(connection), "link": link, "state": state}
            await notices.announce(tx, type_=ATTENTION, data=data, now=now)


async def give_token(
    db: Database, actor: Actor, feeds: Feeds, *, connection: UUID, link: str, token: str, now: datetime
) -> bool:
    """Give the second factor that a bank asked for and queue the pull that goes on; False when it asks for another one.

    Raises:
        NotFound: There is no such connection or link.
        Invalid: The link asks for nothing, or its question is too old.
        Refusal: What the service says of the token.
    """
    actor.must("bank:write")
    async with db.reading(actor) as tx:
        row, opened = await _opened(tx, feeds, connection)
        stands = await store.find_link(tx, connection, link)
    if stands is None:
        raise NotFound("link", link[:80])
    if stands.state != "token_required" or not stands.asked:
        raise Invalid("The bank asks for no code at this link", "Pull it first.")
    facts = {name: value for name, value in stands.asked.items() if name != "at"}
    asked = TokenRequired(**facts)
    if asked.expiry_s and now > datetime.fromisoformat(stands.asked["at"]) + timedelta(seconds=asked.expiry_s):
        raise Invalid("The bank's question is too old", "Pull again; the bank sends another code.")
    try:
        async with feeds.kind(row.provider).open(opened["credentials"], row.environment) as feed:
            await feed.resume(asked, token)
    except (TokenRequired, StillCollecting, LinkGone) as refused:
        await _stopped(db, actor, connection, link, refused, now)
        return isinstance(refused, StillCollecting)
    async with db.writing(actor) as tx:
        await store.set_link(tx, connection, link, now=now, state="valid", why="", asked=None)
        await _queue(tx, connection, link, collected=True)
    return True


async def take_notice(
    tx: Tx, feeds: Feeds, *, connection: UUID, body: bytes, authorization: str, now: datetime
) -> bool:
    """Take a webhook: check who sent it, remember it, queue the pull of its link; False when it was seen before.

    Args:
        tx: Writing transaction of the organisation that the webhook's address names.
        feeds: The services.
        connection: Which connection the address names.
        body: As sent.
        authorization: The header as sent.
        now: Instant of arrival.

    Raises:
        NotFound: There is no such connection; nobody learns whether one was near.
        Invalid: It is not from the service, or not of the documented shape.
    """
    row, opened = await _opened(tx, feeds, connection)
    told = feeds.kind(row.provider).notice(body, authorization, opened["authorization"])
    if not await store.note(
        tx, connection, key=told.key[:200], code=told.code[:100], about=told.link[:100], rows=told.rows, now=now
    ):
        return False
    if await store.find_link(tx, connection, told.link) is None:
        await jobs.enqueue(tx, LISTED, {"connection": str(connection)}, once=str(connection))
        return True
    days = {name: day.isoformat() for name, day in (("since", told.first), ("until", told.last)) if day}
    await _queue(tx, connection, told.link, days, collected=True)
    return True
