"""Many changes of one sort in one month, as when keys are renamed: the dearest each, all others as one finding; pure."""

from collections.abc import Collection, Sequence
from datetime import date
from decimal import Decimal
from functools import reduce
from itertools import groupby
from operator import add

from bursar.core.planning.rules.alerts import KINDS
from bursar.kernel.finding import Evidence, Finding, Observed, Part
from bursar.kernel.money import Money
from bursar.kernel.period import Period
from bursar.ml.anomaly.alerts import AlertKind

TOLD_MAX = 10
"""Changes of one sort that begin in one month and are told each; a person reads no more."""

PARTS_MAX = 500
ROWS_MAX = 30
"""Changes named, and source rows kept, in the finding of all others, the dearest first."""

_NAMES = {
    KINDS[AlertKind.SPIKE]: "cost spikes",
    KINDS[AlertKind.SHIFT]: "risen cost levels",
    KINDS[AlertKind.DRIFT]: "growing costs",
    KINDS[AlertKind.NEW]: "new costs",
    KINDS[AlertKind.VANISHED]: "vanished costs",
}
"""What a flood may be of, in the plural; cancelling pairs cancel, so they come alone."""


def few(findings: Sequence[Finding], judged: Collection[tuple[str, str, date]] = ()) -> list[Finding]:
    """Return the findings, of a flood the :data:`TOLD_MAX` dearest and one more that is the exact sum of all others.

    Args:
        findings: Of one currency, one for each change.
        judged: (resource, kind, first day) of changes that people have spoken about; they are told each.

    Returns:
        No more for each kind and month than those told each, the judged, and one of those that last and one of those
        that do not.
    """
    told: list[Finding] = []
    crowd: list[Finding] = []
    for one in findings:
        alone = one.kind not in _NAMES or (one.resource, one.kind, one.period.start) in judged
        (told if alone else crowd).append(one)

    def sort(one: Finding) -> tuple[str, bool, date]:
        return one.kind, one.recurring, one.period.start.replace(day=1)

    for _, group in groupby(sorted(crowd, key=sort), sort):
        ranked = sorted(group, key=_size, reverse=True)
        rest = ranked[TOLD_MAX:] if len(ranked) > TOLD_MAX + 1 else []
        told += ranked[: len(ranked) - len(rest)]
        told += [_together(rest, len(ranked))] if rest else []
    return told


def _size(one: Finding) -> tuple[int, Decimal, str]:
    return abs(one.worth.minor), abs(one.evidence.observed.impact) if one.evidence.observed else Decimal(0), one.subject


def _together(rest: Sequence[Finding], whole: int) -> Finding:
    """Return one finding for ``rest`` of a flood of ``whole`` changes: sums of their figures, the dearest named."""
    first = rest[0]
    month = first.period.start.replace(day=1)
    currency = first.worth.currency
    subject = f"{first.kind} {currency} {month:%Y-%m} {'lasting' if first.recurring else 'once'}, all others"
    zero = Money(0, currency)
    worth, low, high, basis = (
        reduce(add, amounts, zero)
        for amounts in (
            [one.worth for one in rest],
            [one.low for one in rest],
            [one.high for one in rest],
            [one.cost_basis or zero for one in rest],
        )
    )
    rows = sorted((row for one in rest for row in one.evidence.rows), key=lambda row: -(row.amount or 0))
    return Finding(
        kind=first.kind,
        subject=subject,
        period=Period(month, max(one.period.end for one in rest)),
        title=f"{len(rest):,} more {_NAMES[first.kind]} since {month:%b %Y}",
        worth=worth,
        low=low,
        high=high,
        confidence=min(one.confidence for one in rest),
        action=f"Look for one reason: {whole:,} changes of this sort began in one month, such as when keys are renamed.",
        evidence=Evidence(
            formula=f"sum of {len(rest):,} changes, each less than the {TOLD_MAX} of {whole:,} that are told by themselves;"
            f" the dearest: {first.evidence.formula}",
            parts=_parts([Part(_name(one), one.worth.amount) for one in rest]) if worth.minor else (),
            rows=tuple(rows[:ROWS_MAX]),
            rows_total=sum(one.evidence.rows_total for one in rest),
            chart=_chart(rest),
            observed=_observed(rest),
        ),
        recurring=first.recurring,
        cost_basis=basis if first.recurring else None,
        resource=f"series:{subject}",
        effort=first.effort,
    )


def _name(one: Finding) -> str:
    return one.resource.removeprefix("series:")


def _parts(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Return the first parts, and the sum of all others as one."""
    others = sum((part.amount for part in parts[PARTS_MAX:]), Decimal(0))
    return (*parts[:PARTS_MAX], *([Part("all others", others)] if len(parts) > PARTS_MAX else []))


def _observed(rest: Sequence[Finding]) -> Observed | None:
    """Return the sums over all; the range of the sum is the sum of the ranges, as if all were off the same way."""
    seen = [(one, one.evidence.observed) for one in rest if one.evidence.observed]
    if not seen:
        return None
    actual, expected, lower, upper = (
        sum((getattr(each, name) for _, each in seen), Decimal(0)) for name in ("actual", "expected", "lower", "upper")
    )
    days = Period(min(each.days.start for _, each in seen), max(each.days.end for _, each in seen))
    return Observed(days, actual, expected, lower, upper, _parts([Part(_name(one), each.impact) for one, each in seen]))


def _chart(rest: Sequence[Finding]) -> dict[str, list[object]]:
    """Return the sums of the charts over the days that all of them show; where one expects nothing yet, what it cost."""
    charts = [one.evidence.chart for one in rest]
    shown = sorted(set.intersection(*({str(day) for day in chart["x"]} for chart in charts)))
    places = [{str(day): at for at, day in enumerate(chart["x"])} for chart in charts]

    def total(name: str) -> list[object]:
        return [
            str(
                sum(
                    Decimal(str(chart["y"][place[day]] if chart[name][place[day]] is None else chart[name][place[day]]))
                    for chart, place in zip(charts, places, strict=True)
                )
            )
            for day in shown
        ]

    return {"x": list(shown), **{name: total(name) for name in ("y", "expected", "lower", "upper")}}
