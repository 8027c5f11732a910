"""All SQL of the digest."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.core.findings.digest import tables
from bursar.core.findings.digest.rules import Every
from bursar.infra.db import Tx

WISHES_MAX = 10_000
_w = tables.wish.c


async def wish(tx: Tx, taker: UUID, every: Every | None, *, now: datetime) -> None:
    """Keep how often somebody wants a digest; None for never."""
    await tx.run(sa.delete(tables.wish).where(tx.own(tables.wish), _w.taker == taker))
    if every is not None:
        await tx.run(sa.insert(tables.wish).values(org=tx.org, taker=taker, every=every.value, since=now))


async def wish_of(tx: Tx, taker: UUID) -> Every | None:
    """Return how often somebody wants a digest; None for never."""
    found = await tx.scalar(sa.select(_w.every).where(tx.own(tables.wish), _w.taker == taker))
    return None if found is None else Every(found)


async def wishes(tx: Tx) -> Sequence[sa.Row[Any]]:
    """Return everybody's wishes: taker, every."""
    return await tx.all(sa.select(_w.taker, _w.every).where(tx.own(tables.wish)).order_by(_w.taker).limit(WISHES_MAX))


async def claim(tx: Tx, taker: UUID, every: Every, start: date, *, findings: int, now: datetime) -> bool:
    """Note that a period is told to somebody; False when it was told before."""
    values = {"taker": taker, "start_day": start, "every": every.value, "findings": findings, "at": now}
    made = pg.insert(tables.sent).values(org=tx.org, **values).on_conflict_do_nothing().returning(tables.sent.c.taker)
    return (await tx.one(made)) is not None


async def forget(tx: Tx, *, before: date) -> None:
    """Forget what was told long ago."""
    await tx.run(sa.delete(tables.sent).where(tx.own(tables.sent), tables.sent.c.start_day < before))
