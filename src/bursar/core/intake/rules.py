"""What a batch is and how deliveries, parts of exports and statement balances are judged; pure."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any, ClassVar
from uuid import UUID

from bursar.kernel.errors import Problem, Refusal

NAME_CHARS_MAX = 500
"""Longest document name kept."""

FILES_PER_DELIVERY_MAX = 20_000
"""Most documents of one folder, archive or upload."""

_DAYS = ("opening_day", "closing_day", "first_day", "last_day")

_PART = re.compile(
    r"^(?P<stem>.*?)[-_.](?P<number>\d{1,5})(?P<rest>\.(csv|parquet|json|ndjson))(\.(gz|zst|zip))?$", re.IGNORECASE
)


class BatchState(StrEnum):
    """Where an import is."""

    IMPORTED = "imported"
    REFUSED = "refused"
    REVERTED = "reverted"


@dataclass(eq=False)
class NothingToImport(Refusal):
    """There is no file to import at {path}."""

    path: str


@dataclass(eq=False)
class NotOffered(Refusal):
    """{url} is not among the places that may be imported over HTTP; the operator names them in BURSAR_IMPORT_PREFIXES."""

    status: ClassVar[int] = 403
    url: str


@dataclass(eq=False)
class TooManyFiles(Refusal):
    """{path} holds more than {limit} files; import its folders one by one."""

    path: str
    limit: int


@dataclass(frozen=True, slots=True)
class Balance:
    """Whether one statement's opening balance plus its booked rows equals its closing balance.

    ``ties`` is None where the statement lacks a balance; ``off`` is closing minus (opening + rows). The days are
    those of the balances as the bank writes them and of the first and last row; None where there is none.
    """

    account: str
    currency: str
    opening: Decimal | None
    closing: Decimal | None
    total: Decimal
    rows: int
    opening_day: date | None = None
    closing_day: date | None = None
    first_day: date | None = None
    last_day: date | None = None

    @property
    def ties(self) -> bool | None:
        """Whether it ties; None when it cannot be told."""
        return None if self.off is None else self.off == 0

    @property
    def off(self) -> Decimal | None:
        """By how much it is off; None when it cannot be told."""
        if self.opening is None or self.closing is None:
            return None
        return self.closing - self.opening - self.total

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form with exact decimal strings."""
        return {
            "account": self.account,
            "currency": self.currency,
            "opening": None if self.opening is None else str(self.opening),
            "closing": None if self.closing is None else str(self.closing),
            "total": str(self.total),
            "rows": self.rows,
            **{name: day.isoformat() if (day := getattr(self, name)) else None for name in _DAYS},
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Balance":
        """Read what :meth:`to_json` wrote."""
        return cls(
            account=raw["account"],
            currency=raw["currency"],
            opening=None if raw["opening"] is None else Decimal(raw["opening"]),
            closing=None if raw["closing"] is None else Decimal(raw["closing"]),
            total=Decimal(raw["total"]),
            rows=raw["rows"],
            **{name: date.fromisoformat(raw[name]) for name in _DAYS if raw.get(name)},
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """One document's import: what was read, taken, known already and refused, and the exact totals taken."""

    id: UUID
    document: UUID
    file: str
    format: str
    title: str
    dataset: str
    kind: str
    state: BatchState
    certainty: float
    rows_read: int
    rows_taken: int
    rows_known: int
    rows_refused: int
    rows_replaced: int
    start: date | None
    end: date | None
    totals: Mapping[str, Decimal]
    balances: Sequence[Balance]
    notes: Sequence[str]
    imported_at: datetime
    already: bool = False
    problems: Sequence[Problem] = field(default_factory=tuple)


def part_of_export(name: str) -> tuple[str, int] | None:
    """Return (stem, number) of a numbered part of an export such as ``report-00002.csv.gz``; None for a whole file."""
    match = _PART.match(PurePosixPath(name).name)
    return (match["stem"] + match["rest"].lower(), int(match["number"])) if match else None


def siblings(name: str, existing: Iterable[tuple[UUID, str]]) -> frozenset[UUID]:
    """Return which existing batches are other parts of the same export as ``name``.

    Args:
        name: File name of the document that arrives.
        existing: (batch, file name) of batches of the same dataset and format.

    Returns:
        Batches with the same stem and another number, provided no batch already holds this very number (then the
        arriving file starts a newer export and replaces the older parts).
    """
    own = part_of_export(name)
    if own is None:
        return frozenset()
    parts = [(batch, part) for batch, file in existing if (part := part_of_export(file)) and part[0] == own[0]]
    if any(number == own[1] for _, (_, number) in parts):
        return frozenset()
    return frozenset(batch for batch, _ in parts)


def header_fingerprint(columns: Sequence[str]) -> str:
    """Return a stable fingerprint of a table header; spelling case and surrounding blanks do not matter."""
    cleaned = [column.strip().casefold() for column in columns]
    return hashlib.sha256(json.dumps(cleaned).encode()).hexdigest()[:32]
