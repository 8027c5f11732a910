"""Importing from a prefix of a bucket, against a local S3: as from a folder, bounded, and nothing unchanged is fetched."""

import gzip
import io
import zipfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import httpx2 as httpx
import pytest
from pydantic import SecretStr

from bursar.cli.running import Place
from bursar.core.intake import jobs, rules, service
from bursar.core.intake.jobs import Buckets, Importer
from bursar.core.intake.service import Batch
from bursar.infra import arrivals
from bursar.infra.arrivals import Prefix, may_import
from bursar.infra.backup_store import NoBucket, S3Store
from bursar.infra.clock import utc_now
from bursar.infra.db import Database, new_id
from bursar.infra.files import DiskFull, LocalFiles
from bursar.infra.jobs import Context, Ticket
from bursar.infra.lake import Lake
from bursar.infra.sandbox import Sandbox
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, Invalid, TooLarge
from bursar.kernel.lines import COST_LINES
from bursar.settings import Settings, Stage
from bursar.wiring.house import open_house, sources_at
from tests.core.intake.test_importing import focus
from tests.whole import BASE, whole

NOW = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    store = S3Store(f"b-{new_id()}", endpoint=endpoint)
    store._s3.create_bucket(Bucket=store._bucket)
    return store


@pytest.fixture
async def importer(db: Database, tmp_path: Path) -> AsyncIterator[Importer]:
    sandbox = Sandbox(warm=("bursar.connectors.formats",))
    yield Importer(
        db=db,
        lake=Lake(tmp_path / "lake"),
        documents=LocalFiles(tmp_path / "files", free_bytes_min=0),
        sandbox=sandbox,
        parser="bursar.connectors.formats:parse_in_child",
        schemas={COST_LINES.name: COST_LINES},
        scratch=tmp_path / "tmp",
        quarantine=tmp_path / "quarantine",
    )
    await sandbox.close()


@pytest.fixture
def buckets(importer: Importer, bucket: S3Store, endpoint: str) -> Buckets:
    return Buckets(importer, (f"s3://{bucket._bucket}/{{org}}",), endpoint, "us-east-1")


def put(bucket: S3Store, tmp_path: Path, name: str, **facts: Any) -> bytes:
    """Put a FOCUS bill, packed as its name says; return it plain."""
    plain = focus(tmp_path / "made.csv", range(1, 11), **facts).read_bytes()
    data = plain
    if name.endswith(".gz"):
        data = gzip.compress(plain)
    elif name.endswith(".zip"):
        held = io.BytesIO()
        with zipfile.ZipFile(held, "w") as archive:
            archive.writestr("inside.csv", plain)
        data = held.getvalue()
    bucket.write(name, [data])
    return plain


async def taken(buckets: Buckets, actor: Actor, url: str) -> list[Batch]:
    sources = await buckets.objects(url)
    imported = buckets.importer.import_sources(actor, sources, clock=utc_now, trust_marks=True)
    return [batch async for batch in imported]


def at(bucket: S3Store, key: str) -> str:
    return f"s3://{bucket._bucket}/{key}"


async def test_a_prefix_is_imported_as_a_folder(
    buckets: Buckets, bucket: S3Store, actor: Actor, tmp_path: Path
) -> None:
    put(bucket, tmp_path, "bills/september.csv", month=9)
    put(bucket, tmp_path, "bills/deep/october.csv.gz", month=10)
    put(bucket, tmp_path, "bills/november.zip", month=11)
    put(bucket, tmp_path, "bills/.hidden.csv", month=1)
    put(bucket, tmp_path, "bills-of-others/august.csv", month=8)
    bucket.write("bills/folder/", [])

    batches = await taken(buckets, actor, at(bucket, "bills"))

    assert [batch.file for batch in batches] == ["deep/october.csv.gz", "november.zip/inside.csv", "september.csv"]
    assert [batch.totals for batch in batches] == [{"USD": Decimal("11.00")}] * 3
    assert not list((tmp_path / "tmp").iterdir())


async def test_one_object_and_a_whole_bucket_can_be_named(
    buckets: Buckets, bucket: S3Store, actor: Actor, tmp_path: Path
) -> None:
    put(bucket, tmp_path, "a/one.csv", month=9)
    put(bucket, tmp_path, "two.csv", month=10)

    assert [batch.file for batch in await taken(buckets, actor, at(bucket, "a/one.csv"))] == ["one.csv"]
    everything = await taken(buckets, actor, f"s3://{bucket._bucket}")
    assert [(batch.file, batch.already) for batch in everything] == [("one.csv", True), ("two.csv", False)]


async def test_what_is_unchanged_is_not_fetched_and_what_changed_is(
    buckets: Buckets, bucket: S3Store, actor: Actor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched, read = [], S3Store.read

    def reading(store: S3Store, name: str, **facts: str) -> Iterator[bytes]:
        fetched.append(name)
        return read(store, name, **facts)

    monkeypatch.setattr(S3Store, "read", reading)
    put(bucket, tmp_path, "a/one.csv", month=9)
    put(bucket, tmp_path, "a/two.csv", month=10)
    await taken(buckets, actor, at(bucket, "a"))
    put(bucket, tmp_path, "a/two.csv", month=10, cost="2.00")

    again = await taken(buckets, actor, at(bucket, "a"))

    assert fetched == ["a/one.csv", "a/two.csv", "a/two.csv"]
    assert [(batch.already, batch.rows_replaced) for batch in again] == [(True, 0), (False, 10)]


async def test_an_object_that_changes_while_it_is_imported_is_refused(
    buckets: Buckets, bucket: S3Store, actor: Actor, tmp_path: Path
) -> None:
    put(bucket, tmp_path, "a/one.csv", month=9)
    [changed] = await buckets.objects(at(bucket, "a"))
    put(bucket, tmp_path, "a/one.csv", month=10)
    with pytest.raises(Conflict, match="changed while"):
        [one async for one in buckets.importer.import_sources(actor, [changed], clock=utc_now)]

    bucket.delete("a/one.csv")
    with pytest.raises(Conflict, match="was removed"):
        [one async for one in buckets.importer.import_sources(actor, [changed], clock=utc_now)]


async def test_every_limit_refuses_before_anything_is_fetched(
    buckets: Buckets, bucket: S3Store, tmp_path: Path, actor: Actor, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    for number in range(3):
        bucket.write(f"a/{number}.csv", [b"x" * 100])
    prefix = Prefix(at(bucket, "a"), endpoint=endpoint)

    with pytest.raises(TooLarge, match=r"a/0\.csv.* 99 bytes"):
        await prefix.objects(bytes_max=99)
    monkeypatch.setattr(arrivals, "OBJECTS_MAX", 2)
    with pytest.raises(TooLarge, match="2 objects"):
        await prefix.objects()
    monkeypatch.setattr(arrivals, "OBJECTS_MAX", 3)
    monkeypatch.setattr(arrivals, "PREFIX_BYTES_MAX", 299)
    with pytest.raises(TooLarge, match="299 bytes"):
        await prefix.objects()
    monkeypatch.setattr(arrivals, "PREFIX_BYTES_MAX", 300)
    monkeypatch.setattr(arrivals, "FREE_BYTES_MIN", 1 << 60)
    with pytest.raises(DiskFull):
        [one async for one in buckets.importer.import_sources(actor, await prefix.objects(), clock=utc_now)]


async def test_nothing_there_and_no_such_bucket_are_told_apart(buckets: Buckets, bucket: S3Store) -> None:
    with pytest.raises(rules.NothingToImport, match="s3://"):
        await buckets.objects(at(bucket, "nothing"))
    with pytest.raises(NoBucket, match="no bucket for no-such-bucket"):
        await buckets.objects("s3://no-such-bucket/a")


@pytest.mark.parametrize("url", ["s3://", "s3:///a", "https://bucket/a", "s3://b/../a", "s3://b/a\0"])
def test_what_is_no_place_in_a_bucket_is_refused(url: str) -> None:
    with pytest.raises(Invalid, match="no place in a bucket"):
        Prefix(url)


def test_an_organisation_may_import_from_the_prefixes_of_the_settings_only() -> None:
    org, other = new_id(), new_id()
    allowed = ("s3://bills/{org}", "s3://shared/all/")

    assert may_import(f"s3://bills/{org}", allowed, org)
    assert may_import(f"s3://bills/{org}/2026", allowed, org)
    assert may_import("s3://shared/all/a.csv", allowed, org)
    for url in (
        f"s3://bills/{other}",
        f"s3://bills/{org}-more",
        f"s3://bills/{org}/../{other}",
        "s3://bills",
        "s3://shared/allow",
        "s3://else",
    ):
        assert not may_import(url, allowed, org), url
    assert not may_import("s3://bills/x", (), org)


def context(db: Database, buckets: Buckets, actor: Actor) -> Context:
    return Context(db, jobs.objects, Ticket(1, 1, 1, actor.org, new_id()), tools={Buckets: buckets})


async def test_the_job_imports_what_the_settings_allow_and_nothing_else(
    buckets: Buckets, bucket: S3Store, actor: Actor, db: Database, tmp_path: Path
) -> None:
    put(bucket, tmp_path, f"{actor.org}/one.csv", month=9)
    put(bucket, tmp_path, "else/one.csv", month=9)

    done = await jobs.objects.run(context(db, buckets, actor), org=str(actor.org), url=at(bucket, str(actor.org)))

    assert done == {"objects": 1, "documents": 1, "rows": 10}
    with pytest.raises(rules.NotOffered, match="BURSAR_IMPORT_PREFIXES"):
        await jobs.objects.run(context(db, buckets, actor), org=str(actor.org), url=at(bucket, "else"))
    async with db.reading(actor) as tx:
        assert len(await service.history(tx, actor)) == 1


async def test_over_http_an_import_from_a_bucket_becomes_a_job(database_url: str, tmp_path: Path) -> None:
    async with whole(database_url, tmp_path, import_prefixes=("s3://bills/{org}",)) as running:
        transport = httpx.ASGITransport(app=running.app)
        way = {"authorization": f"Bearer {running.key}"}
        async with httpx.AsyncClient(transport=transport, base_url=BASE, headers=way) as client:
            queued = await client.post("/v1/imports/objects", json={"url": f"s3://bills/{running.org}/2026"})
            refused = await client.post("/v1/imports/objects", json={"url": "s3://bills/others"})
            wrong = await client.post("/v1/imports/objects", json={"url": "file:///etc/passwd"})
            job = await client.get(f"/v1/jobs/{queued.json()['job']}")

    assert queued.status_code == 202
    assert job.json()["name"] == "intake.objects"
    assert (refused.status_code, wrong.status_code) == (403, 422)


async def test_paths_and_buckets_are_named_together(
    bucket: S3Store, endpoint: str, tmp_path: Path, database_url: str
) -> None:
    put(bucket, tmp_path, "a/one.csv", month=9)
    settings = Settings(home=tmp_path, s3_endpoint=endpoint, database_url=SecretStr(database_url), stage=Stage.TEST)

    async with open_house(settings) as house:
        found = await sources_at(house, [str(tmp_path / "made.csv"), at(bucket, "a")])

    assert [source.name for source in found] == ["made.csv", "one.csv"]
    place = Place(exists=True)
    assert place.convert("s3://b/a", None, None) == "s3://b/a"
    with pytest.raises(click.BadParameter, match="does not exist"):
        place.convert(str(tmp_path / "missing"), None, None)
