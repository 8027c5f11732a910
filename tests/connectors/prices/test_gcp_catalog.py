"""Google's catalogue: units and nanos, tiers, page tokens, refused keys, machines from cores and memory."""

import json
from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from bursar.connectors.prices.gcp_catalog import GcpCatalog, rows_of, unit_price
from bursar.infra.http import NoAnswer
from bursar.kernel.errors import Invalid
from tests.connectors.prices.clients import as_json, asked_for, serve, talking
from tests.infra.servers import Asked, answer
from tests.shared import shared_data

DAY = date(2026, 11, 1)


def sku(number: str, description: str, *rates: tuple[float, str, int], **facts: Any) -> dict[str, Any]:
    tiers = [
        {"startUsageAmount": start, "unitPrice": {"currencyCode": "USD", "units": units, "nanos": nanos}}
        for start, units, nanos in rates
    ]
    usual = {
        "skuId": number,
        "description": description,
        "category": {"serviceDisplayName": "Compute Engine", "resourceGroup": "CPU", "usageType": "OnDemand"},
        "serviceRegions": ["europe-west1"],
        "pricingInfo": [
            {"effectiveTime": "2026-10-01T12:00:00.123Z", "pricingExpression": {"usageUnit": "h", "tieredRates": tiers}}
        ],
    }
    return usual | facts


CORE = sku("AAAA-0001", "N2 Instance Core running in Belgium", (0, "0", 34773000))
RAM = sku("AAAA-0002", "N2 Instance Ram running in Belgium", (0, "0", 4661000))
RAM["pricingInfo"][0]["pricingExpression"]["usageUnit"] = "GiBy.h"


def paged(pages: list[list[dict[str, Any]]], tokens: list[str]) -> Any:
    def reply(asked: Asked) -> bytes:
        token = asked_for(asked).get("pageToken", "")
        number = tokens.index(token) + 1 if token in tokens else 0
        body: dict[str, Any] = {"skus": pages[number]}
        if number < len(tokens):
            body["nextPageToken"] = tokens[number]
        return as_json(json.dumps(body).encode())

    return reply


async def test_pages_are_followed_and_machines_are_priced_from_their_parts() -> None:
    async with talking(serve(paged([[CORE], [RAM]], ["next"]))) as (server, client):
        source = GcpCatalog(
            client, "key", ["europe-west1"], services={"6F81": "Compute Engine"}, base=server.url("/v1")
        )
        table = await source.read("europe-west1", day=DAY)
        other = await source.read("us-east1", day=DAY)

    assert table is not None
    assert other is not None
    assert other.is_empty()
    machine = table.row(by_predicate=pl.col("instance_type") == "n2-standard-4", named=True)
    assert machine["price"] == Decimal("0.034773") * 4 + Decimal("0.004661") * 16
    assert (machine["vcpu"], machine["memory_gib"], machine["valid_from"]) == (4.0, 16.0, date(2026, 10, 1))
    assert len(server.asked) == 2


async def test_a_page_token_given_twice_is_refused() -> None:
    reply = as_json(json.dumps({"skus": [CORE], "nextPageToken": "again"}).encode())
    async with talking(serve(lambda _asked: reply)) as (server, client):
        source = GcpCatalog(
            client, "key", ["europe-west1"], services={"6F81": "Compute Engine"}, base=server.url("/v1")
        )
        with pytest.raises(NoAnswer, match="same page token"):
            await source.read("europe-west1", day=DAY)


async def test_a_refused_key_says_what_to_do() -> None:
    body = b'{"error": {"code": 400, "status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}}'
    async with talking(serve(lambda _asked: as_json(body, 400))) as (server, client):
        source = GcpCatalog(
            client, "key", ["europe-west1"], services={"6F81": "Compute Engine"}, base=server.url("/v1")
        )
        with pytest.raises(Invalid, match="refuses the API key"):
            await source.read("europe-west1", day=DAY)


@pytest.mark.parametrize(
    "data", [answer(200, b"<html>", content_type="text/html"), as_json(b'{"skus": 1}'), as_json(b"[1"), as_json(b"[]")]
)
async def test_what_cannot_be_trusted_is_refused(data: bytes) -> None:
    async with talking(serve(lambda _asked: data)) as (server, client):
        source = GcpCatalog(
            client, "key", ["europe-west1"], services={"6F81": "Compute Engine"}, base=server.url("/v1")
        )
        with pytest.raises(NoAnswer):
            await source.read("europe-west1", day=DAY)


def test_units_are_text_and_nanos_are_billionths() -> None:
    assert unit_price({"units": "2", "nanos": 933908000}) == Decimal("2.933908")
    assert unit_price({"units": "", "nanos": 31}) == Decimal("0.000000031")
    assert unit_price({"units": "x"}) is None


def test_a_free_tier_does_not_hide_the_price_behind_it() -> None:
    rows = rows_of(sku("B", "Analysis", (0, "0", 0), (1, "6", 250000000)), "BigQuery", "europe-west1")

    assert [(row["tier_start"], row["price"]) for row in rows] == [(0, 0), (1, Decimal("6.25"))]


@pytest.mark.parametrize(
    "unusable",
    [
        sku("B", "Free", (0, "0", 0)),
        sku("B", "None"),
        sku("B", "x", (0, "1", 0), pricingInfo=[]),
        sku("", "x", (0, "1", 0)),
        sku("B", "x", (0, "1", 0), category={"usageType": "Other"}),
    ],
)
def test_a_sku_without_a_known_price_is_left_out(unusable: dict[str, Any]) -> None:
    assert rows_of(unusable, "Compute Engine", "europe-west1") == []


def test_a_recorded_page_of_the_service_is_read() -> None:
    document = json.loads(shared_data("cloud/price_api/gcp_skus.json").read_text(encoding="utf-8"))

    rows = [row for entry in document["skus"] for row in rows_of(entry, "Compute Engine", entry["serviceRegions"][0])]

    assert rows[0]["price"] == Decimal("2.933908")
    assert len(rows) >= len(document["skus"]) - 1
