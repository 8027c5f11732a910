"""How much of what was planted in the sample organisation a review finds, and how many false alarms it puts on top.

``python benchmarks/sample_truth.py [--quick] [--seed N]`` writes the sample of a seed, reviews it in a home of its own
with the embedded database, and compares the inbox with the truth file: found and missed by kind, and the findings among
the first twenty that nothing in the data explains. ``--quick`` is the same: the sample is small.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the root: this folder holds a module named http

import argparse
import asyncio
import tempfile
from collections import Counter

from benchmarks._figures import Figure, figure, finish, table
from bursar import wiring
from bursar.kernel.finding import Finding
from bursar.reports.sample import TRUTH_FILE, Truth, write_sample
from bursar.reports.sample.score import TOP, Score, score
from bursar.settings import load

FOUND_SHARE_MIN = 0.95
"""38 of 40."""

FALSE_MAX = 2


async def reviewed(folder: Path, seed: int) -> tuple[Truth, list[Finding], float]:
    """Write and review the sample; return its truth, the open findings in order, and the seconds taken."""
    exports = folder / "exports"
    truth = write_sample(exports, seed=seed)
    (exports / TRUTH_FILE).unlink()
    async with wiring.open_house(load(home=folder / "home")) as house:
        made = await wiring.review(house, [exports])
    kept = [*made.findings, *made.unsure]
    return truth, [item.finding for item in kept], made.seconds


def show(truth: Truth, result: Score, findings: list[Finding]) -> None:
    found = Counter(planted.kind for planted, _ in result.found)
    planted = Counter(item.kind for item in truth.planted)
    table(
        [(kind, count, found[kind]) for kind, count in sorted(planted.items())],
        head=("planted kind", "planted", "found"),
    )
    print("missed:")
    for item in result.missed:
        print(f"  {item.id} {item.kind}: {item.what}")
    print(f"\nfalse alarms among the first {TOP} of {len(findings)} findings:")
    for finding in result.false:
        print(f"  {finding.kind} {finding.subject[:60]} {finding.period}: {finding.title}")
    print()


def figures(truth: Truth, result: Score, seconds: float) -> tuple[Figure, list[Figure]]:
    share = len(result.found) / len(truth.planted)
    name = f"sample: share of {len(truth.planted)} planted truths found ({len(result.found)})"
    others = [
        figure(
            f"sample: false alarms in the top {TOP}", len(result.false), "findings", target=FALSE_MAX, better="lower"
        ),
        figure("sample: review", seconds, "s", target=60.0, better="lower"),
    ]
    return figure(name, share, "", target=FOUND_SHARE_MIN, better="higher"), others


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        truth, findings, seconds = asyncio.run(reviewed(Path(scratch), options.seed))
    result = score(truth, findings)
    show(truth, result, findings)
    main_figure, others = figures(truth, result, seconds)
    finish(main_figure, others=others)


if __name__ == "__main__":
    main()
