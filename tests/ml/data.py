"""Generators for the tests of learning code: seeded, small, with a known answer."""

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest

from bursar.kernel.period import Grain
from bursar.kernel.series import Floats, Panel, calendar
from bursar.ml.calendar import Bools, Calendar, known_effects, near_effects, turn_of_year
from bursar.ml.forecast.contract import Forecaster
from bursar.ml.forecast.history import History
from bursar.ml.forecast.lineup import EXTRAS, default_lineup

START = np.datetime64("2023-01-02T00", "h")

HORIZON = 14


def weekly(series: int, length: int, *, seed: int = 0, noise: float = 3.0) -> Floats:
    """Return weekly seasonal series around 100 with a slow drift and noise."""
    rng = np.random.default_rng(seed)
    at = np.arange(length)
    shape = np.array([12.0, 8.0, 3.0, 0.0, 6.0, -14.0, -15.0])
    level = rng.uniform(60, 140, (series, 1)) + rng.uniform(-0.02, 0.05, (series, 1)) * at
    out: Floats = level + shape[at % 7] * rng.uniform(0.5, 1.5, (series, 1)) + rng.normal(0, noise, (series, length))
    return out


def panel_of_wild_decembers(*, length: int = 1_100) -> tuple[Floats, Bools]:
    """Return weekly series that are shaken around each turn of the year, and where, shape (length,)."""
    values = weekly(30, length, seed=4)
    times = calendar(START, Grain.DAY, length)
    shaken = turn_of_year(*near_effects(times, Grain.DAY, Calendar("")))
    values[:, shaken] += np.random.default_rng(5).normal(0, 40, (30, int(shaken.sum())))
    return values, shaken


def history(values: Floats, *, grain: Grain = Grain.DAY, ahead: int = 60, country: str = "DE") -> History:
    """Return a history of ``values`` that starts on ``START``, with known effects ahead."""
    times = calendar(START, grain, values.shape[1] + ahead)
    known, _ = known_effects(times, grain, Calendar(country))
    near = near_effects(times, grain, Calendar(country))
    return History(values, times[: values.shape[1]], grain, known, *near)


def panel(values: Floats, *, grain: Grain = Grain.DAY) -> Panel:
    """Return a panel of equal starts."""
    return Panel.of(
        [f"s{row}" for row in range(len(values))],
        [START] * len(values),
        list(values),
        grain=grain,
        currency="EUR",
    )


def fresh(name: str) -> Forecaster:
    """Return a new model of the line-up with every extra by name."""
    return next(model for model in default_lineup(3, HORIZON, 0, tuple(EXTRAS)) if model.name == name)


MODELS: dict[str, Callable[[], Forecaster]] = {
    model.name: partial(fresh, model.name) for model in default_lineup(3, HORIZON, 0, tuple(EXTRAS))
}
"""Every model of the line-up with every extra, fresh at each call."""


def installed(name: str) -> list[pytest.MarkDecorator]:
    """Return the marks of a test of an extra: skipped where its package is not here, apart where it takes long."""
    extra = EXTRAS[name]
    here = pytest.mark.skipif(find_spec(extra.package) is None, reason=f"the extra {extra.install} is not installed")
    return [here, pytest.mark.slow] if name in {"AutoARIMA", "lstm"} else [here]
