"""Forecasts a panel of several parts and kills itself when some of them are done; run by test_models.

Usage: ``python -m tests.core.planning.doomed URL ORG PARTS``
"""

import asyncio
import os
import signal
import sys
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import numpy as np

from bursar.core.planning.models import service, store
from bursar.core.planning.models.service import Ask, Means, Outcome
from bursar.infra.db import Database
from bursar.infra.fleet import Fleet
from bursar.kernel.actor import Actor
from bursar.kernel.period import Grain
from bursar.kernel.series import Panel
from bursar.ml.calendar import Calendar
from bursar.ml.forecast import fleet as parts

NOW = datetime(2026, 11, 3, 6, tzinfo=UTC)
RIGHTS = frozenset({"forecast:read", "forecast:write", "model:read"})
PART_SERIES, PARTS = 4, 3


def panel(length: int = 75) -> Panel:
    """Return a panel of three parts of four series."""
    rng = np.random.default_rng(7)
    day = np.arange(length)
    count = PART_SERIES * PARTS
    values = 100 + 20 * np.sin(day * 2 * np.pi / 7)[None, :] * rng.uniform(0.5, 1.5, (count, 1))
    values = values + rng.normal(0, 3, (count, 400))[:, :length]
    start = np.datetime64("2026-01-01", "h")
    return Panel.of([f"s{row}" for row in range(count)], [start] * count, list(values), grain=Grain.DAY, currency="EUR")


def ask(length: int = 75, **facts: Any) -> Ask:
    """Return the question about the panel."""
    window = date(2026, 1, 1), date(2026, 1, 1)
    made = {"name": "forecast_test_day_eur_14", "drift": "", "code_version": "1"} | facts
    return Ask(panel=panel(length), horizon=14, calendar=Calendar(), seed=0, data_hash="d" * 64, window=window, **made)


async def silent(done: int, total: int) -> None:
    """Tell nobody."""
    del done, total


async def forecast(db: Database, actor: Actor, fleet: Fleet, asked: Ask, now: datetime = NOW) -> Outcome:
    """Forecast in parts of four series."""
    parts.PART_SERIES = PART_SERIES
    return await service.forecast(Means(db, actor, fleet, now, silent), asked)


async def main(url: str, org: str, after: int) -> None:
    """Die when ``after`` parts were kept aside."""
    real, kept = store.put_part, 0

    async def deadly(*args: Any, **facts: Any) -> None:
        nonlocal kept
        if kept == after:  # the parts before it are committed
            os.kill(os.getpid(), signal.SIGKILL)
        await real(*args, **facts)
        kept += 1

    store.put_part = deadly
    db = Database(url, pool_size=2)
    await forecast(db, Actor(UUID(org), "person:x", RIGHTS), Fleet(processes=2), ask())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
