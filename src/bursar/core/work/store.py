"""The SQL of jobs as an organisation sees them."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from bursar.core.work.rules import FORGET_MAX, KEEP_DEAD_DAYS, KEEP_DONE_DAYS, Happened, Run, State
from bursar.infra.db import Tx
from bursar.infra.jobs_tables import event, run

queue = sa.table(
    "procrastinate_jobs",
    sa.column("id", sa.BigInteger),
    sa.column("status", sa.Text),
    sa.column("attempts", sa.Integer),
    sa.column("scheduled_at", sa.DateTime(timezone=True)),
)

_status = sa.cast(queue.c.status, sa.Text)
_state = sa.case(
    (run.c.done_at.is_not(None), State.DONE.value),
    (sa.and_(_status == "todo", queue.c.attempts == 0), State.WAITING.value),
    (_status == "todo", State.RETRYING.value),
    (_status == "doing", State.RUNNING.value),
    (_status == "succeeded", State.DONE.value),
    (_status == "failed", State.DEAD.value),
    else_=State.CANCELLED.value,
)


def _latest(kinds: Sequence[str]) -> sa.ScalarSelect[Any]:
    of_run = sa.and_(event.c.org == run.c.org, event.c.run == run.c.id, event.c.kind.in_(kinds))
    return sa.select(event.c.data).where(of_run).order_by(event.c.seq.desc()).limit(1).scalar_subquery()


def listing(tx: Tx, *, state: State | None, name: str | None) -> sa.Select[Any]:
    """Return the statement of jobs, to be ordered by :data:`run` id and bounded by the caller."""
    columns: list[Any] = [
        *run.c,
        queue.c.attempts,
        queue.c.scheduled_at,
        _state.label("state"),
        _latest(["progress"]).label("progress"),
        _latest(["retry", "dead"]).label("error"),
    ]
    statement = sa.select(*columns).select_from(run.outerjoin(queue, queue.c.id == run.c.job))
    statement = statement.where(tx.own(run))
    if state is not None:
        statement = statement.where(_state == state.value)
    return statement if name is None else statement.where(run.c.name == name)


def run_of(row: sa.Row[Any]) -> Run:
    """Translate a row of :func:`listing`."""
    return Run(
        id=row.id,
        name=row.name,
        state=State(row.state),
        attempts=row.attempts or 0,
        enqueued_at=row.enqueued_at,
        enqueued_by=row.enqueued_by,
        not_before=row.scheduled_at,
        done_at=row.done_at,
        progress=row.progress,
        error=row.error["error"] if row.error else None,
        result=row.result,
    )


async def find(tx: Tx, id_: UUID) -> Run | None:
    """Return one job."""
    row = await tx.one(listing(tx, state=None, name=None).where(run.c.id == id_))
    return None if row is None else run_of(row)


async def happened(tx: Tx, id_: UUID, *, after: int, limit: int) -> list[Happened]:
    """Return events of a job numbered above ``after``, in order."""
    which = sa.and_(tx.own(event), event.c.run == id_, event.c.seq > after)
    rows = await tx.all(sa.select(event).where(which).order_by(event.c.seq).limit(limit))
    return [Happened(row.seq, row.at, row.kind, row.data) for row in rows]


_REVIVE = """
update procrastinate_jobs set status = 'todo', abort_requested = false, scheduled_at = null, attempts = attempts + 1, worker_id = null,
    args = args || jsonb_build_object('spared', attempts + 1, 'interrupted', 0)
where id = (select job from job_run where id = :id and org = :org) and status in ('failed', 'cancelled', 'aborted')
returning id
"""


async def revive(tx: Tx, id_: UUID) -> bool:
    """Put a dead job back with all its attempts; False when it is not dead."""
    number = await tx.scalar(_REVIVE, {"id": id_, "org": tx.org})
    if number is not None:
        note = json.dumps({"type": "job_inserted", "job_id": number})
        await tx.run("select pg_notify('procrastinate_any_queue_v1', :note)", {"note": note})
    return number is not None


async def cancel(tx: Tx, id_: UUID) -> bool:
    """Cancel a waiting job, or ask a running one to stop; False when it has ended."""
    call = "select procrastinate_cancel_job_v1(job, true, false) from job_run where id = :id and org = :org"
    return await tx.scalar(call, {"id": id_, "org": tx.org}) is not None


_OLD = """
select j.id, j.args->>'org' as org from procrastinate_jobs j
where j.status in ('succeeded', 'failed', 'cancelled', 'aborted')
  and (select max(e.at) from procrastinate_events e where e.job_id = j.id)
      < now() - make_interval(days => case j.status when 'failed' then :dead_days else :done_days end)
order by j.id limit :limit
"""


async def old(tx: Tx) -> list[tuple[int, str | None]]:
    """Return queue number and organisation of jobs that ended long ago."""
    facts = {"dead_days": KEEP_DEAD_DAYS, "done_days": KEEP_DONE_DAYS, "limit": FORGET_MAX}
    return [(row.id, row.org) for row in await tx.all(_OLD, facts)]


async def forget(tx: Tx, numbers: Sequence[int]) -> None:
    """Delete jobs from the queue, and this organisation's view of them."""
    await tx.run(sa.delete(run).where(tx.own(run), run.c.job.in_(numbers)))
    await tx.run(sa.delete(queue).where(queue.c.id.in_(numbers)))
