"""What every tool has at hand, and how amounts and trace tokens look."""

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from bursar.core.findings.service import Kept
from bursar.infra.db import Database
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Invalid
from bursar.kernel.money import Money
from bursar.kernel.period import Period

TOKEN_CHARS_MAX = 8000
MARK = "rows."
"""Beginning of a trace token that stands for source rows; that of a finding is its id."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What tools work with.

    Attributes:
        db: The database edge.
        lake: The lake.
        actor: Whoever started the server; every tool runs with these rights.
        clock: Reads the time.
        secret: 32 secret bytes that sign proposals.
    """

    db: Database
    lake: Lake
    actor: Actor
    clock: Callable[[], datetime]
    secret: bytes


@dataclass(frozen=True, slots=True)
class Wanted:
    """The source rows behind an amount: of a source, in a period, kept by a filter, with given values.

    Attributes:
        source: ``cost`` or ``bank``.
        start: First day.
        end: The day after the last.
        where: Filter over cost lines; empty for all.
        kind: Which cost.
        values: (dimension, value) pairs that hold; a value of None means that there is none.
    """

    source: str
    start: date
    end: date
    where: str = ""
    kind: str = "effective"
    values: tuple[tuple[str, str | None], ...] = ()

    def token(self) -> str:
        """Return the trace token; it is a description, not a right: reading it checks the reader's rights."""
        plain = asdict(self) | {"start": self.start.isoformat(), "end": self.end.isoformat()}
        text = json.dumps(plain, separators=(",", ":"), sort_keys=True)
        return MARK + base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def read(cls, token: str) -> "Wanted":
        """Return what a token stands for.

        Raises:
            Invalid: It is not a token of this kind.
        """
        body = token.removeprefix(MARK) if token.startswith(MARK) and len(token) <= TOKEN_CHARS_MAX else ""
        try:
            raw = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
            pairs = tuple((str(name), None if value is None else str(value)) for name, value in raw["values"])
            start, end = date.fromisoformat(raw["start"]), date.fromisoformat(raw["end"])
            return cls(str(raw["source"]), start, end, str(raw["where"]), str(raw["kind"]), pairs)
        except (ValueError, KeyError, TypeError, binascii.Error) as error:
            raise Invalid(
                f"{token[:40]!r} is not a trace token of rows.",
                "Use a `trace` of query_money; F12 goes to explain_finding.",
            ) from error


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
    return None if value is None else {"amount": f"{value:f}", "currency": currency, "trace": trace}


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
