"""Prove who somebody is, slowly and always at the same pace; open, renew, list and end browser sessions.

Functions that check a password take the database instead of a transaction: a refused try must stay counted although the
request fails, and no transaction may be open while argon2 works.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from bursar.core.audit import service as audit
from bursar.core.identity.rules import attempts as attempt_rules
from bursar.core.identity.rules import codes, passwords
from bursar.core.identity.rules import sessions as rules
from bursar.core.identity.service import Means, must_be_fresh
from bursar.core.identity.store import attempts, people
from bursar.core.identity.store import organisations as organisation_store
from bursar.core.identity.store import sessions as store
from bursar.infra.crypto import digest, token
from bursar.infra.db import Database, Tx, new_id
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Invalid, NotFound, Refusal, TooMany


@dataclass(eq=False)
class NoOrganisation(Refusal):
    """You belong to no organisation of that name; ask for an invitation."""

    status = 403


@dataclass(frozen=True, slots=True)
class Place:
    """Where somebody signs in from.

    Attributes:
        address: IP address.
        agent: The program, as it names itself.
        request_id: Of the request.
    """

    address: str
    agent: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Opened:
    """A session just opened or renewed.

    Attributes:
        token: The cookie's value; it exists nowhere else.
        org: The organisation it acts in.
        person: Whose it is.
        expires_at: Its end at the latest.
        remembered: Whether the cookie shall outlive the browser.
    """

    token: str
    org: UUID
    person: UUID
    expires_at: datetime
    remembered: bool


async def prove(
    db: Database, means: Means, *, email: str, password: str, code: str | None, address: str, now: datetime
) -> people.Row:
    """Return the person whose password (and code, if they use one) this is.

    Whatever is wrong, the same is said after the same work: the same queries and one argon2 computation.

    Raises:
        TooMany: This account or this address has to wait.
        WrongCredentials: Something is wrong.
        SecondFactorNeeded: The password is right and a code is missing.
        Unavailable: Too many passwords are being checked.
    """
    try:
        name = rules.check_email(email)
    except Invalid:
        name = email.casefold()
    account = attempts.subject("account", name)
    async with db.system("sign in", write=True) as tx:
        failures = await knock(tx, account, address=address, now=now)
        person = await people.by_email(tx, name)
    dead = failures >= attempt_rules.FAILURES_MAX
    typed = passwords.normal(password)[: passwords.CHARS_MAX + 1]
    stored = person.password_hash if person is not None and not dead else None
    if not await means.passwords.verify(stored, typed) or person is None:
        raise rules.WrongCredentials
    async with db.system("sign in", write=True) as tx:
        right = person.second_factor is None or (
            code is not None and await _second_factor(tx, means, person, code, now=now)
        )
        if right or code is None:  # the address first, as in knock: one order of locks
            await attempts.forgive(tx, attempts.subject("address", address))
        if right:
            await attempts.clear(tx, account)
        elif code is None:
            await attempts.forgive(tx, account)
    if not right:
        raise rules.SecondFactorNeeded if code is None else rules.WrongCredentials
    await _refreshed(db, means, person, typed)
    return person


async def knock(tx: Tx, account: bytes, *, address: str, now: datetime) -> int:
    """Count a try of ``account`` from ``address``; returns failures in a row before it.

    Raises:
        TooMany: One of the two has to wait; nothing was counted.
    """
    by = attempts.subject("address", address)
    wait, _ = await attempts.knock(tx, by, tries_max=attempt_rules.ADDRESS_TRIES_MAX, doubling=False, now=now)
    if wait:
        raise TooMany("attempts from this address", _seconds(wait))
    wait, failures = await attempts.knock(
        tx, account, tries_max=attempt_rules.ACCOUNT_TRIES_MAX, doubling=True, now=now
    )
    if wait:
        raise TooMany("attempts", _seconds(wait))
    return failures


def _seconds(wait: timedelta) -> int:
    return max(1, -(-int(wait.total_seconds() * 1000) // 1000))


async def _second_factor(tx: Tx, means: Means, person: people.Row, code: str, *, now: datetime) -> bool:
    """Tell whether ``code`` is right, and use it up."""
    sealed = means.keyring.open(bytes(person.second_factor), place=f"person:{person.id}:totp")
    step = codes.matching_step(sealed.decode(), code.replace(" ", ""), now=now)
    if step is not None:
        return await people.use_step(tx, person.id, step)
    recovery = codes.plain_recovery(code)
    return recovery is not None and await people.use_recovery(tx, person.id, digest(recovery), now=now)


async def _refreshed(db: Database, means: Means, person: people.Row, password: str) -> None:
    """Hash a password anew whose hash was made at another cost."""
    if not means.passwords.outdated(person.password_hash):
        return
    made = await means.passwords.hash(password)
    async with db.system("sign in", write=True) as tx:
        await people.change(tx, person.id, {"password_hash": made})


async def chosen_organisation(db: Database, person: UUID, wanted: UUID | None) -> tuple[UUID, frozenset[str]]:
    """Return the organisation to act in (the wanted one, or the longest-standing) and the person's roles there.

    Raises:
        NoOrganisation: They belong to none, or not to the wanted one; whether that exists is not told.
    """
    async with db.system("sign in") as tx:
        found = await people.organisations_of(tx, person)
    for row in found:
        if wanted is None or row.id == wanted:
            return row.id, frozenset(row.roles)
    raise NoOrganisation


async def sign_in(
    db: Database,
    means: Means,
    *,
    email: str,
    password: str,
    code: str | None,
    organisation: UUID | None,
    remember: bool,
    place: Place,
    now: datetime,
) -> Opened:
    """Open a browser session for somebody who gives the right password and code.

    Raises:
        TooMany, WrongCredentials, SecondFactorNeeded, Unavailable: As :func:`prove`.
        NoOrganisation: They do not belong to ``organisation``.
    """
    person = await prove(db, means, email=email, password=password, code=code, address=place.address, now=now)
    org, _ = await chosen_organisation(db, person.id, organisation)
    actor = Actor(org, f"person:{person.id}", person=person.id, request_id=place.request_id)
    async with db.writing(actor) as tx:
        return await open_session(tx, actor, remember=remember, place=place, fresh=True, now=now)


async def open_session(tx: Tx, actor: Actor, *, remember: bool, place: Place, fresh: bool, now: datetime) -> Opened:
    """Open a session for a person who has just been proved, in the transaction's organisation.

    Args:
        tx: Writing transaction of the organisation.
        actor: The person.
        remember: Keep for seven days instead of twelve hours.
        place: Where from.
        fresh: Whether a password or code was given just now.
        now: The present instant.
    """
    assert actor.person is not None
    made, id_ = token(), new_id()
    expires_at, idle = rules.life(remembered=remember, now=now)
    values = {
        "id": id_,
        "token_hash": digest(made),
        "person": actor.person,
        "created_at": now,
        "seen_at": now,
        "expires_at": expires_at,
        "idle_s": int(idle.total_seconds()),
        "fresh_at": now if fresh else None,
        "address": place.address,
        "agent": place.agent[: rules.AGENT_CHARS_MAX],
    }
    await store.add_session(tx, values, sessions_max=rules.SESSIONS_MAX)
    after = {"address": place.address, "agent": values["agent"], "remembered": remember}
    await audit.record(tx, actor, action="session.opened", subject=f"session:{id_}", after=after, now=now)
    return Opened(made, actor.org, actor.person, expires_at, remember)


async def step_up(
    db: Database,
    means: Means,
    actor: Actor,
    *,
    session: str,
    password: str,
    code: str | None,
    place: Place,
    now: datetime,
) -> Opened:
    """Renew the session for somebody who gives their password (and code) again; dangerous things then work for 5 minutes.

    Args:
        db: The database.
        means: Of identity.
        actor: The person.
        session: Token of the present session; it stops working.
        password: As typed.
        code: Of the second factor.
        place: Where from.
        now: The present instant.

    Raises:
        TooMany, WrongCredentials, SecondFactorNeeded, Unavailable: As :func:`prove`.
        NotFound: The caller has no browser session.
    """
    async with db.system("step up") as tx:
        me = await people.by_id(tx, actor.person) if actor.person else None
    if me is None:
        raise NotFound("session", "current")
    await prove(db, means, email=me.email, password=password, code=code, address=place.address, now=now)
    async with db.writing(actor) as tx:
        return await renew(tx, actor, session=session, place=place, fresh=True, now=now)


async def renew(tx: Tx, actor: Actor, *, session: str, place: Place, fresh: bool, now: datetime) -> Opened:
    """Give the session a new token; the old one stops working.

    Raises:
        NotFound: It has ended, or is somebody else's.
    """
    row = await store.session_by_token(tx, digest(session))
    if row is None or row.person != actor.person:
        raise NotFound("session", "current")
    made = token()
    values = {"token_hash": digest(made), "seen_at": now} | ({"fresh_at": now} if fresh else {})
    await store.change_session(tx, row.org, row.id, values)
    after = {"address": place.address, "stepped_up": fresh}
    await audit.record(tx, actor, action="session.renewed", subject=f"session:{row.id}", after=after, now=now)
    return Opened(made, row.org, row.person, row.expires_at, row.idle_s == int(rules.IDLE_REMEMBERED.total_seconds()))


async def switch(
    db: Database, actor: Actor, *, session: str, organisation: UUID, place: Place, now: datetime
) -> Opened:
    """Go on in another organisation of the same person; the old session ends.

    Raises:
        NoOrganisation: They do not belong to it.
        NotFound: The caller has no browser session.
    """
    if actor.person is None:
        raise NotFound("session", "current")
    org, _ = await chosen_organisation(db, actor.person, organisation)
    async with db.writing(actor) as tx:
        row = await store.session_by_token(tx, digest(session))
        if row is None or row.person != actor.person:
            raise NotFound("session", "current")
        await store.end_session(tx, row.id)
        await audit.record(tx, actor, action="session.ended", subject=f"session:{row.id}", now=now)
    there = Actor(org, actor.name, person=actor.person, request_id=actor.request_id)
    remembered = row.idle_s == int(rules.IDLE_REMEMBERED.total_seconds())
    async with db.writing(there) as tx:
        return await open_session(tx, there, remember=remembered, place=place, fresh=False, now=now)


def listing(tx: Tx, actor: Actor) -> sa.Select[Any]:
    """Return the statement of the caller's own sessions, to be bounded by the caller's page.

    Raises:
        NotFound: The caller is not a person.
    """
    return store.sessions_of(tx, _me(actor))


async def current(tx: Tx, actor: Actor, *, session: str) -> UUID | None:
    """Return the id of the caller's present session; None when they came without a cookie."""
    row = await store.session_by_token(tx, digest(session)) if session else None
    return row.id if row is not None and row.person == actor.person else None


async def end(tx: Tx, actor: Actor, *, id_: UUID, now: datetime) -> None:
    """End one of the caller's own sessions; it stops working within a second.

    Raises:
        NotFound: There is none.
    """
    if await store.end_session(tx, id_, person=_me(actor)) is None:
        raise NotFound("session", str(id_))
    await audit.record(tx, actor, action="session.ended", subject=f"session:{id_}", now=now)


async def end_current(tx: Tx, actor: Actor, *, session: str, now: datetime) -> None:
    """Sign out."""
    id_ = await current(tx, actor, session=session)
    if id_ is not None:
        await end(tx, actor, id_=id_, now=now)


async def end_others(tx: Tx, actor: Actor, *, session: str | None, now: datetime) -> None:
    """End all of the caller's sessions and log-ins of programs in this organisation but the present session."""
    me, kept = _me(actor), await current(tx, actor, session=session or "")
    await store.end_all(tx, me, now=now, reason="signed out", except_session=kept)
    await audit.record(tx, actor, action="session.others_ended", subject=f"person:{me}", now=now)


async def end_of_member(tx: Tx, actor: Actor, *, person: UUID, now: datetime) -> None:
    """End all sessions and log-ins of programs of a member in this organisation.

    Raises:
        NotAllowed: The actor lacks ``member:write``.
        StepUpNeeded: Give the password again first.
        NotFound: There is no such member.
    """
    actor.must("member:write")
    must_be_fresh(actor)
    if await organisation_store.member(tx, person) is None:
        raise NotFound("member", str(person))
    await store.end_all(tx, person, now=now, reason="ended by an administrator")
    await audit.record(tx, actor, action="member.signed_out", subject=f"person:{person}", now=now)


def _me(actor: Actor) -> UUID:
    if actor.person is None:
        raise NotFound("person", actor.name)
    return actor.person
