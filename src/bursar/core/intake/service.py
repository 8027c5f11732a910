"""Use cases of intake: take what was read from a document, revert it, look it up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from bursar.core.audit import service as audit
from bursar.core.intake import rules, store
from bursar.core.ledger import service as ledger
from bursar.core.notices import service as notices
from bursar.infra import jobs
from bursar.infra.arrivals import Mark
from bursar.infra.db import Tx, new_id
from bursar.infra.lake import Lake
from bursar.infra.lake_stage import Staged
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, NotFound, Problem
from bursar.kernel.lines import BANK_LINES, COST_LINES, INVOICE_DETAIL_LINES, PAYMENT_LINES, LineSchema

Batch = rules.Batch
BooksClosed = ledger.BooksClosed
BOOKED = frozenset({BANK_LINES.name, PAYMENT_LINES.name})
"""Datasets whose rows are movements of money: none of them leaves a closed period."""
FOLLOW_UPS = dict.fromkeys((*BOOKED, COST_LINES.name, INVOICE_DETAIL_LINES.name), "banking.refresh")
"""The job that an import or its reversal queues, by dataset."""
ADVISE = "findings.advise"
"""The job that looks for findings, queued by every import and reversal."""
ADVISE_AFTER = timedelta(seconds=5)
"""How long it waits for further files: a folder that arrives file by file is looked at once."""
IMPORTED = "batch.imported"
"""The event of a taken document."""
PROBLEMS_MAX = 10_000
"""Most problems of one batch that are kept, and of all that are listed at once."""
BatchState = rules.BatchState
SEEN_DOCUMENTS_MAX = 200
"""Most documents of one archive that are remembered with it; a larger archive is read again."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """One document whose bytes are stored: its hash, its name inside the delivery, its size in bytes."""

    sha256: str
    name: str
    size_bytes: int
    delivery: UUID


@dataclass(frozen=True, slots=True)
class Read:
    """What the parser's child made of a document.

    ``schema`` is None when no connector knows the format; then ``problems`` says why.
    """

    format: str
    title: str
    kind: str
    certainty: float
    schema: LineSchema | None
    staged: Staged | None
    balances: Sequence[rules.Balance]
    notes: Sequence[str]
    problems: Sequence[Problem]


async def known(tx: Tx, actor: Actor, *, sha256: str) -> Batch | None:
    """Return the batch that already holds these bytes, marked ``already``; None when they are new here."""
    actor.must("intake:import")
    found = await store.active_batch_of(tx, sha256)
    return replace(found, already=True) if found else None


async def unchanged(tx: Tx, actor: Actor, *, mark: Mark) -> list[tuple[str, Batch]]:
    """Return (SHA-256, batch marked ``already``) of what a place held when it had this mark.

    Empty unless every document in it is imported: what was refused or reverted is read again.
    """
    actor.must("intake:import")
    found = []
    for sha256 in await store.seen(tx, mark):
        batch = await store.active_batch_of(tx, sha256)
        if batch is None:
            return []
        found.append((sha256, replace(batch, already=True)))
    return found


async def remember(tx: Tx, actor: Actor, *, mark: Mark, documents: Sequence[str], now: datetime) -> None:
    """Remember which documents a place holds, to know it again by its mark; more than the limit are not remembered."""
    actor.must("intake:import")
    if len(documents) <= SEEN_DOCUMENTS_MAX:
        await store.put_seen(tx, mark, documents, now=now)


async def take(
    tx: Tx,
    actor: Actor,
    *,
    lake: Lake,
    arrived: Arrived,
    read: Read,
    options: Mapping[str, str],
    now: datetime,
) -> Batch:
    """Take one read document: document row, lines, batch and problems in the caller's transaction.

    Args:
        tx: Writing transaction.
        actor: Needs ``intake:import``.
        lake: Where the staged files go.
        arrived: The stored document.
        read: What was read from it.
        options: Answers given for the parser, kept so that the document can be read again.
        now: Instant of taking.

    Returns:
        The new batch; the existing one, marked ``already``, when another import of the same bytes was faster.
    """
    actor.must("intake:import")
    await store.lock(tx)
    again = await store.active_batch_of(tx, arrived.sha256)
    if again:
        return replace(again, already=True)
    document = await store.put_document(
        tx, sha256=arrived.sha256, name=arrived.name, size_bytes=arrived.size_bytes, now=now
    )
    batch = _described(new_id(), document, arrived, read, now)
    if read.schema and read.staged and read.staged.rows:
        mates = await store.delivered_with(tx, arrived.delivery)
        named = await store.names_of(tx, dataset=read.schema.name, format_name=read.format)
        taken = await lake.take(
            tx,
            read.schema,
            read.staged,
            batch=batch.id,
            format_name=read.format,
            siblings=mates | rules.siblings(arrived.name, named),
            now=now,
        )
        batch = replace(
            batch,
            rows_taken=taken.rows,
            rows_known=taken.known,
            rows_replaced=taken.replaced,
            totals=taken.totals,
        )
    await store.put_batch(tx, batch, delivery=arrived.delivery, options=options)
    told = {"file": batch.file, "sha256": arrived.sha256, "state": batch.state.value, "rows": batch.rows_taken}
    await audit.record(tx, actor, action="import.taken", subject=f"import:{batch.id}", now=now, after=told)
    if batch.state is BatchState.IMPORTED:
        await notices.announce(tx, type_=IMPORTED, data=_announced(batch), now=now)
        await _follow_up(tx, batch.dataset, now=now)
    return batch


async def _follow_up(tx: Tx, dataset: str, *, now: datetime) -> None:
    if job := FOLLOW_UPS.get(dataset):
        await jobs.enqueue(tx, job, key=job, once="all")
    await jobs.enqueue(tx, ADVISE, key=ADVISE, once="all", at=now + ADVISE_AFTER)


def _announced(batch: Batch) -> dict[str, Any]:
    counts = {
        "read": batch.rows_read,
        "taken": batch.rows_taken,
        "known": batch.rows_known,
        "refused": batch.rows_refused,
    }
    return {
        "import": str(batch.id),
        "file": batch.file,
        "format": batch.format,
        "dataset": batch.dataset,
        "rows": counts,
        "totals": {currency: f"{total:f}" for currency, total in batch.totals.items()},
        "ties": all(balance.ties is not False for balance in batch.balances),
    }


def _described(identifier: UUID, document: UUID, arrived: Arrived, read: Read, now: datetime) -> Batch:
    staged = read.staged
    rows = staged.rows if staged else 0
    refused = staged.rows_refused if staged else 0
    problems = (*read.problems, *(staged.problems if staged else ()))
    understood = read.schema is not None
    return Batch(
        id=identifier,
        document=document,
        file=arrived.name[-rules.NAME_CHARS_MAX :],
        format=read.format,
        title=read.title,
        dataset=read.schema.name if read.schema else "",
        kind=read.kind,
        state=BatchState.IMPORTED if understood else BatchState.REFUSED,
        certainty=read.certainty,
        rows_read=rows + refused,
        rows_taken=rows,
        rows_known=0,
        rows_refused=refused,
        rows_replaced=0,
        start=staged.start if staged else None,
        end=staged.end if staged else None,
        totals={},
        balances=tuple(read.balances),
        notes=tuple(read.notes),
        imported_at=now,
        problems=tuple(replace(problem, file=problem.file or arrived.name) for problem in problems),
    )


async def revert(
    tx: Tx, actor: Actor, *, lake: Lake, schemas: Mapping[str, LineSchema], batch: UUID, now: datetime
) -> list[UUID]:
    """Take a batch back: its lines vanish, and what it had replaced is visible again.

    Returns:
        Other imported batches that overlap it; the caller reads their documents again and calls :func:`retake`, so that
        rows they share with the reverted batch stay.

    Raises:
        NotFound: No such batch here.
        Conflict: It is not imported.
        BooksClosed: It holds movements of a closed period.
    """
    actor.must("intake:revert")
    await store.lock(tx)
    found = await store.batch(tx, batch)
    if found is None:
        raise NotFound("batch", str(batch))
    if found.state is not BatchState.IMPORTED:
        raise Conflict(f"Batch {batch} is {found.state}, so there is nothing to revert.")
    closed = await ledger.closed_through(tx) if found.dataset in BOOKED else None
    if closed and found.start and found.start <= closed and found.rows_taken:
        raise BooksClosed(closed, found.start)
    others: list[UUID] = []
    if found.dataset:
        await lake.drop_batch(tx, schemas[found.dataset], batch, now=now)
        others = [
            other.id
            for other in await store.batches(tx, limit=store.BATCHES_MAX, state=BatchState.IMPORTED)
            if other.rows_known and other.dataset == found.dataset and other.id != batch
        ]
    await store.set_reverted(tx, batch, now=now)
    await _follow_up(tx, found.dataset, now=now)
    told = {"file": found.file, "state": found.state.value, "rows": found.rows_taken}
    await audit.record(
        tx,
        actor,
        action="import.reverted",
        subject=f"import:{batch}",
        now=now,
        before=told,
        after={"state": "reverted"},
    )
    return others


async def retake(tx: Tx, actor: Actor, *, lake: Lake, batch: UUID, read: Read, now: datetime) -> None:
    """Add the rows of an imported batch that the lake lacks since another batch was reverted."""
    actor.must("intake:import")
    await store.lock(tx)
    found = await store.batch(tx, batch)
    if found is None or read.schema is None or read.staged is None:
        raise NotFound("batch", str(batch))
    taken = await lake.take(
        tx, read.schema, read.staged, batch=batch, format_name=found.format, siblings=frozenset(), now=now
    )
    totals: dict[str, Decimal] = dict(found.totals)
    for currency, amount in taken.totals.items():
        totals[currency] = totals.get(currency, Decimal(0)) + amount
    rows = found.rows_taken + taken.rows
    await _follow_up(tx, found.dataset, now=now)
    await store.count_again(tx, batch, taken=rows, known=found.rows_taken + found.rows_known - rows, totals=totals)


async def get(tx: Tx, actor: Actor, *, batch: UUID) -> Batch:
    """Return one batch; refuse with :class:`NotFound` when it is not of this organisation."""
    actor.must("intake:read")
    found = await store.batch(tx, batch)
    if found is None:
        raise NotFound("batch", str(batch))
    return found


async def history(
    tx: Tx,
    actor: Actor,
    *,
    after: tuple[datetime, UUID] | None = None,
    limit: int = 200,
    state: BatchState | None = None,
    dataset: str = "",
) -> list[Batch]:
    """Return batches (of one dataset), newest first."""
    actor.must("intake:read")
    return await store.batches(tx, after=after, limit=limit, state=state, dataset=dataset)


async def problems(tx: Tx, actor: Actor, *, batch: UUID, start: int = 0, limit: int = 200) -> list[Problem]:
    """Return the problems of a batch in file order, from number ``start``."""
    found = await get(tx, actor, batch=batch)
    return await store.problems(tx, batch, file=found.file, start=start, limit=limit)


async def all_problems(tx: Tx, actor: Actor) -> list[Problem]:
    """Return the problems of every import that stands, the newest import first, at most :data:`PROBLEMS_MAX`."""
    actor.must("intake:read")
    return await store.all_problems(tx, limit=PROBLEMS_MAX)


async def source_of(tx: Tx, actor: Actor, *, batch: UUID) -> tuple[str, str, dict[str, str]]:
    """Return (SHA-256, file name, options) of the document behind a batch."""
    actor.must("intake:read")
    found = await store.source_of(tx, batch)
    if found is None:
        raise NotFound("batch", str(batch))
    return found


async def file_names(tx: Tx, actor: Actor, *, batches: Sequence[UUID]) -> dict[UUID, str]:
    """Return the file names behind some batches (for evidence)."""
    actor.must("intake:read")
    return await store.files_of(tx, batches)


async def mapping_for(tx: Tx, actor: Actor, *, fingerprint: str) -> dict[str, Any] | None:
    """Return the mapping remembered for a table header."""
    actor.must("intake:read")
    return await store.mapping(tx, fingerprint)


async def remember_mapping(
    tx: Tx, actor: Actor, *, columns: Sequence[str], name: str, mapping: Mapping[str, Any], now: datetime
) -> str:
    """Remember how the columns of a header map to a line schema; return the header's fingerprint."""
    actor.must("intake:import")
    fingerprint = rules.header_fingerprint(columns)
    before = await store.mapping(tx, fingerprint)
    await store.put_mapping(tx, fingerprint=fingerprint, name=name, mapping_=mapping, now=now)
    await audit.record(
        tx, actor, action="mapping.kept", subject=f"mapping:{fingerprint}", now=now, before=before, after=dict(mapping)
    )
    return fingerprint
