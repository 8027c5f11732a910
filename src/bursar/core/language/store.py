"""All SQL of language models' money; sets in, sets out."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.core.language.tables import call, month, policy
from bursar.infra.db import Tx

CALLS_MAX = 1_000
"""Most calls looked at by one statement."""

c = call.c
_TAKEN = sa.func.coalesce(c.cost, c.held)


async def policy_of(tx: Tx) -> tuple[bool, Decimal] | None:
    """Return (wanted, own cap); None where the organisation never said."""
    row = await tx.one(sa.select(policy.c.enabled, policy.c.monthly_max).where(tx.own(policy)))
    return (row.enabled, row.monthly_max) if row else None


async def put_policy(tx: Tx, *, enabled: bool, monthly_max: Decimal) -> None:
    """Keep what the organisation wants."""
    values = {"enabled": enabled, "monthly_max": monthly_max}
    put = pg.insert(policy).values(org=tx.org, **values)
    await tx.run(put.on_conflict_do_update(index_elements=["org"], set_=values))


async def lock(tx: Tx) -> None:
    """Serialise with other calls of the organisation until the transaction ends."""
    await tx.run("select pg_advisory_xact_lock(hashtextextended('language/' || :org, 0))", {"org": str(tx.org)})


async def taken(tx: Tx, of: date) -> tuple[Decimal, Decimal]:
    """Return what the organisation holds for open calls and has spent in a month."""
    held = sa.func.coalesce(sa.func.sum(c.held).filter(c.cost.is_(None)), 0)
    spent = sa.func.coalesce(sa.func.sum(c.cost), 0)
    row = await tx.one(sa.select(held.label("held"), spent.label("spent")).where(tx.own(call), c.month == of))
    return (Decimal(row.held), Decimal(row.spent)) if row else (Decimal(0), Decimal(0))


async def taken_by_all(tx: Tx, of: date) -> Decimal:
    """Return what the installation holds and has spent in a month."""
    return Decimal(await tx.scalar(sa.select(month.c.taken).where(month.c.month == of)) or 0)


async def take(tx: Tx, of: date, amount: Decimal, *, cap: Decimal) -> bool:
    """Take money of the installation's month; False, and nothing taken, where it would pass the cap."""
    add = pg.insert(month).values(month=of, taken=Decimal(0))
    await tx.run(add.on_conflict_do_nothing())
    fits = sa.and_(month.c.month == of, month.c.taken + amount <= cap)
    done = await tx.run(sa.update(month).where(fits).values(taken=month.c.taken + amount))
    return done.rowcount == 1


async def give_back(tx: Tx, of: date, amount: Decimal) -> None:
    """Give money of the installation's month back (or take more, where a call cost more than was held)."""
    await tx.run(sa.update(month).where(month.c.month == of).values(taken=month.c.taken - amount))


async def add(tx: Tx, calls: Sequence[Mapping[str, Any]]) -> None:
    """Keep new calls."""
    await tx.run(sa.insert(call).values([{"org": tx.org, **one} for one in calls]))


async def sent(tx: Tx, ids: Sequence[UUID], *, batch: str) -> None:
    """Say that calls are on their way inside a batch."""
    await tx.run(
        sa.update(call).where(tx.own(call), c.id.in_(ids), c.state == "held").values(state="sent", batch=batch)
    )


async def unsent(tx: Tx, ids: Sequence[UUID]) -> list[UUID]:
    """Return those of some calls that are held and in no batch."""
    query = sa.select(c.id).where(tx.own(call), c.id.in_(ids), c.state == "held").order_by(c.id).limit(CALLS_MAX)
    return [row.id for row in await tx.all(query)]


async def locked(tx: Tx, id_: UUID) -> sa.Row[Any] | None:
    """Return a call, locked."""
    return await tx.one(sa.select(call).where(tx.own(call), c.id == id_).with_for_update())


async def settle(tx: Tx, id_: UUID, values: Mapping[str, Any]) -> None:
    """Write how a call ended."""
    await tx.run(sa.update(call).where(tx.own(call), c.id == id_).values(**values))


async def of_batch(tx: Tx, batch: str) -> list[UUID]:
    """Return the open calls of a batch."""
    query = sa.select(c.id).where(tx.own(call), c.batch == batch, c.cost.is_(None)).order_by(c.id).limit(CALLS_MAX)
    return [row.id for row in await tx.all(query)]


async def forgotten(tx: Tx, *, asked_before: datetime, sent_before: datetime) -> list[UUID]:
    """Return open calls that nobody will settle: their process died before or after sending, or their batch is over."""
    lost = c.asked_at < sa.case((c.batched | (c.state == "sent"), sent_before), else_=asked_before)
    query = sa.select(c.id).where(tx.own(call), c.cost.is_(None), lost).order_by(c.id).limit(CALLS_MAX)
    return [row.id for row in await tx.all(query)]
