"""Training of the global LSTM in PyTorch: one step, computed as written or, on CUDA, captured once and replayed as a graph.

Nothing in a step asks the device for an answer: windows are drawn and gathered there, gradients are clipped there, and
the learning rate is a tensor that the schedule writes into between two steps. So the same step can be replayed.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from typing import Any

from bursar.kernel.errors import Unavailable
from bursar.ml.calendar import Bools
from bursar.ml.forecast.deep_network import CLIP, LAYERS, QUANTILES, SHAPE, Table, forward
from bursar.ml.registry import Arrays

BATCH, BATCH_CUDA = 128, 4_096
"""Windows per step, by device, where the model names none: a step of few windows leaves a large device idle."""

WARM_STEPS = 3
"""Steps computed before the capture, so that libraries have chosen their kernels and the optimiser has its state."""

BF16_SINCE = (8, 0)
"""CUDA devices from this capability on compute in bfloat16; older ones have no TF32 either and stay with float32."""

WHY_CHARS_MAX = 200
"""Of an error on a card."""

_ONE = Lock()
"""Held while training: PyTorch's seed belongs to the process, and so does a capture."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train.

    Attributes:
        season: Main season in periods.
        context: Periods read back.
        horizon: Periods ahead.
        hidden: Units.
        steps: Of each network.
        members: Networks.
        batch: Windows per step; 0 takes that of the device.
        rate: Largest learning rate of the one-cycle schedule.
        seed: Of the first network; the next has the next.
        device: ``cuda`` or ``cpu``; empty takes CUDA where present.
    """

    season: int
    context: int
    horizon: int
    hidden: int
    steps: int
    members: int
    batch: int
    rate: float
    seed: int
    device: str


@dataclass(frozen=True, slots=True)
class Trained:
    """How it was trained.

    Attributes:
        device: ``cuda`` or ``cpu``.
        precision: ``bfloat16`` or ``float32``, of the products of matrices.
        captured: Whether steps were replayed from a captured graph.
        why: Why not, on a device that could have; empty elsewhere.
        windows: Windows that each network saw.
    """

    device: str
    precision: str
    captured: bool
    why: str
    windows: int

    def __str__(self) -> str:
        """Return it as a sentence for the card."""
        how = ", steps replayed from a captured graph" if self.captured else ""
        how += f", step by step: {self.why}" if self.why else ""
        return f"trained on {self.device} in {self.precision}{how}"


def train(table: Table, live: Bools, plan: Plan) -> tuple[Arrays, Trained]:
    """Train every network.

    Args:
        table: The panel, as arrays.
        live: Shape (n, t): True where a value was observed; gaps teach nothing.
        plan: How.

    Returns:
        Weights by name, those of network m after ``m{m}.``, and how they were trained.

    Raises:
        Unavailable: PyTorch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise Unavailable("PyTorch (install bursar[deep])") from error
    device = plan.device or ("cuda" if torch.cuda.is_available() else "cpu")
    plan = replace(plan, device=device, batch=plan.batch or (BATCH_CUDA if device == "cuda" else BATCH))

    def move(array: Any) -> Any:
        kind = torch.int64 if array.dtype.kind == "i" else torch.float32
        return torch.tensor(array, dtype=kind, device=device)

    names = ("values", "year_ago", "has_year", "known", "span")
    with _ONE:
        if device == "cpu":  # as every model here: busy machines are not made busier, and sums keep their order
            torch.set_num_threads(1)
        moved = replace(table, join=torch.cat, **{name: move(getattr(table, name)) for name in names})
        seen, why = move(live), ""
        out: Arrays = {}
        for member in range(plan.members):
            one = Member(torch, moved, seen, replace(plan, seed=plan.seed + member))
            why = one.train() or why
            weights = one.net.state_dict().items()
            out |= {f"m{member}.{name}": array.detach().cpu().numpy() for name, array in weights}
    captured = one.cuda and not why
    return out, Trained(device, one.precision, captured, why, plan.steps * plan.batch)


class Member:
    """One network under training.

    Args:
        torch: The package.
        table: The panel, on the device.
        live: Shape (n, t): 1 where a value was observed, on the device.
        plan: With the device and the seed of this network.
    """

    def __init__(self, torch: Any, table: Table, live: Any, plan: Plan) -> None:
        self.torch, self.table, self.live, self.plan = torch, table, live, plan
        self.cuda = plan.device == "cuda"
        with torch.random.fork_rng():
            torch.manual_seed(plan.seed)
            self.net = network(torch, plan.season, plan.hidden, table.known.shape[1] + len(SHAPE)).to(plan.device)
        self.weights = self.net.state_dict(keep_vars=True)
        self.levels = torch.tensor(QUANTILES, device=plan.device)
        self.draw = self._generator(plan.seed)
        rate = torch.tensor(plan.rate, device=plan.device) if self.cuda else plan.rate
        self.optimiser = torch.optim.AdamW(self.net.parameters(), lr=rate, capturable=self.cuda)
        # The momentum is a number, not a tensor: a captured step would repeat the first for ever, so it stays as it is.
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, plan.rate, total_steps=plan.steps, cycle_momentum=not self.cuda
        )
        bf16 = self.cuda and torch.cuda.get_device_capability() >= BF16_SINCE
        self.precision = "bfloat16" if bf16 else "float32"

    def _generator(self, seed: int) -> Any:
        return self.torch.Generator(device=self.plan.device).manual_seed(seed)

    def _precision(self) -> AbstractContextManager[Any]:
        if self.precision == "float32":
            return nullcontext()
        # what is cast while capturing must not be kept for another step
        context: AbstractContextManager[Any] = self.torch.autocast("cuda", self.torch.bfloat16, cache_enabled=False)
        return context

    def step(self) -> None:
        """Draw windows, and move the weights down the quantile loss of what came after them."""
        torch, table, plan = self.torch, self.table, self.plan
        last = table.values.shape[1] - plan.context - plan.horizon
        drawn = partial(torch.randint, size=(plan.batch, 1), device=plan.device, generator=self.draw)
        row, begin = drawn(high=len(table.values)), drawn(high=last + 1)
        with self._precision():
            quantiles, middle, spread = forward(self.weights, table, row, begin, plan.horizon, self._encode)
        ahead = begin + table.span[plan.context :]
        goal = ((table.values[row, ahead] - middle) / spread).clip(-CLIP, CLIP)
        gap = goal[:, :, None] - quantiles
        loss = (torch.maximum(self.levels * gap, (self.levels - 1) * gap) * self.live[row, ahead][:, :, None]).mean()
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimiser.step()

    def _encode(self, inputs: Any) -> Any:
        return self.net["lstm"](inputs)[0][:, -1]

    def train(self) -> str:
        """Train; return why no graph was captured on a device that can, else nothing."""
        if self.cuda and self.plan.steps > WARM_STEPS:
            return self._replayed()
        self._stepped(self.plan.steps)
        return ""

    def _stepped(self, steps: int) -> None:
        for _ in range(steps):
            self.step()
            self.schedule.step()

    def _replayed(self) -> str:
        """Take the first steps on a side stream, capture one there, and replay it for the rest.

        Source: PyTorch's notes on CUDA semantics, whole-network capture.
        """
        cuda = self.torch.cuda
        usual, side = cuda.current_stream(), cuda.Stream()
        side.wait_stream(usual)
        with cuda.stream(side):
            self._stepped(WARM_STEPS)
        usual.wait_stream(side)
        left = self.plan.steps - WARM_STEPS
        graph = cuda.CUDAGraph()
        try:
            graph.register_generator_state(self.draw)  # each replay then goes on with the draws
            self.optimiser.zero_grad(set_to_none=True)  # gradients are to lie in the graph's own memory
            with cuda.graph(graph, stream=side):
                self.step()
        except RuntimeError as error:
            cuda.set_stream(usual)  # a capture that fails to end leaves its own behind
            self.optimiser.zero_grad(set_to_none=True)
            self.draw = self._generator(self.plan.seed + 1_000_003)  # the old one may think it is being captured
            self._stepped(left)
            met = str(error.__context__ or error).partition("\n")[0]
            return f"no graph could be captured ({met[:WHY_CHARS_MAX]})"
        for _ in range(left):
            graph.replay()
            self.schedule.step()
        return ""


def network(torch: Any, season: int, hidden: int, inputs: int) -> Any:
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
