"""Takes up the jobs of workers that died, and measures the queue."""

import json
from collections.abc import Sequence
from uuid import UUID

import structlog

from bursar.infra.db import Database
from bursar.infra.jobs import Ticket, tell
from bursar.infra.metrics import METRICS
from bursar.kernel.actor import Actor

DEAD_AFTER_S = 8.0
"""A worker without a heartbeat for this long is dead and its jobs are taken up."""

INTERRUPTIONS_MAX = 20
"""Runs of one job that may die with their process; then the job itself is taken for the cause."""

log = structlog.get_logger("jobs")

_SPARE = """
update procrastinate_jobs set args = args || jsonb_build_object(
    'spared', coalesce((args->>'spared')::int, 0) + 1, 'interrupted', coalesce((args->>'interrupted')::int, 0) + 1)
"""


async def spare(db: Database, ticket: Ticket) -> None:
    """Note on the queued job that this run does not count."""
    owned = " where id = :number and status = 'doing' and worker_id = :worker and attempts = :attempt"
    async with db.system("stop worker", write=True) as tx:
        facts = {"number": ticket.number, "worker": ticket.worker, "attempt": ticket.attempt}
        await tx.run(_SPARE + owned, facts)


_RESCUE = f"""
with lost as (
    select j.id from procrastinate_jobs j left join procrastinate_workers w on w.id = j.worker_id
    where j.status = 'doing'
      and (w.id is null or w.last_heartbeat < now() - make_interval(secs => :dead_after_s) or j.id = any(:suspects))
      and j.id <> all(:running)
    order by j.id limit 500 for update of j skip locked)
{_SPARE.strip()},
    status = case when abort_requested then 'aborted'
                  when coalesce((args->>'interrupted')::int, 0) >= :interruptions_max then 'failed'
                  else 'todo' end::procrastinate_job_status,
    attempts = attempts + 1, scheduled_at = null, worker_id = null, queueing_lock = null, abort_requested = false
from lost where procrastinate_jobs.id = lost.id
returning procrastinate_jobs.id, task_name, status::text, args->>'org' as org, args->>'run' as run
"""
"""Puts back what dead workers held. ``order by``, ``limit`` and SKIP LOCKED let several workers do it at once."""


async def rescue(db: Database, *, suspects: Sequence[int] = (), running: Sequence[int] = ()) -> int:
    """Put back the jobs of dead workers, and ``suspects``; returns how many. Wakes every worker.

    Args:
        db: The database edge.
        suspects: Jobs that the asking worker holds by the queue's word but does not run.
        running: Jobs that it does run: on a machine so busy that its own heartbeat is late, it is late, not dead.
    """
    async with db.system("rescue jobs", write=True) as tx:
        facts = {
            "dead_after_s": DEAD_AFTER_S,
            "interruptions_max": INTERRUPTIONS_MAX,
            "suspects": list(suspects),
            "running": list(running),
        }
        lost = await tx.all(_RESCUE, facts)
        for row in lost:
            note = json.dumps({"type": "job_inserted", "job_id": row.id})
            await tx.run("select pg_notify('procrastinate_any_queue_v1', :note)", {"note": note})
    for row in lost:
        log.warning("job taken up after its worker died", job=row.task_name, number=row.id, status=row.status)
        if row.org and row.run:
            kind = {"failed": "dead", "aborted": "cancelled"}.get(row.status, "interrupted")
            data = {"error": f"its process died {INTERRUPTIONS_MAX + 1} times"} if kind == "dead" else {}
            ticket = Ticket(row.id, 0, 0, UUID(row.org), UUID(row.run))
            await tell(db, ticket, kind, data, actor=Actor(ticket.org, "system:rescue"))
    return len(lost)


_DEPTH = """
select count(*) filter (where status = 'todo' and coalesce(scheduled_at, now()) <= now()) as waiting,
       count(*) filter (where status = 'failed') as dead
from procrastinate_jobs where status in ('todo', 'failed')
"""
_depth = {"waiting": 0.0, "dead": 0.0}
METRICS.gauge("jobs_waiting", "Jobs that could start now and have not.", lambda: _depth["waiting"])
METRICS.gauge("jobs_dead", "Jobs that gave up and wait for somebody to look.", lambda: _depth["dead"])


async def measure(db: Database) -> None:
    """Read how long the queue is."""
    async with db.system("measure jobs") as tx:
        row = await tx.one(_DEPTH)
    assert row is not None
    _depth.update(waiting=float(row.waiting), dead=float(row.dead))
