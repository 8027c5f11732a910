"""From single unlikely periods to what a person should hear: one alert per episode, and cancelling pairs as one."""

from dataclasses import replace

import numpy as np

from bursar.kernel.series import Floats, Ints
from bursar.ml.anomaly.alerts import Alert, AlertKind, Evidence, Rules, Work
from bursar.ml.anomaly.residuals import Scale
from bursar.ml.calendar import Bools

CANCEL_SHARE = 0.25
"""Two changes cancel when their sum is at most this share of the larger."""

GROWS = 2.0
"""A later change within the quiet time is told when it is this many times the first, per period."""

PAIR_ROWS_MAX = 50
"""Children of one parent, the least likely first, that are held against each other in one period."""

_ORDER = {kind: at for at, kind in enumerate(AlertKind)}


def matters(alert: Alert, rules: Rules) -> bool:
    """Tell whether an alert passes the money floor and the percent floor."""
    size = abs(alert.impact)
    return size > 0 and size >= rules.money_least and size >= rules.percent_least * abs(alert.expected)


def cancelling_pairs(work: Work, rate: float, parents: Ints) -> list[Alert]:
    """Return opposite changes of siblings over the same season that cancel to a quarter or less in their parent.

    Two coinciding changes are less likely than one, so each need only be as unlikely as the root of the budget. They
    coincide when they became so within half a season; a series pairs with the one that cancels it best.
    """
    weekly = [each for each in work.evidence if each.scale == Scale("shift", work.season, 2)]
    if not weekly:
        return []
    one = weekly[0]
    unlikely = one.p <= float(np.sqrt(rate / max(len(parents), 1)))
    columns = np.arange(one.p.shape[1])
    begun = np.maximum.accumulate(np.where(unlikely, -1, columns), axis=1) + 1
    found: list[Alert] = []
    for column in columns:
        rows = np.flatnonzero(unlikely[:, column])
        for parent in np.unique(parents[rows]):
            mine = rows[parents[rows] == parent]
            mine = np.sort(mine[np.argsort(one.p[mine, column], kind="stable")[:PAIR_ROWS_MAX]])
            together = np.abs(np.subtract.outer(begun[mine, column], begun[mine, column])) <= max(1, work.season // 2)
            best = _best_pairs(one.mean[mine, column], together)
            found += [_pair(work, one, mine[at], mine[other], int(column)) for at, other in best]
    return found


def _best_pairs(size: Floats, may: Bools) -> list[tuple[int, int]]:
    """Return pairs of opposite sizes that cancel, of those that ``may``, each in one pair at most, the closest first."""
    larger = np.maximum(np.abs(size)[:, None], np.abs(size))
    left = np.abs(size[:, None] + size) / np.maximum(larger, 1e-300)
    first, second = np.nonzero(np.triu(may & (size[:, None] * size < 0) & (left <= CANCEL_SHARE)))
    pairs: list[tuple[int, int]] = []
    taken: set[int] = set()
    for at in np.argsort(left[first, second], kind="stable"):
        pair = int(first[at]), int(second[at])
        if taken.isdisjoint(pair):
            pairs.append(pair)
            taken.update(pair)
    return pairs


def _pair(work: Work, one: Evidence, row: int, other: int, column: int) -> Alert:
    width, at = one.scale.width, work.start + column
    actual = float(np.nansum(work.values[row, at - width + 1 : at + 1]))
    usual = actual - float(one.mean[row, column]) * width
    room = 2.0 * float(one.spread[row]) * width
    return Alert(
        int(row),
        AlertKind.CANCELLING,
        work.times[at - width + 1],
        work.times[at],
        actual,
        usual,
        usual - room,
        usual + room,
        float(one.p[row, column] * one.p[other, column]),
        int(other),
    )


def _grew(alert: Alert, before: Alert, work: Work) -> bool:
    """Tell whether a change begins after the alert before it and is clearly larger per period."""

    def pace(one: Alert) -> float:
        first, last = np.searchsorted(work.times, [one.onset, one.at])
        return abs(one.impact) / float(last - first + 1)

    return bool(alert.onset > before.at) and pace(alert) > GROWS * pace(before)


def one_per_episode(alerts: list[Alert], work: Work, rules: Rules) -> list[Alert]:
    """Keep one alert per series and episode.

    A longer scale that follows a shorter one renames the alert instead of repeating it, and the partner of a cancelling
    pair is not told again on its own.
    """
    quiet = rules.quiet_seasons * work.season
    column = {time: at for at, time in enumerate(work.times)}
    kept: list[Alert] = []
    latest: dict[int, tuple[int, int]] = {}
    for alert in sorted(
        alerts, key=lambda one: (column[one.at], one.partner < 0, one.kind is not AlertKind.NEW, one.row, one.p)
    ):
        at = column[alert.at]
        seen = latest.get(alert.row)
        if seen is not None and at - seen[1] <= quiet and not _grew(alert, kept[seen[0]], work):
            latest[alert.row] = (seen[0], at)
            before = kept[seen[0]]
            renames = before.kind is AlertKind.SPIKE or alert.kind in {AlertKind.CANCELLING, AlertKind.VANISHED}
            # A pair shows as late as its fainter side.
            late = work.season // 2 if alert.kind is AlertKind.CANCELLING else 0
            if renames and _ORDER[alert.kind] > _ORDER[before.kind] and column[alert.onset] <= column[before.at] + late:
                kept[seen[0]] = replace(
                    before,
                    kind=alert.kind,
                    onset=before.onset,
                    p=min(before.p, alert.p),
                    partner=alert.partner,
                )
            continue
        latest[alert.row] = (len(kept), at)
        if alert.partner >= 0:
            latest[alert.partner] = (len(kept), at)
        kept.append(alert)
    told = {one.partner for one in kept if one.partner >= 0}
    return [one for one in kept if one.kind is AlertKind.CANCELLING or one.row not in told]
