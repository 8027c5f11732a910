"""Stored forecasts on the real database and lake: they add up, repeat nothing, see no future, and belong to one organisation."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bursar.core.intake.jobs import Importer
from bursar.core.planning.forecasts import service, store
from bursar.core.planning.forecasts.rules import stored
from bursar.core.planning.forecasts.rules.stored import Values
from bursar.core.planning.forecasts.service import Drivers, Left, Run
from bursar.core.planning.jobs import refreshed
from bursar.core.planning.series import rules
from bursar.core.planning.series import service as series
from bursar.core.planning.series.rules import series_id
from bursar.infra.db import Database
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Invalid, NotAllowed, NotFound
from bursar.kernel.period import Grain
from bursar.kernel.series import Floats
from bursar.ml.reconcile import Tree
from tests.core.planning.conftest import LEAVES, bill

NOW = datetime(2026, 11, 3, 6, tzinfo=UTC)
FIRST, LAST = date(2026, 5, 1), date(2026, 11, 1)
ENDS = ("mean", "lower80", "upper80", "lower95", "upper95")


async def take(importer: Importer, actor: Actor, *paths: Path, now: datetime = NOW) -> None:
    async for batch in importer.import_paths(actor, paths, clock=lambda: now):
        assert batch.rows_taken or batch.already


async def values_of(db: Database, actor: Actor, run: Run) -> list[Values]:
    async with db.reading(actor) as tx:
        return await store.values_of(tx, run.id)


def assert_coherent(values: list[Values], horizon: int) -> None:
    by_id = {one.id: one for one in values}
    children: dict[str, list[Values]] = {}
    for one in values:
        if one.parent:
            children.setdefault(one.parent, []).append(one)
    assert sum(not one.parent for one in values) == 1
    for id_, below in children.items():
        for step in range(horizon):
            assert by_id[id_].mean[step] == sum(one.mean[step] for one in below), (by_id[id_].key, step)
    for one in values:
        rows = zip(one.lower95, one.lower80, one.mean, one.upper80, one.upper95, strict=True)
        assert all(a <= b <= c <= d <= e for a, b, c, d, e in rows)


async def test_forecasts_of_a_run_add_up_exactly_and_name_their_makers(
    db: Database, importer: Importer, lake: Lake, actor: Actor, tmp_path: Path
) -> None:
    await take(importer, actor, bill(tmp_path / "bill.csv", FIRST, LAST))

    done = await service.forecast_all(db, actor, lake=lake, now=NOW)

    day = next(one.run for one in done if one.run.grain is Grain.DAY)
    values = await values_of(db, actor, day)
    assert (day.last_day, day.origin, day.horizon, day.currency) == (LAST, date(2026, 11, 2), 92, "USD")
    assert day.series == len(values) == 1 + 2 + 3 + len(LEAVES)
    assert_coherent(values, day.horizon)
    assert {one.level for one in values} == {"total", "provider", "account", "service"}
    assert all(one.model and one.leader for one in values)
    ec2 = next(one for one in values if one.key.endswith("Amazon EC2") and "acct-1" in one.key)
    assert 80 < sum(ec2.mean[:7]) / 7 / 10**stored.PLACES < 110
    assert day.coverage80 is not None
    assert day.windows >= 3


async def test_forecasting_the_same_facts_again_stores_nothing(
    db: Database, importer: Importer, lake: Lake, actor: Actor, tmp_path: Path
) -> None:
    await take(importer, actor, bill(tmp_path / "bill.csv", FIRST, LAST))
    first = await service.forecast_all(db, actor, lake=lake, now=NOW, grains=[Grain.DAY], horizon=14)

    second = await service.forecast_all(db, actor, lake=lake, now=NOW, grains=[Grain.DAY], horizon=14)

    assert [one.made for one in first] == [True]
    assert [one.made for one in second] == [False]
    assert second[0].run == first[0].run
    async with db.reading(actor) as tx:
        assert len(await store.runs(tx)) == 1


async def test_facts_after_the_origin_change_no_forecast(
    db: Database, importer: Importer, lake: Lake, actor: Actor, other_actor: Actor, tmp_path: Path
) -> None:
    """Two organisations share the past; what one of them was billed later is random."""
    rng = np.random.default_rng(5)
    then = datetime(2026, 9, 20, 3, tzinfo=UTC)

    def leaked(day: date, level: float) -> str:
        from tests.core.planning.conftest import usual

        return usual(day, level) if day <= date(2026, 9, 18) else f"{rng.uniform(0, 10_000):.2f}"

    await take(importer, actor, bill(tmp_path / "a.csv", FIRST, date(2026, 10, 31)))
    await take(importer, other_actor, bill(tmp_path / "b.csv", FIRST, date(2026, 10, 31), amounts=leaked))

    [mine] = await service.forecast_all(db, actor, lake=lake, now=then, grains=[Grain.DAY], horizon=14)
    [theirs] = await service.forecast_all(db, other_actor, lake=lake, now=then, grains=[Grain.DAY], horizon=14)

    assert mine.run.last_day == theirs.run.last_day == date(2026, 9, 18)
    assert mine.run.data_hash == theirs.run.data_hash
    assert await values_of(db, actor, mine.run) == await values_of(db, other_actor, theirs.run)


async def test_another_organisation_sees_neither_series_nor_forecasts(
    db: Database, importer: Importer, lake: Lake, actor: Actor, other_actor: Actor, tmp_path: Path
) -> None:
    await take(importer, actor, bill(tmp_path / "bill.csv", FIRST, LAST))
    [done] = await service.forecast_all(db, actor, lake=lake, now=NOW, grains=[Grain.DAY], horizon=7)
    id_ = series_id("cost", "USD", "aws")

    async with db.reading(actor) as tx:
        run, values = await service.of_series(tx, actor, id_=id_, grain=Grain.DAY)
    async with db.reading(other_actor) as tx:
        assert await series.listed(tx, other_actor, lake=lake, source="", grain=Grain.DAY, now=NOW) == []
        assert await store.values_of(tx, done.run.id) == []
        with pytest.raises(NotFound):
            await service.of_series(tx, other_actor, id_=id_, grain=Grain.DAY)

    assert (run.id, values.key) == (done.run.id, "aws")


async def test_an_absurd_amount_leaves_its_panel_alone_out_and_names_its_series(
    db: Database, importer: Importer, lake: Lake, actor: Actor, tmp_path: Path
) -> None:
    def absurd(day: date, level: float) -> str:
        return "5e14" if (day, level) == (date(2026, 9, 3), 9.0) else f"{level:.2f}"

    await take(importer, actor, bill(tmp_path / "a.csv", FIRST, date(2026, 10, 31), only="AWS"))
    await take(
        importer,
        actor,
        bill(tmp_path / "b.csv", FIRST, date(2026, 10, 31), amounts=absurd, currency="EUR", only="Microsoft"),
    )
    left: list[Left] = []

    with pytest.raises(Invalid, match="Storage Accounts"):
        await service.forecast_all(db, actor, lake=lake, now=NOW, grains=[Grain.DAY], horizon=14)
    made = await service.forecast_all(db, actor, lake=lake, now=NOW, grains=[Grain.DAY], horizon=14, leave=left.append)
    counts = await refreshed(db, actor, lake=lake)

    assert [one.run.currency for one in made] == ["USD"]
    assert [(one.source, one.grain, one.currency) for one in left] == [("cost", Grain.DAY, "EUR")]
    assert "azure | sub-1 | Storage Accounts" in left[0].because.what
    assert "2026-09-03" in left[0].because.what
    assert (counts["panels"], counts["left"]) == (2, 2)


async def test_each_currency_is_a_panel_of_its_own(
    db: Database, importer: Importer, lake: Lake, actor: Actor, tmp_path: Path
) -> None:
    await take(importer, actor, bill(tmp_path / "a.csv", FIRST, LAST, only="AWS"))
    await take(importer, actor, bill(tmp_path / "b.csv", FIRST, LAST, only="Microsoft", currency="EUR"))

    done = await service.forecast_all(db, actor, lake=lake, now=NOW, grains=[Grain.DAY], horizon=7)

    assert sorted((one.run.currency, one.run.series) for one in done) == [("EUR", 5), ("USD", 7)]


async def test_days_that_are_not_over_and_a_branch_that_is_late_are_not_used(
    db: Database, importer: Importer, lake: Lake, actor: Actor, tmp_path: Path
) -> None:
    await take(importer, actor, bill(tmp_path / "a.csv", FIRST, date(2026, 11, 3), only="AWS"))
    await take(importer, actor, bill(tmp_path / "b.csv", FIRST, date(2026, 10, 28), only="Microsoft"))

    async with db.reading(actor) as tx:
        [tree] = await series.hierarchies(tx, actor, lake=lake, source="cost", grain=Grain.DAY, now=NOW)
        [months] = await series.hierarchies(tx, actor, lake=lake, source="cost", grain=Grain.MONTH, now=NOW)

    assert tree.last_day == date(2026, 10, 28)
    assert set(tree.panel.ends.astype("datetime64[D]").astype(str)) == {"2026-10-29"}
    assert months.last_day == date(2026, 9, 30)


def test_a_vendor_that_charges_by_the_month_does_not_hold_up_the_others() -> None:
    firsts = [date(2026, month, 1) for month in range(1, 11)]
    daily = [date(2026, 9, 1) + timedelta(days=at) for at in range(60)]
    sums = pl.DataFrame({"feed": ["saas"] * 10 + ["aws"] * 60, "day": [*firsts, *daily]})

    assert rules.complete_until(sums, date(2026, 11, 20)) == (date(2026, 10, 30), ())
    assert rules.complete_until(sums.filter(pl.col("feed") == "saas"), date(2026, 11, 20)) == (date(2026, 10, 31), ())
    assert rules.complete_until(sums, date(2026, 12, 20)) == (date(2026, 10, 30), ())
    assert rules.complete_until(sums, date(2026, 10, 20)) == (date(2026, 10, 18), ())


async def test_a_branch_that_stopped_long_ago_holds_zeros_and_is_named(
    db: Database, importer: Importer, lake: Lake, actor: Actor, tmp_path: Path
) -> None:
    await take(importer, actor, bill(tmp_path / "a.csv", FIRST, LAST, only="AWS"))
    await take(importer, actor, bill(tmp_path / "b.csv", FIRST, date(2026, 7, 31), only="Microsoft"))

    async with db.reading(actor) as tx:
        [tree] = await series.hierarchies(tx, actor, lake=lake, source="cost", grain=Grain.DAY, now=NOW)

    microsoft = tree.panel.keys.index("microsoft") if "microsoft" in tree.panel.keys else tree.panel.keys.index("azure")
    assert tree.over == (tree.panel.keys[microsoft],)
    assert tree.last_day == LAST
    assert tree.panel.series(microsoft)[-30:].sum() == 0


async def test_series_are_found_by_words_and_paged_parents_first(
    db: Database, importer: Importer, lake: Lake, actor: Actor, tmp_path: Path
) -> None:
    await take(importer, actor, bill(tmp_path / "bill.csv", FIRST, LAST))

    async with db.reading(actor) as tx:
        everything = await series.listed(tx, actor, lake=lake, source="", grain=Grain.DAY, now=NOW)
        ec2 = await series.listed(tx, actor, lake=lake, source="cost", grain=Grain.DAY, now=NOW, search="ec2 AWS")
        one = await series.listed(tx, actor, lake=lake, source="", grain=Grain.DAY, now=NOW, search=ec2[0].id)

    assert [found.level for found in everything] == sorted(
        (found.level for found in everything), key=["total", "provider", "account", "service"].index
    )
    assert len(ec2) == 2
    assert one == ec2[:1]
    assert everything[0].recent == pytest.approx(sum(found.recent for found in everything if found.level == "service"))


async def test_what_if_scales_exactly_and_moves_what_is_above(
    db: Database, importer: Importer, lake: Lake, actor: Actor, tmp_path: Path
) -> None:
    from decimal import Decimal

    await take(importer, actor, bill(tmp_path / "bill.csv", FIRST, LAST))
    await service.forecast_all(db, actor, lake=lake, now=NOW, grains=[Grain.DAY], horizon=60)
    key = series_id("cost", "USD", "aws")

    async with db.reading(actor) as tx:
        run, moved = await service.what_if(
            tx,
            actor,
            id_=key,
            grain=Grain.DAY,
            drivers=Drivers(price=Decimal("0.1"), volume=Decimal(1), since=date(2026, 12, 1)),
        )
        with pytest.raises(Invalid, match="price"):
            await service.what_if(tx, actor, id_=key, grain=Grain.DAY, drivers=Drivers(price=Decimal(-2)))

    aws, total = moved
    at = run.starts.index(date(2026, 12, 1))
    assert (aws.values.key, total.values.level) == ("aws", "total")
    assert list(aws.mean[:at]) == list(aws.values.mean[:at])
    assert aws.mean[at] == round(Decimal(aws.values.mean[at]) * Decimal("2.2"))
    assert [a - b for a, b in zip(total.mean, total.values.mean, strict=True)] == [
        a - b for a, b in zip(aws.mean, aws.values.mean, strict=True)
    ]


async def test_forecasting_needs_its_right(db: Database, lake: Lake, make_actor: object) -> None:
    actor = make_actor("forecast:read", "series:read")  # type: ignore[operator]

    with pytest.raises(NotAllowed, match="forecast:write"):
        await service.forecast_all(db, actor, lake=lake, now=NOW)


@st.composite
def forests(draw: st.DrawFn) -> tuple[Tree, Floats, int]:
    count = draw(st.integers(1, 12))
    parents = [-1] + [draw(st.integers(0, at - 1)) for at in range(1, count)]
    horizon = draw(st.integers(1, 4))
    numbers = draw(st.lists(st.floats(0, 1e9, width=32), min_size=count * horizon, max_size=count * horizon))
    return Tree.of(np.array(parents, dtype=np.int64)), np.array(numbers).reshape(count, horizon), horizon


@given(forests(), st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_stored_units_add_up_at_every_level_and_never_go_below_zero(
    forest: tuple[Tree, Floats, int], seed: int
) -> None:
    tree, mean, _ = forest
    width = np.random.default_rng(seed).uniform(0, 100, (2, *mean.shape))
    ends = {
        "mean": mean,
        "lower80": mean - width[0],
        "upper80": mean + width[1],
        "lower95": mean - 2 * width[0],
        "upper95": mean + 2 * width[1],
    }

    units = stored.stored_units(tree, ends, np.ones(len(mean), dtype=bool))

    for node in range(len(mean)):
        below = np.flatnonzero(tree.parent == node)
        if len(below):
            assert (units["mean"][node] == units["mean"][below].sum(axis=0)).all()
    assert (units["mean"] >= 0).all()
    for inner, outer in (("lower80", "lower95"),):
        assert (units[outer] <= units[inner]).all()
    assert (units["lower80"] <= units["mean"]).all()
    assert (units["mean"] <= units["upper80"]).all()
    assert (units["upper80"] <= units["upper95"]).all()
