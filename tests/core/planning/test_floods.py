"""A flood of changes is told as few findings that hold all of it: 500 keys renamed in a week are one story."""

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bursar.core.findings import service as findings
from bursar.core.findings.store import evidence_from_json, evidence_to_json
from bursar.core.intake.jobs import Importer
from bursar.core.planning import service
from bursar.core.planning.rules.floods import PARTS_MAX, TOLD_MAX, few
from bursar.infra.db import Database
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.kernel.finding import Evidence, Finding, Observed, Part
from bursar.kernel.money import Money
from bursar.kernel.period import Period
from tests.core.planning.conftest import HEAD, bill
from tests.core.planning.test_alerts import scanned
from tests.core.planning.test_forecasts import FIRST, LAST, NOW, take

RENAMED = 500
WEEK = date(2026, 10, 5)


def renamed(path: Path) -> Path:
    """Write a bill in which each of 500 services of one account begins in one week, each dearer than the one before."""
    rows = []
    for at in range(RENAMED):
        for offset in range((LAST - WEEK).days + 1 - at % 7):
            day = WEEK + timedelta(days=at % 7 + offset)
            cost = 5 + at / 10
            begins = day.replace(day=1)
            ends = (begins + timedelta(days=32)).replace(day=1)
            rows.append(
                f"{cost},{cost},{cost},{cost},acct-1,USD,{begins}T00:00:00Z,{ends}T00:00:00Z,Usage,"
                f"{day}T00:00:00Z,{day}T23:00:00Z,AWS,Service {at:03},n-{at},eu-west-1"
            )
    path.write_text("\n".join([HEAD, *rows]) + "\n", encoding="utf-8")
    return path


async def test_500_new_services_in_a_week_are_told_as_few_and_none_is_lost(
    db: Database, importer: Importer, lake: Lake, actor: Actor, tmp_path: Path, client: httpx2.AsyncClient
) -> None:
    await take(importer, actor, bill(tmp_path / "all.csv", FIRST, LAST), renamed(tmp_path / "new.csv"))

    found = await scanned(db, lake, actor)
    async with db.writing(actor) as tx:
        await findings.raise_(tx, actor, kinds=service.KINDS, findings=found, now=NOW)
    listed: list[dict[str, Any]] = (await client.get("/v1/anomalies")).json()["data"]

    *each, crowd = sorted(found, key=lambda one: one.evidence.observed is not None and len(one.evidence.parts))
    assert [one.kind for one in found] == ["planning.new_cost"] * (TOLD_MAX + 1)
    assert {one.resource.rsplit(" ", 1)[1] for one in each} == {f"{at:03}" for at in range(490, 500)}
    assert crowd.title == "490 more new costs since Oct 2026"
    assert {part.label for part in crowd.evidence.parts} == {f"aws | acct-1 | Service {at:03}" for at in range(490)}
    assert sum(part.amount for part in crowd.evidence.parts) == crowd.worth.amount
    assert crowd.worth.amount == sum(Decimal(str(5 + at / 10)) * 365 for at in range(490))
    seen = crowd.evidence.observed
    assert seen is not None
    assert sum(part.amount for part in seen.causes) == seen.impact == seen.actual > 0
    assert crowd.evidence.rows_total == sum((LAST - WEEK).days + 1 - at % 7 for at in range(490))
    assert len(listed) == TOLD_MAX + 1


def change(at: int, *, kind: str = "planning.new_cost", worth: int = 0, recurring: bool = True) -> Finding:
    first = date(2026, 5, 1) + timedelta(days=at % 28)
    days = Period(first, date(2026, 6, 30))
    chart: dict[str, list[object]] = {"x": [f"2026-05-{day:02}" for day in range(1, 29)]}
    chart |= {name: [None if name != "y" and day < 3 else "1.5" for day in range(28)] for name in CHART}
    money = Money((worth or at + 1) * 100, "EUR")
    return Finding(
        kind=kind,
        subject=f"s{at}@{first}",
        period=days,
        title="t",
        worth=money,
        low=money,
        high=money,
        confidence=0.9,
        action="a",
        evidence=Evidence(
            formula="f",
            parts=(Part(f"s{at}", money.amount),),
            chart=chart,
            observed=Observed(days, money.amount, Decimal(0), Decimal(-1), Decimal(1), ()),
        ),
        recurring=recurring,
        resource=f"series:s{at}",
    )


CHART = ("y", "expected", "lower", "upper")


@pytest.mark.parametrize(("count", "told"), [(0, 0), (10, 10), (11, 11), (12, 11), (700, 11)])
def test_whatever_the_flood_its_sum_is_kept(count: int, told: int) -> None:
    changes = [change(at) for at in range(count)]

    kept = few(changes)

    assert len(kept) == told
    assert sum(one.worth.minor for one in kept) == sum(one.worth.minor for one in changes)
    for one in kept:
        assert sum(part.amount for part in one.evidence.parts) == one.worth.amount
        assert len(one.evidence.parts) <= PARTS_MAX + 1
        assert evidence_from_json(evidence_to_json(one.evidence)) == one.evidence


def test_sorts_and_months_are_floods_of_their_own() -> None:
    changes = [change(at) for at in range(8)] + [
        change(at, kind="planning.cost_spike", recurring=False) for at in range(8)
    ]

    assert len(few(changes)) == 16


def test_pairs_that_cancel_and_what_people_spoke_about_are_told_each() -> None:
    pairs = [change(at, kind="planning.cancelling_change") for at in range(30)]
    judged = change(0)
    crowd = [change(at) for at in range(1, 40)]

    kept = few([*pairs, judged, *crowd], {(judged.resource, judged.kind, judged.period.start)})

    assert len(kept) == 30 + 1 + TOLD_MAX + 1
    assert judged in kept


def test_the_chart_of_a_flood_is_the_sum_of_its_days() -> None:
    [crowd] = [one for one in few([change(at) for at in range(15)]) if "more" in one.title]

    chart = crowd.evidence.chart
    assert len(chart["x"]) == 28
    assert set(chart["y"]) == {"7.5"}
    assert chart["expected"][0] == "7.5"
