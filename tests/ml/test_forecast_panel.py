"""The facade: from a panel to forecasts with intervals and a record."""

from dataclasses import fields
from datetime import date

import numpy as np
import pytest

from bursar.kernel.errors import Invalid, TooLarge
from bursar.kernel.period import Grain
from bursar.kernel.series import Floats, Panel
from bursar.ml.backtest import WINDOWS, a_year_before
from bursar.ml.calendar import Calendar
from bursar.ml.forecast import panel as facade
from bursar.ml.forecast.lineup import LARGE_PANEL, SMALL_PANEL_WINDOWS, default_windows
from bursar.ml.forecast.panel import HORIZON_MAX, ForecastResult, forecast_panel
from tests.ml.data import START, panel, panel_of_wild_decembers, weekly


def assert_sane(result: ForecastResult) -> None:
    for name in ("mean", "lower80", "upper80", "lower95", "upper95"):
        assert np.isfinite(getattr(result, name)).all(), name
    assert (result.lower95 <= result.lower80 + 1e-9).all()
    assert (result.lower80 <= result.mean + 1e-9).all()
    assert (result.mean <= result.upper80 + 1e-9).all()
    assert (result.upper80 <= result.upper95 + 1e-9).all()
    np.testing.assert_allclose(result.weights.sum(axis=1), 1.0)


def test_regular_series_beat_the_baseline_and_the_intervals_hold() -> None:
    values = weekly(40, 450, seed=2)

    result = forecast_panel(panel(values[:, :420]), 30, calendar=Calendar("DE"))

    assert_sane(result)
    actual = values[:, 420:]
    assert result.times[0] == START + np.timedelta64(420 * 24, "h")
    assert result.beats_baseline.all()
    assert result.error.mean() < 0.8 * result.baseline_error.mean()
    inside80 = ((actual >= result.lower80) & (actual <= result.upper80)).mean()
    inside95 = ((actual >= result.lower95) & (actual <= result.upper95)).mean()
    assert 0.74 < inside80 < 0.86
    assert 0.91 < inside95 < 0.985
    assert 0.74 < result.coverage[0.8] < 0.86
    assert len(result.origins) == SMALL_PANEL_WINDOWS


def test_a_random_walk_by_week_keeps_the_baseline_or_says_what_beat_it() -> None:
    rng = np.random.default_rng(0)
    steps = np.cumsum(rng.normal(0, 1, (30, 60, 1)), axis=1) * np.ones((1, 1, 7))
    values = 200 + steps.reshape(30, -1)

    result = forecast_panel(panel(values), 7)

    assert_sane(result)
    at = result.models.index(result.baseline)
    np.testing.assert_array_equal(result.weights[~result.beats_baseline, at], 1.0)
    assert (result.error[~result.beats_baseline] == result.baseline_error[~result.beats_baseline]).all()
    assert "seasonal_naive" in result.served_by(int(np.argmin(result.beats_baseline))) or result.beats_baseline.all()


def test_nothing_can_beat_the_baseline_on_a_perfect_season() -> None:
    values = np.tile(np.array([1.0, 2, 3, 4, 5, 0, 0]), (5, 30))

    result = forecast_panel(panel(values), 14)

    assert not result.beats_baseline.any()
    np.testing.assert_allclose(result.mean, values[:, :14])


@pytest.mark.parametrize("series", [1, 3])
@pytest.mark.parametrize("length", [1, 2, 5, 9, 16, 20, 40])
def test_short_histories_get_an_answer(series: int, length: int) -> None:
    result = forecast_panel(panel(weekly(series, length)), 30)

    assert_sane(result)
    assert (result.mean > 0).all()


@pytest.mark.parametrize("grain", list(Grain))
def test_every_grain_gets_an_answer(grain: Grain) -> None:
    result = forecast_panel(panel(weekly(3, 60), grain=grain), 12)

    assert_sane(result)
    assert len(result.times) == 12


@pytest.mark.parametrize("values", [np.zeros((2, 200)), np.full((2, 200), 9.0), -weekly(2, 200), weekly(2, 200) * 1e9])
def test_plain_series_get_plain_answers(values: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> None:
    result = forecast_panel(panel(values), 28)

    assert_sane(result)
    spread = np.abs(values).mean(axis=1, keepdims=True)
    assert (np.abs(result.mean - values.mean(axis=1, keepdims=True)) <= 0.5 * spread).all()


def test_a_spend_that_was_never_negative_is_not_forecast_negative() -> None:
    rng = np.random.default_rng(4)
    values = np.where(rng.random((20, 300)) < 0.1, rng.lognormal(5, 2, (20, 300)), 0.0)

    result = forecast_panel(panel(values), 28)

    assert_sane(result)
    assert (result.lower95 >= 0).all()


def test_a_young_series_borrows_from_its_siblings() -> None:
    values = weekly(21, 400, seed=6, noise=1.0)
    ragged = [*values[:20], values[20, -10:]]
    starts = [START] * 20 + [START + np.timedelta64(390 * 24, "h")]
    young = Panel.of([f"s{n}" for n in range(21)], starts, ragged, grain=Grain.DAY, currency="EUR")

    result = forecast_panel(young, 14)

    assert_sane(result)
    assert result.cold.tolist() == [False] * 20 + [True]
    assert np.isnan(result.error[20])
    actual = weekly(21, 414, seed=6, noise=0.0)[20, 400:]
    assert np.abs(result.mean[20] - actual).mean() < 15


def test_a_million_points_are_answered_from_the_recent_ones() -> None:
    values = np.tile(weekly(1, 700, noise=0.1), (1, 1_429))

    result = forecast_panel(panel(values), 7)

    assert_sane(result)


def test_the_same_seed_gives_the_same_answer_and_the_input_is_left_alone() -> None:
    values = weekly(6, 200)
    before = values.copy()

    first, second = forecast_panel(panel(values), 10, seed=3), forecast_panel(panel(values), 10, seed=3)

    for name in (field.name for field in fields(first)):
        left, right = getattr(first, name), getattr(second, name)
        if isinstance(left, np.ndarray):
            np.testing.assert_array_equal(left, right)
    np.testing.assert_array_equal(values, before)


def test_a_known_event_is_expected_again() -> None:
    values = weekly(4, 360, noise=1.0)
    events = [60, 120, 200, 280, 340]
    values[:, events] += 300
    days = tuple(
        date.fromisoformat(str((START + np.timedelta64(24 * at, "h")).astype("datetime64[D]"))) for at in [*events, 365]
    )

    result = forecast_panel(panel(values), 10, calendar=Calendar(events=(("renewal", days),)))

    assert (result.mean[:, 5] - result.mean[:, 4] > 60).all()


@pytest.mark.parametrize("horizon", [0, -1, HORIZON_MAX + 1])
def test_a_horizon_out_of_range_is_refused(horizon: int) -> None:
    with pytest.raises(Invalid, match="horizon"):
        forecast_panel(panel(weekly(1, 30)), horizon)


def test_a_series_of_gaps_is_refused_by_name() -> None:
    values = weekly(3, 30)
    values[1] = np.nan

    with pytest.raises(Invalid, match="s1 has no values"):
        forecast_panel(panel(values), 7)


def test_no_series_and_too_many_series_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Invalid, match="no series"):
        forecast_panel(panel(np.empty((0, 5))), 7)
    monkeypatch.setattr(facade, "CALL_SERIES_MAX", 2)
    with pytest.raises(TooLarge):
        forecast_panel(panel(weekly(3, 30)), 7)


def test_a_series_that_ended_long_ago_is_refused() -> None:
    old = Panel.of(
        ["old", "new"],
        [START, START + np.timedelta64(24 * 5000, "h")],
        [np.ones(5), np.ones(50)],
        grain=Grain.DAY,
        currency="EUR",
    )

    with pytest.raises(Invalid, match="old ended"):
        forecast_panel(old, 7)


def test_an_amount_beyond_reason_is_refused() -> None:
    with pytest.raises(Invalid, match="1e100"):
        forecast_panel(panel(np.full((1, 9), 1e101)), 7)


def test_a_turn_of_the_year_is_told_from_the_last_one() -> None:
    values, shaken = panel_of_wild_decembers()
    begin = int(np.flatnonzero(shaken)[-1]) - 60  # before the last turn; the windows tried hold none
    horizon = 56

    result = forecast_panel(panel(values[:, :begin]), horizon)

    assert not shaken[result.origins[0] : begin].any()
    wild = shaken[begin : begin + horizon]
    width = (result.upper80 - result.lower80).mean(axis=0)
    assert width[wild].min() > 3 * width[~wild].max()
    actual = values[:, begin : begin + horizon]
    inside = (actual >= result.lower80) & (actual <= result.upper80)
    assert 0.7 < inside[:, wild].mean() < 0.9


def test_a_window_a_year_before_needs_half_a_year_before_it() -> None:
    assert a_year_before(364 + 182, Grain.DAY) == 182
    assert a_year_before(364 + 181, Grain.DAY) is None
    assert a_year_before(60, Grain.MONTH) == 48


def test_short_histories_are_not_spent_on_trying() -> None:
    assert default_windows(8, 86, 14) == WINDOWS
    assert default_windows(8, 730, 56) == SMALL_PANEL_WINDOWS
    assert default_windows(8, 448, 56) == 4
    assert default_windows(LARGE_PANEL, 730, 56) == WINDOWS


@pytest.mark.parametrize("days", [7, 14, 27])
def test_young_series_are_served_and_measured_by_older_ones_cut_as_short(days: int) -> None:
    values = weekly(48, 400, seed=6, noise=8.0)
    known = values[:, :372].copy()
    known[::4, : 372 - days] = np.nan

    result = forecast_panel(panel_of(known), 28)

    assert_sane(result)
    assert result.cold.sum() == 12
    actual, mean = values[::4, 372:], result.mean[::4]
    assert result.cold[::4].all()
    naive = np.tile(known[::4, -7:], (1, 4))
    assert np.abs(actual - mean).mean() < 0.95 * np.abs(actual - naive).mean()
    inside = (actual >= result.lower80[::4]) & (actual <= result.upper80[::4])
    assert 0.7 < inside.mean() < 0.92
    alone = forecast_panel(panel_of(known[::4]), 28)  # nobody older speaks for them
    assert_sane(alone)
    assert alone.cold.all()


def panel_of(values: Floats) -> Panel:
    """Return series that begin where their row does."""
    begin = (~np.isnan(values)).argmax(axis=1)
    return Panel.of(
        [f"s{row}" for row in range(len(values))],
        [START + np.timedelta64(24 * int(first), "h") for first in begin],
        [row[first:] for row, first in zip(values, begin, strict=True)],
        grain=Grain.DAY,
        currency="EUR",
    )
