"""All SQL of attachments."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from bursar.infra.db import Tx
from bursar.parts.banking.attachments.rules import EACH_MAX
from bursar.parts.banking.attachments.tables import attachment

a = attachment.c


async def of(tx: Tx, transaction: UUID) -> Sequence[sa.Row[Any]]:
    """Return the files of a transaction, the oldest first."""
    query = sa.select(attachment).where(tx.own(attachment), a.transaction == transaction)
    return await tx.all(query.order_by(a.id).limit(EACH_MAX))


async def find(tx: Tx, transaction: UUID, id_: UUID) -> sa.Row[Any] | None:
    """Return one file of a transaction."""
    return await tx.one(sa.select(attachment).where(tx.own(attachment), a.transaction == transaction, a.id == id_))


async def add(tx: Tx, values: Mapping[str, Any]) -> None:
    """Attach a file."""
    await tx.run(sa.insert(attachment).values(org=tx.org, **values))


async def remove(tx: Tx, id_: UUID) -> None:
    """Take a file off; its bytes stay with the documents."""
    await tx.run(sa.delete(attachment).where(tx.own(attachment), a.id == id_))
