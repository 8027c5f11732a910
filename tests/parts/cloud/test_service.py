"""Cloud's use cases on the real database and lake."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bursar.connectors.bills.focus import FOCUS
from bursar.infra.db import Database
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Invalid, NotAllowed
from bursar.kernel.lines import INVOICE_DETAIL_LINES
from bursar.kernel.period import Period
from bursar.parts.cloud import service
from bursar.parts.cloud.prices.service import PriceList
from bursar.parts.cloud.rules.bridge import Cause
from bursar.parts.cloud.rules.dimensions import CostKind
from bursar.parts.cloud.rules.invoices import Stated
from bursar.parts.cloud.rules.queries import CostQuery
from bursar.parts.cloud.savings import service as savings
from bursar.parts.cloud.sharing import service as sharing
from bursar.parts.cloud.sharing.rules import Method
from tests.parts.cloud.bills import FEBRUARY, MARCH, NOW, daily, line, put, put_parsed
from tests.shared import shared_data


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake", memory_mb=256)


async def test_costs_by_dimension_tag_and_month(lake: Lake, db: Database, actor: Actor) -> None:
    rows = [
        line(cost="10", tags='{"team": "web"}'),
        line(cost="5.000000000000001", tags='{"team": "data"}'),
        line(date(2026, 2, 3), cost="3", tags=None),
        line(cost="7", currency="EUR", service_name="Other"),
    ]
    asked = CostQuery(Period(date(2026, 2, 1), date(2026, 4, 1)), ("month", "tag:team"), where="provider = aws")
    async with db.writing(actor) as tx:
        await put(lake, tx, rows)
        found = await service.costs(tx, actor, lake=lake, asked=asked)

    assert [(group.values, group.currency, group.cost) for group in found] == [
        (("2026-02-01", None), "USD", Decimal(3)),
        (("2026-03-01", "web"), "USD", Decimal(10)),
        (("2026-03-01", "web"), "EUR", Decimal(7)),
        (("2026-03-01", "data"), "USD", Decimal("5.000000000000001")),
    ]


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("", 5),
        ("service = 'Amazon S3'", 1),
        ("service != 'Amazon S3'", 4),
        ("service ~ 'amazon'", 4),
        ("tag:team in (web, data)", 3),
        ("tag:team is empty", 2),
        ("not tag:team = web", 3),
        ("cost >= 2 and not (service ~ s3 or tag:team = web)", 3),
        ("region is not empty and provider = gcp", 1),
        ('service = "it\'s \\"quoted\\"; drop table cost"', 0),
    ],
)
async def test_the_filter_language(lake: Lake, db: Database, actor: Actor, where: str, kept: int) -> None:
    rows = [
        line(cost="1"),
        line(cost="2", service_name="Amazon S3"),
        line(cost="3", tags='{"team": "data"}'),
        line(cost="4", tags="{}"),
        line(cost="5", tags=None, provider="gcp", service_name="Compute Engine"),
    ]
    async with db.writing(actor) as tx:
        await put(lake, tx, rows)
        found = await service.costs(tx, actor, lake=lake, asked=CostQuery(MARCH, where=where))

    assert sum(group.lines for group in found) == kept


async def test_costs_need_the_right(lake: Lake, db: Database, make_actor: object) -> None:
    nobody = make_actor()  # type: ignore[operator]
    async with db.reading(nobody) as tx:
        with pytest.raises(NotAllowed, match="cost:read"):
            await service.costs(tx, nobody, lake=lake, asked=CostQuery(MARCH))


async def test_the_public_sample_is_explained_and_advised_on(
    lake: Lake, db: Database, actor: Actor, prices: PriceList
) -> None:
    path = shared_data("cloud/focus_1_0/FOCUS-1.0/focus_sample.csv")
    async with db.writing(actor) as tx:
        await put_parsed(lake, tx, FOCUS.parse(path, options={}))
        seen = await service.covered(tx, actor, lake=lake)
        assert seen is not None
        half = Period(seen.start, date(2024, 9, 16)), Period(date(2024, 9, 16), seen.end)
        explained = await service.bridge(tx, actor, lake=lake, old=half[0], new=half[1], currency="USD")
        totals = [await service.costs(tx, actor, lake=lake, asked=CostQuery(period)) for period in half]
        found = await savings.advise(tx, actor, lake=lake, prices=prices, now=datetime(2024, 10, 3, tzinfo=UTC))

    assert explained.old == totals[0][0].cost
    assert explained.new == totals[1][0].cost
    assert sum((change.amount for change in explained.causes), Decimal(0)) == explained.new - explained.old
    assert all(one.kind in savings.KINDS for one in found)


async def test_a_change_of_price_volume_new_gone_credit_and_currency(lake: Lake, db: Database, actor: Actor) -> None:
    def used(day: date, cost: str, quantity: str, **more: Any) -> dict[str, Any]:
        return line(day, cost, pricing_quantity=Decimal(quantity), sku_id="a", **more)

    february, march = date(2026, 2, 5), date(2026, 3, 5)
    rows = [
        used(february, "100", "100"), used(march, "150", "120"),
        line(february, "7", service_name="Old", sku_id="x"), line(march, "9", service_name="New", sku_id="y"),
        line(march, "-4", charge_category="Credit"), line(march, "2", charge_category="Tax"),
        line(february, "10", currency="EUR", sku_id="e", pricing_quantity=Decimal(1)),
        line(march, "10", currency="EUR", sku_id="e", pricing_quantity=Decimal(1)),
    ]  # fmt: skip
    async with db.writing(actor) as tx:
        await put(lake, tx, rows)
        rates = {"EUR": (Decimal("1.10"), Decimal("1.20"))}
        found = await service.bridge(tx, actor, lake=lake, old=FEBRUARY, new=MARCH, currency="USD", rates=rates)
        with pytest.raises(Invalid, match="no rate from EUR to USD"):
            await service.bridge(tx, actor, lake=lake, old=FEBRUARY, new=MARCH, currency="USD")

    amounts = {change.cause: change.amount for change in found.causes}
    assert amounts == {
        Cause.VOLUME: Decimal(20), Cause.PRICE: Decimal(30), Cause.NEW: Decimal(9), Cause.GONE: Decimal(-7),
        Cause.CREDITS: Decimal(-4), Cause.TAX: Decimal(2), Cause.CURRENCY: Decimal(1),
    }  # fmt: skip
    assert found.new - found.old == Decimal(51)


async def test_buying_a_commitment_is_told_as_commitments_not_as_volume(lake: Lake, db: Database, actor: Actor) -> None:
    def hours(day: date, cost: str, **more: Any) -> dict[str, Any]:
        return line(day, cost, pricing_quantity=Decimal(100), contracted_cost=Decimal(10), sku_id="a", **more)

    rows = [
        hours(date(2026, 2, 5), "10"),
        hours(date(2026, 3, 5), "6", commitment_discount_status="Used", pricing_category="Committed"),
        line(date(2026, 3, 5), "1", commitment_discount_status="Unused", commitment_discount_id="sp", resource_id=None),
    ]
    async with db.writing(actor) as tx:
        await put(lake, tx, rows)
        found = await service.bridge(tx, actor, lake=lake, old=FEBRUARY, new=MARCH, currency="USD")

    assert {change.cause: change.amount for change in found.causes} == {Cause.COMMITMENTS: Decimal(-3)}


WASTE = [
    ("cloud.idle_address", {"sku_meter": "EUC1-ElasticIP:IdleAddress", "resource_id": "eip"}, "0.12", Decimal("43.80")),
    ("cloud.extended_support", {"sku_meter": "EU-ExtendedSupport:Yr1-Yr2:PostgreSQL11", "resource_id": "db"}, "2", Decimal(730)),
    ("cloud.idle_nat_gateway", {"sku_meter": "EUC1-NatGateway-Hours", "resource_id": "nat"}, "1", Decimal(365)),
    ("cloud.idle_load_balancer", {"sku_meter": "EUC1-LoadBalancerUsage", "resource_id": "lb"}, "1", Decimal(365)),
    ("cloud.storage_generation", {"sku_meter": "EUC1-EBS:VolumeUsage.gp2", "resource_id": "vol"}, "1", Decimal(73)),
    ("cloud.old_snapshots", {"sku_meter": "EUC1-EBS:SnapshotUsage", "resource_id": "snap"}, "1", Decimal("182.5")),
    ("cloud.storage_class", {"sku_meter": "EUC1-TimedStorage-ByteHrs", "resource_id": "bucket"}, "1", Decimal(146)),
    ("cloud.unattached_storage", {"sku_meter": "E10 LRS Disk", "provider": "azure", "resource_id": "disk"}, "1", Decimal(365)),
    ("cloud.previous_generation", {"instance_type": "m3.large", "resource_id": "i-1"}, "10", Decimal("1015.43")),
    ("cloud.cheaper_architecture", {"instance_type": "m5.large", "resource_id": "i-2"}, "10", Decimal("555.53")),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "values", "cost", "worth"), WASTE, ids=[kind for kind, *_ in WASTE])
async def test_waste_is_found_with_rows_and_parts_that_add_up(
    lake: Lake,
    db: Database,
    actor: Actor,
    prices: PriceList,
    kind: str,
    values: dict[str, object],
    cost: str,
    worth: Decimal,
) -> None:
    async with db.writing(actor) as tx:
        batch = await put(lake, tx, daily(MARCH, cost, **values))
        found = await savings.advise(tx, actor, lake=lake, prices=prices, now=NOW, period=MARCH)

    one = next(finding for finding in found if finding.kind == kind)
    assert abs(one.worth.amount - worth) <= Decimal("0.01")
    assert sum((part.amount for part in one.evidence.parts), Decimal(0)) == one.worth.amount
    assert one.evidence.rows_total == 31
    assert {row.batch for row in one.evidence.rows} == {str(batch)}
    assert one.cost_basis is not None
    assert one.worth.minor <= one.cost_basis.minor


@pytest.mark.parametrize(
    ("busy", "kind"),
    [("EUC1-NatGateway-Bytes", "cloud.idle_nat_gateway"), ("EUC1-LCUUsage", "cloud.idle_load_balancer")],
)
async def test_what_is_used_is_not_called_idle(
    lake: Lake, db: Database, actor: Actor, prices: PriceList, busy: str, kind: str
) -> None:
    meters = ["EUC1-NatGateway-Hours" if "nat" in kind else "EUC1-LoadBalancerUsage", busy]
    async with db.writing(actor) as tx:
        await put(lake, tx, [row for meter in meters for row in daily(MARCH, "1", sku_meter=meter, resource_id="r")])
        found = await savings.advise(tx, actor, lake=lake, prices=prices, now=NOW, period=MARCH)

    assert kind not in {finding.kind for finding in found}


async def test_non_production_that_never_sleeps_can_be_scheduled(
    lake: Lake, db: Database, actor: Actor, prices: PriceList
) -> None:
    always = {"pricing_quantity": Decimal(24), "instance_type": "m6i.large"}
    rows = daily(MARCH, "2.4", resource_id="dev", tags='{"Environment": "Dev"}', **always)
    rows += daily(MARCH, "2.4", resource_id="prod", tags='{"Environment": "production"}', **always)
    rows += daily(
        MARCH, "1", resource_id="rare", tags='{"env": "dev"}', pricing_quantity=Decimal(8), instance_type="m6i.large"
    )
    async with db.writing(actor) as tx:
        await put(lake, tx, rows)
        found = await savings.advise(tx, actor, lake=lake, prices=prices, now=NOW, period=MARCH)

    assert [finding.subject for finding in found if finding.kind == "cloud.nonprod_schedule"] == ["aws/111/dev"]


async def test_unused_commitments_doubles_untagged_and_jumps(
    lake: Lake, db: Database, actor: Actor, prices: PriceList
) -> None:
    plan = {"commitment_discount_id": "arn:sp/1", "resource_id": None}
    rows = daily(MARCH, "3", commitment_discount_status="Used", **plan)
    rows += daily(MARCH, "1", commitment_discount_status="Unused", **plan)
    rows += [line(cost="50", resource_id="twice", sku_id="s")] * 2
    rows += daily(MARCH, "4", resource_id="bare", tags=None, sku_meter="x")
    for index, row in enumerate(daily(MARCH, "1", sku_meter="EUC1-DataTransfer-Out-Bytes", service_name="S3")):
        rows.append(
            row | {"billed_cost": Decimal(1 if index < 24 else 9), "effective_cost": Decimal(1 if index < 24 else 9)}
        )
    async with db.writing(actor) as tx:
        await put(lake, tx, rows)
        found = {
            one.kind: one for one in await savings.advise(tx, actor, lake=lake, prices=prices, now=NOW, period=MARCH)
        }

    unused = found["cloud.unused_commitment"]
    assert unused.worth.amount == Decimal(365)
    assert unused.cost_basis is not None
    assert unused.cost_basis.amount == Decimal(1460)
    assert found["cloud.duplicate_charge"].worth.amount == Decimal(50)
    assert not found["cloud.duplicate_charge"].recurring
    assert found["cloud.untagged_spend"].worth.minor == 0
    assert found["cloud.transfer_jump"].worth.amount == Decimal(2920)
    for one in found.values():
        assert sum((part.amount for part in one.evidence.parts), Decimal(0)) == one.worth.amount


async def test_without_bills_there_is_nothing_to_advise(
    lake: Lake, db: Database, actor: Actor, prices: PriceList
) -> None:
    async with db.reading(actor) as tx:
        assert await savings.advise(tx, actor, lake=lake, prices=prices, now=NOW) == []
        assert await service.covered(tx, actor, lake=lake) is None


async def test_shared_cost_is_split_and_nothing_is_lost(lake: Lake, db: Database, actor: Actor) -> None:
    rows = [
        line(cost="60", tags='{"team": "web"}'),
        line(cost="30", tags='{"team": "data"}'),
        line(cost="10", tags=None),
        line(cost="1", service_name="Support", tags='{"team": "web"}'),
    ]
    async with db.writing(actor) as tx:
        await put(lake, tx, rows)
        asked = CostQuery(MARCH, ("tag:team",))
        shared = ("tag:team", "service = Support")
        even = sharing.loose_rule(*shared, Method.PROPORTIONAL, {})
        split = await sharing.allocate(tx, actor, lake=lake, asked=asked, rule=even)
        weights = {"web": Decimal(1), "ops": Decimal(2)}
        given = sharing.loose_rule(*shared, Method.FIXED, weights)
        fixed = await sharing.allocate(tx, actor, lake=lake, asked=asked, rule=given)

    assert [(one.values[0], one.own) for one in split] == [("data", Decimal(30)), ("web", Decimal(60))]
    assert sum(one.cost or 0 for one in split) == Decimal(101)
    assert {one.values[0]: (one.shared or Decimal(0)).quantize(Decimal("0.01")) for one in fixed} == {
        "data": Decimal(0), "ops": Decimal("7.33"), "web": Decimal("3.67"),
    }  # fmt: skip


async def test_invoices_are_matched_to_the_cent_with_the_difference_by_kind(
    lake: Lake, db: Database, actor: Actor
) -> None:
    details = [
        {"invoice_id": "i1", "invoice_detail_id": "1", "billing_period_start": date(2026, 3, 1), "charge_category": "Usage",
         "billed_cost": Decimal("10.01"), "currency": "USD", "invoice_issuer": "AWS", "billing_account_id": "payer"},
        {"invoice_id": "i1", "invoice_detail_id": "2", "billing_period_start": date(2026, 3, 1), "charge_category": "Tax",
         "billed_cost": Decimal("2.50"), "currency": "USD", "invoice_issuer": "AWS", "billing_account_id": "payer"},
    ]  # fmt: skip
    rows = [
        line(cost="10.0099", invoice_id="i1"),
        line(cost="1.90", charge_category="Tax", invoice_id="i1"),
        line(date(2026, 2, 5), "5.004"),
    ]
    entered = [Stated(date(2026, 2, 1), "paper-7", "", "USD", Decimal("5.00"))]
    async with db.writing(actor) as tx:
        await put(lake, tx, rows)
        await put(lake, tx, details, schema=INVOICE_DETAIL_LINES)
        months = [date(2026, 2, 1), date(2026, 3, 1)]
        paper, aws = await service.match_invoices(tx, actor, lake=lake, months=months, entered=entered)

    assert (paper.settled, paper.by_kind) == (True, {"rounding": Decimal("-0.004")})
    assert not aws.settled
    assert aws.by_kind == {"Tax": Decimal("0.60"), "Usage": Decimal("0.0001")}
    assert sum(aws.by_kind.values()) == aws.difference


async def test_list_and_contracted_cost_stay_unknown_where_the_bill_has_none(
    lake: Lake, db: Database, actor: Actor
) -> None:
    async with db.writing(actor) as tx:
        await put(lake, tx, [line(cost="1")])
        found = await service.costs(tx, actor, lake=lake, asked=CostQuery(MARCH, kind=CostKind.LIST))

    assert found[0].cost is None
