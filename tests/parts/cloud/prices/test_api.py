"""List prices over HTTP, and the nightly reading."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import httpx2
import pytest

from bursar.infra.db import Database
from bursar.infra.jobs import Context
from bursar.infra.metrics import Metrics
from bursar.infra.web import create_app
from bursar.kernel.actor import Actor
from bursar.kernel.errors import NotSignedIn, Unavailable
from bursar.parts.cloud.prices import api, jobs
from bursar.parts.cloud.prices.service import PriceList
from tests.infra.webapp import SETTINGS, client_of
from tests.parts.cloud.prices.test_prices import MACHINE, Clock, Listing, row, table

READER = Actor(UUID(int=1), "person:reader", frozenset({"price:read"}))
NOBODY = Actor(UUID(int=1), "person:nobody", frozenset())


async def authenticate(
    db: Database, *, authorization: str | None, cookie: str | None, address: str, now: datetime
) -> Actor:
    """Take the bearer text for who asks."""
    if authorization is None:
        raise NotSignedIn
    return READER if authorization.endswith("reader") else NOBODY


@pytest.fixture
def known(tmp_path: Path) -> PriceList:
    rows = (
        row("A", "0.0960000", seen_on=date(2026, 5, 1), **MACHINE),
        row("B", "0.000001234", seen_on=date(2026, 5, 1)),
    )
    return PriceList(tmp_path, default=lambda: table(*rows), clock=Clock())


@pytest.fixture
async def reader(db: Database, known: PriceList) -> AsyncIterator[httpx2.AsyncClient]:
    app = create_app(SETTINGS, db, [api.routes(known)], authenticate, metrics=Metrics())
    async with client_of(app, "reader") as client:
        yield client


async def test_machines_are_compared(reader: httpx2.AsyncClient) -> None:
    answer = await reader.get("/v1/cloud/prices", params={"vcpu": 2, "memory_gib": 8, "on": "2026-05-01"})

    (machine,) = answer.json()["data"]
    assert answer.status_code == 200
    assert machine["price"].pop("trace").startswith("tr_")
    assert machine["price"] == {"amount": "0.096", "currency": "USD", "unit": "Hrs"}
    assert (machine["monthly"], machine["instance_type"]) == ("70.08", "m5.large")


async def test_a_tiny_price_is_written_exactly(reader: httpx2.AsyncClient) -> None:
    where = {"provider": "aws", "region": "eu-central-1", "on": "2026-06-01"}
    answer = await reader.get("/v1/cloud/prices/one", params=where | {"sku": "B"})

    assert answer.json()["price"]["amount"] == "0.000001234"
    assert (answer.json()["as_of"], answer.json()["exact"]) == ("2026-05-01", False)


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"sku": "Z"}, 404),
        ({}, 422),
        ({"sku": "A", "instance_type": "m5.large"}, 422),
        ({"sku": "A", "on": "yesterday"}, 422),
        ({"sku": "A", "currency": "dollars"}, 422),
    ],
)
async def test_what_is_unknown_or_wrong_is_refused(
    reader: httpx2.AsyncClient, asked: dict[str, str], status: int
) -> None:
    answer = await reader.get("/v1/cloud/prices/one", params={"provider": "aws", "region": "eu-central-1"} | asked)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_providers_say_how_old_their_prices_are(reader: httpx2.AsyncClient) -> None:
    (provider,) = (await reader.get("/v1/cloud/providers")).json()["data"]

    assert (provider["name"], provider["prices"], provider["seen_on"]) == ("aws", 2, "2026-05-01")
    assert provider["fallback"] is False


@pytest.mark.parametrize("path", ["/v1/cloud/prices?vcpu=1&memory_gib=1", "/v1/cloud/providers"])
async def test_reading_prices_needs_the_right(db: Database, known: PriceList, path: str) -> None:
    app = create_app(SETTINGS, db, [api.routes(known)], authenticate, metrics=Metrics())
    async with client_of(app, "nobody") as nobody, client_of(app) as stranger:
        assert (await nobody.get(path)).status_code == 403
        assert (await stranger.get(path)).status_code == 401


class Tools:
    """What the job gets of its context."""

    def __init__(self, given: jobs.Catalogues) -> None:
        self.given = given

    def tool(self, _kind: type) -> jobs.Catalogues:
        return self.given


async def test_one_catalogue_that_fails_does_not_stop_the_others(known: PriceList) -> None:
    today = datetime.now(UTC).date()  # noqa: TID251  the job reads the clock at the edge
    good = Listing(one=table(row("A", "2", seen_on=today)))
    bad = Listing(one=Unavailable("GCP"))
    bad.name = "gcp"

    counts = await jobs.refresh.run(cast("Context", Tools(jobs.Catalogues(known, [bad, good]))))

    statuses = known.tables.statuses()
    assert counts == {"gcp": 0, "aws": 1}
    assert "GCP does not answer" in statuses["gcp"].error
    assert statuses["aws"].prices == 1


@pytest.mark.parametrize(
    ("amount", "written"),
    [("1", "1.00"), ("0.1", "0.10"), ("0.0960", "0.096"), ("1E-9", "0.000000001"), ("120", "120.00")],
)
def test_amounts_are_written_without_needless_zeros(amount: str, written: str) -> None:
    assert api.text(Decimal(amount)) == written


def test_the_table_of_routes_is_what_the_guide_says(known: PriceList) -> None:
    paths: list[Any] = [route.path for route in api.routes(known).routes]

    assert paths == ["/v1/cloud/prices", "/v1/cloud/prices/one", "/v1/cloud/providers"]
