"""From rows that look wasteful to findings: yearly amounts, netting, wording and evidence that adds up."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, localcontext

import polars as pl

from bursar.kernel.finding import Evidence, Finding, Part, PriceUsed, SourceRow
from bursar.kernel.money import Money
from bursar.kernel.period import Period
from bursar.parts.cloud.rules import endings, generations, orphans, trends, waste
from bursar.parts.cloud.rules.history import History
from bursar.parts.cloud.rules.netting import PRECISION, Saving, floored, net

DAYS_A_YEAR = 365
FINDINGS_MAX = 500
"""Most findings one run raises; the most valuable first."""

NAME_CHARS_MAX = 60
ARM_SPREAD = Decimal("0.5")
"""A new architecture may need more or fewer cores: the saving may be half of what prices say."""

KINDS = (
    *(rule.kind for rule in waste.METER_RULES),
    waste.SCHEDULE.kind,
    generations.GENERATION,
    generations.ARCHITECTURE,
    "cloud.unused_commitment",
    "cloud.duplicate_charge",
    "cloud.untagged_spend",
    "cloud.transfer_jump",
    orphans.DATABASE_IDLE.kind,
    *trends.KINDS,
    *endings.KINDS,
)
"""Every kind of finding this part raises."""


@dataclass(frozen=True, slots=True)
class Advice:
    """A saving with the words around it.

    ``prices`` are those the share rests on; ``resource_id`` finds the source rows.
    """

    saving: Saving
    title: str
    action: str
    formula: str
    resource_id: str
    effort: str = "low"
    risk: str = "low"
    prices: tuple[PriceUsed, ...] = field(default_factory=tuple)


def yearly(amount: Decimal, period: Period) -> Decimal:
    """Return ``amount`` of ``period`` as a year of 365 days."""
    with localcontext(prec=PRECISION):
        return amount * DAYS_A_YEAR / period.days


def _short(name: str) -> str:
    tail = name.rsplit("/", 1)[-1] if len(name) > NAME_CHARS_MAX else name
    return tail if len(tail) <= NAME_CHARS_MAX else "…" + tail[-(NAME_CHARS_MAX - 1) :]


def look(uses: pl.DataFrame, period: Period, seen: History | None = None) -> list[Advice]:
    """Return every advice that the uses of ``period`` and what was ``seen`` before support, before netting."""
    rows = waste.resources(uses)
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
            title=rule.title.format(name=_short(row["name"])),
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
    spread = ARM_SPREAD if step.arm else Decimal("0.9")
    prices = tuple(
        PriceUsed(size, price, "USD", "hour", generations.PRICED_ON, generations.PRICED_WHERE[step.provider])
        for size, price in ((step.size, step.price), (step.size_to, step.price_to))
    )
    name = _short(str(row["name"]))
    what = "an ARM processor" if step.arm else "the current generation"
    return Advice(
        saving=Saving(
            kind=str(row["kind"]),
            resource=str(row["resource"]),
            currency=str(row["currency"]),
            base=yearly(Decimal(str(row["cost"])), period),
            total=yearly(Decimal(str(row["resource_cost"])), period),
            share=share,
            low=(share * spread).quantize(Decimal("0.0001")),
            high=share,
            confidence=0.5 if step.arm else 0.85,
            scope="instance",
        ),
        title=f"{name} ({row['detail']}) would cost less on {what}",
        action=f"Change it to {step.to} with as many cores at the next restart.",
        formula=f"{step.size_to} lists at {step.price_to} against {step.price} an hour for {step.size}",
        resource_id=str(row["resource_id"]),
        effort="medium" if step.arm else "low",
        risk="medium" if step.arm else "low",
        prices=prices,
    )


Rows = Callable[[str], tuple[Sequence[SourceRow], int]]
"""Source rows of a resource id: the most telling, and how many there are."""


def findings(advice: Sequence[Advice], period: Period, rows: Rows) -> list[Finding]:
    """Net the advice and return it as findings, the most valuable first, at most :data:`FINDINGS_MAX`.

    The yearly sum of the high ends on one resource never exceeds what the resource costs.
    """
    netted = net([one.saving for one in advice])
    by_name = {(one.saving.kind, one.saving.resource, one.saving.currency): one for one in advice}
    worth = [one for one in netted if one.expected >= waste.MONEY_FLOOR]
    worth.sort(key=lambda one: (-one.expected, one.resource, one.kind))
    return [_finding(one, by_name[one.kind, one.resource, one.currency], period, rows) for one in worth[:FINDINGS_MAX]]


def _finding(saving: Saving, advice: Advice, period: Period, rows: Rows) -> Finding:
    currency = saving.currency
    with localcontext(prec=PRECISION):
        amount = floored(saving.expected, currency)
        low, high = floored(saving.base * saving.low, currency), floored(saving.base * saving.high, currency)
        base = Money.rounded(saving.base, currency)
        cost = Money.rounded(saving.total, currency)
    told, total = rows(advice.resource_id)
    shown = f"{saving.base:.2f} {currency} a year (cost of {period.days} days x {DAYS_A_YEAR} / {period.days}) x {saving.share:.1%}"
    parts = (
        Part("cost a year of what is touched", base.amount),
        Part("what remains to be paid", amount.amount - base.amount),
    )
    return Finding(
        kind=saving.kind,
        subject=saving.resource,
        period=period,
        title=advice.title[:120],
        worth=amount,
        low=low,
        high=high,
        confidence=saving.confidence,
        action=advice.action,
        evidence=Evidence(
            formula=f"{shown}: {advice.formula}", parts=parts, prices=advice.prices, rows=tuple(told), rows_total=total
        ),
        cost_basis=cost,
        resource=saving.resource,
        effort=advice.effort,
        risk=advice.risk,
    )
