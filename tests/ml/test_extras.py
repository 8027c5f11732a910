"""Models of optional packages obey the contract where they are installed, and say what to install where not."""

import sys

import numpy as np
import pytest

from bursar.kernel.errors import Invalid, Unavailable
from bursar.ml.forecast.contract import Forecaster
from bursar.ml.forecast.extras import Prophet, StatsForecast
from tests.ml.data import HORIZON, history, weekly


@pytest.mark.parametrize(("package", "model"), [("prophet", Prophet()), ("statsforecast", StatsForecast("AutoETS"))])
@pytest.mark.filterwarnings("ignore")
def test_an_extra_forecasts_like_any_other_model(package: str, model: Forecaster) -> None:
    pytest.importorskip(package)
    values = weekly(4, 200)
    values[0, 50:60] = np.nan
    values[1] = 5.0
    values[2, 1:] = np.nan
    values[3] = np.nan

    out = model.fit(history(values)).predict(HORIZON)

    assert np.abs(out[0] - weekly(4, 200 + HORIZON, noise=0.0)[0, 200:]).mean() < 8
    np.testing.assert_allclose(out[1], 5.0, rtol=0.05)
    np.testing.assert_allclose(out[2], values[2, 0])
    assert np.isnan(out[3]).all()


@pytest.mark.parametrize(("package", "model"), [("prophet", Prophet()), ("statsforecast", StatsForecast())])
def test_a_missing_extra_is_named(package: str, model: Forecaster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(Unavailable, match=rf"bursar\[{package}\]"):
        model.fit(history(weekly(1, 30)))


def test_an_unknown_model_is_refused() -> None:
    pytest.importorskip("statsforecast")

    with pytest.raises(Invalid, match="no model Oracle"):
        StatsForecast("Oracle").fit(history(weekly(1, 30)))
