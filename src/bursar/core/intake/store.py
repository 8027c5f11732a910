"""All SQL of intake."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.core.intake import rules, tables
from bursar.infra.arrivals import Mark
from bursar.infra.db import Tx, new_id
from bursar.kernel.errors import Problem

BATCHES_MAX = 20_000
"""Most batches looked at together."""

_b = tables.batch.c


LOCK_WAIT_S = 25
"""How long an import waits for one of another process: a document of millions of lines is taken in less."""


async def lock(tx: Tx) -> None:
    """Let one import at a time decide what is new in this organisation (held to the end of the transaction)."""
    number = int.from_bytes(hashlib.sha256(f"intake/{tx.org}".encode()).digest()[:8], signed=True)
    usual = await tx.scalar("select current_setting('lock_timeout')")
    await tx.run("select set_config('lock_timeout', :wait, true)", {"wait": f"{LOCK_WAIT_S}s"})
    await tx.run(sa.text("select pg_advisory_xact_lock(:number)"), {"number": number})
    await tx.run("select set_config('lock_timeout', :usual, true)", {"usual": usual})


async def put_document(tx: Tx, *, sha256: str, name: str, size_bytes: int, now: datetime) -> UUID:
    """Record a document; return its id, the existing one when the bytes are known."""
    insert = (
        pg.insert(tables.document)
        .values(org=tx.org, id=new_id(), sha256=sha256, name=name, size_bytes=size_bytes, received_at=now)
        .on_conflict_do_nothing(constraint="intake_document_sha256_key")
    )
    await tx.run(insert)
    found: UUID = await tx.scalar(
        sa.select(tables.document.c.id).where(tx.own(tables.document), tables.document.c.sha256 == sha256)
    )
    return found


def _batch_from(row: Any) -> rules.Batch:
    return rules.Batch(
        id=row.id,
        document=row.document,
        file=row.file,
        format=row.format,
        title=row.title,
        dataset=row.dataset,
        kind=row.kind,
        state=rules.BatchState(row.state),
        certainty=row.certainty,
        rows_read=row.rows_read,
        rows_taken=row.rows_taken,
        rows_known=row.rows_known,
        rows_refused=row.rows_refused,
        rows_replaced=row.rows_replaced,
        start=row.start_day,
        end=row.end_day,
        totals={currency: Decimal(total) for currency, total in row.totals.items()},
        balances=tuple(rules.Balance.from_json(raw) for raw in row.balances),
        notes=tuple(row.notes),
        imported_at=row.imported_at,
    )


async def active_batch_of(tx: Tx, sha256: str) -> rules.Batch | None:
    """Return the batch that holds the document with this hash, if it is imported."""
    row = await tx.one(
        sa.select(tables.batch)
        .join(
            tables.document,
            sa.and_(tables.document.c.org == _b.org, tables.document.c.id == _b.document),
        )
        .where(tx.own(tables.batch), tables.document.c.sha256 == sha256, _b.state == rules.BatchState.IMPORTED)
        .limit(1)
    )
    return _batch_from(row) if row else None


async def batch(tx: Tx, identifier: UUID) -> rules.Batch | None:
    """Return one batch, or None."""
    row = await tx.one(sa.select(tables.batch).where(tx.own(tables.batch), _b.id == identifier))
    return _batch_from(row) if row else None


async def batches(
    tx: Tx,
    *,
    after: tuple[datetime, UUID] | None = None,
    limit: int = 200,
    state: rules.BatchState | None = None,
    dataset: str = "",
) -> list[rules.Batch]:
    """Return batches (of one dataset), newest first, from the one before ``after``."""
    where = [tx.own(tables.batch)]
    if dataset:
        where.append(_b.dataset == dataset)
    if state is not None:
        where.append(_b.state == state)
    if after is not None:
        where.append(sa.tuple_(_b.imported_at, _b.id) < sa.tuple_(sa.literal(after[0]), sa.literal(after[1])))
    rows = await tx.all(
        sa.select(tables.batch).where(*where).order_by(_b.imported_at.desc(), _b.id.desc()).limit(limit)
    )
    return [_batch_from(row) for row in rows]


async def names_of(tx: Tx, *, dataset: str, format_name: str) -> list[tuple[UUID, str]]:
    """Return (batch, file name) of the imported batches of one dataset and format."""
    rows = await tx.all(
        sa.select(_b.id, _b.file)
        .where(
            tx.own(tables.batch),
            _b.dataset == dataset,
            _b.format == format_name,
            _b.state == rules.BatchState.IMPORTED,
        )
        .limit(BATCHES_MAX)
    )
    return [(row.id, row.file) for row in rows]


async def delivered_with(tx: Tx, delivery: UUID) -> frozenset[UUID]:
    """Return the batches of one delivery."""
    rows = await tx.all(sa.select(_b.id).where(tx.own(tables.batch), _b.delivery == delivery).limit(BATCHES_MAX))
    return frozenset(row.id for row in rows)


async def put_batch(tx: Tx, batch_: rules.Batch, *, delivery: UUID, options: Mapping[str, str]) -> None:
    """Insert a batch and its problems."""
    await tx.run(
        sa.insert(tables.batch).values(
            org=tx.org,
            id=batch_.id,
            document=batch_.document,
            delivery=delivery,
            file=batch_.file,
            format=batch_.format,
            title=batch_.title,
            dataset=batch_.dataset,
            kind=batch_.kind,
            state=batch_.state.value,
            certainty=batch_.certainty,
            rows_read=batch_.rows_read,
            rows_taken=batch_.rows_taken,
            rows_known=batch_.rows_known,
            rows_refused=batch_.rows_refused,
            rows_replaced=batch_.rows_replaced,
            start_day=batch_.start,
            end_day=batch_.end,
            totals={currency: str(total) for currency, total in batch_.totals.items()},
            balances=[balance.to_json() for balance in batch_.balances],
            notes=list(batch_.notes),
            options=dict(options),
            imported_at=batch_.imported_at,
        )
    )
    if batch_.problems:
        await tx.copy(
            tables.problem,
            ("org", "batch", "seq", "row", "column", "what", "fix"),
            [
                (tx.org, batch_.id, seq, found.row, found.column, found.what, found.fix)
                for seq, found in enumerate(batch_.problems)
            ],
        )


async def problems(tx: Tx, batch_id: UUID, *, file: str, start: int = 0, limit: int = 200) -> list[Problem]:
    """Return problems of a batch in file order, from number ``start``."""
    t = tables.problem.c
    rows = await tx.all(
        sa.select(t.row, t.column, t.what, t.fix)
        .where(tx.own(tables.problem), t.batch == batch_id, t.seq >= start)
        .order_by(t.seq)
        .limit(limit)
    )
    return [Problem(what=row.what, fix=row.fix, file=file, row=row.row, column=row.column) for row in rows]


async def all_problems(tx: Tx, *, limit: int) -> list[Problem]:
    """Return the problems of every batch that stands, newest batch first, in file order."""
    t = tables.problem.c
    rows = await tx.all(
        sa.select(_b.file, t.row, t.column, t.what, t.fix)
        .select_from(tables.problem.join(tables.batch, sa.and_(_b.org == t.org, _b.id == t.batch)))
        .where(tx.own(tables.problem), _b.state != rules.BatchState.REVERTED.value)
        .order_by(_b.imported_at.desc(), _b.id.desc(), t.seq)
        .limit(limit)
    )
    return [Problem(what=row.what, fix=row.fix, file=row.file, row=row.row, column=row.column) for row in rows]


async def set_reverted(tx: Tx, batch_id: UUID, *, now: datetime) -> None:
    """Mark a batch reverted."""
    await tx.run(
        sa.update(tables.batch)
        .where(tx.own(tables.batch), _b.id == batch_id)
        .values(state=rules.BatchState.REVERTED.value, reverted_at=now)
    )


async def count_again(tx: Tx, batch_id: UUID, *, taken: int, known: int, totals: Mapping[str, Decimal]) -> None:
    """Correct rows taken and known of a batch after another batch was reverted."""
    await tx.run(
        sa.update(tables.batch)
        .where(tx.own(tables.batch), _b.id == batch_id)
        .values(rows_taken=taken, rows_known=known, totals={name: str(total) for name, total in totals.items()})
    )


async def source_of(tx: Tx, batch_id: UUID) -> tuple[str, str, dict[str, str]] | None:
    """Return (SHA-256, file name, options) of a batch's document."""
    row = await tx.one(
        sa.select(tables.document.c.sha256, _b.file, _b.options)
        .join(tables.document, sa.and_(tables.document.c.org == _b.org, tables.document.c.id == _b.document))
        .where(tx.own(tables.batch), _b.id == batch_id)
    )
    return (row.sha256, row.file, dict(row.options)) if row else None


async def files_of(tx: Tx, batch_ids: Sequence[UUID]) -> dict[UUID, str]:
    """Return the file names of some batches."""
    rows = await tx.all(
        sa.select(_b.id, _b.file).where(tx.own(tables.batch), _b.id.in_(list(batch_ids))).limit(BATCHES_MAX)
    )
    return {row.id: row.file for row in rows}


async def mapping(tx: Tx, fingerprint: str) -> dict[str, Any] | None:
    """Return the remembered column mapping of a header, or None."""
    found = await tx.scalar(
        sa.select(tables.mapping.c.mapping).where(tx.own(tables.mapping), tables.mapping.c.fingerprint == fingerprint)
    )
    return None if found is None else dict(found)


async def put_mapping(tx: Tx, *, fingerprint: str, name: str, mapping_: Mapping[str, Any], now: datetime) -> None:
    """Remember a column mapping for a header; the newest wins."""
    values = {"name": name, "mapping": dict(mapping_), "updated_at": now}
    await tx.run(
        pg.insert(tables.mapping)
        .values(org=tx.org, fingerprint=fingerprint, **values)
        .on_conflict_do_update(index_elements=["org", "fingerprint"], set_=values)
    )


async def seen(tx: Tx, mark: Mark) -> list[str]:
    """Return the documents (SHA-256) that a place held when it last had this mark; empty when it never had."""
    t = tables.seen.c
    found = await tx.scalar(
        sa.select(t.documents).where(tx.own(tables.seen), t.place == mark.place, t.mark == mark.text)
    )
    return list(found or ())


async def put_seen(tx: Tx, mark: Mark, documents: Sequence[str], *, now: datetime) -> None:
    """Remember what a place holds; the newest mark of a place wins."""
    values = {"mark": mark.text, "documents": list(documents), "seen_at": now}
    await tx.run(
        pg.insert(tables.seen)
        .values(org=tx.org, place=mark.place, **values)
        .on_conflict_do_update(index_elements=["org", "place"], set_=values)
    )
