"""Models of optional packages obey the contract where they are installed, and say what to install where not."""

import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from bursar.kernel.errors import Invalid, Unavailable
from bursar.kernel.series import Floats
from bursar.ml.calendar import Calendar
from bursar.ml.forecast.contract import Forecaster
from bursar.ml.forecast.deep import GlobalLstm
from bursar.ml.forecast.extras import AutoEts, OneByOne, Prophet, StatsForecast
from bursar.ml.forecast.fleet import Task, work
from bursar.ml.forecast.history import History
from bursar.ml.forecast.keeping import Kept
from bursar.ml.forecast.lineup import EXTRAS, Extras, default_lineup
from bursar.ml.forecast.panel import fit_panel
from tests.ml.data import HORIZON, history, installed, panel, weekly

WHERE = Calendar("DE")
EVERY = [pytest.param(name, marks=installed(name)) for name in EXTRAS]


@pytest.fixture
def _small_lstm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The LSTM with fewer steps, so that a backtest takes seconds."""
    made = partial(GlobalLstm, context=28, hidden=8, steps=30, members=1, batch=64, device="cpu")
    small = replace(
        EXTRAS["lstm"], make=lambda horizon, seed, retrain: made(horizon=horizon, seed=seed, retrain=retrain)
    )
    monkeypatch.setitem(EXTRAS, "lstm", small)


@pytest.mark.parametrize(("package", "model"), [("prophet", Prophet()), ("statsforecast", AutoEts())])
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
    assert model.told() == ()


@pytest.mark.parametrize(("package", "model"), [("prophet", Prophet()), ("statsforecast", AutoEts())])
def test_a_missing_extra_is_named(package: str, model: Forecaster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(Unavailable, match=rf"bursar\[{package}\]"):
        model.fit(history(weekly(1, 30)))


def test_a_model_that_this_version_of_the_package_lacks_is_refused() -> None:
    pytest.importorskip("statsforecast")

    class Oracle(StatsForecast):
        name = "Oracle"

    with pytest.raises(Invalid, match="no model Oracle"):
        Oracle().fit(history(weekly(1, 30)))


def test_series_that_a_package_cannot_fit_repeat_their_mean_and_are_counted() -> None:
    class Fragile(OneByOne):
        name = "fragile"

        def fit(self, history: History) -> "Fragile":
            self.values_ = history.values
            return self

        def one(self, row: int, horizon: int) -> Floats:
            if row == 1:
                raise ZeroDivisionError
            return np.full(horizon, np.inf if row == 2 else 3.0)

    values = weekly(3, 50)
    model = Fragile().fit(history(values))

    np.testing.assert_allclose(model.predict(2), np.repeat([[3.0], [values[1].mean()], [values[2].mean()]], 2, axis=1))
    assert model.told() == ("could not be fitted to 2 of 3 series, their mean stands in",)


def test_names_are_read_in_any_case_and_unknown_or_missing_ones_are_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for package in ("prophet", "statsforecast", "torch"):
        monkeypatch.setattr(
            "bursar.ml.forecast.lineup.find_spec", lambda name, own=package: None if name == own else ""
        )
        mine = [name for name, extra in EXTRAS.items() if extra.package == package]
        for name in mine:
            with pytest.raises(Invalid, match=f"needs the package {package}") as refused:
                Extras.of([name])
            assert f"bursar[{EXTRAS[name].install}]" in refused.value.fix
    monkeypatch.setattr("bursar.ml.forecast.lineup.find_spec", lambda _: "")

    assert Extras.of(["autoarima", " Prophet", "prophet"]).names == ("AutoARIMA", "prophet")
    assert Extras.of([]) == Extras()
    with pytest.raises(Invalid, match="'oracle' is not known") as refused:
        Extras.of(["oracle"])
    assert "prophet, lstm, AutoARIMA" in refused.value.fix


def test_what_would_take_hours_is_left_out_by_name() -> None:
    extras = Extras(("AutoARIMA", "lstm", "prophet"))

    assert extras.entering(68, 730) == (extras.names, ())
    names, told = extras.entering(69, 730)
    assert names == ("lstm", "prophet")
    [said] = told
    assert said.startswith("AutoARIMA is left out: it fits series one at a time")
    assert "69 series of 730 periods are more than the 50,000 values" in said
    assert extras.entering(20_000, 730)[0] == ("lstm",)


@pytest.mark.usefixtures("_small_lstm")
@pytest.mark.parametrize("name", EVERY)
def test_an_extra_competes_by_backtest_and_serves_again_from_what_was_kept(name: str) -> None:
    values = weekly(6, 150)
    task = Task(panel(values), HORIZON, WHERE, 3, extras=(name,))

    again = Task.unpack(task.pack())
    kept = Kept.unpack(work(task.pack()))

    assert again.extras == (name,)
    result = kept.result
    assert result.models[-1] == name
    np.testing.assert_allclose(result.weights.sum(axis=1), 1.0)
    alone, _ = fit_panel(panel(values), HORIZON, calendar=WHERE, seed=3)
    assert np.nanmean(result.error) <= np.nanmean(alone.error) + 0.05
    only = replace(result, weights=np.tile(np.eye(len(result.models))[-1], (6, 1)))
    longer = panel(weekly(6, 157))
    served = Kept(only, kept.learned).serve(longer, WHERE, 3)
    assert served.served_by(0) == f"100% {name}"
    assert np.abs(served.mean - weekly(6, 157 + HORIZON, noise=0.0)[:, 157:]).mean() < 15


@pytest.mark.usefixtures("_small_lstm")
def test_the_lstm_is_trained_by_torch_and_served_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    kept = Kept.unpack(work(Task(panel(weekly(6, 150)), HORIZON, WHERE, 3, extras=("lstm",)).pack()))
    only = Kept(replace(kept.result, weights=np.tile(np.eye(len(kept.result.models))[-1], (6, 1))), kept.learned)
    before = only.serve(panel(weekly(6, 150)), WHERE, 3)
    monkeypatch.setitem(sys.modules, "torch", None)

    after = Kept.unpack(only.pack()).serve(panel(weekly(6, 150)), WHERE, 3)

    np.testing.assert_array_equal(after.mean, before.mean)
    assert kept.result.told == after.told == ("lstm: trained on cpu in float32",)


def test_an_lstm_without_enough_to_train_on_says_so_and_is_served_as_its_level() -> None:
    kept = Kept.unpack(work(Task(panel(weekly(3, 60)), HORIZON, WHERE, 3, extras=("lstm",)).pack()))

    served = kept.serve(panel(weekly(3, 67)), WHERE, 3)

    assert kept.result.told == ("lstm: too few periods to train on, it repeats the level",)
    assert np.isfinite(served.mean).all()


@pytest.mark.usefixtures("_small_lstm")
def test_on_a_large_panel_the_lstm_is_trained_once_for_the_backtest(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr("bursar.ml.forecast.lineup.LARGE_PANEL", 3)
    model = next(one for one in default_lineup(4, 7, 0, ("lstm",)) if one.name == "lstm")

    out = model.backtest(history(weekly(4, 120)), (60, 80, 100), 7)

    assert isinstance(model, GlobalLstm)
    assert not model.retrain
    assert np.isfinite(out).all()
    alone = EXTRAS["lstm"].make(7, 2, True).fit(history(weekly(4, 120)).until(60))
    np.testing.assert_allclose(out[2], alone.read(history(weekly(4, 120)).until(100)).predict(7))
