"""What a machine could be instead, as advice: shares from list prices, with the evidence in words and figures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import polars as pl

from bursar.kernel.finding import Finding, PriceUsed
from bursar.kernel.period import Period
from bursar.parts.cloud.rules import machines
from bursar.parts.cloud.rules.advice import Advice, short, yearly
from bursar.parts.cloud.rules.netting import Saving
from bursar.parts.cloud.rules.telling import NOTHING, Words, told
from bursar.parts.cloud.rules.utilisation import EVIDENCE_DAYS_MIN

KINDS = (
    machines.RIGHTSIZE,
    machines.UNMEASURED,
    machines.IDLE,
    machines.ARCHITECTURE,
    machines.REGION,
    machines.LICENCE,
)
PLACES = Decimal("0.0001")
HALF = Decimal("0.5")

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Step:
    """How one kind of alternative is told.

    ``expected`` and ``low`` are shares of the saving that prices promise; ``formula`` says why.
    """

    kind: str
    title: str
    action: str
    formula: Callable[[Row], str]
    confidence: float
    expected: Decimal = Decimal(1)
    low: Decimal = Decimal("0.9")
    effort: str = "low"
    risk: str = "medium"


def _measured(row: Row) -> str:
    """Return the evidence of a machine in words and figures."""
    statistic = "averages" if row["averages"] else "maxima"
    return (
        f"CPU p95 {row['cpu_p95']:.1f} %, p99 {row['cpu_p99']:.1f} % of {row['samples']} {statistic}, memory at most "
        f"{row['memory_peak']:.1f} % in {row['measured_days']} days; with {1 - machines.ROOM:.0%} headroom it needs "
        f"{row['needs_vcpu']:.2f} of {row['vcpu']:g} vCPU and {row['needs_gib']:.1f} of {row['memory_gib']:g} GiB"
    )


def _listed(row: Row) -> str:
    return f"{row['instance_type_to']} lists at {row['price_to']:.4f} against {row['price']:.4f} an hour for {row['instance_type']}"


STEPS = {
    machines.RIGHTSIZE: _Step(
        machines.RIGHTSIZE, "{name} ({instance_type}) is larger than it needs to be",
        "Change it to {instance_type_to} at the next restart and watch CPU and memory for a week.",
        lambda row: f"{_listed(row)}; {_measured(row)}", 0.8,
    ),
    machines.ARCHITECTURE: _Step(
        machines.ARCHITECTURE, "{name} ({instance_type}) would cost less on an ARM processor",
        "Try {instance_type_to}; the software has to exist for ARM.",
        lambda row: f"{_listed(row)}, with as many cores and as much memory", 0.5, low=HALF, effort="medium",
    ),
    machines.LICENCE: _Step(
        machines.LICENCE, "{name} is not production and pays for a {os} licence by the hour",
        "Run it on a development subscription, a licence of your own or a free distribution.",
        lambda row: f"the same machine lists at {row['price_to']:.4f} without against {row['price']:.4f} an hour with the licence",
        0.5, low=HALF, effort="medium",
    ),
    machines.REGION: _Step(
        machines.REGION, "Machines of {region} would cost less in {region_to}",
        "Consider {region_to} for what is built anew; moving changes latency, may break rules about where data lies, and pays for transfer.",
        lambda row: f"{row['instance_type']} lists at {row['price_to']:.4f} in {row['region_to']} against {row['price']:.4f} in {row['region']}; half "
        "of the difference is expected to remain after transfer and moving",
        0.3, expected=HALF, low=NOTHING, effort="high", risk="high",
    ),
}  # fmt: skip


def alternatives(found: pl.DataFrame, market: pl.DataFrame, period: Period) -> list[Advice]:
    """Return every advice that prices and utilisation support for machines, before netting.

    Args:
        found: Machines with their evidence; see :func:`~bursar.parts.cloud.rules.machines.smaller`.
        market: The price lists, as :func:`~bursar.parts.cloud.rules.machines.named`.
        period: The days that the cost of ``found`` is of.
    """
    frames = {
        machines.RIGHTSIZE: machines.smaller(found, market),
        machines.ARCHITECTURE: machines.other_architecture(found, market),
        machines.LICENCE: machines.licensed(found, market),
        machines.REGION: machines.elsewhere(found, market),
    }
    advice = [
        _advice(STEPS[kind], row, period) for kind, frame in frames.items() for row in frame.iter_rows(named=True)
    ]
    return advice + [_idle(row, period) for row in machines.idle(found).iter_rows(named=True)]


def _saving(kind: str, row: Row, period: Period, shares: tuple[Decimal, Decimal, Decimal], confidence: float) -> Saving:
    low, share, high = (value.quantize(PLACES) for value in shares)
    return Saving(
        kind=kind,
        resource=row["resource"],
        currency=row["currency"],
        base=yearly(row["cost"], period),
        total=yearly(row["resource_cost"], period),
        share=share,
        low=min(low, share),
        high=max(high, share),
        confidence=confidence,
        scope="instance",
    )


def _advice(step: _Step, row: Row, period: Period) -> Advice:
    whole = 1 - row["price_to"] / row["price"]
    cautious = min(whole * step.low, 1 - row["price_cautious"] / row["price"])
    sure = step.confidence - (0.2 if step.kind == machines.RIGHTSIZE and row["averages"] else 0.0)
    words = {name: value for name, value in row.items() if isinstance(value, str)} | {"name": short(row["name"])}
    prices = tuple(
        PriceUsed(
            row[f"id{end}"],
            row[f"price{end}"],
            row["price_currency"],
            "hour",
            row[f"seen_on{end}"],
            row[f"source{end}"],
        )
        for end in ("", "_to")
    )
    moved = step.kind == machines.REGION
    return Advice(
        saving=_saving(step.kind, row, period, (cautious, whole * step.expected, whole), sure),
        title=step.title.format(**words),
        action=step.action.format(**words),
        formula=step.formula(row),
        resource_id=row["resource_id"],
        effort=step.effort,
        risk=step.risk,
        prices=prices,
        group=f"{row['provider']}/{row['account']}/{row['region']} to {row['region_to']}" if moved else "",
    )


def _idle(row: Row, period: Period) -> Advice:
    return Advice(
        saving=_saving(machines.IDLE, row, period, (HALF, Decimal("0.9"), Decimal(1)), 0.6),
        title=f"{short(row['name'])} ({row['instance_type']}) runs and does nothing",
        action="Ask its owner, stop it, and delete it after a month.",
        formula=f"all of its hours: CPU p99 {row['cpu_p99']:.1f} %, at most {row['cpu_peak']:.1f} %, of {row['samples']} samples",
        resource_id=row["resource_id"],
        risk="high",
    )


def unmeasured(found: pl.DataFrame, period: Period) -> list[Finding]:
    """Return one finding an account for machines whose memory nobody measured; no smaller machine is advised for them."""
    told_of = []
    groups = machines.unmeasured(found).group_by("provider", "account", "currency", maintain_order=True)
    for row in groups.agg(
        pl.len().alias("count"), pl.col("cost").sum(), pl.col("cpu_p99").max(), pl.col("name").head(5)
    ).iter_rows(named=True):
        names = ", ".join(map(short, row["name"]))
        words = Words(
            machines.UNMEASURED,
            f"{row['count']} machines of account {row['account'] or '(none)'} use little CPU, but their memory is unknown",
            "Report memory (CloudWatch agent, Azure's Available Memory Percentage, Ops Agent) and import it.",
            f"{names}: CPU p99 at most {row['cpu_p99']:.1f} %; without memory for {EVIDENCE_DAYS_MIN} days no smaller machine is advised",
        )
        subject = f"{row['provider']}/{row['account']}/unmeasured"
        told_of.append(
            told(words, subject=subject, period=period, amounts=(NOTHING, NOTHING, NOTHING), currency=row["currency"],
                 basis=yearly(row["cost"], period), confidence=0.95)
        )  # fmt: skip
    return told_of
