"""Cloud costs over HTTP."""

from collections.abc import AsyncIterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest

from bursar.infra.db import Database
from bursar.infra.lake import Lake
from bursar.infra.metrics import Metrics
from bursar.infra.web import create_app
from bursar.kernel.actor import Actor
from bursar.kernel.errors import NotSignedIn
from bursar.kernel.period import Period
from bursar.parts.cloud import api
from bursar.parts.cloud.commitments import api as commitments_api
from bursar.parts.cloud.prices.service import PriceList
from tests.infra.webapp import SETTINGS, client_of
from tests.parts.cloud.bills import daily, line, put

READER = Actor(UUID(int=1), "person:reader", frozenset({"cost:read"}))
NOBODY = Actor(UUID(int=1), "person:nobody", frozenset())
MARCH = {"from": "2026-03-01", "to": "2026-04-01"}


async def authenticate(
    db: Database, *, authorization: str | None, cookie: str | None, address: str, now: datetime
) -> Actor:
    """Take the bearer text for who asks."""
    if authorization is None:
        raise NotSignedIn
    return READER if authorization.endswith("reader") else NOBODY


@pytest.fixture
async def lake(tmp_path: Path, db: Database) -> Lake:
    lake = Lake(tmp_path / "lake", memory_mb=256)
    rows: list[dict[str, Any]] = [
        line(cost="10.000000000000001", sku_id="a", pricing_quantity=Decimal(10)),
        line(cost="4", tags='{"team": "data"}', service_name="Amazon S3"),
        line(cost="2", service_name="Support", tags=None),
        line(date(2026, 2, 2), cost="5", sku_id="a", pricing_quantity=Decimal(5)),
    ]
    async with db.writing(READER) as tx:
        await put(lake, tx, rows)
    return lake


@pytest.fixture
async def reader(db: Database, lake: Lake) -> AsyncIterator[httpx2.AsyncClient]:
    app = create_app(SETTINGS, db, [api.routes(lake)], authenticate, metrics=Metrics())
    async with client_of(app, "reader") as client:
        yield client


async def test_costs_are_exact_decimal_texts(reader: httpx2.AsyncClient) -> None:
    answer = await reader.get("/v1/cloud/costs", params={**MARCH, "by": ["service", "tag:team"], "filter": "cost > 3"})

    assert answer.status_code == 200, answer.text
    data = [{name: one[name] for name in ("values", "cost", "lines")} for one in answer.json()["data"]]
    assert all(one["cost"].pop("trace").startswith("tr_") for one in data)
    assert data == [
        {"values": ["Amazon Elastic Compute Cloud", "web"], "cost": {"amount": "10.000000000000001", "currency": "USD"}, "lines": 1},
        {"values": ["Amazon S3", "data"], "cost": {"amount": "4.00", "currency": "USD"}, "lines": 1},
    ]  # fmt: skip


@pytest.mark.parametrize(
    "asked",
    [{**MARCH, "by": "nonsense"}, {**MARCH, "filter": "service ="}, {"from": "2026-04-01", "to": "2026-03-01"},
     {**MARCH, "limit": "100000"}],
)  # fmt: skip
async def test_questions_that_make_no_sense_are_refused(reader: httpx2.AsyncClient, asked: dict[str, str]) -> None:
    answer = await reader.get("/v1/cloud/costs", params=asked)

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


async def test_costs_need_the_right(db: Database, lake: Lake) -> None:
    app = create_app(SETTINGS, db, [api.routes(lake)], authenticate, metrics=Metrics())
    async with client_of(app, "nobody") as client:
        answer = await client.get("/v1/cloud/costs", params=MARCH)

    assert answer.status_code == 403


async def test_a_change_is_explained(reader: httpx2.AsyncClient) -> None:
    body = {"old_from": "2026-02-01", "old_to": "2026-03-01", "new_from": "2026-03-01", "new_to": "2026-04-01"}
    answer = await reader.post("/v1/cloud/bridge", json=body)

    found = answer.json()
    assert answer.status_code == 200, answer.text
    difference = Decimal(found["new"]["amount"]) - Decimal(found["old"]["amount"])
    assert sum(Decimal(cause["amount"]["amount"]) for cause in found["causes"]) == difference
    assert {cause["cause"] for cause in found["causes"]} == {"volume", "price", "new"}


async def test_shared_cost_is_split(reader: httpx2.AsyncClient) -> None:
    body = {**MARCH, "by": "tag:team", "shared": "service = Support", "method": "even"}
    answer = await reader.post("/v1/cloud/allocation", json=body)

    assert answer.status_code == 200, answer.text
    assert {one["target"]: one["total"]["amount"] for one in answer.json()["data"]} == {
        "data": "5.00", "web": "11.000000000000001",
    }  # fmt: skip


async def test_an_entered_invoice_is_matched(reader: httpx2.AsyncClient) -> None:
    entered = [{"month": "2026-03-01", "invoice": "A-1", "total": {"amount": "16.50", "currency": "USD"}}]
    answer = await reader.post("/v1/cloud/invoice-match", json={"months": ["2026-03-01"], "entered": entered})

    (match,) = answer.json()["data"]
    assert answer.status_code == 200, answer.text
    assert (match["settled"], match["difference"]["amount"]) == (False, "0.499999999999999")


async def test_commitments_are_planned_with_regret_and_steps(db: Database, lake: Lake, prices: PriceList) -> None:
    winter = Period(date(2025, 12, 1), date(2026, 4, 1))
    rows = daily(winter, "24", instance_type="m6i.large", resource_id="i", pricing_quantity=Decimal(240))
    async with db.writing(READER) as tx:
        await put(lake, tx, rows)
    app = create_app(SETTINGS, db, [commitments_api.routes(lake, prices)], authenticate, metrics=Metrics())
    async with client_of(app, "reader") as client:
        answer = await client.get("/v1/cloud/commitments", params={"discount": "0.3", "provider": "aws"})
        unknown = await client.get("/v1/cloud/commitments", params={"provider": "aws"})

    body = answer.json()
    [plan] = body["plans"]
    assert Decimal(plan["hourly"]["amount"]) == pytest.approx(Decimal("0.7"), abs=Decimal("0.02"))
    assert len(plan["outcomes"]) == 3
    assert sum(Decimal(one["hourly"]["amount"]) for one in plan["purchases"]) == pytest.approx(
        Decimal(plan["hourly"]["amount"]), abs=Decimal("0.00001")
    )
    assert plan["offers"] == [{"family": "m6i", "discount": 0.3, "source": "given", "term": "1y"}]
    assert unknown.status_code == 422
    assert "no discount is known" in unknown.json()["detail"]
