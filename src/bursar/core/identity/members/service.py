"""Invite, promote and remove members; hand an organisation over."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from bursar.core.identity.organisations.service import note, own
from bursar.core.identity.rules import passwords
from bursar.core.identity.rules import rights as right_rules
from bursar.core.identity.rules import sessions as rules
from bursar.core.identity.rules.rights import OWNER
from bursar.core.identity.service import Means, must_be_fresh
from bursar.core.identity.store import organisations as store
from bursar.core.identity.store import people
from bursar.infra import mail
from bursar.infra.crypto import blocked_passwords, digest, token
from bursar.infra.db import Database, Tx, new_id
from bursar.infra.jobs import NOBODY
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, NotAllowed, NotFound, TooMany


def members(tx: Tx, actor: Actor) -> sa.Select[Any]:
    """Return the statement of members, to be bounded by the caller's page.

    Raises:
        NotAllowed: The actor lacks ``member:read``.
    """
    actor.must("member:read")
    return store.members(tx)


async def member(tx: Tx, actor: Actor, *, person: UUID) -> store.Row:
    """Return one member.

    Raises:
        NotAllowed: The actor lacks ``member:read``.
        NotFound: There is no such member.
    """
    actor.must("member:read")
    row = await store.member(tx, person)
    if row is None:
        raise NotFound("member", str(person))
    return row


async def set_roles(
    tx: Tx, actor: Actor, *, person: UUID, roles: Sequence[str], seen: Callable[[object], None], now: datetime
) -> store.Row:
    """Replace the roles of a member; it counts within a second.

    Args:
        tx: Writing transaction.
        actor: Needs ``member:write``; only an owner makes or unmakes an owner.
        person: The member.
        roles: The new roles, at least one.
        seen: Called with the present version (instant of the last change); raises unless the caller has seen it.
        now: Instant of the change.

    Raises:
        NotAllowed: The actor lacks the right, or is not an owner where it takes one.
        StepUpNeeded: Give the password again first.
        Invalid: A role is unknown.
        NotFound: There is no such member.
        Conflict: The last owner would be gone.
    """
    actor.must("member:write")
    must_be_fresh(actor)
    wanted = right_rules.check_roles(roles)
    row = await _member(tx, person)
    seen(row.changed_at)
    if not right_rules.may_assign(await _roles(tx, actor), row.roles, wanted):
        raise NotAllowed("to be an owner")
    await store.set_roles(tx, person, wanted, now=now)
    await _must_have_owner(tx)
    before, after = {"roles": list(row.roles)}, {"roles": list(wanted)}
    await note(tx, actor, "member.roles_changed", f"person:{person}", before, after, now)
    return await _member(tx, person)


async def remove(tx: Tx, actor: Actor, *, person: UUID, now: datetime) -> None:
    """End somebody's membership; their sessions, log-ins and the keys they made end with it.

    Raises:
        NotAllowed: The actor lacks ``member:write``, or is no owner and the member is one.
        StepUpNeeded: Give the password again first.
        NotFound: There is no such member.
        Conflict: It is the last owner.
    """
    actor.must("member:write")
    must_be_fresh(actor)
    row = await _member(tx, person)
    if not right_rules.may_assign(await _roles(tx, actor), row.roles, ()):
        raise NotAllowed("to be an owner")
    await _remove(tx, actor, row, action="member.removed", now=now)


async def leave(tx: Tx, actor: Actor, *, now: datetime) -> None:
    """End the caller's own membership.

    Raises:
        NotFound: The caller is not a person.
        Conflict: They are the last owner; hand the organisation over or delete it.
    """
    if actor.person is None:
        raise NotFound("person", actor.name)
    await _remove(tx, actor, await _member(tx, actor.person), action="member.left", now=now)


async def hand_over(tx: Tx, actor: Actor, *, person: UUID, now: datetime) -> None:
    """Make another member the owner in the caller's place; the caller becomes an administrator.

    Raises:
        NotAllowed: The caller is not an owner.
        StepUpNeeded: Give the password again first.
        NotFound: There is no such member.
        Conflict: They are the caller.
    """
    must_be_fresh(actor)
    if OWNER not in await _roles(tx, actor) or actor.person is None:
        raise NotAllowed("to be an owner")
    if person == actor.person:
        raise Conflict("you are the owner already")
    heir = await _member(tx, person)
    mine = await _member(tx, actor.person)
    await store.set_roles(tx, person, right_rules.check_roles([*heir.roles, OWNER]), now=now)
    left = right_rules.check_roles([*(role for role in mine.roles if role != OWNER), "admin"])
    await store.set_roles(tx, actor.person, left, now=now)
    await _must_have_owner(tx)
    before, after = {"owner": actor.person}, {"owner": person}
    await note(tx, actor, "organisation.handed_over", f"organisation:{tx.org}", before, after, now)


async def invite(tx: Tx, means: Means, actor: Actor, *, email: str, roles: Sequence[str], now: datetime) -> UUID:
    """Invite somebody by mail; the link works once, for seven days. An open invitation to the same address ends.

    Raises:
        NotAllowed: The actor lacks ``member:write``, or invites an owner without being one.
        StepUpNeeded: Give the password again first.
        Invalid: The address is malformed or a role is unknown.
        TooMany: There are 500 open invitations, or 10,000 members.
    """
    actor.must("member:write")
    must_be_fresh(actor)
    address, wanted = rules.check_email(email), right_rules.check_roles(roles)
    if not right_rules.may_assign(await _roles(tx, actor), (), wanted):
        raise NotAllowed("to be an owner")
    row = await own(tx, lock=True)
    if await store.invitation_count(tx, now=now) >= rules.INVITATIONS_MAX:
        raise TooMany("open invitations", 86_400)
    if await store.member_count(tx) >= rules.MEMBERS_MAX:
        raise TooMany("members", 86_400)
    made, id_ = token(), new_id()
    values = {
        "id": id_,
        "token_hash": digest(made),
        "email": address,
        "roles": list(wanted),
        "invited_by": actor.name,
        "created_at": now,
        "expires_at": now + rules.INVITATION_LIFE,
    }
    await store.invite(tx, values)
    facts = {"organisation": row.name, "roles": ", ".join(wanted), "link": f"{means.url}/invitation#{made}", "days": 7}
    await mail.queue(tx, to=address, template="invitation", facts=facts)
    after = {"email": address, "roles": list(wanted)}
    await note(tx, actor, "invitation.sent", f"invitation:{id_}", None, after, now)
    return id_


def invitations(tx: Tx, actor: Actor, *, now: datetime) -> sa.Select[Any]:
    """Return the statement of open invitations, to be bounded by the caller's page.

    Raises:
        NotAllowed: The actor lacks ``member:read``.
    """
    actor.must("member:read")
    return store.invitations(tx, now=now)


async def withdraw(tx: Tx, actor: Actor, *, id_: UUID, now: datetime) -> None:
    """End an open invitation.

    Raises:
        NotAllowed: The actor lacks ``member:write``.
        NotFound: There is none.
    """
    actor.must("member:write")
    row = await store.withdraw(tx, id_)
    if row is None:
        raise NotFound("invitation", str(id_))
    before = {"email": row.email, "roles": list(row.roles)}
    await note(tx, actor, "invitation.withdrawn", f"invitation:{id_}", before, None, now)


async def accept(
    db: Database, means: Means, *, token_: str, name: str, password: str, request_id: str, now: datetime
) -> UUID:
    """Take up an invitation; the link proves the address. Somebody new gets an account with ``name`` and ``password``.

    Somebody who has an account keeps their name and password; what is sent is then not looked at.

    Returns:
        The organisation; they sign in next.

    Raises:
        SpentToken: The link was used, withdrawn, has expired, or never existed.
        Invalid, PasswordTooShort, PasswordTooLong, PasswordTooCommon: Of somebody new; the link can be used again.
        Unavailable: Too many passwords are being checked.
    """
    password_hash = await means.passwords.hash(passwords.normal(password)[: passwords.CHARS_MAX + 1])
    async with db.system("invitation") as tx:
        org = await store.invitation_org(tx, digest(token_))
    async with db.writing(Actor(org or NOBODY, "system:invitation", request_id=request_id)) as tx:
        claimed = None if org is None else await store.claim_invitation(tx, digest(token_), now=now)
        if claimed is None or org is None:
            raise rules.SpentToken
        row = await own(tx, lock=True)
        person = await people.by_email(tx, claimed.email)
        if person is None:
            names = (claimed.email, name, row.name)
            passwords.check(password, second_factor=False, blocked=blocked_passwords(), names=names)
            tidy = rules.check_name(name)
            id_ = await people.add(tx, email=claimed.email, name=tidy, password_hash=password_hash, now=now)
            if id_ is None:
                raise Conflict("this address has just been registered; try again")
        else:
            id_ = person.id
        actor = Actor(org, f"person:{id_}", person=id_, request_id=request_id)
        if await store.join(tx, id_, claimed.roles, now=now):
            after = {"roles": list(claimed.roles), "invited_by": claimed.invited_by}
            await note(tx, actor, "member.joined", f"person:{id_}", None, after, now)
    return org


async def _remove(tx: Tx, actor: Actor, row: store.Row, *, action: str, now: datetime) -> None:
    await store.remove(tx, row.person, now=now)
    await _must_have_owner(tx)
    await note(tx, actor, action, f"person:{row.person}", {"roles": list(row.roles)}, None, now)


async def _member(tx: Tx, person: UUID) -> store.Row:
    """Return a member, with the organisation locked against other changes of its members."""
    await own(tx, lock=True)
    row = await store.member(tx, person)
    if row is None:
        raise NotFound("member", str(person))
    return row


async def _roles(tx: Tx, actor: Actor) -> frozenset[str]:
    """Return the present roles of the caller, read in this transaction."""
    row = await store.member(tx, actor.person) if actor.person is not None else None
    return frozenset(row.roles) if row is not None else frozenset()


async def _must_have_owner(tx: Tx) -> None:
    if await store.owners(tx) == 0:
        raise Conflict("an organisation needs an owner; hand it over first, or delete it")
