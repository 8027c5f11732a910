"""Use cases of the calendar: read it, set it."""

from datetime import datetime

from bursar.core.planning.calendars import rules, store
from bursar.core.planning.calendars.rules import Event, Planned, calendar_of
from bursar.infra.db import Tx
from bursar.kernel.actor import Actor

__all__ = ["Event", "Planned", "calendar_of", "get", "put"]


async def get(tx: Tx, actor: Actor) -> Planned:
    """Return whose holidays count and what is planned."""
    actor.must("forecast:read")
    return await store.get(tx)


async def put(tx: Tx, actor: Actor, *, planned: Planned, now: datetime) -> Planned:
    """Replace the calendar; the next forecast counts with it.

    Raises:
        Invalid: The country, the region or an event cannot be used.
        TooLarge: There are too many events or days.
    """
    actor.must("forecast:write")
    rules.check(planned)
    await store.put(tx, planned, by=actor.name, now=now)
    return await store.get(tx)
