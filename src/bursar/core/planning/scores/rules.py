"""How stored forecasts held: coverage, WAPE and MASE beside the stored baseline; pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

import numpy as np

from bursar.core.planning.forecasts.rules.stored import PLACES, Run, Values
from bursar.core.planning.series.rules import Hierarchy
from bursar.kernel.period import Grain
from bursar.kernel.series import Floats, steps_between
from bursar.ml.conformal import blocks

EVERY = "all"
"""Name under which the forecasts of every model are looked at together."""


@dataclass(frozen=True, slots=True)
class Score:
    """Sums over scored periods of one run, by level, leading model and horizon block; they add up across rows.

    Attributes:
        run: The run.
        level: Of the series.
        leader: The model of largest weight.
        block: Horizon block from 0; it spans the steps ``first_step`` to ``last_step``, counted from 1.
        periods: Series times periods scored.
        inside80: How many outcomes lay inside the 80 % interval.
        inside95: The same for 95 %.
        actual_abs: Sum of absolute outcomes, major units.
        error_abs: Sum of absolute errors.
        baseline_abs: Sum of the stored baseline's absolute errors.
        error_scaled: Sum of absolute errors over each series' scale.
        baseline_scaled: The same of the baseline.
    """

    run: UUID
    level: str
    leader: str
    block: int
    first_step: int
    last_step: int
    periods: int
    inside80: int
    inside95: int
    actual_abs: float
    error_abs: float
    baseline_abs: float
    error_scaled: float
    baseline_scaled: float


def outcomes(run: Run, values: Sequence[Values], tree: Hierarchy) -> Floats:
    """Return what happened, shape (series of the run, horizon), major units; NaN where it is not over or not known."""
    out = np.full((len(values), run.horizon), np.nan)
    place = {id_: row for row, id_ in enumerate(tree.ids)}
    origin = np.array([np.datetime64(run.origin, "h")])
    for at, one in enumerate(values):
        row = place.get(one.id)
        if row is None:
            continue
        actual = tree.panel.series(row)
        late = int(steps_between(tree.panel.starts[row : row + 1], origin, run.grain)[0])
        first, stop = max(0, late), min(len(actual), late + run.horizon)
        if stop > first:
            out[at, first - late : stop - late] = actual[first:stop]
    return out


def score(run: Run, values: Sequence[Values], actual: Floats) -> list[Score]:
    """Compare what was stored with what happened.

    Args:
        run: The run.
        values: Its n stored series.
        actual: Shape (n, horizon), NaN where nothing is known yet.

    Returns:
        One entry for each level, leader and block with at least one scored period.
    """
    arrays = {
        name: np.array([getattr(one, name) for one in values], dtype=np.float64) / 10**PLACES
        for name in ("mean", "lower80", "upper80", "lower95", "upper95", "baseline")
    }
    scale = np.array([one.scale for one in values])[:, None]
    live = ~np.isnan(actual)
    tolerance = 0.5 / 10**PLACES
    inside80 = live & (actual >= arrays["lower80"] - tolerance) & (actual <= arrays["upper80"] + tolerance)
    inside95 = live & (actual >= arrays["lower95"] - tolerance) & (actual <= arrays["upper95"] + tolerance)
    error = np.where(live, np.abs(actual - arrays["mean"]), 0.0)
    naive = np.where(live, np.abs(actual - arrays["baseline"]), 0.0)
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for at, one in enumerate(values):
        groups[one.level, one.leader].append(at)
    out = []
    for (level, leader), rows in sorted(groups.items()):
        for number, span in enumerate(blocks(run.horizon)):
            part = np.ix_(rows, range(span.start, span.stop))
            periods = int(live[part].sum())
            if not periods:
                continue
            out.append(
                Score(
                    run.id,
                    level,
                    leader,
                    number,
                    span.start + 1,
                    span.stop,
                    periods,
                    int(inside80[part].sum()),
                    int(inside95[part].sum()),
                    float(np.nansum(np.abs(actual[part]))),
                    float(error[part].sum()),
                    float(naive[part].sum()),
                    float((error / scale)[part].sum()),
                    float((naive / scale)[part].sum()),
                )
            )
    return out


@dataclass(frozen=True, slots=True)
class Record:
    """How forecasts held over the periods scored.

    Attributes:
        periods: Series times periods.
        coverage80: Share of outcomes inside the 80 % interval.
        coverage95: Share inside the 95 % interval.
        wape: Sum of absolute errors over sum of absolute outcomes; None where nothing was spent.
        baseline_wape: The same of the stored baseline.
        mase: Mean absolute error in units of the seasonal-naive step.
        baseline_mase: The same of the stored baseline.
    """

    periods: int
    coverage80: float
    coverage95: float
    wape: float | None
    baseline_wape: float | None
    mase: float
    baseline_mase: float


def record(scores: Sequence[Score]) -> Record | None:
    """Pool scores; None when nothing was scored. Amounts of different currencies must not be pooled for WAPE."""
    periods = sum(one.periods for one in scores)
    if not periods:
        return None
    actual = sum(one.actual_abs for one in scores)
    return Record(
        periods,
        sum(one.inside80 for one in scores) / periods,
        sum(one.inside95 for one in scores) / periods,
        sum(one.error_abs for one in scores) / actual if actual else None,
        sum(one.baseline_abs for one in scores) / actual if actual else None,
        sum(one.error_scaled for one in scores) / periods,
        sum(one.baseline_scaled for one in scores) / periods,
    )


DRIFT_PERIODS_MIN = 50
"""Series times periods that must be over before a kept model is judged by them."""

DRIFT_ERROR_MAX = 1.0
"""A kept model is out of date when its error is more than this many times the baseline's."""

DRIFT_COVERAGE_MIN = 0.65
"""It also is when its 80 % intervals held fewer outcomes than this."""


def drifted(runs: Iterable[Run], scores: Sequence[Score]) -> dict[str, str]:
    """Return why a kept model is out of date, by its name, judged by what its newest version predicted.

    Models that hold, and those of which too little is over, are left out.
    """
    made: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        if run.model and run.model_version is not None:
            made[run.model].append(run)
    out = {}
    for name, mine in made.items():
        version = max(run.model_version or 0 for run in mine)
        ids = {run.id for run in mine if run.model_version == version}
        held = record([one for one in scores if one.run in ids])
        if held is None or held.periods < DRIFT_PERIODS_MIN:
            continue
        if held.mase > DRIFT_ERROR_MAX * held.baseline_mase:
            out[name] = f"version {version} errs {held.mase:.2f} against {held.baseline_mase:.2f} of the baseline"
        elif held.coverage80 < DRIFT_COVERAGE_MIN:
            out[name] = f"the 80 % intervals of version {version} held {held.coverage80:.0%}"
    return out


@dataclass(frozen=True, slots=True)
class Kind:
    """What is scored together: one source, calendar and currency."""

    source: str
    grain: Grain
    currency: str


@dataclass(frozen=True, slots=True)
class Line:
    """The record of a model on one kind of series: in all, by horizon block, and by run."""

    kind: Kind
    whole: Record
    by_block: tuple[tuple[int, int, Record], ...]
    by_run: tuple[tuple[date, datetime, Record], ...]


def lines(runs: Mapping[UUID, Run], scores: Sequence[Score]) -> list[Line]:
    """Pool scores by kind, then by block and by run (oldest first)."""
    groups: dict[Kind, list[Score]] = defaultdict(list)
    for one in scores:
        made = runs[one.run]
        groups[Kind(made.source, made.grain, made.currency)].append(one)
    out = []
    for kind, group in sorted(groups.items(), key=lambda pair: (pair[0].source, pair[0].grain, pair[0].currency)):
        whole = record(group)
        if whole is None:
            continue
        steps = sorted({(one.first_step, one.last_step) for one in group})
        by_block = [(a, b, record([s for s in group if (s.first_step, s.last_step) == (a, b)])) for a, b in steps]
        ordered = sorted({one.run for one in group}, key=lambda id_: (runs[id_].origin, runs[id_].made_at))
        by_run = [(runs[id_].origin, runs[id_].made_at, record([s for s in group if s.run == id_])) for id_ in ordered]
        out.append(
            Line(
                kind,
                whole,
                tuple((a, b, held) for a, b, held in by_block if held),
                tuple((day, at, held) for day, at, held in by_run if held),
            )
        )
    return out


@dataclass(frozen=True, slots=True)
class Precision:
    """How often people agreed with one kind of alert; ``precision`` is None while nobody said anything."""

    kind: str
    raised: int
    real: int
    dismissed: int
    precision: float | None


def precision(kind: str, *, raised: int, real: int, dismissed: int) -> Precision:
    """Return the share of judged alerts that were accepted or acted on."""
    judged = real + dismissed
    return Precision(kind, raised, real, dismissed, real / judged if judged else None)
