"""The price pack that comes with the product: answers at once, says of which day, holds no unknown price as 0."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from bursar.connectors.prices.libcloud_pack import default_prices
from bursar.parts.cloud.prices import store
from bursar.parts.cloud.prices.rules import Wanted
from bursar.parts.cloud.prices.service import PriceList
from tests.parts.cloud.prices.test_prices import ACTOR, Clock


@pytest.fixture(scope="module")
def default() -> pl.DataFrame:
    return default_prices()


def test_a_fresh_installation_answers_at_once_and_says_of_which_day(tmp_path: Path, default: pl.DataFrame) -> None:
    known = PriceList(tmp_path, default=lambda: default, clock=Clock())
    wanted = Wanted("aws", "us-east-1", instance_type="m5.large")

    found = known.price(wanted, on=date(2026, 10, 31))
    status = known.providers(ACTOR, today=date(2026, 10, 31))

    assert found is not None
    assert (found.amount, found.exact, found.seen_on) == (Decimal("0.096"), False, date(2025, 3, 2))
    assert [(item.name, item.fallback) for item in status] == [("aws", True), ("azure", True), ("gcp", True)]
    assert all(item.prices > 1000 for item in status)


def test_the_default_pack_has_no_price_of_zero(default: pl.DataFrame) -> None:
    assert default.height > 50_000
    assert default.filter(pl.col("price") <= 0).is_empty()
    assert default.filter((pl.col("sku") == "m5.large/linux") & (pl.col("region") == "ap-south-1")).is_empty()


@pytest.mark.parametrize(
    ("provider", "region", "machine", "amount"),
    [
        ("aws", "us-east-1", "c5.xlarge", "0.17"),
        ("aws", "us-east-1", "t3.micro", "0.0104"),
        ("azure", "westeurope", "Standard_D4s_v3", "0.24"),
    ],
)
def test_prices_of_the_default_pack_that_are_known_elsewhere(
    default: pl.DataFrame, provider: str, region: str, machine: str, amount: str
) -> None:
    found = store.Book(default).find(Wanted(provider, region, instance_type=machine), date(2025, 3, 2))

    assert found is not None
    assert found.amount == Decimal(amount)


def test_a_google_machine_costs_its_cores_and_its_memory(default: pl.DataFrame) -> None:
    found = store.Book(default).find(Wanted("gcp", "europe-west1", instance_type="n2-standard-8"), date(2025, 3, 2))
    parts = default.filter((pl.col("region") == "europe-west1") & (pl.col("term") == "on_demand"))
    core = parts.filter(pl.col("description").str.starts_with("N2 Instance Core"))["price"].item()
    ram = parts.filter(pl.col("description").str.starts_with("N2 Instance Ram"))["price"].item()

    assert found is not None
    assert found.amount == core * 8 + ram * 32
