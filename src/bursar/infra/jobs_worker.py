"""The worker: takes jobs from the queue, runs them within their limits, takes up those of workers that died.

It is procrastinate's worker with the holes closed that a kill -9 finds: every change of a job's state is fenced by worker
and attempt, a job whose outcome could not be written is taken up again, a retry cannot collide with a newer queued twin,
and a database that goes away only makes the worker wait.
"""

import asyncio
import inspect
import itertools
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import procrastinate
import sqlalchemy as sa
import structlog
from procrastinate import exceptions, jobs, manager, retry
from procrastinate.job_context import AbortReason, JobContext
from procrastinate.worker import Worker

from bursar.infra.clock import utc_now
from bursar.infra.db import Database, connect_args
from bursar.infra.jobs import NOBODY, Context, FencedDatabase, Job, Retaken, Ticket, is_final, tell, told
from bursar.infra.jobs_rescue import DEAD_AFTER_S, measure, rescue, spare
from bursar.infra.jobs_tables import run
from bursar.infra.metrics import METRICS
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Refusal

CONCURRENCY = 4
HEARTBEAT_S = 2.0

RESCUE_EVERY_S = 2.0
MEASURE_EVERY = 5
"""Rescues between two measurements of the queue."""

POLL_S = 1.0
GRACE_S = 20.0
"""How long a stopping worker waits for its running jobs before it puts them back."""


BACKOFF_MAX_S = 3600.0
CATCH_UP_S = 24 * 3600.0
"""A cron entry that was due while nothing ran is made up for, once, within this time."""

POOL_MAX = 4
RESTART_S_MAX = 5.0
ERROR_CHARS_MAX = 500

Observe = Callable[[str, str, float], None]
log = structlog.get_logger("jobs")


class Interrupted(Exception):  # noqa: N818  not a fault of the job
    """The worker stopped under the job; it is put back and does not count as a failure."""


class _Manager(manager.JobManager):
    """Procrastinate's state changes, fenced: a worker changes only jobs that it still owns."""

    _MINE = " where id = %(id)s and status = 'doing' and worker_id = %(worker)s and attempts = %(attempt)s"

    async def _change(self, job: jobs.Job, change: str, **facts: Any) -> None:
        query: Any = (
            f"with changed as (update procrastinate_jobs set {change}{self._MINE} returning id, lock)"
            " select id, case when lock is not null then pg_notify('procrastinate_any_queue_v1',"
            " json_build_object('type', 'job_inserted', 'job_id', id)::text) end from changed"
        )  # whoever waits behind the same key is woken
        facts |= {"id": job.id, "worker": job.worker_id, "attempt": job.attempts}
        if not await self.connector.execute_query_all_async(query, **facts):
            log.warning("job was taken up by another worker", job=job.task_name, number=job.id)

    async def finish_job(self, job: jobs.Job, status: jobs.Status, delete_job: bool) -> None:  # noqa: ARG002
        """Set the final state."""
        change = "status = %(status)s::procrastinate_job_status, abort_requested = false, attempts = attempts + 1"
        await self._change(job, change, status=status.value)

    async def retry_job(
        self,
        job: jobs.Job,
        retry_at: datetime | None = None,
        priority: int | None = None,
        queue: str | None = None,
        lock: str | None = None,
    ) -> None:
        """Put the job back; it gives up its ``once`` text, under which a twin may wait already."""
        del priority, queue, lock
        change = (
            "status = 'todo', attempts = attempts + 1, scheduled_at = %(at)s, worker_id = null, queueing_lock = null,"
            " abort_requested = false"
        )
        await self._change(job, change, at=retry_at or utc_now())


@dataclass
class _Retry(retry.BaseRetryStrategy):
    """When a failed run is tried again."""

    job: Job

    def get_retry_decision(self, *, exception: BaseException, job: jobs.Job) -> retry.RetryDecision | None:
        """Return the next instant, or None when the job is dead."""
        if isinstance(exception, Interrupted):
            return retry.RetryDecision(retry_at=utc_now())
        failures = job.attempts - _spared(job) + 1
        if failures >= self.job.attempts or is_final(exception):
            return None
        return retry.RetryDecision(retry_at=utc_now() + timedelta(seconds=wait_s(self.job, failures, exception)))


def wait_s(job: Job, failures: int, error: BaseException) -> float:
    """Return seconds to wait after the given number of failures: doubling with jitter, or what the refusal asks for."""
    ceiling = min(BACKOFF_MAX_S, job.backoff_s * 2.0 ** (failures - 1))
    asked = float(getattr(error, "retry_after_s", 0) or 0) if isinstance(error, Refusal) else 0.0
    return max(min(asked, BACKOFF_MAX_S), random.uniform(ceiling / 2, ceiling))  # noqa: S311  not a secret


def _spared(job: jobs.Job) -> int:
    """Return how many runs do not count as failures (interrupted, or before somebody revived it)."""
    found = job.task_kwargs.get("spared", 0)
    return found if isinstance(found, int) else 0


@dataclass
class _Crew:
    """One life of the worker: the tools its jobs share, and which jobs run right now."""

    db: Database
    declared: Mapping[str, Job]
    tools: Mapping[type, Any]
    observe: Observe
    running: set[int] = field(default_factory=set)
    suspects: set[int] = field(default_factory=set)

    async def run(self, job: Job, context: JobContext, payload: Mapping[str, Any]) -> None:
        """Run one job within its limits and tell its organisation; raises what procrastinate shall see."""
        queued = context.job
        assert queued.id is not None
        assert queued.worker_id is not None
        org = UUID(payload["org"]) if payload.get("org") else NOBODY
        ticket = Ticket(queued.id, queued.worker_id, queued.attempts, org, UUID(payload.get("run") or str(NOBODY)))
        self.running.add(queued.id)
        start, result = time.monotonic(), "interrupted"
        try:
            await self._attempt(job, ticket, queued, payload)
            result = "ok"
        except Retaken:
            log.warning("job lost its claim", job=job.name, number=queued.id)  # the fenced manager leaves it alone
        except asyncio.CancelledError:
            if context.abort_reason() is AbortReason.USER_REQUEST:
                result = "cancelled"
                await self._tell(ticket, "cancelled", {}, job)
                raise exceptions.JobAborted from None
            await spare(self.db, ticket)
            await self._tell(ticket, "interrupted", {}, job)
            raise Interrupted from None
        except Exception as error:  # border of the job: whatever it raises is recorded and decided upon
            result = await self._failed(job, ticket, queued, error)
            raise
        finally:
            self.running.discard(queued.id)
            self.observe(job.name, result, time.monotonic() - start)

    async def _attempt(self, job: Job, ticket: Ticket, queued: jobs.Job, payload: Mapping[str, Any]) -> None:
        due = payload.get("timestamp")
        fenced = FencedDatabase(self.db, ticket)
        context = Context(
            fenced,
            job,
            ticket,
            failures=queued.attempts - _spared(queued),
            scheduled_for=None if due is None else datetime.fromtimestamp(due, UTC),
            tools=self.tools,
            clock=time.monotonic,
        )
        if ticket.org != NOBODY:
            async with fenced.writing(context.actor(ticket.org)) as tx:
                begun = await told(tx, ticket, "started", {"attempt": queued.attempts + 1})
            if begun is not None and begun.done_at is not None:
                return
        facts = dict(payload.get("args") or {})
        if ticket.org != NOBODY and "org" in inspect.signature(job.run).parameters:
            facts["org"] = str(ticket.org)
        with structlog.contextvars.bound_contextvars(job=job.name, run=str(ticket.run), org=str(ticket.org)):
            async with asyncio.timeout(job.seconds):
                result = await job.run(context, **facts)
        if ticket.org != NOBODY:
            async with fenced.writing(context.actor(ticket.org)) as tx:
                mine = sa.and_(tx.own(run), run.c.id == ticket.run, run.c.done_at.is_(None))
                await tx.run(sa.update(run).where(mine).values(done_at=sa.func.now(), result=result))
                await told(tx, ticket, "done", {})

    async def _failed(self, job: Job, ticket: Ticket, queued: jobs.Job, error: Exception) -> str:
        failures = queued.attempts - _spared(queued) + 1
        dead = failures >= job.attempts or is_final(error)
        text = f"{type(error).__name__}: {error}"[:ERROR_CHARS_MAX]
        if isinstance(error, TimeoutError):
            text = f"TimeoutError: it took over {job.seconds:g} s"
        unforeseen = None if isinstance(error, Refusal) else error
        log.error("job failed", job=job.name, number=ticket.number, dead=dead, error=text, exc_info=unforeseen)
        await self._tell(ticket, "dead" if dead else "retry", {"error": text, "failures": failures}, job)
        return "dead" if dead else "failed"

    async def _tell(self, ticket: Ticket, kind: str, data: Mapping[str, Any], job: Job) -> None:
        """Write an event; a database that is away must not change the job's outcome."""
        if ticket.org == NOBODY:
            return
        try:
            await tell(self.db, ticket, kind, data, actor=Actor(ticket.org, f"job:{job.name}"))
        except (Refusal, sa.exc.SQLAlchemyError) as error:
            log.warning("event not written", job=job.name, kind=kind, error=type(error).__name__)


async def _rescue_for_ever(crew: _Crew, worker: Worker) -> None:
    """Rescue every two seconds, also jobs that this worker holds by the queue's word but does not run."""
    for turn in itertools.count():
        if turn % MEASURE_EVERY == 0:
            await measure(crew.db)
        mine = "select id from procrastinate_jobs where status = 'doing' and worker_id = :worker limit 1000"
        async with crew.db.system("rescue jobs") as tx:
            held = {row.id for row in await tx.all(mine, {"worker": worker.worker_id or 0})}
        idle = held - crew.running
        await rescue(crew.db, suspects=sorted(idle & crew.suspects), running=sorted(crew.running))
        crew.suspects = idle
        await asyncio.sleep(RESCUE_EVERY_S)


def _app(crew: _Crew) -> procrastinate.App:
    """Return a procrastinate application with our jobs, connected as the application's role."""
    url = crew.db.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    connector = procrastinate.PsycopgConnector(
        conninfo=url, kwargs=dict(connect_args()), min_size=1, max_size=POOL_MAX, timeout=10
    )
    app = procrastinate.App(connector=connector, periodic_defaults={"max_delay": CATCH_UP_S})
    app.job_manager = _Manager(connector)
    for declared in crew.declared.values():
        _register(app, crew, declared)
    return app


def _register(app: procrastinate.App, crew: _Crew, declared: Job) -> None:
    async def handle(context: JobContext, /, **payload: Any) -> None:
        await crew.run(declared, context, payload)

    task = app.task(name=declared.name, pass_context=True, retry=_Retry(declared))(handle)
    if declared.cron:
        app.periodic_registry.register_task(
            task=cast("Any", task),
            cron=declared.cron,
            periodic_id="",
            configure_kwargs={"queueing_lock": f"cron/{declared.name}"},
        )


async def run_worker(
    db: Database,
    declared: Sequence[Job],
    stop: asyncio.Event,
    *,
    tools: Sequence[object] = (),
    concurrency: int = CONCURRENCY,
    observe: Observe | None = None,
    grace_s: float = GRACE_S,
) -> None:
    """Work until ``stop`` is set, then drain: running jobs get ``grace_s`` to finish, the rest is put back.

    Args:
        db: The database edge; the queue is reached through connections of its own.
        declared: Every job there is; wiring's list.
        stop: Set by the caller to end.
        tools: Objects that jobs get by type through :meth:`~bursar.infra.jobs.Context.tool`.
        concurrency: Jobs at the same time.
        observe: Called with job name, result (ok, failed, dead, cancelled, interrupted) and seconds after each run.
        grace_s: How long a drain may take.

    Raises:
        ValueError: Two jobs have one name.
    """
    by_name = {one.name: one for one in declared}
    if len(by_name) != len(declared):
        names = sorted({one.name for one in declared if [j.name for j in declared].count(one.name) > 1})
        message = f"two jobs are named {', '.join(names)}"
        raise ValueError(message)
    crew = _Crew(db, by_name, {type(tool): tool for tool in tools}, observe or METRICS.job)
    pause = 0.1
    while not stop.is_set():
        began = time.monotonic()
        try:
            await _one_life(crew, stop, concurrency, grace_s)
        except (exceptions.ProcrastinateException, Refusal, OSError, sa.exc.SQLAlchemyError) as error:
            log.warning("worker starts again", error=f"{type(error).__name__}: {error}"[:200])
        if not stop.is_set():
            pause = 0.1 if time.monotonic() - began > RESTART_S_MAX else min(RESTART_S_MAX, pause * 2)
            await _wait(stop, pause)


async def _one_life(crew: _Crew, stop: asyncio.Event, concurrency: int, grace_s: float) -> None:
    """Run one procrastinate worker until it fails or ``stop`` is set."""
    app = _app(crew)
    async with app.open_async():
        worker: Any = Worker(
            app=app,
            name="bursar",
            concurrency=concurrency,
            fetch_job_polling_interval=POLL_S,
            abort_job_polling_interval=POLL_S,
            shutdown_graceful_timeout=grace_s,
            install_signal_handlers=False,
            update_heartbeat_interval=HEARTBEAT_S,
            stalled_worker_timeout=DEAD_AFTER_S,
        )
        working = asyncio.create_task(worker.run(), name="worker")
        rescuing = asyncio.create_task(_rescue_for_ever(crew, worker), name="rescue")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait({working, rescuing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            worker.stop()
            for task in (rescuing, stopping):
                task.cancel()
            results = await asyncio.gather(working, rescuing, stopping, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
