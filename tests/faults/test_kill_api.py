"""The API process is killed with SIGKILL during writes: what was acknowledged is there once and whole, with its job."""

import asyncio
import random
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx2
import psycopg
import pytest

from bursar.infra.embedded_postgres import APP, OWNER, EmbeddedPostgres
from tests.faults.processes import ORG, ROWS, run_serve
from tests.faults.test_kill_worker import children, effects
from tests.infra.probe import plain

CLIENTS = 4


@dataclass
class Book:
    """What the clients sent and what was acknowledged, with the id of the job in the answer."""

    sent: set[str] = field(default_factory=set)
    acknowledged: dict[str, str] = field(default_factory=dict)
    repeats: int = 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def write(client: httpx2.AsyncClient, book: Book, text: str, stop: asyncio.Event) -> None:
    """Send one write under one key until it is acknowledged; a broken connection tells nothing."""
    book.sent.add(text)
    while not stop.is_set():
        try:
            reply = await client.post("/v1/things", json={"text": text}, headers={"idempotency-key": text})
        except httpx2.HTTPError:
            book.repeats += 1
            await asyncio.sleep(0.02)
            continue
        if reply.status_code == 201:
            book.acknowledged[text] = reply.json()["id"]
            return
        assert reply.status_code in {409, 503}, reply.text
        await asyncio.sleep(0.02)


async def write_on(port: int, book: Book, name: str, stop: asyncio.Event) -> None:
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False) as client:
        number = 0
        while not stop.is_set():
            number += 1
            await write(client, book, f"{name}.{number}", stop)


async def torment(server: EmbeddedPostgres, kills: int, seed: int) -> Book:
    """Write from several clients while the API is killed at random moments."""
    chance, book, stop, port = random.Random(seed), Book(), asyncio.Event(), free_port()
    with children(run_serve, server.url(APP), port, count=1) as (api,):
        clients = [asyncio.create_task(write_on(port, book, f"c{n}", stop)) for n in range(CLIENTS)]
        for _ in range(kills):
            said, end = len(book.acknowledged), time.monotonic() + 30
            while len(book.acknowledged) < said + CLIENTS:
                assert time.monotonic() < end, "nothing was acknowledged after a kill"
                await asyncio.sleep(0.005)
            await asyncio.sleep(chance.uniform(0, 0.1))
            await asyncio.to_thread(api.kill_and_start)
        stop.set()
        await asyncio.gather(*clients)
    return book


def queued(server: EmbeddedPostgres) -> Sequence[tuple[str, str]]:
    """Return text and run id of every queued job that its organisation can see."""
    with psycopg.connect(plain(server.url(OWNER))) as owner:
        owner.execute("select set_config('bursar.org', %s, true)", [str(ORG)])
        query = """select j.args->'args'->>'text', r.id::text
                   from procrastinate_jobs j join job_run r on r.job = j.id"""
        return owner.execute(query).fetchall()


def check(server: EmbeddedPostgres, book: Book) -> None:
    stored, jobs = effects(server), queued(server)
    by_text = dict(jobs)

    assert {text for text in book.acknowledged if stored[f"api:{text}"] == 0} == set(), "lost"
    assert {text: n for text, n in stored.items() if n < ROWS} == {}, "partial"
    assert {text: n for text, n in stored.items() if n > ROWS} == {}, "doubled"
    assert len(jobs) == len(by_text) == len(stored), "a write and its job are one"
    assert {text for text, run in book.acknowledged.items() if by_text.get(text) != run} == set()
    assert {text.removeprefix("api:") for text in stored} <= book.sent
    assert book.repeats, "no kill hit a request: the test proves nothing"
    print(f"\n{len(book.acknowledged)} writes acknowledged, {book.repeats} sends without an answer")  # noqa: T201


async def test_25_kills_lose_and_double_no_write(durable: EmbeddedPostgres) -> None:
    check(durable, await torment(durable, kills=25, seed=1))


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_500_kills_lose_and_double_no_write(durable: EmbeddedPostgres) -> None:
    check(durable, await torment(durable, kills=500, seed=2))
