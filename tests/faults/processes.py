"""Worker and API processes that the fault tests kill, and the small feature they run on the real edges."""

import asyncio
import multiprocessing
import multiprocessing.process
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from bursar.infra import jobs, log
from bursar.infra.db import Database, Tx, new_id
from bursar.infra.jobs import Context, job
from bursar.infra.jobs_worker import run_worker
from bursar.infra.web import As, In, Out, Router, TheDb, WebSettings, create_app, router
from bursar.kernel.actor import Actor
from tests.infra.probe import note

ORG = UUID("00000000-0000-7000-8000-0000000000f1")
WRITER = Actor(ORG, "person:writer", frozenset({"thing:write"}))
ROWS = 5
"""Rows of one effect; fewer are a part of it, more are it twice."""


async def write_effect(tx: Tx, text: str, pause_s: float = 0.0) -> None:
    """Write the rows of one effect with a pause in the middle."""
    rows = [{"org": ORG, "id": new_id(), "text": text} for _ in range(ROWS)]
    await tx.run(sa.insert(note), rows[:2])
    await asyncio.sleep(pause_s)
    await tx.run(sa.insert(note), rows[2:])


@job("fault.write", attempts=3, seconds=30)
async def write(ctx: Context, *, org: str, text: str, pause_s: float) -> None:
    """Work, then write an effect that nothing makes unique, and complete in the same transaction."""
    await asyncio.sleep(pause_s)
    async with ctx.db.writing(ctx.actor(org)) as tx:
        await write_effect(tx, f"job:{text}", pause_s)
        await ctx.complete(tx)
    await asyncio.sleep(pause_s)


class ThingIn(In):
    """What a client writes."""

    text: str


class ThingOut(Out):
    """What was written."""

    id: str


def things() -> Router:
    """Return a router whose only route writes an effect and queues a job in one transaction."""
    r = router("things", tag="Things")

    @r.post("/v1/things", right="thing:write", status_code=201)
    async def make_thing(body: ThingIn, db: TheDb, actor: As) -> ThingOut:
        """Write a thing."""
        async with db.writing(actor) as tx:
            await write_effect(tx, f"api:{body.text}", 0.01)
            run = await jobs.enqueue(tx, "fault.write", {"text": body.text, "pause_s": 0.0})
        return ThingOut(id=str(run))

    return r


async def authenticate(
    db: Database, *, authorization: str | None, cookie: str | None, address: str, now: datetime
) -> Actor:
    """Everybody is the writer."""
    return WRITER


async def work(url: str) -> None:
    """Run a worker until killed."""
    log.configure(level="CRITICAL")
    db = Database(url, pool_size=4)
    await run_worker(db, [write], asyncio.Event())


async def serve(url: str, port: int) -> None:
    """Run the API until killed."""
    import uvicorn

    log.configure(level="CRITICAL")
    settings = WebSettings("1", f"http://127.0.0.1:{port}", b"k" * 32, actor_per_min=10**6, anonymous_per_min=10**6)
    app = create_app(settings, Database(url, pool_size=8), [things()], authenticate)
    await uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="critical")).serve()


def run_work(url: str) -> None:
    """Be a worker process."""
    asyncio.run(work(url))


def run_serve(url: str, port: int) -> None:
    """Be an API process."""
    asyncio.run(serve(url, port))


_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload([__name__, "uvicorn", "procrastinate"])


@dataclass
class Child:
    """A process that is killed and started again; forked from a server that has imported everything."""

    target: Callable[..., None]
    arguments: tuple[object, ...]
    process: multiprocessing.process.BaseProcess = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.process = _processes.Process(target=self.target, args=self.arguments, daemon=True)
        self.process.start()

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.process.close()

    def kill_and_start(self) -> None:
        self.kill()
        self.start()
