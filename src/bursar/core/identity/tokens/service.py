"""Log a program in, renew its access token, notice a stolen refresh token.

A refresh token works once. When one is used a second time, either the program or a thief holds a copy, and nobody can tell
which: the whole family of tokens from that log-in ends (RFC 9700, 4.14).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from bursar.core.audit import service as audit
from bursar.core.identity.rules import claims as rules
from bursar.core.identity.rules import sessions as session_rules
from bursar.core.identity.service import SIGNING_USE, Means
from bursar.core.identity.sessions.service import Place, chosen_organisation, prove
from bursar.core.identity.store import organisations
from bursar.core.identity.store import sessions as store
from bursar.infra import jwt
from bursar.infra.crypto import digest, token
from bursar.infra.db import Database, Tx, new_id
from bursar.kernel.actor import Actor
from bursar.kernel.errors import NotFound, Refusal


@dataclass(eq=False)
class RefreshSpent(Refusal):
    """This refresh token is not valid (any more); log in again."""

    status = 401


@dataclass(frozen=True, slots=True)
class Issued:
    """Tokens just made; they exist nowhere else.

    Attributes:
        access: For the ``Authorization`` header, 15 minutes.
        refresh: For one renewal.
        expires_at: End of the access token.
        org: The organisation they act in.
        family: The log-in, for revoking it.
    """

    access: str
    refresh: str
    expires_at: datetime
    org: UUID
    family: UUID


async def log_in(
    db: Database,
    means: Means,
    *,
    email: str,
    password: str,
    code: str | None,
    organisation: UUID | None,
    label: str,
    place: Place,
    now: datetime,
) -> Issued:
    """Log a program in with a person's password (and code).

    Raises:
        TooMany, WrongCredentials, SecondFactorNeeded, Unavailable: As for signing in.
        NoOrganisation: They do not belong to ``organisation``.
    """
    person = await prove(db, means, email=email, password=password, code=code, address=place.address, now=now)
    org, _ = await chosen_organisation(db, person.id, organisation)
    actor = Actor(org, f"person:{person.id}", person=person.id, request_id=place.request_id)
    family = new_id()
    async with db.writing(actor) as tx:
        values = {
            "id": family,
            "person": person.id,
            "label": label[: session_rules.NAME_CHARS_MAX],
            "address": place.address,
            "signed_in_at": now,
            "expires_at": now + rules.REFRESH_LIFE,
        }
        await store.add_family(tx, values)
        after = {"label": values["label"], "address": place.address}
        await audit.record(tx, actor, action="log_in.opened", subject=f"log_in:{family}", after=after, now=now)
        return await _issue(tx, means, family=family, person=person.id, signed_in_at=now, now=now)


async def refresh(db: Database, means: Means, *, token_: str, place: Place, now: datetime) -> Issued:
    """Trade a refresh token for new tokens; it works once.

    Raises:
        RefreshSpent: It is unknown, was used before (then its whole family ends), has expired, or was revoked.
    """
    hashed = digest(token_)
    async with db.system("refresh") as tx:
        found = await store.refresh_family(tx, hashed)
    if found is None:
        raise RefreshSpent
    actor = Actor(found.org, f"person:{found.person}", person=found.person, request_id=place.request_id)
    issued: Issued | None = None
    async with db.writing(actor) as tx:  # ends normally when a theft is found: the revocation must stay
        family = await store.lock_family(tx, found.id)
        if family is not None and family.revoked_at is None and now < family.expires_at:
            if not await store.use_refresh(tx, hashed, now=now):
                await store.revoke_family(tx, found.id, reason="a refresh token was used twice", now=now)
                after = {"reason": "a refresh token was used twice", "address": place.address}
                await audit.record(
                    tx, actor, action="log_in.theft_found", subject=f"log_in:{found.id}", after=after, now=now
                )
            elif await organisations.member(tx, found.person) is not None:
                issued = await _issue(
                    tx, means, family=found.id, person=found.person, signed_in_at=family.signed_in_at, now=now
                )
    if issued is None:
        raise RefreshSpent
    return issued


async def revoke(db: Database, *, token_: str, place: Place, now: datetime) -> None:
    """End the log-in that a refresh token belongs to; an unknown token changes nothing and is not told apart."""
    async with db.system("revoke") as tx:
        found = await store.refresh_family(tx, digest(token_))
    if found is None:
        return
    actor = Actor(found.org, f"person:{found.person}", person=found.person, request_id=place.request_id)
    async with db.writing(actor) as tx:
        await _end(tx, actor, found.id, person=None, now=now)


def listing(tx: Tx, actor: Actor, *, now: datetime) -> sa.Select[Any]:
    """Return the statement of the caller's own log-ins of programs, to be bounded by the caller's page.

    Raises:
        NotFound: The caller is not a person.
    """
    if actor.person is None:
        raise NotFound("person", actor.name)
    return store.families_of(tx, actor.person, now=now)


async def end(tx: Tx, actor: Actor, *, id_: UUID, now: datetime) -> None:
    """End one of the caller's own log-ins; its access tokens stop working within a second.

    Raises:
        NotFound: There is none.
    """
    if actor.person is None or not await _end(tx, actor, id_, person=actor.person, now=now):
        raise NotFound("log-in", str(id_))


async def _end(tx: Tx, actor: Actor, id_: UUID, *, person: UUID | None, now: datetime) -> bool:
    ended = await store.revoke_family(tx, id_, reason="revoked", now=now, person=person)
    if ended is None:
        return False
    await audit.record(tx, actor, action="log_in.ended", subject=f"log_in:{id_}", now=now)
    return True


async def _issue(tx: Tx, means: Means, *, family: UUID, person: UUID, signed_in_at: datetime, now: datetime) -> Issued:
    made = token()
    await store.add_refresh(tx, family, digest(made), now=now)
    claims = rules.Claims(family, person, tx.org, signed_in_at, now + rules.ACCESS_LIFE)
    said = rules.written(claims, url=means.url, serial=new_id().hex, now=now)
    access = jwt.issue(means.keyring.signer(SIGNING_USE), said)
    return Issued(access, made, claims.expires_at, tx.org, family)


def public_keys(means: Means) -> list[dict[str, str]]:
    """Return the keys that access tokens are signed with, for programs that check them themselves."""
    return [jwt.public_key(signer) for signer in means.keyring.signers(SIGNING_USE).values()]
