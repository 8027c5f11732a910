"""How much an organisation wants to hear is its own to state, and the next scan keeps to it."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bursar.core.audit import service as audit
from bursar.core.findings import service as findings
from bursar.core.intake.jobs import Importer
from bursar.core.ledger import service as ledger
from bursar.core.planning import service
from bursar.core.planning.policy import service as policies
from bursar.core.planning.policy.rules import FALSE_ALERTS_MAX, MONEY_FLOOR_MAX, Policy, floor_in
from bursar.infra.db import Database, new_id
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Invalid, NotAllowed
from tests.core.planning.conftest import bill, usual
from tests.core.planning.test_forecasts import NOW, take

PATH = "/v1/anomalies/policy"
STATED: dict[str, Any] = {"false_alerts": 1.0, "money_floor": "20.00", "percent_floor": 0.2}
USUAL: dict[str, Any] = STATED | {"currency": None}
PEAKS = {date(2026, 8, 18): 1.5, date(2026, 9, 22): 1.3, date(2026, 10, 14): 1.25}
"""Three days on which the dearest series costs more: by 51, 38 and 30 beyond the usual."""


def peaked(day: date, level: float) -> str:
    return f"{float(usual(day, level)) * (PEAKS.get(day, 1.0) if level == 100.0 else 1.0):.4f}"


async def scan(db: Database, lake: Lake, actor: Actor) -> None:
    """Look for anomalies as the advice of a review, of an import and of a night does."""
    async with db.reading(actor) as tx:
        found = await service.cost_anomalies(tx, actor, lake=lake, now=NOW)
    async with db.writing(actor) as tx:
        await findings.raise_(tx, actor, kinds=service.KINDS, findings=found, now=NOW)


async def test_a_larger_budget_tells_more_and_higher_floors_tell_less(
    client: httpx2.AsyncClient, db: Database, importer: Importer, lake: Lake, actor: Actor, tmp_path: Path
) -> None:
    other = replace(actor, org=new_id())
    path = bill(tmp_path / "a.csv", date(2026, 5, 1), date(2026, 11, 1), amounts=peaked)
    for who in (actor, other):
        await take(importer, who, path)

    async def told(**change: Any) -> list[str]:
        """State the policy, scan, and list the anomalies: the months of their days."""
        reply = await client.put(PATH, json=USUAL | change)
        assert reply.status_code == 200, reply.text
        assert reply.json() == USUAL | change
        await scan(db, lake, actor)
        listed = (await client.get("/v1/anomalies")).json()["data"]
        assert all(one["formula"].endswith(_told(**change)) for one in listed)
        return sorted(one["first"][5:7] for one in listed)

    assert (await client.get(PATH)).json() == USUAL
    usually = await told()
    more = await told(false_alerts=20.0)
    fewer = await told(false_alerts=0.1)
    dear = await told(false_alerts=20.0, money_floor="45.50")
    large = await told(false_alerts=20.0, percent_floor=0.45)
    await scan(db, lake, other)
    async with db.reading(other) as tx:
        theirs = await findings.inbox(tx, other, kind_prefix="planning.")
        assert await policies.get(tx, other) == Policy()

    assert usually == ["08", "09"]
    assert more == ["08", "09", "10"]
    assert fewer == dear == large == ["08"]
    assert sorted(f"{kept.finding.period.start:%m}" for kept in theirs) == usually


def _told(**change: Any) -> str:
    facts = USUAL | change
    policy = Policy(facts["false_alerts"], Decimal(facts["money_floor"]), facts["percent_floor"])
    return policy.told(floor_in(policy, "USD"))


@pytest.mark.parametrize(
    ("policy", "currency", "rate", "told"),
    [
        (Policy(), "USD", None, "20.00 USD"),
        (Policy(), "JPY", None, "2,000 JPY (20.00, no rate known, by order of magnitude)"),
        (Policy(), "KWD", None, "20.000 KWD"),
        (Policy(currency="EUR"), "EUR", None, "20.00 EUR"),
        (Policy(currency="EUR"), "USD", None, "20.00 USD (20.00 EUR, no rate known, by order of magnitude)"),
        (Policy(currency="EUR"), "JPY", Decimal("0.00617"), "3,241 JPY (20.00 EUR at 0.00617 of today)"),
        (Policy(currency="EUR"), "KWD", Decimal("2.8"), "7.143 KWD (20.00 EUR at 2.8 of today)"),
        (
            Policy(money_floor=Decimal(5000), currency="JPY"),
            "EUR",
            None,
            "50.00 EUR (5,000.00 JPY, no rate known, by order of magnitude)",
        ),
    ],
)
def test_a_floor_is_worth_the_same_in_every_currency(
    policy: Policy, currency: str, rate: Decimal | None, told: str
) -> None:
    assert str(floor_in(policy, currency, rate, "of today" if rate else "")) == told


async def test_yen_are_held_to_a_floor_in_yen_and_to_rates_that_are_known(
    client: httpx2.AsyncClient, db: Database, importer: Importer, lake: Lake, actor: Actor, tmp_path: Path
) -> None:
    """Peaks of 51, 38 and 30 yen are no news where those of as many dollars are; at a rate of one to one they are again."""
    await take(
        importer, actor, bill(tmp_path / "a.csv", date(2026, 5, 1), date(2026, 11, 1), amounts=peaked, currency="JPY")
    )

    async def told(**change: Any) -> list[dict[str, Any]]:
        await client.put(PATH, json=STATED | {"false_alerts": 20.0} | change)
        await scan(db, lake, actor)
        return list((await client.get("/v1/anomalies")).json()["data"])

    by_magnitude = await told(), await told(currency="EUR"), await told(money_floor="0.30")
    async with db.writing(actor) as tx:
        rates = [("JPY", "EUR", date(2026, 10, 1), Decimal(1)), ("JPY", "EUR", date(2026, 12, 1), Decimal("0.001"))]
        await ledger.add_rates(tx, actor, rates=rates, source="ECB", now=NOW)
    at_a_rate = await told(currency="EUR")

    assert [len(one) for one in by_magnitude] == [0, 0, 3]
    assert len(at_a_rate) == 3
    assert all("floors 20 JPY (20.00 EUR at 1 of 2026-10-01, ECB) and" in one["formula"] for one in at_a_rate)


@pytest.mark.parametrize(
    "change",
    [
        {"false_alerts": 0},
        {"false_alerts": -1},
        {"false_alerts": 20.01},
        {"false_alerts": None},
        {"money_floor": "-1"},
        {"money_floor": "1e3"},
        {"money_floor": "0.001"},
        {"money_floor": "NaN"},
        {"money_floor": 20},
        {"percent_floor": -0.1},
        {"percent_floor": 1.1},
        {"percent_floor": "20 %"},
        {"currency": "euro"},
        {"currency": 978},
        {"surprise": 1},
    ],
)
async def test_what_no_scan_could_keep_to_is_refused(client: httpx2.AsyncClient, change: dict[str, Any]) -> None:
    refused = await client.put(PATH, json=USUAL | change)

    assert refused.status_code == 422
    assert (await client.get(PATH)).json() == USUAL


@pytest.mark.parametrize("name", list(STATED))
async def test_a_policy_is_stated_as_a_whole(client: httpx2.AsyncClient, name: str) -> None:
    refused = await client.put(PATH, json={key: value for key, value in USUAL.items() if key != name})

    assert refused.status_code == 422


@pytest.mark.parametrize(
    "bad",
    [
        Policy(false_alerts=float("nan")),
        Policy(false_alerts=0.0),
        Policy(false_alerts=FALSE_ALERTS_MAX + 0.1),
        Policy(money_floor=Decimal("NaN")),
        Policy(money_floor=Decimal("Infinity")),
        Policy(money_floor=Decimal("1e30")),
        Policy(money_floor=MONEY_FLOOR_MAX + 1),
        Policy(money_floor=Decimal("0.001")),
        Policy(percent_floor=float("inf")),
        Policy(percent_floor=-0.01),
        Policy(currency="eur"),
    ],
)
async def test_values_beyond_their_limits_are_refused_wherever_they_come_from(
    db: Database, actor: Actor, bad: Policy
) -> None:
    async with db.writing(actor) as tx:
        with pytest.raises(Invalid):
            await policies.put(tx, actor, wanted=bad, now=NOW)


async def test_who_may_only_read_states_nothing(db: Database, actor: Actor) -> None:
    reader = replace(actor, rights=frozenset({"anomaly:read"}))
    async with db.writing(reader) as tx:
        assert await policies.get(tx, reader) == Policy()
        with pytest.raises(NotAllowed):
            await policies.put(tx, reader, wanted=Policy(), now=NOW)


async def test_a_change_of_policy_is_in_the_audit_trail(db: Database, actor: Actor) -> None:
    edge = Policy(FALSE_ALERTS_MAX, MONEY_FLOOR_MAX, 1.0, "JPY")
    async with db.writing(actor) as tx:
        kept = await policies.put(tx, actor, wanted=edge, now=NOW)
        [entry] = await tx.all(audit.listing(tx, actor, action="anomaly.policy").limit(2))

    assert kept == edge
    assert (entry.subject, entry.before) == ("anomalies", USUAL)
    assert entry.after == {
        "false_alerts": 20.0,
        "money_floor": "1000000000000.00",
        "percent_floor": 1.0,
        "currency": "JPY",
    }
