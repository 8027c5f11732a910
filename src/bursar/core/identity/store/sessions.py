"""Browser sessions, log-ins of programs (families of refresh tokens) and API keys."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from bursar.core.identity.tables import family, key, membership, organisation, refresh, session
from bursar.infra.db import Tx

Row = sa.Row[Any]

LINEAGE_MAX = 10
"""Most keys of one lineage that are read; rotation keeps two alive."""


def _member_of(table: sa.Table, column: str) -> sa.ColumnElement[bool]:
    return sa.and_(membership.c.org == table.c.org, membership.c.person == table.c[column])


async def session_by_token(tx: Tx, token_hash: bytes) -> Row | None:
    """Return a session with the present roles of its person; without an organisation."""
    wanted = (
        sa.select(session, membership.c.roles)
        .join(membership, _member_of(session, "person"))
        .where(session.c.token_hash == token_hash)
    )
    return await tx.one(wanted)


async def family_by_id(tx: Tx, org: UUID, id_: UUID) -> Row | None:
    """Return a program's log-in with the present roles of its person; without an organisation."""
    wanted = (
        sa.select(family, membership.c.roles)
        .join(membership, _member_of(family, "person"))
        .where(family.c.org == org, family.c.id == id_)
    )
    return await tx.one(wanted)


async def key_by_id(tx: Tx, id_: str) -> Row | None:
    """Return an API key with the present roles of who made it (None when they left); without an organisation."""
    wanted = (
        sa.select(key, membership.c.roles)
        .join(organisation, sa.and_(organisation.c.id == key.c.org, organisation.c.purged_at.is_(None)))
        .outerjoin(membership, _member_of(key, "made_by"))
        .where(key.c.id == id_)
    )
    return await tx.one(wanted)


async def add_session(tx: Tx, values: Mapping[str, Any], *, sessions_max: int) -> None:
    """Open a session; beyond ``sessions_max`` of the person the longest unused end."""
    await tx.run(sa.insert(session).values(org=tx.org, **values))
    kept = (
        sa.select(session.c.id)
        .where(session.c.org == tx.org, session.c.person == values["person"])
        .order_by(session.c.seen_at.desc(), session.c.id.desc())
        .limit(sessions_max)
    )
    surplus = (session.c.org == tx.org, session.c.person == values["person"], session.c.id.not_in(kept))
    await tx.run(sa.delete(session).where(*surplus))


async def change_session(tx: Tx, org: UUID, id_: UUID, values: Mapping[str, Any]) -> bool:
    """Set columns of a session; False when it has ended."""
    found = (session.c.org == org, session.c.id == id_)
    return (await tx.run(sa.update(session).where(*found).values(values))).rowcount == 1


def sessions_of(tx: Tx, person: UUID) -> sa.Select[Any]:
    """Return the statement that lists sessions of a person; the caller bounds it to a page."""
    return sa.select(session).where(session.c.org == tx.org, session.c.person == person)


async def end_session(tx: Tx, id_: UUID, *, person: UUID | None = None) -> Row | None:
    """End a session, of ``person`` only when given; None when there is none."""
    wanted = sa.delete(session).where(session.c.org == tx.org, session.c.id == id_)
    return await tx.one((wanted.where(session.c.person == person) if person else wanted).returning(session))


async def end_all(tx: Tx, person: UUID, *, now: datetime, reason: str, except_session: UUID | None = None) -> None:
    """End every session and program's log-in that the transaction can see of a person, but one session."""
    gone = sa.delete(session).where(session.c.person == person)
    await tx.run(gone.where(session.c.id != except_session) if except_session else gone)
    living = (family.c.person == person, family.c.revoked_at.is_(None))
    await tx.run(sa.update(family).where(*living).values(revoked_at=now, reason=reason))


async def add_family(tx: Tx, values: Mapping[str, Any]) -> None:
    """Keep a program's log-in."""
    await tx.run(sa.insert(family).values(org=tx.org, reason="", **values))


async def add_refresh(tx: Tx, family_: UUID, token_hash: bytes, *, now: datetime) -> None:
    """Keep a refresh token."""
    await tx.run(sa.insert(refresh).values(org=tx.org, family=family_, token_hash=token_hash, created_at=now))


async def refresh_family(tx: Tx, token_hash: bytes) -> Row | None:
    """Return organisation and log-in that a refresh token belongs to; without an organisation."""
    wanted = (
        sa.select(family)
        .join(refresh, sa.and_(refresh.c.org == family.c.org, refresh.c.family == family.c.id))
        .where(refresh.c.token_hash == token_hash)
    )
    return await tx.one(wanted)


async def use_refresh(tx: Tx, token_hash: bytes, *, now: datetime) -> bool:
    """Use up a refresh token; of any number of concurrent claims one succeeds."""
    unused = (refresh.c.org == tx.org, refresh.c.token_hash == token_hash, refresh.c.used_at.is_(None))
    return (await tx.run(sa.update(refresh).where(*unused).values(used_at=now))).rowcount == 1


async def lock_family(tx: Tx, id_: UUID) -> Row | None:
    """Return a log-in and hold it until the transaction ends."""
    return await tx.one(sa.select(family).where(family.c.org == tx.org, family.c.id == id_).with_for_update())


async def revoke_family(tx: Tx, id_: UUID, *, reason: str, now: datetime, person: UUID | None = None) -> Row | None:
    """End a program's log-in, of ``person`` only when given; None when there is none that lives."""
    wanted = sa.update(family).where(family.c.org == tx.org, family.c.id == id_, family.c.revoked_at.is_(None))
    wanted = wanted.where(family.c.person == person) if person else wanted
    return await tx.one(wanted.values(revoked_at=now, reason=reason).returning(family))


def families_of(tx: Tx, person: UUID, *, now: datetime) -> sa.Select[Any]:
    """Return the statement that lists living log-ins of a person; the caller bounds it to a page."""
    living = (family.c.revoked_at.is_(None), family.c.expires_at > now)
    return sa.select(family).where(family.c.org == tx.org, family.c.person == person, *living)


async def add_key(tx: Tx, values: Mapping[str, Any]) -> None:
    """Keep an API key."""
    await tx.run(sa.insert(key).values(org=tx.org, used_from="", **values))


async def lock_key(tx: Tx, id_: str) -> Row | None:
    """Return a living key and hold it until the transaction ends."""
    found = (key.c.org == tx.org, key.c.id == id_, key.c.revoked_at.is_(None))
    return await tx.one(sa.select(key).where(*found).with_for_update())


async def lineage(tx: Tx, id_: UUID) -> Sequence[Row]:
    """Return the living keys of a lineage (rotation keeps two)."""
    found = (key.c.org == tx.org, key.c.lineage == id_, key.c.revoked_at.is_(None))
    return await tx.all(sa.select(key).where(*found).order_by(key.c.id).limit(LINEAGE_MAX))


def keys(tx: Tx) -> sa.Select[Any]:
    """Return the statement that lists living keys; the caller bounds it to a page."""
    return sa.select(key).where(key.c.org == tx.org, key.c.revoked_at.is_(None))


async def key_count(tx: Tx) -> int:
    """Return how many keys live."""
    return int(await tx.scalar(sa.select(sa.func.count()).select_from(keys(tx).subquery())))


async def revoke_key(tx: Tx, id_: str, *, now: datetime) -> Row | None:
    """End a key; None when there is none that lives."""
    found = (key.c.org == tx.org, key.c.id == id_, key.c.revoked_at.is_(None))
    return await tx.one(sa.update(key).where(*found).values(revoked_at=now).returning(key))


async def touch_key(tx: Tx, org: UUID, id_: str, *, address: str, now: datetime) -> None:
    """Note the last use of a key."""
    found = (key.c.org == org, key.c.id == id_)
    await tx.run(sa.update(key).where(*found).values(used_at=now, used_from=address))


async def forget(tx: Tx, *, before: datetime) -> int:
    """Remove sessions and log-ins that ended before ``before``, with their tokens; returns how many sessions."""
    ended = sa.select(family.c.id).where(family.c.expires_at < before)
    await tx.run(sa.delete(refresh).where(refresh.c.family.in_(ended)))
    await tx.run(sa.delete(family).where(family.c.expires_at < before))
    return (await tx.run(sa.delete(session).where(session.c.expires_at < before))).rowcount
