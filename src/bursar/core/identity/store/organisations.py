"""Organisations, who belongs to them and who is invited."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from bursar.core.identity.rules.rights import OWNER
from bursar.core.identity.tables import family, invitation, key, membership, organisation, person, session
from bursar.infra.db import Tx
from bursar.infra.db_prepared import Prepared

Row = sa.Row[Any]

LIVING_MAX = 10_000
"""Most organisations that a job visits in one go."""

_OWN = Prepared(sa.select(organisation).where(organisation.c.id == sa.bindparam("id")))


@asynccontextmanager
async def within(tx: Tx, org: UUID) -> AsyncIterator[None]:
    """Confine a transaction without an organisation to ``org`` for a while (to write its audit trail)."""
    before = tx.org
    setting = "select set_config('bursar.org', :org, true)"
    await tx.run(setting, {"org": str(org)})
    tx.org = org
    try:
        yield
    finally:
        tx.org = before
    await tx.run(setting, {"org": str(before) if before.int else ""})


async def add(tx: Tx, org: UUID, *, name: str, now: datetime, is_local: bool = False) -> None:
    """Add an organisation."""
    values = {"id": org, "name": name, "created_at": now, "changed_at": now, "is_local": is_local}
    await tx.run(sa.insert(organisation).values(values))


async def own(tx: Tx, *, lock: bool = False) -> Row | None:
    """Return the transaction's organisation; ``lock`` serialises changes of its members."""
    if lock:
        return await tx.one(sa.select(organisation).where(organisation.c.id == tx.org).with_for_update())
    found: Row | None = await _OWN.one(tx, id=tx.org)
    return found


async def change(tx: Tx, values: Mapping[str, Any]) -> None:
    """Set columns of the transaction's organisation."""
    await tx.run(sa.update(organisation).where(organisation.c.id == tx.org).values(values))


async def any_exists(tx: Tx) -> Row | None:
    """Return the oldest organisation; in a transaction without one."""
    return await tx.one(sa.select(organisation).order_by(organisation.c.created_at, organisation.c.id).limit(1))


async def due(tx: Tx, *, now: datetime) -> Sequence[UUID]:
    """Return organisations whose grace period is over; in a transaction without one."""
    wanted = sa.select(organisation.c.id).where(organisation.c.purge_after <= now, organisation.c.purged_at.is_(None))
    return [row[0] for row in await tx.all(wanted.limit(1_000))]


async def living(tx: Tx) -> Sequence[UUID]:
    """Return organisations that are not deleted, oldest first; in a transaction without one."""
    wanted = sa.select(organisation.c.id).where(
        organisation.c.purge_after.is_(None), organisation.c.purged_at.is_(None)
    )
    return [row[0] for row in await tx.all(wanted.order_by(organisation.c.created_at).limit(LIVING_MAX))]


async def erase_step(tx: Tx, org: UUID, rows_max: int) -> int:
    """Delete up to ``rows_max`` rows of one table of an organisation that is due; 0 when nothing is left."""
    return int(await tx.scalar("select bursar_erase_step(:org, :rows_max)", {"org": org, "rows_max": rows_max}))


async def tombstone(tx: Tx, org: UUID, *, now: datetime) -> None:
    """Leave nothing of an erased organisation but its id."""
    await tx.run(sa.update(organisation).where(organisation.c.id == org).values(name="", purged_at=now))


async def forget_people(tx: Tx, people: Sequence[UUID]) -> int:
    """Remove those of ``people`` who belong to no organisation any more; returns how many."""
    nowhere = [
        ~sa.exists().where(table.c[column] == person.c.id)
        for table, column in ((membership, "person"), (session, "person"), (family, "person"), (key, "made_by"))
    ]
    return (await tx.run(sa.delete(person).where(person.c.id.in_(people), *nowhere))).rowcount


async def join(tx: Tx, person_: UUID, roles: Sequence[str], *, now: datetime) -> bool:
    """Make somebody a member; False when they are one."""
    values = {"org": tx.org, "person": person_, "roles": list(roles), "since": now, "changed_at": now}
    made = insert(membership).values(values).on_conflict_do_nothing().returning(membership.c.person)
    return await tx.scalar(made) is not None


async def member(tx: Tx, person_: UUID, *, lock: bool = False) -> Row | None:
    """Return one member with name and address."""
    wanted = members(tx).where(membership.c.person == person_)
    return await tx.one(wanted.with_for_update(of=membership) if lock else wanted)


def members(tx: Tx) -> sa.Select[Any]:
    """Return the statement that lists members; the caller bounds it to a page."""
    return (
        sa.select(membership, person.c.name, person.c.email, person.c.second_factor.is_not(None).label("second_factor"))
        .join(person, person.c.id == membership.c.person)
        .where(membership.c.org == tx.org)
    )


async def member_count(tx: Tx) -> int:
    """Return how many members there are."""
    return int(await tx.scalar(sa.select(sa.func.count()).where(membership.c.org == tx.org)))


async def dissolve(tx: Tx, org: UUID) -> list[UUID]:
    """End every membership of an organisation that is erased; returns who they were. Without an organisation."""
    gone = sa.delete(membership).where(membership.c.org == org).returning(membership.c.person)
    return [row[0] for row in await tx.all(gone)]


async def owners(tx: Tx) -> int:
    """Return how many owners there are; lock the organisation first."""
    owning = sa.select(sa.func.count()).where(membership.c.org == tx.org, membership.c.roles.contains([OWNER]))
    return int(await tx.scalar(owning))


async def set_roles(tx: Tx, person_: UUID, roles: Sequence[str], *, now: datetime) -> None:
    """Replace the roles of a member."""
    found = (membership.c.org == tx.org, membership.c.person == person_)
    await tx.run(sa.update(membership).where(*found).values(roles=list(roles), changed_at=now))


async def remove(tx: Tx, person_: UUID, *, now: datetime) -> None:
    """End a membership and everything that acts through it: sessions, log-ins of programs, API keys."""
    await tx.run(sa.delete(session).where(session.c.org == tx.org, session.c.person == person_))
    living = (family.c.org == tx.org, family.c.person == person_, family.c.revoked_at.is_(None))
    await tx.run(sa.update(family).where(*living).values(revoked_at=now, reason="left"))
    made = (key.c.org == tx.org, key.c.made_by == person_, key.c.revoked_at.is_(None))
    await tx.run(sa.update(key).where(*made).values(revoked_at=now))
    await tx.run(sa.delete(membership).where(membership.c.org == tx.org, membership.c.person == person_))


async def invite(tx: Tx, values: Mapping[str, Any]) -> None:
    """Keep an invitation; an open one to the same address ends."""
    again = (invitation.c.org == tx.org, invitation.c.email == values["email"], invitation.c.used_at.is_(None))
    await tx.run(sa.delete(invitation).where(*again))
    await tx.run(sa.insert(invitation).values(org=tx.org, **values))


def invitations(tx: Tx, *, now: datetime) -> sa.Select[Any]:
    """Return the statement that lists open invitations; the caller bounds it to a page."""
    living = (invitation.c.org == tx.org, invitation.c.used_at.is_(None), invitation.c.expires_at > now)
    return sa.select(invitation).where(*living)


async def invitation_count(tx: Tx, *, now: datetime) -> int:
    """Return how many invitations are open."""
    return int(await tx.scalar(sa.select(sa.func.count()).select_from(invitations(tx, now=now).subquery())))


async def withdraw(tx: Tx, id_: UUID) -> Row | None:
    """End an open invitation; None when there is none."""
    found = (invitation.c.org == tx.org, invitation.c.id == id_, invitation.c.used_at.is_(None))
    return await tx.one(sa.delete(invitation).where(*found).returning(invitation))


async def invitation_org(tx: Tx, token_hash: bytes) -> UUID | None:
    """Return whose invitation a token is; in a transaction without an organisation."""
    found: UUID | None = await tx.scalar(sa.select(invitation.c.org).where(invitation.c.token_hash == token_hash))
    return found


async def claim_invitation(tx: Tx, token_hash: bytes, *, now: datetime) -> Row | None:
    """Use up an invitation; of any number of concurrent claims one gets the row."""
    living = (invitation.c.token_hash == token_hash, invitation.c.used_at.is_(None), invitation.c.expires_at > now)
    return await tx.one(sa.update(invitation).where(*living).values(used_at=now).returning(invitation))
