"""What only the past shows, on the real database and lake: each story told, and the same story with a twist not told."""

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bursar.infra.db import Database
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.kernel.finding import Finding
from bursar.kernel.period import Period, add_months
from bursar.parts.cloud.prices.service import PriceList
from bursar.parts.cloud.savings import service as savings
from tests.parts.cloud.bills import NOW, daily, line, put

END = date(2026, 4, 1)
WHOLE = Period(date(2025, 9, 1), END)
MONTHS = [add_months(date(2025, 3, 1), index) for index in range(13)]

Rows = list[dict[str, Any]]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake", memory_mb=256)


def monthly(costs: list[str], **values: Any) -> Rows:
    """Return one charge a month, the last in March 2026; what is no number leaves the month out."""
    months = MONTHS[-len(costs) :]
    hours = [24 * (add_months(month, 1) - month).days for month in months]
    rows = zip(months, costs, hours, strict=True)
    return [line(month, cost, hours=length, **values) for month, cost, length in rows if cost]


def machine(until: date, *, tag: str = "", resource: str = "i-1", name: str | None = None) -> Rows:
    tags = f'{{"Name": "{tag}"}}' if tag else "{}"
    period = Period(WHOLE.start, until)
    return daily(
        period, "2", sku_meter="BoxUsage:m6i.large", resource_id=resource, resource_name=name, tags=tags,
        pricing_quantity=Decimal(24),
    )  # fmt: skip


def disk(*, tag: str = "", name: str | None = None, meter: str = "EBS:VolumeUsage.gp3") -> Rows:
    tags = f'{{"Name": "{tag}"}}' if tag else "{}"
    return daily(WHOLE, "1", sku_meter=meter, resource_id="vol-1", resource_name=name, tags=tags, pricing_unit="GB-Mo")


def database(reads_until: date, *, meter: str = "InstanceUsage:db.r6g.large") -> Rows:
    rds: dict[str, Any] = {"service_name": "Amazon Relational Database Service", "service_category": "Databases"}
    hours = daily(WHOLE, "6", sku_meter=meter, resource_id="arn:aws:rds:eu:1:db:survey-1", **rds)
    reads = daily(
        Period(WHOLE.start, reads_until), "0.5", sku_meter="Aurora:StorageIOUsage", pricing_unit="IOs",
        resource_id="arn:aws:rds:eu:1:cluster:survey", **rds,
    )  # fmt: skip
    return hours + reads


def priced(costs: list[str], quantities: list[str]) -> Rows:
    rows = monthly(costs, service_name="Tracing", resource_id="apm", sku_meter="Hosts", pricing_unit="Hosts")
    return [{**row, "pricing_quantity": Decimal(amount)} for row, amount in zip(rows, quantities, strict=True)]


def seats(counts: list[int], unit: str = "Seats") -> Rows:
    rows = monthly([str(19 * count) for count in counts], service_name="Desk", resource_id="seat", pricing_unit=unit)
    return [{**row, "pricing_quantity": Decimal(count)} for row, count in zip(rows, counts, strict=True)]


def grown(factor: float, wobble: float = 0.0) -> Rows:
    sizes = [100 * factor**index * (1 + wobble * (-1) ** index) for index in range(13)]
    costs = [f"{size:.2f}" for size in sizes]
    return monthly(
        costs, service_name="Amazon S3", resource_id="raw", sku_meter="TimedStorage-ByteHrs", pricing_unit="GB-Mo"
    )


def credit(costs: list[str]) -> Rows:
    return monthly(costs, charge_category="Credit", charge_description="Startup credit", resource_id=None)


def fee(copies: list[int], **values: Any) -> Rows:
    once = monthly(
        ["320"] * 13, charge_category="Purchase", charge_description="Support", service_name="Support", **values
    )
    return [row for row, count in zip(once, copies, strict=True) for _ in range(count)]


def swap(second: str, days: int = 0) -> Rows:
    ended = date(2026, 1, 15)
    began = ended + timedelta(days=days)
    old = daily(Period(WHOLE.start, ended), "18.4", sku_meter="BoxUsage:m6i.xlarge", resource_id="i-old")
    return old + daily(Period(began, END), second, sku_meter="BoxUsage:r6i.large", resource_id="i-new")


def reserved(unused: str) -> Rows:
    """A reservation's fee is billed once, on the first day of its month."""
    commitment = {"commitment_discount_id": "arn:ri", "service_name": "Amazon EC2"}
    paid = monthly([unused], charge_category="Purchase", commitment_discount_status="Unused", **commitment)
    return paid + monthly(["60"], commitment_discount_status="Used", resource_id="i-9", **commitment)


async def told(lake: Lake, db: Database, actor: Actor, prices: PriceList, rows: Rows) -> dict[str, Finding]:
    """Return findings by kind; one usage line a day says how far the bills reach."""
    ground = daily(Period(MONTHS[0], END), "0.01", service_name="Ground")
    async with db.writing(actor) as tx:
        await put(lake, tx, rows + ground)
        found = await savings.advise(tx, actor, lake=lake, prices=prices, now=NOW)
    return {one.kind: one for one in found}


GONE = date(2026, 2, 1)
RISEN = ["235"] * 7 + ["277.3"] * 6
TEN = ["10"] * 13

STORIES: list[tuple[str, Callable[[], Rows], Decimal]] = [
    ("cloud.unattached_storage", lambda: machine(GONE, tag="erp") + disk(tag="erp"), Decimal(365)),
    ("cloud.unattached_storage", lambda: machine(GONE, name="vm-7") + disk(name="vm-7_osdisk_1", meter="P20 LRS Disk"), Decimal(365)),
    ("cloud.idle_database", lambda: database(date(2026, 1, 1)), Decimal(2190)),
    ("cloud.price_rise", lambda: priced(RISEN, TEN), Decimal("507.6")),
    ("cloud.seat_creep", lambda: seats(list(range(23, 36))), Decimal(1368)),
    ("cloud.resource_growth", lambda: grown(1.07), Decimal("751.32")),
    ("cloud.credit_ended", lambda: credit(["-400"] * 11 + ["", ""]), Decimal(4800)),
    ("cloud.duplicate_charge", lambda: fee([1] * 9 + [2] + [1] * 3), Decimal(320)),
    ("cloud.cancelling_change", lambda: swap("18.3"), Decimal(0)),
    ("cloud.unused_commitment", lambda: reserved("60"), Decimal("706.45")),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "rows", "worth"), STORIES)
async def test_what_the_past_shows_is_told(
    lake: Lake, db: Database, actor: Actor, prices: PriceList, kind: str, rows: Callable[[], Rows], worth: Decimal
) -> None:
    found = (await told(lake, db, actor, prices, rows()))[kind]

    assert found.worth.amount == worth
    assert found.evidence.rows
    assert sum((part.amount for part in found.evidence.parts), Decimal(0)) in {worth, Decimal(0)}


TWISTS: list[tuple[str, Callable[[], Rows]]] = [
    ("cloud.unattached_storage", lambda: machine(END, tag="erp") + disk(tag="erp")),
    ("cloud.unattached_storage", lambda: machine(date(2026, 3, 20), tag="erp") + disk(tag="erp")),
    ("cloud.unattached_storage", lambda: machine(GONE, tag="erp") + machine(END, tag="erp", resource="i-2") + disk(tag="erp")),
    ("cloud.unattached_storage", lambda: machine(GONE, tag="erp") + disk(tag="other")),
    ("cloud.idle_database", lambda: database(END)),
    ("cloud.idle_database", lambda: database(date(2026, 1, 1), meter="InstanceUsageIOOptimized:db.r6g.large")),
    ("cloud.price_rise", lambda: priced(RISEN[::-1], TEN)),
    ("cloud.price_rise", lambda: priced(RISEN, [str(float(cost) / 23.5) for cost in RISEN])),
    ("cloud.price_rise", lambda: priced([str(200 + 5 * index) for index in range(13)], TEN)),
    ("cloud.seat_creep", lambda: seats([*range(23, 35), 30])),
    ("cloud.seat_creep", lambda: seats(list(range(23, 36)), unit="Hours")),
    ("cloud.resource_growth", lambda: grown(1.01)),
    ("cloud.resource_growth", lambda: grown(1.05, wobble=0.3)),
    ("cloud.credit_ended", lambda: credit(["-400"] * 13)),
    ("cloud.credit_ended", lambda: credit(["-400", "-10", "-90", "", ""])),
    ("cloud.duplicate_charge", lambda: fee([2] * 13)),
    ("cloud.duplicate_charge", lambda: fee([1] * 13)),
    ("cloud.cancelling_change", lambda: swap("9")),
    ("cloud.cancelling_change", lambda: swap("18.3", days=20)),
    ("cloud.unused_commitment", lambda: reserved("0.5")),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "rows"), TWISTS)
async def test_the_same_with_a_good_reason_is_not_told(
    lake: Lake, db: Database, actor: Actor, prices: PriceList, kind: str, rows: Callable[[], Rows]
) -> None:
    assert kind not in await told(lake, db, actor, prices, rows())


async def test_each_payer_is_looked_at_in_its_own_last_days(
    lake: Lake, db: Database, actor: Actor, prices: PriceList
) -> None:
    """A folder may hold a bill of last year beside one of last month."""
    old = Period(date(2025, 3, 1), date(2025, 4, 1))
    idle: dict[str, Any] = {"sku_meter": "PublicIPv4:IdleAddress", "resource_id": "eip"}
    recent = Period(date(2026, 3, 1), END)
    rows = daily(old, "1", billing_account_id="old", **idle) + daily(recent, "1", billing_account_id="new")
    async with db.writing(actor) as tx:
        await put(lake, tx, rows)
        found = await savings.advise(tx, actor, lake=lake, prices=prices, now=NOW)

    assert [(one.kind, one.period.end) for one in found if "idle" in one.kind] == [("cloud.idle_address", old.end)]


async def test_a_busy_load_balancer_is_not_idle_whatever_its_units_are_called(
    lake: Lake, db: Database, actor: Actor, prices: PriceList
) -> None:
    hours = {"sku_meter": "LoadBalancerUsage", "charge_description": "$0.0225 per Application LoadBalancer-hour"}
    units = {
        "sku_meter": "LCUUsage",
        "charge_description": "$0.008 per used Application load balancer capacity unit-hour",
    }
    march = Period(date(2026, 3, 1), END)
    rows = daily(march, "1", resource_id="lb", **hours) + daily(march, "1", resource_id="lb", **units)

    assert "cloud.idle_load_balancer" not in await told(lake, db, actor, prices, rows)


@pytest.mark.parametrize(("days", "sure"), [(6, False), (7, True)])
async def test_a_year_told_from_a_few_days_is_unsure(
    lake: Lake, db: Database, actor: Actor, prices: PriceList, days: int, *, sure: bool
) -> None:
    rows = daily(Period(END - timedelta(days=days), END), "1", sku_meter="PublicIPv4:IdleAddress", resource_id="eip")
    async with db.writing(actor) as tx:
        await put(lake, tx, rows)
        found = await savings.advise(tx, actor, lake=lake, prices=prices, now=NOW)

    assert [one.confidence > savings.UNSURE for one in found if one.kind == "cloud.idle_address"] == [sure]
