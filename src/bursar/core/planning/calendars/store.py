"""All SQL of the calendar."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.core.planning.calendars.rules import NOTHING, Planned, from_json, to_json
from bursar.core.planning.calendars.tables import planning_calendar as table
from bursar.infra.db import Tx

EVERYTHING = "all"


async def get(tx: Tx) -> Planned:
    """Return the calendar; an empty one while nobody set it."""
    row = await tx.one(sa.select(table).where(tx.own(table), table.c.name == EVERYTHING))
    return Planned(row.country, row.subdivision, from_json(row.events)) if row else NOTHING


async def put(tx: Tx, planned: Planned, *, by: str, now: datetime) -> None:
    """Replace the calendar."""
    facts = {
        "country": planned.country,
        "subdivision": planned.subdivision,
        "events": to_json(planned.events),
        "changed_at": now,
        "changed_by": by,
    }
    insert = pg.insert(table).values(org=tx.org, name=EVERYTHING, **facts)
    await tx.run(insert.on_conflict_do_update(index_elements=["org", "name"], set_=facts))
