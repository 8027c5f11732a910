"""Long bills are judged a quarter at a time: fees of the first months hide no spike of the last, and no change is told twice."""

from datetime import date
from pathlib import Path

import numpy as np

from bursar.core.intake.jobs import Importer
from bursar.infra.db import Database
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from tests.core.planning.conftest import bill, usual
from tests.core.planning.test_alerts import scanned
from tests.core.planning.test_forecasts import LAST, take

BEGIN = date(2025, 9, 1)


def odd(day: date, level: float) -> str:
    """A fee on the 1st that is no news, a yearly one, a spike and growth, each on a series of its own."""
    fee = {
        70.0: 200.0 * (day.day == 1),
        9.0: 300.0 * ((day.month, day.day) == (10, 10)),
        100.0: 300.0 * (day == date(2026, 10, 20)),
        55.0: float(np.clip((day - date(2026, 8, 1)).days, 0, None)) * 0.9,
    }.get(level, 0.0)
    return f"{float(usual(day, level)) + fee:.4f}"


async def test_each_change_of_a_year_is_told_once_and_known_fees_are_not(
    db: Database, importer: Importer, lake: Lake, actor: Actor, tmp_path: Path
) -> None:
    await take(importer, actor, bill(tmp_path / "all.csv", BEGIN, LAST, amounts=odd))

    told = [(one.kind, one.resource.split(" | ")[1:], one.period.start) for one in await scanned(db, lake, actor)]

    spikes = [where for kind, where, first in told if kind == "planning.cost_spike" and first == date(2026, 10, 20)]
    growth = [where for kind, where, _ in told if where == ["acct-2", "Amazon EC2"]]
    fees = [first for _, where, first in told if where[0] == "sub-1" and first > date(2026, 1, 1)]
    assert spikes == [["acct-1", "Amazon EC2"]]
    assert len(growth) == 1
    assert fees == []
