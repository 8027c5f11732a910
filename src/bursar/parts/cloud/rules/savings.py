"""From rows that look wasteful to findings: yearly amounts, netting, wording and evidence that adds up."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, localcontext
from itertools import chain

import polars as pl

from bursar.kernel.finding import Evidence, Finding, Part, PriceUsed, SourceRow
from bursar.kernel.money import Money
from bursar.kernel.period import Period
from bursar.parts.cloud.rules import alternatives, endings, generations, orphans, trends, waste
from bursar.parts.cloud.rules.advice import DAYS_A_YEAR, Advice, short, yearly
from bursar.parts.cloud.rules.history import History
from bursar.parts.cloud.rules.netting import PRECISION, Saving, floored, net

SPREAD = Decimal("0.9")
"""What is paid may differ a little from list prices: the saving may be a tenth less."""

FINDINGS_MAX = 500
"""Most findings one run raises; the most valuable first."""

GROUP_SHOWN = 5
"""Of a group, source rows and prices of so many resources are shown."""

KINDS = (
    *(rule.kind for rule in waste.METER_RULES),
    waste.SCHEDULE.kind,
    generations.GENERATION,
    *alternatives.KINDS,
    "cloud.unused_commitment",
    "cloud.duplicate_charge",
    "cloud.untagged_spend",
    "cloud.transfer_jump",
    orphans.DATABASE_IDLE.kind,
    *trends.KINDS,
    *endings.KINDS,
)
"""Every kind of finding this part raises."""


def look(rows: pl.DataFrame, period: Period, seen: History | None = None) -> list[Advice]:
    """Return every advice that the bill alone supports, before netting.

    Args:
        rows: Rows of :func:`~bursar.parts.cloud.rules.waste.resources` of the days looked at.
        period: Those days.
        seen: What was billed before.
    """
    found: list[Advice] = []
    if rows.is_empty():
        return found
    if seen is not None:
        found += _told(orphans.outlived_disks(rows, seen), period, orphans.DISK_OUTLIVED)
        found += _told(orphans.idle_databases(rows, seen), period, orphans.DATABASE_IDLE)
    known = {(one.saving.kind, one.saving.resource) for one in found}
    for rule in waste.METER_RULES:
        told = _told(waste.by_meter(rows, rule), period, rule)
        found += [one for one in told if (one.saving.kind, one.saving.resource) not in known]
    found += _told(waste.never_sleeping(rows, days=period.days), period, waste.SCHEDULE)
    found += [_upgrade(row, period) for row in generations.upgrades(rows).iter_rows(named=True)]
    return found


def _told(frame: pl.DataFrame, period: Period, rule: waste.MeterRule) -> list[Advice]:
    return [
        Advice(
            saving=Saving(
                kind=rule.kind,
                resource=row["resource"],
                currency=row["currency"],
                base=yearly(row["cost"], period),
                total=yearly(row["resource_cost"], period),
                share=Decimal(rule.share),
                low=Decimal(rule.low),
                high=Decimal(rule.high),
                confidence=rule.confidence,
                scope=row["detail"] or "",
            ),
            title=rule.title.format(name=short(row["name"])),
            action=rule.action,
            formula=row.get("why") or rule.why,
            resource_id=row["resource_id"],
            effort=rule.effort,
            risk=rule.risk,
        )
        for row in frame.iter_rows(named=True)
    ]


def _upgrade(row: Mapping[str, object], period: Period) -> Advice:
    step = generations.step_of(str(row["detail"]))
    share = step.share
    prices = tuple(
        PriceUsed(size, price, "USD", "hour", generations.PRICED_ON, generations.PRICED_WHERE[step.provider])
        for size, price in ((step.size, step.price), (step.size_to, step.price_to))
    )
    name = short(str(row["name"]))
    return Advice(
        saving=Saving(
            kind=str(row["kind"]),
            resource=str(row["resource"]),
            currency=str(row["currency"]),
            base=yearly(Decimal(str(row["cost"])), period),
            total=yearly(Decimal(str(row["resource_cost"])), period),
            share=share,
            low=(share * SPREAD).quantize(Decimal("0.0001")),
            high=share,
            confidence=0.85,
            scope="instance",
        ),
        title=f"{name} ({row['detail']}) would cost less on the current generation",
        action=f"Change it to {step.to} with as many cores at the next restart.",
        formula=f"{step.size_to} lists at {step.price_to} against {step.price} an hour for {step.size}",
        resource_id=str(row["resource_id"]),
        prices=prices,
    )


Rows = Callable[[str], tuple[Sequence[SourceRow], int]]
"""Source rows of a resource id: the most telling, and how many there are."""


def findings(advice: Sequence[Advice], period: Period, rows: Rows) -> list[Finding]:
    """Net the advice and return it as findings, the most valuable first, at most :data:`FINDINGS_MAX`.

    The yearly sum of the high ends on one resource never exceeds what the resource costs; what is advised for a group of
    resources counts what netting left of each.
    """
    by_name = {(one.saving.kind, one.saving.resource, one.saving.currency): one for one in advice}
    groups: dict[tuple[str, str, str], list[tuple[Saving, Advice]]] = {}
    for saving in net([one.saving for one in advice]):
        one = by_name[saving.kind, saving.resource, saving.currency]
        groups.setdefault((saving.kind, one.group or saving.resource, saving.currency), []).append((saving, one))
    worth = [(sum((saving.expected for saving, _ in group), Decimal(0)), key) for key, group in groups.items()]
    chosen = sorted(
        (pair for pair in worth if pair[0] >= waste.MONEY_FLOOR), key=lambda one: (-one[0], one[1][1], one[1][0])
    )
    return [_finding(key[1], groups[key], period, rows) for _, key in chosen[:FINDINGS_MAX]]


def _finding(subject: str, group: Sequence[tuple[Saving, Advice]], period: Period, rows: Rows) -> Finding:
    """Return the finding about one resource, or about all resources of a group, told by the dearest of them."""
    ordered = sorted(group, key=lambda pair: (-pair[0].expected, pair[0].resource))
    saving, advice = ordered[0]
    currency = saving.currency
    with localcontext(prec=PRECISION):
        whole = sum((one.base for one, _ in ordered), Decimal(0))
        amount = floored(sum((one.expected for one, _ in ordered), Decimal(0)), currency)
        low = floored(sum((one.base * one.low for one, _ in ordered), Decimal(0)), currency)
        high = floored(sum((one.base * one.high for one, _ in ordered), Decimal(0)), currency)
    base = Money.rounded(whole, currency)
    cost = Money.rounded(sum((one.total for one, _ in ordered), Decimal(0)), currency)
    shown = f"{whole:.2f} {currency} a year (cost of {period.days} days x {DAYS_A_YEAR} / {period.days})"
    shown += f" x {saving.share:.1%}" if len(ordered) == 1 else f" of {len(ordered)} resources, for instance"
    told = [rows(one.resource_id) for _, one in ordered[:GROUP_SHOWN]]
    parts = (
        Part("cost a year of what is touched", base.amount),
        Part("what remains to be paid", amount.amount - base.amount),
    )
    return Finding(
        kind=saving.kind,
        subject=subject,
        period=period,
        title=advice.title[:120],
        worth=amount,
        low=low,
        high=high,
        confidence=saving.confidence,
        action=advice.action,
        evidence=Evidence(
            formula=f"{shown}: {advice.formula}",
            parts=parts,
            prices=tuple(dict.fromkeys(chain.from_iterable(one.prices for _, one in ordered[:GROUP_SHOWN]))),
            rows=tuple(chain.from_iterable(some for some, _ in told)),
            rows_total=sum(total for _, total in told),
        ),
        cost_basis=cost,
        resource=subject,
        effort=advice.effort,
        risk=advice.risk,
    )
