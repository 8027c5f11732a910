"""Models that are kept: a card that says what it is, an artefact that is safe to load, and a chain that always serves.

An artefact is NumPy arrays (``.npz`` without pickled objects) or LightGBM text; nothing in it is code. The card carries
its SHA-256; an artefact that does not match is not loaded. Serving tries the promoted model, then the one before it,
then the baseline, and says which and why.
"""

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from bursar.kernel.errors import Invalid, NotFound, TooLarge

Arrays = dict[str, NDArray[Any]]

ARTEFACT_BYTES_MAX = 256 * 1024 * 1024
"""Size of one artefact."""

CARD_BYTES_MAX = 1024 * 1024
KINDS = frozenset("biuf")
"""Array kinds that may be stored: booleans, integers and floats; text and objects may not."""


class Format(StrEnum):
    """How an artefact is written."""

    ARRAYS = "npz"
    LIGHTGBM = "lightgbm"


@dataclass(frozen=True, slots=True)
class Card:
    """What a stored model is.

    Attributes:
        name: Of the model, such as ``forecast/day/EUR``.
        version: Grows by one with every training.
        format: Of the artefact.
        sha256: Of the artefact's bytes, lower-case hex.
        data_hash: SHA-256 of the training data.
        code_version: Of the code that trained it.
        trained_at: ISO 8601, UTC.
        window: First and last training day, ISO 8601.
        parameters: What the constructor was given.
        metrics: Backtest figures by name.
        baseline: Name of the declared baseline.
        baseline_metrics: The same figures of the baseline.
        seed: Of everything random.
        notes: What a reader should know of the training.
    """

    name: str
    version: int
    format: Format
    sha256: str
    data_hash: str
    code_version: str
    trained_at: str
    window: tuple[str, str]
    parameters: Mapping[str, Any]
    metrics: Mapping[str, float]
    baseline: str
    baseline_metrics: Mapping[str, float]
    seed: int = 0
    notes: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        """Return the card as JSON with sorted keys."""
        return json.dumps(asdict(self), sort_keys=True).encode()

    @classmethod
    def from_json(cls, text: bytes) -> "Card":
        """Read a card.

        Raises:
            Invalid: It is not a card.
        """
        if len(text) > CARD_BYTES_MAX:
            raise TooLarge("a model card", CARD_BYTES_MAX, "bytes")
        try:
            facts = json.loads(text)
            facts["format"] = Format(facts["format"])
            facts["window"] = tuple(facts["window"])
            facts["notes"] = tuple(facts.get("notes", ()))
            return cls(**facts)
        except (ValueError, TypeError, KeyError) as error:
            raise Invalid(f"this is not a model card: {error}") from error


class Store(Protocol):
    """Where models are kept; the database and the object store implement it, a dictionary in tests."""

    def put(self, key: str, content: bytes) -> None:
        """Keep ``content``; an existing key is replaced."""

    def get(self, key: str) -> bytes | None:
        """Return what was kept, or None."""


def pack_arrays(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Write arrays as ``.npz``.

    Raises:
        Invalid: An array holds objects or text.
    """
    for name, array in arrays.items():
        if array.dtype.kind not in KINDS:
            raise Invalid(f"array {name} of type {array.dtype} cannot be stored", "Store numbers only.")
    out = io.BytesIO()
    np.savez_compressed(out, allow_pickle=False, **{name: np.ascontiguousarray(one) for name, one in arrays.items()})
    return out.getvalue()


def unpack_arrays(content: bytes) -> Arrays:
    """Read arrays from ``.npz``; pickled objects in it are refused, not loaded.

    Raises:
        Invalid: It is no such file, or holds something other than numbers.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, KeyError, BadZipFile) as error:
        raise Invalid(f"this is not an artefact of arrays: {error}") from error
    if any(array.dtype.kind not in KINDS for array in arrays.values()):
        raise Invalid("an artefact holds something other than numbers")
    return arrays


def text_array(text: str) -> NDArray[np.uint8]:
    """Return text as an array of its UTF-8 bytes, so that it can be stored beside numbers."""
    return np.frombuffer(text.encode(), dtype=np.uint8)


def array_text(array: NDArray[Any]) -> str:
    """Return the text of :func:`text_array`.

    Raises:
        Invalid: It is no such array.
    """
    try:
        return array.astype(np.uint8, casting="safe").tobytes().decode()
    except (TypeError, UnicodeDecodeError) as error:
        raise Invalid(f"this is no stored text: {error}") from error


def sha256(content: bytes) -> str:
    """Return the lower-case hex SHA-256."""
    return hashlib.sha256(content).hexdigest()


def save(store: Store, card: Card, content: bytes) -> None:
    """Keep a model; it does not serve before it is promoted.

    Raises:
        Invalid: The card's hash is not that of ``content``.
        TooLarge: Over ``ARTEFACT_BYTES_MAX``.
    """
    if len(content) > ARTEFACT_BYTES_MAX:
        raise TooLarge("a model", ARTEFACT_BYTES_MAX, "bytes")
    if sha256(content) != card.sha256:
        raise Invalid(f"the artefact of {card.name} {card.version} does not match its card")
    store.put(_at(card.name, card.version, "artefact"), content)
    store.put(_at(card.name, card.version, "card"), card.to_json())


def load(store: Store, name: str, version: int) -> tuple[Card, bytes]:
    """Return a card and its artefact, checked against each other.

    Raises:
        NotFound: There is no such model.
        Invalid: The artefact was changed after it was stored.
    """
    text, content = store.get(_at(name, version, "card")), store.get(_at(name, version, "artefact"))
    if text is None or content is None:
        raise NotFound("model", f"{name} {version}")
    card = Card.from_json(text)
    if sha256(content) != card.sha256 or (card.name, card.version) != (name, version):
        raise Invalid(f"the artefact of {name} {version} is not the one that was stored")
    return card, content


def promote(store: Store, card: Card, *, metric: str) -> bool:
    """Let a stored model serve if it beats its baseline on ``metric`` (smaller is better).

    Returns:
        Whether it serves now; the one before it stays as the first fall-back.
    """
    figure, baseline = card.metrics.get(metric), card.baseline_metrics.get(metric)
    if figure is None or baseline is None or not figure < baseline:
        return False
    line = [card.version, *(one for one in _line(store, card.name) if one != card.version)]
    store.put(f"{card.name}/line", json.dumps(line[:2]).encode())
    return True


@dataclass(frozen=True, slots=True)
class Served:
    """What answers, and why it is not the newest.

    Attributes:
        model: What ``build`` made of an artefact; None when the baseline serves.
        card: Its card; None when the baseline serves.
        reasons: Why each better candidate did not serve, in the order tried.
    """

    model: Any
    card: Card | None
    reasons: tuple[str, ...] = field(default=())


def serve(store: Store, name: str, build: Callable[[Card, bytes], Any]) -> Served:
    """Return the promoted model, else the one before it, else nothing: then the baseline serves.

    Args:
        store: Where models are kept.
        name: Of the model.
        build: Makes the model from card and artefact; anything it refuses counts as a reason.
    """
    reasons: list[str] = []
    for version in _line(store, name):
        try:
            card, content = load(store, name, version)
            return Served(build(card, content), card, tuple(reasons))
        except (Invalid, NotFound) as refusal:
            reasons.append(f"version {version}: {refusal}")
    if not reasons:
        reasons.append("no model was promoted")
    return Served(None, None, tuple(reasons))


def booster_from(content: bytes) -> Any:
    """Read a LightGBM model from its text form.

    Raises:
        Invalid: It is not one.
    """
    import lightgbm

    text = content.decode("utf-8", errors="replace")
    if not text.startswith("tree\n"):
        raise Invalid("this is not a LightGBM model")
    try:
        return lightgbm.Booster(model_str=text)
    except lightgbm.basic.LightGBMError as error:
        raise Invalid(f"this is not a LightGBM model: {error}") from error


def _at(name: str, version: int, part: str) -> str:
    return f"{name}/{version}/{part}"


def _line(store: Store, name: str) -> list[int]:
    """Return the promoted versions, newest first."""
    text = store.get(f"{name}/line")
    return [int(one) for one in json.loads(text)] if text else []
