"""What is stored of a run: coherent whole units, intervals that hold the mean, a baseline, and the hash of the data."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import numpy as np

from bursar.core.planning.calendars.rules import Planned
from bursar.core.planning.series.rules import Hierarchy
from bursar.kernel.errors import Invalid
from bursar.kernel.period import Grain
from bursar.kernel.series import Floats, Ints, Panel, calendar
from bursar.ml.calendar import Calendar
from bursar.ml.forecast.history import SEASONS, fill_gaps, seasonal_scale
from bursar.ml.forecast.naive import SeasonalNaive
from bursar.ml.forecast.panel import CALL_SERIES_MAX, ForecastResult, history_of
from bursar.ml.reconcile import Tree, bottom_up, least_change, to_minor_units

PLACES = 4
"""Stored amounts are ten-thousandths of the major unit: services of a few cents a day still add up."""

UNITS_MAX = 2**60

AMOUNT_MAX = 10**14
"""Largest absolute amount of one period that is forecast, major units; beyond it the unit of a file is wrong."""

WIDTH80_SD = 2.563
"""Width of an 80 % interval in standard deviations of a normal error."""

VARIANCE_SHARE = 1e-6
VARIANCE_LEAST = 1e-12
"""A series that never varied has an interval of no width; it still must be able to give way."""

HORIZONS = {Grain.DAY: 92, Grain.WEEK: 26, Grain.MONTH: 12}
"""Periods ahead that are forecast and stored by night."""

HORIZON_MAX = 360
"""Periods ahead in one call; the global models look back a year from what they forecast, so not further than that."""

SEED = 0


@dataclass(frozen=True, slots=True)
class Run:
    """One stored panel forecast.

    Attributes:
        id: Its id.
        made_at: When.
        source: Source of the series.
        grain: Calendar.
        currency: ISO 4217.
        horizon: Periods ahead.
        first_day: First day of the training window.
        last_day: Last day of the training window.
        origin: First day forecast.
        series: Number of series.
        data_hash: SHA-256 of the training data.
        code_version: Version of the code that made it.
        seed: Of everything random.
        baseline: Name of the declared baseline.
        windows: Backtest windows; 0 where the history was too short.
        coverage80: Share of held-out backtest outcomes inside the 80 % interval.
        coverage95: The same for 95 %.
        model: Name of the kept model that served; empty when none did.
        model_version: Its version.
        notes: Which training served and why not a newer one; which holidays and events counted.
    """

    id: UUID
    made_at: datetime
    source: str
    grain: Grain
    currency: str
    horizon: int
    first_day: date
    last_day: date
    origin: date
    series: int
    data_hash: str
    code_version: str
    seed: int
    baseline: str
    windows: int
    coverage80: float | None
    coverage95: float | None
    model: str = ""
    model_version: int | None = None
    notes: Sequence[str] = ()

    @property
    def starts(self) -> list[date]:
        """First days of the periods forecast."""
        starts = calendar(np.datetime64(self.origin, "h"), self.grain, self.horizon)
        return [one.astype("datetime64[D]").astype(object) for one in starts]


@dataclass(frozen=True, slots=True)
class Values:
    """What a run predicted for one series; arrays over the steps in units of 10**-:data:`PLACES`.

    ``error`` and ``baseline_error`` are MASE over the backtest windows; ``scale`` is the denominator, major units.
    """

    id: str
    key: str
    level: str
    parent: str
    model: str
    leader: str
    beats_baseline: bool
    cold: bool
    error: float | None
    baseline_error: float | None
    scale: float
    mean: Sequence[int]
    lower80: Sequence[int]
    upper80: Sequence[int]
    lower95: Sequence[int]
    upper95: Sequence[int]
    baseline: Sequence[int]


@dataclass(frozen=True, slots=True)
class Made:
    """Facts of a run that do not depend on where it is stored, with its values."""

    origin: date
    first_day: date
    baseline: str
    windows: int
    coverage80: float | None
    coverage95: float | None
    values: tuple[Values, ...]


def amount_of(units: int) -> Decimal:
    """Return stored units as an exact amount in major units."""
    return Decimal(units).scaleb(-PLACES)


def check(tree: Hierarchy) -> None:
    """Refuse amounts that no unit of any currency makes sensible, naming the innermost series that holds one.

    Raises:
        Invalid: An amount is beyond :data:`AMOUNT_MAX`.
    """
    panel = tree.panel
    beyond = np.flatnonzero(np.abs(panel.values) > AMOUNT_MAX)
    if beyond.size:
        row = int(np.searchsorted(panel.indptr, beyond[-1], side="right")) - 1
        day = panel.times(row)[beyond[-1] - panel.indptr[row]].astype("datetime64[D]")
        raise Invalid(
            f"series {panel.keys[row]} holds more than {AMOUNT_MAX:.0e} {panel.currency} in the {panel.grain} of {day}",
            "Check the unit in the file it comes from; `bursar revert` takes an import back.",
        )


def data_hash(tree: Hierarchy, horizon: int, planned: Planned, extras: Sequence[str] = ()) -> str:
    """Return the SHA-256 of everything a forecast depends on besides the code and the kept model."""
    panel = tree.panel
    digest = hashlib.sha256()
    head = f"{tree.source}\0{panel.grain}\0{panel.currency}\0{horizon}\0{SEED}\0{planned.digest()}\0".encode()
    head += "".join(f"{name}\0" for name in extras).encode()
    for part in (head, "\0".join(panel.keys).encode(), panel.starts.tobytes(), panel.indptr.tobytes()):
        digest.update(part)
    digest.update(panel.values.tobytes())
    return digest.hexdigest()


def make(tree: Hierarchy, result: ForecastResult, planned: Planned) -> Made:
    """Add what is planned, reconcile the tree and turn a forecast of every node into stored values.

    Args:
        tree: Of one source, currency and calendar.
        result: For its series, in its order.
        planned: Events with an amount are added to their series and everything above it.

    Raises:
        Invalid: An amount is too large to be stored.
    """
    panel, horizon = tree.panel, len(result.times)
    baseline = np.concatenate([_baseline(part, horizon) for part in _calls(panel)])
    ends = {name: getattr(result, name) + known_amounts(tree, result, planned) for name in _ENDS}
    scale = np.concatenate([_scale(part) for part in _calls(panel)])
    floor = np.array([float(panel.series(row).min()) >= 0 for row in range(len(panel))])
    units = stored_units(tree.tree, ends, floor)
    units["baseline"] = np.rint(baseline * 10**PLACES).astype(np.int64)
    return Made(
        result.times[0].astype("datetime64[D]").astype(object),
        panel.starts.min().astype("datetime64[D]").astype(object),
        result.baseline,
        len(result.origins),
        result.coverage.get(0.8),
        result.coverage.get(0.95),
        tuple(_values(tree, result, units, scale)),
    )


def known_amounts(tree: Hierarchy, result: ForecastResult, planned: Planned) -> Floats:
    """Return what planned events add to each series and period, shape (n, horizon), major units.

    The amount of a series with children falls on its leaves in proportion to their forecasts, so that what is added adds up.
    """
    out = np.zeros_like(result.mean)
    under = _leaves(tree)
    edges = np.append(result.times, calendar(result.times[0], tree.panel.grain, len(result.times) + 1)[-1])
    for event in planned.events:
        row = tree.row(event.series) if event.series else 0
        if event.amount is None or row is None or event.currency != tree.panel.currency:
            continue
        for day in event.days:
            step = int(np.searchsorted(edges, np.datetime64(day, "h"), side="right")) - 1
            if 0 <= step < len(result.times):
                mine = under[row]
                size = np.abs(result.mean[mine, step])
                share = size / size.sum() if size.sum() > 0 else np.full(len(mine), 1 / len(mine))
                out[mine, step] += float(event.amount) * share
    return bottom_up(tree.tree, out)


def _leaves(tree: Hierarchy) -> list[list[int]]:
    """Return the rows of the leaves under each row; a leaf stands for itself."""
    parents = set(tree.parent.tolist())
    out: list[list[int]] = [[] for _ in tree.ids]
    for leaf in range(len(tree.ids)):
        above = leaf
        while leaf not in parents and above >= 0:
            out[above].append(leaf)
            above = int(tree.parent[above])
    return out


def _calls(panel: Panel) -> list[Panel]:
    """Cut a panel into calls of at most ``CALL_SERIES_MAX`` series."""
    if len(panel) <= CALL_SERIES_MAX:
        return [panel]
    cuts = range(0, len(panel), CALL_SERIES_MAX)
    return [
        Panel.of(
            panel.keys[at : at + CALL_SERIES_MAX],
            panel.starts[at : at + CALL_SERIES_MAX],
            [panel.series(row) for row in range(at, min(at + CALL_SERIES_MAX, len(panel)))],
            grain=panel.grain,
            currency=panel.currency,
        )
        for at in cuts
    ]


def _baseline(panel: Panel, horizon: int) -> Floats:
    return SeasonalNaive().fit(history_of(panel, horizon, Calendar())).predict(horizon)


def _scale(panel: Panel) -> Floats:
    history = history_of(panel, 1, Calendar())
    season = SEASONS[panel.grain][0]
    return seasonal_scale(fill_gaps(history.values, season), season)


def stored_units(
    tree: Tree, ends: dict[str, Floats], floor: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> dict[str, Ints]:
    """Return coherent whole units: children sum to parents at every level and step; intervals move with their mean.

    Args:
        tree: Of the n nodes.
        ends: Shape (n, h) each: ``mean`` and the four interval ends, major units, forecast apart from each other.
        floor: Shape (n,): True where no amount was ever negative, so that none is forecast.

    Raises:
        Invalid: An amount is too large to be stored.
    """
    mean = ends["mean"]
    variance = (((ends["upper80"] - ends["lower80"]) / WIDTH80_SD) ** 2).mean(axis=1)
    variance += (np.abs(mean).mean(axis=1) * VARIANCE_SHARE) ** 2 + VARIANCE_LEAST
    near = least_change(tree, mean, variance)
    near = bottom_up(tree, np.where(floor[:, None], np.maximum(near, 0.0), near))
    if float(np.abs(near).max(initial=0.0)) * 10**PLACES > UNITS_MAX:
        raise Invalid("a forecast is too large to be stored", "Check the unit of the imported amounts.")
    exact = to_minor_units(tree, near * 10**PLACES)
    moved = near - mean
    least = np.where(floor, 0.0, -np.inf)[:, None]

    def end(name: str) -> Ints:
        shifted = np.clip(np.maximum(ends[name] + moved, least), -UNITS_MAX / 10**PLACES, UNITS_MAX / 10**PLACES)
        whole: Ints = np.rint(shifted * 10**PLACES).astype(np.int64)
        return whole

    out: dict[str, Ints] = {"mean": exact}
    out["lower80"], out["upper80"] = np.minimum(end("lower80"), exact), np.maximum(end("upper80"), exact)
    out["lower95"] = np.minimum(end("lower95"), out["lower80"])
    out["upper95"] = np.maximum(end("upper95"), out["upper80"])
    return out


def _values(tree: Hierarchy, result: ForecastResult, units: dict[str, Ints], scale: Floats) -> list[Values]:
    out = []
    for row, key in enumerate(result.keys):
        parent = int(tree.parent[row])
        out.append(
            Values(
                tree.ids[row],
                key,
                tree.levels[row],
                tree.ids[parent] if parent >= 0 else "",
                result.served_by(row),
                result.models[int(np.argmax(result.weights[row]))],
                bool(result.beats_baseline[row]),
                bool(result.cold[row]),
                _number(result.error[row]),
                _number(result.baseline_error[row]),
                float(scale[row]),
                **{name: units[name][row].tolist() for name in _ARRAYS},
            )
        )
    return out


_ENDS = ("mean", "lower80", "upper80", "lower95", "upper95")
_ARRAYS = (*_ENDS, "baseline")


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def period_ends(run: Run) -> list[date]:
    """Return the days after the last of each period forecast."""
    starts = calendar(np.datetime64(run.origin, "h"), run.grain, run.horizon + 1)
    return [one.astype("datetime64[D]").astype(object) for one in starts[1:]]


def last_day(run: Run) -> date:
    """Return the last day that a run says something about."""
    return period_ends(run)[-1] - timedelta(days=1)
