"""What can be asked of the ledger, and every way it can be refused."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from bursar.kernel.errors import Conflict, Invalid, NotFound, Refusal
from bursar.kernel.money import PLACES_MAX

AMOUNT_MINOR_MAX = 10**15
"""Largest amount of one transfer, in minor units."""

VOLUME_MAX = 9 * 10**18
"""Largest volume of an account, in minor units; below what a bigint holds."""

KEY_CHARS_MAX = 200
MEMO_CHARS_MAX = 2_000
TAGS_MAX = 20
RATE_MAX = 10**12
"""Every exchange rate is less."""

BATCH_MAX = 10_000
"""Most orders recorded in one transaction."""


class Guard(StrEnum):
    """A limit that an account never passes; holds count."""

    NONE = "none"
    DEBITS_WITHIN_CREDITS = "debits_within_credits"
    CREDITS_WITHIN_DEBITS = "credits_within_debits"


class Action(StrEnum):
    """What an order does."""

    POST = "post"
    HOLD = "hold"
    SETTLE = "settle"
    VOID = "void"
    EXPIRE = "expire"
    REVERSE = "reverse"


MOVES = frozenset({Action.POST, Action.SETTLE, Action.REVERSE})
"""Actions that change posted volumes."""

LETTING_GO = frozenset({Action.VOID, Action.EXPIRE})
"""Actions that free what is left of a hold."""

REFERRING = frozenset({Action.SETTLE, Action.VOID, Action.EXPIRE, Action.REVERSE})
"""Actions about an earlier transfer, named by ``of``."""


@dataclass(frozen=True, slots=True)
class Order:
    """One transfer asked for.

    Attributes:
        key: Idempotency key, unique in the organisation, 1 to 200 characters.
        action: What to do.
        debit: Account debited; None where the earlier transfer says it.
        credit: Account credited; None where the earlier transfer says it.
        amount: Minor units, positive; 0 means all that is left (settle, void, expire, reverse).
        currency: ISO 4217; "" where the earlier transfer says it.
        value_day: The day it counts for; may lie in the past.
        due: When a hold lapses by itself, if ever.
        of: The earlier transfer.
        entry: Orders of one batch with the same entry are recorded all or none.
        party: The counterparty.
        memo: Free text.
        tags: Name to value.
    """

    key: str
    action: Action
    value_day: date
    debit: UUID | None = None
    credit: UUID | None = None
    amount: int = 0
    currency: str = ""
    due: datetime | None = None
    of: UUID | None = None
    entry: UUID | None = None
    party: UUID | None = None
    memo: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    def digest(self) -> bytes:
        """Return the SHA-256 of the content, without the key: the same content again is no change."""
        tags = (
            "\x1e".join(f"{_apart(name)}\x1d{_apart(value)}" for name, value in sorted(self.tags.items()))
            if self.tags
            else ""
        )
        ids = "\x1f".join(str(one and one.int) for one in (self.debit, self.credit, self.of, self.entry, self.party))
        text = (
            f"{self.action.value}\x1f{ids}\x1f{self.amount}\x1f{self.currency}\x1f{self.value_day}\x1f{self.due}"
            f"\x1f{_apart(self.memo)}\x1f{tags}"
        )
        return hashlib.sha256(text.encode()).digest()


def check_currency(code: str) -> None:
    """Refuse what is not written as an ISO 4217 code with :class:`Invalid`."""
    if not (len(code) == 3 and code.isascii() and code.isupper() and code.isalpha()):
        raise Invalid(f"{code[:10]!r} is not an ISO 4217 currency code")


def check_rate(base: str, quote: str, rate: Decimal) -> None:
    """Refuse what is no exchange rate with :class:`Invalid`; the places of a rate are kept, all or none."""
    check_currency(base)
    check_currency(quote)
    if base == quote or not rate.is_finite() or not 0 < rate < RATE_MAX or round(rate, PLACES_MAX) != rate:
        raise Invalid(f"{base} to {quote} at {rate} is no exchange rate", f"Send at most {PLACES_MAX} places")


_ESCAPED = {code: f"\x1b{chr(code + 0x40)}" for code in range(0x1B, 0x20)}


def _apart(text: str) -> str:
    """Return a text that holds no separator of the digest, so that no two contents look the same."""
    return text if text.isprintable() else text.translate(_ESCAPED)


def check(order: Order) -> Refusal | None:
    """Return why the order is wrong in itself, or None."""
    if not 0 < len(order.key) <= KEY_CHARS_MAX or "\x00" in order.key:
        return Invalid(f"The key must have 1 to {KEY_CHARS_MAX} characters")
    if not 0 <= order.amount <= AMOUNT_MINOR_MAX:
        return Invalid(f"The amount of {order.key} is not between 1 and {AMOUNT_MINOR_MAX} minor units")
    if any("\x00" in text for text in (order.memo, *order.tags, *order.tags.values())):
        return Invalid(f"{order.key} has a NUL character in its memo or tags")
    if len(order.memo) > MEMO_CHARS_MAX or len(order.tags) > TAGS_MAX:
        return Invalid(f"{order.key} has more than {MEMO_CHARS_MAX} characters of memo or {TAGS_MAX} tags")
    if order.action in REFERRING:
        return _check_referring(order)
    return _check_new(order)


def _check_referring(order: Order) -> Refusal | None:
    if order.of is None:
        return Invalid(f"{order.key} does not say which transfer it is about", "Send of")
    if order.debit or order.credit or order.due:
        return Invalid(f"{order.key} takes accounts and due time from the earlier transfer", "Leave them out")
    return None


def _check_new(order: Order) -> Refusal | None:
    if order.of is not None or order.debit is None or order.credit is None:
        return Invalid(f"{order.key} needs a debit and a credit account, and no earlier transfer")
    if order.debit == order.credit:
        return Invalid(f"{order.key} debits and credits the same account")
    if order.amount == 0:
        return Invalid(f"{order.key} has no amount")
    if order.due is not None and (order.action is not Action.HOLD or order.due.tzinfo is None):
        return Invalid(f"{order.key}: only a hold has a due time, and it has a time zone")
    return None


@dataclass(eq=False)
class KeyReused(Conflict):
    """The key {key} was already used for another content."""

    what: str = ""
    key: str = ""


@dataclass(eq=False)
class NoSuchAccount(NotFound):
    """There is no account {key} here."""

    what: str = "account"
    key: str = ""


@dataclass(eq=False)
class WrongCurrency(Refusal):
    """Account {account} is in {is_in}, not in {asked}."""

    account: str
    is_in: str
    asked: str


@dataclass(eq=False)
class AccountClosed(Refusal):
    """Account {account} is closed."""

    status: ClassVar[int] = 409
    account: str


@dataclass(eq=False)
class LimitReached(Refusal):
    """Account {account} allows {available} more, and {amount} was asked (minor units)."""

    status: ClassVar[int] = 409
    account: str
    available: int
    amount: int


@dataclass(eq=False)
class BooksClosed(Refusal):
    """The books are closed through {closed_through}; {value_day} lies within."""

    status: ClassVar[int] = 409
    closed_through: date
    value_day: date


@dataclass(eq=False)
class NotOpen(Refusal):
    """Transfer {of} is not open for that: {why}."""

    status: ClassVar[int] = 409
    of: str
    why: str


@dataclass(eq=False)
class TooMuch(Refusal):
    """Transfer {of} has {left} left, and {amount} was asked (minor units)."""

    status: ClassVar[int] = 409
    of: str
    left: int
    amount: int


@dataclass(eq=False)
class LinkFailed(Refusal):
    """Not recorded, because {failed} of the same entry was refused."""

    status: ClassVar[int] = 409
    failed: str
