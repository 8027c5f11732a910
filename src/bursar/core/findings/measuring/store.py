"""All SQL of measuring."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.core.findings.measuring import tables
from bursar.core.findings.measuring.rules import Level
from bursar.infra.db import Tx

_l = tables.level.c


async def put(
    tx: Tx, finding: UUID, *, accepted: date, level: Level | None, block_days: int, note: str, now: datetime
) -> None:
    """Keep the level of a finding; accepted again, it is taken again."""
    values = {
        "accepted": accepted,
        "end_day": level.end if level else None,
        "block_days": block_days,
        "blocks": [f"{block:f}" for block in level.blocks] if level else [],
        "note": note,
        "checked_at": now,
    }
    statement = pg.insert(tables.level).values(org=tx.org, finding=finding, **values)
    await tx.run(statement.on_conflict_do_update(index_elements=["org", "finding"], set_=values))


async def say(tx: Tx, finding: UUID, *, note: str, now: datetime) -> None:
    """Keep what an attempt to measure said."""
    mine = sa.and_(tx.own(tables.level), _l.finding == finding)
    await tx.run(sa.update(tables.level).where(mine).values(note=note, checked_at=now))


async def of(tx: Tx, finding: UUID) -> Any | None:
    """Return the row of a finding; None when no level was looked for yet."""
    return await tx.one(sa.select(tables.level).where(tx.own(tables.level), _l.finding == finding))


def level_of(row: Any) -> Level | None:
    """Return the level a row holds."""
    if row.end_day is None:
        return None
    return Level(row.end_day, row.block_days, tuple(Decimal(block) for block in row.blocks))
