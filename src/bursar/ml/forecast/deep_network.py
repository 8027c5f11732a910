"""The network of the global LSTM: what it is made of, and one function over tensors or arrays that trains and serves."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from bursar.kernel.errors import Invalid
from bursar.kernel.series import Floats
from bursar.ml.registry import Arrays

QUANTILES = (0.1, 0.5, 0.9)
CLIP = 8.0
"""Inputs and targets are held to this many deviations of their window."""

LAYERS = 2
RECENT_SEASONS = 4
SHAPE = ("last season", "recent seasons", "mean season", "a year ago", "has a year", "step")
"""What a window itself says of each period ahead, after what is known of it."""


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


def check(weights: Arrays, members: int, hidden: int) -> None:
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
