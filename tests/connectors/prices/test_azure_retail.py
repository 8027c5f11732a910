"""Azure Retail Prices: overlapping pages, drift, repeats, throttling, broken answers; reservations priced per hour."""

import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from bursar.connectors.prices import azure_retail
from bursar.connectors.prices.azure_retail import AzureRetail, arch, cores, memory, rows_of
from bursar.infra.http import Answered, NoAnswer
from tests.connectors.prices.clients import as_json, asked_for, serve, talking
from tests.infra.servers import Asked, answer

DAY = date(2026, 11, 1)


def item(number: int, **facts: Any) -> dict[str, Any]:
    usual = {
        "currencyCode": "USD",
        "tierMinimumUnits": 0.0,
        "retailPrice": 0.096,
        "unitPrice": 0.096,
        "armRegionName": "westeurope",
        "effectiveStartDate": "2023-04-01T00:00:00Z",
        "meterId": f"meter-{number:05d}",
        "meterName": "D4s v5",
        "productName": "Virtual Machines Dsv5 Series",
        "skuId": f"DZH318Z0/{number:04X}",
        "skuName": "D4s v5",
        "serviceName": "Virtual Machines",
        "unitOfMeasure": "1 Hour",
        "type": "Consumption",
        "armSkuName": "Standard_D4s_v5",
    }
    return usual | facts


def read(**facts: Any) -> list[dict[str, Any]]:
    """The rows of one item as it arrives."""
    return rows_of(json.loads(json.dumps(item(1, **facts)), parse_float=Decimal))


def page(items: list[dict[str, Any]]) -> bytes:
    envelope = {"BillingCurrency": "USD", "CustomerEntityId": "Default", "Items": items, "NextPageLink": None}
    return as_json(json.dumps(envelope | {"Count": len(items)}).encode())


Change = Callable[[int, list[dict[str, Any]]], list[dict[str, Any]]]


def catalogue(items: list[dict[str, Any]], change: Change = lambda _call, listed: listed) -> Callable[[Asked], bytes]:
    calls = [0]

    def reply(asked: Asked) -> bytes:
        calls[0] += 1
        facts = asked_for(asked)
        listed = change(calls[0], items)
        skip, top = int(facts["$skip"]), int(facts["$top"])
        return page(listed[skip : skip + top])

    return reply


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(azure_retail, "PAGE", 50)


async def test_every_page_is_read_once_and_asked_for_with_case_sensitive_filters() -> None:
    items = [item(number) for number in range(173)]
    seen: list[int] = []
    async with talking(serve(catalogue(items))) as (server, client):
        source = AzureRetail(
            client,
            ["westeurope"],
            services=["Virtual Machines"],
            base=server.url("/api"),
            progress=lambda _, rows: seen.append(rows),
        )
        table = await source.read("westeurope", day=DAY)

    assert table is not None
    assert table["sku"].n_unique() == table.height == 173
    assert seen[-1] == 173
    assert (
        asked_for(server.asked[0])["$filter"] == "serviceName eq 'Virtual Machines' and armRegionName eq 'westeurope'"
    )
    assert table["price"].unique().to_list() == [Decimal("0.096")]


async def test_a_catalogue_that_drifts_while_read_is_read_again_and_nothing_is_lost() -> None:
    items = [item(number) for number in range(120)]

    def drift(call: int, listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return listed if call < 2 else [item(-1), *listed]

    async with talking(serve(catalogue(items, drift))) as (server, client):
        source = AzureRetail(client, ["westeurope"], services=["Virtual Machines"], base=server.url())
        table = await source.read("westeurope", day=DAY)

    assert table is not None
    assert table["sku"].n_unique() == table.height == 121


async def test_a_catalogue_that_never_settles_is_refused() -> None:
    def restless(call: int, listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [item(number + call * 1000) for number in range(len(listed))]

    async with talking(serve(catalogue([item(n) for n in range(120)], restless))) as (server, client):
        source = AzureRetail(client, ["westeurope"], services=["Virtual Machines"], base=server.url())
        with pytest.raises(NoAnswer, match="kept changing"):
            await source.read("westeurope", day=DAY)


async def test_throttling_is_waited_out() -> None:
    items = [item(number) for number in range(20)]
    reply, calls = catalogue(items), [0]

    def throttled(asked: Asked) -> bytes:
        calls[0] += 1
        return answer(429, b"", retry_after="1") if calls[0] == 1 else reply(asked)

    async with talking(serve(throttled)) as (server, client):
        table = await AzureRetail(client, ["westeurope"], services=["Virtual Machines"], base=server.url()).read(
            "westeurope", day=DAY
        )

    assert table is not None
    assert table.height == 20


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (answer(503, b"busy"), Answered),
        (answer(200, b"<html>", content_type="text/html"), NoAnswer),
        (as_json(b'{"Items": [{"retail'), NoAnswer),
        (as_json(b'{"Items": 3}'), NoAnswer),
        (as_json(b"[]"), NoAnswer),
        (answer(200, b'{"Items": []}', content_length="5000"), NoAnswer),
        (page([]), NoAnswer),
        (None, NoAnswer),
    ],
)
async def test_what_cannot_be_trusted_is_refused(data: bytes | None, error: type[Exception]) -> None:
    async with talking(serve(lambda _asked: data)) as (server, client):
        source = AzureRetail(client, ["westeurope"], services=["Virtual Machines"], base=server.url())
        with pytest.raises(error):
            await source.read("westeurope", day=DAY)


def test_a_reservation_s_price_is_for_its_whole_term() -> None:
    (row,) = read(type="Reservation", reservationTerm="1 Year", retailPrice=1168.0)
    (long,) = read(type="Reservation", reservationTerm="3 Years", retailPrice=2257.0)

    assert row["term"] == "reserved_1y"
    assert round(row["price"], 6) == Decimal("0.133333")
    assert round(long["price"], 6) == Decimal("0.085883")


def test_savings_plans_are_inside_consumption_items() -> None:
    plans = [
        {"retailPrice": 0.154471, "term": "1 Year"},
        {"retailPrice": 0.1032, "term": "3 Years"},
    ]

    rows = read(savingsPlan=plans)

    assert [(row["term"], row["price"]) for row in rows[1:]] == [
        ("savings_plan_1y", Decimal("0.154471")),
        ("savings_plan_3y", Decimal("0.1032")),
    ]


def test_windows_and_spot_are_told_by_words() -> None:
    (windows,) = read(productName="Virtual Machines Dsv5 Series Windows")
    (spot,) = read(skuName="D4s v5 Spot", meterName="D4s v5 Spot")

    assert (windows["os"], windows["term"]) == ("windows", "on_demand")
    assert (spot["os"], spot["term"]) == ("linux", "spot")


@pytest.mark.parametrize(
    "broken",
    [
        {"retailPrice": None},
        {"retailPrice": -1},
        {"skuId": ""},
        {"type": "DevTestConsumption"},
        {"armRegionName": ""},
        {"type": "Reservation", "reservationTerm": "2 Weeks"},
    ],
)
def test_an_item_without_a_usable_price_is_left_out(broken: dict[str, Any]) -> None:
    assert read(**broken) == []


@pytest.mark.parametrize(
    ("name", "vcpu", "gib", "kind"),
    [
        ("Standard_D4s_v5", 4.0, 16.0, "x86_64"),
        ("Standard_E8ds_v4", 8.0, 64.0, "x86_64"),
        ("Standard_F16s_v2", None, None, "x86_64"),
        ("Standard_D2ps_v5", 2.0, 8.0, "arm64"),
        ("Standard_D4ls_v5", 4.0, None, "x86_64"),
        ("Standard_DS3_v2", None, None, "x86_64"),
    ],
)
def test_shapes_are_read_from_names_only_where_names_state_them(
    name: str, vcpu: float | None, gib: float | None, kind: str
) -> None:
    assert (cores(name), memory(name, cores(name)), arch(name)) == (vcpu, gib, kind)
