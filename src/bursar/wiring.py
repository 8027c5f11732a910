"""The only file that knows every part: explicit lists, and how the pieces of a running Bursar are put together."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from bursar.core.findings import service as findings
from bursar.core.identity import service as identity
from bursar.core.identity.organisations import service as organisations
from bursar.core.identity.service import RIGHTS
from bursar.core.intake import service as intake
from bursar.core.intake.jobs import Importer
from bursar.core.intake.service import Batch, BatchState
from bursar.core.planning import service as planning
from bursar.core.work import jobs as work_jobs
from bursar.infra.clock import utc_now
from bursar.infra.crypto import Keyring
from bursar.infra.db import Database
from bursar.infra.files import LocalFiles
from bursar.infra.jobs import Job
from bursar.infra.lake import Lake
from bursar.infra.sandbox import Sandbox
from bursar.kernel.actor import Actor
from bursar.kernel.errors import NotFound
from bursar.kernel.lines import BANK_LINES, COST_LINES, PAYMENT_LINES, LineSchema
from bursar.parts.banking import service as banking
from bursar.reports.review import Review, made
from bursar.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Receive, Scope, Send

SCHEMAS: tuple[LineSchema, ...] = (COST_LINES, BANK_LINES, PAYMENT_LINES)
"""Every line schema a connector may return."""

PARSER = "bursar.connectors.formats:parse_in_child"


@dataclass(frozen=True, slots=True)
class House:
    """A running Bursar without its HTTP edge."""

    settings: Settings
    db: Database
    lake: Lake
    importer: Importer


async def local_actor(house: House, org: str | None = None) -> Actor:
    """Return the person at this machine's command line, who owns the home folder and so everything in it.

    Args:
        house: The running house.
        org: Id of an organisation; by default the local owner's, made on the first run.

    Raises:
        NotFound: ``org`` is no organisation here.
    """
    if org is None:
        async with house.db.system("local owner", write=True) as tx:
            owner = await identity.local_owner(tx, loopback=True, embedded=house.settings.embedded, now=utc_now())
        return replace(owner, request_id="cli")
    try:
        actor = Actor(org=UUID(org), name="person:console", rights=RIGHTS, request_id="cli")
    except ValueError as error:
        raise NotFound("organisation", org) from error
    async with house.db.reading(actor) as tx:
        await organisations.organisation(tx, actor)
    return actor


def producer(org: UUID) -> Actor:
    """Return the actor that advisors run as."""
    return Actor(org=org, name="system:review", rights=RIGHTS | {"finding:write"}, request_id="review")


def reached_at(house: House, url: str) -> House:
    """Return the house with the URL it is really reached at (a free port was taken)."""
    return replace(house, settings=house.settings.model_copy(update={"base_url": url}))


def keyring_of(settings: Settings) -> Keyring:
    """Return the installation's keys, from the given secret or one made once in the home folder.

    The made one is readable by this user only; `prod` demands a given one.
    """
    if settings.secret:
        return Keyring([settings.secret.get_secret_value()])
    path = settings.home / "secret"
    if not path.exists():
        draft = path.with_suffix(".draft")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(48), encoding="ascii")
        draft.replace(path)
    return Keyring([path.read_text(encoding="ascii").strip()])


@asynccontextmanager
async def open_house(settings: Settings) -> AsyncIterator[House]:
    """Start what a command or server needs: the database (embedded or given), migrated; the lake; the parser's child."""
    from bursar.infra.migrate import migrate

    async with AsyncExitStack() as stack:
        if settings.database_url is None:
            from bursar.infra.embedded_postgres import APP, OWNER, EmbeddedPostgres

            settings.home.mkdir(parents=True, exist_ok=True)
            server = EmbeddedPostgres(settings.home, pg_bin=settings.pg_bin)
            await asyncio.to_thread(server.start)
            stack.callback(server.close)
            owner_url, url = server.url(OWNER), server.url(APP)
        else:
            owner_url = url = settings.database_url.get_secret_value().replace(
                "postgresql://", "postgresql+psycopg://", 1
            )
        db = Database(url, pool_size=settings.pool_size)
        stack.push_async_callback(db.close)
        from bursar.infra.migrate import current_is_head

        if not await current_is_head(db):
            await migrate(owner_url)
        lake = Lake(settings.home / "lake", memory_mb=settings.lake_memory_mb)
        sandbox = Sandbox(warm=("bursar.connectors.formats",))
        stack.push_async_callback(sandbox.close)
        importer = Importer(
            db=db,
            lake=lake,
            documents=LocalFiles(settings.home / "files"),
            sandbox=sandbox,
            parser=PARSER,
            schemas={schema.name: schema for schema in SCHEMAS},
            scratch=settings.home / "tmp",
        )
        yield House(settings, db, lake, importer)


async def advise(house: House, org: UUID) -> findings.Raised:
    """Run every advisor on the facts of an organisation and bring its inbox up to date."""
    actor = producer(org)
    now = utc_now()
    async with house.db.reading(actor) as tx:
        found = await banking.advise(tx, actor, lake=house.lake)
        found += await planning.cost_anomalies(tx, actor, lake=house.lake, now=now)
    kinds = (*banking.KINDS, *planning.KINDS)
    async with house.db.writing(actor) as tx:
        return await findings.raise_(tx, actor, kinds=kinds, findings=found, now=now)


async def review(
    house: House,
    paths: Sequence[Path],
    *,
    org: str | None = None,
    on_batch: Callable[[Batch], None] = lambda _: None,
) -> Review:
    """Do the main job: import files and folders, run the advisors, return what is worth doing.

    Args:
        house: The running house.
        paths: Files and folders.
        org: Id of the organisation that the facts belong to; the local owner's by default.
        on_batch: Called for each document as soon as it is imported.
    """
    began = time.perf_counter()
    actor = await local_actor(house, org)
    batches = []
    async for batch in house.importer.import_paths(actor, paths, clock=utc_now):
        batches.append(batch)
        on_batch(batch)
    await advise(house, actor.org)
    async with house.db.reading(actor) as tx:
        inbox = await findings.inbox(tx, actor)
    return made(batches, inbox, seconds=time.perf_counter() - began)


def report(made_review: Review, *, organisation: str = "this machine", sample: bool = False) -> str:
    """Return the self-contained HTML report of a review."""
    from bursar.reports.html import render

    return render(made_review, made_at=utc_now(), organisation=organisation, sample=sample)


JOBS: tuple[Job, ...] = (*work_jobs.JOBS,)
"""Every job there is."""


def app(house: House) -> "FastAPI":
    """Return the HTTP application of an open house."""
    from bursar import __version__
    from bursar.core.findings import api as findings_api
    from bursar.core.identity.service import Gate, Means
    from bursar.core.intake import api as intake_api
    from bursar.core.operations import api as operations_api
    from bursar.core.work import api as work_api
    from bursar.infra.crypto import Passwords
    from bursar.infra.web import WebSettings, create_app

    settings, keyring = house.settings, keyring_of(house.settings)
    means = Means(keyring, Passwords(), settings.url, local=settings.grants_local_owner)
    web = WebSettings(
        version=__version__,
        base_url=settings.url,
        cursor_key=keyring.secret("cursors"),
        cors_origins=settings.cors_origins,
        proxies_trusted=settings.trusted_proxy_hops,
        body_bytes_max=settings.body_bytes_max,
        anonymous_per_min=settings.anonymous_per_minute,
        actor_per_min=settings.key_per_minute,
    )
    routers = [
        findings_api.r,
        intake_api.routes(house.importer, upload_bytes_max=settings.upload_bytes_max),
        work_api.r,
        operations_api.routes(settings.home),
    ]
    stop = asyncio.Event()

    @asynccontextmanager
    async def working(_: "FastAPI") -> AsyncIterator[None]:
        from bursar.infra.jobs_worker import run_worker

        task = asyncio.create_task(run_worker(house.db, JOBS, stop)) if settings.worker_inside else None
        yield
        stop.set()
        if task:
            await task

    return create_app(web, house.db, routers, Gate(means), lifespan=working, pages=page(house))


def page(house: House) -> "ASGIApp":
    """Return the page at ``/``: the report of the local owner's inbox, until the web application comes."""
    from starlette.responses import HTMLResponse, PlainTextResponse

    async def serve(scope: "Scope", receive: "Receive", send: "Send") -> None:
        if not house.settings.grants_local_owner or scope["path"] != "/":
            none = PlainTextResponse("Bursar serves its API here; the description is at /openapi.json.", 404)
            await none(scope, receive, send)
            return
        html = report(await standing(house), sample=house.settings.home.name == "sample")
        answer = HTMLResponse(html, headers={"content-security-policy": REPORT_CSP})
        await answer(scope, receive, send)

    return serve


REPORT_CSP = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""The report is one file without script; nothing may be loaded into it."""


async def standing(house: House) -> Review:
    """Return the review of what the local owner's organisation holds now, without importing anything."""
    actor = await local_actor(house)
    async with house.db.reading(actor) as tx:
        batches = await intake.history(tx, actor, limit=1000, state=BatchState.IMPORTED)
        inbox = await findings.inbox(tx, actor)
    return made(batches, inbox, seconds=0.0)
