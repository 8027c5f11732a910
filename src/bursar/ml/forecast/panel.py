"""The facade: a panel in, forecasts with intervals, weights and a record against the baseline out."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bursar.kernel.errors import Invalid, TooLarge
from bursar.kernel.series import Days, Floats, Panel
from bursar.kernel.series import calendar as period_starts
from bursar.ml.backtest import WINDOWS, Backtest, a_year_before, rolling_origins
from bursar.ml.calendar import Bools, Calendar, known_effects, near_effects, turn_of_year
from bursar.ml.conformal import LEVELS, Kinds, held_out, intervals, stretched, stretched_coverage
from bursar.ml.forecast.contract import Forecaster
from bursar.ml.forecast.history import HISTORY_MAX, SEASONS, History, fill_gaps, padded, seasonal_scale
from bursar.ml.forecast.lineup import BASELINE, COLD, default_lineup, default_windows
from bursar.ml.forecast.naive import mean_where
from bursar.ml.forecast.running import run_backtest, side_by_side
from bursar.ml.forecast.select import Selection, mix, select
from bursar.ml.forecast.young import COLD_SEASONS, YoungTrial, try_young

HORIZON_MAX = 730
"""Periods ahead in one call."""

CALL_SERIES_MAX = 20_000
"""Series in one call; a fleet is cut into calls of this size."""

LAST_TURN_SERIES = 1_000
"""Series that say how far forecasts err around the turn of the year."""


@dataclass(frozen=True, slots=True)
class ForecastResult:
    """Forecasts of n series over h periods.

    Attributes:
        keys: Shape (n,).
        times: Shape (h,), ``datetime64[h]``: starts of the periods forecast, the same for all series.
        mean: Shape (n, h), major units of the panel's currency.
        lower80: Shape (n, h): lower end of the interval that should hold 80 % of outcomes.
        upper80: Shape (n, h).
        lower95: Shape (n, h).
        upper95: Shape (n, h).
        models: The m names.
        weights: Shape (n, m): what serves each series; rows sum to 1.
        error: Shape (n,): mean absolute error over the backtest windows, in units of the seasonal-naive step (MASE); NaN
            where the history was too short for a backtest.
        baseline: Name of the declared baseline.
        baseline_error: Shape (n,): the baseline's error over the same windows.
        beats_baseline: Shape (n,): False where the baseline serves, because nothing beat it or nothing could be tried.
        cold: Shape (n,): True for series too young to be tried; what serves older series best that are cut as short does,
            or the siblings and the global model where there are few older ones.
        origins: Window starts of the backtest, as periods of the history.
        coverage: Share of outcomes inside the intervals of windows left out of their calibration, by nominal level.
        last: Start of the last period of history.
        tried: Shape (n, h): what the mix would have forecast at ``tried_after``; NaN where nothing could be tried.
        tried_after: Start of the last period before the last backtest origin; NaT where nothing could be tried.
        told: What models say of their training or fit, each after its name.
    """

    keys: tuple[str, ...]
    times: Days
    mean: Floats
    lower80: Floats
    upper80: Floats
    lower95: Floats
    upper95: Floats
    models: tuple[str, ...]
    weights: Floats
    error: Floats
    baseline: str
    baseline_error: Floats
    beats_baseline: Bools
    cold: Bools
    origins: tuple[int, ...]
    coverage: dict[float, float] = field(default_factory=dict)
    last: np.datetime64 = field(default_factory=lambda: np.datetime64("NaT"))
    tried: Floats = field(default_factory=lambda: np.empty((0, 0)))
    tried_after: np.datetime64 = field(default_factory=lambda: np.datetime64("NaT"))
    told: tuple[str, ...] = ()

    def served_by(self, row: int) -> str:
        """Return the names and weights that serve series ``row`` as text, heaviest first."""
        order = np.argsort(-self.weights[row])
        return " + ".join(
            f"{self.weights[row, at]:.0%} {self.models[at]}" for at in order if self.weights[row, at] >= 0.005
        )


def forecast_panel(
    panel: Panel,
    horizon: int,
    *,
    calendar: Calendar | None = None,
    seed: int = 0,
    windows: int = 0,
    models: Sequence[Forecaster] | None = None,
    extras: Sequence[str] = (),
) -> ForecastResult:
    """Forecast every series of a panel.

    Args:
        panel: Series of one currency and grain. All are forecast from the end of the latest one; a series that ends
            earlier has a gap, so give zeros where nothing was spent.
        horizon: Periods ahead, 1 to ``HORIZON_MAX``.
        calendar: Country for holidays, and known events.
        seed: Of everything random; the same panel and seed give the same answer.
        windows: Backtest origins, at least 3; 0 leaves it to the line-up.
        models: The line-up; the default one when not given. It must contain the baseline.
        extras: Names of further models that compete in the default line-up, see :data:`~bursar.ml.forecast.lineup.EXTRAS`.

    Returns:
        Finite numbers for every series and period.

    Raises:
        Invalid: No series, a series without a single number, an infinite value, a horizon out of range.
        TooLarge: More than ``CALL_SERIES_MAX`` series.
    """
    return fit_panel(panel, horizon, calendar=calendar, seed=seed, windows=windows, models=models, extras=extras)[0]


def fit_panel(
    panel: Panel,
    horizon: int,
    *,
    calendar: Calendar | None = None,
    seed: int = 0,
    windows: int = 0,
    models: Sequence[Forecaster] | None = None,
    extras: Sequence[str] = (),
) -> tuple[ForecastResult, tuple[Forecaster, ...]]:
    """Forecast like :func:`forecast_panel`, and return the fitted models for :class:`~bursar.ml.forecast.serving.Serving`."""
    _refuse(panel, horizon)
    history = history_of(panel, horizon, calendar or Calendar())
    unit = mean_where(np.abs(history.values), 1)
    unit = np.where(unit > 0, unit, 1.0)
    scaled = replace(history, values=history.values / unit[:, None])
    lineup = tuple(models) if models is not None else default_lineup(len(panel), horizon, seed, extras)
    tries = windows or (default_windows(len(panel), len(history.times), horizon) if models is None else WINDOWS)
    origins = rolling_origins(len(history.times), history.season, horizon, windows=tries)
    record = run_backtest(scaled, lineup, origins, horizon) if origins else None
    names = tuple(model.name for model in lineup)
    choice, cold = _choose(scaled, record, names)
    trials = None
    if record:
        young = try_young(scaled, lineup, record, cold, unusual_periods(scaled, horizon))
        trials = Trials(record, last_turn(scaled, lineup, horizon), young)
        for one in young:
            choice.weights[one.rows] = one.weights
    ahead = np.stack(side_by_side(lineup, lambda model: model.fit(scaled).predict(horizon)))
    mean = mix(ahead, choice.weights)
    mean = np.where(np.isnan(mean), ahead[names.index(BASELINE)], mean)
    result = _result(panel, scaled, unit, mean, choice, cold, trials)
    return replace(result, told=told_by(lineup)), lineup


def told_by(models: Sequence[Forecaster]) -> tuple[str, ...]:
    """Return what models say of their last fit or forecast, each after its name."""
    return tuple(f"{model.name}: {said}" for model in models for said in model.told())


@dataclass(frozen=True, slots=True)
class Trials:
    """What was tried before the end.

    Attributes:
        record: At the origins that weights are chosen by.
        again: A year before the end, of some series; None where it says nothing about what lies ahead.
        young: On older series, cut as short as those that cannot be tried.
    """

    record: Backtest
    again: Backtest | None
    young: tuple[YoungTrial, ...]

    def with_last_turn(
        self, history: History, residuals: Floats, kinds: Kinds, weights: Floats
    ) -> tuple[Floats, Kinds]:
        """Return the errors (w, n, h) that intervals are made of: those of the record, and of the last turn of the year."""
        if self.again is None:
            return residuals, kinds
        horizon = residuals.shape[2]
        more = np.full((1, *residuals.shape[1:]), np.nan)
        more[:, self.again.rows] = self.again.residuals(mix(self.again.forecasts, weights[self.again.rows]))
        then = _kinds(history, self.again.origins, horizon).tried
        more = np.where(then[:, None], more, np.nan)
        return np.concatenate((more, residuals)), Kinds(np.concatenate((then, kinds.tried)), kinds.ahead)


def _refuse(panel: Panel, horizon: int) -> None:
    if not 1 <= horizon <= HORIZON_MAX:
        raise Invalid(f"a horizon of {horizon} periods is not between 1 and {HORIZON_MAX}")
    if not len(panel):
        raise Invalid("there is no series to forecast")
    if len(panel) > CALL_SERIES_MAX:
        raise TooLarge("one forecast call", CALL_SERIES_MAX, "series")
    panel.check()
    if not np.abs(np.nan_to_num(panel.values)).max() < 1e100:
        raise Invalid("an amount beyond 1e100 cannot be forecast", "Check the unit of the amounts.")
    counts = np.add.reduceat(~np.isnan(panel.values), panel.indptr[:-1], dtype=np.int64)
    if (counts == 0).any():
        key = panel.keys[int(np.flatnonzero(counts == 0)[0])]
        raise Invalid(f"series {key} has no values, only gaps", "Leave it out, or send 0 where nothing was spent.")


def history_of(panel: Panel, horizon: int, calendar: Calendar) -> History:
    """Lay a panel on one calendar with the effects known for its past and the next ``horizon`` periods."""
    values, times = panel.matrix(length_max=HISTORY_MAX)
    lost = np.isnan(values).all(axis=1)
    if lost.any():
        key = panel.keys[int(np.flatnonzero(lost)[0])]
        raise Invalid(
            f"series {key} ended more than {HISTORY_MAX} periods before the others", "Leave it out: it is over."
        )
    whole = period_starts(times[0], panel.grain, len(times) + horizon)
    known, _ = known_effects(whole, panel.grain, calendar)
    return History(values, times, panel.grain, known, *near_effects(whole, panel.grain, calendar))


def last_turn(history: History, lineup: Sequence[Forecaster], horizon: int) -> Backtest | None:
    """Run every model a year before the end, where a turn of the year lies ahead and such a window fits.

    The windows before the end hold no turn of the year most of the time, and how far forecasts err around one cannot be
    told from other weeks. ``LAST_TURN_SERIES`` series say it for all.
    """
    origin = a_year_before(len(history.times), history.grain)
    if origin is None or not unusual_periods(history, horizon)[len(history.times) :].any():
        return None
    rows = np.unique(np.linspace(0, len(history.values) - 1, LAST_TURN_SERIES).astype(np.int64))
    part = history.rows(rows)
    return replace(run_backtest(part, lineup, (origin,), horizon), rows=rows)


def _choose(history: History, record: Backtest | None, names: tuple[str, ...]) -> tuple[Selection, Bools]:
    """Select by the backtest; series too young for it are served by the cold-start models, others by the baseline."""
    count = len(history.values)
    age = (~np.isnan(history.values)).sum(axis=1)
    cold = age < COLD_SEASONS * history.season
    if record is not None:
        tried = ~np.isnan(record.errors(record.forecasts[names.index(BASELINE)])).all(axis=0)
        cold |= ~tried
    several = (~cold).any()
    base = np.eye(len(names))[names.index(BASELINE)]
    if record is None or not several:
        nothing = np.full(count, np.nan)
        young = cold_weights(names) if record is None and count > 1 else base
        weights = np.tile(young, (count, 1))
        return Selection(names, weights, nothing, nothing.copy(), np.zeros(count, dtype=bool)), cold
    old = np.flatnonzero(~cold)
    kept = replace(
        record, forecasts=record.forecasts[:, :, old], actual=record.actual[:, old], scale=record.scale[:, old]
    )
    chosen = select(kept, BASELINE)
    weights = np.tile(cold_weights(names), (count, 1))
    weights[old] = chosen.weights
    error, baseline_error = np.full(count, np.nan), np.full(count, np.nan)
    beats = np.zeros(count, dtype=bool)
    error[old], baseline_error[old], beats[old] = chosen.error, chosen.baseline_error, chosen.beats_baseline
    return Selection(names, weights, error, baseline_error, beats), cold


def cold_weights(names: tuple[str, ...]) -> Floats:
    """Return what serves a series too young to be tried, shape (m,): equal shares of ``COLD``, else the baseline."""
    share = np.array([float(name in COLD) for name in names])
    if not share.any():
        share[names.index(BASELINE)] = 1.0
    out: Floats = share / share.sum()
    return out


def _result(
    panel: Panel,
    history: History,
    unit: Floats,
    mean: Floats,
    choice: Selection,
    cold: Bools,
    trials: Trials | None,
) -> ForecastResult:
    scale = seasonal_scale(fill_gaps(history.values, history.season), history.season)
    coverage: dict[float, float] = {}
    tried, tried_after = np.full_like(mean, np.nan), np.datetime64("NaT")
    if trials is None:
        ends = intervals(mean, scale, _young_residuals(history, mean.shape[1], scale))
    else:
        mixed = mix(trials.record.forecasts, choice.weights)
        tried, tried_after = mixed[-1] * unit[:, None], history.times[trials.record.origins[-1] - 1]
        residuals = trials.record.residuals(mixed)
        kinds = _kinds(history, trials.record.origins, mean.shape[1])
        held = held_out(residuals, LEVELS, kinds.tried)
        coverage = stretched_coverage(held)
        known, kinds = trials.with_last_turn(history, residuals, kinds, choice.weights)
        ends = stretched(intervals(mean, scale, known, kinds=kinds), mean, held)
        for one in trials.young:
            ends.take(one.rows, one.intervals(mean[one.rows], scale[one.rows], kinds.ahead))
    floor = np.where(np.nanmin(history.values, axis=1) >= 0, 0.0, -np.inf)[:, None]

    def money(values: Floats) -> Floats:
        out: Floats = np.maximum(values, floor) * unit[:, None]
        return out

    horizon = mean.shape[1]
    times = period_starts(history.times[-1], history.grain, horizon + 1)[1:]
    return ForecastResult(
        panel.keys,
        times,
        money(mean),
        money(ends.lower[0.8]),
        money(ends.upper[0.8]),
        money(ends.lower[0.95]),
        money(ends.upper[0.95]),
        choice.names,
        choice.weights,
        choice.error,
        BASELINE,
        choice.baseline_error,
        choice.beats_baseline,
        cold,
        trials.record.origins if trials else (),
        coverage,
        history.times[-1],
        tried,
        tried_after,
    )


def unusual_periods(history: History, horizon: int) -> Bools:
    """Return which periods, up to ``horizon`` after the last, lie around the turn of the year."""
    return turn_of_year(padded(history.near, len(history.times) + horizon), history.near_names)


def _kinds(history: History, origins: tuple[int, ...], horizon: int) -> Kinds:
    """Return which of the periods tried, and of those ahead, lie around the turn of the year."""
    unusual = unusual_periods(history, horizon)
    tried = np.stack([unusual[origin : origin + horizon] for origin in origins])
    return Kinds(tried, unusual[len(history.times) :])


def _young_residuals(history: History, horizon: int, scale: Floats) -> Floats:
    """Return what stands in for backtest residuals on a panel too short for one: steps between neighbouring values."""
    values = fill_gaps(history.values, SEASONS[history.grain][0])
    if values.shape[1] < 2:
        spread = np.where(np.isnan(values), 0.0, np.abs(values)) / scale[:, None]
        steps = np.concatenate((-spread, spread), axis=1)
    else:
        steps = np.diff(values, axis=1) / scale[:, None]
        steps = np.concatenate((steps, -steps), axis=1)
    out: Floats = np.repeat(steps.T[:, :, None], horizon, axis=2)
    return out
