"""How much to commit to: the level with the least expected cost over forecast scenarios, with its regret shown.

A commitment of ``level`` dollars an hour is paid every hour and covers usage in the order of the deepest discount first, as
providers apply it; the rest is paid on demand. The expected cost is convex in the level, so its minimum is where the slope
changes sign, found by bisection on whole arrays.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

HOURS_A_MONTH = 730
HOURS_A_YEAR = 12 * HOURS_A_MONTH
STEPS = 60
CELLS_MAX = 50_000_000
"""Scenario-hours times SKUs: the memory of one plan, 8 bytes each."""

QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True, slots=True)
class Offer:
    """What can be committed to: for each SKU the on-demand price and the committed price of one unit for an hour."""

    on_demand: Floats
    committed: Floats


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a commitment does in one scenario, per hour.

    Attributes:
        quantile: The scenario's rank by total demand.
        demand: What the scenario costs without any commitment.
        best: The level that would be best for it alone.
        saving: What the chosen level saves; negative where it loses.
        regret: Cost above that of ``best``.
    """

    quantile: float
    demand: float
    best: float
    saving: float
    regret: float


@dataclass(frozen=True, slots=True)
class Plan:
    """A commitment and what it does over all scenarios, in the prices' currency per hour.

    Attributes:
        level: Commitment per hour.
        cost: Expected cost per hour with it.
        on_demand: Expected cost per hour without any.
        coverage: Share of on-demand-equivalent cost that it covers.
        utilisation: Share of it that is used.
        savings_rate: Effective savings rate: saving over on-demand-equivalent cost.
        break_even: Utilisation below which it loses money.
        outcomes: What it does in the 10, 50 and 90 % scenarios by total demand.
        ladder: Equal tranches to buy a month apart; their sum is ``level``.
    """

    level: float
    cost: float
    on_demand: float
    coverage: float
    utilisation: float
    savings_rate: float
    break_even: float
    outcomes: tuple[Outcome, ...]
    ladder: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Stack:
    """Usage per hour stacked from the deepest discount: cumulated committed and on-demand cost."""

    committed: Floats
    on_demand: Floats
    ratio: Floats

    def cost(self, level: float) -> Floats:
        """Return the cost of each hour at ``level``."""
        return level + self.on_demand[:, -1] - self.covered(level)

    def covered(self, level: float) -> Floats:
        """Return the on-demand-equivalent cost that ``level`` covers in each hour."""
        if not len(self.ratio):
            return np.zeros(len(self.committed))
        depth = (self.committed <= level).sum(axis=1) - 1
        rows = np.arange(len(depth))
        full = self.on_demand[rows, depth]
        following = np.minimum(depth, len(self.ratio) - 1)
        rest = np.where(depth < len(self.ratio), level - self.committed[rows, depth], 0.0)
        return np.asarray(full + rest * self.ratio[following], dtype=np.float64)

    def slope(self, level: float) -> float:
        """Return the change of total cost per hour for one more unit of commitment."""
        depth = (self.committed <= level).sum(axis=1) - 1
        worth = np.where(depth < len(self.ratio), self.ratio[np.minimum(depth, len(self.ratio) - 1)], 0.0)
        return float(1.0 - worth.mean())


def _stacked(demand: Floats, offer: Offer) -> _Stack:
    useful = offer.committed < offer.on_demand
    ratio = offer.on_demand[useful] / offer.committed[useful]
    order = np.argsort(-ratio, kind="stable")
    units = demand[:, useful][:, order]
    zero = np.zeros((len(demand), 1))
    committed = np.concatenate([zero, np.cumsum(units * offer.committed[useful][order], axis=1)], axis=1)
    covered = np.concatenate([zero, np.cumsum(units * offer.on_demand[useful][order], axis=1)], axis=1)
    return _Stack(committed, covered, ratio[order])


def best_level(demand: Floats, offer: Offer) -> float:
    """Return the commitment per hour with the least mean cost.

    Args:
        demand: Shape (hours, skus): units used; hours of all scenarios below each other. Finite, non-negative.
        offer: Prices, shape (skus,).

    Returns:
        The level, in the prices' currency per hour; 0 when nothing is cheaper committed.

    Raises:
        ValueError: Shapes do not fit, or a value is negative or not finite.
    """
    _check(demand, offer)
    stack = _stacked(demand, offer)
    return _minimum(stack)


def _minimum(stack: _Stack) -> float:
    if not len(stack.ratio) or not len(stack.committed):
        return 0.0
    low, high = 0.0, float(stack.committed[:, -1].max())
    if stack.slope(low) >= 0:
        return low
    for _ in range(STEPS):
        middle = (low + high) / 2
        if stack.slope(middle) < 0:
            low = middle
        else:
            high = middle
    return high


def _check(demand: Floats, offer: Offer) -> None:
    if demand.ndim != 2 or demand.shape[1] != len(offer.on_demand) or len(offer.on_demand) != len(offer.committed):
        message = "demand must be hours by SKUs, with one on-demand and one committed price per SKU"
        raise ValueError(message)
    if demand.size > CELLS_MAX:
        message = f"more than {CELLS_MAX} scenario-hours times SKUs"
        raise ValueError(message)
    if not (np.isfinite(demand).all() and (demand >= 0).all()):
        message = "demand must be finite and not negative"
        raise ValueError(message)


def plan(scenarios: Floats, offer: Offer, *, held: float = 0.0, tranches: int = 4) -> Plan:
    """Choose a commitment over forecast scenarios.

    Args:
        scenarios: Shape (scenarios, hours, skus): units used in each hour of each equally likely scenario.
        offer: Prices, shape (skus,).
        held: Commitment per hour held already; the plan is what to have in addition.
        tranches: Purchases the level is laddered into, a month apart.

    Returns:
        The plan; ``level`` is the addition.

    Raises:
        ValueError: Shapes do not fit or a value is negative or not finite.
    """
    count, hours, skus = scenarios.shape
    flat = scenarios.reshape(count * hours, skus)
    _check(flat, offer)
    stack = _stacked(flat, offer)
    wanted = max(_minimum(stack), held)
    plain = float((flat @ offer.on_demand).mean())
    covered = float(stack.covered(wanted).mean())
    uncoverable = plain - float(stack.on_demand[:, -1].mean())
    cost = float(stack.cost(wanted).mean()) + uncoverable
    used = np.minimum(stack.committed[:, -1], wanted).mean()
    average_ratio = covered / float(used) if used else 0.0
    level = wanted - held
    return Plan(
        level=level,
        cost=cost,
        on_demand=plain,
        coverage=covered / plain if plain else 0.0,
        utilisation=float(used) / wanted if wanted else 0.0,
        savings_rate=(plain - cost) / plain if plain else 0.0,
        break_even=1 / average_ratio if average_ratio else 1.0,
        outcomes=_outcomes(scenarios, offer, wanted),
        ladder=_ladder(level, tranches),
    )


def _outcomes(scenarios: Floats, offer: Offer, level: float) -> tuple[Outcome, ...]:
    totals = (scenarios @ offer.on_demand).sum(axis=1)
    order = np.argsort(totals, kind="stable")
    found = []
    for quantile in QUANTILES:
        chosen = scenarios[order[round(quantile * (len(order) - 1))]]
        stack = _stacked(chosen, offer)
        best = _minimum(stack)
        paid, least = float(stack.cost(level).mean()), float(stack.cost(best).mean())
        saving = float(stack.on_demand[:, -1].mean()) - paid
        found.append(Outcome(quantile, float((chosen @ offer.on_demand).mean()), best, saving, max(paid - least, 0.0)))
    return tuple(found)


def _ladder(level: float, tranches: int) -> tuple[float, ...]:
    if level <= 0:
        return ()
    part = level / tranches
    return (*([part] * (tranches - 1)), level - part * (tranches - 1))
