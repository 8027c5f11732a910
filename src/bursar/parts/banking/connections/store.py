"""All SQL of connections."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.db import Tx
from bursar.parts.banking.connections.tables import connection, link, seen

CONNECTIONS_MAX = 20
LINKS_MAX = 1_000

c, k = connection.c, link.c


async def connections(tx: Tx) -> Sequence[sa.Row[Any]]:
    """Return the connections, the oldest first."""
    return await tx.all(sa.select(connection).where(tx.own(connection)).order_by(c.id).limit(CONNECTIONS_MAX))


async def find(tx: Tx, id_: UUID) -> sa.Row[Any] | None:
    """Return one connection."""
    return await tx.one(sa.select(connection).where(tx.own(connection), c.id == id_))


async def add(tx: Tx, values: Mapping[str, Any]) -> None:
    """Add a connection."""
    await tx.run(sa.insert(connection).values(org=tx.org, **values))


async def remove(tx: Tx, id_: UUID) -> None:
    """Remove a connection with its links and seen webhooks; what it brought stays."""
    await tx.run(sa.delete(seen).where(tx.own(seen), seen.c.connection == id_))
    await tx.run(sa.delete(link).where(tx.own(link), k.connection == id_))
    await tx.run(sa.delete(connection).where(tx.own(connection), c.id == id_))


async def links(tx: Tx, id_: UUID | None = None, *, states: Sequence[str] = ()) -> Sequence[sa.Row[Any]]:
    """Return links (of one connection, in some states)."""
    query = sa.select(link).where(tx.own(link))
    if id_ is not None:
        query = query.where(k.connection == id_)
    if states:
        query = query.where(k.state.in_(states))
    return await tx.all(query.order_by(k.connection, k.id).limit(LINKS_MAX))


async def find_link(tx: Tx, id_: UUID, name: str, *, lock: bool = False) -> sa.Row[Any] | None:
    """Return one link; locked when it is about to change."""
    query = sa.select(link).where(tx.own(link), k.connection == id_, k.id == name)
    return await tx.one(query.with_for_update() if lock else query)


async def put_links(tx: Tx, id_: UUID, rows: Sequence[Mapping[str, Any]], *, now: datetime) -> None:
    """Write the links that a service lists; a link that it lists no more is gone."""
    for row in rows:
        fresh = {**row, "changed_at": now}
        add_ = pg.insert(link).values(org=tx.org, connection=id_, **fresh)
        changed = {name: fresh[name] for name in ("institution", "state", "changed_at")}
        busy = k.state.in_(("collecting", "token_required"))  # what a pull found out is newer than the list
        await tx.run(add_.on_conflict_do_update(index_elements=["org", "connection", "id"], set_=changed, where=~busy))
    listed = [row["id"] for row in rows]
    gone = {"state": "gone", "why": "the service lists it no more; connect the bank again", "asked": None}
    await tx.run(
        sa.update(link).where(tx.own(link), k.connection == id_, k.id.not_in(listed)).values(**gone, changed_at=now)
    )


async def set_link(tx: Tx, id_: UUID, name: str, *, now: datetime, **values: Any) -> None:
    """Change a link."""
    await tx.run(
        sa.update(link).where(tx.own(link), k.connection == id_, k.id == name).values(**values, changed_at=now)
    )


async def note(tx: Tx, id_: UUID, *, key: str, code: str, about: str, rows: int, now: datetime) -> bool:
    """Remember a webhook; False when it was seen before."""
    values = {"key": key, "code": code, "link": about, "rows": rows, "received_at": now}
    add_ = pg.insert(seen).values(org=tx.org, connection=id_, **values).on_conflict_do_nothing()
    return await tx.scalar(add_.returning(seen.c.key)) is not None


async def forget(tx: Tx, *, before: datetime) -> None:
    """Forget webhooks that were seen long ago."""
    await tx.run(sa.delete(seen).where(tx.own(seen), seen.c.received_at < before))
