"""Findings from alerts: what changed, what it costs a year if it stays, and the children that explain it exactly."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal

import numpy as np

from bursar.kernel.finding import Evidence, Finding, Observed, Part, SourceRow
from bursar.kernel.money import Money, exponent
from bursar.kernel.period import Period
from bursar.kernel.series import Floats, Panel
from bursar.ml.anomaly.alerts import Alert, AlertKind
from bursar.ml.anomaly.cause import begins_then, carried_on, explain, usual_until

DAYS_A_YEAR = 365
WEEK_DAYS = 7
RECENT_DAYS = 14
"""The level a shift has reached is the mean of this many last days, or of those since its onset where they are fewer."""

BEFORE_DAYS = 56
"""Days before a change that say what was usual."""

STILL_SHARE = 0.5
"""A shift is still on when at least this share of it is there in the last days."""

GROWTH_MIN = 1.2
"""A lasting rise whose level still grew by this factor since its onset is growth, not a step."""

SAME_DAYS = 14
"""Scans date the onset of one lasting change by as much apart."""

CHART_DAYS = 120
CHART_DAYS_MAX = 420
CAUSES_MAX = 6

KINDS = {
    AlertKind.SPIKE: "planning.cost_spike",
    AlertKind.SHIFT: "planning.cost_shift",
    AlertKind.DRIFT: "planning.cost_drift",
    AlertKind.NEW: "planning.new_cost",
    AlertKind.VANISHED: "planning.vanished_cost",
    AlertKind.CANCELLING: "planning.cancelling_change",
}
"""Finding kinds by alert kind."""


@dataclass(frozen=True, slots=True)
class Children:
    """Daily amounts of the children of one series, laid on the parent's calendar: names (c,), values (c, t)."""

    names: tuple[str, ...]
    values: Floats


@dataclass(frozen=True, slots=True)
class Change:
    """An alert put into money.

    ``first`` and ``last`` bound it: a lasting change goes on to the last day of the series. ``since`` is the first of the
    days up to ``last`` that are held against the usual: the newest of a lasting change, else all. ``level_before`` and
    ``level_now`` are daily amounts, major units; ``lasting`` says the change is still there.
    """

    alert: Alert
    first: date
    last: date
    since: date
    level_before: float
    level_now: float
    lasting: bool


def change_of(alert: Alert, panel: Panel) -> Change:
    """Date a change and measure it: daily level before, level of the last days, or what a spike cost beyond the usual.

    A change that is still there in the last days is lasting; its onset is the day that splits the weeks around it best
    (least squares). Any other rise is a spike over the days that stand out from the weeks before.
    """
    values = panel.series(alert.row)
    start = panel.starts[alert.row].astype("datetime64[D]")
    onset = max(0, int((alert.onset.astype("datetime64[D]") - start).astype(int)))
    at = min(len(values) - 1, int((alert.at.astype("datetime64[D]") - start).astype(int)))
    now = float(np.nanmean(values[-RECENT_DAYS:]))
    if alert.kind not in {AlertKind.SPIKE, AlertKind.NEW, AlertKind.VANISHED}:
        onset = _split(values, onset, at)
        at = max(at, onset)  # the best split may lie after the day that was flagged
    level = _level(values, onset)
    step = float(np.nanmean(values[onset : at + 1])) - level
    lasting = (
        alert.kind is not AlertKind.SPIKE and abs(now - level) >= STILL_SHARE * abs(step) and (now - level) * step > 0
    )
    if not lasting and alert.impact > 0 and alert.kind is not AlertKind.CANCELLING:
        alert, onset, at = _as_spike(alert, values, onset, at)
    if lasting and alert.kind in {AlertKind.SHIFT, AlertKind.DRIFT}:
        alert = replace(alert, kind=_step_or_growth(values[onset:]))
    last = len(values) - 1 if lasting else at
    since = max(onset, len(values) - RECENT_DAYS) if lasting else onset
    now = float(np.nanmean(values[since:])) if lasting else now  # days before the onset are no part of the new level
    first, last_day, since_day = (day.astype(object) for day in start + np.array([onset, last, since]))
    return Change(alert, first, last_day, since_day, level, now, lasting)


def distinct(changes: Sequence[Change]) -> list[Change]:
    """Leave out what is part of a change of the same series that began before, as scans of two quarters see it twice.

    A lasting change is part of one that began up to :data:`SAME_DAYS` before it, and of growth that goes on, whose worth
    holds it; what did not last is part of what did not last either and has a day with it in common.
    """
    kept: dict[tuple[int, int], list[Change]] = {}
    for change in sorted(changes, key=lambda one: (one.first, one.alert.at)):
        before = kept.setdefault((change.alert.row, change.alert.partner), [])
        if not any(_holds(one, change) for one in before):
            before.append(change)
    return [one for each in kept.values() for one in each]


def _holds(before: Change, after: Change) -> bool:
    if before.lasting != after.lasting:
        return False
    if not after.lasting:
        return after.first <= before.last
    return before.alert.kind is AlertKind.DRIFT or after.first - before.first <= timedelta(days=SAME_DAYS)


def _step_or_growth(after: Floats) -> AlertKind:
    """Tell a new level from growth that goes on: compare the first and the last days since the onset."""
    first, last = float(np.nanmean(after[:RECENT_DAYS])), float(np.nanmean(after[-RECENT_DAYS:]))
    return AlertKind.DRIFT if last > first * GROWTH_MIN else AlertKind.SHIFT


def _level(values: Floats, onset: int) -> float:
    before = values[max(0, onset - BEFORE_DAYS) : onset]
    return float(np.nanmedian(before)) if before.size else 0.0


def _split(values: Floats, onset: int, at: int) -> int:
    """Return the day that splits the weeks around ``onset`` to ``at`` into two levels best (least squares)."""
    begin, end = max(0, onset - 28), min(len(values), at + 29)
    window = np.nan_to_num(values[begin:end])
    best, found = np.inf, onset
    for cut in range(3, len(window) - 2):
        error = float(window[:cut].var() * cut + window[cut:].var() * (len(window) - cut))
        if error < best:
            best, found = error, begin + cut
    return found


def _as_spike(alert: Alert, values: Floats, onset: int, at: int) -> tuple[Alert, int, int]:
    """Return the alert narrowed to the days that stand out, with what they cost beyond the usual."""
    begin, end = max(0, onset - 7), min(len(values), at + 8)
    before = values[max(0, begin - BEFORE_DAYS) : begin]
    usual = float(np.nanmedian(before)) if before.size else 0.0
    spread = float(np.nanmedian(np.abs(before - usual))) * 1.4826 if before.size else 0.0
    beyond = values[begin:end] - usual
    peak = float(np.nanmax(beyond))
    out = np.flatnonzero(beyond > max(4 * spread, peak * 0.2))
    if not out.size:
        return alert, onset, at
    first, last = begin + int(out[0]), begin + int(out[-1])
    actual = float(np.nansum(values[first : last + 1]))
    days = last - first + 1
    room = 2 * spread * days**0.5
    return (
        replace(
            alert,
            kind=AlertKind.NEW if alert.kind is AlertKind.NEW else AlertKind.SPIKE,
            actual=actual,
            expected=usual * days,
            lower=usual * days - room,
            upper=usual * days + room,
        ),
        first,
        last,
    )


def finding_of(
    change: Change,
    panel: Panel,
    *,
    title: str,
    subject: str,
    children: Children | None,
    rows: Sequence[SourceRow],
    rows_total: int,
    under: str,
) -> Finding:
    """Return the finding of one change.

    A lasting rise is worth its daily size times 365; a spike is worth what it cost once; a fall, a vanished cost and a
    cancelling pair are worth nothing to save and are told because somebody must know. ``children`` of a pair are its two;
    ``under`` says the policy that let it through.
    """
    alert, currency = change.alert, panel.currency
    observed = _observed(change, panel, children)
    worth = Money(0, currency)
    if alert.kind is not AlertKind.CANCELLING:
        yearly = _money((change.level_now - change.level_before) * DAYS_A_YEAR, currency)
        worth = max(worth, yearly if change.lasting else Money.of(observed.impact, currency))
    width = float((observed.upper - observed.lower) / 4 / max(abs(observed.impact), Decimal("1e-9")))
    spread = Money(round(worth.minor * min(width, 1.0)), currency)
    return Finding(
        kind=KINDS[alert.kind],
        subject=subject,
        period=Period(change.first, change.last + timedelta(days=1)),
        title=title,
        worth=worth,
        low=worth - spread if change.lasting else Money(0, currency),
        high=worth + spread,
        confidence=_confidence(alert),
        action=_action(alert.kind),
        evidence=Evidence(
            formula=f"{_formula(change, observed)}; {under}",
            parts=_causes(change, panel, children, worth, DAYS_A_YEAR) if worth.minor else (),
            rows=tuple(rows),
            rows_total=rows_total,
            chart=_chart(panel, alert.row, change.first),
            observed=observed,
        ),
        recurring=change.lasting,
        cost_basis=_money(max(0.0, change.level_now) * DAYS_A_YEAR, currency) if change.lasting else None,
        resource=f"series:{panel.keys[alert.row]}",
        effort="medium",
    )


def _formula(change: Change, observed: Observed) -> str:
    held = (
        f"{observed.actual:,.2f} from {observed.days.start} to {observed.days.end - timedelta(days=1)},"
        f" {observed.expected:,.2f} expected (95 % range {observed.lower:,.2f} to {observed.upper:,.2f}),"
        f" {_chance(change.alert.p)}"
    )
    if change.alert.kind is AlertKind.CANCELLING:
        sides = " and ".join(f"{part.label} changed by {part.amount:,.2f}" for part in observed.causes)
        return f"{sides}; together {held}"
    if not change.lasting:
        return held
    return f"({change.level_now:,.2f} now - {change.level_before:,.2f} before) a day, {DAYS_A_YEAR} days; {held}"


def _observed(change: Change, panel: Panel, children: Children | None) -> Observed:
    """Return what the compared days cost beside what was expected of them, and the children that explain the difference."""
    alert, currency = change.alert, panel.currency
    days = (change.last - change.since).days + 1
    if alert.kind is AlertKind.CANCELLING and children is not None:
        actual, usual, _ = _compared(change, panel, children)
        sums = [float(actual.sum()), float(usual.sum())]
    elif change.lasting:
        sums = [change.level_now * days, change.level_before * days]
    else:
        sums = [alert.actual, alert.expected]
    told_days = int((alert.at - alert.onset) / np.timedelta64(24, "h")) + 1
    room = (alert.upper - alert.lower) / 2 * (days / told_days if change.lasting else 1.0)
    found, expected, lower, upper = (_money(one, currency) for one in (*sums, sums[1] - room, sums[1] + room))
    causes = _causes(change, panel, children, found - expected, days)
    period = Period(change.since, change.last + timedelta(days=1))
    return Observed(period, found.amount, expected.amount, lower.amount, upper.amount, causes)


def _money(amount: float, currency: str) -> Money:
    return Money(round(amount * 10 ** exponent(currency)), currency)


def _chance(p: float) -> str:
    """Say for people how rarely so much happens where nothing changed."""
    return "by chance less than once in a million times" if p < 1e-6 else f"by chance once in {1 / p:,.0f} times"


def _confidence(alert: Alert) -> float:
    """Return how sure an alert is: from 0.6 at a p of 1e-3 to 0.95 at 1e-8 and below."""
    strength = -np.log10(max(alert.p, 1e-12))
    return float(np.clip(0.6 + (strength - 3) * 0.07, 0.6, 0.95))


def _action(kind: AlertKind) -> str:
    return {
        AlertKind.SPIKE: "Find out what ran on these days and make sure that it cannot happen again.",
        AlertKind.SHIFT: "Find the change that raised the level; take it back or budget for it.",
        AlertKind.DRIFT: "Find what keeps growing and give it a limit or an expiry.",
        AlertKind.NEW: "Check that somebody ordered and owns this new cost.",
        AlertKind.VANISHED: "Check that it was stopped on purpose.",
        AlertKind.CANCELLING: "Check that the replacement was meant: one cost fell as another rose.",
    }[kind]


def _compared(change: Change, panel: Panel, children: Children) -> tuple[Floats, Floats, Floats]:
    """Return what each child cost on the compared days, what was usual, and how far that is usually off; major units."""
    since, stop, onset = (_place(day, panel, change.alert.row) for day in (change.since, change.last, change.first))
    actual = children.values[:, since : stop + 1].sum(axis=1)
    base = min(onset, since)
    if not base:
        return actual, np.zeros(len(actual)), np.zeros(len(actual))
    usual, off = usual_until(children.values, base, base + stop + 1 - since, WEEK_DAYS)
    return actual, usual, off


def _causes(change: Change, panel: Panel, children: Children | None, total: Money, per_days: int) -> tuple[Part, ...]:
    """Split ``total`` over the children that explain the change, the most telling first; the parts sum to it exactly.

    ``per_days`` is what the total is over where the change lasts: its compared days, or a year.
    """
    if children is None or not len(children.names):
        return (Part(panel.keys[change.alert.row], total.amount),)
    actual, usual, off = _compared(change, panel, children)
    days = (change.last - change.since).days + 1
    scale = 10 ** exponent(panel.currency) * (per_days / days if change.lasting else 1.0)
    onset, stop = (_place(day, panel, change.alert.row) for day in (change.first, change.last))
    spent, expected = (np.rint(scale * one).astype(np.int64) for one in (actual, usual))
    timing = begins_then(children.values, onset, stop + 1, WEEK_DAYS) if onset else None
    causes = explain(spent, expected, int(spent.sum()) - total.minor, usual=scale * off, timing=timing)
    told = [cause for cause in causes if cause.amount][:CAUSES_MAX]
    parts = [Part(children.names[cause.child], Money(cause.amount, panel.currency).amount) for cause in told]
    rest = total.minor - sum(cause.amount for cause in told)
    if rest:
        parts.append(Part("all others", Money(rest, panel.currency).amount))
    return tuple(parts)


def _place(day: date, panel: Panel, row: int) -> int:
    return int((np.datetime64(day, "D") - panel.starts[row].astype("datetime64[D]")).astype(int))


def _chart(panel: Panel, row: int, since: date) -> dict[str, list[object]]:
    """Return the days around a change: from weeks before it to the end of the series, at most :data:`CHART_DAYS_MAX`.

    From the change on they stand beside what would have been usual, with the 95 % range of single days before it.
    """
    values = panel.series(row)
    start, onset = panel.starts[row].astype("datetime64[D]"), _place(since, panel, row)
    begin = max(0, min(onset - BEFORE_DAYS, len(values) - CHART_DAYS))
    end = min(len(values), begin + CHART_DAYS_MAX)
    usual, room = np.zeros(end - onset), 0.0
    if onset:
        usual = carried_on(np.nan_to_num(values)[None], onset, end - onset, WEEK_DAYS)[0]
        before = values[max(0, onset - BEFORE_DAYS) : onset]
        apart = np.abs(before[WEEK_DAYS:] - before[:-WEEK_DAYS])
        room = 1.96 * 1.4826 * float(np.nanmedian(apart)) / 2**0.5 if apart.size else 0.0
    unknown: list[object] = [None] * (onset - begin)
    return {
        "x": [str(start + offset) for offset in range(begin, end)],
        "y": _texts(values[begin:end]),
        "expected": [*unknown, *_texts(usual)],
        "lower": [*unknown, *_texts(usual - room)],
        "upper": [*unknown, *_texts(usual + room)],
    }


def _texts(values: Floats) -> list[object]:
    return [str(Decimal(str(round(float(value), 4)))) for value in values]
