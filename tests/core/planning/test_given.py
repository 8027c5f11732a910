"""Own numbers in, a forecast out: every bad input is refused with what and fix, or answered sensibly."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from bursar.core.planning.forecasts import service
from bursar.core.planning.forecasts.rules import given as rules
from bursar.core.planning.forecasts.service import Answer, Given
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Invalid, NotAllowed, TooLarge
from bursar.kernel.period import Grain
from bursar.ml.forecast.lineup import Extras

START = datetime(2026, 1, 1)  # noqa: DTZ001  callers send days without an offset


def daily(amounts: Sequence[float | None], key: str = "s", currency: str = "EUR") -> Given:
    return Given(key, currency, [(START + timedelta(days=at), amount) for at, amount in enumerate(amounts)])


async def ask(actor: Actor, *given: Given, grain: Grain = Grain.DAY, horizon: int = 7) -> list[Answer]:
    return await service.forecast_given(actor, given_=given, grain=grain, horizon=horizon)


def finite(answer: Answer) -> bool:
    ends = (answer.mean, answer.lower80, answer.upper80, answer.lower95, answer.upper95)
    ordered = (answer.lower95 <= answer.mean).all() and (answer.mean <= answer.upper95).all()
    return bool(all(np.isfinite(one).all() for one in ends) and ordered)


SENSIBLE = {
    "constant": [5.0] * 60,
    "all zero": [0.0] * 60,
    "one point": [42.0],
    "two points": [42.0, 43.0],
    "negative": [-10.0 - (at % 7) for at in range(60)],
    "mixed signs": [(-1.0) ** at * at for at in range(60)],
    "gaps": [None if at % 5 == 0 else 10.0 for at in range(60)],
    "a gap first and last": [None, *[10.0] * 40, None],
    "mostly zero": [100.0 if at % 30 == 0 else 0.0 for at in range(120)],
    "huge and tiny": [1e14 if at == 3 else 1e-9 for at in range(60)],
}


@pytest.mark.parametrize("amounts", SENSIBLE.values(), ids=SENSIBLE.keys())
async def test_odd_numbers_get_a_finite_answer(actor: Actor, amounts: list[float | None]) -> None:
    [answer] = await ask(actor, daily(amounts))

    assert finite(answer)
    assert len(answer.mean) == len(answer.starts) == 7
    assert answer.model


async def test_a_constant_stays_and_says_what_its_interval_cannot_say(actor: Actor) -> None:
    [answer] = await ask(actor, daily([5.0] * 60))

    assert answer.mean == pytest.approx(np.full(7, 5.0))
    assert any("same" in note for note in answer.notes)


async def test_nothing_spent_is_forecast_as_nothing_and_never_below(actor: Actor) -> None:
    [zero] = await ask(actor, daily([0.0] * 60))
    [spent] = await ask(actor, daily([float(at % 3) for at in range(60)]))

    assert (zero.mean == 0).all()
    assert (spent.lower95 >= 0).all()


REFUSED: dict[str, tuple[list[Given], str]] = {
    "none": ([], "no series"),
    "NaN": ([daily([1.0, float("nan"), 2.0])], "not a finite number"),
    "infinite": ([daily([1.0, float("inf")])], "not a finite number"),
    "no number at all": ([daily([None, None])], "only gaps"),
    "empty": ([daily([])], "only gaps"),
    "the unit is wrong": ([daily([1e16])], "beyond"),
    "a key twice": ([daily([1.0]), daily([2.0])], "twice"),
    "no key": ([daily([1.0], key="")], "characters"),
    "another century": ([Given("s", "EUR", [(datetime(1492, 10, 12, tzinfo=UTC), 1.0)])], "1492"),
    "a day twice": ([Given("s", "EUR", [(START, 1.0), (START + timedelta(hours=5), 2.0)])], "two points in the day"),
}


@pytest.mark.parametrize(("given", "words"), REFUSED.values(), ids=REFUSED.keys())
async def test_what_cannot_be_forecast_is_refused_with_the_reason(actor: Actor, given: list[Given], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        await ask(actor, *given)


async def test_every_limit_refuses_what_passes_it(actor: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TooLarge, match="points"):
        await ask(actor, daily([1.0] * 1_000_000))
    with pytest.raises(TooLarge, match="series"):
        await ask(actor, *[daily([1.0], key=str(at)) for at in range(rules.SERIES_MAX + 1)])
    far = Given("s", "EUR", [(START, 1.0), (START.replace(year=2190), 1.0)])
    with pytest.raises(TooLarge, match="first to its last"):
        await ask(actor, far, grain=Grain.HOUR)
    for horizon in (0, 361):
        with pytest.raises(Invalid, match="horizon"):
            await ask(actor, daily([1.0] * 10), horizon=horizon)


async def test_two_currencies_are_forecast_apart_and_answered_in_order(actor: Actor) -> None:
    euros = [100.0 + at % 7 for at in range(80)]
    both = await ask(actor, daily(euros, "b", "EUR"), daily([9e6] * 80, "a", "JPY"))
    [alone] = await ask(actor, daily(euros, "b", "EUR"))

    assert [(one.key, one.currency) for one in both] == [("b", "EUR"), ("a", "JPY")]
    assert both[0].mean == pytest.approx(alone.mean)


async def test_hours_when_clocks_change_are_told_apart_by_their_offset(actor: Actor) -> None:
    """25 October 2026 in Berlin: 02:30 comes twice; 29 March 2026: 02:30 does not come at all."""
    summer, winter = timezone(timedelta(hours=2)), timezone(timedelta(hours=1))
    hours = [
        (datetime(2026, 10, 24, 0, tzinfo=UTC) + timedelta(hours=at)).astimezone(summer if at < 25 else winter)
        for at in range(72)
    ]
    told = Given("s", "EUR", [(hour, 10.0 + hour.hour) for hour in hours])
    naive = Given("s", "EUR", [(hour.replace(tzinfo=None), 1.0) for hour in hours])
    spring = Given(
        "s",
        "EUR",
        [(datetime(2026, 3, 29, hour), 1.0) for hour in range(24) if hour != 2],  # noqa: DTZ001
    )

    [answer] = await ask(actor, told, grain=Grain.HOUR, horizon=24)
    [gap] = await ask(actor, spring, grain=Grain.HOUR, horizon=3)
    with pytest.raises(Invalid, match="two points in the hour") as refused:
        await ask(actor, naive, grain=Grain.HOUR)

    assert finite(answer)
    assert not any("no amount" in note for note in answer.notes)
    assert any("1 of 24 periods" in note for note in gap.notes)
    assert "offset" in refused.value.fix


async def test_weeks_and_months_are_read_by_their_calendar(actor: Actor) -> None:
    months = Given("m", "EUR", [(datetime(2024 + at // 12, at % 12 + 1, 15, tzinfo=UTC), 100.0) for at in range(30)])

    [answer] = await ask(actor, months, grain=Grain.MONTH, horizon=3)

    assert [one.date().isoformat() for one in answer.starts] == ["2026-07-01", "2026-08-01", "2026-09-01"]
    assert answer.mean == pytest.approx(np.full(3, 100.0))


async def test_an_unknown_country_is_refused(actor: Actor) -> None:
    with pytest.raises(Invalid, match="holidays"):
        await service.forecast_given(actor, given_=[daily([1.0] * 40)], grain=Grain.DAY, horizon=7, country="ZZ")


async def test_forecasting_own_numbers_needs_its_right(make_actor: object) -> None:
    with pytest.raises(NotAllowed, match="forecast:read"):
        await ask(make_actor("series:read"), daily([1.0]))  # type: ignore[operator]


async def test_models_of_optional_packages_that_take_no_part_are_named(actor: Actor) -> None:
    extras = Extras(("prophet", "lstm"))

    [made] = await service.forecast_given(
        actor, given_=[daily([5.0, 6.0] * 20)], grain=Grain.DAY, horizon=3, extras=extras
    )

    assert made.notes[-1] == "prophet, lstm took no part: numbers that are sent are answered at once."
