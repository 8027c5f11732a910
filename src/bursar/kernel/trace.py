"""What an amount in an answer stands for: enough to work it out again, nothing that gives a right.

A figure becomes a token (:mod:`bursar.infra.traces`) that travels with the amount; whoever resolves it needs the rights that
the question needed. :mod:`bursar.reports.trace` works it out again with the code that answered first.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime
from decimal import Decimal
from typing import Any, get_args, get_type_hints
from uuid import UUID

Pairs = tuple[tuple[str, str | None], ...]
"""(dimension, value) pairs that all hold; a value of None means that there is none."""


@dataclass(frozen=True, slots=True)
class CostFigure:
    """A sum over cost lines: from ``start`` to the day before ``end``, of one kind of cost, of the lines a filter keeps."""

    start: date
    end: date
    currency: str
    kind: str = "effective"
    where: str = ""
    values: Pairs = ()


@dataclass(frozen=True, slots=True)
class BankFigure:
    """A sum over booked bank movements, money in less money out."""

    start: date
    end: date
    currency: str
    values: Pairs = ()


@dataclass(frozen=True, slots=True)
class SpentFigure:
    """A sum over the rows of a source of series, rounded half-even to ``places``.

    Attributes:
        source: ``cost``, ``payment`` or ``bank``.
        start: First day.
        end: The day after the last.
        currency: ISO 4217.
        places: Decimal places told.
        values: (dimension, value) pairs; pairs of one dimension are alternatives.
    """

    source: str
    start: date
    end: date
    currency: str
    places: int
    values: Pairs = ()


@dataclass(frozen=True, slots=True)
class BridgeFigure:
    """One amount of a bridge between two periods.

    Attributes:
        old_start: First day of the earlier period.
        old_end: The day after its last.
        new_start: First day of the later period.
        new_end: The day after its last.
        currency: Currency of the answer.
        kind: Which cost.
        where: Filter.
        rates: (currency, old rate, new rate) as given with the question.
        part: ``old``, ``new``, ``rest`` or a cause.
        service: The service a change is about; None for the whole cause.
    """

    old_start: date
    old_end: date
    new_start: date
    new_end: date
    currency: str
    kind: str
    where: str
    rates: tuple[tuple[str, str, str], ...]
    part: str
    service: str | None = None


@dataclass(frozen=True, slots=True)
class BudgetFigure:
    """One amount of the state of a budget in the period of a day; ``currency`` is that of the amount."""

    budget: UUID
    day: date
    part: str
    currency: str


@dataclass(frozen=True, slots=True)
class LedgerFigure:
    """An amount derived from transfers.

    Attributes:
        side: ``debits``, ``credits``, ``balance`` or ``earnings``; of an account also what is held now, ``debits_pending``
            or ``credits_pending``.
        currency: ISO 4217.
        account: Of this account; of all of ``kinds`` when None.
        kinds: Kinds of account, with commas; all when empty.
        since: First value date.
        until: Last value date.
        known_at: Only what was recorded by this instant.
    """

    side: str
    currency: str
    account: UUID | None = None
    kinds: str = ""
    since: date | None = None
    until: date | None = None
    known_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class WorthFigure:
    """What the balance of an account is worth in another currency at the end of a day, as known at an instant."""

    account: UUID
    into: str
    on: date
    known_at: datetime


@dataclass(frozen=True, slots=True)
class TransactionFigure:
    """The amount of one transaction, or of one part of its split, counted from 1."""

    transaction: UUID
    part: int | None = None


@dataclass(frozen=True, slots=True)
class TotalFigure:
    """Money worth acting on in one currency: ``worth``, ``low``, ``high`` or ``overlap`` of the open findings."""

    currency: str
    confidence_min: Decimal
    part: str


@dataclass(frozen=True, slots=True)
class AskedFigure:
    """One amount of an answer that is worked out by asking its question again.

    Attributes:
        question: Its name, see :data:`bursar.reports.trace.resolve.QUESTIONS`.
        part: Which amount of the answer.
        currency: ISO 4217.
        facts: (name, value) pairs: what was asked, and which row of the answer the amount stands in.
    """

    question: str
    part: str
    currency: str
    facts: Pairs = ()

    def fact(self, name: str) -> str:
        """Return the value of a fact; empty where there is none."""
        return next((value or "" for key, value in self.facts if key == name), "")

    def all_of(self, name: str) -> tuple[str | None, ...]:
        """Return the values of a fact that may have several, in order."""
        return tuple(value for key, value in self.facts if key == name)


Figure = (
    CostFigure
    | BankFigure
    | SpentFigure
    | BridgeFigure
    | BudgetFigure
    | LedgerFigure
    | WorthFigure
    | TransactionFigure
    | TotalFigure
    | AskedFigure
)
"""Everything a token may stand for, besides a finding, whose token is its id."""

_KINDS: Mapping[str, type[Any]] = {
    "c": CostFigure,
    "b": BankFigure,
    "s": SpentFigure,
    "d": BridgeFigure,
    "g": BudgetFigure,
    "l": LedgerFigure,
    "w": WorthFigure,
    "t": TransactionFigure,
    "f": TotalFigure,
    "a": AskedFigure,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_READERS: Mapping[type[Any], Callable[[str], Any]] = {
    datetime: datetime.fromisoformat,
    date: date.fromisoformat,
    UUID: UUID,
    Decimal: Decimal,
}


def written(figure: Figure) -> bytes:
    """Return the canonical bytes of a figure: equal figures give equal bytes."""
    facts = [_plain(getattr(figure, one.name)) for one in fields(figure)]
    while facts and facts[-1] in (None, "", []):
        facts.pop()
    return json.dumps([_NAMES[type(figure)], *facts], separators=(",", ":"), ensure_ascii=False).encode()


def read(body: bytes) -> Figure:
    """Return the figure that :func:`written` wrote; other bytes are a mistake of the caller."""
    name, *facts = json.loads(body)
    kind = _KINDS[name]
    hints = get_type_hints(kind)
    named = zip(fields(kind), facts, strict=False)
    figure: Figure = kind(**{one.name: _value(hints[one.name], fact) for one, fact in named})
    return figure


def _plain(value: object) -> object:
    match value:
        case None | str() | int():
            return value
        case tuple():
            return [_plain(one) for one in value]
        case date():  # an instant is one too
            return value.isoformat()
        case _:
            return str(value)


def _value(hint: Any, fact: Any) -> Any:
    if isinstance(fact, list):
        return tuple(tuple(one) if isinstance(one, list) else one for one in fact)
    reader = next((_READERS[one] for one in (hint, *get_args(hint)) if one in _READERS), None)
    return fact if fact is None or reader is None else reader(fact)
