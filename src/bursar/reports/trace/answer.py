"""The form of an answer, and what every kind of figure needs to make one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from bursar.core.intake import service as intake
from bursar.infra.db import Tx
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.kernel.finding import Evidence, Part
from bursar.parts.cloud.prices.service import PriceList

PARTS_MAX = 20
"""Most parts told one by one, the largest first; the others are one part."""

ROWS_MAX = 50
"""Source rows told, the largest first."""

PRICES_MAX = 10
"""Prices told, those of the largest rows."""

LABEL_CHARS_MAX = 120


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks, inside of which transaction, when, and what is at hand."""

    tx: Tx
    actor: Actor
    lake: Lake
    now: datetime
    prices: PriceList


@dataclass(frozen=True, slots=True)
class Traced:
    """Where an amount comes from; the parts of ``evidence`` sum to ``amount`` exactly.

    Attributes:
        title: What it is, in one line.
        amount: The figure, in major units.
        currency: ISO 4217.
        evidence: Formula, parts, prices with dates, source rows.
    """

    title: str
    amount: Decimal
    currency: str
    evidence: Evidence

    def titled(self, title: str) -> "Traced":
        """Return the same under another title."""
        return replace(self, title=title)


def parts_of(sums: Sequence[tuple[str, Decimal]], whole: Decimal) -> tuple[Part, ...]:
    """Return at most :data:`PARTS_MAX` parts and one for all others; what rounding took is a part of its own.

    Args:
        sums: Label and exact amount of each part.
        whole: What they must sum to.
    """
    ranked = sorted((one for one in sums if one[1]), key=lambda one: (-abs(one[1]), one[0]))
    shown, others = ranked[:PARTS_MAX], ranked[PARTS_MAX:]
    parts = [Part(label[:LABEL_CHARS_MAX], amount) for label, amount in shown]
    if others:
        parts.append(Part(f"{len(others)} others", sum((amount for _, amount in others), Decimal(0))))
    left = whole - sum((part.amount for part in parts), Decimal(0))
    if left:
        parts.append(Part("rounding", left))
    return tuple(parts)


async def files_of(asking: Asking, batches: Sequence[str]) -> dict[str, str]:
    """Return the file name of each batch."""
    wanted = [UUID(batch) for batch in sorted({batch for batch in batches if batch})]
    found = await intake.file_names(asking.tx, asking.actor, batches=wanted)
    return {str(batch): name for batch, name in found.items()}
