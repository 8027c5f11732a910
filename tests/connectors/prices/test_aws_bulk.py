"""AWS bulk offers: header in line 6, terms with upfront parts, history, broken downloads taken up again."""

import asyncio
import csv
import io
import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from bursar.connectors.prices import downloads
from bursar.connectors.prices.aws_bulk import AwsBulk, offer_table, savings_table, version_at
from bursar.connectors.prices.downloads import download
from bursar.infra.http import Answered, NoAnswer
from bursar.kernel.errors import Invalid
from tests.connectors.prices.clients import as_json, path, serve, talking
from tests.infra.servers import Asked, Handler, answer

DAY = date(2026, 11, 1)
REGION = "eu-central-1"
HEADER = [
    "SKU",
    "OfferTermCode",
    "RateCode",
    "TermType",
    "PriceDescription",
    "EffectiveDate",
    "StartingRange",
    "EndingRange",
    "Unit",
    "PricePerUnit",
    "Currency",
    "RelatedTo",
    "LeaseContractLength",
    "PurchaseOption",
    "OfferingClass",
    "Product Family",
    "serviceCode",
    "Location",
    "Location Type",
    "Instance Type",
    "vCPU",
    "Physical Processor",
    "Memory",
    "Operating System",
    "Tenancy",
    "Pre Installed S/W",
    "CapacityStatus",
    "usageType",
    "Region Code",
]
MACHINE = {
    "Product Family": "Compute Instance",
    "serviceCode": "AmazonEC2",
    "Instance Type": "m5.large",
    "vCPU": "2",
    "Memory": "8 GiB",
    "Physical Processor": "Intel Xeon Platinum 8175",
    "Operating System": "Linux",
    "Tenancy": "Shared",
    "Pre Installed S/W": "NA",
    "CapacityStatus": "Used",
    "usageType": "EUC1-BoxUsage:m5.large",
    "Region Code": REGION,
    "EffectiveDate": "2026-10-01",
    "Currency": "USD",
    "StartingRange": "0",
    "EndingRange": "Inf",
    "Unit": "Hrs",
    "TermType": "OnDemand",
    "OfferTermCode": "JRTCKXETXF",
}
RESERVED = {
    "TermType": "Reserved",
    "LeaseContractLength": "1yr",
    "PurchaseOption": "Partial Upfront",
    "OfferingClass": "standard",
    "OfferTermCode": "HU7G6KETJZ",
    "StartingRange": "",
    "EndingRange": "",
}


def offer(*rows: dict[str, str], header: list[str] = HEADER) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for line in (
        "FormatVersion,v1.0",
        "Disclaimer,This is for information",
        "Publication Date,2026-10-30",
        "Version,1",
        "OfferCode,AmazonEC2",
    ):
        writer.writerow(line.split(",", 1))
    writer.writerow(header)
    writer.writerows([[row.get(name, "") for name in header] for row in rows])
    return text.getvalue().encode()


OFFER = offer(
    MACHINE | {"SKU": "A", "PricePerUnit": "0.1150000000", "PriceDescription": "$0.115 per On Demand, Linux"},
    MACHINE | RESERVED | {"SKU": "A", "PricePerUnit": "0.0350000000", "Unit": "Hrs"},
    MACHINE | RESERVED | {"SKU": "A", "PricePerUnit": "307", "Unit": "Quantity", "RateCode": "A.HU.2TG2D8R56U"},
    MACHINE | {"SKU": "B", "PricePerUnit": "0.9", "Tenancy": "Dedicated"},
    MACHINE | {"SKU": "C", "PricePerUnit": "0.8", "Pre Installed S/W": "SQL Std"},
    MACHINE | {"SKU": "D", "PricePerUnit": "0.0", "CapacityStatus": "UnusedCapacityReservation"},
    MACHINE | {"SKU": "E", "Product Family": "Storage", "Instance Type": "", "Unit": "GB-Mo", "PricePerUnit": "0.095"},
    MACHINE | {"SKU": "G", "Physical Processor": "AWS Graviton2 Processor", "PricePerUnit": "0.092"},
    MACHINE | {"SKU": "W", "Region Code": "us-east-1", "PricePerUnit": "0.01"},
    MACHINE | {"SKU": "X", "PricePerUnit": "unknown"},
)


@pytest.fixture
def read(tmp_path: Path) -> pl.DataFrame:
    (tmp_path / "offer.csv").write_bytes(OFFER)
    return offer_table(tmp_path / "offer.csv", region=REGION, day=DAY)


def test_only_plain_shared_machines_and_everything_that_is_no_machine_are_kept(read: pl.DataFrame) -> None:
    assert sorted(read["sku"].unique().to_list()) == ["A", "E", "G"]


def test_a_partial_upfront_reservation_costs_its_hours_and_its_share_of_the_upfront(read: pl.DataFrame) -> None:
    reserved = read.row(by_predicate=pl.col("term") == "reserved_1y_partial_upfront", named=True)

    assert round(reserved["price"], 10) == round(Decimal("0.035") + Decimal(307) / 8760, 10)
    assert reserved["unit"] == "Hrs"


def test_attributes_are_read(read: pl.DataFrame) -> None:
    machine = read.row(by_predicate=(pl.col("sku") == "A") & (pl.col("term") == "on_demand"), named=True)
    arm = read.row(by_predicate=pl.col("sku") == "G", named=True)

    assert machine["price"] == Decimal("0.115")
    assert (machine["vcpu"], machine["memory_gib"], machine["os"], machine["arch"]) == (2.0, 8.0, "linux", "x86_64")
    assert (machine["valid_from"], machine["region"]) == (date(2026, 10, 1), REGION)
    assert arm["arch"] == "arm64"


def test_a_file_without_its_header_in_line_6_is_refused(tmp_path: Path) -> None:
    (tmp_path / "offer.csv").write_bytes(b"a,b\n1,2\n")

    with pytest.raises(Invalid, match="line 6"):
        offer_table(tmp_path / "offer.csv", region=REGION, day=DAY)


def test_a_path_with_a_quote_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "o'brien"
    folder.mkdir()
    (folder / "offer.csv").write_bytes(OFFER)

    assert not offer_table(folder / "offer.csv", region=REGION, day=DAY).is_empty()


def test_savings_plan_rates_are_read(tmp_path: Path) -> None:
    names = [
        "SKU",
        "RateCode",
        "Unit",
        "EffectiveDate",
        "DiscountedRate",
        "Currency",
        "DiscountedSKU",
        "DiscountedServiceCode",
        "DiscountedUsageType",
        "DiscountedOperation",
        "PurchaseOption",
        "LeaseContractLength",
        "LeaseContractLengthUnit",
        "Description",
        "DiscountedRegionCode",
        "DiscountedInstanceType",
    ]
    one = {"SKU": "P", "Unit": "Hrs", "DiscountedRate": "0.0832", "Currency": "USD", "DiscountedSKU": "A"}
    one |= {"DiscountedServiceCode": "AmazonEC2", "DiscountedOperation": "RunInstances", "PurchaseOption": "No Upfront"}
    one |= {"LeaseContractLength": "3", "DiscountedRegionCode": REGION, "DiscountedInstanceType": "m5.large"}
    (tmp_path / "plan.csv").write_bytes(offer(one, one | {"DiscountedRegionCode": "us-east-1"}, header=names))

    table = savings_table(tmp_path / "plan.csv", region=REGION, day=DAY)

    assert table.select("sku", "term", "price", "os", "instance_type").rows() == [
        ("A", "savings_plan_3y_no_upfront", Decimal("0.0832"), "linux", "m5.large")
    ]


INDEX = {
    "regions": {
        REGION: {"regionCode": REGION, "currentVersionUrl": f"/offers/v1.0/aws/AmazonEC2/2026/{REGION}/index.json"}
    }
}
VERSIONS = {
    "20260101000000": {
        "versionEffectiveBeginDate": "2026-01-01T00:00:00Z",
        "versionEffectiveEndDate": "2026-06-01T00:00:00Z",
    },
    "20260601000000": {"versionEffectiveBeginDate": "2026-06-01T00:00:00Z", "versionEffectiveEndDate": ""},
}


def service(asked: Asked) -> bytes:
    if path(asked).endswith("region_index.json"):
        return as_json(json.dumps(INDEX).encode())
    if path(asked).endswith("AmazonEC2/index.json"):
        return as_json(json.dumps({"versions": VERSIONS}).encode())
    return answer(200, OFFER, content_type="binary/octet-stream", etag='"v1"')


async def test_a_region_is_read_once_and_again_only_when_its_version_changes() -> None:
    async with talking(serve(service)) as (server, client):
        source = AwsBulk(client, [REGION], offers=["AmazonEC2"], base=server.url("").rstrip("/"))
        first = await source.read(REGION, day=DAY)
        again = await source.read(REGION, day=DAY)
        nowhere = await source.read("mars-north-1", day=DAY)

    assert first is not None
    assert first.height == 4
    assert again is None
    assert nowhere is None


async def test_the_price_at_the_day_of_usage_comes_from_the_version_of_that_day() -> None:
    async with talking(serve(service)) as (server, client):
        source = AwsBulk(client, [REGION], base=server.url("").rstrip("/"))
        await source.read_as_of("AmazonEC2", REGION, day=date(2026, 3, 3))
        with pytest.raises(NoAnswer):
            await source.read_as_of("AmazonEC2", REGION, day=date(2025, 3, 3))

    assert path(server.asked[1]) == f"/offers/v1.0/aws/AmazonEC2/20260101000000/{REGION}/index.csv"


@pytest.mark.parametrize(
    ("day", "version"),
    [(date(2025, 12, 31), None), (date(2026, 1, 1), "20260101000000"), (date(2026, 6, 1), "20260601000000")],
)
def test_the_version_in_effect_at_the_end_of_a_day(day: date, version: str | None) -> None:
    assert version_at(VERSIONS, day) == version


def ranged(data: bytes, *, breaks: list[int], etag: str = '"v1"') -> Callable[[Asked], bytes]:
    """Serve ``data`` with ranges; each of ``breaks`` cuts one answer after so many bytes."""
    left = list(breaks)

    def reply(asked: Asked) -> bytes:
        start = int(asked.headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        if asked.headers.get("if-range", etag) != etag:
            start = 0
        body = data[start:]
        sent = body[: left.pop(0)] if left else body
        status = 206 if start else 200
        return answer(status, sent, content_length=str(len(body)), etag=etag)

    return reply


async def test_a_broken_download_goes_on_where_it_stopped(tmp_path: Path) -> None:
    data = bytes(range(256)) * 4000
    progress: list[tuple[int, int]] = []
    async with talking(closing(ranged(data, breaks=[300_000, 500_000]))) as (server, client):
        got = await download(client, server.url("/a"), tmp_path / "a", progress=lambda *at: progress.append(at))

    assert contents(tmp_path / "a") == data
    assert (got.size, got.resumed) == (len(data), 2)
    assert "range" not in server.asked[0].headers
    assert server.asked[1].headers["range"] != "bytes=0-"
    assert progress[-1] == (len(data), len(data))
    assert names(tmp_path) == ["a"]


def closing(reply: Callable[[Asked], bytes]) -> Handler:
    """A handler that hangs up after an answer shorter than it said."""

    async def handle(asked: Asked, writer: asyncio.StreamWriter) -> None:
        data = reply(asked)
        head, _, body = data.partition(b"\r\n\r\n")
        whole = next(
            int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
        )
        writer.write(data)
        await writer.drain()
        if len(body) < whole:
            writer.close()

    return handle


async def test_a_file_that_changed_is_downloaded_anew(old_part: Path) -> None:
    async with talking(closing(ranged(b"new content", breaks=[]))) as (server, client):
        await download(client, server.url("/a"), old_part)

    assert contents(old_part) == b"new content"


@pytest.fixture
def old_part(tmp_path: Path) -> Path:
    (tmp_path / "a.part").write_bytes(b"old old old")
    (tmp_path / "a.part.etag").write_text('"v0"', encoding="ascii")
    return tmp_path / "a"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def contents(file: Path) -> bytes:
    return file.read_bytes()


async def test_a_download_that_always_breaks_is_refused_and_its_part_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "ATTEMPTS", 2)
    async with talking(closing(ranged(b"x" * 1_000_000, breaks=[100_000] * 9))) as (server, client):
        with pytest.raises(NoAnswer):
            await download(client, server.url("/a"), tmp_path / "a")

    assert "a" not in names(tmp_path)
    assert 65_536 <= len(contents(tmp_path / "a.part")) < 1_000_000


@pytest.mark.parametrize("status", [403, 404, 500])
async def test_a_refused_download_is_refused(tmp_path: Path, status: int) -> None:
    async with talking(serve(lambda _asked: answer(status, b"no"))) as (server, client):
        with pytest.raises(Answered):
            await download(client, server.url("/a"), tmp_path / "a")


@pytest.mark.parametrize(
    "data",
    [
        answer(200, b"<html>", content_type="text/html"),
        as_json(b'{"regions": ['),
        as_json(b'{"regions": []}'),
        as_json(b"[]"),
        answer(200, b'{"regions": {}', content_length="900"),
    ],
)
async def test_an_index_that_cannot_be_trusted_is_refused(data: bytes) -> None:
    async with talking(serve(lambda _asked: data)) as (server, client):
        with pytest.raises(NoAnswer):
            await AwsBulk(client, [REGION], offers=["AmazonEC2"], base=server.url("").rstrip("/")).read(REGION, day=DAY)
