"""Between trainings: new periods are taken in, nothing is learned anew."""

from dataclasses import replace

import numpy as np
import pytest

from bursar.kernel.errors import Invalid
from bursar.ml.forecast.complex_smoothing import ComplexSmoothing
from bursar.ml.forecast.contract import Forecaster
from bursar.ml.forecast.panel import fit_panel
from bursar.ml.forecast.regression import Ridge
from bursar.ml.forecast.serving import Serving, nearest_alike, rows_of
from bursar.ml.forecast.smoothing import Smoothing
from bursar.ml.forecast.theta import Theta
from tests.ml.data import HORIZON, history, panel, panel_of_wild_decembers, weekly


@pytest.mark.parametrize("model", [Smoothing, Theta, ComplexSmoothing])
def test_advancing_day_by_day_equals_advancing_at_once(model: type[Forecaster]) -> None:
    values = weekly(4, 220)
    values[1, 210] = np.nan

    stepwise = model().fit(history(values[:, :200]))
    for day in range(201, 221):
        stepwise.advance(history(values[:, :day]))
    at_once = model().fit(history(values[:, :200])).advance(history(values))

    np.testing.assert_allclose(stepwise.predict(HORIZON), at_once.predict(HORIZON))


@pytest.mark.parametrize("model", [Smoothing, Theta, ComplexSmoothing, Ridge])
def test_an_advanced_model_is_close_to_a_new_fit(model: type[Forecaster]) -> None:
    values = weekly(4, 300)

    carried = model().fit(history(values[:, :280])).advance(history(values)).predict(HORIZON)
    fresh = model().fit(history(values)).predict(HORIZON)

    assert np.abs(carried - fresh).mean() < 3.0
    again = model().fit(history(values)).advance(history(values)).predict(HORIZON)
    np.testing.assert_allclose(again, fresh, rtol=0.02)


def test_serving_follows_the_data() -> None:
    values = weekly(5, 260, noise=1.0)
    result, models = fit_panel(panel(values[:, :240]), HORIZON)
    serving = Serving.of(panel(values[1:3, :240]), [1, 2], replace(result, keys=("s9", "s0", "s1", "s3", "s4")), models)

    later = serving.refresh(panel(values[1:3]))

    assert later.times[0] - result.times[0] == np.timedelta64(20 * 24, "h")
    actual = weekly(5, 260 + HORIZON, noise=0.0)[1:3, 260:]
    assert np.abs(later.mean - actual).mean() < 6
    np.testing.assert_allclose(later.upper80 - later.mean, (result.upper80 - result.mean)[1:3], rtol=1e-6)


def test_the_rows_must_be_those_of_the_forecast() -> None:
    values = weekly(3, 100)
    result, models = fit_panel(panel(values), 7)

    assert rows_of(result, [2]).keys == ("s2",)
    with pytest.raises(Invalid, match="not the same"):
        Serving.of(panel(values[:1]), [2], result, models)


def test_widths_follow_the_kind_of_a_period_not_its_step() -> None:
    usual, turn = [False] * 4, [True] * 4

    assert nearest_alike(np.array(usual + turn), np.array(usual[:2] + turn + usual[:2])).tolist() == [
        *(0, 1),
        *(4, 4, 4, 5),
        *(3, 3),
    ]
    assert nearest_alike(np.array(usual + turn), np.array(usual + turn)).tolist() == list(range(8))
    assert nearest_alike(np.array(usual), np.array(turn)).tolist() == list(range(4))  # no like step: its own


def test_the_wide_days_of_december_stay_wide_when_served_days_later() -> None:
    values, shaken = panel_of_wild_decembers()
    horizon = 56
    end = int(np.flatnonzero(shaken)[-1]) - 20  # some thirty days of the last turn lie ahead, and calm weeks after it
    begin = end - 28
    result, models = fit_panel(panel(values[:, :begin]), horizon)
    serving = Serving.of(panel(values[:, :begin]), range(len(values)), result, models)

    later = serving.refresh(panel(values[:, :end]))

    width = (later.upper80 - later.lower80).mean(axis=0)
    assert width[:18].min() > 1.5 * width[-14:].max()
