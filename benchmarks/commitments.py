"""The commitment planner: how near to brute force on small cases, and how long a year of hours takes.

Brute force tries every level of a fine grid, hour by hour and SKU by SKU, the deepest discount first. It is written anew here
and shares nothing with the planner.
"""

import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks._figures import arguments, figure, finish, table
from bursar.parts.cloud.rules.commitments import Floats, Offer, best_level, plan

CASES = 60
GRID = 400
HOURS, SKUS = 8_760, 500


def brute_force(demand: Floats, on_demand: Floats, committed: Floats) -> float:
    """Return the least mean cost an hour over a grid of levels."""
    useful = [sku for sku in np.argsort(-(on_demand / committed), kind="stable") if committed[sku] < on_demand[sku]]
    least = np.inf
    for level in np.linspace(0.0, float((demand @ committed).max()), GRID):
        total = 0.0
        for hour in demand:
            left, cost = level, level + float(hour @ on_demand)
            for sku in useful:
                units = min(hour[sku], left / committed[sku])
                left -= units * committed[sku]
                cost -= units * on_demand[sku]
            total += cost
        least = min(least, total / len(demand))
    return least


def excess(cases: int) -> float:
    """Return by how much the planner's cost is above brute force at most, as a share."""
    worst = 0.0
    for seed in range(cases):
        random = np.random.default_rng(seed)
        skus, hours = int(random.integers(1, 5)), int(random.integers(2, 25))
        demand = random.gamma(2.0, 3.0, size=(hours, skus)) * random.integers(0, 2, size=(hours, skus))
        on_demand = random.uniform(0.05, 1.0, skus)
        committed = on_demand * random.uniform(0.3, 1.1, skus)
        least = brute_force(demand, on_demand, committed)
        if least > 0:
            worst = max(worst, float(plan(demand[None], Offer(on_demand, committed)).cost / least - 1))
    return worst


def seconds(hours: int) -> float:
    """Return the CPU seconds of choosing a level for :data:`SKUS` SKUs over ``hours`` hours."""
    random = np.random.default_rng(1)
    demand = random.gamma(2.0, 3.0, size=(hours, SKUS))
    on_demand = random.uniform(0.05, 1.0, SKUS)
    offer = Offer(on_demand, on_demand * random.uniform(0.4, 0.8, SKUS))
    began = time.process_time()
    best_level(demand, offer)
    return time.process_time() - began


def main() -> None:
    quick = arguments(__doc__).quick
    cases, hours = (20, HOURS // 4) if quick else (CASES, HOURS)
    worst, spent = excess(cases), seconds(hours)
    table(
        [
            (f"dearest plan against brute force, {cases} cases", worst, 0.01),
            (f"{hours:,} hours x {SKUS} SKUs, CPU-s", spent, 1.0),
        ],
        head=("what", "seen", "limit"),
    )
    finish(
        figure("commitments: cost above brute force, at most", worst, "share", target=0.01, better="lower"),
        others=[figure(f"commitments: {hours} hours x {SKUS} SKUs", spent, "CPU-s", target=1.0, better="lower")],
    )


if __name__ == "__main__":
    main()
