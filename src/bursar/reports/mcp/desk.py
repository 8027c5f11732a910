"""What every tool has at hand, and how amounts and trace tokens look."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from bursar.core.findings.service import Kept
from bursar.infra.db import Database, Tx
from bursar.infra.lake import Lake
from bursar.infra.traces import Tracer
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Invalid
from bursar.kernel.finding import Evidence
from bursar.kernel.money import Money, plainly
from bursar.kernel.period import Period
from bursar.parts.cloud.prices.service import PriceList
from bursar.reports.trace.answer import Asking


@dataclass(frozen=True, slots=True)
class Desk:
    """What tools work with.

    Attributes:
        db: The database edge.
        lake: The lake.
        actor: Whoever started the server; every tool runs with these rights.
        clock: Reads the time.
        secret: 32 secret bytes that sign proposals.
        tracer: Makes and reads trace tokens.
        prices: Price lists.
    """

    db: Database
    lake: Lake
    actor: Actor
    clock: Callable[[], datetime]
    secret: bytes
    tracer: Tracer
    prices: PriceList

    def asking(self, tx: Tx) -> Asking:
        """Return who asks where, for figures that are worked out again."""
        return Asking(tx, self.actor, self.lake, self.clock(), self.prices)


def period(start: date, end: date) -> Period:
    """Return the period from ``start`` to ``end`` (excluded).

    Raises:
        Invalid: It is empty.
    """
    if start >= end:
        raise Invalid(f"The period from {start} to {end} is empty.", "`to` is the day after the last.")
    return Period(start, end)


def amount(value: Decimal | None, currency: str, trace: str) -> dict[str, str] | None:
    """Return an exact amount with its trace token; None where no bill tells it."""
    return None if value is None else {"amount": plainly(value, currency), "currency": currency, "trace": trace}


def evidence(found: Evidence, currency: str) -> dict[str, Any]:
    """Return formula, parts, prices and source rows; what an amount comes from is told beside it."""
    return {
        "formula": found.formula,
        "parts": [{"label": part.label, "amount": f"{part.amount:f}", "currency": currency} for part in found.parts],
        "prices": [
            {
                "id": price.id,
                "unit": price.unit,
                "day": price.day.isoformat(),
                "source": price.source,
                "amount": f"{price.amount:f}",
                "currency": price.currency,
            }
            for price in found.prices
        ],
        "rows": [
            {
                "file": row.file,
                "row": row.row,
                "text": row.text,
                "amount": amount(row.amount, row.currency or currency, f"{row.file}:{row.row}"),
            }
            for row in found.rows
        ],
        "rows_total": found.rows_total,
    }


def money(value: Money, trace: str) -> dict[str, str]:
    """Return money with its trace token."""
    return value.on_the_wire() | {"trace": trace}


def finding(kept: Kept) -> dict[str, Any]:
    """Return a finding in short."""
    found = kept.finding
    return {
        "id": kept.name,
        "kind": found.kind,
        "title": found.title,
        "state": kept.state.value,
        "worth": money(found.worth, kept.name),
        "counted": money(kept.counted, kept.name),
        "low": money(found.low, kept.name),
        "high": money(found.high, kept.name),
        "confidence": found.confidence,
        "recurring": found.recurring,
        "from": found.period.start.isoformat(),
        "to": found.period.end.isoformat(),
        "action": found.action,
        "due": kept.due and kept.due.isoformat(),
        "assignee": kept.assignee,
    }
