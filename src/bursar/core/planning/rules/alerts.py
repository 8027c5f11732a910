"""Findings from alerts: what changed, what it costs a year if it stays, and the children that explain it exactly."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal

import numpy as np

from bursar.kernel.finding import Evidence, Finding, Part, SourceRow
from bursar.kernel.money import Money, exponent
from bursar.kernel.period import Period
from bursar.kernel.series import Floats, Panel
from bursar.ml.anomaly.alerts import Alert, AlertKind
from bursar.ml.anomaly.cause import explain, usual_until

DAYS_A_YEAR = 365
WEEK_DAYS = 7
RECENT_DAYS = 14
"""The level a shift has reached is the mean of this many last days."""

BEFORE_DAYS = 56
"""Days before a change that say what was usual."""

STILL_SHARE = 0.5
"""A shift is still on when at least this share of it is there in the last days."""

GROWTH_MIN = 1.2
"""A lasting rise whose level still grew by this factor since its onset is growth, not a step."""

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

    ``first`` and ``last`` bound it: a lasting change goes on to the last day of the series. ``level_before`` and ``level_now`` are daily amounts, major units; ``lasting`` says the change is still there.
    """

    alert: Alert
    first: date
    last: date
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
    if not lasting and alert.impact > 0:
        alert, onset, at = _as_spike(alert, values, onset, at)
    if lasting and alert.kind in {AlertKind.SHIFT, AlertKind.DRIFT}:
        alert = replace(alert, kind=_step_or_growth(values[onset:]))
    last = len(values) - 1 if lasting else at
    return Change(alert, (start + onset).astype(object), (start + last).astype(object), level, now, lasting)


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
) -> Finding:
    """Return the finding of one change.

    A lasting rise is worth its daily size times 365; a spike is worth what it cost once; a fall, a vanished cost and a
    cancelling pair are worth nothing to save and are told because somebody must know.
    """
    alert, currency = change.alert, panel.currency
    daily = change.level_now - change.level_before
    if change.lasting:
        amount = daily * DAYS_A_YEAR
        formula = (
            f"({change.level_now:,.2f} now - {change.level_before:,.2f} before) a day, {DAYS_A_YEAR} days;"
            f" {_chance(alert.p)}"
        )
    else:
        amount = alert.impact
        formula = (
            f"{alert.actual:,.2f} from {change.first} to {change.last}, {alert.expected:,.2f} expected"
            f" (95 % range {alert.lower:,.2f} to {alert.upper:,.2f}), {_chance(alert.p)}"
        )
    worth = _money(max(0.0, amount), currency)
    width = abs(alert.upper - alert.lower) / 4 / max(abs(alert.impact), 1e-9) if alert.impact else 0.0
    spread = Money(round(worth.minor * min(width, 1.0)), currency)
    low = worth - spread if change.lasting else Money(0, currency)
    return Finding(
        kind=KINDS[alert.kind],
        subject=subject,
        period=Period(change.first, change.last + timedelta(days=1)),
        title=title,
        worth=worth,
        low=low,
        high=worth + spread,
        confidence=_confidence(alert),
        action=_action(alert.kind),
        evidence=Evidence(
            formula=formula,
            parts=_parts(change, panel, worth, children),
            rows=tuple(rows),
            rows_total=rows_total,
            chart=_chart(panel, alert.row, change.first),
        ),
        recurring=change.lasting,
        cost_basis=_money(max(0.0, change.level_now) * DAYS_A_YEAR, currency) if change.lasting else None,
        resource=f"series:{panel.keys[alert.row]}",
        effort="medium",
    )


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


def _parts(change: Change, panel: Panel, worth: Money, children: Children | None) -> tuple[Part, ...]:
    """Split the worth over the children that explain the change; the parts sum to the worth exactly."""
    if not worth.minor:
        return ()
    if children is None or not len(children.names):
        return (Part(panel.keys[change.alert.row], worth.amount),)
    start = panel.starts[change.alert.row].astype("datetime64[D]")
    onset = int((np.datetime64(change.first, "D") - start).astype(int))
    stop = (
        children.values.shape[1] if change.lasting else int((np.datetime64(change.last, "D") - start).astype(int)) + 1
    )
    since = max(0, stop - RECENT_DAYS if change.lasting else onset)
    if onset:
        usual, off = usual_until(children.values, onset, onset + stop - since, WEEK_DAYS)
    else:
        usual = off = np.zeros(len(children.names))
    actual = np.round(children.values[:, since:stop].sum(axis=1) * 100).astype(np.int64)
    expected = np.round(usual * 100).astype(np.int64)
    causes = explain(actual, expected, int(expected.sum()), usual=100 * off)
    weights = [cause for cause in causes if cause.amount > 0][:CAUSES_MAX]
    return _exactly(worth, [(children.names[cause.child], cause.amount) for cause in weights])


def _exactly(worth: Money, shares: Sequence[tuple[str, int]]) -> tuple[Part, ...]:
    from bursar.kernel.money import allocate

    if not shares:
        return (Part("together", worth.amount),)
    parts = allocate(worth, [weight for _, weight in shares])
    return tuple(Part(name, part.amount) for (name, _), part in zip(shares, parts, strict=True))


def _chart(panel: Panel, row: int, since: date) -> dict[str, list[object]]:
    """Return the days around a change: from weeks before it to the end of the series, at most :data:`CHART_DAYS_MAX`."""
    values = panel.series(row)
    start = panel.starts[row].astype("datetime64[D]")
    onset = int((np.datetime64(since, "D") - start).astype(int))
    begin = max(0, min(onset - BEFORE_DAYS, len(values) - CHART_DAYS))
    end = min(len(values), begin + CHART_DAYS_MAX)
    days = [str(start + offset) for offset in range(begin, end)]
    return {"x": list(days), "y": [str(Decimal(str(round(float(value), 4)))) for value in values[begin:end]]}
