"""A global LSTM with quantile heads: trained in PyTorch (an extra), kept as arrays, served by NumPy alone.

The whole panel is one [series, time] tensor on the device; training windows are gathered there by index, so no loader
stands between the data and the network.
"""

from typing import Any, ClassVar, Self

import numpy as np

from bursar.kernel.errors import Unavailable
from bursar.kernel.series import Floats
from bursar.ml.forecast.contract import Forecaster
from bursar.ml.forecast.history import History, fill_gaps
from bursar.ml.forecast.naive import mean_where
from bursar.ml.registry import Arrays

QUANTILES = (0.1, 0.5, 0.9)
CLIP = 8.0
"""Inputs and targets are held to this many deviations of their window."""


class GlobalLstm(Forecaster):
    """One LSTM over all series; the median is the forecast.

    Args:
        horizon: Steps of the head; longer forecasts repeat its last season.
        context: Periods read back.
        hidden: Units.
        steps: Training steps.
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
        steps: int = 600,
        batch: int = 128,
        rate: float = 3e-3,
        seed: int = 0,
        device: str = "",
    ) -> None:
        self.horizon = horizon
        self.context = context
        self.hidden = hidden
        self.steps = steps
        self.batch = batch
        self.rate = rate
        self.seed = seed
        self.device = device

    def fit(self, history: History) -> Self:
        """Train, and keep the weights as arrays.

        Raises:
            Unavailable: PyTorch is not installed.
        """
        self.read(history)
        self.weights_: Arrays | None = None
        if self.values_.shape[1] >= self.context + self.horizon:
            self.weights_ = self._train()
        return self

    def read(self, history: History) -> Self:
        """Take ``history`` as what is forecast from, keeping the weights."""
        self.season_ = history.season
        self.values_ = fill_gaps(history.values, history.season)
        self.level_ = mean_where(self.values_, 1)
        return self

    def learned(self) -> Arrays:
        """Return the weights; nothing where the panel was too short to train on."""
        return self.weights_ or {}

    def install(self, learned: Arrays) -> None:
        """Take trained weights."""
        self.weights_ = dict(learned) or None

    def advance(self, history: History) -> Self:
        """Forecast from the new periods with the trained weights."""
        return self.read(history)

    def _train(self) -> Arrays:
        try:
            import torch
        except ImportError as error:
            raise Unavailable("PyTorch (install bursar[deep])") from error
        device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        generator = torch.Generator(device=device).manual_seed(self.seed)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            lstm = torch.nn.LSTM(1, self.hidden, 2, batch_first=True).to(device)
            head = torch.nn.Linear(self.hidden + self.context, self.horizon * len(QUANTILES)).to(device)
        values = np.where(np.isnan(self.values_), self.level_[:, None], self.values_)
        panel = torch.tensor(np.nan_to_num(values), dtype=torch.float32, device=device)
        span = torch.arange(self.context + self.horizon, device=device)
        last = panel.shape[1] - self.context - self.horizon
        levels = torch.tensor(QUANTILES, device=device)
        optimiser = torch.optim.Adam([*lstm.parameters(), *head.parameters()], lr=self.rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, self.rate, total_steps=self.steps)
        for _ in range(self.steps):
            row = torch.randint(len(panel), (self.batch, 1), device=device, generator=generator)
            begin = torch.randint(last + 1, (self.batch, 1), device=device, generator=generator)
            window = panel[row, begin + span]
            middle = window[:, : self.context].mean(1, keepdim=True)
            spread = window[:, : self.context].std(1, correction=0, keepdim=True)
            scaled = ((window - middle) / spread.clamp_min(1e-9)).clamp(-CLIP, CLIP)
            past, goal = scaled[:, : self.context], scaled[:, self.context :, None]
            state = lstm(past[:, :, None])[0][:, -1]
            quantiles = head(torch.cat((state, past), 1)).view(self.batch, self.horizon, len(QUANTILES))
            gap = goal - quantiles
            loss = torch.maximum(levels * gap, (levels - 1) * gap).mean()
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(lstm.parameters(), 1.0)
            optimiser.step()
            schedule.step()
        named: dict[str, Any] = {**lstm.state_dict(), "head_w": head.weight, "head_b": head.bias}
        return {name: one.detach().cpu().numpy() for name, one in named.items()}

    def quantiles(self) -> Floats:
        """Return the forecasts at ``QUANTILES``, shape (n, horizon, 3), by NumPy alone; NaN without training."""
        count = len(self.values_)
        if self.weights_ is None:
            return np.full((count, self.horizon, len(QUANTILES)), np.nan)
        past = self.values_[:, -self.context :]
        past = np.nan_to_num(np.where(np.isnan(past), self.level_[:, None], past))
        middle, spread = past.mean(axis=1, keepdims=True), past.std(axis=1, keepdims=True)
        past = np.clip((past - middle) / np.maximum(spread, 1e-9), -CLIP, CLIP)
        state = lstm_forward(self.weights_, past[:, :, None], layers=2)
        flat = np.concatenate((state, past), axis=1) @ self.weights_["head_w"].T + self.weights_["head_b"]
        ordered = np.sort(flat.reshape(count, self.horizon, -1), axis=2)
        out: Floats = ordered * spread[:, :, None] + middle[:, :, None]
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
