"""A global LSTM with quantile heads: trained in PyTorch (an extra), kept as arrays, served by NumPy alone.

The whole panel is one [series, time] tensor on the device; training windows are gathered there by index, so no loader
stands between the data and the network. A window is scaled by its own mean and spread and read one season at a time;
what is known of each period ahead (place in season and year, holidays, the year before) then corrects its mean season.
A few networks are averaged. One function, over tensors or arrays, trains and serves.
"""

from functools import partial
from typing import ClassVar, Self

import numpy as np

from bursar.kernel.errors import Invalid
from bursar.kernel.period import Grain
from bursar.kernel.series import Floats, calendar
from bursar.ml.forecast.contract import Learner
from bursar.ml.forecast.deep_network import LAYERS, QUANTILES, SHAPE, Table, check, forward, lstm_forward
from bursar.ml.forecast.deep_training import Plan, Trained, train
from bursar.ml.forecast.history import YEAR_PERIODS, History, fill_gaps, padded
from bursar.ml.forecast.naive import mean_where
from bursar.ml.forecast.regression import YEAR_DAYS, season_position
from bursar.ml.registry import Arrays, array_text, text_array

FORMAT = 2
"""Of the weights; others are refused."""

YEAR_PAIRS = 2
"""Sine and cosine pairs of the year."""


BLOCK = 128
"""Series served at a time: what is computed for them fits into a processor's cache."""

_SEPARATOR = "\0"


class GlobalLstm(Learner):
    """One LSTM over all series; the median is the forecast.

    Args:
        horizon: Steps of the head; longer forecasts repeat its last season.
        context: Periods read back, rounded to whole seasons.
        hidden: Units.
        steps: Training steps of each network.
        members: Networks that are averaged.
        batch: Windows per step; 0 takes what suits the device.
        rate: Largest learning rate of the one-cycle schedule.
        seed: Of weights and windows.
        device: ``cuda`` or ``cpu``; empty takes CUDA where present.
        retrain: Whether a backtest trains anew at every origin; else once, on what precedes the first.

    Attributes:
        trained_: How the last fit trained; None where it did not.
    """

    name: ClassVar[str] = "lstm"

    def __init__(
        self,
        *,
        horizon: int,
        context: int = 112,
        hidden: int = 64,
        steps: int = 300,
        members: int = 4,
        batch: int = 0,
        rate: float = 3e-3,
        seed: int = 0,
        device: str = "",
        retrain: bool = True,
    ) -> None:
        self.horizon = horizon
        self.context = context
        self.hidden = hidden
        self.steps = steps
        self.members = members
        self.batch = batch
        self.rate = rate
        self.seed = seed
        self.device = device
        self.retrain = retrain

    def fit(self, history: History) -> Self:
        """Train, and keep the weights as arrays.

        Raises:
            Unavailable: PyTorch is not installed.
        """
        self.weights_: Arrays | None = None
        self.trained_: Trained | None = None
        self.near_names_: tuple[str, ...] = history.near_names
        self.read(history)
        if self.values_.shape[1] >= self.context_ + self.horizon:
            plan = Plan(
                self.season_,
                self.context_,
                self.horizon,
                self.hidden,
                self.steps,
                self.members,
                self.batch,
                self.rate,
                self.seed,
                self.device,
            )
            self.weights_, self.trained_ = train(self.table_, ~np.isnan(history.values), plan)
        return self

    def told(self) -> tuple[str, ...]:
        """Return how it was trained."""
        if self.trained_ is not None:
            return (str(self.trained_),)
        return () if self.weights_ is not None else ("too few periods to train on, it repeats the level",)

    def read(self, history: History) -> Self:
        """Take ``history`` as what is forecast from, keeping the weights.

        Raises:
            Invalid: The weights were trained on another calendar.
        """
        self.season_ = history.season
        self.context_ = history.season * max(1, self.context // history.season)
        self.values_ = fill_gaps(history.values, history.season)
        self.level_ = mean_where(self.values_, 1)
        self.table_ = self._table(history)
        if self.weights_ is not None:
            trained = (self.weights_["m0.lstm.weight_ih_l0"].shape[1], self.weights_["m0.plain.weight"].shape[1])
            if trained != (self.season_, self.table_.known.shape[1] + len(SHAPE)):
                raise Invalid("the network was trained on another calendar", "Train anew.")
        return self

    def learned(self) -> Arrays:
        """Return the weights; nothing where the panel was too short to train on."""
        if self.weights_ is None:
            return {}
        names = text_array(_SEPARATOR.join(self.near_names_))
        return {**self.weights_, "near_names": names, "format": np.array(self._format())}

    def _format(self) -> list[int]:
        """Return what weights must agree on with their model."""
        return [FORMAT, self.horizon, self.context, self.members, self.hidden]

    def install(self, learned: Arrays) -> None:
        """Take trained weights.

        Raises:
            Invalid: They are of another version or shape, or not numbers.
        """
        self.weights_, self.trained_ = None, None
        self.near_names_ = ()
        if not learned:
            return
        weights = dict(learned)
        stamp, names = weights.pop("format", np.array([1])), weights.pop("near_names", None)
        if stamp.tolist() != self._format() or names is None:
            raise Invalid("the network is of another version or size", "Train anew.")
        check(weights, self.members, self.hidden)
        self.near_names_ = tuple(one for one in array_text(names).split(_SEPARATOR) if one)
        self.weights_ = weights

    def _table(self, history: History) -> Table:
        """Lay out what training and serving read."""
        values = np.nan_to_num(np.where(np.isnan(self.values_), self.level_[:, None], self.values_))
        length = values.shape[1] + self.horizon
        year_ago, has_year = _year_ago(values, self.horizon, history.grain, self.season_)
        times = calendar(history.times[0], history.grain, length)
        columns = [season_position(times, self.season_, history.grain), padded(history.known, length)]
        place = {name: column for column, name in enumerate(history.near_names)}
        near = padded(history.near, length)
        columns += [near[:, [place[name]]] if name in place else np.zeros((length, 1)) for name in self.near_names_]
        day = (times.astype("datetime64[D]") - times.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.float64)
        angle = 2 * np.pi * day[:, None] / YEAR_DAYS * np.arange(1, YEAR_PAIRS + 1)
        known = np.concatenate((*columns, np.sin(angle), np.cos(angle)), axis=1)
        return Table(values, year_ago, has_year, known, np.arange(self.context_ + self.horizon), np.concatenate)

    def quantiles(self) -> Floats:
        """Return the forecasts at ``QUANTILES``, shape (n, horizon, 3), by NumPy alone; NaN without training."""
        count, width = self.values_.shape
        if self.weights_ is None or width < self.context_:
            return np.full((count, self.horizon, len(QUANTILES)), np.nan)
        total = np.zeros((count, self.horizon, len(QUANTILES)))
        for member in range(self.members):
            weights = _under(self.weights_, f"m{member}.")
            encode = partial(lstm_forward, _under(weights, "lstm."), layers=LAYERS)
            for low in range(0, count, BLOCK):
                row = np.arange(low, min(low + BLOCK, count))[:, None]
                begin = np.full_like(row, width - self.context_)
                quantiles, middle, spread = forward(weights, self.table_, row, begin, self.horizon, encode)
                total[row[:, 0]] += quantiles * spread[:, :, None] + middle[:, :, None]
        out: Floats = np.sort(total / self.members, axis=2)
        return out

    def predict(self, horizon: int) -> Floats:
        """Return the median; the level where the panel is too short to train on."""
        median = self.quantiles()[:, :, 1]
        median = np.where(np.isnan(median), self.level_[:, None], median)
        median[np.isnan(self.level_)] = np.nan
        if horizon > self.horizon:
            tail = median[:, -self.season_ :]
            more = np.tile(tail, (1, -(-(horizon - self.horizon) // tail.shape[1])))
            median = np.concatenate((median, more), axis=1)
        return median[:, :horizon]


def _year_ago(values: Floats, horizon: int, grain: Grain, season: int) -> tuple[Floats, Floats]:
    """Return the mean of the same place in up to three seasons a year before each period, and 1 where it is known.

    Args:
        values: Shape (n, t), without gaps.
        horizon: Periods after the last to look up too; where some were not seen when forecast, none are known.
        grain: The calendar.
        season: Main season in periods.

    Returns:
        Shapes (n, t + horizon), 0 where unknown, and (t + horizon,).
    """
    year = YEAR_PERIODS[grain]
    lags = (year - season, year, year + season) if season < year else (year,)
    length = values.shape[1] + horizon
    out, known = np.zeros((len(values), length)), np.zeros(length)
    begin = lags[-1]
    if horizon <= lags[0] and begin < length:
        out[:, begin:] = sum(values[:, begin - lag : length - lag] for lag in lags) / len(lags)
        known[begin:] = 1.0
    return out, known


def _under(arrays: Arrays, prefix: str) -> Arrays:
    """Return the arrays whose names start with ``prefix``, without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
