"""Payments made twice: same payee and amount within days, outside the payee's own rhythm."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from difflib import SequenceMatcher

import polars as pl

from bursar.parts.banking.rules.recurring import Recurring

WINDOW_DAYS = 21
"""Two payments of one invoice are booked at most this many days apart."""

FLOOR = Decimal(50)
"""Smallest amount, in major units of its currency, worth a look."""

REFERENCE_CHARS_MIN = 4
"""Shortest reference that can prove two payments to be of one invoice."""


LIKENESS_MIN = 0.8
"""References this alike (share of equal characters) may be one number typed twice."""

SERIAL_STEPS_MAX = 100
"""References whose numbers are this near are invoices that follow each other, not one invoice with a slip."""

SAME_STATEMENT_SHARE = 0.8
"""Two files of different accounts that share this much of what they both cover are one account exported twice."""

BOOKED_WITHIN_DAYS = 7
"""A bank books a payment at most this many days from the day that a list of payments gives it."""

_NUMBER = re.compile(r"(.*?)([0-9]+)")


def alike(one: str, other: str) -> float:
    """Return how alike two references are, from 0 to 1; 0 when either is too short to prove anything."""
    if min(len(one), len(other)) < REFERENCE_CHARS_MIN:
        return 0.0
    likeness = SequenceMatcher(None, one, other, autojunk=False).ratio()
    return 0.0 if likeness < 1 and _follow(one, other) else likeness


def _follow(one: str, other: str) -> bool:
    """Tell whether two references are numbers of one series, near each other."""
    first, second = _NUMBER.fullmatch(one), _NUMBER.fullmatch(other)
    if first is None or second is None or first[1] != second[1]:
        return False
    return abs(int(first[2]) - int(second[2])) <= SERIAL_STEPS_MAX


@dataclass(frozen=True, slots=True)
class Double:
    """Two payments that look like one obligation paid twice, from one account or two.

    ``sure`` is a probability, ``why`` says what speaks for it.
    """

    account: str
    payee: str
    label: str
    currency: str
    amount: Decimal
    days: tuple[date, date]
    rows: tuple[tuple[str, int], tuple[str, int]]
    reference: str
    sure: float
    why: str
    accounts: int = 1


def doubles(lines: pl.DataFrame, series: list[Recurring]) -> list[Double]:
    """Find payments made twice.

    A pair counts when payee, currency and amount are equal, it lies within :data:`WINDOW_DAYS`, and the amount is not
    usual for that payee: it occurs exactly twice in the year around, and not as part of a recurring series. An equal
    reference makes it nearly certain.

    Args:
        lines: Booked movements with ``payee``, ``label`` and ``reference_key`` (digits and letters of the reference).
        series: Recurring series of the same movements.

    Returns:
        Pairs, the largest amount first.
    """
    regular = {(one.payee, one.currency) for one in series if one.per_year >= 26 or one.varies == 0}
    out = lines.filter(pl.col("amount") <= -FLOOR).sort("booking_date", "row")
    keys = ["payee", "currency", "amount"]
    pairs = (
        out.group_by(keys, maintain_order=True)
        .agg("account", pl.col("label").first(), "booking_date", "batch", "row", "reference_key")
        .filter(pl.col("booking_date").list.len() >= 2)
    )
    found = []
    for row in pairs.iter_rows(named=True):
        found += _pairs_in(row, regular=(row["payee"], row["currency"]) in regular)
    twice = _exported_twice(lines, {(pair.rows[0][0], pair.rows[1][0]) for pair in found if pair.accounts > 1})
    kept = [pair for pair in found if (pair.rows[0][0], pair.rows[1][0]) not in twice]
    return sorted(kept, key=lambda pair: (-pair.amount, pair.payee))


def _exported_twice(lines: pl.DataFrame, suspects: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the pairs of files that show the same movements under two names of one account."""
    found = set()
    keys = ["booking_date", "amount", "currency"]
    for first, second in sorted(suspects):
        if first == second:
            continue
        sides = [lines.filter(pl.col("batch") == batch).select(keys) for batch in (first, second)]
        start = max(side["booking_date"].min() for side in sides)  # type: ignore[type-var]
        end = min(side["booking_date"].max() for side in sides)  # type: ignore[type-var]
        counts = [side.filter(pl.col("booking_date").is_between(start, end)).group_by(keys).len() for side in sides]
        both = counts[0].join(counts[1], on=keys).select(pl.min_horizontal("len", "len_right").sum()).item()
        if both >= SAME_STATEMENT_SHARE * max(int(count["len"].sum()) for count in counts):
            found.add((first, second))
    return found


def _pairs_in(row: dict[str, list[object] | object], *, regular: bool) -> list[Double]:
    days: list[date] = row["booking_date"]  # type: ignore[assignment]
    batches: list[str] = row["batch"]  # type: ignore[assignment]
    numbers: list[int] = row["row"]  # type: ignore[assignment]
    references: list[str] = row["reference_key"]  # type: ignore[assignment]
    accounts: list[str] = row["account"]  # type: ignore[assignment]
    found = []
    for first in range(len(days) - 1):
        second = first + 1
        near = (days[second] - days[first]).days <= WINDOW_DAYS
        reference = references[second] or ""
        likeness = alike(references[first] or "", reference)
        proven = likeness == 1
        if not near or (not proven and (regular or len(days) > 2)):
            continue
        if references[first] and reference and likeness < LIKENESS_MIN:
            continue
        sure, why = (0.97, "same reference") if proven else (0.7, "no other payment of this amount to this payee")
        if LIKENESS_MIN <= likeness < 1:
            sure, why = 0.85, f"references {references[first]} and {reference} differ by a typing slip"
        found.append(
            Double(
                account=accounts[0],
                payee=str(row["payee"]),
                label=str(row["label"]),
                currency=str(row["currency"]),
                amount=-row["amount"],  # type: ignore[operator]
                days=(days[first], days[second]),
                rows=((batches[first], numbers[first]), (batches[second], numbers[second])),
                reference=reference if proven else "",
                sure=sure,
                why=why,
                accounts=len({accounts[first], accounts[second]}),
            )
        )
    return found


def untold(listed: Sequence[Double], booked: Sequence[Double]) -> list[Double]:
    """Return the pairs of a list of payments that no pair of bank lines tells: who has both has each payment in both."""
    return [one for one in listed if not any(_is(one, other) for other in booked)]


def _is(listed: Double, booked: Double) -> bool:
    apart = max(abs((one - other).days) for one, other in zip(listed.days, booked.days, strict=True))
    same = (listed.currency, listed.amount) == (booked.currency, booked.amount)
    return same and apart <= BOOKED_WITHIN_DAYS
