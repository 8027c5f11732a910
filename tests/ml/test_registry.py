"""Stored models: what goes in comes out, what was tampered with does not, and something always serves."""

import io
import json
import pickle  # noqa: TID251  a hostile artefact is built with it
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bursar.kernel.errors import Invalid, NotFound, TooLarge
from bursar.ml import registry
from bursar.ml.registry import Card, Format, load, pack_arrays, promote, save, serve, sha256, unpack_arrays


class Memory:
    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def put(self, key: str, content: bytes) -> None:
        self.kept[key] = content

    def get(self, key: str) -> bytes | None:
        return self.kept.get(key)


def model(version: int, error: float = 0.5) -> tuple[Card, bytes]:
    content = pack_arrays({"weights": np.full(3, float(version))})
    card = Card(
        "forecast/day",
        version,
        Format.ARRAYS,
        sha256(content),
        "d" * 64,
        "0.1.0",
        "2026-01-01T00:00:00Z",
        ("2024-01-01", "2025-12-31"),
        {"rounds": 200},
        {"mase": error},
        "seasonal_naive",
        {"mase": 1.0},
        7,
    )
    return card, content


def build(card: Card, content: bytes) -> Any:
    return unpack_arrays(content)["weights"]


def test_a_model_comes_back_as_it_was_stored() -> None:
    store, (card, content) = Memory(), model(1)
    save(store, card, content)

    assert load(store, "forecast/day", 1) == (card, content)


def test_the_newest_promoted_model_serves_and_then_the_one_before() -> None:
    store = Memory()
    for version in (1, 2, 3):
        save(store, *model(version))
        assert promote(store, model(version)[0], metric="mase")

    assert serve(store, "forecast/day", build).model.tolist() == [3, 3, 3]
    store.kept["forecast/day/3/artefact"] += b"x"
    served = serve(store, "forecast/day", build)
    assert served.card is not None
    assert served.card.version == 2
    assert "version 3" in served.reasons[0]


def test_the_baseline_serves_when_nothing_else_can_and_says_why() -> None:
    store = Memory()

    assert serve(store, "forecast/day", build).reasons == ("no model was promoted",)
    save(store, *model(1))
    promote(store, model(1)[0], metric="mase")
    del store.kept["forecast/day/1/artefact"]
    served = serve(store, "forecast/day", build)
    assert served.model is None
    assert len(served.reasons) == 1


@pytest.mark.parametrize("error", [1.0, 1.5, float("nan")])
def test_a_model_that_does_not_beat_its_baseline_is_not_promoted(error: float) -> None:
    store, (card, content) = Memory(), model(1, error)
    save(store, card, content)

    assert not promote(store, card, metric="mase")
    assert not promote(store, card, metric="unknown")
    assert serve(store, "forecast/day", build).card is None


def test_a_changed_artefact_or_card_is_refused() -> None:
    store, (card, content) = Memory(), model(1)
    save(store, card, content)
    with pytest.raises(Invalid):
        save(store, replace(card, sha256="0" * 64), content)
    store.kept["forecast/day/1/card"] = b"{"
    with pytest.raises(Invalid):
        load(store, "forecast/day", 1)
    store.kept["forecast/day/1/card"] = replace(card, version=9).to_json()
    with pytest.raises(Invalid):
        load(store, "forecast/day", 1)
    with pytest.raises(NotFound):
        load(store, "forecast/day", 5)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("the artefact was executed",))


def test_code_in_an_artefact_is_never_run() -> None:
    out = io.BytesIO()
    np.savez(out, weights=np.array([Bomb()], dtype=object))

    for hostile in (out.getvalue(), pickle.dumps(Bomb()), b"", b"PK\x03\x04"):
        with pytest.raises(Invalid):
            unpack_arrays(hostile)
    with pytest.raises(Invalid):
        pack_arrays({"names": np.array(["a"])})


def test_limits_on_size(monkeypatch: pytest.MonkeyPatch) -> None:
    card, content = model(1)
    monkeypatch.setattr(registry, "ARTEFACT_BYTES_MAX", 10)
    with pytest.raises(TooLarge):
        save(Memory(), card, content)
    monkeypatch.setattr(registry, "CARD_BYTES_MAX", 10)
    with pytest.raises(TooLarge):
        Card.from_json(json.dumps({"name": "x" * 20}).encode())


def test_lightgbm_text_is_read_and_rubbish_refused() -> None:
    lightgbm = pytest.importorskip("lightgbm")
    rows = np.random.default_rng(0).normal(size=(200, 2))
    booster = lightgbm.train({"verbosity": -1, "num_threads": 1}, lightgbm.Dataset(rows, rows[:, 0]), num_boost_round=3)

    again = registry.booster_from(booster.model_to_string().encode())

    np.testing.assert_allclose(again.predict(rows), booster.predict(rows))
    for rubbish in (b"", b"hello", b"\x80\x04"):
        with pytest.raises(Invalid):
            registry.booster_from(rubbish)
