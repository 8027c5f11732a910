"""Planted anomalies on real daily series: how many are found, how many alerts are right, and whether the cause is named.

Planted on NN5 (100 series under five invented parents) in the last 60 days, with a fixed seed: spikes of 2.5 to 5 times
the series' mean day, lasting shifts of 60 to 150 %, drifts up to 80 to 150 % over six weeks, cancelling pairs of 60 to
120 % under one parent, and services that appear. Nothing else is known to be wrong, so every other alert counts as
false, although some are real events of the data. Beside the scored planting stand eight others of other seeds, how many
alerts windows of the untouched series raise, of these and of lumpy public payments, and the time a large panel takes.
``python -m benchmarks.anomaly_injected``
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the root: this folder holds a module named http

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks._figures import arguments, figure, finish, table
from benchmarks._planning_data import Series, nn5, payments
from bursar.kernel.period import Grain
from bursar.kernel.series import Panel
from bursar.ml.anomaly.alerts import Rules
from bursar.ml.anomaly.cause import begins_then, explain, usual_until
from bursar.ml.anomaly.detect import detect
from bursar.ml.calendar import Calendar

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Hit = tuple[tuple[int, ...], int]
LENGTH, SCANNED, SEED = 730, 60, 20_260
PER_SORT, PARENTS = 8, 5
TOLERANCE_BEFORE, TOLERANCE_AFTER = 2, 45
RECALL, PRECISION, CAUSE = 0.90, 0.80, 0.95
CAUSES_SHOWN = 3
CAUSE_DAYS = {"spike": 1, "drift": 42}
"""Days over which a cause is looked for; a fortnight for the other sorts."""

SEEDS_BESIDE = range(1, 9)
WINDOW_ENDS = range(LENGTH - 5 * SCANNED, LENGTH + SCANNED + 1, SCANNED)
"""Days at which the untouched windows end; the last but one is planted in, the last lies after all that was ever looked at."""

LARGE_SERIES, LARGE_DAYS, LARGE_S = 3_000, 500, 5.0
"""A large panel, and the processor time its scan may take."""

FIXED_PERCENT = 0.5
TUKEY = 3.0


@dataclass(frozen=True, slots=True)
class Planted:
    """One planted anomaly: its sort, the rows it is in and the scanned day it begins on."""

    sort: str
    rows: tuple[int, ...]
    onset: int


def plant(clean: Floats, parents: Ints, rng: np.random.Generator) -> tuple[Floats, list[Planted]]:
    """Return the series with anomalies and the list of them; a series gets at most one."""
    values = clean.copy()
    mean = np.nanmean(clean[:, -200:], axis=1)
    free = list(rng.permutation(len(clean)))
    begin = LENGTH - SCANNED
    found: list[Planted] = []
    for number in range(PER_SORT * 5):
        sort = ("spike", "shift", "drift", "cancelling", "new")[number % 5]
        row = int(free.pop())
        onset = int(rng.integers(2, SCANNED - 45 if sort == "drift" else SCANNED - 21))
        at = begin + onset
        rows: tuple[int, ...] = (row,)
        if sort == "spike":
            values[row, at] = np.nan_to_num(values[row, at]) + mean[row] * rng.uniform(2.5, 5)
        elif sort == "shift":
            values[row, at:] += mean[row] * rng.uniform(0.6, 1.5)
        elif sort == "drift":
            ramp = np.minimum(np.arange(LENGTH - at) / 42, 1.0)
            values[row, at:] += mean[row] * rng.uniform(0.8, 1.5) * ramp
        elif sort == "cancelling":
            partner = int(next(one for one in free if parents[one] == parents[row]))
            free.remove(partner)
            amount = min(mean[row], mean[partner]) * rng.uniform(0.6, 1.2)
            values[row, at:] += amount
            values[partner, at:] -= amount
            rows = (row, partner)
        else:
            values[row, :at] = 0.0
        found.append(Planted(sort, rows, onset))
    return values, found


def matched(planted: Planted, alerts: list[Hit]) -> list[int]:
    """Return the alerts (row, day) that belong to a planted anomaly."""
    last = planted.onset + (7 if planted.sort == "spike" else TOLERANCE_AFTER)
    return [
        number
        for number, (rows, day) in enumerate(alerts)
        if set(rows) & set(planted.rows) and planted.onset - TOLERANCE_BEFORE <= day <= last
    ]


def episodes(hits: NDArray[np.bool_]) -> list[Hit]:
    """Return one (row, day) per series and fortnight for a detector that flags single days."""
    out: list[Hit] = []
    for row in range(len(hits)):
        last = -99
        for day in np.flatnonzero(hits[row]):
            if day - last > 14:
                out.append(((row,), int(day)))
            last = int(day)
    return out


def panel_of(source: Series, values: Floats) -> Panel:
    """Return daily values (n, t) that begin with ``source`` as a panel."""
    return Panel.of(source.keys, [source.start] * len(values), list(values), grain=Grain.DAY, currency="GBP")


def beside(source: Series, clean: Floats) -> tuple[float, float, float]:
    """Return mean recall, least recall and mean precision of the other plantings."""
    recalls, precisions = [], []
    for seed in SEEDS_BESIDE:
        rng = np.random.default_rng(seed)
        parents = rng.permutation(len(clean)) % PARENTS
        values, planted = plant(clean, parents, rng)
        _, recall, precision = measure("", planted, ours(panel_of(source, values), parents))
        recalls.append(recall)
        precisions.append(precision)
    return float(np.mean(recalls)), min(recalls), float(np.mean(precisions))


def ours(panel: Panel, parents: Ints) -> list[Hit]:
    """Return our alerts as (row, scanned day on which they became known)."""
    found = detect(panel, periods=SCANNED, rules=Rules(), calendar=Calendar("GB", "ENG"), parents=parents)
    return [((one.row, one.partner), int(np.searchsorted(found.times, one.at))) for one in found.alerts]


def untouched(source: Series, ends: range) -> tuple[list[tuple[object, ...]], float]:
    """Return a row per window with its alerts in 100 series and 30 days, and the ratio of all to their budget."""
    alone = np.arange(len(source.keys))
    counts = [len(ours(panel_of(source, source.amounts[:, :end]), alone)) for end in ends]
    days = [source.start.astype("datetime64[D]") + end for end in ends]
    whole = Rules().rate * len(alone) * SCANNED
    rows = [
        (source.name, str(day), count, count / whole * Rules().budget_alerts, Rules().budget_alerts)
        for day, count in zip(days, counts, strict=True)
    ]
    return list(rows), sum(counts) / (whole * len(counts))


def seconds_of_a_large_panel(source: Series) -> float:
    """Return the processor time of scanning many series of real shape."""
    rng = np.random.default_rng(SEED)
    drawn = rng.integers(0, len(source.keys), LARGE_SERIES)
    values = source.amounts[drawn, :LARGE_DAYS] * rng.uniform(0.5, 2, (LARGE_SERIES, 1))
    start = [source.start] * LARGE_SERIES
    keys = [str(at) for at in range(LARGE_SERIES)]
    panel = Panel.of(keys, start, list(values), grain=Grain.DAY, currency=source.currency)
    begun = time.process_time()
    detect(panel, periods=SCANNED, calendar=Calendar("GB", "ENG"), parents=drawn)
    return time.process_time() - begun


def fixed_percent(values: Floats) -> list[Hit]:
    """Return days off the mean of the 30 days before by more than a fixed percentage."""
    hits = np.zeros((len(values), SCANNED), dtype=bool)
    for day in range(SCANNED):
        at = LENGTH - SCANNED + day
        usual = np.nanmean(values[:, at - 30 : at], axis=1)
        hits[:, day] = np.abs(values[:, at] - usual) > FIXED_PERCENT * np.abs(usual)
    return episodes(hits)


def tukey(values: Floats) -> list[Hit]:
    """Return days whose difference to a week before lies outside Tukey's far fences of the half year before."""
    apart = values[:, 7:] - values[:, :-7]
    past, now = apart[:, -SCANNED - 182 : -SCANNED], apart[:, -SCANNED:]
    low, high = np.nanquantile(past, 0.25, axis=1), np.nanquantile(past, 0.75, axis=1)
    room = TUKEY * (high - low)
    return episodes((now < (low - room)[:, None]) | (now > (high + room)[:, None]))


def measure(name: str, planted: list[Planted], alerts: list[Hit]) -> tuple[list[tuple[object, ...]], float, float]:
    """Return table rows, recall and precision."""
    hits = [matched(one, alerts) for one in planted]
    right = {number for hit in hits for number in hit}
    recall = sum(bool(hit) for hit in hits) / len(planted)
    precision = len(right) / max(len(alerts), 1)
    rows: list[tuple[object, ...]] = []
    for sort in dict.fromkeys(one.sort for one in planted):
        of_sort = [bool(hit) for one, hit in zip(planted, hits, strict=True) if one.sort == sort]
        rows.append((name, sort, sum(of_sort) / len(of_sort), "", len(of_sort)))
    rows.append((name, "all", recall, precision, len(planted)))
    return rows, recall, precision


def causes_named(clean: Floats, values: Floats, planted: list[Planted], parents: Ints, *, alone: bool) -> float:
    """Return how often a planted child is among the first causes of its parent's change from its onset on.

    Args:
        clean: The untouched series.
        values: With everything planted.
        planted: What was planted.
        parents: Parent of each series.
        alone: Whether each is looked at alone in its parent; else beside the seven others, of which several are true
            causes of the same weeks, so that three places cannot name them all.
    """
    hits = []
    for one in planted:
        onset = LENGTH - SCANNED + one.onset
        stop = onset + CAUSE_DAYS.get(one.sort, 14)
        seen = clean.copy() if alone else values
        seen[list(one.rows)] = values[list(one.rows)]
        children = np.flatnonzero(parents == parents[one.rows[0]])
        mine = np.nan_to_num(seen[children])
        usual, off = usual_until(mine, onset, stop, 7)
        cents = np.rint(100 * usual).astype(np.int64)
        actual = np.rint(100 * mine[:, onset:stop].sum(axis=1)).astype(np.int64)
        timing = begins_then(mine, onset, stop, 7)
        listed = explain(actual, cents, int(cents.sum()), usual=100 * off, timing=timing)[:CAUSES_SHOWN]
        hits.append(bool({int(children[cause.child]) for cause in listed} & set(one.rows)))
    return sum(hits) / len(hits)


def main() -> None:
    """Print the table and the figures."""
    arguments(__doc__)
    source: Series = nn5()
    clean = source.amounts[:, :LENGTH]
    rng = np.random.default_rng(SEED)
    parents = rng.permutation(len(clean)) % PARENTS
    values, planted = plant(clean, parents, rng)
    alerts = ours(panel_of(source, values), parents)
    rows, recall, precision = measure("Bursar", planted, alerts)
    for name, others in (
        (f"30-day mean and {FIXED_PERCENT:.0%}", fixed_percent(values)),
        ("Tukey residual", tukey(values)),
    ):
        rows += measure(name, planted, others)[0]
    recall_beside, least, precision_beside = beside(source, clean)
    rows.append(
        (f"Bursar, {len(SEEDS_BESIDE)} other plantings", "all", recall_beside, precision_beside, 40 * len(SEEDS_BESIDE))
    )
    table(rows, head=("detector", "planted", "recall", "precision", "count"))
    print(f"Least recall of the other plantings: {least:.3f}\n")
    windows, over = untouched(source, WINDOW_ENDS)
    paid = payments()
    last = paid.amounts.shape[1]
    lumpy, lumpy_over = untouched(paid, range(last - 11 * SCANNED, last + 1, SCANNED))
    print("False alerts on untouched windows, per 100 series per 30 days; real events of the data count as false.")
    table(windows + lumpy, head=("series", f"{SCANNED} days until", "alerts", "rate", "budget"))
    print(
        f"Public payments over budget: {lumpy_over:.2f} (a payment run is an event there, so nothing is claimed of it)\n"
    )
    named, crowded = (causes_named(clean, values, planted, parents, alone=alone) for alone in (True, False))
    finish(
        figure("planted anomalies found", recall, "share", target=RECALL, better="higher"),
        others=(
            figure("alerts that are planted anomalies", precision, "share", target=PRECISION, better="higher"),
            figure(f"true cause among the first {CAUSES_SHOWN}", named, "share", target=CAUSE, better="higher"),
            figure(f"the same beside {PER_SORT - 1} other changes", crowded, "share", target=CAUSE, better="higher"),
            figure(
                f"false alerts on {len(windows)} untouched windows, real events included, over their budget",
                over,
                "ratio",
                target=1.0,
                better="lower",
            ),
            figure(
                f"recall of {len(SEEDS_BESIDE)} other plantings", recall_beside, "share", target=RECALL, better="higher"
            ),
            figure(
                f"scan of {LARGE_SERIES:,} series of {LARGE_DAYS} days, one thread",
                seconds_of_a_large_panel(source),
                "s",
                target=LARGE_S,
                better="lower",
            ),
        ),
    )


if __name__ == "__main__":
    main()
