"""Transactions over HTTP: derive, search, annotate, split, close a period."""

from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import polars as pl
import sqlalchemy as sa
from fastapi import Depends, Query
from fastapi.responses import FileResponse
from pydantic import Field

from bursar.infra.clock import utc_now
from bursar.infra.db import Tx
from bursar.infra.lake import Lake
from bursar.infra.paging import Paging
from bursar.infra.traces import Tracer
from bursar.infra.web import As, Day, In, Listed, Match, Out, Page, Router, TheDb, TracedOut, Traces, router
from bursar.infra.web_exports import EXPORTS, PAGE_ROWS, Form, export
from bursar.kernel.actor import Actor
from bursar.kernel.errors import TooLarge
from bursar.kernel.money import plainly
from bursar.kernel.trace import TransactionFigure
from bursar.parts.banking.transactions import service
from bursar.parts.banking.transactions.rules import (
    CATEGORY_CHARS_MAX,
    NOTE_CHARS_MAX,
    SPLITS_MAX,
    TAG_CHARS_MAX,
    TAGS_MAX,
    Part,
    size_of,
)
from bursar.parts.banking.transactions.service import Filter

_Amount = Annotated[str, Field(pattern=r"^-?[0-9]{1,18}(\.[0-9]{1,15})?$", max_length=36, examples=["-19.99"])]
_Name = Annotated[str, Field(max_length=CATEGORY_CHARS_MAX)]
_Size = Annotated[str | None, Query(pattern=r"^[0-9]{1,15}(\.[0-9]{1,2})?$", description="Absolute amount.")]


class TransactionOut(Out):
    """A bank movement or payment; money out is negative."""

    id: UUID
    account: str
    booking_date: date
    value_date: date | None
    amount: TracedOut
    status: str
    label: Annotated[str, Field(description="The counterparty as written.")]
    description: str
    reference: str
    counterparty_account: str
    party: UUID | None
    department: str
    note: str
    tags: list[str]
    category: Annotated[str | None, Field(description="What it was for; null while nobody knows.")]
    state: Annotated[str, Field(description="open, suggested, automatic or confirmed.")]
    stage: Annotated[
        str,
        Field(
            description="Who says so: source, person, transfer, commitment, recurring, counterparty, rule, model, language."
        ),
    ]
    score: float | None
    evidence: dict[str, Any]
    late: Annotated[bool, Field(description="It arrived after its period was closed.")]
    batch: UUID
    row: Annotated[int, Field(description="Line of the imported file.")]


class PartIn(In):
    """One part of a split; its sign is that of the whole."""

    amount: _Amount
    category: Annotated[_Name, Field(min_length=1)]
    department: _Name = ""
    note: Annotated[str, Field(max_length=NOTE_CHARS_MAX)] = ""


class PartOut(Out):
    """One part of a split."""

    amount: TracedOut
    category: str
    department: str
    note: str


class WholeOut(TransactionOut):
    """A transaction with its parts."""

    parts: list[PartOut]


class AnnotateIn(In):
    """What to set; what is left out stays."""

    note: Annotated[str | None, Field(max_length=NOTE_CHARS_MAX)] = None
    tags: Annotated[list[Annotated[str, Field(max_length=TAG_CHARS_MAX)]] | None, Field(max_length=TAGS_MAX)] = None
    department: _Name | None = None


class SplitIn(In):
    """The parts; none removes the split."""

    parts: Annotated[list[PartIn], Field(max_length=SPLITS_MAX)]


class DerivedOut(Out):
    """What deriving changed."""

    added: int
    gone: int
    back: int
    months: int


class UntilIn(In):
    """The first day that stays open."""

    until: Day


class ClosedOut(Out):
    """How far the books are closed."""

    until: Annotated[date | None, Field(description="Everything booked before this day is closed.")]
    undecided: Annotated[int, Field(description="Transactions in it that nobody decided on, counted when closing.")] = 0


class AccountOut(Out):
    """An own account."""

    account: str
    first_day: date
    last_day: date


def transaction_out(row: sa.Row[Any], traces: Tracer) -> TransactionOut:
    """Translate a transaction for the wire."""
    return TransactionOut(**_fields(row, traces))


def _fields(row: sa.Row[Any], traces: Tracer) -> dict[str, Any]:
    plain = [name for name in TransactionOut.model_fields if name != "amount"]
    trace = traces.token(TransactionFigure(row.id))
    return {name: getattr(row, name) for name in plain} | {"amount": TracedOut.exactly(row.amount, row.currency, trace)}


r = router(
    "transactions", tag="Transactions", about="Bank movements and payments: search, notes, splits, closed periods."
)


async def _asked(
    q: Annotated[str, Query(max_length=200, description="Words that must all occur; `offi*` for a beginning.")] = "",
    account: Annotated[str, Query(max_length=100)] = "",
    since: Annotated[Day | None, Query(description="First day.")] = None,
    until: Annotated[Day | None, Query(description="First day that is left out.")] = None,
    least: _Size = None,
    most: _Size = None,
    currency: Annotated[str, Query(pattern="^([A-Z]{3})?$")] = "",
    state: Annotated[str, Query(pattern="^(open|suggested|automatic|confirmed)?$")] = "",
    category: Annotated[str, Query(max_length=CATEGORY_CHARS_MAX)] = "",
    department: Annotated[str, Query(max_length=CATEGORY_CHARS_MAX)] = "",
    party: UUID | None = None,
    tag: Annotated[str, Query(max_length=TAG_CHARS_MAX)] = "",
) -> tuple[str, Filter]:
    return q, Filter(
        (), account, since, until, size_of(Decimal(least)) if least else None, size_of(Decimal(most)) if most else None,
        currency, state, category, department, party, tag,
    )  # fmt: skip


Asked = Annotated[tuple[str, Filter], Depends(_asked)]
"""Handler parameter: words and filters of a search."""


@r.get("/v1/transactions", right="transaction:read")
async def list_transactions(db: TheDb, actor: As, page: Page, traces: Traces, asked: Asked) -> Listed[TransactionOut]:
    """Search transactions, the newest first."""
    words, wanted = asked
    async with db.reading(actor) as tx:
        found = await service.find(tx, actor, query=words, wanted=wanted)
        rows = await tx.all(found.page(tx, page))
    return page.listed(rows, key=lambda row: (row.booking_date, row.id), out=lambda row: transaction_out(row, traces))


EXPORTED: dict[str, pl.DataType] = {
    "id": pl.String(), "account": pl.String(), "booking_date": pl.Date(), "value_date": pl.Date(), "amount": pl.Decimal(38, 15),
    "currency": pl.String(), "status": pl.String(), "label": pl.String(), "description": pl.String(), "reference": pl.String(),
    "counterparty_account": pl.String(), "party": pl.String(), "department": pl.String(), "note": pl.String(),
    "tags": pl.List(pl.String()), "category": pl.String(), "state": pl.String(), "batch": pl.String(), "row": pl.Int64(),
}  # fmt: skip
"""Columns of the export; ``batch`` and ``row`` name the line of the imported file."""


@r.get(
    "/v1/transactions/export",
    right="transaction:read",
    response_class=FileResponse,
    responses=EXPORTS,
    refusals=[TooLarge],
)
async def export_transactions(db: TheDb, actor: As, asked: Asked, form: Form = "csv") -> FileResponse:
    """Export every transaction that a search finds, the newest first; formulas in CSV are made harmless."""
    words, wanted = asked
    async with db.reading(actor) as tx:
        return await export("transactions", EXPORTED, exported(tx, actor, words, wanted), form)


async def exported(tx: Tx, actor: Actor, words: str, wanted: Filter) -> AsyncIterator[list[list[Any]]]:
    """Yield every transaction that a search finds as the columns of :data:`EXPORTED`, a page at a time."""
    found = await service.find(tx, actor, query=words, wanted=wanted)
    at = Paging(PAGE_ROWS)
    while True:
        rows = await tx.all(found.page(tx, at))
        page = rows[:PAGE_ROWS]
        yield [[_exported(row, name) for name in EXPORTED] for row in page]
        if len(rows) <= PAGE_ROWS:
            return
        at = Paging(PAGE_ROWS, (page[-1].booking_date, page[-1].id))


def _exported(row: sa.Row[Any], name: str) -> Any:
    value = getattr(row, name)
    if name == "amount":
        return Decimal(plainly(value, row.currency))
    return str(value) if isinstance(value, UUID) else value


@r.get("/v1/transactions/{id}", right="transaction:read")
async def get_transaction(
    id: UUID,  # noqa: A002  the path's word
    db: TheDb,
    actor: As,
    match: Match,
    traces: Traces,
) -> WholeOut:
    """Show a transaction with its parts and the evidence of its category."""
    async with db.reading(actor) as tx:
        whole = await service.get(tx, actor, id_=id)
    match.tag(whole.row.version)
    parts = [
        PartOut(
            amount=TracedOut.exactly(part.amount, whole.row.currency, traces.token(TransactionFigure(id, place))),
            category=part.category,
            department=part.department,
            note=part.note,
        )
        for place, part in enumerate(whole.parts, 1)
    ]
    return WholeOut(**_fields(whole.row, traces), parts=parts)


@r.patch("/v1/transactions/{id}", right="transaction:write", edited=True, status_code=204)
async def annotate(
    id: UUID,  # noqa: A002  the path's word
    body: AnnotateIn,
    db: TheDb,
    actor: As,
    match: Match,
) -> None:
    """Set note, tags or department."""
    async with db.writing(actor) as tx:
        version = (await service.get(tx, actor, id_=id)).row.version
        match.must(version)
        await service.annotate(
            tx,
            actor,
            id_=id,
            version=version,
            now=utc_now(),
            note=body.note,
            tags=body.tags,
            department=body.department,
        )


@r.put("/v1/transactions/{id}/parts", right="transaction:write", edited=True, status_code=204)
async def split(
    id: UUID,  # noqa: A002  the path's word
    body: SplitIn,
    db: TheDb,
    actor: As,
    match: Match,
) -> None:
    """Split a transaction into parts that sum to it exactly."""
    parts = [Part(Decimal(part.amount), part.category, part.department, part.note) for part in body.parts]
    async with db.writing(actor) as tx:
        version = (await service.get(tx, actor, id_=id)).row.version
        match.must(version)
        await service.split(tx, actor, id_=id, version=version, parts=parts, now=utc_now())


@r.get("/v1/bank/accounts", right="bank:read")
async def list_accounts(db: TheDb, actor: As) -> list[AccountOut]:
    """List own accounts, as statements name them."""
    async with db.reading(actor) as tx:
        rows = await service.accounts(tx, actor)
    return [AccountOut(account=row.account, first_day=row.first_day, last_day=row.last_day) for row in rows]


@r.get("/v1/bank/closing", right="transaction:read")
async def closed(db: TheDb, actor: As) -> ClosedOut:
    """Tell how far the books are closed."""
    async with db.reading(actor) as tx:
        return ClosedOut(until=await service.closed_until(tx, actor))


@r.post("/v1/bank/closing/close", right="ledger:close")
async def close(body: UntilIn, db: TheDb, actor: As) -> ClosedOut:
    """Close everything booked before a day."""
    async with db.writing(actor) as tx:
        undecided = await service.close(tx, actor, until=body.until, now=utc_now())
    return ClosedOut(until=body.until, undecided=undecided)


@r.post("/v1/bank/closing/reopen", right="ledger:reopen")
async def reopen(body: UntilIn, db: TheDb, actor: As) -> ClosedOut:
    """Reopen everything booked from a day on."""
    async with db.writing(actor) as tx:
        await service.reopen(tx, actor, until=body.until, now=utc_now())
    return ClosedOut(until=body.until)


def routes(lake: Lake) -> Router:
    """Return the route that derives from a lake; the others are :data:`r`."""
    made = router("transactions_derive", tag="Transactions", about="Bring transactions in line with what was imported.")

    @made.post("/v1/transactions/derive", right="transaction:write")
    async def derive(db: TheDb, actor: As) -> DerivedOut:
        """Bring transactions in line with the imported statements; doing it twice changes nothing."""
        async with db.writing(actor) as tx:
            done = await service.derive(tx, actor, lake=lake, now=utc_now())
        return DerivedOut(added=done.added, gone=done.gone, back=done.back, months=done.months)

    return made
