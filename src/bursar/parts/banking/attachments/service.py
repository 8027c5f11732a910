"""Use cases of attachments: attach, list, open, take off."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from bursar.core.audit import service as audit
from bursar.infra.db import Tx, new_id
from bursar.infra.files import Stored
from bursar.kernel.actor import Actor
from bursar.kernel.errors import NotFound, TooLarge
from bursar.parts.banking.attachments import rules, store
from bursar.parts.banking.transactions import service as transactions
from bursar.parts.banking.transactions import store as rows_store


async def attach(
    tx: Tx, actor: Actor, *, transaction: UUID, stored: Stored, head: bytes, name: str, now: datetime
) -> sa.Row[Any]:
    """Attach a stored file; the same bytes again are the same attachment.

    Args:
        tx: Writing transaction.
        actor: Needs ``transaction:write``.
        transaction: Which transaction.
        stored: The stored bytes.
        head: Their beginning, at least 4 KiB where there are as many: it tells the kind.
        name: As people call the file.
        now: Instant, aware.

    Raises:
        NotFound: There is no such transaction.
        Invalid: The kind or the name is not taken.
        TooLarge: It has 20 files.
    """
    actor.must("transaction:write")
    kind, plain = rules.kind_of(head[: rules.HEAD_BYTES]), rules.check_name(name)
    if await rows_store.one(tx, transaction) is None:
        raise NotFound("transaction", str(transaction))
    there = await store.of(tx, transaction)
    for row in there:
        if row.sha256 == stored.digest:
            return row
    if len(there) >= rules.EACH_MAX:
        raise TooLarge("The number of files of a transaction", rules.EACH_MAX, "files")
    id_ = new_id()
    facts = {"sha256": stored.digest, "name": plain, "kind": kind, "size_bytes": stored.size}
    await store.add(tx, {"id": id_, "transaction": transaction, **facts, "added_at": now, "added_by": actor.name})
    await audit.record(
        tx, actor, action="transaction.attached", subject=f"transaction:{transaction}", now=now, after=facts
    )
    return await _found(tx, transaction, id_)


async def listed(tx: Tx, actor: Actor, *, transaction: UUID) -> Sequence[sa.Row[Any]]:
    """Return the files of a transaction.

    Raises:
        NotFound: There is no such transaction.
    """
    await transactions.get(tx, actor, id_=transaction)
    return await store.of(tx, transaction)


async def get(tx: Tx, actor: Actor, *, transaction: UUID, id_: UUID) -> sa.Row[Any]:
    """Return one file of a transaction.

    Raises:
        NotFound: There is none.
    """
    actor.must("transaction:read")
    return await _found(tx, transaction, id_)


async def _found(tx: Tx, transaction: UUID, id_: UUID) -> sa.Row[Any]:
    row = await store.find(tx, transaction, id_)
    if row is None:
        raise NotFound("attachment", str(id_))
    return row


async def remove(tx: Tx, actor: Actor, *, transaction: UUID, id_: UUID, now: datetime) -> None:
    """Take a file off a transaction.

    Raises:
        NotFound: There is none.
        PeriodClosed: The transaction lies in a closed period.
    """
    actor.must("transaction:write")
    await transactions.changeable(tx, id_=transaction)
    row = await _found(tx, transaction, id_)
    await store.remove(tx, id_)
    told = {"sha256": row.sha256, "name": row.name}
    await audit.record(
        tx, actor, action="transaction.detached", subject=f"transaction:{transaction}", now=now, before=told
    )
