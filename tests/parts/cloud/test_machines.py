"""Machines and their alternatives: proven by measurements, priced from the lists, netted with everything else."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bursar.infra.db import Database
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.kernel.finding import Finding
from bursar.kernel.lines import DECIMAL, UTILISATION_LINES
from bursar.parts.cloud.prices.service import PriceList
from bursar.parts.cloud.rules import alternatives, machines, queries, utilisation, waste
from bursar.parts.cloud.rules import savings as rules
from bursar.parts.cloud.rules.advice import yearly
from bursar.parts.cloud.rules.machines import area_of, model_of
from bursar.parts.cloud.rules.netting import net
from bursar.parts.cloud.savings import service as savings
from tests.parts.cloud.bills import MARCH, NOW, daily, put

Rows = list[dict[str, Any]]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake", memory_mb=256)


def machine(resource: str = "i-1", kind: str = "m6i.xlarge", **values: Any) -> Rows:
    hours = Decimal(24)
    return daily(MARCH, "5.52", resource_id=resource, instance_type=kind, pricing_quantity=hours, **values)


def used(resource: str, metric: str, maxima: list[float], *, statistic: str = "maximum", **values: Any) -> Rows:
    """Return one measurement a day, the last on the last of March."""
    first = datetime(2026, 4, 1, 12, tzinfo=UTC) - timedelta(days=len(maxima))
    known = {"provider": "aws", "sub_account_id": "111", "resource_id": resource, "metric": metric, **values}
    return [
        {**known, "measured_at": first + timedelta(days=day), statistic: Decimal(str(value))}
        for day, value in enumerate(maxima)
    ]


async def advised(lake: Lake, db: Database, actor: Actor, prices: PriceList, bill: Rows, proof: Rows) -> list[Finding]:
    async with db.writing(actor) as tx:
        await put(lake, tx, bill)
        if proof:
            await put(lake, tx, proof, schema=UTILISATION_LINES)
        return await savings.advise(tx, actor, lake=lake, prices=prices, now=NOW, period=MARCH)


def of(found: list[Finding], kind: str) -> list[Finding]:
    return [one for one in found if one.kind == f"cloud.{kind}"]


async def test_a_measured_machine_gets_the_smallest_that_holds_it(
    lake: Lake, db: Database, actor: Actor, prices: PriceList
) -> None:
    proof = used("i-1", "cpu", [20.0] * 29 + [38.0]) + used("i-1", "memory", [35.0] * 29 + [39.0])

    [one] = of(await advised(lake, db, actor, prices, machine(), proof), "rightsize")

    assert "m6i.large" in one.action
    assert one.subject == "aws/111/i-1"
    assert [price.id for price in one.evidence.prices] == [
        "aws:eu-central-1:m6i.xlarge/linux:on_demand:start",
        "aws:eu-central-1:m6i.large/linux:on_demand:start",
    ]
    assert {price.day.isoformat() for price in one.evidence.prices} == {"2025-03-02"}
    assert one.worth.amount == (Decimal("5.52") * 365 / 2).quantize(Decimal("0.01"))
    assert one.low.minor <= one.worth.minor <= one.high.minor
    for told in ("CPU p95", "memory at most 39.0 %", "30 days", "20% headroom"):
        assert told in one.evidence.formula
    assert sum((part.amount for part in one.evidence.parts), Decimal(0)) == one.worth.amount
    assert one.evidence.rows_total == 31


@pytest.mark.parametrize(
    ("cpu", "memory"),
    [
        ([70.0] * 30, [20.0] * 30),
        ([20.0] * 30, [70.0] * 30),
        ([20.0] * 28 + [90.0, 95.0], [20.0] * 30),
        ([20.0] * 30, [20.0] * 29 + [66.0]),
    ],
    ids=["busy", "full", "busy at times", "full once"],
)
async def test_what_needs_its_size_keeps_it(
    lake: Lake, db: Database, actor: Actor, prices: PriceList, cpu: list[float], memory: list[float]
) -> None:
    found = await advised(lake, db, actor, prices, machine(), used("i-1", "cpu", cpu) + used("i-1", "memory", memory))

    assert not of(found, "rightsize")


async def test_much_memory_and_little_cpu_is_answered_by_another_shape(
    lake: Lake, db: Database, actor: Actor, prices: PriceList
) -> None:
    """Twelve of sixteen GiB are needed but one core in four: two cores with sixteen GiB."""
    proof = used("i-1", "cpu", [15.0] * 30) + used("i-1", "memory", [60.0] * 30)

    [one] = of(await advised(lake, db, actor, prices, machine(region_id="us-east-1"), proof), "rightsize")

    assert "r6i.large" in one.action


async def test_without_memory_no_size_is_advised_and_that_is_said(
    lake: Lake, db: Database, actor: Actor, prices: PriceList
) -> None:
    found = await advised(lake, db, actor, prices, machine(), used("i-1", "cpu", [12.0] * 30))

    assert not of(found, "rightsize")
    [one] = of(found, "unmeasured_memory")
    assert one.worth.minor == 0
    assert "memory is unknown" in one.title
    assert "no smaller machine is advised" in one.evidence.formula


@pytest.mark.parametrize("days", [13, 0])
async def test_less_than_two_weeks_prove_nothing(
    lake: Lake, db: Database, actor: Actor, prices: PriceList, days: int
) -> None:
    proof = used("i-1", "cpu", [12.0] * days) + used("i-1", "memory", [12.0] * days)

    found = await advised(lake, db, actor, prices, machine(), proof)

    assert not of(found, "rightsize")
    assert not of(found, "unmeasured_memory")


async def test_one_row_that_sums_up_a_look_back_is_proof(
    lake: Lake, db: Database, actor: Actor, prices: PriceList
) -> None:
    proof = used("i-1", "cpu", [20.0], days=14) + used("i-1", "memory", [20.0], days=14)

    assert of(await advised(lake, db, actor, prices, machine(), proof), "rightsize")


async def test_averages_prove_less_than_maxima(lake: Lake, db: Database, actor: Actor, prices: PriceList) -> None:
    proof = used("i-1", "cpu", [20.0] * 30, statistic="average") + used(
        "i-1", "memory", [20.0] * 30, statistic="average"
    )

    [one] = of(await advised(lake, db, actor, prices, machine(), proof), "rightsize")

    assert one.confidence == pytest.approx(0.6)
    assert "averages" in one.evidence.formula


async def test_measurements_imported_again_count_once(
    lake: Lake, db: Database, actor: Actor, prices: PriceList
) -> None:
    cpu, memory = used("i-1", "cpu", [20.0] * 30), used("i-1", "memory", [20.0] * 30)
    async with db.writing(actor) as tx:
        for proof in (cpu, memory, cpu, cpu[10:]):
            await put(lake, tx, proof, schema=UTILISATION_LINES)

    [one] = of(await advised(lake, db, actor, prices, machine(), []), "rightsize")

    assert "of 30 maxima" in one.evidence.formula


async def test_another_account_or_a_committed_machine_is_not_meant(
    lake: Lake, db: Database, actor: Actor, prices: PriceList
) -> None:
    proof = used("i-1", "cpu", [12.0] * 30, sub_account_id="222") + used("i-2", "cpu", [12.0] * 30)
    proof += used("i-1", "memory", [12.0] * 30, sub_account_id="222") + used("i-2", "memory", [12.0] * 30)
    bill = machine() + machine("i-2", pricing_category="Committed", commitment_discount_status="Used")

    assert not of(await advised(lake, db, actor, prices, bill, proof), "rightsize")


async def test_a_machine_that_does_nothing_is_idle(lake: Lake, db: Database, actor: Actor, prices: PriceList) -> None:
    [one] = of(await advised(lake, db, actor, prices, machine(), used("i-1", "cpu", [1.5] * 30)), "idle_machine")

    assert one.risk == "high"
    assert one.cost_basis is not None
    assert one.worth.minor <= one.cost_basis.minor


async def test_an_azure_machine_is_known_by_its_id_whatever_its_case(
    lake: Lake, db: Database, actor: Actor, prices: PriceList
) -> None:
    vm = "/subscriptions/abc/resourcegroups/rg/providers/microsoft.compute/virtualmachines/vm-1"
    where = {"provider": "azure", "region_id": "westeurope", "sub_account_id": "/subscriptions/ABC"}
    bill = machine(vm.upper(), "Standard_D4s_v3", service_name="Virtual Machines", **where)
    about = {"provider": "azure", "sub_account_id": "abc"}
    proof = used(vm, "cpu", [20.0] * 30, **about) + used(vm, "memory", [20.0] * 30, **about)

    [one] = of(await advised(lake, db, actor, prices, bill, proof), "rightsize")

    assert "Standard_D2s_v3" in one.action


async def test_cheaper_regions_of_the_same_area_are_told_once_for_all_machines(
    lake: Lake, db: Database, actor: Actor, prices: PriceList
) -> None:
    bill = machine("i-1", "m6i.large") + machine("i-2", "m6i.large")
    bill += machine("i-3", "m6i.large", region_id="ap-southeast-2")

    [one] = of(await advised(lake, db, actor, prices, bill, []), "cheaper_region")

    assert one.subject == "aws/111/eu-central-1 to eu-north-1"
    assert one.confidence <= 0.3
    assert one.risk == "high"
    assert one.low.minor == 0
    for risk in ("latency", "where data lies", "transfer"):
        assert risk in one.action
    assert "2 resources" in one.evidence.formula
    assert sum((part.amount for part in one.evidence.parts), Decimal(0)) == one.worth.amount


async def test_an_arm_machine_is_priced_in_the_same_region(
    lake: Lake, db: Database, actor: Actor, prices: PriceList
) -> None:
    [one] = of(await advised(lake, db, actor, prices, machine(kind="m5.large"), []), "cheaper_architecture")

    assert "m6g.large" in one.action
    assert all("eu-central-1" in price.id for price in one.evidence.prices)
    assert one.confidence == 0.5


async def test_non_production_windows_on_azure_pays_for_a_licence(
    lake: Lake, db: Database, actor: Actor, prices: PriceList
) -> None:
    where = {
        "provider": "azure", "region_id": "westeurope", "service_name": "Virtual Machines",
        "charge_description": "D4s v3 Windows", "tags": '{"env": "test"}',
    }  # fmt: skip
    bill = machine("vm-test", "Standard_D4s_v3", **where)
    bill += machine("vm-prod", "Standard_D4s_v3", **where | {"tags": '{"env": "prod"}'})
    bill += machine("vm-linux", "Standard_D4s_v3", **where | {"charge_description": "D4s v3"})

    found = of(await advised(lake, db, actor, prices, bill, []), "licence_waste")

    assert [one.subject for one in found] == ["azure/111/vm-test"]
    assert 0 < found[0].worth.minor <= found[0].high.minor


async def test_everything_advised_on_one_machine_stays_below_its_cost(
    lake: Lake, db: Database, actor: Actor, prices: PriceList
) -> None:
    bill = machine(kind="m4.2xlarge", tags='{"env": "dev"}')
    proof = used("i-1", "cpu", [1.0] * 30) + used("i-1", "memory", [5.0] * 30)

    found = [one for one in await advised(lake, db, actor, prices, bill, proof) if one.cost_basis and one.worth.minor]

    kinds = {one.kind for one in found}
    assert len(kinds) >= 2
    assert sum(one.high.minor for one in found) <= int(Decimal("5.52") * 365 * 100)


@pytest.mark.parametrize(
    ("name", "series", "line"),
    [
        ("m6i.xlarge", "aws balanced 6 i ", "aws m "),
        ("r6i.large", "aws balanced 6 i ", "aws r "),
        ("m6gd.large", "aws balanced 6 g d", "aws m d"),
        ("t3.large", "aws t 3  ", "aws t "),
        ("Standard_D4ps_v5", "azure balanced 5 p s", "azure d s"),
        ("Standard_E4-2s_v5", "azure balanced 5  s", "azure e s"),
        ("e2-standard-4", "gcp e2 0  ", "gcp e2 "),
    ],
)
def test_what_the_name_of_a_type_says(name: str, series: str, line: str) -> None:
    model = model_of(name)

    assert model is not None
    assert (model.series, model.line) == (series, line)


def test_a_name_without_form_says_nothing() -> None:
    assert model_of("custom-4-8192") is None
    assert area_of("aws", "eu-west-2") == ""
    assert area_of("aws", "eu-west-1") == area_of("aws", "eu-central-1") != area_of("aws", "us-east-1")


METERS = (
    "EUC1-BoxUsage", "EUC1-ElasticIP:IdleAddress", "EUC1-EBS:VolumeUsage.gp2", "EUC1-EBS:SnapshotUsage", "EUC1-NatGateway-Hours",
    "EUC1-LoadBalancerUsage", "EUC1-TimedStorage-ByteHrs", "EU-ExtendedSupport:Yr1-Yr2", "D4s v3 Windows",
)  # fmt: skip
TYPES = (None, "m4.xlarge", "m5.large", "m6i.2xlarge", "r6i.xlarge", "t2.large", "Standard_D8s_v3", "Standard_DS3_v2")


@st.composite
def uses(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(TYPES))
    azure = bool(kind and kind.startswith("Standard"))
    return {
        **dict.fromkeys((*queries.USE_KEYS, "tags")),
        "provider": "azure" if azure else "aws",
        "sub_account_id": "1",
        "resource_id": draw(st.sampled_from(["a", "b", "c"])),
        "service_category": draw(st.sampled_from(["Compute", "Storage", None])),
        "sku_meter": draw(st.sampled_from(METERS)),
        "instance_type": kind,
        "region_id": "westeurope" if azure else draw(st.sampled_from(["eu-central-1", "us-west-1"])),
        "pricing_category": draw(st.sampled_from(["Standard", "Committed", None])),
        "pricing_unit": "Hrs",
        "charge_category": draw(st.sampled_from(["Usage", "Usage", "Credit"])),
        "commitment_discount_status": draw(st.sampled_from([None, None, "Used", "Unused"])),
        "currency": draw(st.sampled_from(["USD", "EUR"])),
        "cost": draw(st.decimals(-50, 5000, places=8, allow_nan=False)),
        "quantity": Decimal(draw(st.sampled_from([0, 300, 744]))),
        "lines": 31,
        "tags": draw(st.sampled_from([None, '{"env": "dev"}', '{"env": "prod"}'])),
        "first_day": MARCH.start,
        "last_day": MARCH.end,
    }


@st.composite
def proofs(draw: st.DrawFn) -> dict[str, Any]:
    peak = draw(st.floats(0, 100))
    return {
        "provider": draw(st.sampled_from(["aws", "azure"])), "sub_account_id": draw(st.sampled_from(["1", None])),
        "resource_id": draw(st.sampled_from(["a", "b", "c"])), "metric": draw(st.sampled_from(["cpu", "memory"])),
        "resource_name": None, "p95": peak * 0.8, "p99": peak * 0.9, "peak": peak, "samples": 30, "maxima": draw(st.integers(0, 1)),
        "days_seen": draw(st.sampled_from([3, 30])), "days_summed": None,
    }  # fmt: skip


PROOF = {
    **dict.fromkeys(("provider", "sub_account_id", "resource_id", "metric", "resource_name"), pl.String()),
    **dict.fromkeys(("p95", "p99", "peak"), pl.Float64()),
    **dict.fromkeys(("samples", "maxima", "days_seen", "days_summed"), pl.Int64()),
}
USES = (
    dict.fromkeys(queries.USE_KEYS, pl.String())
    | {"cost": DECIMAL, "quantity": DECIMAL, "lines": pl.Int64(), "tags": pl.String()}
    | {"first_day": pl.Date(), "last_day": pl.Date()}
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(uses(), min_size=1, max_size=12), st.lists(proofs(), max_size=8))
def test_whatever_is_billed_and_measured_savings_never_exceed_the_cost(
    market: pl.DataFrame, billed: list[dict[str, Any]], proof: list[dict[str, Any]]
) -> None:
    used = waste.resources(pl.DataFrame(billed, schema=USES))
    measured = utilisation.measured(machines.machines(used, market), pl.DataFrame(proof, schema=PROOF))
    advice = rules.look(used, MARCH) + alternatives.alternatives(measured, market, MARCH)

    found = rules.findings(advice, MARCH, lambda _: ((), 0))

    cost: dict[tuple[str, str], Decimal] = {}
    for resource, currency, amount in used.select("resource", "currency", "cost").iter_rows():
        cost[resource, currency] = cost.get((resource, currency), Decimal(0)) + yearly(amount, MARCH)
    promised: dict[tuple[str, str], Decimal] = {}
    for saving in net([one.saving for one in advice]):
        key = saving.resource, saving.currency
        promised[key] = promised.get(key, Decimal(0)) + saving.base * saving.high
    for key, most in promised.items():
        assert most <= cost[key] + Decimal("1e-9")
    for currency in ("USD", "EUR"):
        told = sum((one.high.amount for one in found if one.high.currency == currency), Decimal(0))
        assert told <= sum((amount for (_, name), amount in cost.items() if name == currency), Decimal(0))
    for one in found:
        assert one.cost_basis is not None
        assert one.worth.minor <= one.high.minor <= one.cost_basis.minor
        assert sum((part.amount for part in one.evidence.parts), Decimal(0)) == one.worth.amount


@pytest.fixture(scope="module")
def market(prices: PriceList) -> pl.DataFrame:
    return machines.named(prices.machines(on=MARCH.start, providers=["aws", "azure"]))
