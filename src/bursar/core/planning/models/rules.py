"""When to train anew, what a card says, whether a new training may serve; pure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

from bursar.kernel.errors import Invalid
from bursar.kernel.period import Grain
from bursar.kernel.series import Panel
from bursar.ml.calendar import Calendar
from bursar.ml.forecast.history import HISTORY_MAX, SEASONS, fill_gaps, seasonal_scale
from bursar.ml.forecast.keeping import Kept
from bursar.ml.forecast.naive import mean_where
from bursar.ml.forecast.panel import ForecastResult
from bursar.ml.forecast.select import ERROR_MAX
from bursar.ml.registry import Card, Format, pack_arrays, sha256, unpack_arrays

METRIC = "mase"
"""What a training is promoted by; smaller is better."""

AGE_MAX = {Grain.DAY: timedelta(days=7), Grain.WEEK: timedelta(days=28), Grain.MONTH: timedelta(days=92)}
"""A model is trained anew when the newest training is older."""

NEW_SHARE_MAX = 0.2
"""Also when more than this share of the series was not there at the training."""

LINEUP = "forecasters"
"""Parameter with the models of optional packages that competed; absent where none did."""

WORSE_MAX = 1.05
"""A new training whose error is more than this many times the serving one's does not replace it."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What is to be forecast.

    Attributes:
        name: Of the model; one for each kind of panel.
        panel: The series.
        horizon: Periods ahead.
        calendar: Country and events.
        seed: Of everything random.
        data_hash: SHA-256 of the data.
        code_version: Of the program.
        window: First and last day of the data.
        drift: Why the serving model is held to be out of date; empty while it is not.
        extras: Names of models of optional packages that compete too.
        told: What to say on the card of those that do not.
    """

    name: str
    panel: Panel
    horizon: int
    calendar: Calendar
    seed: int
    data_hash: str
    code_version: str
    window: tuple[date, date]
    drift: str = ""
    extras: tuple[str, ...] = ()
    told: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """A forecast and what served it.

    Attributes:
        result: For the series of the panel, in its order.
        model: Name of the kept model; empty when none serves.
        version: Its version; None when none serves.
        notes: What a reader should know: which training serves, why not a newer one.
        parts: Parts that were kept aside and may be forgotten once the result is stored.
    """

    result: ForecastResult
    model: str
    version: int | None
    notes: tuple[str, ...]
    parts: tuple[str, ...] = ()


class Shelf:
    """What the registry of ``ml`` reads and writes, in memory; the store carries it from and to the database."""

    def __init__(self, kept: Mapping[str, bytes]) -> None:
        self.kept = dict(kept)

    def put(self, key: str, content: bytes) -> None:
        """Keep ``content``."""
        self.kept[key] = content

    def get(self, key: str) -> bytes | None:
        """Return what was kept, or None."""
        return self.kept.get(key)


def shelf_of(name: str, rows: Iterable[Any]) -> Shelf:
    """Lay rows (version, place, card, artefact) out as the registry keeps them."""
    shelf = Shelf({})
    ordered = sorted(rows, key=lambda row: int(row.place))
    for row in ordered:
        shelf.put(f"{name}/{row.version}/card", json.dumps(row.card).encode())
        shelf.put(f"{name}/{row.version}/artefact", bytes(row.artefact))
    if ordered:
        shelf.put(f"{name}/line", json.dumps([row.version for row in ordered]).encode())
    return shelf


def line_of(shelf: Shelf, name: str) -> list[int]:
    """Return the versions that serve, the promoted one first."""
    return [int(one) for one in json.loads(shelf.get(f"{name}/line") or b"[]")]


def card_from(facts: Mapping[str, Any]) -> Card:
    """Return a card from its stored form."""
    return Card.from_json(json.dumps(facts).encode())


def model_name(source: str, grain: Grain, currency: str, horizon: int) -> str:
    """Return the name of the model of one kind of panel, such as ``forecast_cost_day_usd_92``."""
    return f"forecast_{source}_{grain}_{currency.lower()}_{horizon}"


def parameters(ask: Ask) -> dict[str, Any]:
    """Return what a training depends on besides data, code and seed; another calendar or line-up needs another training."""
    known = ask.calendar
    made: dict[str, Any] = {
        "horizon": ask.horizon,
        "country": known.country,
        "subdivision": known.subdivision,
        "events": [name for name, _ in known.events],
    }
    return made | ({LINEUP: list(ask.extras)} if ask.extras else {})


def why_train(ask: Ask, card: Card | None, tried_at: datetime | None, keys: Sequence[str], now: datetime) -> str:
    """Return why a training is due; empty while the serving model will do.

    Args:
        ask: What is to be forecast.
        card: Of the serving model; None when none can serve.
        tried_at: When the newest training was made, promoted or not.
        keys: Series that the serving model was trained on.
        now: Instant of the run.
    """
    if card is None:
        return "no kept model can serve"
    new = 1 - len(set(keys) & set(ask.panel.keys)) / len(ask.panel)
    age = AGE_MAX[ask.panel.grain]
    had, has = dict(card.parameters), parameters(ask)
    were, are = (", ".join(one.pop(LINEUP, ())) or "none" for one in (had, has))
    reasons = {
        f"it was trained by version {card.code_version}": card.code_version != ask.code_version,
        "holidays or events changed": had != has,
        f"forecasters of optional packages were {were}, are {are}": were != are,
        f"{new:.0%} of the series are new to it": new > NEW_SHARE_MAX,
        f"the newest training is older than {age.days} days": tried_at is None or now - tried_at > age,
        ask.drift: bool(ask.drift),
    }
    return "; ".join(text for text, holds in reasons.items() if holds)


def card_of(ask: Ask, result: ForecastResult, content: bytes, *, version: int, now: datetime) -> Card:
    """Describe a training."""
    tried = ~np.isnan(result.error)

    def mean(errors: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
        return float(np.minimum(errors[tried], ERROR_MAX).mean())

    covered = {f"coverage{level:.0%}".rstrip("%"): share for level, share in result.coverage.items()}
    beats = float(result.beats_baseline[tried].mean())
    return Card(
        ask.name,
        version,
        Format.ARRAYS,
        sha256(content),
        ask.data_hash,
        ask.code_version,
        now.astimezone(UTC).isoformat(),
        (ask.window[0].isoformat(), ask.window[1].isoformat()),
        parameters(ask),
        {METRIC: mean(result.error), "beats_baseline": beats, **covered},
        result.baseline,
        {METRIC: mean(result.baseline_error)},
        ask.seed,
        (*result.told, *ask.told),
    )


@dataclass(frozen=True, slots=True)
class Contest:
    """Errors (MASE) of two trainings at the same periods of the same series, which neither had seen."""

    new: float
    old: float
    periods: int


def before(panel: Panel, last: np.datetime64) -> Panel | None:
    """Return a panel as it was after the period that starts at ``last``; None when no series had begun."""
    values, times = panel.matrix(length_max=HISTORY_MAX)
    values = values[:, : int(np.searchsorted(times, last, side="right"))]
    rows = np.flatnonzero(~np.isnan(values).all(axis=1))
    if not len(rows):
        return None
    keys = [panel.keys[row] for row in rows]
    return Panel.of(
        keys, np.repeat(times[:1], len(rows)), list(values[rows]), grain=panel.grain, currency=panel.currency
    )


def contest(ask: Ask, new: ForecastResult, old: ForecastResult, *, seen: np.datetime64) -> Contest | None:
    """Compare a new training with the one that serves.

    Args:
        ask: With the series as they are now.
        new: Of the new training, with what it tried at its last backtest origin.
        old: What the serving one forecasts from the end of :func:`before` that origin.
        seen: Start of the last period that the serving one was trained on.

    Returns:
        Errors over the periods after ``seen`` that both forecast; None when there is no whole season of them.
    """
    values, times = ask.panel.matrix(length_max=HISTORY_MAX)
    begun = int(np.searchsorted(times, new.tried_after, side="right"))
    ahead = times[begun : begun + new.tried.shape[1]]
    steps = np.flatnonzero(ahead > seen)
    season = SEASONS[ask.panel.grain][0]
    common = [key for key in old.keys if key in set(ask.panel.keys)]
    if len(steps) < season or not common:
        return None
    here = {key: row for row, key in enumerate(ask.panel.keys)}
    rows = [here[key] for key in common]
    actual = values[rows][:, begun + steps]
    scale = seasonal_scale(fill_gaps(values[rows, :begun], season), season)
    there = {key: row for row, key in enumerate(old.keys)}
    sides = new.tried[rows], old.mean[[there[key] for key in common]]
    each = [mean_where(np.abs(side[:, steps] - actual), 1) / scale for side in sides]
    both = ~np.isnan(each[0]) & ~np.isnan(each[1])
    if not both.any():
        return None
    mine, theirs = (float(np.minimum(one[both], ERROR_MAX).mean()) for one in each)
    return Contest(mine, theirs, len(steps))


def may_replace(new: Card, old: Card | None, held: Contest | None, *, drift: str) -> bool:
    """Tell whether a new training may take the place of the serving one, if it beats its baseline.

    Both are compared where both were tried unseen; before a season of such periods has passed, by error over baseline
    on their own windows. After a drift, or when holidays, events or the line-up changed, the record of the old one says
    nothing and the new one may.
    """
    if old is None or drift or dict(old.parameters) != dict(new.parameters):
        return True
    if held is not None:
        return held.new <= WORSE_MAX * held.old
    return _skill(new) <= WORSE_MAX * _skill(old)


def _skill(card: Card) -> float:
    base = card.baseline_metrics.get(METRIC, 0.0)
    return card.metrics[METRIC] / base if base > 0 else float("inf")


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a trained panel, as they were packed and as they are read."""

    packed: tuple[bytes, ...]
    kept: tuple[Kept, ...] = field(repr=False)

    @property
    def keys(self) -> list[str]:
        """Every series of the training."""
        return [key for one in self.kept for key in one.result.keys]


def artefact(parts: Sequence[bytes]) -> bytes:
    """Write the parts of a trained panel as one artefact."""
    return pack_arrays({f"part{at}": np.frombuffer(one, dtype=np.uint8) for at, one in enumerate(parts)})


def parts_from(card: Card, content: bytes) -> Parts:
    """Read an artefact.

    Raises:
        Invalid: It is no such artefact.
    """
    if card.format is not Format.ARRAYS:
        raise Invalid(f"{card.name} is kept as {card.format}, not as arrays")
    arrays = unpack_arrays(content)
    try:
        packed = tuple(arrays[f"part{at}"].tobytes() for at in range(len(arrays)))
    except KeyError as error:
        raise Invalid("a part of the artefact is missing") from error
    return Parts(packed, tuple(Kept.unpack(one) for one in packed))
