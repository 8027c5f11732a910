"""Which orders of a batch are admitted: one pass in order over the locked state; a refused order leaves no trace.

The database's own constraints hold the same rules; this pass exists so that a failing member fails alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from uuid import UUID

from bursar.core.ledger.rules.orders import (
    LETTING_GO,
    MOVES,
    REFERRING,
    VOLUME_MAX,
    AccountClosed,
    Action,
    BooksClosed,
    Guard,
    KeyReused,
    LimitReached,
    LinkFailed,
    NoSuchAccount,
    NotOpen,
    Order,
    TooMuch,
    WrongCurrency,
    check,
)
from bursar.kernel.errors import Refusal


@dataclass(slots=True)
class Account:
    """The locked state of an account, volumes in minor units; changed as orders are admitted."""

    id: UUID
    currency: str
    guard: str = Guard.NONE
    closed: bool = False
    debits_posted: int = 0
    credits_posted: int = 0
    debits_pending: int = 0
    credits_pending: int = 0

    def volumes(self) -> tuple[int, int, int, int]:
        """Return debits posted, credits posted, debits pending, credits pending."""
        return self.debits_posted, self.credits_posted, self.debits_pending, self.credits_pending


@dataclass(slots=True)
class Earlier:
    """An earlier transfer and how much of it is used (settled, let go or reversed)."""

    id: UUID
    kind: str
    debit: UUID
    credit: UUID
    amount: int
    currency: str
    due: datetime | None = None
    used: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """A transfer already recorded under a key."""

    id: UUID
    digest: bytes


@dataclass(frozen=True, slots=True)
class Admitted:
    """An order to write down, with what the earlier transfer added."""

    id: UUID
    order: Order
    digest: bytes
    debit: UUID
    credit: UUID
    amount: int
    currency: str


@dataclass(slots=True)
class Outcome:
    """What became of one order: recorded (``new``), recorded before, or refused."""

    id: UUID | None = None
    new: bool = False
    refusal: Refusal | None = None


@dataclass(slots=True)
class Batch:
    """The locked state an admission works on, and what it admits.

    Attributes:
        accounts: By id; missing ones do not exist.
        earlier: Transfers that orders refer to, by id.
        known: Transfers already recorded, by key.
        closed_through: Last day of closed books.
        now: Instant of recording.
        new_id: Makes ids of transfers.
    """

    accounts: Mapping[UUID, Account]
    earlier: dict[UUID, Earlier]
    known: dict[str, Known]
    closed_through: date | None
    now: datetime
    new_id: Callable[[], UUID]
    admitted: list[Admitted] = field(default_factory=list)
    used: dict[UUID, int] = field(default_factory=dict)

    def admit(self, orders: Sequence[Order]) -> list[Outcome]:
        """Admit what can be admitted, in order; adjacent orders of one entry stand or fall together.

        Returns:
            Shape (n,): the outcome of each order.
        """
        outcomes: list[Outcome] = []
        at = 0
        while at < len(orders):
            entry, end = orders[at].entry, at + 1
            while entry is not None and end < len(orders) and orders[end].entry == entry:
                end += 1
            outcomes += self._linked(orders[at:end]) if end - at > 1 else [self._one(orders[at], None)]
            at = end
        return outcomes

    def _linked(self, orders: Sequence[Order]) -> list[Outcome]:
        undo: list[Callable[[], None]] = []
        mark = len(self.admitted)
        outcomes = [self._one(order, undo) for order in orders]
        failed = next((i for i, outcome in enumerate(outcomes) if outcome.refusal), None)
        if failed is None:
            return outcomes
        for step in reversed(undo):
            step()
        del self.admitted[mark:]
        link = LinkFailed(orders[failed].key)
        return [
            Outcome(refusal=outcome.refusal or link) if outcome.new or outcome.refusal else outcome
            for outcome in outcomes
        ]

    def _one(self, order: Order, undo: list[Callable[[], None]] | None) -> Outcome:
        digest = order.digest()
        if known := self.known.get(order.key):
            return Outcome(known.id) if known.digest == digest else Outcome(refusal=KeyReused(key=order.key))
        filled = self._filled(order)
        if isinstance(filled, Refusal):
            return Outcome(refusal=filled)
        debit, credit, amount, currency = filled
        if refusal := self._refusal(order, debit, credit, amount, currency):
            return Outcome(refusal=refusal)
        transfer = Admitted(self.new_id(), order, digest, debit, credit, amount, currency)
        self._apply(transfer, undo)
        return Outcome(transfer.id, new=True)

    def _filled(self, order: Order) -> tuple[UUID, UUID, int, str] | Refusal:
        """Return debit, credit, amount and currency, taken from the earlier transfer where the order leaves them open."""
        if wrong := check(order):
            return wrong
        if order.action not in REFERRING:
            assert order.debit is not None
            assert order.credit is not None
            return order.debit, order.credit, order.amount, order.currency
        return self._taken_from_earlier(order)

    def _taken_from_earlier(self, order: Order) -> tuple[UUID, UUID, int, str] | Refusal:
        assert order.of is not None
        earlier = self.earlier.get(order.of)
        if earlier is None:
            return NotOpen(str(order.of), "there is no such transfer")
        if refusal := self._not_open(order, earlier):
            return refusal
        if order.currency not in {"", earlier.currency}:
            return WrongCurrency(str(earlier.debit), earlier.currency, order.currency)
        left = earlier.amount - earlier.used
        amount = order.amount or left
        if amount > left:
            return TooMuch(str(order.of), left, amount)
        debit, credit = earlier.debit, earlier.credit
        return (
            (credit, debit, amount, earlier.currency)
            if order.action is Action.REVERSE
            else (debit, credit, amount, earlier.currency)
        )

    def _not_open(self, order: Order, earlier: Earlier) -> Refusal | None:
        left, action = earlier.amount - earlier.used, order.action
        late = earlier.due is not None and earlier.due <= self.now
        reasons = (
            (action is Action.REVERSE and earlier.kind not in MOVES, "it moved no money"),
            (action is not Action.REVERSE and earlier.kind != Action.HOLD, "it is not a hold"),
            (left <= 0, "nothing of it is left"),
            (action is Action.SETTLE and late, f"it lapsed at {earlier.due}"),
            (action is Action.EXPIRE and not late, "it is not due"),
            (action in LETTING_GO and order.amount not in {0, left}, "it can only be let go as a whole"),
        )
        return next((NotOpen(str(order.of), why) for holds, why in reasons if holds), None)

    def _refusal(self, order: Order, debit: UUID, credit: UUID, amount: int, currency: str) -> Refusal | None:
        if self.closed_through is not None and order.value_day <= self.closed_through and order.action in MOVES:
            return BooksClosed(self.closed_through, order.value_day)
        releases = order.action in {Action.SETTLE, Action.VOID, Action.EXPIRE}
        for account_id in (debit, credit):
            account = self.accounts.get(account_id)
            if account is None:
                return NoSuchAccount(key=str(account_id))
            if account.currency != currency:
                return WrongCurrency(str(account_id), account.currency, currency)
            if account.closed and not releases:
                return AccountClosed(str(account_id))
            if max(account.volumes()) + amount > VOLUME_MAX:
                return LimitReached(str(account_id), VOLUME_MAX - max(account.volumes()), amount)
        return None if releases else self._limit(self.accounts[debit], self.accounts[credit], amount)

    @staticmethod
    def _limit(debit: Account, credit: Account, amount: int) -> Refusal | None:
        if debit.guard == Guard.DEBITS_WITHIN_CREDITS:
            available = debit.credits_posted - debit.debits_posted - debit.debits_pending
            if amount > available:
                return LimitReached(str(debit.id), available, amount)
        if credit.guard == Guard.CREDITS_WITHIN_DEBITS:
            available = credit.debits_posted - credit.credits_posted - credit.credits_pending
            if amount > available:
                return LimitReached(str(credit.id), available, amount)
        return None

    def _apply(self, transfer: Admitted, undo: list[Callable[[], None]] | None) -> None:
        order, amount = transfer.order, transfer.amount
        debit, credit = self.accounts[transfer.debit], self.accounts[transfer.credit]
        posted = amount if order.action in MOVES else 0
        pending = (
            amount if order.action is Action.HOLD else -amount if order.action in REFERRING - {Action.REVERSE} else 0
        )
        _move(debit, credit, posted, pending)
        earlier = self.earlier.get(order.of) if order.of else None
        if earlier is not None:
            earlier.used += amount
            self.used[earlier.id] = self.used.get(earlier.id, 0) + amount
        self.known[order.key] = Known(transfer.id, transfer.digest)
        self.earlier[transfer.id] = Earlier(
            transfer.id, order.action, transfer.debit, transfer.credit, amount, transfer.currency, order.due
        )
        self.admitted.append(transfer)
        if undo is None:
            return

        def back() -> None:
            _move(debit, credit, -posted, -pending)
            if earlier is not None:
                earlier.used -= amount
                self.used[earlier.id] -= amount
            del self.known[order.key], self.earlier[transfer.id]

        undo.append(back)


def _move(debit: Account, credit: Account, posted: int, pending: int) -> None:
    debit.debits_posted += posted
    credit.credits_posted += posted
    debit.debits_pending += pending
    credit.credits_pending += pending
