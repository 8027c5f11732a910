"""What every forecaster must do, whatever it is."""

import numpy as np
import pytest

from bursar.kernel.errors import Invalid
from bursar.kernel.period import Grain
from bursar.kernel.series import Floats
from bursar.ml.forecast.history import HISTORY_MAX
from bursar.ml.forecast.lineup import EXTRAS
from bursar.ml.registry import pack_arrays, unpack_arrays
from tests.ml.data import HORIZON, MODELS, history, installed, weekly

pytestmark = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=installed(name)) if name in EXTRAS else name for name in MODELS]
)


def predicted(name: str, values: Floats, horizon: int = HORIZON) -> Floats:
    return MODELS[name]().fit(history(values)).predict(horizon)


def test_fit_returns_the_model_and_learned_names_end_in_an_underscore(name: str) -> None:
    model = MODELS[name]()
    parameters = set(vars(model))

    assert model.fit(history(weekly(3, 120))) is model
    assert all(learned.endswith("_") for learned in set(vars(model)) - parameters)


def test_the_shape_is_series_by_horizon_and_finite(name: str) -> None:
    for horizon in (1, 7, 40):
        out = predicted(name, weekly(4, 150), horizon)

        assert out.shape == (4, horizon)
        assert np.isfinite(out).all()


@pytest.mark.parametrize("amount", [0.0, 42.0, -7.0, 1e-9, 1e12])
def test_a_constant_series_stays_constant(name: str, amount: float) -> None:
    out = predicted(name, np.full((3, 120), amount))

    np.testing.assert_allclose(out, amount, rtol=0.02, atol=1e-12)


def test_one_point_is_repeated(name: str) -> None:
    out = predicted(name, np.full((2, 1), 5.0))

    np.testing.assert_allclose(out, 5.0, rtol=0.35)


@pytest.mark.parametrize("length", [2, 3, 6, 7, 8, 13, 15])
def test_a_handful_of_points_is_enough(name: str, length: int) -> None:
    assert np.isfinite(predicted(name, weekly(3, length))).all()


def test_gaps_are_bridged(name: str) -> None:
    values = weekly(3, 150)
    values[0, 40:60] = np.nan
    values[1, -10:] = np.nan
    values[2, :100] = np.nan

    out = predicted(name, values)

    assert np.isfinite(out).all()
    assert np.abs(out - np.nanmean(values, axis=1, keepdims=True)).max() < 80


def test_a_series_without_a_number_is_not_invented(name: str) -> None:
    values = weekly(3, 100)
    values[1] = np.nan

    out = predicted(name, values)

    assert np.isnan(out[1]).all()
    assert np.isfinite(out[[0, 2]]).all()


def test_infinity_is_refused(name: str) -> None:
    values = weekly(2, 60)
    values[1, 5] = np.inf

    with pytest.raises(Invalid, match="infinite"):
        predicted(name, values)


def test_negative_series_are_forecast_negative(name: str) -> None:
    out = predicted(name, -weekly(3, 150))

    assert (out < 0).all()


def test_nothing_after_the_origin_is_read(name: str) -> None:
    values = weekly(4, 160)
    other = values.copy()
    other[:, 110:] = np.random.default_rng(1).normal(1e4, 1e4, (4, 50))

    left = MODELS[name]().backtest(history(values), (96, 110), HORIZON)
    right = MODELS[name]().backtest(history(other), (96, 110), HORIZON)

    np.testing.assert_array_equal(left, right)


def test_appended_data_does_not_change_the_past(name: str) -> None:
    values = weekly(4, 160)

    short = MODELS[name]().backtest(history(values[:, :120]), (90, 110), HORIZON)
    long = MODELS[name]().backtest(history(values), (90, 110), HORIZON)

    np.testing.assert_allclose(short, long, rtol=1e-9)


def test_the_backtest_equals_a_loop_of_fits(name: str) -> None:
    values = weekly(4, 150)
    values[2, :70] = np.nan

    at_once = MODELS[name]().backtest(history(values), (80, 100, 120), HORIZON)
    looped = [MODELS[name]().fit(history(values).until(origin)).predict(HORIZON) for origin in (80, 100, 120)]

    np.testing.assert_allclose(at_once, np.stack(looped), rtol=1e-7, atol=1e-7)


def test_the_same_input_gives_the_same_answer(name: str) -> None:
    values = weekly(5, 200)

    np.testing.assert_array_equal(predicted(name, values), predicted(name, values))


def test_one_series_does_not_spoil_another(name: str) -> None:
    values = weekly(3, 150)
    wild = values.copy()
    wild[2] = np.random.default_rng(3).normal(0, 1e9, 150)

    out = predicted(name, wild)

    assert np.isfinite(out).all()
    assert np.abs(out[:2] - values[:2].mean(axis=1, keepdims=True)).max() < 80


def test_a_season_is_found(name: str) -> None:
    if name == "run_rate":
        pytest.skip("the run-rate is flat by definition")
    values = weekly(6, 364, noise=0.5)
    actual = weekly(6, 364 + HORIZON, noise=0.0)[:, 364:]

    out = predicted(name, values)

    profile = actual - actual.mean(axis=1, keepdims=True)
    seen = out - out.mean(axis=1, keepdims=True)
    assert np.abs(seen - profile).mean() < 4.0


@pytest.mark.parametrize("grain", list(Grain))
def test_every_calendar_is_served(name: str, grain: Grain) -> None:
    rng = np.random.default_rng(5)
    values = 50 + rng.normal(0, 5, (3, 130))

    out = MODELS[name]().fit(history(values, grain=grain)).predict(HORIZON)

    assert np.isfinite(out).all()
    assert np.abs(out - 50).max() < 40


def test_a_long_history_is_served(name: str) -> None:
    assert np.isfinite(predicted(name, weekly(1, HISTORY_MAX))).all()


def test_what_was_learned_serves_in_a_new_model_through_bytes(name: str) -> None:
    past, now = history(weekly(5, 150)), history(weekly(5, 157))
    trained = MODELS[name]().fit(past)
    kept = unpack_arrays(pack_arrays(trained.learned()))

    fresh = MODELS[name]()
    fresh.install(kept)

    np.testing.assert_array_equal(fresh.read(now).predict(HORIZON), trained.read(now).predict(HORIZON))
    with pytest.raises(Invalid):
        fresh.install({"something": np.ones(2)})
