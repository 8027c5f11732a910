"""What scans of real bills tell: late files are waited for, pairs that cancel are told, and every figure adds up."""

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bursar.core.findings.store import evidence_from_json, evidence_to_json
from bursar.core.intake.jobs import Importer
from bursar.core.planning import service
from bursar.core.planning.rules.alerts import Children, change_of, finding_of
from bursar.core.planning.series import service as series
from bursar.core.planning.series.rules import feeds
from bursar.infra.db import Database
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.kernel.finding import Finding
from bursar.kernel.period import Grain
from bursar.kernel.series import Panel
from bursar.ml.anomaly.alerts import Alert, AlertKind
from tests.core.planning.conftest import bill, usual
from tests.core.planning.test_forecasts import FIRST, LAST, NOW, take

SILENT_SINCE = LAST - timedelta(days=15)
START = np.datetime64("2026-01-01T00", "h")


async def scanned(db: Database, lake: Lake, actor: Actor) -> list[Finding]:
    async with db.reading(actor) as tx:
        return await service.cost_anomalies(tx, actor, lake=lake, now=NOW)


async def test_an_account_whose_own_file_is_late_is_waited_for(
    db: Database, importer: Importer, lake: Lake, actor: Actor, tmp_path: Path
) -> None:
    await take(importer, actor, bill(tmp_path / "one.csv", FIRST, LAST, only="acct-1"))
    await take(importer, actor, bill(tmp_path / "two.csv", FIRST, SILENT_SINCE, only="acct-2"))

    async with db.reading(actor) as tx:
        [tree] = await series.hierarchies(tx, actor, lake=lake, source="cost", grain=Grain.DAY, now=NOW)

    assert await scanned(db, lake, actor) == []
    assert tree.last_day == SILENT_SINCE


async def test_an_account_that_falls_silent_in_a_file_of_all_accounts_has_vanished(
    db: Database, importer: Importer, lake: Lake, actor: Actor, tmp_path: Path
) -> None:
    def closed(day: date, level: float) -> str:
        return "0" if level == 55.0 and day > SILENT_SINCE else usual(day, level)

    await take(importer, actor, bill(tmp_path / "all.csv", FIRST, LAST, only="AWS", amounts=closed))

    [found] = await scanned(db, lake, actor)

    seen = found.evidence.observed
    assert (found.kind, found.resource) == ("planning.vanished_cost", "series:aws | acct-2 | Amazon EC2")
    assert seen is not None
    assert seen.impact == sum(part.amount for part in seen.causes) < 0
    assert 0 <= seen.lower <= seen.expected <= seen.upper
    assert found.worth.minor == 0


async def test_two_services_that_cancel_in_their_account_are_told_as_one(
    db: Database, importer: Importer, lake: Lake, actor: Actor, tmp_path: Path
) -> None:
    """Ten a day move from one service of the account to the other: its total does not show it."""

    def moved(day: date, level: float) -> str:
        shift = {100.0: -60, 20.0: 60}.get(level, 0) if day > SILENT_SINCE else 0
        return f"{float(usual(day, level)) + shift:.4f}"

    await take(importer, actor, bill(tmp_path / "all.csv", FIRST, LAST, only="AWS", amounts=moved))

    [found] = await scanned(db, lake, actor)

    seen = found.evidence.observed
    assert found.kind == "planning.cancelling_change"
    assert found.title.startswith("Amazon S3 rose as Amazon EC2 fell on")
    assert seen is not None
    assert {part.label: round(part.amount / 14) for part in seen.causes} == {
        "aws | acct-1 | Amazon S3": pytest.approx(60, abs=6),
        "aws | acct-1 | Amazon EC2": pytest.approx(-60, abs=6),
    }
    assert sum(part.amount for part in seen.causes) == seen.impact
    assert found.worth.minor == 0


def test_feeds_are_accounts_that_share_files() -> None:
    rows = [
        ("aws", "a", "1"),
        ("aws", "b", "1"),
        ("aws", "b", "2"),
        ("aws", "c", "2"),
        ("aws", "d", "3"),
        ("gcp", "x", "1"),
    ]
    frame = pl.DataFrame(rows, schema=["part0", "part1", "batch"], orient="row")

    found = {(one[0], one[1]): one[2] for one in feeds(frame, ["part0", "part1"]).iter_rows()}

    assert found == {
        **dict.fromkeys([("aws", "a"), ("aws", "b"), ("aws", "c")], "aws | a"),
        ("aws", "d"): "aws | d",
        ("gcp", "x"): "gcp",
    }


@pytest.mark.parametrize("lasting", [False, True])
def test_every_figure_of_a_finding_adds_up(lasting: bool) -> None:
    """Ten children, some up, one down: causes sum to the impact and parts to the worth, to the cent."""
    rng = np.random.default_rng(0)
    children = rng.lognormal(2, 1, (10, 1)) + rng.normal(0, 0.1, (10, 200))
    stop = 200 if lasting else 181
    children[:7, 180:stop] *= rng.uniform(2, 4, (7, 1))
    children[7, 180:stop] *= 0.3
    panel = Panel.of(["aws | a | s"], [START], [children.sum(axis=0)], grain=Grain.DAY, currency="EUR")
    at = START + np.timedelta64(24 * (stop - 1), "h")
    onset = START + np.timedelta64(24 * 180, "h")
    total, before = panel.series(0)[180:stop].sum(), panel.series(0)[:180].mean() * (stop - 180)
    kind = AlertKind.SHIFT if lasting else AlertKind.SPIKE
    change = change_of(Alert(0, kind, onset, at, total, before, before - 5, before + 5, 1e-6), panel)
    names = tuple(f"r-{at}" for at in range(10))

    found = finding_of(
        change, panel, title="t", subject="s", children=Children(names, children), rows=(), rows_total=0, under="u"
    )

    seen, chart = found.evidence.observed, found.evidence.chart
    assert seen is not None
    assert change.lasting is lasting
    assert sum(part.amount for part in seen.causes) == seen.impact > 0
    assert sum(part.amount for part in found.evidence.parts) == found.worth.amount
    assert found.worth.amount == (seen.impact if not lasting else found.worth.amount)
    assert seen.lower < seen.expected < seen.upper < seen.actual
    assert {part.label for part in seen.causes if part.amount < 0} <= {"r-7", "all others"}
    assert {len(line) for line in chart.values()} == {len(chart["x"])}
    place = chart["x"].index("2026-06-30")
    assert chart["expected"][place - 1] is None
    assert (
        Decimal(str(chart["lower"][place])) < Decimal(str(chart["expected"][place])) < Decimal(str(chart["y"][place]))
    )
    assert evidence_from_json(evidence_to_json(found.evidence)) == found.evidence
