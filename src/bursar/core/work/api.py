"""Jobs over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Response

from bursar.core.work import service
from bursar.core.work.service import Run, State
from bursar.infra.clock import utc_now
from bursar.infra.db import Database
from bursar.infra.web import (
    EVENT_STREAM,
    As,
    Event,
    LastEventId,
    Listed,
    Out,
    Page,
    TheDb,
    event_stream,
    router,
)
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, Invalid

POLL_S = 0.5
"""How often a followed job is looked at."""

r = router("work", tag="Jobs", about="Work in the background: imports, refreshes, deliveries.")


class ProgressOut(Out):
    """How far a running job is."""

    done: int
    total: int | None
    note: str


class JobOut(Out):
    """One job."""

    id: UUID
    name: str
    state: State
    attempts: int
    enqueued_at: datetime
    enqueued_by: str
    not_before: datetime | None
    done_at: datetime | None
    progress: ProgressOut | None
    error: str | None
    result: Any


def _out(run: Run) -> JobOut:
    progress = ProgressOut(**run.progress) if run.progress else None
    facts = {name: getattr(run, name) for name in JobOut.model_fields if name != "progress"}
    return JobOut(**facts, progress=progress)


@r.get("/v1/jobs", right="job:read")
async def list_jobs(
    db: TheDb,
    actor: As,
    page: Page,
    state: Annotated[State | None, Query(description="Only jobs in this state; `dead` are those that gave up.")] = None,
    name: Annotated[str | None, Query(max_length=100, description="Only jobs of this name.")] = None,
) -> Listed[JobOut]:
    """List jobs, the newest first."""
    after = page.after[0] if page.after else None
    async with db.reading(actor) as tx:
        runs = await service.listing(tx, actor, state=state, name=name, limit=page.limit + 1, after=after)
    return page.listed(runs, key=lambda run: (run.id,), out=_out)


@r.get("/v1/jobs/{id}", right="job:read")
async def get_job(id: UUID, db: TheDb, actor: As) -> JobOut:  # noqa: A002  the name in the path
    """Show one job with its latest progress."""
    async with db.reading(actor) as tx:
        return _out(await service.get(tx, actor, id_=id))


@r.post("/v1/jobs/{id}/retry", right="job:write", refusals=[Conflict])
async def retry_job(id: UUID, db: TheDb, actor: As) -> JobOut:  # noqa: A002
    """Try a dead or cancelled job again, with all its attempts."""
    async with db.writing(actor) as tx:
        return _out(await service.retry(tx, actor, id_=id, now=utc_now()))


@r.post("/v1/jobs/{id}/cancel", right="job:write", refusals=[Conflict])
async def cancel_job(id: UUID, db: TheDb, actor: As) -> JobOut:  # noqa: A002
    """Cancel a waiting job, or ask a running one to stop."""
    async with db.writing(actor) as tx:
        return _out(await service.cancel(tx, actor, id_=id, now=utc_now()))


@r.get("/v1/jobs/{id}/events", right="job:read", stream=True, responses=EVENT_STREAM, response_class=Response)
async def follow_job(id: UUID, db: TheDb, actor: As, last: LastEventId) -> Response:  # noqa: A002
    """Follow a job: one event for each thing that happens, and `end` once nothing more will.

    Send `Last-Event-ID` to go on where you were.
    """
    if last is not None and not (last.isascii() and last.isdigit() and len(last) < 10):
        raise Invalid("Last-Event-ID is not an id of this stream.", fix="Send the id of the last event received.")
    async with db.reading(actor) as tx:
        await service.get(tx, actor, id_=id)
    return event_stream(_events(db, actor, id, int(last or 0)))


async def _events(db: Database, actor: Actor, id_: UUID, after: int) -> AsyncIterator[Event]:
    """Yield events after number ``after`` until the job has ended; no transaction is held between looks."""
    while True:
        async with db.reading(actor) as tx:
            found, ended = await service.happened(tx, actor, id_=id_, after=after)
        for each in found:
            after = each.seq
            yield Event(str(after), {"at": each.at.isoformat(), **each.data}, name=each.kind)
        if ended and len(found) < service.HAPPENED_MAX:
            yield Event(str(after), {}, name="end")
            return
        await asyncio.sleep(POLL_S)
