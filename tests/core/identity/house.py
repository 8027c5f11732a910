"""A small world of people and organisations for tests, on the real database."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from bursar.core.identity.people import service as people
from bursar.core.identity.rules.rights import FRESH, rights_of
from bursar.core.identity.service import Gate, Means
from bursar.core.identity.sessions import service as sessions
from bursar.core.identity.sessions.service import Opened, Place
from bursar.core.identity.store import organisations as organisation_store
from bursar.core.identity.store import people as people_store
from bursar.infra.crypto import Cost, Keyring, Passwords
from bursar.infra.db import Database, new_id
from bursar.infra.jobs import NOBODY
from bursar.infra.mail_tables import outbox
from bursar.kernel.actor import Actor

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
PASSWORD = "Trompete am Kanal 48"
PLACE = Place("203.0.113.9", "a browser", "request-1")
CHEAP = Cost(memory_kib=64, passes=1, lanes=1)
URL = "https://bursar.example"


def cheap_means(*, local: bool = False, url: str = URL) -> Means:
    """Return what identity needs, with passwords that hash in no time."""
    return Means(Keyring(["m" * 40]), Passwords(CHEAP), url, local)


@dataclass
class House:
    """People, organisations and the ways in."""

    db: Database
    means: Means
    gate: Gate = field(init=False)

    def __post_init__(self) -> None:
        self.gate = Gate(self.means)

    async def organisation(self, name: str = "Engines") -> UUID:
        org = new_id()
        async with self.db.writing(Actor(org, "system:test")) as tx:
            await organisation_store.add(tx, org, name=name, now=NOW)
        return org

    async def member(self, org: UUID, *roles: str, email: str = "", password: str | None = PASSWORD) -> Actor:
        """Add a person with these roles; returns them as they would be signed in just now."""
        hashed = await self.means.passwords.hash(password) if password else None
        address = email or f"{new_id().hex}@example.com"
        async with self.db.writing(Actor(org, "system:test")) as tx:
            made = await people_store.add(tx, email=address, name="Ada", password_hash=hashed, now=NOW)
            known = await people_store.by_email(tx, address)
            assert known is not None
            person: UUID = made or known.id
            await organisation_store.join(tx, person, roles, now=NOW)
        return Actor(org, f"person:{person}", rights_of(roles) | {FRESH}, person, "request-1")

    async def sign_up(self, email: str, *, password: str = PASSWORD, now: datetime = NOW) -> tuple[UUID, UUID]:
        """Register and use the mailed link."""
        await people.register(
            self.db,
            self.means,
            email=email,
            password=password,
            name="Ada",
            organisation="Engines",
            place=PLACE,
            now=now,
        )
        return await people.verify(self.db, token_=await self.token(email), request_id="r", now=now)

    async def mails(self, to: str, org: UUID = NOBODY) -> Sequence[sa.Row[Any]]:
        """Return the mails queued for an address, oldest first."""
        async with self.db.reading(Actor(org, "system:test")) as tx:
            return await tx.all(sa.select(outbox).where(outbox.c.recipient == to.casefold()).order_by(outbox.c.id))

    async def token(self, to: str, org: UUID = NOBODY) -> str:
        """Return the token in the latest mail to an address."""
        link: str = (await self.mails(to, org))[-1].facts["link"]
        return link.partition("#")[2]

    async def sign_in(self, email: str, *, now: datetime = NOW, **facts: Any) -> Opened:
        wanted = {"password": PASSWORD, "code": None, "organisation": None, "remember": False, "place": PLACE} | facts
        return await sessions.sign_in(self.db, self.means, email=email, now=now, **wanted)

    async def who(
        self, *, cookie: str | None = None, bearer: str | None = None, address: str = "203.0.113.9", now: datetime = NOW
    ) -> Actor:
        """Ask the gate, without its memory."""
        self.gate.forget()
        return await self.gate(
            self.db,
            authorization=f"Bearer {bearer}" if bearer is not None else None,
            cookie=f"theme=dark; {self.means.cookie}={cookie}" if cookie is not None else None,
            address=address,
            now=now,
        )

    async def trail(self, org: UUID) -> list[tuple[str, str]]:
        """Return action and actor of every audit entry of an organisation, oldest first."""
        async with self.db.reading(Actor(org, "system:test")) as tx:
            rows = await tx.all("select action, actor from audit_entry order by id")
        return [(row.action, row.actor) for row in rows]
