"""Jobs: named functions with JSON arguments, queued in the caller's transaction, safe to run twice.

A feature writes ``@job("intake.pull", attempts=5, seconds=300, rights=("intake:import",))`` above an async function; the
decorator only makes a :class:`Job`, which wiring puts on the worker's list. :func:`enqueue` inserts into procrastinate's
queue with the caller's own transaction: rolled back, nothing was queued. The worker is :mod:`bursar.infra.jobs_worker`.

A run may be repeated: the process dies, the database goes away, the code raises. What keeps effects single is that
``ctx.db`` ends every transaction by checking that this run still owns the job (a run that was taken for dead cannot
commit), and :meth:`Context.complete`, which records completion in the transaction of the effect itself.
"""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeVar
from uuid import UUID

import sqlalchemy as sa
import structlog

from bursar.infra.db import Database, Tx, new_id
from bursar.infra.jobs_tables import event, run
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Invalid, Refusal, TooLarge

ARGS_BYTES_MAX = 64 * 1024
"""Largest arguments of one job: ids and options; data lies in tables or files."""

BATCH_MAX = 1000
"""Most jobs queued by one call."""

ATTEMPTS_MAX = 50
SECONDS_MAX = 6 * 3600
PROGRESS_S_MIN = 0.5
"""Progress is written at most this often."""

PROGRESS_KEPT = 100
"""Progress events kept of one run."""

QUEUE = "default"
NOBODY = UUID(int=0)
"""The organisation of jobs that belong to none (cron entries)."""

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
Tool = TypeVar("Tool")
Kind = str


class Handler(Protocol):
    """What runs: an async function of a context and keyword facts."""

    def __call__(self, ctx: "Context", /, **facts: Any) -> Awaitable[Any]:
        """Do the work; what it returns (JSON) is kept as the run's result."""


class GiveUp(Exception):  # noqa: N818  a decision, not a fault
    """Raised by a job that knows another attempt is pointless: it is dead at once, with this text."""


class Retaken(Exception):  # noqa: N818  not a fault of the job
    """This run was taken for dead and the job belongs to another run: its transaction is rolled back."""


@dataclass(frozen=True, slots=True)
class Job:
    """A declared job.

    Attributes:
        name: ``feature.verb``.
        run: The function.
        attempts: Runs that may fail before it is dead; interrupted runs do not count.
        seconds: Time limit of one run.
        backoff_s: Wait after the first failure; doubles up to an hour, with jitter.
        rights: Rights of the actor that :meth:`Context.actor` makes.
        cron: ``minute hour day month weekday`` in UTC; None when it is only queued. A cron job has no organisation.
    """

    name: str
    run: Handler
    attempts: int = 5
    seconds: float = 300
    backoff_s: float = 2.0
    rights: frozenset[str] = frozenset()
    cron: str | None = None

    def __post_init__(self) -> None:
        """Refuse a declaration that cannot work."""
        if not _NAME.fullmatch(self.name):
            message = f"job name {self.name!r} is not of the form feature.verb"
            raise ValueError(message)
        if not (1 <= self.attempts <= ATTEMPTS_MAX and 0 < self.seconds <= SECONDS_MAX):
            message = f"job {self.name}: attempts 1 to {ATTEMPTS_MAX}, seconds up to {SECONDS_MAX}"
            raise ValueError(message)


def job(
    name: str,
    *,
    attempts: int = 5,
    seconds: float = 300,
    backoff_s: float = 2.0,
    rights: Sequence[str] = (),
    cron: str | None = None,
) -> Callable[[Callable[..., Awaitable[Any]]], Job]:
    """Declare a job; see :class:`Job` for the arguments. Nothing is registered: wiring lists the object."""

    def declare(function: Callable[..., Awaitable[Any]]) -> Job:
        return Job(name, function, attempts, seconds, backoff_s, frozenset(rights), cron)

    return declare


async def enqueue(
    tx: Tx,
    name: str,
    args: Mapping[str, Any] | None = None,
    *,
    key: str | None = None,
    once: str | None = None,
    at: datetime | None = None,
    priority: int = 0,
) -> UUID:
    """Queue one job in the caller's transaction.

    Args:
        tx: Writing transaction; the job belongs to its organisation, which the handler gets as ``org``.
        name: A declared job's name; the feature that declares it need not be imported.
        args: Keyword facts for the handler, JSON values.
        key: Jobs with the same key run one at a time, in the order queued.
        once: While a job with the same text waits to start, no second one is queued.
        at: Not before; aware.
        priority: Higher first.

    Returns:
        The run's id; with ``once``, that of the waiting job if there is one.

    Raises:
        Invalid: The name or an argument is malformed.
        TooLarge: The arguments are over 64 KiB.
    """
    if once is None:
        return (await enqueue_all(tx, name, [args or {}], key=key, at=at, priority=priority))[0]
    lock = f"{tx.org}/{name}/{once}"
    # shared until the caller commits: a worker that started it before would not see what the caller writes
    waiting = "select args->>'run' from procrastinate_jobs where queueing_lock = :lock and status = 'todo' for share"
    for _ in range(3):
        if found := await tx.scalar(waiting, {"lock": lock}):
            return UUID(found)
        try:
            async with tx.savepoint():
                return (await _defer(tx, name, [args or {}], key=key, once=lock, at=at, priority=priority))[0]
        except sa.exc.IntegrityError:
            continue  # somebody queued it just now; it may have started since
    raise AssertionError("unreachable: a waiting job is found or none is in the way")


async def enqueue_all(
    tx: Tx,
    name: str,
    batch: Sequence[Mapping[str, Any]],
    *,
    key: str | None = None,
    at: datetime | None = None,
    priority: int = 0,
) -> list[UUID]:
    """Queue up to 1000 jobs of one name with one statement; arguments and errors as :func:`enqueue`."""
    return await _defer(tx, name, batch, key=key, once=None, at=at, priority=priority)


_DEFER = """
select procrastinate_defer_jobs_v1(array_agg(
    row(:queue, :name, :priority, cast(:key as text), cast(:once as text), facts.value, cast(:at as timestamptz))
    ::procrastinate_job_to_defer_v1 order by facts.ordinality))
from jsonb_array_elements(cast(:batch as jsonb)) with ordinality as facts
"""


async def _defer(
    tx: Tx,
    name: str,
    batch: Sequence[Mapping[str, Any]],
    *,
    key: str | None,
    once: str | None,
    at: datetime | None,
    priority: int,
) -> list[UUID]:
    if not _NAME.fullmatch(name):
        raise Invalid(f"{name[:80]!r} is not the name of a job", fix="Write feature.verb.")
    if len(batch) > BATCH_MAX:
        raise TooLarge("The batch of jobs", BATCH_MAX, "jobs")
    if not batch:
        return []
    org = None if tx.org == NOBODY else str(tx.org)
    ids = [new_id() for _ in batch]
    payloads = []
    for one, args in zip(ids, batch, strict=True):
        if "org" in args:
            raise Invalid("a job's organisation is its transaction's", fix="Leave `org` out of the arguments.")
        try:
            text = json.dumps({"org": org, "run": str(one), "by": tx.actor.name, "args": dict(args)}, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise Invalid(f"the arguments of {name} are not JSON: {error}") from error
        if len(text) > ARGS_BYTES_MAX:
            raise TooLarge(f"The arguments of {name}", ARGS_BYTES_MAX, "bytes")
        payloads.append(text)
    facts = {"queue": QUEUE, "name": name, "priority": priority, "once": once, "at": at}
    lock = None if key is None else f"{tx.org}/{key}"
    numbers = await tx.scalar(_DEFER, {**facts, "key": lock, "batch": f"[{','.join(payloads)}]"})
    if org:
        rows = [
            {"org": tx.org, "id": one, "job": number, "name": name, "enqueued_by": tx.actor.name}
            for one, number in zip(ids, numbers, strict=True)
        ]
        await tx.run(sa.insert(run), rows)
    return ids


@dataclass(frozen=True, slots=True)
class Ticket:
    """Which run of which queued job this is; a run owns its job as long as the queue's row says the same."""

    number: int
    worker: int
    attempt: int
    org: UUID = NOBODY
    run: UUID = NOBODY


_OWNED = """
select 1 from procrastinate_jobs
where id = :number and status = 'doing' and worker_id = :worker and attempts = :attempt for share
"""


class FencedDatabase(Database):
    """The database as a running job sees it: a transaction of a run that lost its job is not committed."""

    def __init__(self, db: Database, ticket: Ticket) -> None:
        self.__dict__.update(vars(db))  # the same pool and options
        self._ticket = ticket

    @asynccontextmanager
    async def writing(self, actor: Actor) -> AsyncIterator[Tx]:
        """Open a transaction as :meth:`Database.writing`; raises :class:`Retaken` instead of committing a lost job's."""
        async with super().writing(actor) as tx:
            yield tx
            await self._check(tx)

    @asynccontextmanager
    async def system(self, what: str, *, write: bool = False) -> AsyncIterator[Tx]:
        """Open a transaction as :meth:`Database.system`; fenced like :meth:`writing`."""
        async with super().system(what, write=write) as tx:
            yield tx
            if write:
                await self._check(tx)

    async def _check(self, tx: Tx) -> None:
        ticket = self._ticket
        facts = {"number": ticket.number, "worker": ticket.worker, "attempt": ticket.attempt}
        if await tx.scalar(_OWNED, facts) is None:
            raise Retaken


@dataclass
class Context:
    """What a running job knows.

    Attributes:
        db: The database, fenced: see :class:`FencedDatabase`.
        job: The declaration.
        ticket: Which run this is.
        failures: Runs of this job that failed before.
        scheduled_for: For a cron job, the instant it was due.
    """

    db: Database
    job: Job
    ticket: Ticket
    failures: int = 0
    scheduled_for: datetime | None = None
    tools: Mapping[type, Any] = field(default_factory=dict, repr=False)
    clock: Callable[[], float] = field(default=lambda: 0.0, repr=False)
    _told_at: float = field(default=float("-inf"), repr=False)

    def actor(self, org: UUID | str) -> Actor:
        """Return the actor of this job in an organisation, with the rights the job declares."""
        name, run_id = f"job:{self.job.name}", str(self.ticket.run)
        return Actor(UUID(str(org)), name, self.job.rights, request_id=run_id)

    def tool(self, kind: type[Tool]) -> Tool:
        """Return the object of a type that wiring gave to the worker.

        Raises:
            KeyError: Wiring gave none.
        """
        found: Tool = self.tools[kind]
        return found

    async def progress(self, done: int, total: int | None = None, note: str = "") -> None:
        """Tell how far it is; written apart from the job's own transaction, at most twice a second and at the end.

        A job without an organisation has nobody to tell and logs it.
        """
        now = self.clock()
        if now - self._told_at < PROGRESS_S_MIN and done != total:
            return
        self._told_at = now
        facts = {"done": done, "total": total, "note": note[:200]}
        if self.ticket.org == NOBODY:
            structlog.get_logger("jobs").info("job progress", job=self.job.name, **facts)
            return
        await tell(self.db, self.ticket, "progress", facts, actor=self.actor(self.ticket.org))

    async def complete(self, tx: Tx, result: Any = None) -> None:
        """Record, in the transaction of the effect, that the job is done: no later run does it again."""
        mine = sa.and_(tx.own(run), run.c.id == self.ticket.run)
        await tx.run(sa.update(run).where(mine).values(done_at=sa.func.now(), result=result))


async def tell(db: Database, ticket: Ticket, kind: Kind, data: Mapping[str, Any], *, actor: Actor) -> None:
    """Write one event of a run in a transaction of its own; does nothing when the run was deleted meanwhile."""
    async with db.writing(actor) as tx:
        await told(tx, ticket, kind, data)


async def told(tx: Tx, ticket: Ticket, kind: Kind, data: Mapping[str, Any]) -> sa.Row[Any] | None:
    """Write one event of a run; returns when the run was done, or None where the run is gone."""
    chosen = sa.select(run.c.done_at).where(tx.own(run), run.c.id == ticket.run).with_for_update()
    found = await tx.one(chosen)
    if found is None:
        return None
    of_run = sa.and_(tx.own(event), event.c.run == ticket.run)
    last = sa.select(sa.func.coalesce(sa.func.max(event.c.seq), 0) + 1).where(of_run).scalar_subquery()
    row = {"org": ticket.org, "run": ticket.run, "seq": last, "kind": kind, "data": dict(data)}
    seq = await tx.scalar(sa.insert(event).values(row).returning(event.c.seq))
    if kind == "progress" and seq > PROGRESS_KEPT:
        old = sa.and_(of_run, event.c.kind == "progress", event.c.seq <= seq - PROGRESS_KEPT)
        await tx.run(sa.delete(event).where(old))
    return found


def is_final(error: BaseException) -> bool:
    """Tell whether another attempt is pointless: the job gave up, or was refused for what it is."""
    return isinstance(error, GiveUp) or (isinstance(error, Refusal) and error.status in {403, 404, 413, 422})
