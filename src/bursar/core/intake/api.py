"""Imports over HTTP."""

import tempfile
from collections.abc import AsyncIterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated
from uuid import UUID

from fastapi import Query, Request
from pydantic import Field
from starlette.responses import StreamingResponse

from bursar.core.intake import service
from bursar.core.intake.jobs import Buckets
from bursar.core.intake.service import Batch, BatchState
from bursar.infra.clock import utc_now
from bursar.infra.jobs import enqueue
from bursar.infra.traces import Tracer
from bursar.infra.web import As, In, Listed, Out, Page, Router, TheDb, TracedOut, Traces, router
from bursar.kernel.cells import harmless
from bursar.kernel.errors import Conflict, Invalid
from bursar.kernel.errors import Problem as ImportProblem

NAME_CHARS_MAX = 200


class BalanceOut(Out):
    """Whether a statement's opening balance plus its rows equals its closing balance; null where it cannot be told."""

    account: str
    ties: bool | None
    off: TracedOut | None


class BatchOut(Out):
    """What one document brought: rows read = taken + known + refused, and exact totals of the rows taken."""

    id: UUID
    file: str
    format: str
    title: str
    state: BatchState
    already: bool
    certainty: float
    rows_read: int
    rows_taken: int
    rows_known: int
    rows_refused: int
    rows_replaced: int
    start: date | None
    end: date | None
    totals: list[TracedOut]
    balances: list[BalanceOut]
    notes: list[str]
    imported_at: datetime


class ProblemRowOut(Out):
    """One thing that could not be read: file, row, column, what, fix."""

    file: str
    row: int | None
    column: str
    what: str
    fix: str


def out(batch: Batch, traces: Tracer) -> BatchOut:
    """Translate a batch for the wire."""

    def told(amount: Decimal, currency: str, part: str, account: str = "") -> TracedOut:
        facts = (("batch", str(batch.id)), ("account", account))
        return TracedOut.exactly(amount, currency, traces.asked("import", part, currency, facts))

    return BatchOut(
        id=batch.id,
        file=batch.file,
        format=batch.format,
        title=batch.title,
        state=batch.state,
        already=batch.already,
        certainty=batch.certainty,
        rows_read=batch.rows_read,
        rows_taken=batch.rows_taken,
        rows_known=batch.rows_known,
        rows_refused=batch.rows_refused,
        rows_replaced=batch.rows_replaced,
        start=batch.start,
        end=batch.end,
        totals=[told(amount, currency, "total") for currency, amount in batch.totals.items()],
        balances=[
            BalanceOut(
                account=balance.account,
                ties=balance.ties,
                off=None if balance.off is None else told(balance.off, balance.currency, "off", balance.account),
            )
            for balance in batch.balances
        ],
        notes=list(batch.notes),
        imported_at=batch.imported_at,
    )


def _problem(problem: ImportProblem) -> ProblemRowOut:
    return ProblemRowOut(file=problem.file, row=problem.row, column=problem.column, what=problem.what, fix=problem.fix)


class PlaceIn(In):
    """A place in a bucket."""

    url: Annotated[
        str,
        Field(
            pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?$",
            max_length=1100,
            examples=["s3://bills/2026-03"],
            description="One object, or a folder of them.",
        ),
    ]


class QueuedOut(Out):
    """The job that does the work; `/v1/jobs/{id}` tells how far it is."""

    job: UUID


def routes(buckets: Buckets, *, upload_bytes_max: int) -> Router:
    """Return the routes of intake.

    Args:
        buckets: The tools of importing, and which buckets may be imported from.
        upload_bytes_max: Largest upload, in bytes.
    """
    importer = buckets.importer
    r = router("intake", tag="Imports", about="Documents in: recognised by content, taken exactly, revertible.")

    @r.post("/v1/imports", right="intake:import", status_code=201, body_bytes_max=upload_bytes_max, once="never")
    async def import_document(
        request: Request,
        actor: As,
        traces: Traces,
        name: Annotated[str, Query(max_length=NAME_CHARS_MAX, pattern=r"^[^/\x00\\]+$", description="File name.")],
        format_: Annotated[str, Query(alias="format", max_length=40, description="Force a format by its id.")] = "",
    ) -> list[BatchOut]:
        """Import the file in the request body (any media type); an archive gives one batch for each document.

        The same bytes again change nothing: the existing batch is returned with `already`.
        """
        options = {"format": format_} if format_ else {}
        importer.scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=importer.scratch) as folder:
            path = Path(folder) / name
            with path.open("wb") as file:
                async for chunk in request.stream():
                    file.write(chunk)
            if path.stat().st_size == 0:
                raise Invalid("The body is empty.", "Send the file as the request body.")
            done = importer.import_paths(actor, [path], clock=utc_now, options=options)
            return [out(batch, traces) async for batch in done]

    @r.post("/v1/imports/objects", right="intake:import", status_code=202)
    async def import_objects(body: PlaceIn, db: TheDb, actor: As) -> QueuedOut:
        """Import an object of a bucket or all below a prefix, as a job; the operator names the prefixes that may be.

        Objects that are unchanged since their last import are not fetched again.
        """
        buckets.check(actor, body.url)
        async with db.writing(actor) as tx:
            return QueuedOut(job=await enqueue(tx, "intake.objects", {"url": body.url}, key="intake.objects"))

    @r.delete("/v1/imports/{batch}", right="intake:revert", refusals=[Conflict, service.BooksClosed])
    async def revert_import(batch: UUID, actor: As, traces: Traces) -> BatchOut:
        """Take an import back: its rows vanish, what it replaced returns, what others also said stays."""
        return out(await importer.revert(actor, batch, clock=utc_now), traces)

    _add_reading(r)
    _add_csv(r)
    return r


def _add_reading(r: Router) -> None:
    """Declare the routes that read."""

    @r.get("/v1/imports", right="intake:read")
    async def list_imports(
        db: TheDb,
        actor: As,
        page: Page,
        traces: Traces,
        state: Annotated[BatchState | None, Query(description="Only imports in this state.")] = None,
    ) -> Listed[BatchOut]:
        """List imports, newest first."""
        after = (page.after[0], page.after[1]) if page.after else None
        async with db.reading(actor) as tx:
            found = await service.history(tx, actor, after=after, limit=page.limit + 1, state=state)
        return page.listed(found, key=lambda batch: (batch.imported_at, batch.id), out=lambda batch: out(batch, traces))

    @r.get("/v1/imports/{batch}", right="intake:read")
    async def get_import(batch: UUID, db: TheDb, actor: As, traces: Traces) -> BatchOut:
        """Show one import."""
        async with db.reading(actor) as tx:
            return out(await service.get(tx, actor, batch=batch), traces)

    @r.get("/v1/imports/{batch}/problems", right="intake:read")
    async def list_problems(batch: UUID, db: TheDb, actor: As, page: Page) -> Listed[ProblemRowOut]:
        """List what could not be read in one import, in file order."""
        start = int(page.after[0]) if page.after else 0
        async with db.reading(actor) as tx:
            found = await service.problems(tx, actor, batch=batch, start=start, limit=page.limit + 1)
        numbered = list(enumerate(found, start + 1))
        return page.listed(numbered, key=lambda pair: (pair[0],), out=lambda pair: _problem(pair[1]))


def _add_csv(r: Router) -> None:
    """Declare the CSV form of problems."""

    @r.get(
        "/v1/imports/{batch}/problems.csv",
        right="intake:read",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "RFC 4180 CSV."}},
    )
    async def download_problems(batch: UUID, db: TheDb, actor: As) -> StreamingResponse:
        """Download every problem of one import as CSV; formulas are made harmless."""
        async with db.reading(actor) as tx:
            found = await service.problems(tx, actor, batch=batch, limit=service.PROBLEMS_MAX)

        async def lines() -> AsyncIterator[str]:
            yield "file,row,column,what,fix\r\n"
            for problem in found:
                cells = (problem.file, str(problem.row or ""), problem.column, problem.what, problem.fix)
                yield ",".join(csv_cell(cell) for cell in cells) + "\r\n"

        return StreamingResponse(lines(), media_type="text/csv; charset=utf-8")


def csv_cell(text: str) -> str:
    """Return one quoted CSV cell that no spreadsheet runs as a formula."""
    return '"' + harmless(text).replace('"', '""') + '"'
