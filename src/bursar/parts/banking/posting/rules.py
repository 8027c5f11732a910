"""What has to be booked for a bank line, and what stood on an account before its first line. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache
from hashlib import blake2b
from typing import Any
from uuid import UUID

from bursar.core.ledger.service import Action, NewAccount, Order
from bursar.kernel.money import Money

NAME_CHARS_MAX = 160
"""Longest account number or category that stands in a ledger code as it is; a longer one ends in its hash."""
MEMO_CHARS_MAX = 500
CODES_KEPT = 10_000
"""Ledger accounts that are not made anew for every line."""
TAGS_MAX = 18
"""User tags carried into the ledger, which takes 20 with department and booking day."""
TAG_VALUE = "yes"

Accounts = Mapping[str, UUID]
"""Ledger account by code."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing to book: a whole transaction (place 0) or a part of a split (from 1).

    Attributes:
        transaction: Its id.
        place: 0, or the number of the part.
        account: Own account, as the statement names it.
        currency: ISO 4217 code.
        day: Booking day.
        minor: Signed minor units, money in is positive; rounded half-even where the statement has more places.
        category: What it was for; None where nobody decided.
        transfer: Whether it is one leg of a transfer between own accounts.
        party: The counterparty.
        memo: Who, for people.
        tags: Department and user tags.
    """

    transaction: UUID
    place: int
    account: str
    currency: str
    day: date
    minor: int
    category: str | None
    transfer: bool = False
    party: UUID | None = None
    memo: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


def _named(name: str) -> str:
    return name if len(name) <= NAME_CHARS_MAX else f"{name[:120]}~{blake2b(name.encode(), digest_size=8).hexdigest()}"


@lru_cache(maxsize=CODES_KEPT)
def bank_account(account: str, currency: str) -> NewAccount:
    """Return the ledger account of an own account."""
    return NewAccount(f"asset:bank:{_named(account)}:{currency}", "asset", currency, name=account[:NAME_CHARS_MAX])


@lru_cache(maxsize=CODES_KEPT)
def category_account(kind: str, category: str, currency: str) -> NewAccount:
    """Return the ledger account of a category; ``kind`` is income or expense."""
    return NewAccount(f"{kind}:{_named(category)}:{currency}", kind, currency, name=category)


def opening_account(currency: str) -> NewAccount:
    """Return the equity account that opening balances come from."""
    return NewAccount(f"equity:opening-balances:{currency}", "equity", currency, name="Opening balances")


def counter_account(entry: Entry, kinds: Mapping[str, str]) -> NewAccount:
    """Return what an entry is booked against.

    Args:
        entry: The entry.
        kinds: Category to ``income`` or ``expense``.
    """
    if entry.transfer:
        code = f"asset:clearing:own-transfers:{entry.currency}"
        return NewAccount(code, "asset", entry.currency, name="Transfers between own accounts")
    if entry.category is None:
        return category_account("income" if entry.minor > 0 else "expense", "uncategorised", entry.currency)
    return category_account(kinds[entry.category], entry.category, entry.currency)


def key_of(transaction: UUID, place: int, generation: int) -> str:
    """Return the idempotency key of an entry's transfer."""
    return f"bank:{transaction.hex}:{place}:{generation}"


def order_of(entry: Entry, accounts: Accounts, kinds: Mapping[str, str]) -> Order:
    """Return the transfer of an entry, without a key: money in debits the bank account, money out credits it."""
    bank = accounts[bank_account(entry.account, entry.currency).code]
    counter = accounts[counter_account(entry, kinds).code]
    debit, credit = (bank, counter) if entry.minor > 0 else (counter, bank)
    return Order(
        "", Action.POST, entry.day, debit, credit, abs(entry.minor), entry.currency, party=entry.party, memo=entry.memo, tags=entry.tags
    )  # fmt: skip


def on_open_day(order: Order, closed_through: date | None) -> Order:
    """Return the order on the first open day where its own is closed, with its own day in the tag ``booked``."""
    if closed_through is None or order.value_day > closed_through:
        return order
    tags = {**order.tags, "booked": order.value_day.isoformat()}
    return replace(order, value_day=closed_through + timedelta(days=1), tags=tags)


def tags_of(department: str, tags: Sequence[str]) -> dict[str, str]:
    """Return the tags of a transfer: the department, and each tag of the user's as a name of its own."""
    told = {tag: TAG_VALUE for tag in tags[:TAGS_MAX] if tag not in {"department", "booked"}}
    return told | ({"department": department} if department else {})


def kinds_of(sums: Iterable[tuple[str, Decimal]]) -> dict[str, str]:
    """Return whether new categories are income or expense: by the sign of everything under them."""
    return {category: "income" if total > 0 else "expense" for category, total in sums}


@dataclass(frozen=True, slots=True)
class Stated:
    """A balance that a statement states: before its rows from ``opening_day`` on, after them at the end of ``closing_day``.

    ``last_day`` is that of its last row: banks also date a closing on the day on which the next statement begins.
    """

    account: str
    currency: str
    opening: Decimal | None
    closing: Decimal | None
    opening_day: date
    closing_day: date
    last_day: date
    file: str = ""


@dataclass(frozen=True, slots=True)
class Anchor:
    """The earliest stated balance of an account, and whether lines of the day itself come before it (a closing)."""

    account: str
    currency: str
    balance: Decimal
    day: date
    closing: bool


def anchors(stated: Iterable[Stated]) -> list[Anchor]:
    """Return for each account and currency the balance that its opening is reckoned from: the earliest stated one."""
    found: dict[tuple[str, str], Anchor] = {}
    for one in stated:
        if one.opening is not None:
            anchor = Anchor(one.account, one.currency, one.opening, one.opening_day, closing=False)
        elif one.closing is not None:
            anchor = Anchor(one.account, one.currency, one.closing, one.closing_day, closing=True)
        else:
            continue
        before = found.get((one.account, one.currency))
        if before is None or (anchor.day, anchor.closing) < (before.day, before.closing):
            found[one.account, one.currency] = anchor
    return list(found.values())


def last_closings(stated: Iterable[Stated]) -> list[Stated]:
    """Return the statements whose closing can be compared: of several on one day of an account the last one counts."""
    found = {(one.account, one.currency, one.closing_day): one for one in stated if one.closing is not None}
    return [found[key] for key in sorted(found)]


def row_entries(row: Any, transfer_category: str) -> Entry | None:
    """Return the entry of a row of :func:`~bursar.parts.banking.posting.store.facts`; None when nothing is booked."""
    if not row.live:
        return None
    whole = row.place is None
    decided = row.category if whole and row.state in {"automatic", "confirmed"} else None
    category = decided if whole else row.part_category
    return Entry(
        row.id, 0 if whole else row.place + 1, row.account, row.currency, row.booking_date,
        Money.rounded(row.amount if whole else row.part, row.currency).minor, category, category == transfer_category, row.party,
        row.label[:MEMO_CHARS_MAX], tags_of(row.part_department or row.department, row.tags),
    )  # fmt: skip
