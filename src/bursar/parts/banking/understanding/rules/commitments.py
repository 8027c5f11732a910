"""Which commitment of the books a row fulfils; pure."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from uuid import UUID

from bursar.kernel.money import Money
from bursar.parts.banking.understanding.rules.answers import Answer, Row

COMMITMENT_DAYS_EARLY = 14
COMMITMENT_DAYS_LATE = 45
"""How long before and after its day a commitment may be paid."""
TELLING_CHARS_MIN = 4
"""Shorter words of a commitment say too little."""


@dataclass(frozen=True, slots=True)
class Promise:
    """A commitment in the books that a row may fulfil; ``minor`` is signed, in the currency's minor units."""

    id: UUID
    category: str
    minor: int
    currency: str
    day: date
    party: UUID | None
    words: tuple[str, ...]


def fulfilled(rows: Sequence[Row], promises: Sequence[Promise]) -> dict[UUID, Answer]:
    """Return an answer for each row that exactly one commitment fits: its exact amount, near its day, its party or a word.

    A commitment to a party fits that party's rows only; one without a party must share a telling word.
    """
    by_amount: dict[tuple[str, int], list[Promise]] = defaultdict(list)
    for promise in promises:
        by_amount[promise.currency, promise.minor].append(promise)
    found = {}
    for row in rows:
        same = by_amount.get((row.currency, Money.rounded(row.amount, row.currency).minor), ())
        fitting = [one for one in same if _fits(row, one)]
        if len(fitting) == 1:
            one = fitting[0]
            who = "the same counterparty" if one.party else "a word in common"
            found[row.id] = Answer(
                "commitment",
                one.category,
                0.95 if one.party else 0.8,
                f"the exact amount of a commitment for {one.day}, with {who}",
                {"hold": str(one.id), "due": one.day.isoformat()},
            )
    return found


def paid(rows: Sequence[Row], promises: Sequence[Promise]) -> set[UUID]:
    """Return the commitments that rows have paid: each row, the oldest first, pays the nearest in time that it fits."""
    open_: dict[tuple[str, int], list[Promise]] = defaultdict(list)
    for one in promises:
        open_[one.currency, one.minor].append(one)
    found = set()
    for row in rows:
        same = open_[row.currency, Money.rounded(row.amount, row.currency).minor]
        fitting = [one for one in same if _fits(row, one)]
        if fitting:
            nearest = min(fitting, key=lambda one: (abs(row.day - one.day), one.day, one.id))
            same.remove(nearest)
            found.add(nearest.id)
    return found


def _fits(row: Row, one: Promise) -> bool:
    near = timedelta(days=-COMMITMENT_DAYS_EARLY) <= row.day - one.day <= timedelta(days=COMMITMENT_DAYS_LATE)
    if not near:
        return False
    telling = {word for word in one.words if len(word) >= TELLING_CHARS_MIN}
    return row.party == one.party if one.party else bool(telling & set(row.words))
