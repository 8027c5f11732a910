"""One gradient-boosted model for all series and all horizons: every row is (series, origin, steps ahead).

Rows are gathered from cumulative sums, so a panel of any size is turned into features by array operations alone. The
target is the value, or its difference from the recent mean of the same season position, in units of the series' level.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from bursar.kernel.errors import Invalid
from bursar.kernel.period import Grain
from bursar.kernel.series import Floats, Ints, calendar
from bursar.ml.calendar import nearest_holiday
from bursar.ml.forecast.contract import Learner
from bursar.ml.forecast.history import History, fill_gaps, padded
from bursar.ml.registry import Arrays, booster_from, text_array

ROWS_MAX = 250_000
"""Training rows; drawn at random beyond that."""

ROWS_PER_VALUE = 3
"""Training rows drawn per observed value, at most."""

PREDICT_ROWS = 400_000
CYCLES = (1, 2, 3, 4)
WINDOWS = (7, 28, 91)
HISTORY_LEAST = 56
"""Periods before the first training origin; fewer periods than this in all cannot train the model."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """Filled values with their cumulative sums, so that a mean over any window is two reads."""

    values: Floats
    sums: Floats
    counts: Floats
    season_sums: Floats
    season_counts: Floats
    season: int

    @classmethod
    def of(cls, values: Floats, season: int) -> "Lookup":
        """Build the sums of ``values`` (n, t), along time and along equal season positions."""
        live = ~np.isnan(values)
        zeroed = np.where(live, values, 0.0)

        def running(data: Floats, step: int) -> Floats:
            out = np.zeros((len(data), data.shape[1] + step))
            out[:, step:] = data
            for at in range(step):
                np.cumsum(out[:, at::step], axis=1, out=out[:, at::step])
            return out

        return cls(
            values,
            running(zeroed, 1),
            running(live.astype(float), 1),
            running(zeroed, season),
            running(live.astype(float), season),
            season,
        )

    def mean(self, row: Ints, end: Ints, width: int) -> Floats:
        """Return the mean of the ``width`` values before column ``end``; NaN where there is none."""
        start = np.maximum(end - width, 0)
        count = self.counts[row, end] - self.counts[row, start]
        total = self.sums[row, end] - self.sums[row, start]
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def season_mean(self, row: Ints, last: Ints, cycles: int) -> Floats:
        """Return the mean of column ``last`` and the same position in the ``cycles`` - 1 seasons before."""
        end = last + self.season
        start = np.maximum(end - cycles * self.season, end % self.season)
        count = self.season_counts[row, end] - self.season_counts[row, start]
        total = self.season_sums[row, end] - self.season_sums[row, start]
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def at(self, row: Ints, column: Ints) -> Floats:
        """Return single values; NaN before the first column."""
        out: Floats = np.where(column >= 0, self.values[row, np.maximum(column, 0)], np.nan)
        return out


def features(lookup: Lookup, dates: Floats, row: Ints, origin: Ints, step: Ints) -> tuple[Floats, Floats, Floats]:
    """Return the features, the base and the unit of rows (series, origin, step).

    Args:
        lookup: Of the history.
        dates: Shape (t + horizon, d): what is known of each period.
        row: Shape (r,): series.
        origin: Shape (r,): columns before this one are known.
        step: Shape (r,): periods ahead, from 1.

    Returns:
        Float32 features (r, f), the base (r,) the seasonal target is measured from, and the unit (r,).
    """
    season = lookup.season
    target = origin + step - 1
    last = target - season * (-(-step // season))
    unit = lookup.mean(row, origin, 91)
    deviation = lookup.season_mean(row, np.maximum(last, 0), 8)
    unit = np.maximum(np.abs(np.nan_to_num(unit)), 0.05 * np.abs(np.nan_to_num(deviation)))
    whole = lookup.mean(row, origin, lookup.values.shape[1])
    unit = np.maximum(np.where(unit > 0, unit, np.abs(np.nan_to_num(whole))), 1e-9)
    base = lookup.season_mean(row, np.maximum(last, 0), 8)
    level = lookup.mean(row, origin, 28)
    base = np.where(np.isnan(base) | (last < 0), level, base)
    base = np.where(np.isnan(base), np.nan_to_num(whole), base)
    columns = [step.astype(float), np.log1p(np.minimum(origin, 400))]
    columns += [(lookup.at(row, last - season * (cycle - 1)) - base) / unit for cycle in CYCLES]
    columns += [(lookup.season_mean(row, np.maximum(last, 0), cycles) - base) / unit for cycles in (4, 13)]
    columns += [(lookup.mean(row, origin, width) - base) / unit for width in WINDOWS]
    columns += [
        (lookup.at(row, origin - back) - lookup.season_mean(row, np.maximum(origin - back - season, 0), 4)) / unit
        for back in (1, 2)
    ]
    year = target - 364 * (-(-step // 364))  # whole years back, so that a step beyond a year stays before the origin
    near = lookup.season_mean(row, np.maximum(year, 0), 1)
    then = lookup.mean(row, np.clip(year + 4, 0, origin), 7)
    before = lookup.mean(row, np.maximum(origin - 364, 0), 28)
    columns += [np.where(year >= 0, near - then, np.nan) / unit]
    columns += [np.where(origin >= 364 + 28, then - before, np.nan) / unit, base / unit]
    table = np.concatenate((np.stack(columns, axis=1), dates[target]), axis=1)
    return table.astype(np.float32), base, unit


def date_features(history: History, horizon: int) -> Floats:
    """Return position in season, month, year and between holidays, and the known effects, shape (t + horizon, d)."""
    width = len(history.times)
    times = calendar(history.times[0], history.grain, width + horizon)
    days = times.astype("datetime64[D]")
    month_day = (days - days.astype("datetime64[M]").astype("datetime64[D]")).astype(float)
    year_day = (days - days.astype("datetime64[Y]").astype("datetime64[D]")).astype(float)
    weekday = ((days.astype(np.int64) + 3) % 7).astype(float)
    columns = [weekday, month_day, year_day]
    if history.grain is Grain.HOUR:
        columns.append((times.astype(np.int64) % 24).astype(float))
    if history.grain in {Grain.DAY, Grain.HOUR}:
        columns.append(nearest_holiday(padded(history.near, width + horizon), history.near_names))
    return np.concatenate((np.stack(columns, axis=1), padded(history.known, width + horizon)), axis=1)


class GlobalTrees(Learner):
    """LightGBM over all series.

    Args:
        horizon: Longest step trained for; longer forecasts repeat the last season of it.
        difference: Whether the target is measured from the seasonal base (else the value itself).
        objective: ``l1`` for spiky series, ``l2`` for smooth ones.
        rounds: Boosting rounds.
        seed: Of the drawn rows and of LightGBM.
        rows_max: Training rows.
        leaves: Leaves of a tree.
        rate: Learning rate.
        retrain: Whether a backtest trains anew at every origin; else once, on what precedes the first.
    """

    name: ClassVar[str] = "trees"

    def __init__(
        self,
        *,
        horizon: int,
        difference: bool = True,
        objective: str = "l1",
        rounds: int = 200,
        seed: int = 0,
        rows_max: int = ROWS_MAX,
        leaves: int = 63,
        rate: float = 0.05,
        retrain: bool = True,
    ) -> None:
        self.horizon = horizon
        self.difference = difference
        self.objective = objective
        self.rounds = rounds
        self.seed = seed
        self.rows_max = rows_max
        self.leaves = leaves
        self.rate = rate
        self.retrain = retrain

    def fit(self, history: History) -> Self:
        """Draw training rows from the history and boost; a panel too short to train falls back to the base."""
        self.read(history)
        self.model_ = self._train(history)
        return self

    def learned(self) -> Arrays:
        """Return the booster's text form as bytes; no bytes where the panel was too short to train on."""
        text = "" if self.model_ is None else self.model_.model_to_string()
        return {"text": text_array(text)}

    def install(self, learned: Arrays) -> None:
        """Take a booster from its text form."""
        if "text" not in learned:
            raise Invalid(f"what {self.name} learned is not there")
        content = learned["text"].tobytes()
        self.model_ = booster_from(content) if content else None

    def read(self, history: History) -> Self:
        """Take ``history`` as the values to forecast from, keeping the trained model."""
        self.history_ = history
        self.values_ = fill_gaps(history.values, history.season)
        self.lookup_ = Lookup.of(self.values_, history.season)
        self.dates_ = date_features(history, self.horizon)
        return self

    def _train(self, history: History) -> Any:
        """Return the booster, or None when no series is long enough."""
        count, width = self.values_.shape
        horizon = min(self.horizon, max(1, width // 4))
        earliest = min(HISTORY_LEAST, max(2 * history.season, 8))
        if width < earliest + horizon:
            return None
        import lightgbm

        rng = np.random.default_rng(self.seed)
        observed = int((~np.isnan(history.values)).sum())
        wanted = min(self.rows_max, ROWS_PER_VALUE * observed)
        row = rng.integers(0, count, wanted)
        origin = rng.integers(earliest, width - horizon + 1, wanted)
        step = rng.integers(1, horizon + 1, wanted)
        actual = history.values[row, origin + step - 1]
        seen = self.lookup_.counts[row, origin] >= earliest
        keep = ~np.isnan(actual) & seen
        row, origin, step, actual = row[keep], origin[keep], step[keep], actual[keep]
        if len(row) < 200:
            return None
        table, base, unit = features(self.lookup_, self.dates_, row, origin, step)
        goal = (actual - (base if self.difference else 0.0)) / unit
        goal = np.clip(goal, -50.0, 50.0)
        options = {
            "objective": self.objective,
            "learning_rate": self.rate,
            "num_leaves": self.leaves,
            "min_data_in_leaf": 100,
            "feature_fraction": 0.7,
            "bagging_fraction": 0.7,
            "bagging_freq": 1,
            "verbosity": -1,
            "seed": self.seed,
            "deterministic": True,
            "force_row_wise": True,
            "max_bin": 127,
            "lambda_l2": 1.0,
            "num_threads": 1,
        }
        return lightgbm.train(options, lightgbm.Dataset(table, goal), num_boost_round=self.rounds)

    def predict(self, horizon: int) -> Floats:
        """Forecast every series and step in batches."""
        steps = min(horizon, self.horizon)
        count, width = self.values_.shape
        out = np.empty((count, steps))
        batch = max(1, PREDICT_ROWS // steps)
        for lo in range(0, count, batch):
            rows = np.arange(lo, min(lo + batch, count))
            row = np.repeat(rows, steps)
            step = np.tile(np.arange(1, steps + 1), len(rows))
            table, base, unit = features(self.lookup_, self.dates_, row, np.full(len(row), width), step)
            guess = 0.0 if self.difference else base / unit
            if self.model_ is not None:
                guess = self.model_.predict(table, num_threads=1)
            forecast = guess * unit + (base if self.difference else 0.0)
            out[rows] = forecast.reshape(len(rows), steps)
        out[self.lookup_.counts[:, -1] == 0] = np.nan
        if horizon > steps:
            season = self.history_.season
            tail = out[:, -season:] if steps >= season else out
            extra = np.tile(tail, (1, -(-(horizon - steps) // tail.shape[1])))
            out = np.concatenate((out, extra[:, : horizon - steps]), axis=1)
        return out
