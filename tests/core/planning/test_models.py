"""Kept models on the real database: trained once, served by night, trained anew when it is time, never silent about it."""

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from bursar.core.intake.jobs import Importer
from bursar.core.planning.calendars import service as calendars
from bursar.core.planning.calendars.service import Event, Planned
from bursar.core.planning.forecasts import service as forecasts
from bursar.core.planning.forecasts.rules.stored import PLACES
from bursar.core.planning.models import rules, service
from bursar.core.planning.models.tables import part, version
from bursar.core.planning.scores import service as scores
from bursar.core.planning.series.rules import series_id
from bursar.infra.db import Database
from bursar.infra.fleet import Fleet, Work
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Unavailable
from bursar.kernel.period import Grain
from bursar.ml.calendar import Calendar
from bursar.ml.forecast.lineup import EXTRAS, Extras
from bursar.ml.forecast.panel import forecast_panel
from tests.core.planning.conftest import bill, usual
from tests.core.planning.doomed import NOW, PARTS, ask, forecast
from tests.core.planning.test_forecasts import FIRST, LAST, take, values_of

NAME = ask().name
ENDS = ("mean", "lower80", "upper80", "lower95", "upper95")


class Counting(Fleet):
    """A fleet that counts the parts it computed."""

    def __init__(self, engine: str = "duckdb", *, processes: int = 1) -> None:
        super().__init__(engine, processes=processes)
        self.parts = 0

    async def run(self, work: Work, contents: Sequence[bytes]) -> AsyncIterator[tuple[int, bytes]]:
        async for pair in super().run(work, contents):
            self.parts += 1
            yield pair


@pytest.fixture(autouse=True)
def cold() -> None:
    """Nothing is cached from another test."""
    service.forget_cached()


async def states(db: Database, actor: Actor) -> list[tuple[int, str]]:
    async with db.reading(actor) as tx:
        return [(one.card.version, one.state) for one in await service.listed(tx, actor, name=NAME)]


async def damage(db: Database, actor: Actor, number: int) -> None:
    async with db.writing(actor) as tx:
        await tx.run(
            sa.update(version).where(version.c.version == number).values(artefact=b"PK\x03\x04 something else")
        )
    service.forget_cached()


async def test_a_model_is_trained_once_serves_and_is_trained_anew_when_it_is_old(db: Database, actor: Actor) -> None:
    first = await forecast(db, actor, Counting(), ask())
    second = await forecast(db, actor, Counting(), ask(76), NOW + timedelta(days=1))
    third = await forecast(db, actor, Counting(), ask(85), NOW + timedelta(days=10))

    assert [(one.model, one.version) for one in (first, second, third)] == [(NAME, 1), (NAME, 1), (NAME, 2)]
    assert "no kept model can serve" in first.notes[0]
    assert second.notes == ("version 1 serves, trained on 2026-01-01 to 2026-01-01",)
    assert "older than 7 days" in third.notes[0]
    assert await states(db, actor) == [(2, "serving"), (1, "previous")]
    async with db.reading(actor) as tx:
        [newest, _] = await service.listed(tx, actor, name=NAME)
    card = newest.card
    assert card.metrics["mase"] < card.baseline_metrics["mase"]
    assert (len(card.sha256), card.data_hash, card.code_version, card.seed) == (64, "d" * 64, "1", 0)
    assert card.parameters == {"horizon": 14, "country": "", "subdivision": "", "events": []}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"drift": "it drifted"}, "it drifted"),
        ({"code_version": "2"}, "trained by version 1"),
    ],
)
async def test_a_model_is_trained_anew_on_drift_and_by_another_version(
    db: Database, actor: Actor, changed: dict[str, str], said: str
) -> None:
    await forecast(db, actor, Counting(), ask())

    again = await forecast(db, actor, Counting(), ask(76, **changed), NOW + timedelta(days=1))

    assert again.version == 2
    assert said in again.notes[0]


async def test_a_model_of_an_optional_package_competes_serves_and_leaves_with_its_setting(
    db: Database, actor: Actor
) -> None:
    pytest.importorskip("statsforecast")
    own = await forecast(db, actor, Counting(), ask())
    told = ("AutoARIMA is left out: too much",)

    more = await forecast(db, actor, Counting(), ask(76, extras=("AutoCES",), told=told), NOW + timedelta(days=1))
    same = await forecast(db, actor, Counting(), ask(77, extras=("AutoCES",), told=told), NOW + timedelta(days=2))
    less = await forecast(db, actor, Counting(), ask(78), NOW + timedelta(days=3))

    assert [one.version for one in (own, more, same, less)] == [1, 2, 2, 3]
    assert ["AutoCES" in one.result.models for one in (own, more, same, less)] == [False, True, True, False]
    assert "forecasters of optional packages were none, are AutoCES" in more.notes[0]
    assert "forecasters of optional packages were AutoCES, are none" in less.notes[0]
    async with db.reading(actor) as tx:
        cards = [one.card for one in await service.listed(tx, actor, name=NAME)]
    assert [one.parameters.get("forecasters") for one in cards] == [None, ["AutoCES"], None]
    assert [one.notes for one in cards] == [(), told, ()]


async def test_optional_models_give_equal_answers_in_processes_and_on_spark(
    db: Database, actor: Actor, other_actor: Actor, sail: str
) -> None:
    pytest.importorskip("statsforecast")
    asked = ask(extras=("AutoCES",))

    here = await forecast(db, actor, Counting(processes=2), asked)

    assert "AutoCES" in here.result.models
    assert_equal(here, await forecast(db, other_actor, Counting(sail), asked))


async def test_holidays_and_new_series_need_a_new_training(db: Database, actor: Actor) -> None:
    await forecast(db, actor, Counting(), ask())
    async with db.reading(actor) as tx:
        served = await service.serving(tx, actor, name=NAME)
    keys = served.model.keys

    at_home = replace(ask(), calendar=Calendar("DE"))
    assert rules.why_train(ask(), served.card, NOW, keys, NOW) == ""
    assert "holidays or events changed" in rules.why_train(at_home, served.card, NOW, keys, NOW)
    assert "33% of the series are new" in rules.why_train(ask(), served.card, NOW, keys[:8], NOW)


async def test_a_damaged_model_gives_way_to_the_one_before_it_then_to_a_training_then_to_the_baseline(
    db: Database, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = NOW + timedelta(days=1)
    await forecast(db, actor, Counting(), ask())
    await forecast(db, actor, Counting(), ask(drift="x"))
    await damage(db, actor, 2)

    previous = await forecast(db, actor, Counting(), ask(76), later)
    await damage(db, actor, 1)

    async def broken(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(service, "_trained", broken)
        baseline = await forecast(db, actor, Counting(), ask(76), later)
    anew = await forecast(db, actor, Counting(), ask(76), later)

    assert previous.version == 1
    assert previous.notes[0].startswith("version 2:")
    assert previous.notes[1].startswith("version 1 serves")
    assert (baseline.version, baseline.model) == (None, "")
    assert baseline.notes[-1] == "the baseline serves"
    assert any("MemoryError" in note for note in baseline.notes)
    assert baseline.result.models == ("seasonal_naive",)
    assert np.isfinite(baseline.result.mean).all()
    assert anew.version == 3


async def test_what_serves_is_read_once_while_it_is_cached(
    db: Database, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    await forecast(db, actor, Counting(), ask())
    async with db.reading(actor) as tx:
        first = await service.serving(tx, actor, name=NAME)
        monkeypatch.setattr("bursar.core.planning.models.store.line", None)

        assert await service.serving(tx, actor, name=NAME) is first


async def test_a_training_that_is_worse_than_the_one_that_serves_is_kept_but_does_not_serve(
    db: Database, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    await forecast(db, actor, Counting(), ask())
    monkeypatch.setattr(rules, "WORSE_MAX", 0.5)

    outcome = await forecast(db, actor, Counting(), ask(85), NOW + timedelta(days=10))

    assert outcome.version == 1
    assert "does not replace version 1" in outcome.notes[0]
    assert await states(db, actor) == [(2, "kept"), (1, "serving")]


async def test_a_training_meets_the_serving_one_at_periods_that_neither_had_seen(db: Database, actor: Actor) -> None:
    """Trained on 75 days, then on 85: the second tries itself from day 71, so ten of its days are new to both."""
    first = await forecast(db, actor, Counting(), ask())

    soon = await forecast(db, actor, Counting(), ask(78, code_version="2"), NOW + timedelta(days=3))
    later = await forecast(db, actor, Counting(), ask(95, code_version="3"), NOW + timedelta(days=20))

    assert "periods" not in soon.notes[0]
    assert re.search(r"and 0\.\d{3} against 0\.\d{3} of version 2 over 14 periods", later.notes[0])
    async with db.reading(actor) as tx:
        aside = await tx.scalar(sa.select(sa.func.count()).select_from(part))
    assert aside == sum(len(one.parts) for one in (first, soon, later))


def test_a_contest_counts_only_what_the_serving_training_had_not_seen() -> None:
    asked = ask(85)
    values, times = asked.panel.matrix(length_max=85)
    new = forecast_panel(asked.panel, 14)
    begun = int(np.searchsorted(times, new.tried_after)) + 1
    then = rules.before(asked.panel, new.tried_after)
    assert then is not None
    assert set(then.lengths) == {begun}
    actual = values[:, begun : begun + 14]
    seen = times[75 - 1]
    early = np.where(times[begun : begun + 14] > seen, 1.0, 100.0)  # errors at periods that were seen do not count
    mine = replace(new, tried=actual + early)
    theirs = replace(new, mean=actual[::-1] - 2 * early, keys=new.keys[::-1])

    held = rules.contest(asked, mine, theirs, seen=seen)

    assert held is not None
    assert held.periods == 10
    np.testing.assert_allclose(held.old, 2 * held.new)
    assert rules.contest(asked, mine, theirs, seen=times[80]) is None


async def test_organisations_do_not_share_models(db: Database, actor: Actor, other_actor: Actor) -> None:
    await forecast(db, actor, Counting(), ask())

    assert await states(db, other_actor) == []
    assert (await forecast(db, other_actor, Counting(), ask())).version == 1


def assert_equal(one: service.Outcome, other: service.Outcome) -> None:
    for name in (*ENDS, "weights", "error"):
        np.testing.assert_array_equal(getattr(one.result, name), getattr(other.result, name))


async def test_processes_and_one_process_give_equal_answers(db: Database, actor: Actor, other_actor: Actor) -> None:
    alone, many = Counting(), Counting(processes=2)

    assert_equal(await forecast(db, actor, alone, ask()), await forecast(db, other_actor, many, ask()))
    assert (alone.parts, many.parts) == (PARTS, PARTS)


async def test_a_spark_server_gives_equal_answers(db: Database, actor: Actor, other_actor: Actor, sail: str) -> None:
    here, there = Counting(), Counting(sail)

    assert_equal(await forecast(db, actor, here, ask()), await forecast(db, other_actor, there, ask()))
    tomorrow = NOW + timedelta(days=1)
    served = await forecast(db, actor, here, ask(76), tomorrow)
    assert_equal(served, await forecast(db, other_actor, there, ask(76), tomorrow))
    assert (served.version, there.parts) == (1, 2 * PARTS)


async def test_a_spark_server_that_is_gone_fails_the_training_and_says_so() -> None:
    with pytest.raises(Unavailable, match="Spark"):
        [pair async for pair in Fleet("sc://127.0.0.1:9").run(len, [b""])]  # type: ignore[arg-type]


async def test_a_killed_run_goes_on_with_the_parts_that_are_done(
    db: Database, database_url: str, actor: Actor, other_actor: Actor
) -> None:
    command = [sys.executable, "-m", "tests.core.planning.doomed", database_url, str(actor.org), "1"]

    killed = await asyncio.create_subprocess_exec(*command, cwd=Path(__file__).parents[3])
    code = await asyncio.wait_for(killed.wait(), 120)
    async with db.reading(actor) as tx:
        left = await tx.scalar(sa.select(sa.func.count()).select_from(part))
    fleet = Counting()
    resumed = await forecast(db, actor, fleet, ask())
    whole = await forecast(db, other_actor, Counting(), ask())

    assert code == -signal.SIGKILL
    assert left == 1
    assert fleet.parts == PARTS - 1
    assert_equal(resumed, whole)
    async with db.writing(actor) as tx:
        assert await service.forget_parts(tx, actor, works=resumed.parts) == PARTS
    async with asyncio.timeout(20):
        while _orphans():  # noqa: ASYNC110  other processes set no event
            await asyncio.sleep(0.2)


def _orphans() -> list[str]:
    """Return processes of this interpreter that were spawned to compute and whose parent is gone."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_text().split("\0")
            parent = (place / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:  # it ended meanwhile
            continue
        if sys.executable in words and "spawn_main" in " ".join(words) and parent == "1":
            found.append(place.name)
    return found


async def test_a_stored_run_names_its_model_and_forgets_its_parts(
    db: Database, importer: Importer, lake: Lake, actor: Actor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bursar.ml.forecast.fleet.PART_SERIES", 4)
    await take(importer, actor, bill(tmp_path / "a.csv", FIRST, date(2026, 10, 28)))
    said: list[tuple[int, int]] = []

    async def told(done: int, total: int, note: str) -> None:
        said.append((done, total))

    async def night(days: int) -> forecasts.Run:
        [done], _ = await scores.renew(
            db,
            actor,
            lake=lake,
            now=NOW + timedelta(days=days),
            grains=[Grain.DAY],
            horizon=7,
            progress=told,
            fleet=Fleet(processes=1),
        )
        return done.run

    first = await night(0)
    await take(importer, actor, bill(tmp_path / "b.csv", date(2026, 10, 29), LAST))
    second = await night(1)

    assert (first.model, first.model_version, second.model_version) == ("forecast_cost_day_usd_7", 1, 1)
    assert "version 1 serves" in second.notes[0]
    assert said[:5] == [(0, 11), (0, 11), (3, 11), (7, 11), (11, 11)]
    async with db.reading(actor) as tx:
        assert await tx.scalar(sa.select(sa.func.count()).select_from(part)) == 0


async def test_what_an_optional_model_cannot_take_is_left_out_by_name_and_another_lineup_forecasts_anew(
    db: Database, importer: Importer, lake: Lake, actor: Actor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("statsforecast")
    await take(importer, actor, bill(tmp_path / "a.csv", FIRST, date(2026, 10, 28)))
    extras = Extras(("AutoARIMA", "AutoCES"))
    monkeypatch.setitem(EXTRAS, "AutoARIMA", replace(EXTRAS["AutoARIMA"], values_max=100))

    async def night(which: Extras) -> forecasts.Done:
        [done] = await forecasts.forecast_all(
            db, actor, lake=lake, now=NOW, grains=[Grain.DAY], horizon=7, extras=which, fleet=Fleet(processes=1)
        )
        return done

    plain, more, again = [await night(one) for one in (Extras(), extras, extras)]

    assert (plain.made, more.made, again.made) == (True, True, False)
    assert any(note.startswith("AutoARIMA is left out") and "100 values" in note for note in more.run.notes)
    async with db.reading(actor) as tx:
        [newest, *_] = await service.listed(tx, actor, name=more.run.model)
    assert newest.card.parameters["forecasters"] == ["AutoCES"]
    assert newest.card.notes[0].startswith("AutoARIMA is left out")


async def test_a_model_whose_forecasts_fail_is_trained_anew(
    db: Database, importer: Importer, lake: Lake, actor: Actor, tmp_path: Path
) -> None:
    """Costs jump fivefold the day after the forecast: the baseline errs alike, but no interval holds."""
    await take(importer, actor, bill(tmp_path / "a.csv", FIRST, date(2026, 9, 18)))
    then = NOW - timedelta(days=44)
    await scores.renew(db, actor, lake=lake, now=then, grains=[Grain.DAY])

    def dearer(day: date, level: float) -> str:
        return f"{float(usual(day, level)) * 5:.4f}"

    later = then + timedelta(days=6)
    await take(importer, actor, bill(tmp_path / "b.csv", date(2026, 9, 19), date(2026, 9, 24), amounts=dearer))
    [done], scored = await scores.renew(db, actor, lake=lake, now=later, grains=[Grain.DAY])

    assert scored == 1
    assert done.run.model_version == 2
    assert "version 1" in done.run.notes[0]
    assert "held" in done.run.notes[0] or "errs" in done.run.notes[0]


async def test_holidays_and_planned_amounts_are_in_the_forecast_and_named(
    db: Database, importer: Importer, lake: Lake, actor: Actor, tmp_path: Path
) -> None:
    await take(importer, actor, bill(tmp_path / "a.csv", FIRST, LAST))
    [plain] = await forecasts.forecast_all(db, actor, lake=lake, now=NOW, grains=[Grain.DAY], horizon=7)
    aws = series_id("cost", "USD", "aws")
    planned = Planned(
        "DE",
        "BY",
        (
            Event("renewal", (date(2026, 11, 4),), aws, Decimal(1000), "USD"),
            Event("close", (date(2026, 9, 30), date(2026, 12, 31))),
        ),
    )

    async with db.writing(actor) as tx:
        await calendars.put(tx, actor, planned=planned, now=NOW)
    [done] = await forecasts.forecast_all(db, actor, lake=lake, now=NOW, grains=[Grain.DAY], horizon=7)

    before = {one.id: one for one in await values_of(db, actor, plain.run)}
    after = {one.id: one for one in await values_of(db, actor, done.run)}
    total = next(id_ for id_, one in after.items() if one.level == "total")
    assert (plain.made, done.made) == (True, True)
    assert plain.run.notes[1:] == ()
    assert done.run.notes[1:] == (
        "public holidays of DE-BY, as set",
        "events learned from: close",
        "known amounts added: renewal",
    )
    for id_ in (aws, total):
        moved = after[id_].mean[2] - before[id_].mean[2]
        assert 900 < moved / 10**PLACES < 1100
        assert abs(after[id_].mean[3] - before[id_].mean[3]) / 10**PLACES < 30
