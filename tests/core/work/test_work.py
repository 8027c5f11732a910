"""Jobs as an organisation sees them: state from the queue, progress while it runs, the dead revived, nothing of others."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx2
import pytest

from bursar.core.work import api, service
from bursar.core.work.jobs import JOBS
from bursar.core.work.rules import State
from bursar.infra.clock import utc_now
from bursar.infra.db import Database, new_id
from bursar.infra.jobs import Context, enqueue, job
from bursar.infra.metrics import Metrics
from bursar.infra.web import create_app
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, NotAllowed, NotFound, NotSignedIn
from tests.infra.test_jobs import Seen, ended, queue, until, working
from tests.infra.webapp import ELSEWHERE, ORG, SETTINGS, client_of

RIGHTS = frozenset({"job:read", "job:write"})
PEOPLE = {
    "owner": Actor(ORG, "person:owner", RIGHTS),
    "viewer": Actor(ORG, "person:viewer", frozenset({"job:read"})),
    "nobody": Actor(ORG, "person:nobody"),
    "stranger": Actor(ELSEWHERE, "person:stranger", RIGHTS),
}


async def authenticate(
    db: Database, *, authorization: str | None, cookie: str | None, address: str, now: datetime
) -> Actor:
    name = (authorization or "").removeprefix("Bearer ")
    if name not in PEOPLE:
        raise NotSignedIn
    return PEOPLE[name]


@job("test.flaky", attempts=1)
async def flaky(ctx: Context, *, org: str) -> str:
    seen = ctx.tool(Seen)
    seen.calls.append(org)
    if len(seen.calls) == 1:
        raise ConnectionResetError("the bank hung up")
    return "paid"


@job("test.steps", attempts=1, seconds=60)
async def steps(ctx: Context) -> str:
    for done in range(1, 4):
        await ctx.progress(done, 3, f"row {done}")
        await asyncio.sleep(0.6)
    return "counted"


@pytest.fixture
def seen() -> Seen:
    return Seen()


@asynccontextmanager
async def serving(db: Database) -> AsyncIterator[httpx2.AsyncClient]:
    app = create_app(SETTINGS, db, [api.r], authenticate, metrics=Metrics())
    async with client_of(app) as client:
        yield client


def as_(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {name}"}


async def test_a_dead_job_is_shown_with_its_error_and_can_be_revived(db: Database, actor: Actor, seen: Seen) -> None:
    async with working(db, seen, [flaky]):
        number = await queue(db, actor, "test.flaky")
        await ended(db, number)
        async with db.reading(actor) as tx:
            (dead,) = await service.listing(tx, actor, state=State.DEAD)
        assert (dead.id, dead.error, dead.attempts) == (number, "ConnectionResetError: the bank hung up", 1)

        async with db.writing(actor) as tx:
            again = await service.retry(tx, actor, id_=number, now=utc_now())
        assert again.state in {State.WAITING, State.RETRYING}
        assert await ended(db, number) == {"succeeded"}

    async with db.reading(actor) as tx:
        done = await service.get(tx, actor, id_=number)
        assert await service.listing(tx, actor, state=State.DEAD) == []
        trail = await tx.all("select action, actor from audit_entry")
    assert (done.state, done.result) == (State.DONE, "paid")
    assert [(row.action, row.actor) for row in trail] == [("job.retried", actor.name)]


async def test_a_waiting_job_can_be_cancelled_and_an_ended_one_not(db: Database, actor: Actor) -> None:
    number = await queue(db, actor, "test.flaky")
    async with db.writing(actor) as tx:
        assert (await service.cancel(tx, actor, id_=number, now=utc_now())).state is State.CANCELLED

    async with db.writing(actor) as tx:
        with pytest.raises(Conflict):
            await service.cancel(tx, actor, id_=number, now=utc_now())


async def test_a_running_job_stops_when_it_is_cancelled(db: Database, actor: Actor, seen: Seen) -> None:
    async with working(db, seen, [steps]):
        number = await queue(db, actor, "test.steps")

        async def runs() -> bool:
            async with db.reading(actor) as tx:
                return (await service.get(tx, actor, id_=number)).state is State.RUNNING

        await until(runs)
        async with db.writing(actor) as tx:
            await service.cancel(tx, actor, id_=number, now=utc_now())
        assert await ended(db, number) == {"aborted"}

    async with db.reading(actor) as tx:
        assert (await service.get(tx, actor, id_=number)).state is State.CANCELLED


async def test_a_job_that_is_done_is_not_tried_again(db: Database, actor: Actor, seen: Seen) -> None:
    seen.calls.append("first")
    async with working(db, seen, [flaky]):
        number = await queue(db, actor, "test.flaky")
        await ended(db, number)

    async with db.writing(actor) as tx:
        with pytest.raises(Conflict):
            await service.retry(tx, actor, id_=number, now=utc_now())


async def test_rights_and_organisations_are_kept_apart(db: Database, actor: Actor, other_actor: Actor) -> None:
    number = await queue(db, actor, "test.flaky")
    powerless = Actor(actor.org, "person:x")
    async with db.writing(powerless) as tx:
        for call in (service.get, service.happened, service.retry, service.cancel):
            facts: dict[str, Any] = {"id_": number}
            facts |= {"after": 0} if call is service.happened else {}
            facts |= {"now": utc_now()} if call in {service.retry, service.cancel} else {}
            with pytest.raises(NotAllowed):
                await call(tx, powerless, **facts)
    async with db.writing(other_actor) as tx:
        assert await service.listing(tx, other_actor) == []
        for unknown in (number, new_id()):
            with pytest.raises(NotFound):
                await service.retry(tx, other_actor, id_=unknown, now=utc_now())
            with pytest.raises(NotFound):
                await service.cancel(tx, other_actor, id_=unknown, now=utc_now())


async def test_old_jobs_are_forgotten_and_younger_ones_kept(db: Database, actor: Actor, seen: Seen) -> None:
    seen.calls.append("first")
    async with working(db, seen, [flaky]):
        numbers = [await queue(db, actor, "test.flaky") for _ in range(2)]
        await ended(db, *numbers)
    async with db.system("age", write=True) as tx:
        age = "update procrastinate_events set at = at - interval '8 days' where job_id = (select min(id) from procrastinate_jobs)"
        await tx.run(age)
    async with working(db, seen, list(JOBS)):
        async with db.system("cron", write=True) as tx:
            await enqueue(tx, "work.forget")

        async def forgotten() -> bool:
            async with db.reading(actor) as tx:
                return len(await service.listing(tx, actor)) == 1

        await until(forgotten)

    async with db.reading(actor) as tx:
        assert [run.id for run in await service.listing(tx, actor)] == numbers[1:]
        assert {row.run for row in await tx.all("select distinct run from job_event")} == set(numbers[1:])


async def test_jobs_over_http(db: Database, seen: Seen) -> None:
    numbers = [str(await queue(db, PEOPLE["owner"], "test.flaky")) for _ in range(3)]
    async with serving(db) as client:
        first = (await client.get("/v1/jobs?limit=2", headers=as_("viewer"))).json()
        rest = (await client.get(f"/v1/jobs?limit=2&after={first['next']}", headers=as_("viewer"))).json()
        assert [row["id"] for row in first["data"] + rest["data"]] == numbers[::-1]
        assert rest["next"] is None

        one = (await client.get(f"/v1/jobs/{numbers[0]}", headers=as_("viewer"))).json()
        assert (one["state"], one["progress"], one["enqueued_by"]) == ("waiting", None, "person:owner")
        assert "args" not in one

        assert (await client.post(f"/v1/jobs/{numbers[0]}/cancel", headers=as_("viewer"))).status_code == 403
        assert (await client.post(f"/v1/jobs/{numbers[0]}/cancel", headers=as_("owner"))).json()["state"] == "cancelled"
        assert (await client.post(f"/v1/jobs/{numbers[0]}/cancel", headers=as_("owner"))).status_code == 409
        assert (await client.post(f"/v1/jobs/{numbers[0]}/retry", headers=as_("owner"))).status_code == 200
        only = (await client.get("/v1/jobs?state=cancelled", headers=as_("owner"))).json()["data"]
        assert only == []
        assert (await client.get("/v1/jobs?state=lost", headers=as_("owner"))).status_code == 422

        unknown = await client.get(f"/v1/jobs/{new_id()}", headers=as_("stranger"))
        foreign = await client.get(f"/v1/jobs/{numbers[0]}", headers=as_("stranger"))
        assert (unknown.status_code, foreign.status_code) == (404, 404)
        assert (await client.get("/v1/jobs", headers=as_("nobody"))).status_code == 403
        assert (await client.get("/v1/jobs")).status_code == 401


def parsed(text: str) -> list[tuple[str, str, Any]]:
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(":"))
        if "event" in lines:
            found.append((lines["id"], lines["event"], json.loads(lines["data"])))
    return found


async def follow(client: httpx2.AsyncClient, number: UUID, last: str | None = None) -> list[tuple[str, str, Any]]:
    headers = as_("viewer") | ({"last-event-id": last} if last else {})
    return parsed((await client.get(f"/v1/jobs/{number}/events", headers=headers)).text)


async def test_a_job_can_be_followed_and_resumed_where_one_was(db: Database, seen: Seen) -> None:
    async with serving(db) as client, working(db, seen, [steps]):
        number = await queue(db, PEOPLE["owner"], "test.steps")
        told = await follow(client, number)
        resumed = await follow(client, number, "3")

    assert [name for _, name, _ in told] == ["started", "progress", "progress", "progress", "done", "end"]
    assert [data["done"] for _, name, data in told if name == "progress"] == [1, 2, 3]
    assert [id_ for id_, _, _ in told] == ["1", "2", "3", "4", "5", "5"]
    assert resumed == told[3:]


async def test_only_ids_of_the_stream_are_taken(db: Database) -> None:
    number = await queue(db, PEOPLE["owner"], "test.steps")
    async with serving(db) as client:
        headers = as_("viewer") | {"last-event-id": "abc"}
        assert (await client.get(f"/v1/jobs/{number}/events", headers=headers)).status_code == 422
        assert (await client.get(f"/v1/jobs/{number}/events", headers=as_("stranger"))).status_code == 404
