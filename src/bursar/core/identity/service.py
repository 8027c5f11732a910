"""Who asks? The one question of every request, answered from a cookie, an access token or an API key."""

import ipaddress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from bursar.core.audit import service as audit
from bursar.core.identity.rules import claims as claims_rules
from bursar.core.identity.rules import sessions as rules
from bursar.core.identity.rules.rights import FRESH, OWNER, RIGHTS, ROLES, rights_of
from bursar.core.identity.store import organisations, people
from bursar.core.identity.store import sessions as store
from bursar.infra import jwt
from bursar.infra.crypto import Keyring, Passwords, api_key_name, digest, same
from bursar.infra.db import Database, Tx, new_id
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, NotSignedIn

__all__ = ["FRESH", "RIGHTS", "ROLES", "Gate", "Means", "local_owner", "must_be_fresh"]

CACHED_FOR = timedelta(seconds=1)
"""How long an answer is kept, and so the longest that something revoked still works."""

CACHED_MAX = 10_000
"""Answers kept in one process."""

CREDENTIAL_CHARS_MAX = 8_192
COOKIE = "bursar"
SIGNING_USE = "access"
LOCAL_EMAIL = "owner@localhost"
_BEARER = "bearer "

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Means:
    """What identity needs from outside; made by wiring.

    Attributes:
        keyring: Signs access tokens, seals second factors.
        passwords: Hashes passwords.
        url: Base URL without a final slash; issuer of tokens, beginning of links in mails.
        local: Whether the local owner may come in without a password: the listening address is loopback, the database is
            embedded, the stage is not ``prod`` and the setting allows it.
    """

    keyring: Keyring
    passwords: Passwords
    url: str
    local: bool = False

    @property
    def cookie(self) -> str:
        """Name of the session cookie: bound to host and TLS by its prefix, except where there is no TLS."""
        return f"__Host-{COOKIE}" if self.secure else COOKIE

    @property
    def secure(self) -> bool:
        """Whether people reach this server over TLS."""
        return self.url.startswith("https://")


@dataclass(frozen=True, slots=True)
class _Known:
    """An answer kept for a moment."""

    actor: Actor
    since: datetime
    until: datetime
    networks: tuple[Network, ...] = ()


class Gate:
    """Finds out who asks; the same answer serves a second, so that a busy key costs no query.

    A revoked credential therefore works for one second more, in no process longer.

    Args:
        means: Of identity.
    """

    def __init__(self, means: Means) -> None:
        self._means = means
        self._known: dict[str, _Known] = {}
        self._publics = {kid: signer.public for kid, signer in means.keyring.signers(SIGNING_USE).items()}

    async def __call__(
        self, db: Database, *, authorization: str | None, cookie: str | None, address: str, now: datetime
    ) -> Actor:
        """Return the caller with its rights.

        Args:
            db: The database.
            authorization: The ``Authorization`` header; when there is one, the cookie is not looked at.
            cookie: The ``Cookie`` header.
            address: Of the caller.
            now: The present instant.

        Raises:
            NotSignedIn: There is no credential, or it is unknown, wrong, expired, revoked, or used from an address that is
                not on its list; which of these is not told.
        """
        credential = authorization if authorization is not None else session_token(cookie, self._means.cookie)
        if not credential or len(credential) > CREDENTIAL_CHARS_MAX:
            raise NotSignedIn
        slot = credential if authorization is not None else f"cookie {credential}"
        known = self._known.get(slot)
        if known is None or not known.since <= now < known.until:
            self._known.pop(slot, None)
            known = await self._find(db, credential, bearer=authorization is not None, address=address, now=now)
            self._keep(slot, known)
        if known.networks and not rules.within(address, known.networks):
            raise NotSignedIn
        return known.actor

    def forget(self) -> None:
        """Drop every kept answer of this process (something was revoked here)."""
        self._known.clear()

    def _keep(self, slot: str, known: _Known) -> None:
        while len(self._known) >= CACHED_MAX:
            self._known.pop(next(iter(self._known)))
        self._known[slot] = known

    async def _find(self, db: Database, credential: str, *, bearer: bool, address: str, now: datetime) -> _Known:
        if not bearer:
            return await self._session(db, credential, now)
        if not credential[: len(_BEARER)].lower() == _BEARER:
            raise NotSignedIn
        token = credential[len(_BEARER) :].strip()
        name = api_key_name(token)
        if name is not None:
            return await self._key(db, name, token, address, now)
        return await self._access(db, token, now)

    async def _session(self, db: Database, token: str, now: datetime) -> _Known:
        async with db.system("authenticate") as tx:
            row = await store.session_by_token(tx, digest(token))
        idle = timedelta(seconds=row.idle_s) if row is not None else timedelta(0)
        if row is None or now >= min(row.expires_at, row.seen_at + idle):
            raise NotSignedIn
        if now >= row.seen_at + rules.SEEN_EVERY:
            async with db.system("authenticate", write=True) as tx:
                await store.change_session(tx, row.org, row.id, {"seen_at": now})
        known = _person(row.org, row.person, row.roles, row.fresh_at, now)
        return replace(known, until=min(known.until, row.expires_at))

    async def _access(self, db: Database, token: str, now: datetime) -> _Known:
        said = jwt.read(token, self._publics)
        claims = None if said is None else claims_rules.believed(said, url=self._means.url, now=now)
        if claims is None:
            raise NotSignedIn
        async with db.system("authenticate") as tx:
            row = await store.family_by_id(tx, claims.org, claims.family)
        if row is None or row.revoked_at is not None or row.person != claims.person or now >= row.expires_at:
            raise NotSignedIn
        known = _person(row.org, row.person, row.roles, claims.signed_in_at, now)
        return replace(known, until=min(known.until, claims.expires_at + claims_rules.LEEWAY))

    async def _key(self, db: Database, name: str, token: str, address: str, now: datetime) -> _Known:
        async with db.system("authenticate") as tx:
            row = await store.key_by_id(tx, name)
        if row is None or not same(bytes(row.secret_hash), digest(token)):
            raise NotSignedIn
        if row.revoked_at is not None or now >= row.expires_at:
            raise NotSignedIn
        rights = frozenset(row.scopes)
        if row.made_by is not None:
            rights &= rights_of(row.roles or ())
        networks = tuple(ipaddress.ip_network(each) for each in row.networks)
        if not rights or (networks and not rules.within(address, networks)):
            raise NotSignedIn
        if row.used_at is None or now >= row.used_at + rules.SEEN_EVERY:
            async with db.system("authenticate", write=True) as tx:
                await store.touch_key(tx, row.org, name, address=address, now=now)
        actor = Actor(row.org, f"key:{name}", rights)
        return _Known(actor, now, min(now + CACHED_FOR, row.expires_at), networks)


def _person(org: UUID, person: UUID, roles: list[str], fresh_at: datetime | None, now: datetime) -> _Known:
    rights = rights_of(roles)
    until = now + CACHED_FOR
    if fresh_at is not None and rules.is_fresh(fresh_at, now):
        rights |= {FRESH}
        until = min(until, fresh_at + rules.FRESH_FOR)
    return _Known(Actor(org, f"person:{person}", rights, person), now, until)


def session_token(cookie: str | None, name: str) -> str | None:
    """Return the session's token in a ``Cookie`` header; None without one, or with two (one of them is planted)."""
    if cookie is None:
        return None
    pairs = (part.strip().partition("=") for part in cookie.split(";"))
    found = [value.strip('"') for key, _, value in pairs if key == name]
    return found[0] if len(found) == 1 else None


def must_be_fresh(actor: Actor) -> None:
    """Refuse unless a password or code was given within the last five minutes.

    Raises:
        StepUpNeeded: Longer ago, or the caller is an API key, which cannot give one.
    """
    if not actor.may(FRESH):
        raise rules.StepUpNeeded


async def local_owner(tx: Tx, *, loopback: bool, embedded: bool, now: datetime) -> Actor:
    """Return the one local owner, made with its organisation on the first run.

    It has no password and no address that mail reaches; it is marked as local in every answer about it.

    Args:
        tx: Writing transaction without an organisation.
        loopback: The server listens on a loopback address only (or there is no server: the command line).
        embedded: The database is the embedded one, which nobody else reaches.
        now: The present instant.

    Raises:
        Conflict: It is bound to another address or another database, or people have signed up here.
    """
    if not (loopback and embedded):
        raise Conflict("the local owner exists on loopback with the embedded database only; sign up instead")
    await tx.run("select pg_advisory_xact_lock(hashtextextended('identity.local_owner', 0))")
    first = await organisations.any_exists(tx)
    if first is not None and not first.is_local:
        raise Conflict("people have signed up here; sign in instead of acting as the local owner")
    person = await people.by_email(tx, LOCAL_EMAIL)
    if first is not None and person is not None:
        return Actor(first.id, f"person:{person.id}", RIGHTS | {FRESH}, person.id)
    org = new_id()
    made = await people.add(tx, email=LOCAL_EMAIL, name="Local owner", password_hash=None, is_local=True, now=now)
    assert made is not None
    actor = Actor(org, f"person:{made}", RIGHTS | {FRESH}, made)
    await organisations.add(tx, org, name="My organisation", is_local=True, now=now.astimezone(UTC))
    async with organisations.within(tx, org):
        await organisations.join(tx, made, [OWNER], now=now)
        after = {"name": "My organisation", "owner": made, "local": True}
        await audit.record(
            tx, actor, action="organisation.created", subject=f"organisation:{org}", after=after, now=now
        )
    return actor
