"""All SQL of webhooks and of the outbox as people see it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from bursar.core.notices.rules import ENDPOINTS_MAX, Attempt, Delivery, Endpoint
from bursar.core.notices.tables import attempt, delivery, endpoint, message
from bursar.infra.db import Tx
from bursar.infra.mail_tables import outbox

FORGET_MAX = 200
"""Old events forgotten with each new one."""

_ENDPOINT = tuple(column for column in endpoint.c if column.name not in {"org", "secret", "previous_secret"})


def endpoint_of(row: sa.Row[Any]) -> Endpoint:
    """Translate a row."""
    return Endpoint(
        row.id,
        row.url,
        row.description,
        tuple(row.events),
        row.active,
        row.disabled_why,
        row.previous_until,
        row.created_at,
        row.changed_at,
    )


async def endpoints(tx: Tx) -> list[Endpoint]:
    """Return every endpoint, the oldest first."""
    chosen = sa.select(*_ENDPOINT).where(tx.own(endpoint)).order_by(endpoint.c.id).limit(ENDPOINTS_MAX)
    return [endpoint_of(row) for row in await tx.all(chosen)]


async def find_endpoint(tx: Tx, id_: UUID, *, lock: bool = False) -> sa.Row[Any] | None:
    """Return an endpoint with its sealed secrets."""
    chosen = sa.select(endpoint).where(tx.own(endpoint), endpoint.c.id == id_)
    return await tx.one(chosen.with_for_update() if lock else chosen)


async def add_endpoint(tx: Tx, values: Mapping[str, Any]) -> None:
    """Insert an endpoint."""
    await tx.run(sa.insert(endpoint).values(org=tx.org, **values))


async def change_endpoint(tx: Tx, id_: UUID, values: Mapping[str, Any]) -> None:
    """Change an endpoint."""
    await tx.run(sa.update(endpoint).where(tx.own(endpoint), endpoint.c.id == id_).values(**values))


async def remove_endpoint(tx: Tx, id_: UUID) -> bool:
    """Delete an endpoint with its deliveries; False when there is none."""
    gone = sa.delete(endpoint).where(tx.own(endpoint), endpoint.c.id == id_)
    return (await tx.run(gone)).rowcount == 1


async def add_message(tx: Tx, values: Mapping[str, Any]) -> None:
    """Insert an event."""
    await tx.run(sa.insert(message).values(org=tx.org, **values))


async def add_deliveries(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert deliveries."""
    await tx.run(sa.insert(delivery), [{"org": tx.org, "state": "pending", "attempts": 0, **row} for row in rows])


async def forget(tx: Tx, *, before: datetime) -> None:
    """Delete some events older than ``before``, with their deliveries."""
    old = sa.select(message.c.id).where(tx.own(message), message.c.at < before).limit(FORGET_MAX)
    await tx.run(sa.delete(message).where(tx.own(message), message.c.id.in_(old)))


def deliveries(tx: Tx, *, endpoint_id: UUID, state: str | None) -> sa.Select[Any]:
    """Return the statement of an endpoint's deliveries, to be ordered by id and bounded by the caller."""
    chosen = (
        sa.select(*(column for column in delivery.c if column.name != "org"), message.c.type)
        .join(message, sa.and_(message.c.org == delivery.c.org, message.c.id == delivery.c.message))
        .where(tx.own(delivery), delivery.c.endpoint == endpoint_id)
    )
    return chosen if state is None else chosen.where(delivery.c.state == state)


def delivery_of(row: sa.Row[Any]) -> Delivery:
    """Translate a row of :func:`deliveries`."""
    return Delivery(row.id, row.endpoint, row.message, row.type, row.state, row.attempts, row.next_at, row.ended_at)


async def find_delivery(tx: Tx, id_: UUID, *, lock: bool = False) -> sa.Row[Any] | None:
    """Return a delivery with its event's type and body."""
    chosen = (
        sa.select(delivery, message.c.type, message.c.body)
        .join(message, sa.and_(message.c.org == delivery.c.org, message.c.id == delivery.c.message))
        .where(tx.own(delivery), delivery.c.id == id_)
    )
    return await tx.one(chosen.with_for_update(of=delivery) if lock else chosen)


async def change_delivery(tx: Tx, id_: UUID, values: Mapping[str, Any]) -> None:
    """Change a delivery."""
    await tx.run(sa.update(delivery).where(tx.own(delivery), delivery.c.id == id_).values(**values))


async def add_attempt(tx: Tx, values: Mapping[str, Any]) -> None:
    """Insert a line of the delivery log."""
    await tx.run(sa.insert(attempt).values(org=tx.org, **values))


async def attempts(tx: Tx, id_: UUID) -> list[Attempt]:
    """Return the log of a delivery."""
    chosen = sa.select(attempt).where(tx.own(attempt), attempt.c.delivery == id_).order_by(attempt.c.number)
    return [Attempt(row.number, row.at, row.status, row.ms, row.error) for row in await tx.all(chosen.limit(100))]


def mails(tx: Tx, *, state: str | None) -> sa.Select[Any]:
    """Return the statement of the outbox without contents, to be ordered by id and bounded by the caller."""
    hidden = {"org", "facts", "reached"}
    chosen = sa.select(*(column for column in outbox.c if column.name not in hidden)).where(tx.own(outbox))
    return chosen if state is None else chosen.where(outbox.c.state == state)
