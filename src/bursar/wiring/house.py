"""The running house: database, lake, importer; and who acts in it at the console."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from uuid import UUID

from bursar.connectors.prices.libcloud_pack import default_prices
from bursar.core.identity import service as identity
from bursar.core.identity.organisations import service as organisations
from bursar.core.identity.service import RIGHTS
from bursar.core.intake.jobs import Buckets, Importer, files_under
from bursar.infra.arrivals import S3, Source
from bursar.infra.backup_store import FolderStore, S3Store, Store
from bursar.infra.clock import utc_now
from bursar.infra.crypto import Keyring
from bursar.infra.db import Database
from bursar.infra.files import open_files
from bursar.infra.lake import Beside, Lake
from bursar.infra.sandbox import Sandbox
from bursar.infra.traces import Tracer
from bursar.kernel.actor import Actor
from bursar.kernel.errors import NotFound
from bursar.kernel.lines import (
    BANK_LINES,
    BILLING_PERIOD_LINES,
    CONTRACT_COMMITMENT_LINES,
    COST_LINES,
    INVOICE_DETAIL_LINES,
    MEASURE_LINES,
    PAYMENT_LINES,
    UTILISATION_LINES,
    LineSchema,
)
from bursar.parts.banking.transactions import service as transactions
from bursar.parts.cloud.prices.service import PriceList
from bursar.settings import Settings

SCHEMAS: tuple[LineSchema, ...] = (
    COST_LINES,
    BANK_LINES,
    PAYMENT_LINES,
    INVOICE_DETAIL_LINES,
    CONTRACT_COMMITMENT_LINES,
    BILLING_PERIOD_LINES,
    UTILISATION_LINES,
    MEASURE_LINES,
)
"""Every line schema a connector may return."""

DECIDED: Mapping[str, Beside] = {
    schema.name: partial(transactions.decided, schema=schema) for schema in (BANK_LINES, PAYMENT_LINES)
}
"""What banking decided about the lines of statements and payment lists."""

PARSER = "bursar.connectors.formats:parse_in_child"


@dataclass(frozen=True, slots=True)
class House:
    """A running Bursar without its HTTP edge."""

    settings: Settings
    db: Database
    lake: Lake
    importer: Importer
    prices: PriceList
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


def buckets(settings: Settings, importer: Importer) -> Buckets:
    """Return where S3 is reached for imports, and what may be imported from it over HTTP."""
    return Buckets(importer, settings.import_prefixes, settings.s3_endpoint, settings.s3_region)


async def sources_at(house: "House", places: Sequence[str]) -> list[Source]:
    """Return what is to import at some places, each a path or ``s3://bucket/prefix``."""
    found: list[Source] = []
    for place in places:
        if place.startswith(S3):
            found += await buckets(house.settings, house.importer).objects(place)
        else:
            found += await asyncio.to_thread(files_under, [Path(place)])
    return found


def lake_store(settings: Settings) -> Store:
    """Return where the objects of the lake lie: the home folder, or the bucket of the settings."""
    if settings.lake_bucket:
        return S3Store(settings.lake_bucket, "lake", endpoint=settings.s3_endpoint, region=settings.s3_region)
    return FolderStore(settings.home / "lake")


def open_lake(settings: Settings) -> Lake:
    """Return the lake. Copies of objects in S3 have a folder of their own: a lake that lay here is never taken for them."""
    if not settings.lake_bucket:
        return Lake(settings.home / "lake", memory_mb=settings.lake_memory_mb, beside=DECIDED)
    return Lake(
        settings.home / "lake-copies",
        memory_mb=settings.lake_memory_mb,
        remote=lake_store(settings),
        cache_bytes_max=settings.lake_cache_mb * 1024**2,
        beside=DECIDED,
    )


def price_list(settings: Settings) -> PriceList:
    """Return the prices of this installation; a fresh one begins with the pack that comes with the product."""
    return PriceList(settings.home / "prices", default=default_prices, clock=time.monotonic)


MARKS = "cursors"
"""Use of the secret that marks cursors and trace tokens."""


def tracer(house: House, org: UUID) -> Tracer:
    """Return what makes and reads the trace tokens of an organisation, the same ones over HTTP, MCP and at the console."""
    return Tracer(keyring_of(house.settings).secret(MARKS), org)


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
        lake = open_lake(settings)
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
        yield House(settings, db, lake, importer, price_list(settings), owner_url, backup_url, programs)
