"""Sign up with a verified address, set and reset passwords, switch a second factor on and off.

A person may belong to several organisations, so what changes about a person is recorded in the audit trail of each of
them, in the transaction of the change.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from bursar.core.audit import service as audit
from bursar.core.identity.rules import codes, passwords
from bursar.core.identity.rules import sessions as rules
from bursar.core.identity.rules.rights import OWNER
from bursar.core.identity.service import Means, must_be_fresh
from bursar.core.identity.sessions.service import Place, knock, prove
from bursar.core.identity.store import attempts, organisations
from bursar.core.identity.store import people as store
from bursar.core.identity.store import sessions as session_store
from bursar.infra import mail
from bursar.infra.crypto import blocked_passwords, digest, token
from bursar.infra.db import Database, Tx, new_id
from bursar.infra.jobs import NOBODY
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, NotFound


@dataclass(frozen=True, slots=True)
class Draft:
    """A second factor to be confirmed: the secret for the authenticator app, as text and as ``otpauth://`` address."""

    secret: str
    address: str


@dataclass(frozen=True, slots=True)
class Profile:
    """A person, their organisations with their roles in them, and how many recovery codes are unused."""

    person: store.Row
    organisations: Sequence[store.Row]
    recovery_codes_left: int


async def post(tx: Tx, *, to: str, template: str, facts: Mapping[str, Any]) -> None:
    """Put a mail into the outbox from a transaction without an organisation."""
    async with organisations.within(tx, NOBODY):
        await mail.queue(tx, to=to, template=template, facts=facts)


async def register(
    db: Database, means: Means, *, email: str, password: str, name: str, organisation: str, place: Place, now: datetime
) -> None:
    """Ask for an account and an organisation; nothing exists until the mailed link is used.

    A known address gets a mail that says so instead; the caller sees no difference.

    Raises:
        Invalid: Address or a name is malformed.
        PasswordTooShort, PasswordTooLong, PasswordTooCommon: The password.
        TooMany, Unavailable: Wait.
    """
    address, name = rules.check_email(email), rules.check_name(name)
    title = rules.check_name(organisation)
    plain = passwords.check(password, second_factor=False, blocked=blocked_passwords(), names=(address, name, title))
    async with db.system("sign up", write=True) as tx:
        await knock(tx, attempts.subject("sign up", address), address=place.address, now=now)
    password_hash, made = await means.passwords.hash(plain), token()
    async with db.system("sign up", write=True) as tx:
        known = await store.by_email(tx, address)
        values = {
            "token_hash": digest(made),
            "email": address,
            "name": name,
            "organisation": title,
            "password_hash": password_hash,
            "expires_at": now if known is not None else now + rules.VERIFY_LIFE,
        }
        await store.add_registration(tx, values)  # for a known address it has expired already: the same work, no effect
        if known is None:
            facts = {"name": name, "link": f"{means.url}/verify#{made}", "hours": 24}
            await post(tx, to=address, template="verify", facts=facts)
        else:
            await post(tx, to=address, template="known", facts={"name": known.name, "link": f"{means.url}/sign-in"})


async def verify(db: Database, *, token_: str, request_id: str, now: datetime) -> tuple[UUID, UUID]:
    """Use the mailed link: make the person, their organisation and their membership as its owner.

    Returns:
        The organisation and the person; they sign in with their password next.

    Raises:
        SpentToken: The link was used, has expired, or never existed; or the address has become known since.
    """
    org = new_id()
    async with db.writing(Actor(org, "system:sign up", request_id=request_id)) as tx:
        claimed = await store.claim_registration(tx, digest(token_), now=now)
        if claimed is None:
            raise rules.SpentToken
        person = await store.add(
            tx, email=claimed.email, name=claimed.name, password_hash=claimed.password_hash, now=now
        )
        if person is None:
            raise rules.SpentToken
        actor = Actor(org, f"person:{person}", person=person, request_id=request_id)
        await _founded(tx, actor, person, claimed.organisation, now=now)
    return org, person


async def enrol(
    db: Database, means: Means, *, email: str, password: str, name: str, organisation: str, now: datetime
) -> tuple[UUID, UUID]:
    """Make a person and their organisation at once, from the console of the machine (no mail is needed there).

    Returns:
        The organisation and the person.

    Raises:
        Invalid: Address or a name is malformed.
        PasswordTooShort, PasswordTooLong, PasswordTooCommon: The password.
        Conflict: The address has an account.
    """
    address, tidy, title = rules.check_email(email), rules.check_name(name), rules.check_name(organisation)
    names = (address, tidy, title)
    plain = passwords.check(password, second_factor=False, blocked=blocked_passwords(), names=names)
    password_hash, org = await means.passwords.hash(plain), new_id()
    console = Actor(org, "system:console", request_id="cli")
    async with db.writing(console) as tx:
        person = await store.add(tx, email=address, name=tidy, password_hash=password_hash, now=now)
        if person is None:
            raise Conflict(f"{address} has an account already")
        await _founded(tx, console, person, title, now=now)
    return org, person


async def reset_link(db: Database, means: Means, *, email: str, now: datetime) -> str:
    """Return a link to set a new password, for the operator to hand over; it works once, for an hour.

    Raises:
        Invalid: The address is malformed.
        NotFound: It has no account. (The console may know; the network may not.)
    """
    address, made = rules.check_email(email), token()
    async with db.system("password reset", write=True) as tx:
        person = await store.by_email(tx, address)
        if person is None:
            raise NotFound("person", address)
        await store.add_reset(tx, person.id, digest(made), expires_at=now + rules.RESET_LIFE)
        console = Actor(NOBODY, "system:console", request_id="cli")
        await _tell(tx, console, person.id, action="person.reset_link_made", now=now)
    return f"{means.url}/reset#{made}"


async def _founded(tx: Tx, actor: Actor, person: UUID, name: str, *, now: datetime) -> None:
    await organisations.add(tx, tx.org, name=name, now=now)
    await organisations.join(tx, person, [OWNER], now=now)
    subject, after = f"organisation:{tx.org}", {"name": name, "owner": person}
    await audit.record(tx, actor, action="organisation.created", subject=subject, after=after, now=now)


async def ask_reset(db: Database, means: Means, *, email: str, place: Place, now: datetime) -> None:
    """Mail a link to set a new password; an unknown address gets a mail that says so, and the caller sees no difference.

    Raises:
        Invalid: The address is malformed.
        TooMany: Wait.
    """
    address = rules.check_email(email)
    async with db.system("password reset", write=True) as tx:
        await knock(tx, attempts.subject("reset", address), address=place.address, now=now)
        person, made = await store.by_email(tx, address), token()
        if person is None:
            await post(tx, to=address, template="unknown", facts={"link": f"{means.url}/sign-up"})
            return
        await store.add_reset(tx, person.id, digest(made), expires_at=now + rules.RESET_LIFE)
        facts = {"name": person.name, "link": f"{means.url}/reset#{made}", "hours": 1}
        await post(tx, to=address, template="reset", facts=facts)


async def reset(db: Database, means: Means, *, token_: str, password: str, request_id: str, now: datetime) -> None:
    """Set a new password with a mailed link; every session and log-in of the person ends. A second factor stays on.

    Raises:
        SpentToken: The link was used, has expired, or never existed.
        PasswordTooShort, PasswordTooLong, PasswordTooCommon: The password; the link can be used again.
        Unavailable: Too many passwords are being checked.
    """
    plain = passwords.normal(password)
    password_hash = await means.passwords.hash(plain[: passwords.CHARS_MAX + 1])
    async with db.system("password reset", write=True) as tx:
        person = await store.claim_reset(tx, digest(token_), now=now)
        found = None if person is None else await store.by_id(tx, person, lock=True)
        if found is None:
            raise rules.SpentToken
        names = await _names(tx, found)
        passwords.check(plain, second_factor=found.second_factor is not None, blocked=blocked_passwords(), names=names)
        actor = Actor(NOBODY, f"person:{found.id}", person=found.id, request_id=request_id)
        await _set_password(tx, actor, found, password_hash, action="person.password_reset", now=now)
        await attempts.clear(tx, attempts.subject("account", found.email))


async def change_password(
    db: Database, means: Means, actor: Actor, *, current: str, code: str | None, new: str, place: Place, now: datetime
) -> None:
    """Change the caller's own password; every session and log-in ends, the present one too.

    Raises:
        TooMany, WrongCredentials, SecondFactorNeeded, Unavailable: As for signing in.
        PasswordTooShort, PasswordTooLong, PasswordTooCommon: The new password.
    """
    me = await _proved(db, means, actor, password=current, code=code, place=place, now=now)
    async with db.system("password") as tx:
        names = await _names(tx, me)
    plain = passwords.check(new, second_factor=me.second_factor is not None, blocked=blocked_passwords(), names=names)
    password_hash = await means.passwords.hash(plain)
    async with db.system("password", write=True) as tx:
        await _set_password(tx, actor, me, password_hash, action="person.password_changed", now=now)


async def _set_password(
    tx: Tx, actor: Actor, person: store.Row, password_hash: str, *, action: str, now: datetime
) -> None:
    await store.change(tx, person.id, {"password_hash": password_hash, "password_changed_at": now})
    await session_store.end_all(tx, person.id, now=now, reason="password changed")
    await _tell(tx, actor, person.id, action=action, now=now)
    await post(tx, to=person.email, template="password", facts={"name": person.name, "at": now.isoformat()})


async def draft_second_factor(db: Database, means: Means, actor: Actor, *, now: datetime) -> Draft:
    """Make a secret for an authenticator app; it counts once a code of it was given (:func:`confirm_second_factor`).

    Raises:
        StepUpNeeded: Give the password again first.
        Conflict: A second factor is on already, or there is no password that it could be second to.
    """
    must_be_fresh(actor)
    async with db.system("second factor", write=True) as tx:
        me = await person_of(tx, actor)
        if me.second_factor is not None or me.password_hash is None:
            raise Conflict("a second factor is on already" if me.second_factor else "the local owner has no password")
        secret = codes.secret(os.urandom(codes.SECRET_BYTES))
        sealed = means.keyring.seal(secret.encode(), place=f"person:{me.id}:totp")
        await store.change(tx, me.id, {"second_factor_draft": sealed})
        await _tell(tx, actor, me.id, action="person.second_factor_drafted", now=now)
    return Draft(secret, codes.address(secret, email=me.email))


async def confirm_second_factor(db: Database, means: Means, actor: Actor, *, code: str, now: datetime) -> list[str]:
    """Switch the drafted second factor on with a code of it.

    Returns:
        Ten recovery codes, shown this once.

    Raises:
        StepUpNeeded: Give the password again first.
        Conflict: Nothing is drafted.
        WrongCredentials: The code is wrong.
    """
    must_be_fresh(actor)
    async with db.system("second factor", write=True) as tx:
        me = await person_of(tx, actor, lock=True)
        if me.second_factor_draft is None:
            raise Conflict("there is no second factor to confirm; start with POST /v1/me/second-factor")
        secret = means.keyring.open(bytes(me.second_factor_draft), place=f"person:{me.id}:totp")
        step = codes.matching_step(secret.decode(), code.replace(" ", ""), now=now)
        if step is None:
            raise rules.WrongCredentials
        values = {"second_factor": me.second_factor_draft, "second_factor_draft": None, "second_factor_step": step}
        await store.change(tx, me.id, values)
        made = await _recovery(tx, me.id)
        await _tell(tx, actor, me.id, action="person.second_factor_on", now=now)
        await post(tx, to=me.email, template="second_factor", facts={"name": me.name, "on": True})
    return made


async def new_recovery_codes(db: Database, actor: Actor, *, now: datetime) -> list[str]:
    """Replace the recovery codes; the old ones stop working.

    Raises:
        StepUpNeeded: Give the password and a code again first.
        Conflict: No second factor is on.
    """
    must_be_fresh(actor)
    async with db.system("second factor", write=True) as tx:
        me = await person_of(tx, actor, lock=True)
        if me.second_factor is None:
            raise Conflict("no second factor is on")
        made = await _recovery(tx, me.id)
        await _tell(tx, actor, me.id, action="person.recovery_codes_replaced", now=now)
    return made


async def remove_second_factor(
    db: Database, means: Means, actor: Actor, *, password: str, code: str, place: Place, now: datetime
) -> None:
    """Switch the second factor off; the password must then be long enough alone.

    Raises:
        TooMany, WrongCredentials, Unavailable: As for signing in.
        PasswordTooShort: Fewer than 15 characters; change it first.
    """
    me = await _proved(db, means, actor, password=password, code=code, place=place, now=now)
    if len(passwords.normal(password)) < passwords.ALONE_CHARS_MIN:
        raise passwords.PasswordTooShort(passwords.ALONE_CHARS_MIN)
    async with db.system("second factor", write=True) as tx:
        await store.change(tx, me.id, {"second_factor": None, "second_factor_draft": None})
        await store.set_recovery(tx, me.id, ())
        await _tell(tx, actor, me.id, action="person.second_factor_off", now=now)
        await post(tx, to=me.email, template="second_factor", facts={"name": me.name, "on": False})


async def rename(db: Database, actor: Actor, *, name: str, now: datetime) -> None:
    """Change the caller's own name.

    Raises:
        Invalid: The name is malformed.
    """
    tidy = rules.check_name(name)
    async with db.system("me", write=True) as tx:
        me = await person_of(tx, actor, lock=True)
        await store.change(tx, me.id, {"name": tidy})
        await _tell(tx, actor, me.id, action="person.renamed", before={"name": me.name}, after={"name": tidy}, now=now)


async def profile(db: Database, actor: Actor) -> Profile:
    """Return the caller's own page.

    Raises:
        NotFound: The caller is an API key or a job.
    """
    async with db.system("me") as tx:
        me = await person_of(tx, actor)
        return Profile(me, await store.organisations_of(tx, me.id), await store.recovery_left(tx, me.id))


async def person_of(tx: Tx, actor: Actor, *, lock: bool = False) -> store.Row:
    """Return the person behind the caller.

    Raises:
        NotFound: The caller is an API key or a job.
    """
    me = await store.by_id(tx, actor.person, lock=lock) if actor.person is not None else None
    if me is None:
        raise NotFound("person", actor.name)
    return me


async def _proved(
    db: Database, means: Means, actor: Actor, *, password: str, code: str | None, place: Place, now: datetime
) -> store.Row:
    async with db.system("me") as tx:
        me = await person_of(tx, actor)
    return await prove(db, means, email=me.email, password=password, code=code, address=place.address, now=now)


async def _recovery(tx: Tx, person: UUID) -> list[str]:
    made = codes.recovery_codes([os.urandom(codes.RECOVERY_BYTES) for _ in range(codes.RECOVERY_CODES)])
    await store.set_recovery(tx, person, [digest(code.replace("-", "")) for code in made])
    return made


async def _names(tx: Tx, person: store.Row) -> tuple[str, ...]:
    """Return the names that a password of ``person`` must not be made of."""
    return (person.email, person.name, *(row.name for row in await store.organisations_of(tx, person.id)))


async def _tell(
    tx: Tx, actor: Actor, person: UUID, *, action: str, now: datetime, before: object = None, after: object = None
) -> None:
    """Record a change of a person in each of their organisations."""
    for row in await store.organisations_of(tx, person):
        async with organisations.within(tx, row.id):
            await audit.record(
                tx, actor, action=action, subject=f"person:{person}", before=before, after=after, now=now
            )
