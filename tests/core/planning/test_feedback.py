"""What people say about alerts changes what the next scan tells."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from bursar.core.findings import service as findings
from bursar.core.intake.jobs import Importer
from bursar.core.planning import service
from bursar.core.planning.calendars.service import Event
from bursar.core.planning.rules.feedback import DOUBT_RANGE, Said, Verdict, known, learned
from bursar.core.planning.series.rules import series_id
from bursar.infra.db import Database
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.kernel.finding import Evidence, Finding, FindingState
from bursar.kernel.money import Money
from bursar.kernel.period import Grain, Period
from bursar.kernel.series import Panel
from tests.core.planning.conftest import bill, usual
from tests.core.planning.test_forecasts import NOW, take

DAY = date(2026, 3, 1)


def panel() -> Panel:
    start = np.datetime64(DAY, "h")
    return Panel.of(["a", "b"], [start] * 2, [np.ones(30), np.ones(30)], grain=Grain.DAY, currency="EUR")


def test_noise_raises_doubt_real_lowers_it_and_expected_days_are_left_out() -> None:
    last = DAY + timedelta(days=29)
    verdicts = [
        Verdict("a", Said.NOISE, DAY, DAY),
        Verdict("a", Said.NOISE, DAY, DAY),
        Verdict("b", Said.REAL, DAY, DAY),
        Verdict("b", Said.EXPECTED, last - timedelta(days=2), last),
        Verdict("b", Said.EXPECTED, DAY - timedelta(days=9), DAY),
        Verdict("gone", Said.NOISE, DAY, DAY),
    ]
    events = [Event("sale", (last - timedelta(days=9), DAY)), Event("fee", (last,), series_id("cost", "EUR", "a"))]

    doubt, known = learned(panel(), verdicts, events, 10)

    assert doubt.tolist() == [9.0, 0.5]
    assert np.flatnonzero(known[0]).tolist() == [0, 9]
    assert np.flatnonzero(known[1]).tolist() == [0, 7, 8, 9]
    assert learned(panel(), [verdicts[0]] * 99, [], 10)[0][0] == DOUBT_RANGE[1]


@pytest.mark.parametrize(("verdict", "told"), [("noise", True), ("expected", False), ("real", True)])
async def test_the_next_scan_learns_from_a_verdict(
    db: Database, importer: Importer, lake: Lake, actor: Actor, tmp_path: Path, verdict: str, told: bool
) -> None:
    """A spike that was expected is told no more; one that was real stays, a strong one is told in spite of doubt."""
    first, peak, last = date(2026, 2, 1), date(2026, 10, 20), date(2026, 11, 1)

    def spiked(day: date, level: float) -> str:
        return f"{float(usual(day, level)) * (9.0 if day == peak and level == 100.0 else 1.0):.4f}"

    await take(importer, actor, bill(tmp_path / "a.csv", first, last, amounts=spiked))

    async def scan(now: datetime) -> list[Finding]:
        async with db.reading(actor) as tx:
            return await service.cost_anomalies(tx, actor, lake=lake, now=now)

    found = await scan(NOW)
    async with db.writing(actor) as tx:
        await findings.raise_(tx, actor, kinds=service.KINDS, findings=found, now=NOW)
    async with db.writing(actor) as tx:
        [kept] = await findings.inbox(tx, actor)
        await service.judge(tx, actor, name=kept.name, verdict=verdict, because="", now=NOW)
    again = await scan(NOW + timedelta(days=1))

    assert [one.resource for one in found] == ["series:aws | acct-1 | Amazon EC2"]
    assert ([one.resource for one in again] == [found[0].resource]) is told
    async with db.reading(actor) as tx:
        [said] = await service.said(tx, actor)
    assert said == Verdict(
        found[0].resource.removeprefix("series:"), Said(verdict), peak, peak, found[0].kind, found[0].worth
    )


async def test_a_dismissed_rise_stays_dismissed_while_its_days_grow_and_nothing_else(
    db: Database, importer: Importer, lake: Lake, actor: Actor, tmp_path: Path
) -> None:
    """Dismissed nine days after its onset; five days, then two weeks later the level is what it was."""
    onset, seen = date(2026, 9, 14), date(2026, 9, 22)

    def risen(day: date, level: float) -> str:
        return f"{float(usual(day, level)) * (1.5 if day >= onset and level == 100.0 else 1.0):.4f}"

    async def scanned(last: date, now: datetime) -> findings.Kept:
        await take(importer, actor, bill(tmp_path / f"{last}.csv", date(2026, 5, 1), last, amounts=risen))
        async with db.reading(actor) as tx:
            found = await service.cost_anomalies(tx, actor, lake=lake, now=now)
        async with db.writing(actor) as tx:
            await findings.raise_(tx, actor, kinds=service.KINDS, findings=found, now=now)
            [kept] = await findings.inbox(tx, actor, states=tuple(FindingState))
        return kept

    first = await scanned(seen, NOW)
    async with db.writing(actor) as tx:
        await service.judge(tx, actor, name=first.name, verdict="noise", because="", now=NOW)
    later = [await scanned(seen + timedelta(days=days), NOW + timedelta(days=days)) for days in (5, 14)]

    assert first.finding.kind == "planning.cost_shift"
    assert first.finding.period.start == onset
    assert first.finding.worth.amount == pytest.approx(50 * 365, rel=0.15)
    assert [(kept.name, kept.state) for kept in later] == [(first.name, FindingState.DISMISSED)] * 2


def test_a_dismissed_change_returns_under_no_other_name_unless_it_is_worth_more() -> None:
    """Dismissed: days 3 to 9 of the month for 100. A rise from day 4 on, and days of it, are the same; others are news."""
    verdict = Verdict(
        "a", Said.NOISE, DAY + timedelta(days=2), DAY + timedelta(days=8), "shift", Money.of("100", "EUR")
    )

    def dropped(kind: str, first: int, last: int, worth: str, *, key: str = "a", recurring: bool = False) -> bool:
        days = Period(DAY + timedelta(days=first - 1), DAY + timedelta(days=last))
        amount, resource = Money.of(worth, "EUR"), f"series:{key}"
        found = replace(_finding(), kind=kind, period=days, worth=amount, recurring=recurring, resource=resource)
        return known(found, [verdict])

    assert dropped("spike", 4, 8, "60")
    assert dropped("spike", 3, 9, "125")
    assert dropped("drift", 4, 40, "125", recurring=True)
    assert not dropped("spike", 4, 8, "126")
    assert not dropped("drift", 4, 40, "126", recurring=True)
    assert not dropped("shift", 3, 12, "60")
    assert not dropped("spike", 12, 12, "60")
    assert not dropped("drift", 25, 40, "60", recurring=True)
    assert not dropped("spike", 4, 8, "60", key="b")
    assert not known(_finding(), [replace(verdict, said=Said.REAL)])


def _finding() -> Finding:
    """Return a spike of four days on series a."""
    worth = Money.of("60", "EUR")
    return Finding(
        kind="spike",
        subject="s",
        period=Period(DAY + timedelta(days=3), DAY + timedelta(days=7)),
        title="t",
        worth=worth,
        low=Money.of("0", "EUR"),
        high=Money.of("200", "EUR"),
        confidence=0.9,
        action="a",
        evidence=Evidence("f", ()),
        resource="series:a",
    )
