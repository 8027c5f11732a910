"""The only file that knows every part: explicit lists, and how the pieces of a running Bursar are put together."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from bursar.core.audit import jobs as audit_jobs
from bursar.core.findings import service as findings
from bursar.core.identity import service as identity
from bursar.core.identity.organisations import jobs as organisations_jobs
from bursar.core.identity.organisations import service as organisations
from bursar.core.identity.service import RIGHTS
from bursar.core.intake import service as intake
from bursar.core.intake.jobs import Importer
from bursar.core.intake.service import Batch, BatchState
from bursar.core.notices import jobs as notices_jobs
from bursar.core.planning import service as planning
from bursar.core.work import jobs as work_jobs
from bursar.infra import log, mail
from bursar.infra.clock import utc_now
from bursar.infra.crypto import Keyring
from bursar.infra.db import Database, Tx
from bursar.infra.files import open_files
from bursar.infra.jobs import Job
from bursar.infra.lake import Lake
from bursar.infra.sandbox import Sandbox
from bursar.kernel.actor import Actor
from bursar.kernel.errors import NotFound, Refusal
from bursar.kernel.finding import Finding
from bursar.kernel.lines import BANK_LINES, COST_LINES, PAYMENT_LINES, LineSchema
from bursar.parts.banking import service as banking
from bursar.parts.cloud import service as cloud
from bursar.reports.review import Review, made
from bursar.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Receive, Scope, Send

    from bursar.core.audit.service import Means as AuditMeans
    from bursar.core.identity.organisations.service import Erasers
    from bursar.core.identity.service import Means as IdentityMeans
    from bursar.core.notices.service import Means as NoticeMeans
    from bursar.infra.web import Router

SCHEMAS: tuple[LineSchema, ...] = (COST_LINES, BANK_LINES, PAYMENT_LINES)
"""Every line schema a connector may return."""

FINDING_KINDS: tuple[str, ...] = (*banking.KINDS, *cloud.KINDS, *planning.KINDS)
"""Every kind of finding the advisors raise."""

PARSER = "bursar.connectors.formats:parse_in_child"


@dataclass(frozen=True, slots=True)
class Tools:
    """What jobs and routes get besides the database: keys, webhooks, mail, erasers."""

    identity: "IdentityMeans"
    audit: "AuditMeans"
    notices: "NoticeMeans"
    mailer: mail.Mailer
    erasers: "Erasers"

    def each(self, house: "House") -> tuple[object, ...]:
        """Return the tools one by one, as the worker hands them to jobs by type."""
        return (house, self.identity, self.audit, self.notices, self.mailer, self.erasers)


@dataclass(frozen=True, slots=True)
class House:
    """A running Bursar without its HTTP edge."""

    settings: Settings
    db: Database
    lake: Lake
    importer: Importer
    owner_url: str
    backup_url: str
    programs: Path


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
            from bursar.infra.embedded_postgres import APP, BACKUP, OWNER, EmbeddedPostgres

            settings.home.mkdir(parents=True, exist_ok=True)
            server = EmbeddedPostgres(settings.home, pg_bin=settings.pg_bin)
            await asyncio.to_thread(server.start)
            stack.callback(server.close)
            owner_url, url, backup_url = server.url(OWNER), server.url(APP), server.url(BACKUP)
            programs = server.place.binaries
        else:
            from bursar.infra.embedded_postgres import bundled_binaries

            programs = settings.pg_bin or bundled_binaries()
            owner_url = url = backup_url = settings.database_url.get_secret_value().replace(
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
            documents=open_files(
                settings.home, bucket=settings.s3_bucket, endpoint=settings.s3_endpoint, region=settings.s3_region
            ),
            sandbox=sandbox,
            parser=PARSER,
            schemas={schema.name: schema for schema in SCHEMAS},
            scratch=settings.home / "tmp",
            quarantine=settings.home / "quarantine",
        )
        yield House(settings, db, lake, importer, owner_url, backup_url, programs)


async def advise(house: House, org: UUID) -> tuple[str, ...]:
    """Run every advisor on the facts of an organisation and bring its inbox up to date.

    Advisors are independent: one that fails leaves its own findings as they were and is named in the answer.

    Returns:
        A sentence about each advisor that failed; empty when all is well.
    """
    actor, now = producer(org), utc_now()
    advisors: tuple[tuple[str, tuple[str, ...], Callable[[Tx], Awaitable[list[Finding]]]], ...] = (
        ("banking", banking.KINDS, lambda tx: banking.advise(tx, actor, lake=house.lake)),
        ("cloud", cloud.KINDS, lambda tx: cloud.advise(tx, actor, lake=house.lake, now=now)),
        ("planning", planning.KINDS, lambda tx: planning.cost_anomalies(tx, actor, lake=house.lake, now=now)),
    )
    found: list[Finding] = []
    kinds: list[str] = []
    failed: list[str] = []
    for name, its_kinds, run in advisors:
        try:
            async with house.db.reading(actor) as tx:
                found += await run(tx)
            kinds += its_kinds
        except Refusal:
            raise
        except Exception as error:  # one advisor's bug must not cost the answers of the others
            log.logger("advise").exception("advisor failed", advisor=name)
            failed.append(f"the advice on {name} failed ({type(error).__name__}); its findings are as they were before")
    async with house.db.writing(actor) as tx:
        await findings.raise_(tx, actor, kinds=kinds, findings=found, now=now)
    return tuple(failed)


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
    failed = await advise(house, actor.org)
    async with house.db.reading(actor) as tx:
        inbox = await findings.inbox(tx, actor)
    return made(batches, inbox, seconds=time.perf_counter() - began, failed=failed)


def report(made_review: Review, *, organisation: str = "this machine", sample: bool = False) -> str:
    """Return the self-contained HTML report of a review."""
    from bursar.reports.html import render

    return render(made_review, made_at=utc_now(), organisation=organisation, sample=sample)


JOBS: tuple[Job, ...] = (
    *work_jobs.JOBS,
    *mail.JOBS,
    *notices_jobs.JOBS,
    *audit_jobs.JOBS,
    *organisations_jobs.JOBS,
)
"""Every job there is."""


def tools(house: House) -> Tools:
    """Make what jobs and routes need; close ``notices.client`` at the end."""
    from bursar.core.audit.service import Means as AuditMeans
    from bursar.core.identity.organisations.service import Erasers
    from bursar.core.identity.service import Means as IdentityMeans
    from bursar.core.notices.service import Means as NoticeMeans
    from bursar.infra.anchors import Anchors
    from bursar.infra.crypto import Passwords
    from bursar.infra.http import Egress, Host, hosts_from
    from bursar.infra.mail_smtp import Smtp

    settings, keyring = house.settings, keyring_of(house.settings)
    smtp = Smtp.of(settings.smtp_url.get_secret_value()) if settings.smtp_url else None
    allowed = [Host("*"), *hosts_from(settings.egress_hosts)]
    return Tools(
        IdentityMeans(keyring, Passwords(), settings.url, local=settings.grants_local_owner),
        AuditMeans(keyring, Anchors(settings.home / "anchors")),
        NoticeMeans(keyring, Egress().client("webhooks", allow=allowed)),
        mail.Mailer(smtp, settings.mail_from, tuple(url.get_secret_value() for url in settings.alert_urls)),
        Erasers((house.importer.documents.remove_all, house.lake.remove_all)),
    )


def routers(house: House, given: Tools) -> "list[Router]":
    """Return the routes of every feature, in the order of the API description."""
    from bursar.core.audit import api as audit_api
    from bursar.core.findings import api as findings_api
    from bursar.core.identity import api as identity_api
    from bursar.core.identity.keys import api as keys_api
    from bursar.core.identity.members import api as members_api
    from bursar.core.identity.organisations import api as organisations_api
    from bursar.core.identity.people import api as people_api
    from bursar.core.identity.sessions import api as sessions_api
    from bursar.core.identity.tokens import api as tokens_api
    from bursar.core.intake import api as intake_api
    from bursar.core.notices import api as notices_api
    from bursar.core.operations import api as operations_api
    from bursar.core.work import api as work_api

    return [
        people_api.r,
        sessions_api.r,
        tokens_api.r,
        organisations_api.r,
        members_api.r,
        keys_api.r,
        identity_api.r,
        audit_api.r,
        findings_api.r,
        intake_api.routes(house.importer, upload_bytes_max=house.settings.upload_bytes_max),
        *notices_api.routes(given.notices),
        work_api.r,
        operations_api.routes(house.settings.home),
    ]


def app(house: House) -> "FastAPI":
    """Return the HTTP application of an open house."""
    from bursar import __version__
    from bursar.core.audit.jobs import keep_sealing
    from bursar.core.identity.service import Gate
    from bursar.core.operations import service as operations
    from bursar.infra.web import WebSettings, create_app
    from bursar.infra.web_tracing import tracing

    settings, keyring = house.settings, keyring_of(house.settings)
    given = tools(house)
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

    @asynccontextmanager
    async def working(_: "FastAPI") -> AsyncIterator[None]:
        from bursar.infra.jobs_worker import run_worker

        stop = asyncio.Event()
        worker = run_worker(house.db, JOBS, stop, tools=given.each(house)) if settings.worker_inside else None
        task = asyncio.create_task(worker) if worker else None
        yield
        stop.set()
        if task:
            await task
        await given.notices.client.close()

    loops = (lambda: operations.recorder(house.db), lambda: keep_sealing(house.db, given.audit))
    gate = Gate(given.identity)
    tracer = tracing(settings.otel_endpoint, version=__version__) if settings.otel_endpoint else None
    made = create_app(
        web, house.db, routers(house, given), gate, lifespan=working, loops=loops, pages=page(house), tracer=tracer
    )
    made.state.identity, made.state.audit = given.identity, given.audit
    return made


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
