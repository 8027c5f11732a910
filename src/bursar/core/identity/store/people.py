"""People: found by address or id, registered, given passwords and second factors."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from bursar.core.identity.tables import membership, organisation, person, recovery, registration, reset
from bursar.infra.db import Tx, new_id

Row = sa.Row[Any]


async def by_email(tx: Tx, email: str) -> Row | None:
    """Return the person with this normalised address."""
    return await tx.one(sa.select(person).where(person.c.email == email))


async def by_id(tx: Tx, id_: UUID, *, lock: bool = False) -> Row | None:
    """Return the person; ``lock`` holds the row until the transaction ends."""
    wanted = sa.select(person).where(person.c.id == id_)
    return await tx.one(wanted.with_for_update() if lock else wanted)


async def add(
    tx: Tx, *, email: str, name: str, password_hash: str | None, now: datetime, is_local: bool = False
) -> UUID | None:
    """Add a person; None when the address is taken."""
    values = {
        "id": new_id(),
        "email": email,
        "name": name,
        "password_hash": password_hash,
        "password_changed_at": now if password_hash else None,
        "is_local": is_local,
        "created_at": now,
    }
    made = insert(person).values(values).on_conflict_do_nothing(index_elements=["email"]).returning(person.c.id)
    found: UUID | None = await tx.scalar(made)
    return found


async def change(tx: Tx, id_: UUID, values: Mapping[str, Any]) -> None:
    """Set columns of a person."""
    await tx.run(sa.update(person).where(person.c.id == id_).values(values))


async def add_registration(tx: Tx, values: Mapping[str, Any]) -> None:
    """Keep a registration until its address is verified."""
    await tx.run(sa.insert(registration).values(values))


async def claim_registration(tx: Tx, token_hash: bytes, *, now: datetime) -> Row | None:
    """Use up a registration; of any number of concurrent claims one gets the row."""
    claim = (
        sa.update(registration)
        .where(
            registration.c.token_hash == token_hash, registration.c.used_at.is_(None), registration.c.expires_at > now
        )
        .values(used_at=now)
        .returning(registration)
    )
    return await tx.one(claim)


async def add_reset(tx: Tx, person_: UUID, token_hash: bytes, *, expires_at: datetime) -> None:
    """Keep a password reset."""
    await tx.run(sa.insert(reset).values(person=person_, token_hash=token_hash, expires_at=expires_at))


async def claim_reset(tx: Tx, token_hash: bytes, *, now: datetime) -> UUID | None:
    """Use up a password reset, and with it all others of that person; of any number of concurrent claims one succeeds."""
    claim = (
        sa.update(reset)
        .where(reset.c.token_hash == token_hash, reset.c.used_at.is_(None), reset.c.expires_at > now)
        .values(used_at=now)
        .returning(reset.c.person)
    )
    found: UUID | None = await tx.scalar(claim)
    if found is not None:
        await tx.run(sa.update(reset).where(reset.c.person == found, reset.c.used_at.is_(None)).values(used_at=now))
    return found


async def use_step(tx: Tx, id_: UUID, step: int) -> bool:
    """Use up a code's step and all before it; False when it was used already."""
    fresh = sa.or_(person.c.second_factor_step.is_(None), person.c.second_factor_step < step)
    used = sa.update(person).where(person.c.id == id_, fresh).values(second_factor_step=step)
    return (await tx.run(used)).rowcount == 1


async def set_recovery(tx: Tx, id_: UUID, hashes: Iterable[bytes]) -> None:
    """Replace the recovery codes of a person."""
    await tx.run(sa.delete(recovery).where(recovery.c.person == id_))
    rows = [{"person": id_, "code_hash": each} for each in hashes]
    if rows:
        await tx.run(sa.insert(recovery), rows)


async def use_recovery(tx: Tx, id_: UUID, code_hash: bytes, *, now: datetime) -> bool:
    """Use up a recovery code; False when there is no such unused code."""
    found = (recovery.c.person == id_, recovery.c.code_hash == code_hash, recovery.c.used_at.is_(None))
    return (await tx.run(sa.update(recovery).where(*found).values(used_at=now))).rowcount == 1


async def recovery_left(tx: Tx, id_: UUID) -> int:
    """Return how many recovery codes are unused."""
    unused = sa.select(sa.func.count()).where(recovery.c.person == id_, recovery.c.used_at.is_(None))
    return int(await tx.scalar(unused))


async def organisations_of(tx: Tx, id_: UUID) -> list[Row]:
    """Return the organisations of a person, longest-standing membership first; without an organisation."""
    wanted = (
        sa.select(
            organisation.c.id, organisation.c.name, organisation.c.purge_after, membership.c.roles, membership.c.since
        )
        .join(membership, membership.c.org == organisation.c.id)
        .where(membership.c.person == id_, organisation.c.purged_at.is_(None))
        .order_by(membership.c.since, organisation.c.id)
        .limit(1_000)
    )
    return list(await tx.all(wanted))


async def forget_registrations(tx: Tx, *, before: datetime) -> int:
    """Remove registrations that expired before ``before``; returns how many."""
    return (await tx.run(sa.delete(registration).where(registration.c.expires_at < before))).rowcount
