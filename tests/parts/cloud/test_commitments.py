"""The commitment planner on imported lines and their forecast."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from bursar.infra.db import Database
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Invalid, NotAllowed
from bursar.kernel.period import Period
from bursar.kernel.prices import PRICE_COLUMNS
from bursar.parts.cloud.commitments import service
from bursar.parts.cloud.commitments.service import Scope, Source, Wanted
from bursar.parts.cloud.prices.service import PriceList
from bursar.parts.cloud.rules import eligible
from tests.parts.cloud.bills import daily, line, put

WHOLE = Period(date(2025, 12, 1), date(2026, 4, 1))
TODAY = date(2026, 4, 2)

Rows = list[dict[str, Any]]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake", memory_mb=256)


def machines(cost: str = "24", kind: str = "m6i.large", **values: Any) -> Rows:
    return daily(WHOLE, cost, instance_type=kind, resource_id=kind, pricing_quantity=Decimal(240), **values)


async def planned(
    lake: Lake, db: Database, actor: Actor, prices: PriceList, rows: Rows, wanted: Wanted
) -> service.Answer:
    async with db.writing(actor) as tx:
        await put(lake, tx, rows)
        return await service.plan(tx, actor, lake=lake, prices=prices, wanted=wanted, today=TODAY)


async def test_steady_machines_are_committed_to_wholly(
    lake: Lake, db: Database, actor: Actor, prices: PriceList
) -> None:
    """Ten machines for 0.10 an hour each: a dollar an hour on demand, 0.70 committed."""
    found = await planned(lake, db, actor, prices, machines(), Wanted(discount=0.3))

    [one] = found.plans
    assert one.plan.level == pytest.approx(0.7, rel=0.02)
    assert one.plan.coverage == pytest.approx(1.0, abs=0.02)
    assert one.plan.utilisation == pytest.approx(1.0, abs=0.02)
    assert one.plan.savings_rate == pytest.approx(0.3, abs=0.01)
    assert one.plan.break_even == pytest.approx(0.7, abs=0.01)
    assert all(outcome.regret < 0.02 for outcome in one.plan.outcomes)
    assert [day for day, _ in one.purchases] == [date(2026, month, 1) for month in (5, 6, 7, 8)]
    assert sum(part for _, part in one.purchases) == pytest.approx(one.plan.level)
    assert (one.main_type, one.families, one.offers[0].source) == ("m6i.large", ("m6i",), Source.GIVEN)
    assert one.main_count == pytest.approx(10, rel=0.02)
    assert not found.hours_measured


async def test_the_discount_of_own_commitments_is_used_and_named(
    lake: Lake, db: Database, actor: Actor, prices: PriceList
) -> None:
    rows = machines() + machines(
        "6", kind="m6i.xlarge", contracted_cost=Decimal(10), pricing_category="Committed",
        commitment_discount_status="Used", commitment_discount_id="sp",
    )  # fmt: skip
    rows += daily(WHOLE, "2", commitment_discount_status="Unused", commitment_discount_id="sp")

    found = await planned(lake, db, actor, prices, rows, Wanted())

    [one] = found.plans
    assert one.offers[0].source is Source.OWN
    assert one.offers[0].discount == pytest.approx(0.4)
    now = found.standing["aws", "USD"]
    assert now.coverage == pytest.approx(10 / 34)
    assert now.utilisation == pytest.approx(6 / 8)
    assert now.savings_rate == pytest.approx(1 - 32 / 34)


async def test_reserved_hours_that_are_billed_at_nothing_count_at_their_list_price(
    lake: Lake, db: Database, actor: Actor, prices: PriceList
) -> None:
    rows = machines() + machines(
        "6", kind="m6i.xlarge", contracted_cost=Decimal(0), list_cost=Decimal(10), pricing_category="Committed",
        commitment_discount_status="Used", commitment_discount_id="ri",
    )  # fmt: skip

    found = await planned(lake, db, actor, prices, rows, Wanted())

    assert found.plans[0].offers[0].discount == pytest.approx(0.4)
    assert found.standing["aws", "USD"].savings_rate == pytest.approx(4 / 34)


def listed(folder: Path, *rows: tuple[str, str, str]) -> PriceList:
    """Return a price list of (type, term, price)."""
    usual = dict.fromkeys(PRICE_COLUMNS) | {
        "provider": "aws", "service": "AmazonEC2", "region": "eu-central-1", "os": "linux", "unit": "Hrs", "currency": "USD",
        "tier_start": Decimal(0), "seen_on": TODAY, "source": "aws-price-list",
    }  # fmt: skip
    table = pl.DataFrame(
        [
            usual | {"sku": kind, "instance_type": kind, "term": term, "price": Decimal(price)}
            for kind, term, price in rows
        ],
        schema=dict(PRICE_COLUMNS),
        strict=False,
    )
    return PriceList(folder, default=lambda: table, clock=lambda: 1.0)


async def test_a_listed_discount_goes_before_own_ones(lake: Lake, db: Database, actor: Actor, tmp_path: Path) -> None:
    own = listed(
        tmp_path / "p",
        ("m6i.large", "on_demand", "0.1"),
        ("m6i.large", "reserved_1y_no_upfront", "0.075"),
        ("m6i.large", "reserved_3y_no_upfront", "0.05"),
    )

    one_year = await planned(lake, db, actor, own, machines(), Wanted())
    async with db.reading(actor) as tx:
        three = await service.plan(tx, actor, lake=lake, prices=own, wanted=Wanted(years=3), today=TODAY)

    assert [plan.offers[0].discount for plan in one_year.plans] == [pytest.approx(0.25)]
    assert one_year.plans[0].offers[0].term == "reserved_1y_no_upfront"
    assert one_year.plans[0].offers[0].source is Source.LISTED
    assert three.plans[0].offers[0].discount == pytest.approx(0.5)


async def test_a_savings_plan_covers_the_deepest_discount_first(
    lake: Lake, db: Database, actor: Actor, tmp_path: Path
) -> None:
    own = listed(
        tmp_path / "p",
        ("m6i.large", "on_demand", "0.1"),
        ("m6i.large", "savings_plan_1y_no_upfront", "0.07"),
        ("c6i.large", "on_demand", "0.1"),
        ("c6i.large", "savings_plan_1y_no_upfront", "0.05"),
        ("x2.large", "on_demand", "1"),
    )
    rows = machines() + machines(kind="c6i.large") + machines("1", kind="x2.large")

    found = await planned(lake, db, actor, own, rows, Wanted(scope=Scope.PROVIDER))

    [one] = found.plans
    assert set(one.families) == {"m6i", "c6i"}
    assert one.plan.level == pytest.approx(1.2, rel=0.03)
    assert one.main_count == 0
    assert found.without_offer == ("aws x2",)


async def test_what_runs_by_day_alone_is_not_committed_for_the_night(
    lake: Lake, db: Database, actor: Actor, prices: PriceList
) -> None:
    """Hourly lines of a machine that runs twelve hours a day: at a discount of 30 % a night unused costs more than it saves."""
    rows = []
    for index in range(WHOLE.days):
        day = WHOLE.start + timedelta(days=index)
        for hour in range(24):
            start = datetime(day.year, day.month, day.day, hour, tzinfo=UTC)
            cost = "1" if 7 <= hour < 19 else "0.0001"
            rows.append(line(day, cost, instance_type="m6i.large", resource_id="i") | {"charge_period_start": start})

    found = await planned(lake, db, actor, prices, rows, Wanted(discount=0.3))

    assert found.hours_measured
    assert all(one.plan.level < 0.05 for one in found.plans)
    async with db.reading(actor) as tx:
        deep = await service.plan(tx, actor, lake=lake, prices=prices, wanted=Wanted(discount=0.6), today=TODAY)
    assert deep.plans[0].plan.level == pytest.approx(0.4, rel=0.05)


async def test_what_cannot_be_planned_is_refused_with_the_reason(
    lake: Lake, db: Database, actor: Actor, prices: PriceList, make_actor: Any
) -> None:
    async with db.writing(actor) as tx:
        with pytest.raises(Invalid, match="no bill"):
            await service.plan(tx, actor, lake=lake, prices=prices, wanted=Wanted(), today=TODAY)
        short = Period(date(2026, 3, 10), WHOLE.end)
        batch = daily(short, "24", instance_type="m6i.large", resource_id="i")
        await put(lake, tx, batch)
        with pytest.raises(Invalid, match="cover 22 days"):
            await service.plan(tx, actor, lake=lake, prices=prices, wanted=Wanted(discount=0.3), today=TODAY)
        await put(lake, tx, machines())
        with pytest.raises(Invalid, match="no discount is known for 1 years"):
            await service.plan(tx, actor, lake=lake, prices=prices, wanted=Wanted(), today=TODAY)
        with pytest.raises(Invalid, match="no bill"):
            await service.plan(tx, actor, lake=lake, prices=prices, wanted=Wanted("gcp"), today=TODAY)
        await put(lake, tx, daily(WHOLE, "1", provider="azure", service_category="Storage"))
        with pytest.raises(Invalid, match="no machine"):
            await service.plan(tx, actor, lake=lake, prices=prices, wanted=Wanted("azure"), today=TODAY)
    nobody = make_actor()
    async with db.reading(nobody) as tx:
        with pytest.raises(NotAllowed, match="cost:read"):
            await service.plan(tx, nobody, lake=lake, prices=prices, wanted=Wanted(), today=TODAY)


@pytest.mark.parametrize(("facts", "says"), [({"discount": 1.0}, "discount"), ({"years": 2}, "term")])
def test_a_question_that_cannot_be_is_refused(facts: dict[str, Any], says: str) -> None:
    with pytest.raises(Invalid, match=says):
        Wanted(**facts)


def test_scenarios_keep_the_quantiles_of_the_forecast() -> None:
    flat = {
        level: np.full((1, 365), 24.0 * value)
        for level, value in zip(eligible.QUANTILES, (1.0, 2.0, 5.0, 8.0, 9.0), strict=True)
    }
    shapes = np.ones((1, 7, 24))

    found = eligible.scenarios(eligible.Outlook(date(2026, 4, 1), flat), shapes, days=1095)

    assert found.shape[0] == eligible.SCENARIOS
    assert found.shape[2] == 1
    assert float(np.median(found[:, 0, 0])) == pytest.approx(5.0, abs=0.4)
    assert found.min() >= 1.0
    assert found.max() <= 9.0
    assert float(found.mean()) == pytest.approx(5.0, abs=0.1)
