"""The scoreboard: stored forecasts against later facts, computed by hand beside it, never refitted."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from bursar.core.findings import service as findings
from bursar.core.intake.jobs import Importer
from bursar.core.planning import service as planning
from bursar.core.planning.forecasts import service as forecasts
from bursar.core.planning.forecasts import store as stored_runs
from bursar.core.planning.forecasts.rules.stored import PLACES
from bursar.core.planning.scores import service, store
from bursar.core.planning.series import service as series
from bursar.infra.db import Database
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.kernel.errors import NotAllowed, NotFound
from bursar.kernel.finding import Evidence, Finding
from bursar.kernel.money import Money
from bursar.kernel.period import Grain, Period
from tests.core.planning.conftest import bill, usual
from tests.core.planning.test_forecasts import take

THEN = datetime(2026, 9, 20, 3, tzinfo=UTC)
NOW = datetime(2026, 11, 3, 3, tzinfo=UTC)
FIRST = date(2026, 4, 1)


@pytest.fixture
async def predicted(db: Database, importer: Importer, lake: Lake, actor: Actor, tmp_path: Path) -> forecasts.Run:
    """A stored forecast from 19 September on, and the facts up to 1 November; then cost rises by a tenth."""
    await take(importer, actor, bill(tmp_path / "a.csv", FIRST, date(2026, 9, 18)), now=THEN)
    [done] = await forecasts.forecast_all(db, actor, lake=lake, now=THEN, grains=[Grain.DAY], horizon=60)

    def dearer(day: date, level: float) -> str:
        return f"{float(usual(day, level)) * 1.1:.4f}"

    await take(importer, actor, bill(tmp_path / "b.csv", date(2026, 9, 19), date(2026, 11, 1), amounts=dearer))
    return done.run


async def test_scores_are_what_a_person_would_compute_from_the_stored_rows(
    db: Database, lake: Lake, actor: Actor, predicted: forecasts.Run
) -> None:
    scored = await service.score_all(db, actor, lake=lake, now=NOW)

    async with db.reading(actor) as tx:
        [line] = await service.performance(tx, actor, model="all")
        values = await stored_runs.values_of(tx, predicted.id)
        [tree] = await series.hierarchies(tx, actor, lake=lake, source="cost", grain=Grain.DAY, now=NOW)
    assert scored == 1
    days = (date(2026, 11, 1) - date(2026, 9, 18)).days
    inside = errors = naive = spent = scaled = 0.0
    for one in values:
        actual = tree.panel.series(tree.ids.index(one.id))[-days:]
        mean, low, high, base = (
            np.array(getattr(one, name)[:days]) / 10**PLACES for name in ("mean", "lower80", "upper80", "baseline")
        )
        inside += ((actual >= low) & (actual <= high)).sum()
        errors += np.abs(actual - mean).sum()
        naive += np.abs(actual - base).sum()
        scaled += (np.abs(actual - mean) / one.scale).sum()
        spent += np.abs(actual).sum()
    assert line.whole.periods == days * len(values)
    assert line.whole.coverage80 == pytest.approx(inside / line.whole.periods, abs=0.002)
    assert line.whole.wape == pytest.approx(errors / spent)
    assert line.whole.baseline_wape == pytest.approx(naive / spent)
    assert line.whole.mase == pytest.approx(scaled / line.whole.periods)
    assert [(a, b) for a, b, _ in line.by_block] == [(1, 15), (16, 30), (31, 45)]
    assert sum(held.periods for _, _, held in line.by_block) == line.whole.periods
    assert line.by_run[0][0] == date(2026, 9, 19)


async def test_scoring_refits_nothing_and_repeats_to_the_same_figures(
    db: Database, lake: Lake, actor: Actor, predicted: forecasts.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a model was fitted to score")

    monkeypatch.setattr("bursar.core.planning.models.service.forecast", never)
    await service.score_all(db, actor, lake=lake, now=NOW)
    async with db.reading(actor) as tx:
        first = await store.scores(tx)

    soon = await service.score_all(db, actor, lake=lake, now=NOW + timedelta(hours=1))
    again = await service.score_all(db, actor, lake=lake, now=NOW + timedelta(hours=1), again=True)

    async with db.reading(actor) as tx:
        assert await store.scores(tx) == first
    assert first
    assert (soon, again) == (0, 1)


async def test_a_forecast_whose_first_day_is_not_over_is_not_scored(
    db: Database, importer: Importer, lake: Lake, actor: Actor, tmp_path: Path
) -> None:
    await take(importer, actor, bill(tmp_path / "a.csv", FIRST, date(2026, 9, 18)), now=THEN)
    await forecasts.forecast_all(db, actor, lake=lake, now=THEN, grains=[Grain.DAY], horizon=7)

    scored = await service.score_all(db, actor, lake=lake, now=THEN)

    async with db.reading(actor) as tx:
        lines = await service.performance(tx, actor, model="all")
    assert scored == 0
    assert lines == []


async def test_models_that_led_are_listed_and_their_records_add_up_to_all(
    db: Database, lake: Lake, actor: Actor, other_actor: Actor, predicted: forecasts.Run
) -> None:
    await service.score_all(db, actor, lake=lake, now=NOW)

    async with db.reading(actor) as tx:
        models = await service.models(tx, actor)
        each = [await service.performance(tx, actor, model=one.id) for one in models]
        [whole] = await service.performance(tx, actor, model="all")
        live = await service.live(tx, source="cost", grain=Grain.DAY, currency="USD")
        with pytest.raises(NotFound):
            await service.performance(tx, actor, model="oracle")
    async with db.reading(other_actor) as tx:
        assert await service.models(tx, other_actor) == []

    assert sum(one.series for one in models) == predicted.series
    assert sum(line.whole.periods for lines in each for line in lines) == whole.whole.periods
    assert live == whole.whole


async def test_precision_of_alerts_comes_from_what_people_said(db: Database, actor: Actor, make_actor: object) -> None:
    def spike(subject: str) -> Finding:
        worth = Money(100, "USD")
        return Finding(
            "planning.cost_spike",
            subject,
            Period(date(2026, 10, 1), date(2026, 10, 2)),
            "a spike",
            worth,
            worth,
            worth,
            0.9,
            "look",
            Evidence("x"),
            recurring=False,
        )

    async with db.writing(actor) as tx:
        raised = [spike(f"s{at}") for at in range(5)]
        await findings.raise_(tx, actor, kinds=planning.KINDS, findings=raised, now=NOW)
    verdicts = {"F1": "real", "F2": "noise", "F3": "expected", "F4": "real"}
    for name, verdict in verdicts.items():
        async with db.writing(actor) as tx:
            await planning.judge(tx, actor, name=name, verdict=verdict, because="we looked", now=NOW)

    async with db.reading(actor) as tx:
        [spikes] = await service.precision(tx, actor)
        noise = await findings.get(tx, actor, name="F2")

    assert (spikes.raised, spikes.real, spikes.dismissed, spikes.precision) == (5, 2, 2, 0.5)
    assert noise.because == "noise: we looked"
    with pytest.raises(NotAllowed, match="model:read"):
        async with db.reading(actor) as tx:
            await service.precision(tx, make_actor("finding:read"))  # type: ignore[operator]
