"""The only file that knows every part: explicit lists, and how the pieces of a running Bursar are put together."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid5

from bursar.core.findings import service as findings
from bursar.core.identity.rules.rights import RIGHTS
from bursar.core.intake.jobs import Importer
from bursar.core.intake.service import Batch
from bursar.core.planning import service as planning
from bursar.infra.clock import utc_now
from bursar.infra.db import Database
from bursar.infra.files import LocalFiles
from bursar.infra.lake import Lake
from bursar.infra.sandbox import Sandbox
from bursar.kernel.actor import Actor
from bursar.kernel.lines import BANK_LINES, COST_LINES, PAYMENT_LINES, LineSchema
from bursar.parts.banking import service as banking
from bursar.reports.review import Review, made
from bursar.settings import Settings

SCHEMAS: tuple[LineSchema, ...] = (COST_LINES, BANK_LINES, PAYMENT_LINES)
"""Every line schema a connector may return."""

PARSER = "bursar.connectors.formats:parse_in_child"

LOCAL_ORG = uuid5(UUID("7f1d5c52-6e0f-5b0e-9d5e-0b8f5f6f7a11"), "local")
"""The organisation of a machine without sign-in."""


@dataclass(frozen=True, slots=True)
class House:
    """A running Bursar without its HTTP edge."""

    settings: Settings
    db: Database
    lake: Lake
    importer: Importer


def local_actor(org: UUID = LOCAL_ORG) -> Actor:
    """Return the person at this machine's command line, who owns the home folder and so everything in it."""
    return Actor(org=org, name="person:local", rights=RIGHTS, request_id="cli")


def producer(org: UUID) -> Actor:
    """Return the actor that advisors run as."""
    return Actor(org=org, name="system:review", rights=RIGHTS | {"finding:write"}, request_id="review")


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
    org: UUID = LOCAL_ORG,
    on_batch: Callable[[Batch], None] = lambda _: None,
) -> Review:
    """Do the main job: import files and folders, run the advisors, return what is worth doing.

    Args:
        house: The running house.
        paths: Files and folders.
        org: The organisation that the facts belong to.
        on_batch: Called for each document as soon as it is imported.
    """
    began = time.perf_counter()
    actor = local_actor(org)
    batches = []
    async for batch in house.importer.import_paths(actor, paths, clock=utc_now):
        batches.append(batch)
        on_batch(batch)
    await advise(house, org)
    async with house.db.reading(actor) as tx:
        inbox = await findings.inbox(tx, actor)
    return made(batches, inbox, seconds=time.perf_counter() - began)


def org_named(name: str | None) -> UUID:
    """Return the organisation of ``--org NAME`` on this machine: the local one, or one of its own for each name."""
    if not name:
        return LOCAL_ORG
    return uuid5(LOCAL_ORG, hashlib.sha256(name.encode()).hexdigest())


def report(made_review: Review, *, organisation: str = "this machine", sample: bool = False) -> str:
    """Return the self-contained HTML report of a review."""
    from bursar.reports.html import render

    return render(made_review, made_at=utc_now(), organisation=organisation, sample=sample)
