"""Use cases of posting: book what changed, opening balances, the reconciliation with what statements state."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from bursar.core.intake import service as intake
from bursar.core.ledger import service as ledger
from bursar.core.ledger.books import service as books
from bursar.core.ledger.service import Action, LinkFailed, NewAccount, Order
from bursar.infra.db import Tx, new_id
from bursar.kernel.actor import Actor
from bursar.kernel.lines import BANK_LINES
from bursar.kernel.money import Money
from bursar.parts.banking.posting import rules, store
from bursar.parts.banking.posting.rules import Entry, Stated
from bursar.parts.banking.posting.store import Booked
from bursar.parts.banking.transactions import service as transactions
from bursar.parts.banking.transactions import store as rows_store
from bursar.parts.banking.understanding.rules.answers import TRANSFER

ROWS_A_PASS = 2_000
"""Transactions booked by one database transaction."""
ORDERS_MAX = 10_000
"""Most transfers of one ledger batch."""
BATCHES_MAX = 20_000
"""Most imports whose balances are looked at."""


@dataclass(frozen=True, slots=True)
class Posted:
    """What a pass did: transactions looked at, transfers booked and reversed, transactions the ledger refused."""

    looked: int = 0
    booked: int = 0
    reversed: int = 0
    refused: int = 0

    def __add__(self, other: "Posted") -> "Posted":
        """Add the counts."""
        return Posted(
            self.looked + other.looked, self.booked + other.booked, self.reversed + other.reversed,
            self.refused + other.refused,
        )  # fmt: skip


def _inside(actor: Actor) -> Actor:
    """Return the actor with the rights of what posting itself reads; its own rights were asked for before."""
    return replace(actor, rights=frozenset({"bank:read", "intake:read", "ledger:read"}))


@dataclass(slots=True)
class _Group:
    """The orders of one transaction, recorded all or none, and what stands for its places before and afterwards.

    ``after`` holds place, generation, content, day and, where something is booked, the index of its order.
    """

    transaction: UUID
    before: Mapping[int, Booked]
    orders: list[Order] = field(default_factory=list)
    after: list[tuple[int, int, bytes | None, date | None, int | None]] = field(default_factory=list)


async def post(tx: Tx, actor: Actor, *, now: datetime) -> Posted:
    """Book up to 2,000 of the transactions that changed since they were booked; ``looked`` is 0 when nothing waits.

    Safe to run at any time and twice: what stands already is left alone, and each transfer's key is its entry's own.

    Args:
        tx: Writing transaction.
        actor: Needs ``ledger:write``.
        now: Instant of recording, aware.
    """
    actor.must("ledger:write")
    await rows_store.lock(tx, shared=False, what="posting")
    ids = await store.take(tx, limit=ROWS_A_PASS)
    if not ids:
        return Posted()
    closed = await ledger.closed_through(tx, lock=True)
    wanted: dict[UUID, list[Entry]] = {id_: [] for id_ in ids}
    for row in await store.facts(tx, ids):
        entry = rules.row_entries(row, TRANSFER)
        if entry and entry.minor:
            wanted[row.id].append(entry)
    entries = [entry for some in wanted.values() for entry in some]
    kinds = await _kinds(tx, actor, entries)
    accounts = await _accounts(tx, actor, entries, kinds, now)
    standing = await store.booked(tx, ids)
    groups = [
        _group(id_, standing.get(id_, {}), {one.place: rules.order_of(one, accounts, kinds) for one in some}, closed)
        for id_, some in wanted.items()
    ]
    done = Posted(looked=len(ids))
    for batch in _batches(group for group in groups if group.orders):
        done += await _record(tx, actor, batch, now)
    return done


async def _kinds(tx: Tx, actor: Actor, entries: Iterable[Entry]) -> dict[str, str]:
    """Return whether categories are income or expense: as their accounts are, else by the sign of all under them."""
    pairs = {(one.category, one.currency) for one in entries if one.category is not None and not one.transfer}
    codes = {
        rules.category_account(kind, category, currency).code: (category, kind)
        for category, currency in pairs
        for kind in ("income", "expense")
    }
    found = dict(codes[code] for code in await ledger.accounts_by_code(tx, _inside(actor), codes=sorted(codes)))
    fresh = sorted({category for category, _ in pairs} - found.keys())
    return found | (rules.kinds_of(await store.category_sums(tx, fresh)) if fresh else {})


async def _accounts(
    tx: Tx, actor: Actor, entries: Iterable[Entry], kinds: Mapping[str, str], now: datetime
) -> dict[str, UUID]:
    wanted: dict[str, NewAccount] = {}
    for entry in entries:
        for account in (rules.bank_account(entry.account, entry.currency), rules.counter_account(entry, kinds)):
            wanted[account.code] = account
    return await ledger.open_accounts(tx, actor, accounts=list(wanted.values()), now=now)


def _group(id_: UUID, before: Mapping[int, Booked], orders: Mapping[int, Order], closed: date | None) -> _Group:
    """Return what turns what stands for a transaction into what should: each place reversed, then booked anew.

    Args:
        id_: The transaction.
        before: What stands, by place.
        orders: What should stand, by place, without keys.
        closed: Last day of closed books.
    """
    group = _Group(id_, before)
    for place in sorted(before.keys() | orders.keys()):
        stood, wanted = before.get(place), orders.get(place)
        content = wanted.digest() if wanted else None
        if stood and stood.content == content:
            continue
        generation = stood.generation if stood else -1
        if stood and stood.transfer and stood.day:
            undo = Order(f"{rules.key_of(id_, place, generation)}:r", Action.REVERSE, stood.day, of=stood.transfer)
            group.orders.append(rules.on_open_day(undo, closed))
        index = day = None
        if wanted:
            generation += 1
            index, order = len(group.orders), rules.on_open_day(wanted, closed)
            day = order.value_day
            group.orders.append(replace(order, key=rules.key_of(id_, place, generation)))
        group.after.append((place, generation, content, day, index))
    if len(group.orders) > 1:
        entry = new_id()
        group.orders = [replace(order, entry=entry) for order in group.orders]
    return group


def _batches(groups: Iterable[_Group]) -> Iterable[list[_Group]]:
    batch: list[_Group] = []
    size = 0
    for group in groups:
        if size + len(group.orders) > ORDERS_MAX:
            yield batch
            batch, size = [], 0
        batch.append(group)
        size += len(group.orders)
    if batch:
        yield batch


async def _record(tx: Tx, actor: Actor, groups: Sequence[_Group], now: datetime) -> Posted:
    """Record the orders of some groups as one ledger batch and keep what stands now; a refused group stays as it was."""
    orders = [order for group in groups for order in group.orders]
    outcomes = iter(await ledger.transfer(tx, actor, orders=orders, now=now))
    kept: list[store.Kept] = []
    done = Posted()
    for group in groups:
        mine = [next(outcomes) for _ in group.orders]
        why = next((f"{one.refusal}" for one in mine if one.refusal and not isinstance(one.refusal, LinkFailed)), "")
        for place, generation, content, day, index in group.after:
            if why:
                stood = group.before.get(place, Booked(-1, None, None, None))
                kept.append((group.transaction, place, *stood, why))
            else:
                id_ = mine[index].id if index is not None else None
                kept.append((group.transaction, place, generation, content, id_, day, ""))
        undone = sum(order.action is Action.REVERSE for order in group.orders)
        done += Posted(0, 0, 0, 1) if why else Posted(0, len(group.orders) - undone, undone, 0)
    await store.keep(tx, kept)
    return done


async def settle(tx: Tx, actor: Actor, *, now: datetime) -> int:
    """Book opening balances as the earliest stated balance of each account tells; returns how many changed.

    Args:
        tx: Writing transaction.
        actor: Needs ``ledger:write``.
        now: Instant of recording, aware.
    """
    actor.must("ledger:write")
    await rows_store.lock(tx, shared=False, what="posting")
    found = rules.anchors(await stated(tx, _inside(actor)))
    if not found:
        return 0
    closed = await ledger.closed_through(tx, lock=True)
    standing = await store.openings(tx)
    changed = 0
    for anchor, (total, first) in zip(found, await store.before(tx, found), strict=True):
        minor = Money.rounded(anchor.balance - total, anchor.currency).minor
        day = min(anchor.day, first or anchor.day)
        stood = standing.get((anchor.account, anchor.currency))
        if stood is None or (stood.amount, stood.day) != (minor, day) or stood.refusal:
            await _reopen(tx, actor, (anchor.account, anchor.currency), (minor, day), stood, closed, now)
            changed += 1
    return changed


async def _reopen(
    tx: Tx,
    actor: Actor,
    place: tuple[str, str],
    wanted: tuple[int, date],
    stood: store.Opening | None,
    closed: date | None,
    now: datetime,
) -> None:
    """Reverse the opening balance that stands and book the wanted one (signed minor units, day)."""
    (account, currency), (minor, day) = place, wanted
    own, equity = rules.bank_account(account, currency), rules.opening_account(currency)
    ids = await ledger.open_accounts(tx, actor, accounts=[own, equity], now=now)
    generation, entry = stood.generation if stood else -1, new_id()
    key = f"opening:{own.code}"
    orders = []
    if stood and stood.transfer:
        orders.append(Order(f"{key}:{generation}:r", Action.REVERSE, stood.day, of=stood.transfer, entry=entry))
    if minor:
        debit, credit = (ids[own.code], ids[equity.code]) if minor > 0 else (ids[equity.code], ids[own.code])
        text = f"Opening balance of {account}"[: rules.MEMO_CHARS_MAX]
        orders.append(
            Order(
                f"{key}:{generation + 1}", Action.POST, day, debit, credit, abs(minor), currency, memo=text, entry=entry
            )
        )
    outcomes = await ledger.transfer(tx, actor, orders=[rules.on_open_day(one, closed) for one in orders], now=now)
    refusal = next((str(one.refusal) for one in outcomes if one.refusal), "")
    if refusal:
        kept = {"generation": generation, "amount": stood.amount if stood else 0, "day": stood.day if stood else day}
        transfer = stood.transfer if stood else None
    else:
        kept = {"generation": generation + 1, "amount": minor, "day": day}
        transfer = outcomes[-1].id if minor else None
    await store.put_opening(tx, account, currency, {**kept, "transfer": transfer, "refusal": refusal})


async def stated(tx: Tx, actor: Actor) -> list[Stated]:
    """Return the balances that imported statements state, in the order of their days; needs ``bank:read``."""
    actor.must("bank:read")
    state = intake.BatchState.IMPORTED
    batches = await intake.history(tx, _inside(actor), limit=BATCHES_MAX, state=state, dataset=BANK_LINES.name)
    found = []
    for batch in reversed(batches):
        for one in batch.balances:
            opened = [day for day in (one.opening_day, one.first_day or batch.start) if day]
            closed = [day for day in (one.closing_day, one.last_day or batch.end) if day]
            if len(one.currency) == 3 and (days := opened + closed):
                first, last = min(opened or days), max(closed or days)
                found.append(
                    Stated(
                        one.account,
                        one.currency,
                        one.opening,
                        one.closing,
                        first,
                        last,
                        one.last_day or last,
                        batch.file,
                    )
                )
    return sorted(found, key=lambda one: (one.closing_day, one.opening_day))


@dataclass(frozen=True, slots=True)
class Tie:
    """Whether the books agree with a statement: what it states at the end of a day, and what is booked; minor units."""

    stated: Stated
    closing: int
    booked: int

    @property
    def off(self) -> int:
        """Return what the statement states beyond the books; 0 where they tie."""
        return self.closing - self.booked


async def reconcile(tx: Tx, actor: Actor) -> list[Tie]:
    """Compare the closing balance of every imported statement with the books at the end of its day.

    Args:
        tx: Any transaction.
        actor: Needs ``bank:read``.
    """
    actor.must("bank:read")
    found = rules.last_closings(await stated(tx, actor))
    codes = {(one.account, one.currency): rules.bank_account(one.account, one.currency).code for one in found}
    ids = await ledger.accounts_by_code(tx, _inside(actor), codes=sorted(set(codes.values())))
    paths = await books.paths(tx, _inside(actor), accounts=list(ids.values()))
    ties = []
    for one in found:
        path = paths.get(ids[code]) if (code := codes[one.account, one.currency]) in ids else None
        closing = Money.rounded(one.closing or Decimal(0), one.currency).minor
        booked = [path.at(day) if path else 0 for day in (one.closing_day, one.last_day)]
        ties.append(Tie(one, closing, closing if closing in booked else booked[0]))
    return ties


@dataclass(frozen=True, slots=True)
class Standing:
    """An own account in the books today: its ledger account and balance in minor units."""

    account: str
    currency: str
    ledger_account: UUID
    path: books.Path


async def balances(tx: Tx, actor: Actor) -> list[Standing]:
    """Return own accounts with their balance on every day, as booked.

    Args:
        tx: Any transaction.
        actor: Needs ``bank:read``.
    """
    actor.must("bank:read")
    own = await store.own_accounts(tx)
    codes = {rules.bank_account(account, currency).code: (account, currency) for account, currency in own}
    ids = await ledger.accounts_by_code(tx, _inside(actor), codes=sorted(codes))
    paths = await books.paths(tx, _inside(actor), accounts=list(ids.values()))
    return [Standing(*codes[code], id_, paths[id_]) for code, id_ in sorted(ids.items()) if id_ in paths]


async def own_accounts(tx: Tx, actor: Actor) -> list[tuple[str, str]]:
    """Return own accounts with the currencies of their lines."""
    actor.must("bank:read")
    return await store.own_accounts(tx)


async def again(tx: Tx, actor: Actor) -> int:
    """Queue every bank line that was never booked or was refused; returns how many."""
    actor.must("ledger:write")
    queued = await store.queue_missing(tx)
    if queued:
        await transactions.book_soon(tx)
    return queued


async def waits(tx: Tx, actor: Actor) -> bool:
    """Tell whether lines wait to be booked."""
    actor.must("bank:read")
    return await rows_store.waiting(tx)


async def refused(tx: Tx, actor: Actor) -> Sequence[sa.Row[Any]]:
    """Return up to 1,000 lines that the ledger refused, with the reason."""
    actor.must("bank:read")
    return await store.refused(tx)


async def transfers_of(tx: Tx, actor: Actor, *, transaction: UUID) -> list[tuple[int, UUID]]:
    """Return (place, ledger transfer) of what stands for a transaction now; places of split parts begin at 1."""
    actor.must("transaction:read")
    return await store.transfers_of(tx, transaction)
