import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from procrastinate.exceptions import ConnectorException

from bursar.infra import jobs as module
from bursar.infra import jobs_rescue, jobs_worker
from bursar.infra.clock import utc_now
from bursar.infra.db import Database
from bursar.infra.jobs import Context, GiveUp, Job, Ticket, enqueue, enqueue_all, job
from bursar.infra.jobs_rescue import rescue
from bursar.infra.jobs_tables import event, run
from bursar.infra.jobs_worker import run_worker, wait_s
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Invalid, NotFound, TooLarge, TooMany

Check = Callable[[], Awaitable[Any]]


class Seen:
    """What the jobs of a test did; handed to them as a tool."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.now = 0
        self.most = 0
        self.gate = asyncio.Event()


@job("test.note", rights=("note:write",), backoff_s=0.05)
async def note(ctx: Context, *, org: str, text: str) -> str:
    ctx.tool(Seen).calls.append((org, text, ctx.actor(org)))
    return text.upper()


@job("test.fail", attempts=3, backoff_s=0.01)
async def fail(ctx: Context, *, text: str = "broken") -> None:
    ctx.tool(Seen).calls.append(ctx.failures)
    raise ValueError(text)


@job("test.give_up", attempts=5, backoff_s=0.01)
async def give_up(ctx: Context, *, how: str) -> None:
    ctx.tool(Seen).calls.append(how)
    raise GiveUp("hopeless") if how == "says so" else NotFound("account", "x")


@job("test.slow", attempts=1, seconds=0.2)
async def slow(_ctx: Context) -> None:
    await asyncio.sleep(30)


@job("test.wait", attempts=2, seconds=60)
async def wait(ctx: Context, *, name: str = "", hold_s: float = 0.1) -> None:
    seen = ctx.tool(Seen)
    seen.now += 1
    seen.most = max(seen.most, seen.now)
    seen.calls.append(name)
    try:
        await asyncio.sleep(hold_s)
    finally:
        seen.now -= 1


@job("test.count")
async def count(ctx: Context) -> None:
    for done in range(1, 6):
        await ctx.progress(done, 5, f"row {done}")


@job("test.tick", cron="* * * * * */1")
async def tick(ctx: Context) -> None:
    ctx.tool(Seen).calls.append(ctx.scheduled_for)


JOBS = [note, fail, give_up, slow, wait, count]


@pytest.fixture
def seen() -> Seen:
    return Seen()


@asynccontextmanager
async def working(
    db: Database, seen: Seen, jobs: list[Job] | None = None, **options: Any
) -> AsyncIterator[asyncio.Event]:
    stop = asyncio.Event()
    task = asyncio.create_task(run_worker(db, jobs or JOBS, stop, tools=[seen], **options))
    try:
        yield stop
    finally:
        stop.set()
        await asyncio.wait_for(task, 30)


async def until(check: Check, seconds: float = 15) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := await check():
            return found
        await asyncio.sleep(0.02)
    raise AssertionError("it did not happen in time")


async def state(db: Database, number: UUID) -> str:
    async with db.system("look") as tx:
        query = "select status::text from procrastinate_jobs where args->>'run' = :run"
        return str(await tx.scalar(query, {"run": str(number)}))


async def ended(db: Database, *numbers: UUID, seconds: float = 15) -> set[str]:
    async def check() -> set[str]:
        states = {await state(db, number) for number in numbers}
        return states if states <= {"succeeded", "failed", "aborted", "cancelled"} else set()

    found: set[str] = await until(check, seconds)
    return found


async def events(db: Database, actor: Actor, number: UUID) -> list[Any]:
    async with db.reading(actor) as tx:
        rows = await tx.all(
            sa.select(event).where(tx.own(event), event.c.run == number).order_by(event.c.seq).limit(500)
        )
    return list(rows)


async def queue(db: Database, actor: Actor, name: str, args: dict[str, Any] | None = None, **options: Any) -> UUID:
    async with db.writing(actor) as tx:
        return await enqueue(tx, name, args, **options)


async def queued(db: Database) -> int:
    async with db.system("look") as tx:
        return int(await tx.scalar("select count(*) from procrastinate_jobs"))


async def test_a_job_runs_with_its_organisation_its_facts_and_its_rights(
    db: Database, actor: Actor, seen: Seen
) -> None:
    async with working(db, seen):
        number = await queue(db, actor, "test.note", {"text": "hello"})
        assert await ended(db, number) == {"succeeded"}

    ((org, text, who),) = seen.calls
    assert (org, text) == (str(actor.org), "hello")
    assert (who.org, who.name, who.rights, who.request_id) == (
        actor.org,
        "job:test.note",
        frozenset({"note:write"}),
        str(number),
    )
    async with db.reading(actor) as tx:
        row = await tx.one(sa.select(run).where(tx.own(run)))
    assert row is not None
    assert (row.id, row.name, row.result, row.enqueued_by) == (number, "test.note", "HELLO", actor.name)
    assert row.done_at is not None


async def test_a_job_is_picked_up_at_once(db: Database, actor: Actor, seen: Seen) -> None:
    async with working(db, seen):
        await ended(db, await queue(db, actor, "test.note", {"text": "warm"}))
        start = time.monotonic()
        await queue(db, actor, "test.note", {"text": "hello"})

        async def two() -> bool:
            return len(seen.calls) == 2

        await until(two)
    assert time.monotonic() - start < 0.9  # by notification: the poll comes each second


async def test_what_is_rolled_back_was_never_queued(db: Database, actor: Actor) -> None:
    async def fall_over() -> None:
        async with db.writing(actor) as tx:
            await enqueue(tx, "test.note", {"text": "x"})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fall_over()

    assert await queued(db) == 0


async def test_another_organisation_sees_nothing_of_a_job(db: Database, actor: Actor, other_actor: Actor) -> None:
    await queue(db, actor, "test.note", {"text": "x"})

    async with db.reading(other_actor) as tx:
        assert await tx.all("select * from job_run") == []


async def test_a_batch_is_queued_in_order_with_one_statement(db: Database, actor: Actor, seen: Seen) -> None:
    async with db.writing(actor) as tx:
        ids = await enqueue_all(tx, "test.note", [{"text": str(i)} for i in range(50)], key="one by one")
    async with working(db, seen):
        await ended(db, *ids)

    assert [text for _, text, _ in seen.calls] == [str(i) for i in range(50)]


async def test_a_failing_job_is_tried_again_and_dies_after_its_attempts(db: Database, actor: Actor, seen: Seen) -> None:
    async with working(db, seen):
        number = await queue(db, actor, "test.fail")
        assert await ended(db, number) == {"failed"}

    assert seen.calls == [0, 1, 2]
    told = await events(db, actor, number)
    assert [row.kind for row in told] == ["started", "retry", "started", "retry", "started", "dead"]
    assert told[-1].data == {"error": "ValueError: broken", "failures": 3}


@pytest.mark.parametrize("how", ["says so", "not found"])
async def test_a_pointless_job_is_not_tried_again(db: Database, actor: Actor, seen: Seen, how: str) -> None:
    async with working(db, seen):
        assert await ended(db, await queue(db, actor, "test.give_up", {"how": how})) == {"failed"}

    assert seen.calls == [how]


async def test_a_job_over_its_time_is_stopped(db: Database, actor: Actor, seen: Seen) -> None:
    async with working(db, seen):
        number = await queue(db, actor, "test.slow")
        assert await ended(db, number, seconds=8) == {"failed"}

    assert (await events(db, actor, number))[-1].data["error"] == "TimeoutError: it took over 0.2 s"


async def test_a_job_of_an_unknown_name_dies_visibly(db: Database, actor: Actor, seen: Seen) -> None:
    async with working(db, seen):
        assert await ended(db, await queue(db, actor, "test.unknown")) == {"failed"}


async def test_jobs_of_one_key_run_one_at_a_time(db: Database, actor: Actor, other_actor: Actor, seen: Seen) -> None:
    async with working(db, seen):
        numbers = [await queue(db, actor, "test.wait", {"name": str(i)}, key="bank") for i in range(3)]
        await ended(db, *numbers)
    assert (seen.most, seen.calls) == (1, ["0", "1", "2"])

    async with working(db, seen):
        numbers = [await queue(db, who, "test.wait", key="bank") for who in (actor, other_actor)]
        await ended(db, *numbers)
    assert seen.most == 2  # a key holds within its organisation


async def test_a_job_that_waits_already_is_not_queued_twice(db: Database, actor: Actor, other_actor: Actor) -> None:
    first = await queue(db, actor, "test.wait", once="refresh")
    again = await asyncio.gather(*(queue(db, actor, "test.wait", once="refresh") for _ in range(5)))
    await queue(db, other_actor, "test.wait", once="refresh")

    assert set(again) == {first}
    assert await queued(db) == 2


async def test_a_waiting_job_does_not_start_before_what_counts_on_it_is_committed(
    db: Database, actor: Actor, seen: Seen
) -> None:
    waiting = await queue(db, actor, "test.wait", once="refresh")
    async with db.writing(actor) as tx:
        assert await enqueue(tx, "test.wait", once="refresh") == waiting
        async with working(db, seen):
            await ended(db, await queue(db, actor, "test.note", {"text": "another"}))
            while_open = await state(db, waiting)
    async with working(db, seen):
        await ended(db, waiting)

    assert while_open == "todo"


async def test_many_at_once_queue_one_job(db: Database, actor: Actor) -> None:
    numbers = await asyncio.gather(*(queue(db, actor, "test.wait", once="refresh") for _ in range(8)))

    assert len(set(numbers)) == 1
    assert await queued(db) == 1


async def test_a_retry_does_not_collide_with_a_newer_twin(db: Database, actor: Actor, seen: Seen) -> None:
    async with working(db, seen):
        first = await queue(db, actor, "test.fail", once="same")

        async def started() -> bool:
            return bool(seen.calls)

        await until(started)
        second = await queue(db, actor, "test.fail", once="same")
        assert await ended(db, first, second) == {"failed"}


async def test_a_job_for_later_waits(db: Database, actor: Actor, seen: Seen) -> None:
    async with working(db, seen):
        later = await queue(db, actor, "test.note", {"text": "later"}, at=utc_now() + timedelta(hours=1))
        await ended(db, await queue(db, actor, "test.note", {"text": "now"}))

        assert await state(db, later) == "todo"
    assert [text for _, text, _ in seen.calls] == ["now"]


async def test_a_more_urgent_job_goes_first(db: Database, actor: Actor, seen: Seen) -> None:
    numbers = [await queue(db, actor, "test.wait", {"name": n}, priority=p) for n, p in (("low", 0), ("high", 9))]
    async with working(db, seen, concurrency=1):
        await ended(db, *numbers)

    assert seen.calls == ["high", "low"]


@pytest.mark.parametrize(
    ("name", "args", "error"),
    [
        ("nodot", {}, Invalid),
        ("test.note; drop", {}, Invalid),
        ("test.note", {"text": {1, 2}}, Invalid),
        ("test.note", {"text": float("nan")}, Invalid),
        ("test.note", {"org": "other"}, Invalid),
        ("test.note", {"text": "x" * module.ARGS_BYTES_MAX}, TooLarge),
    ],
)
async def test_what_cannot_be_queued_is_refused(
    db: Database, actor: Actor, name: str, args: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await queue(db, actor, name, args)


async def test_a_batch_over_the_limit_is_refused(db: Database, actor: Actor) -> None:
    with pytest.raises(TooLarge):
        async with db.writing(actor) as tx:
            await enqueue_all(tx, "test.note", [{}] * (module.BATCH_MAX + 1))


async def test_progress_is_readable_while_the_job_runs(db: Database, actor: Actor, seen: Seen) -> None:
    async with working(db, seen):
        number = await queue(db, actor, "test.count")
        await ended(db, number)

    told = [(row.kind, row.data) for row in await events(db, actor, number)]
    assert told[1] == ("progress", {"done": 1, "total": 5, "note": "row 1"})
    assert told[-2] == ("progress", {"done": 5, "total": 5, "note": "row 5"})
    assert len(told) == 4  # those in between came faster than twice a second


async def test_old_progress_is_dropped(db: Database, actor: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROGRESS_KEPT", 3)
    number = await queue(db, actor, "test.count")
    ticket = Ticket(1, 1, 0, actor.org, number)
    for done in range(10):
        await module.tell(db, ticket, "progress", {"done": done}, actor=actor)

    assert [row.data["done"] for row in await events(db, actor, number)] == [7, 8, 9]


async def test_a_cron_entry_runs_with_the_instant_it_was_due(db: Database, seen: Seen) -> None:
    async with working(db, seen, [tick]):

        async def thrice() -> bool:
            return len(seen.calls) >= 3

        await until(thrice)

    assert all(isinstance(due, datetime) and due.tzinfo is UTC for due in seen.calls)
    assert len(set(seen.calls)) == len(seen.calls)


async def test_two_workers_run_a_cron_entry_once(db: Database, seen: Seen) -> None:
    async with working(db, seen, [tick]), working(db, seen, [tick]):
        await asyncio.sleep(3)

    assert len(set(seen.calls)) == len(seen.calls) >= 2


async def test_stopping_waits_for_what_runs(db: Database, actor: Actor, seen: Seen) -> None:
    async with working(db, seen) as stop:
        number = await queue(db, actor, "test.wait", {"hold_s": 0.5})

        async def started() -> bool:
            return bool(seen.calls)

        await until(started)
        stop.set()
    assert await state(db, number) == "succeeded"


async def test_what_does_not_finish_in_time_is_put_back_without_counting(
    db: Database, actor: Actor, seen: Seen
) -> None:
    async with working(db, seen, grace_s=0.2) as stop:
        number = await queue(db, actor, "test.wait", {"hold_s": 30})

        async def started() -> bool:
            return bool(seen.calls)

        await until(started)
        stop.set()
    assert await state(db, number) == "todo"
    assert [row.kind for row in await events(db, actor, number)] == ["started", "interrupted"]

    async with db.system("look") as tx:
        row = await tx.one("select attempts, args->>'spared' as spared from procrastinate_jobs")
    assert row is not None
    assert (row.attempts, row.spared) == (1, "1")


async def test_a_run_that_lost_its_job_cannot_commit(db: Database, actor: Actor, seen: Seen) -> None:
    @job("test.lose", attempts=2)
    async def lose(ctx: Context, *, org: str) -> None:
        seen.calls.append(ctx.ticket.attempt)
        async with ctx.db.writing(ctx.actor(org)) as tx:
            await enqueue(tx, "test.note", {"text": "effect"})
            if len(seen.calls) == 1:
                async with db.system("steal", write=True) as thief:
                    steal = "update procrastinate_jobs set status = 'todo', attempts = attempts + 1 where id = :id"
                    await thief.run(steal, {"id": ctx.ticket.number})

    async with working(db, seen, [lose]):
        number = await queue(db, actor, "test.lose")
        assert await ended(db, number) == {"succeeded"}

    assert seen.calls == [0, 1]
    async with db.system("look") as tx:
        effects = await tx.scalar("select count(*) from procrastinate_jobs where task_name = 'test.note'")
    assert effects == 1


async def test_an_effect_recorded_as_complete_is_not_repeated(db: Database, actor: Actor, seen: Seen) -> None:
    @job("test.once", attempts=3, backoff_s=0.01)
    async def once(ctx: Context, *, org: str) -> None:
        seen.calls.append("effect")
        async with ctx.db.writing(ctx.actor(org)) as tx:
            await ctx.complete(tx, {"rows": 3})
        raise ConnectionResetError("after the commit")

    async with working(db, seen, [once]):
        number = await queue(db, actor, "test.once")
        assert await ended(db, number) == {"succeeded"}

    assert seen.calls == ["effect"]
    async with db.reading(actor) as tx:
        assert await tx.scalar(sa.select(run.c.result).where(tx.own(run))) == {"rows": 3}


async def fake_run(db: Database, number: UUID, *, silent_s: float) -> int:
    """Give a queued job to a worker whose last heartbeat is ``silent_s`` old."""
    async with db.system("fake", write=True) as tx:
        beat = (
            "insert into procrastinate_workers (last_heartbeat) values (now() - make_interval(secs => :s)) returning id"
        )
        worker = await tx.scalar(beat, {"s": silent_s})
        take = (
            "update procrastinate_jobs set status = 'doing', worker_id = :worker where args->>'run' = :run returning id"
        )
        await tx.run(take, {"worker": worker, "run": str(number)})
    return int(worker)


async def test_only_jobs_of_silent_workers_are_taken_up(db: Database, actor: Actor) -> None:
    silent, lively = [await queue(db, actor, "test.wait") for _ in range(2)]
    await fake_run(db, silent, silent_s=jobs_rescue.DEAD_AFTER_S + 1)
    await fake_run(db, lively, silent_s=jobs_rescue.DEAD_AFTER_S - 5)

    assert await rescue(db) == 1
    assert (await state(db, silent), await state(db, lively)) == ("todo", "doing")
    assert [row.kind for row in await events(db, actor, silent)] == ["interrupted"]


async def test_a_worker_whose_heartbeat_is_late_does_not_take_its_own_running_job_for_lost(
    db: Database, actor: Actor, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_worker, "HEARTBEAT_S", 3600.0)

    @job("test.busy", attempts=3, backoff_s=0.01)
    async def busy(ctx: Context, *, org: str) -> None:
        seen.calls.append("began")
        async with db.system("late", write=True) as tx:
            await tx.run("update procrastinate_workers set last_heartbeat = now() - interval '1 minute'")
        await asyncio.sleep(jobs_worker.RESCUE_EVERY_S * 1.5)

    async with working(db, seen, [busy]):
        assert await ended(db, await queue(db, actor, "test.busy")) == {"succeeded"}

    assert seen.calls == ["began"]


async def test_a_job_that_was_to_be_cancelled_is_not_run_again(db: Database, actor: Actor) -> None:
    number = await queue(db, actor, "test.wait")
    await fake_run(db, number, silent_s=60)
    async with db.system("cancel", write=True) as tx:
        await tx.run("update procrastinate_jobs set abort_requested = true")

    assert await rescue(db) == 1
    assert await state(db, number) == "aborted"
    assert (await events(db, actor, number))[-1].kind == "cancelled"


async def test_a_job_whose_process_keeps_dying_is_dead_in_the_end(db: Database, actor: Actor) -> None:
    number = await queue(db, actor, "test.wait")
    for _ in range(jobs_rescue.INTERRUPTIONS_MAX + 1):
        await fake_run(db, number, silent_s=60)
        assert await rescue(db) == 1

    assert await state(db, number) == "failed"
    assert (await events(db, actor, number))[-1].kind == "dead"


async def test_a_job_whose_outcome_was_not_written_is_taken_up_by_its_own_worker(
    db: Database, actor: Actor, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = 1
    real = jobs_worker._Manager._change

    async def change(self: Any, *args: Any, **facts: Any) -> None:
        nonlocal failing
        failing -= 1
        if failing >= 0:
            raise ConnectorException
        await real(self, *args, **facts)

    monkeypatch.setattr(jobs_worker._Manager, "_change", change)
    async with working(db, seen):
        number = await queue(db, actor, "test.note", {"text": "x"})
        assert await ended(db, number) == {"succeeded"}

    assert len(seen.calls) == 1  # the second run found it done


async def test_the_worker_comes_back_after_the_database_dropped_it(db: Database, actor: Actor, seen: Seen) -> None:
    async with working(db, seen):
        await ended(db, await queue(db, actor, "test.note", {"text": "before"}))
        async with db.system("drop") as tx:
            await tx.all(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )
        number = await queue(db, actor, "test.note", {"text": "after"})
        assert await ended(db, number) == {"succeeded"}


async def test_runs_are_counted_by_their_result(db: Database, actor: Actor, seen: Seen) -> None:
    counted: list[tuple[str, str]] = []
    async with working(db, seen, observe=lambda name, result, _seconds: counted.append((name, result))):
        numbers = [await queue(db, actor, "test.note", {"text": "x"}), await queue(db, actor, "test.fail")]
        await ended(db, *numbers)
    await jobs_rescue.measure(db)

    assert sorted(counted) == sorted([("test.note", "ok"), *[("test.fail", "failed")] * 2, ("test.fail", "dead")])
    assert jobs_rescue._depth == {"waiting": 0, "dead": 1}


async def test_two_jobs_of_one_name_are_refused(db: Database) -> None:
    with pytest.raises(ValueError, match=r"test\.note"):
        await run_worker(db, [note, note], asyncio.Event())


@pytest.mark.parametrize(
    "options", [{"name": "nodot"}, {"attempts": 0}, {"attempts": 51}, {"seconds": 0}, {"seconds": 1e9}]
)
def test_a_declaration_that_cannot_work_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="job"):
        replace(note, **options)


def test_the_wait_doubles_and_obeys_a_refusal() -> None:
    random.seed(1)
    waits = [wait_s(note, failures, ValueError()) for failures in (1, 4, 30)]

    assert 0.025 <= waits[0] <= 0.05
    assert 0.2 <= waits[1] <= 0.4
    assert waits[2] <= jobs_worker.BACKOFF_MAX_S
    assert wait_s(note, 1, TooMany("requests", 90)) == 90
