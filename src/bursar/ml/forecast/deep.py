"""A global LSTM with quantile heads: trained in PyTorch (an extra), kept as arrays, served by NumPy alone.

The whole panel is one [series, time] tensor on the device; training windows are gathered there by index, so no loader
stands between the data and the network. A window is scaled by its own mean and spread and read one season at a time;
what is known of each period ahead (place in season and year, holidays, the year before) then corrects its mean season.
A few networks are averaged. One function, over tensors or arrays, trains and serves.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np

from bursar.kernel.errors import Invalid, Unavailable
from bursar.kernel.period import Grain
from bursar.kernel.series import Floats, calendar
from bursar.ml.forecast.contract import Forecaster
from bursar.ml.forecast.history import YEAR_PERIODS, History, fill_gaps, padded
from bursar.ml.forecast.naive import mean_where
from bursar.ml.forecast.regression import YEAR_DAYS, season_position
from bursar.ml.registry import Arrays, array_text, text_array

QUANTILES = (0.1, 0.5, 0.9)
CLIP = 8.0
"""Inputs and targets are held to this many deviations of their window."""

LAYERS = 2
FORMAT = 2
"""Of the weights; others are refused."""

YEAR_PAIRS = 2
"""Sine and cosine pairs of the year."""

RECENT_SEASONS = 4
_SHAPE = ("last season", "recent seasons", "mean season", "a year ago", "has a year", "step")
"""What a window itself says of each period ahead, after what is known of it."""

_SEPARATOR = "\0"


@dataclass(frozen=True, slots=True)
class Table:
    """A panel on one device, as tensors or as arrays.

    Attributes:
        values: Shape (n, t), without gaps.
        year_ago: Shape (n, t + horizon): the mean around the same period of the year before; 0 where unknown.
        has_year: Shape (t + horizon,): 1 where ``year_ago`` is known.
        known: Shape (t + horizon, k): of each period.
        span: Shape (context + horizon,): 0, 1, 2 and so on.
        join: Concatenates arrays of this kind along an axis.
    """

    values: Any
    year_ago: Any
    has_year: Any
    known: Any
    span: Any
    join: Any


class GlobalLstm(Forecaster):
    """One LSTM over all series; the median is the forecast.

    Args:
        horizon: Steps of the head; longer forecasts repeat its last season.
        context: Periods read back, rounded to whole seasons.
        hidden: Units.
        steps: Training steps of each network.
        members: Networks that are averaged.
        batch: Windows per step.
        rate: Largest learning rate of the one-cycle schedule.
        seed: Of weights and windows.
        device: ``cuda`` or ``cpu``; empty takes CUDA where present.
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
        batch: int = 128,
        rate: float = 3e-3,
        seed: int = 0,
        device: str = "",
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

    def fit(self, history: History) -> Self:
        """Train, and keep the weights as arrays.

        Raises:
            Unavailable: PyTorch is not installed.
        """
        self.weights_: Arrays | None = None
        self.near_names_ = history.near_names
        self.read(history)
        if self.values_.shape[1] >= self.context_ + self.horizon:
            self.weights_ = self._train(history)
        return self

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
            if trained != (self.season_, self.table_.known.shape[1] + len(_SHAPE)):
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
        self.weights_ = None
        if not learned:
            return
        weights = dict(learned)
        stamp, names = weights.pop("format", np.array([1])), weights.pop("near_names", None)
        if stamp.tolist() != self._format() or names is None:
            raise Invalid("the network is of another version or size", "Train anew.")
        _check(weights, self.members, self.hidden)
        self.near_names_ = tuple(one for one in array_text(names).split(_SEPARATOR) if one)
        self.weights_ = weights

    def advance(self, history: History) -> Self:
        """Forecast from the new periods with the trained weights."""
        return self.read(history)

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

    def _train(self, history: History) -> Arrays:
        try:
            import torch
        except ImportError as error:
            raise Unavailable("PyTorch (install bursar[deep])") from error
        device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")

        def move(array: Any) -> Any:
            kind = torch.int64 if array.dtype.kind == "i" else torch.float32
            return torch.tensor(array, dtype=kind, device=device)

        arrays = ("values", "year_ago", "has_year", "known", "span")
        table = replace(self.table_, join=torch.cat, **{name: move(getattr(self.table_, name)) for name in arrays})
        live = move(~np.isnan(history.values))
        out: Arrays = {}
        for member in range(self.members):
            net = self._member(torch, table, live, self.seed + member)
            out |= {f"m{member}.{name}": one.detach().cpu().numpy() for name, one in net.state_dict().items()}
        return out

    def _member(self, torch: Any, table: Table, live: Any, seed: int) -> Any:
        """Train one network on windows drawn with ``seed``; gaps teach nothing."""
        device = table.values.device
        generator = torch.Generator(device=device).manual_seed(seed)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            net = _network(torch, self.season_, self.hidden, table.known.shape[1] + len(_SHAPE)).to(device)
        weights = net.state_dict(keep_vars=True)

        def encode(inputs: Any) -> Any:
            return net["lstm"](inputs)[0][:, -1]

        levels = torch.tensor(QUANTILES, device=device)
        optimiser = torch.optim.AdamW(net.parameters(), lr=self.rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, self.rate, total_steps=self.steps)
        last = table.values.shape[1] - self.context_ - self.horizon
        for _ in range(self.steps):
            row = torch.randint(len(table.values), (self.batch, 1), device=device, generator=generator)
            begin = torch.randint(last + 1, (self.batch, 1), device=device, generator=generator)
            quantiles, middle, spread = forward(weights, table, row, begin, self.horizon, encode)
            ahead = begin + table.span[self.context_ :]
            goal = ((table.values[row, ahead] - middle) / spread).clip(-CLIP, CLIP)
            gap = goal[:, :, None] - quantiles
            loss = (torch.maximum(levels * gap, (levels - 1) * gap) * live[row, ahead][:, :, None]).mean()
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            schedule.step()
        return net

    def quantiles(self) -> Floats:
        """Return the forecasts at ``QUANTILES``, shape (n, horizon, 3), by NumPy alone; NaN without training."""
        count, width = self.values_.shape
        if self.weights_ is None or width < self.context_:
            return np.full((count, self.horizon, len(QUANTILES)), np.nan)
        row, begin = np.arange(count)[:, None], np.full((count, 1), width - self.context_)
        total = np.zeros((count, self.horizon, len(QUANTILES)))
        for member in range(self.members):
            weights = _under(self.weights_, f"m{member}.")
            encode = partial(lstm_forward, _under(weights, "lstm."), layers=LAYERS)
            quantiles, middle, spread = forward(weights, self.table_, row, begin, self.horizon, encode)
            total += quantiles * spread[:, :, None] + middle[:, :, None]
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


def forward(weights: Any, table: Table, row: Any, begin: Any, horizon: int, encode: Any) -> tuple[Any, Any, Any]:
    """Return scaled quantiles (b, horizon, 3), and middle and spread (b, 1) of windows.

    Args:
        weights: Of one network by name, of the kind of ``table``.
        table: The panel.
        row: Shape (b, 1): its series.
        begin: Shape (b, 1): first periods of the windows.
        horizon: Periods ahead.
        encode: Returns the last hidden state (b, hidden) of scaled seasons (b, seasons, season).
    """
    context, season = len(table.span) - horizon, weights["lstm.weight_ih_l0"].shape[1]
    ahead = begin + table.span[context:]
    past = table.values[row, begin + table.span[:context]]
    middle = past.mean(axis=1, keepdims=True)
    spread = (((past - middle) ** 2).mean(axis=1, keepdims=True) ** 0.5).clip(1e-9)
    seasons = ((past - middle) / spread).clip(-CLIP, CLIP).reshape(len(past), -1, season)
    at = table.span[:horizon] % season
    usual = seasons.mean(axis=1)[:, at]
    earlier = table.year_ago[row, begin + table.span[:context]].mean(axis=1, keepdims=True)
    has_year = table.has_year[begin]
    year_ago = ((table.year_ago[row, ahead] - earlier) / spread).clip(-CLIP, CLIP) * has_year
    nothing = year_ago * 0
    shape = (
        seasons[:, -1][:, at],
        seasons[:, -RECENT_SEASONS:].mean(axis=1)[:, at],
        usual,
        year_ago,
        nothing + has_year,
        nothing + table.span[:horizon] / horizon,
    )
    inputs = table.join((table.known[ahead], *(one[:, :, None] for one in shape)), 2)
    state = encode(seasons) @ weights["state.weight"].T
    first = (inputs @ weights["ahead.weight"].T + weights["ahead.bias"] + state[:, None]).clip(0)
    second = (first @ weights["inner.weight"].T + weights["inner.bias"]).clip(0)
    change = second @ weights["change.weight"].T + weights["change.bias"] + inputs @ weights["plain.weight"].T
    return change + usual[:, :, None], middle, spread


def _network(torch: Any, season: int, hidden: int, inputs: int) -> Any:
    """Return fresh layers; the straight way from inputs to quantiles starts at nothing."""
    linear = torch.nn.Linear
    net = torch.nn.ModuleDict(
        {
            "lstm": torch.nn.LSTM(season, hidden, LAYERS, batch_first=True),
            "state": linear(hidden, hidden, bias=False),
            "ahead": linear(inputs, hidden),
            "inner": linear(hidden, hidden),
            "change": linear(hidden, len(QUANTILES)),
            "plain": linear(inputs, len(QUANTILES), bias=False),
        }
    )
    torch.nn.init.zeros_(net["plain"].weight)
    return net


def _check(weights: Arrays, members: int, hidden: int) -> None:
    """Refuse weights that are not those of ``members`` networks of ``hidden`` units.

    Raises:
        Invalid: They are not.
    """
    sizes = {name: (array.shape or (0,))[-1] for name, array in weights.items()}
    inputs, first = (sizes.get(f"m0.{name}", 0) for name in ("plain.weight", "lstm.weight_ih_l0"))
    gates, heads = 4 * hidden, len(QUANTILES)
    one: dict[str, tuple[int, ...]] = {
        "state.weight": (hidden, hidden),
        "ahead.weight": (hidden, inputs),
        "ahead.bias": (hidden,),
        "inner.weight": (hidden, hidden),
        "inner.bias": (hidden,),
        "change.weight": (heads, hidden),
        "change.bias": (heads,),
        "plain.weight": (heads, inputs),
    }
    for layer in range(LAYERS):
        one[f"lstm.weight_ih_l{layer}"] = (gates, hidden if layer else first)
        one[f"lstm.weight_hh_l{layer}"] = (gates, hidden)
        one |= {f"lstm.bias_{side}_l{layer}": (gates,) for side in ("ih", "hh")}
    wanted = {f"m{member}.{name}": shape for member in range(members) for name, shape in one.items()}
    if {name: array.shape for name, array in weights.items()} != wanted:
        raise Invalid("the network is not of this shape", "Train anew.")
    if not all(np.isfinite(array).all() for array in weights.values()):
        raise Invalid("the network holds something other than finite numbers", "Train anew.")


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


def lstm_forward(weights: Arrays, inputs: Floats, *, layers: int) -> Floats:
    """Return the last hidden state (n, hidden) of an LSTM over inputs (n, t, features).

    Source: Hochreiter and Schmidhuber (1997), gates in PyTorch's order: input, forget, cell, output.
    """
    sequence = inputs.transpose(1, 0, 2)
    for layer in range(layers):
        into, across = weights[f"weight_ih_l{layer}"], weights[f"weight_hh_l{layer}"]
        bias = weights[f"bias_ih_l{layer}"] + weights[f"bias_hh_l{layer}"]
        hidden = np.zeros((sequence.shape[1], across.shape[1]))
        cell = np.zeros_like(hidden)
        out = np.empty((len(sequence), *hidden.shape))
        for at, step in enumerate(sequence):
            gates = step @ into.T + hidden @ across.T + bias
            enter, forget, fresh, leave = np.split(gates, 4, axis=1)
            cell = _sigmoid(forget) * cell + _sigmoid(enter) * np.tanh(fresh)
            hidden = _sigmoid(leave) * np.tanh(cell)
            out[at] = hidden
        sequence = out
    last: Floats = sequence[-1]
    return last


def _sigmoid(values: Floats) -> Floats:
    out: Floats = 0.5 * (1.0 + np.tanh(0.5 * values))
    return out
