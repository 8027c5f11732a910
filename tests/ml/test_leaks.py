"""No value from an origin on is read, also where models look years back and where a large panel trains once for all windows."""

import numpy as np
import pytest

from bursar.ml.backtest import truth
from bursar.ml.forecast.contract import Forecaster
from bursar.ml.forecast.lineup import LARGE_PANEL, default_lineup
from tests.ml.data import HORIZON, history, weekly

ORIGINS = (760, 774)
"""Two years and more before each, so that every feature that looks a year back has something to see."""


def large(name: str) -> Forecaster:
    """Return a model of the line-up of large panels; extras have no other one there."""
    return next(model for model in default_lineup(LARGE_PANEL, HORIZON, 0) if model.name == name)


@pytest.mark.parametrize("name", [model.name for model in default_lineup(LARGE_PANEL, HORIZON, 0)])
@pytest.mark.parametrize("origin", [0, 1])
def test_a_single_value_at_an_origin_changes_no_forecast_made_there(name: str, origin: int) -> None:
    values = weekly(4, 800)
    other = values.copy()
    other[:, ORIGINS[origin]] += [1e3, -1e3, 1e6, np.nan]

    left, right = (large(name).backtest(history(one), ORIGINS, HORIZON) for one in (values, other))

    np.testing.assert_array_equal(left[: origin + 1], right[: origin + 1])


def test_what_errors_are_measured_in_is_known_at_the_origin() -> None:
    values = weekly(4, 200)
    other = values.copy()
    other[:, 150:] = np.random.default_rng(2).normal(1e4, 1e4, (4, 50))

    left, right = (truth(history(one), (136, 150, 170), HORIZON) for one in (values, other))

    np.testing.assert_array_equal(left[1][:2], right[1][:2])
    np.testing.assert_array_equal(left[0][0], right[0][0])
    assert not np.array_equal(left[1][2], right[1][2])
