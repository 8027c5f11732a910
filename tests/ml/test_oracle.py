"""Our vectorised models against statsforecast, one series at a time."""

import warnings
from collections.abc import Iterator

import numpy as np
import pytest

from bursar.kernel.series import Floats
from bursar.ml.forecast.complex_smoothing import ComplexSmoothing
from bursar.ml.forecast.naive import SeasonalNaive
from bursar.ml.forecast.smoothing import Grid, Smoothing, smooth
from bursar.ml.forecast.theta import Theta
from tests.ml.data import history, weekly

HORIZON = 21
oracle = pytest.importorskip("statsforecast.models", reason="the oracle is an extra")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def theirs(model: object, values: Floats) -> Floats:
    return np.stack([model.forecast(y=row, h=HORIZON)["mean"] for row in values])  # type: ignore[attr-defined]


def relative_gap(ours: Floats, other: Floats, values: Floats) -> float:
    """Return the mean absolute difference of forecasts in units of the series' deviation."""
    return float((np.abs(ours - other).mean(axis=1) / values.std(axis=1)).mean())


def test_seasonal_naive_is_the_same() -> None:
    values = weekly(8, 200)

    ours = SeasonalNaive().fit(history(values)).predict(HORIZON)

    np.testing.assert_allclose(ours, theirs(oracle.SeasonalNaive(season_length=7), values))


@pytest.mark.parametrize("alpha", [0.05, 0.3, 0.9])
def test_simple_smoothing_with_one_alpha_is_the_same(alpha: float) -> None:
    values = np.random.default_rng(1).normal(50, 5, (6, 400))
    one = np.ones(1)

    (states,) = smooth(values, 1, Grid(one * alpha, one * 0, one * 0, one, one * 0), (400,))

    np.testing.assert_allclose(
        states.ahead(1)[:, 0], theirs(oracle.SimpleExponentialSmoothing(alpha), values)[:, 0], rtol=1e-5
    )


def test_ets_is_within_a_tenth_of_a_deviation() -> None:
    values = weekly(8, 300, seed=3)

    ours = Smoothing().fit(history(values)).predict(HORIZON)

    assert relative_gap(ours, theirs(oracle.AutoETS(season_length=7, model="AZA"), values), values) < 0.1


def test_theta_is_within_a_tenth_of_a_deviation() -> None:
    values = weekly(8, 300, seed=4)
    model = oracle.DynamicOptimizedTheta(season_length=7, decomposition_type="additive")

    ours = Theta().fit(history(values)).predict(HORIZON)

    assert relative_gap(ours, theirs(model, values), values) < 0.1


def test_ces_is_within_a_quarter_of_a_deviation_and_as_accurate() -> None:
    values = weekly(8, 300 + HORIZON, seed=5)
    past, actual = values[:, :300], values[:, 300:]

    ours = ComplexSmoothing().fit(history(past)).predict(HORIZON)
    other = theirs(oracle.AutoCES(season_length=7), past)

    assert relative_gap(ours, other, past) < 0.25
    assert np.abs(ours - actual).mean() < 1.1 * np.abs(other - actual).mean()
