"""The LSTM: NumPy serves what PyTorch trained, weights travel as arrays, seeds hold."""

import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from bursar.kernel.errors import Invalid, Unavailable
from bursar.kernel.period import Grain
from bursar.ml.forecast.deep import GlobalLstm
from bursar.ml.forecast.deep_network import LAYERS, forward, lstm_forward
from bursar.ml.forecast.deep_training import Trained
from bursar.ml.registry import Arrays, pack_arrays, unpack_arrays
from tests.ml.data import history, weekly

SMALL = {
    "horizon": 7,
    "context": 28,
    "hidden": 8,
    "steps": 150,
    "members": 2,
    "batch": 64,
    "device": "cpu",
    "rate": 1e-2,
}


def small(**more: object) -> GlobalLstm:
    return GlobalLstm(**{**SMALL, **more})  # type: ignore[arg-type]


def test_numpy_computes_what_torch_computes() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(1)
    lstm = torch.nn.LSTM(2, 5, 2, batch_first=True)
    inputs = np.random.default_rng(0).normal(size=(3, 9, 2))

    theirs = lstm(torch.tensor(inputs, dtype=torch.float32))[0][:, -1].detach().numpy()
    weights = {name: one.numpy() for name, one in lstm.state_dict().items()}

    np.testing.assert_allclose(lstm_forward(weights, inputs, layers=2), theirs, atol=1e-6)


def test_it_learns_a_season_and_its_spread() -> None:
    pytest.importorskip("torch")
    values = weekly(10, 207, noise=2.0)
    model = small().fit(history(values[:, :200]))

    out = model.predict(7)

    flat = np.abs(values[:, 200:] - values[:, :200].mean(axis=1, keepdims=True)).mean()
    assert np.abs(out - values[:, 200:]).mean() < 0.7 * flat
    quantiles = model.quantiles()
    assert (np.diff(quantiles, axis=2) >= 0).all()
    inside = (values[:, 200:] >= quantiles[:, :, 0]) & (values[:, 200:] <= quantiles[:, :, 2])
    assert 0.5 < inside.mean() <= 1.0


def test_weights_travel_as_arrays_and_seeds_hold() -> None:
    pytest.importorskip("torch")
    past = history(weekly(4, 120))
    model = small(steps=10).fit(past)
    assert model.weights_ is not None

    served = small()
    served.install(unpack_arrays(pack_arrays(model.learned())))
    np.testing.assert_array_equal(served.read(past).predict(7), model.predict(7))
    np.testing.assert_array_equal(served.quantiles(), model.quantiles())
    other = small(steps=10).fit(past)
    np.testing.assert_array_equal(other.predict(12), model.predict(12))
    assert model.predict(12).shape == (4, 12)


def test_numpy_serves_what_the_trained_network_computes() -> None:
    torch = pytest.importorskip("torch")
    values = weekly(5, 420)
    values[1, 50:60], values[2, :100] = np.nan, np.nan
    past = history(values)
    model = small(steps=20, members=1).fit(past)
    assert model.weights_ is not None

    weights = {name.removeprefix("m0."): torch.tensor(one) for name, one in model.weights_.items()}
    lstm = torch.nn.LSTM(7, 8, LAYERS, batch_first=True)
    own = {name.removeprefix("lstm."): one for name, one in weights.items() if name.startswith("lstm.")}
    lstm.load_state_dict(own)
    table = model.table_
    arrays = {name: torch.tensor(getattr(table, name)).float() for name in ("values", "year_ago", "has_year", "known")}
    moved = replace(table, span=torch.arange(35), join=torch.cat, **arrays)
    row, begin = torch.arange(5)[:, None], torch.full((5, 1), 420 - 28)
    with torch.no_grad():
        out, middle, spread = forward(weights, moved, row, begin, 7, lambda inputs: lstm(inputs)[0][:, -1])
    theirs = (out * spread[:, :, None] + middle[:, :, None]).sort(2).values

    np.testing.assert_allclose(model.quantiles(), theirs.numpy(), rtol=1e-4)


def test_it_learns_what_a_holiday_does() -> None:
    pytest.importorskip("torch")
    values = weekly(20, 730, noise=1.0)
    whole = history(np.zeros((1, 730))).known[:, 0]
    values += 60 * whole[:730]
    origin = int(np.flatnonzero(whole[:730])[-1]) - 3

    model = small(steps=150, members=1).fit(history(values[:, :origin]))

    hit = values[:, origin + 3]
    assert whole[origin + 3] == 1
    assert np.abs(model.predict(7)[:, 3] - hit).mean() < 20


def test_nothing_after_the_origin_is_read() -> None:
    pytest.importorskip("torch")
    values = weekly(4, 430)
    other = values.copy()
    other[:, 400:] = np.random.default_rng(3).normal(size=(4, 30))

    ours, theirs = (small(steps=10).fit(history(one).until(400)).predict(7) for one in (values, other))

    np.testing.assert_array_equal(ours, theirs)


def test_a_new_name_of_a_holiday_changes_nothing_and_another_calendar_is_refused() -> None:
    pytest.importorskip("torch")
    past = history(weekly(4, 200))
    model = small(steps=10).fit(past)
    before = model.predict(7)
    more = np.concatenate((np.ones((len(past.near), 1)), past.near), axis=1)

    renamed = model.read(replace(past, near=more, near_names=("new", *past.near_names)))

    np.testing.assert_array_equal(renamed.predict(7), before)
    with pytest.raises(Invalid, match="another calendar"):
        model.read(replace(past, known=past.known[:, 1:]))


@pytest.mark.parametrize(
    "harm",
    [
        lambda kept: {name.removeprefix("m0."): one for name, one in kept.items() if name != "format"},
        lambda kept: {**kept, "format": kept["format"] + 1},
        lambda kept: {name: one for name, one in kept.items() if name != "near_names"},
        lambda kept: {name: one for name, one in kept.items() if name != "m1.plain.weight"},
        lambda kept: {**kept, "m0.lstm.weight_ih_l0": kept["m0.lstm.weight_ih_l0"][:, :3]},
        lambda kept: {**kept, "m0.inner.bias": kept["m0.inner.bias"] * np.nan},
        lambda kept: {**kept, "m0.plain.weight": np.array(1.0)},
    ],
)
def test_weights_of_another_version_size_or_with_holes_are_refused(harm: Callable[[Arrays], Arrays]) -> None:
    pytest.importorskip("torch")
    kept = small(steps=2).fit(history(weekly(4, 120))).learned()

    with pytest.raises(Invalid, match="network"):
        small().install(harm(kept))


def test_on_a_gpu_steps_are_replayed_and_learn_what_a_processor_learns() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    values = weekly(10, 207, noise=2.0)
    past = history(values[:, :200])

    there = small(device="cuda").fit(past)

    assert there.trained_ is not None
    assert (there.trained_.device, there.trained_.captured, there.trained_.why) == ("cuda", True, "")
    errors = [np.abs(one.predict(7) - values[:, 200:]).mean() for one in (there, small().fit(past))]
    assert errors[0] < 1.2 * errors[1]


def test_a_training_says_how_it_was_made() -> None:
    pytest.importorskip("torch")

    model = small(steps=2).fit(history(weekly(4, 120)))

    assert model.trained_ == Trained("cpu", "float32", captured=False, why="", windows=128)
    assert model.told() == ("trained on cpu in float32",)
    fallen = Trained("cuda", "bfloat16", captured=False, why="no graph could be captured (x)", windows=1)
    assert str(fallen) == "trained on cuda in bfloat16, step by step: no graph could be captured (x)"
    assert str(replace(fallen, captured=True, why="")).endswith("steps replayed from a captured graph")


@pytest.mark.parametrize("grain", list(Grain))
def test_every_grain_trains_and_answers_with_finite_numbers(grain: Grain) -> None:
    pytest.importorskip("torch")
    values = np.concatenate((weekly(3, 150), np.full((1, 150), 5.0), np.zeros((1, 150))))

    out = small(steps=3).fit(history(values, grain=grain)).predict(20)

    assert out.shape == (5, 20)
    assert np.isfinite(out).all()


def test_a_short_panel_gets_its_level_and_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    np.testing.assert_allclose(small().fit(history(np.full((2, 9), 4.0))).predict(10), 4.0)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(Unavailable, match="PyTorch"):
        small().fit(history(weekly(2, 100)))
