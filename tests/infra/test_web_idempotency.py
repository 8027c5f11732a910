"""Idempotency keys: one effect and one reply, whatever happens in between."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx2
import pytest
import sqlalchemy as sa

from bursar.core.operations.tables import objective
from bursar.infra.clock import utc_now
from bursar.infra.db import Database
from bursar.infra.web_idempotency import KEEP_DAYS
from bursar.infra.web_tables import idempotency
from tests.infra.webapp import PEOPLE, Effects, client_of, small_app


@pytest.fixture
def effects() -> Effects:
    return Effects()


@pytest.fixture
async def writer(db: Database, effects: Effects) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(small_app(db, effects), "writer") as client:
        yield client


async def made(db: Database) -> int:
    async with db.system("test") as tx:
        return int(await tx.scalar(sa.select(sa.func.count()).where(objective.c.kind == "thing")))


async def kept(db: Database, who: str = "writer") -> int:
    async with db.reading(PEOPLE[who]) as tx:
        return int(await tx.scalar(sa.select(sa.func.count()).select_from(idempotency)))


KEY = {"idempotency-key": "order-1"}


async def test_the_same_request_gets_the_same_reply_and_no_second_effect(
    writer: httpx2.AsyncClient, db: Database, effects: Effects
) -> None:
    first = await writer.post("/v1/things", json={"name": "x"}, headers=KEY)
    again = await writer.post("/v1/things", json={"name": "x"}, headers=KEY)

    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert first.headers["content-type"] == again.headers["content-type"]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert (effects.runs, await made(db)) == (1, 1)


async def test_another_body_with_the_same_key_is_refused(writer: httpx2.AsyncClient, db: Database) -> None:
    await writer.post("/v1/things", json={"name": "x"}, headers=KEY)
    answer = await writer.post("/v1/things", json={"name": "y"}, headers=KEY)

    assert answer.status_code == 422
    assert answer.json()["code"] == "key_reused"
    assert await made(db) == 1


async def test_another_route_with_the_same_key_is_refused(writer: httpx2.AsyncClient) -> None:
    await writer.post("/v1/things", json={"name": "x"}, headers=KEY)
    answer = await writer.post("/v1/things/paid", json={"name": "x"}, headers=KEY)

    assert answer.json()["code"] == "key_reused"


async def test_32_at_once_have_one_effect(writer: httpx2.AsyncClient, db: Database, effects: Effects) -> None:
    effects.pause_s = 0.3
    answers = await asyncio.gather(*(writer.post("/v1/things", json={"name": "x"}, headers=KEY) for _ in range(32)))
    statuses = [answer.status_code for answer in answers]
    bodies = {answer.content for answer in answers if answer.status_code == 201}
    later = await writer.post("/v1/things", json={"name": "x"}, headers=KEY)

    assert set(statuses) <= {201, 409}
    assert len(bodies) == 1
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"key_in_flight"}
    assert (effects.runs, await made(db), await kept(db)) == (1, 1, 1)
    assert later.content in bodies
    assert later.headers["idempotent-replayed"] == "true"


async def test_a_refusal_after_the_write_undoes_it_and_frees_the_key(
    writer: httpx2.AsyncClient, db: Database, effects: Effects
) -> None:
    effects.crash_after_write = True
    refused = await writer.post("/v1/things", json={"name": "x"}, headers=KEY)
    after_refusal = (await made(db), await kept(db))
    effects.crash_after_write = False
    repeated = await writer.post("/v1/things", json={"name": "x"}, headers=KEY)

    assert refused.status_code == 409
    assert after_refusal == (0, 0)
    assert repeated.status_code == 201
    assert (await made(db), await kept(db)) == (1, 1)


async def test_a_crash_frees_the_key(writer: httpx2.AsyncClient, db: Database, effects: Effects) -> None:
    effects.crash = True
    crashed = await writer.post("/v1/things", json={"name": "x"}, headers=KEY)
    effects.crash = False
    repeated = await writer.post("/v1/things", json={"name": "x"}, headers=KEY)

    assert (crashed.status_code, repeated.status_code) == (500, 201)
    assert await made(db) == 1


async def test_keys_belong_to_one_actor_of_one_organisation(db: Database, effects: Effects) -> None:
    app = small_app(db, effects)
    async with client_of(app, "writer") as one, client_of(app, "stranger") as other:
        first = await one.post("/v1/things", json={"name": "x"}, headers=KEY)
        second = await other.post("/v1/things", json={"name": "x"}, headers=KEY)

    assert first.content != second.content
    assert effects.runs == 2
    assert (await kept(db, "writer"), await kept(db, "stranger")) == (1, 1)


async def test_a_route_can_demand_a_key(writer: httpx2.AsyncClient, effects: Effects) -> None:
    answer = await writer.post("/v1/things/paid", json={"name": "x"})

    assert answer.status_code == 400
    assert answer.json()["code"] == "key_missing"
    assert effects.runs == 0


@pytest.mark.parametrize("key", ["", "two words", "x" * 201, "ümlaut"])
async def test_a_malformed_key_is_refused(writer: httpx2.AsyncClient, key: str) -> None:
    answer = await writer.post("/v1/things", json={"name": "x"}, headers={b"idempotency-key": key.encode("latin-1")})

    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid"


async def test_an_old_reply_is_forgotten(writer: httpx2.AsyncClient, db: Database) -> None:
    await writer.post("/v1/things", json={"name": "x"}, headers=KEY)
    await writer.post("/v1/things", json={"name": "x"}, headers={"idempotency-key": "order-2"})
    old = utc_now() - timedelta(days=KEEP_DAYS, minutes=1)
    async with db.writing(PEOPLE["writer"]) as tx:
        await tx.run(sa.update(idempotency).where(idempotency.c.key == "order-1").values(at=old))
    again = await writer.post("/v1/things", json={"name": "x"}, headers=KEY)
    async with db.writing(PEOPLE["writer"]) as tx:
        await tx.run(sa.update(idempotency).where(idempotency.c.key == "order-2").values(at=old))
    await writer.post("/v1/things", json={"name": "x"}, headers={"idempotency-key": "order-3"})

    assert "idempotent-replayed" not in again.headers
    assert await made(db) == 4
    async with db.reading(PEOPLE["writer"]) as tx:
        left = {row.key for row in await tx.all(sa.select(idempotency.c.key))}
    assert left == {"order-1", "order-3"}
