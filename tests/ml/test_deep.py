"""The LSTM: NumPy serves what PyTorch trained, weights travel as arrays, seeds hold."""

import sys

import numpy as np
import pytest

from bursar.kernel.errors import Unavailable
from bursar.ml.forecast.deep import GlobalLstm, lstm_forward
from bursar.ml.registry import pack_arrays, unpack_arrays
from tests.ml.data import history, weekly

SMALL = {"horizon": 7, "context": 28, "hidden": 8, "steps": 150, "batch": 64, "device": "cpu", "rate": 1e-2}


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
    other = small(steps=10).fit(past)
    np.testing.assert_array_equal(other.predict(12), model.predict(12))
    assert model.predict(12).shape == (4, 12)


def test_a_short_panel_gets_its_level_and_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    np.testing.assert_allclose(small().fit(history(np.full((2, 9), 4.0))).predict(10), 4.0)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(Unavailable, match="PyTorch"):
        small().fit(history(weekly(2, 100)))
