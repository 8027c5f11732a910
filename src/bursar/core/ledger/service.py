"""Use cases of the ledger: opening accounts, recording transfers, closing books, proving that all of it holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from bursar.core.audit import service as audit
from bursar.core.ledger.rules import chain
from bursar.core.ledger.rules.admit import Batch, Outcome
from bursar.core.ledger.rules.orders import (
    BATCH_MAX,
    Action,
    BooksClosed,
    Guard,
    LinkFailed,
    Order,
    check_currency,
    check_rate,
)
from bursar.core.ledger.store import accounts as account_store
from bursar.core.ledger.store import proofs as proof_store
from bursar.core.ledger.store import transfers as transfer_store
from bursar.infra import jobs
from bursar.infra.db import Tx, new_id
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, Invalid, NotFound, TooLarge
from bursar.kernel.money import Money

__all__ = ["Action", "BooksClosed", "Guard", "LinkFailed", "NewAccount", "Order", "Outcome", "record", "transfer"]

KINDS = frozenset({"asset", "liability", "equity", "income", "expense"})
CODE_CHARS_MAX = 200
CODES_TOLD_MAX = 100
"""Codes named in one entry of the audit trail; the number is always told."""

EXPIRE_MAX = 1_000
"""Holds let go in one run of the job."""


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account to open; ``code`` is a path such as ``asset:bank:DE89…``, unique in the organisation."""

    code: str
    kind: str
    currency: str
    name: str = ""
    guard: Guard = Guard.NONE
    party: UUID | None = None


async def open_accounts(tx: Tx, actor: Actor, *, accounts: Sequence[NewAccount], now: datetime) -> dict[str, UUID]:
    """Open accounts; one that exists with the same kind, currency and guard is left as it is.

    Returns:
        Id by code.

    Raises:
        NotAllowed: The actor lacks ``ledger:write``.
        Invalid: A code, kind or currency is no such thing.
        Conflict: A code exists with another kind, currency or guard.
    """
    actor.must("ledger:write")
    if len(accounts) > BATCH_MAX:
        raise TooLarge("The number of accounts", BATCH_MAX, "accounts")
    for one in accounts:
        _check_account(one)
    rows = [
        {"id": new_id(), "code": a.code, "name": a.name or a.code, "kind": a.kind, "currency": a.currency, "guard": a.guard.value,
         "party": a.party, "opened_at": now}
        for a in {a.code: a for a in accounts}.values()
    ]  # fmt: skip
    if opened := await account_store.open_missing(tx, rows):
        told = {"opened": len(opened), "codes": opened[:CODES_TOLD_MAX]}
        await audit.record(tx, actor, action="ledger.accounts_opened", subject="ledger:accounts", now=now, after=told)
    found = {row.code: row for row in await account_store.by_codes(tx, [a.code for a in accounts])}
    for one in accounts:
        row = found[one.code]
        if (row.kind, row.currency, row.guard) != (one.kind, one.currency, one.guard.value):
            raise Conflict(f"Account {one.code} exists as {row.kind} in {row.currency} with guard {row.guard}")
    return {code: row.id for code, row in found.items()}


def _check_account(one: NewAccount) -> None:
    if not 0 < len(one.code) <= CODE_CHARS_MAX or "\x00" in one.code + one.name:
        raise Invalid(f"An account code has 1 to {CODE_CHARS_MAX} characters")
    if one.kind not in KINDS:
        raise Invalid(f"{one.kind[:40]!r} is no kind of account", f"Use one of {', '.join(sorted(KINDS))}")
    check_currency(one.currency)


async def close_account(tx: Tx, actor: Actor, *, account: UUID, now: datetime) -> None:
    """Close an empty account.

    Raises:
        NotFound: There is no such account.
        Conflict: It is closed already, or something is on it.
    """
    actor.must("ledger:write")
    if not await account_store.close(tx, account, now=now):
        if await account_store.by_id(tx, account) is None:
            raise NotFound("account", str(account))
        raise Conflict("The account is closed already, or not empty")
    await audit.record(tx, actor, action="ledger.account_closed", subject=f"account:{account}", now=now)


async def transfer(
    tx: Tx, actor: Actor, *, orders: Sequence[Order], now: datetime, actors: Sequence[str] | None = None
) -> list[Outcome]:
    """Record transfers as one batch; each stands alone unless orders next to each other share an ``entry``.

    Args:
        tx: Writing transaction; the caller's edge commits it.
        actor: Needs ``ledger:write``.
        orders: 1 to 10,000.
        now: Instant of recording, aware.
        actors: Shape (n,): who asked for each order, when not ``actor``.

    Returns:
        Shape (n,): recorded, recorded before under the same key and content, or refused with the reason.
    """
    actor.must("ledger:write")
    if len(orders) > BATCH_MAX:
        raise TooLarge("The number of transfers", BATCH_MAX, "transfers")
    if not orders:
        return []
    head = await transfer_store.lock_head(tx, empty=chain.EMPTY)
    known = await transfer_store.known(tx, [order.key for order in orders])
    earlier = await transfer_store.earlier(tx, list({o.of for o in orders if o.of is not None}))
    wanted = {id_ for o in orders for id_ in (o.debit, o.credit) if id_ is not None}
    wanted |= {id_ for one in earlier.values() for id_ in (one.debit, one.credit)}
    accounts = await transfer_store.lock_accounts(tx, wanted)
    before = {id_: account.volumes() for id_, account in accounts.items()}
    batch = Batch(accounts, earlier, known, head.closed_through, now, new_id)
    outcomes = batch.admit(orders)
    if batch.admitted:
        who = {id(order): name for order, name in zip(orders, actors, strict=True)} if actors else {}
        names = [who.get(id(one.order), actor.name) for one in batch.admitted]
        changed = [account for id_, account in accounts.items() if account.volumes() != before[id_]]
        await _write(tx, batch, head, changed, names)
    return outcomes


async def _write(tx: Tx, batch: Batch, head: transfer_store.Head, changed: Sequence[Any], names: Sequence[str]) -> None:
    leaves: list[chain.Leaf] = [
        (a.id, a.order.key, a.digest, a.order.action.value, a.debit, a.credit, a.amount, a.currency, a.order.value_day, batch.now,
         a.order.of, name)
        for a, name in zip(batch.admitted, names, strict=True)
    ]  # fmt: skip
    digest, number = chain.digest_of(leaves), head.batch + 1
    await transfer_store.write(
        tx, admitted=batch.admitted, changed=changed, actors=names, number=number, digest=digest,
        chain=chain.linked(head.chain, number, digest), now=batch.now,
    )  # fmt: skip
    uses = [
        (a.id, "hold", a.amount, batch.used.get(a.id, 0), a.order.due)
        for a in batch.admitted
        if a.order.action is Action.HOLD
    ]
    fresh = {row[0] for row in uses}
    uses += [
        (id_, "hold" if (one := batch.earlier[id_]).kind == Action.HOLD else "reversible", one.amount, used, one.due)
        for id_, used in batch.used.items()
        if used and id_ not in fresh
    ]
    await transfer_store.write_uses(tx, uses)
    dues = [a.order.due for a in batch.admitted if a.order.due is not None]
    if dues:
        await _call_at(tx, min(dues))


async def record(tx: Tx, actor: Actor, *, orders: Sequence[Order], now: datetime) -> list[UUID]:
    """Record transfers all or none: the first refusal is raised.

    Returns:
        Shape (n,): ids, existing ones where the key was recorded with equal content before.

    Raises:
        Refusal: Of the first order that cannot be recorded; nothing is recorded then.
    """
    outcomes = await transfer(tx, actor, orders=orders, now=now)
    for outcome in outcomes:
        if outcome.refusal:
            raise outcome.refusal
    return [outcome.id for outcome in outcomes if outcome.id is not None]


@dataclass(frozen=True, slots=True)
class Hold:
    """What is left of a hold: the accounts it will debit and credit, when it lapses, the day it counts for.

    ``purpose`` names the income or expense account of the two, empty where neither is one or it has no name; ``inflow`` tells
    which. ``source`` has code and name of the account credited; ``batch`` and ``place`` say where the hold was recorded.
    """

    id: UUID
    debit: UUID
    credit: UUID
    money: Money
    due: datetime | None
    value_day: date
    memo: str
    party: UUID | None
    purpose: str
    inflow: bool | None
    source: tuple[str, str]
    tags: Mapping[str, str]
    batch: int
    place: int


async def open_holds(tx: Tx, actor: Actor, *, accounts: Sequence[UUID] | None = None) -> list[Hold]:
    """Return up to 10,000 holds, on some accounts or on any, of which something is left; the earliest due first."""
    actor.must("ledger:read")
    rows = await transfer_store.open_holds(tx, accounts, limit=BATCH_MAX) if accounts != [] else []
    return [
        Hold(
            row.id, row.debit, row.credit, Money(row.left, row.currency), row.due, row.value_day, row.memo, row.party,
            row.purpose, row.inflow, (row.code, row.name), row.tags or {}, row.batch, row.place,
        )
        for row in rows
    ]  # fmt: skip


async def expire_due(tx: Tx, actor: Actor, *, now: datetime) -> int:
    """Let go the holds whose time has come, at most 1,000; returns how many."""
    due = await transfer_store.due_holds(tx, now=now, limit=EXPIRE_MAX)
    orders = [Order(f"expire:{id_}", Action.EXPIRE, now.date(), of=id_) for id_ in due]
    gone = sum(outcome.new for outcome in await transfer(tx, actor, orders=orders, now=now))
    if following := await transfer_store.next_due(tx):
        await _call_at(tx, max(following, now))
    return gone


async def _call_at(tx: Tx, due: datetime) -> None:
    """Queue the job that lets go due holds; it queues the next one itself."""
    await jobs.enqueue(tx, "ledger.expire", {}, once=due.strftime("%Y%m%d%H%M"), at=due)


async def closed_through(tx: Tx, *, lock: bool = False) -> date | None:
    """Return the last day of closed books; None when none is closed. It needs no right: every refusal tells it.

    Args:
        tx: Any transaction; a writing one with ``lock``.
        lock: Let nobody close or reopen them until the transaction ends.
    """
    if lock:
        return (await transfer_store.lock_head(tx, empty=chain.EMPTY)).closed_through
    head = await proof_store.head(tx)
    return head.closed_through if head else None


async def accounts_by_code(tx: Tx, actor: Actor, *, codes: Sequence[str]) -> dict[str, UUID]:
    """Return the ids of the accounts that exist under some codes, at most 10,000 of them.

    Raises:
        TooLarge: More codes are asked for.
    """
    actor.must("ledger:read")
    if len(codes) > BATCH_MAX:
        raise TooLarge("The number of codes", BATCH_MAX, "codes")
    return {row.code: row.id for row in await account_store.by_codes(tx, codes)}


async def close_books(tx: Tx, actor: Actor, *, through: date, now: datetime) -> None:
    """Close the books through a day: nothing moves money with a value date on or before it any more.

    Raises:
        NotAllowed: The actor lacks ``ledger:close``.
        Conflict: They are closed further already; reopening needs its own right.
    """
    actor.must("ledger:close")
    head = await transfer_store.lock_head(tx, empty=chain.EMPTY)
    if head.closed_through is not None and head.closed_through > through:
        raise Conflict(f"The books are closed through {head.closed_through} already")
    await _close_through(tx, actor, "ledger.books_closed", before=head.closed_through, after=through, now=now)


async def reopen_books(tx: Tx, actor: Actor, *, after: date | None, now: datetime) -> None:
    """Reopen the books after a day (all of them when None).

    Raises:
        NotAllowed: The actor lacks ``ledger:reopen``.
        Conflict: Everything after that day is open already; closing needs its own right.
    """
    actor.must("ledger:reopen")
    head = await transfer_store.lock_head(tx, empty=chain.EMPTY)
    if head.closed_through is None or (after is not None and after >= head.closed_through):
        raise Conflict(f"Everything after {after} is open already" if after else "All books are open already")
    await _close_through(tx, actor, "ledger.books_reopened", before=head.closed_through, after=after, now=now)


async def _close_through(
    tx: Tx, actor: Actor, action: str, *, before: date | None, after: date | None, now: datetime
) -> None:
    """Set the last closed day, with its entry in the audit trail; setting what is set changes nothing."""
    if before == after:
        return
    await transfer_store.close_through(tx, after)
    facts = [{"closed_through": day.isoformat() if day else None} for day in (before, after)]
    await audit.record(tx, actor, action=action, subject="ledger:books", now=now, before=facts[0], after=facts[1])


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that does not hold: what, and where."""

    what: str
    where: str


async def prove(tx: Tx, actor: Actor) -> list[Fault]:
    """Prove the books again from the transfers: volumes, zero sums, remainders and the hash chain.

    Returns:
        Every fault; an empty list is the proof.
    """
    actor.must("ledger:read")
    faults = [
        Fault("volumes are not the sum of the transfers", str(id_)) for id_ in await proof_store.wrong_volumes(tx)
    ]
    faults += [Fault("debits and credits differ", currency) for currency in await proof_store.unbalanced(tx)]
    faults += [
        Fault("used amounts are not the sum of the transfers", str(id_))
        for id_ in await proof_store.wrong_remainders(tx)
    ]
    previous, number = chain.EMPTY, 0
    async for batch, leaves in proof_store.batches(tx):
        digest = chain.digest_of(leaves)
        number += 1
        previous = chain.linked(previous, number, digest)
        if batch.number != number or bytes(batch.digest) != digest or bytes(batch.chain) != previous:
            faults.append(Fault("the hash chain is broken", f"batch {batch.number}"))
            break
    else:
        head = await proof_store.head(tx)
        if head is not None and (head.batch, bytes(head.chain)) != (number, previous):
            faults.append(Fault("the head is not the end of the hash chain", f"batch {head.batch}"))
    return faults


async def add_rates(
    tx: Tx, actor: Actor, *, rates: Sequence[tuple[str, str, date, Decimal]], source: str, now: datetime
) -> None:
    """Record exchange rates: (base, quote, day, how much of quote one base costs).

    Raises:
        Invalid: A rate is not positive, or a currency is none.
    """
    actor.must("ledger:write")
    for base, quote, _, rate in rates:
        check_rate(base, quote, rate)
    rows: list[Mapping[str, Any]] = [
        {"id": new_id(), "base": base, "quote": quote, "day": day, "rate": rate, "source": source, "recorded_at": now}
        for base, quote, day, rate in rates
    ]
    await account_store.add_rates(tx, rows)
    told = {"source": source, "rates": len(rows)}
    await audit.record(tx, actor, action="ledger.rates_added", subject="ledger:rates", now=now, after=told)


def account_listing(tx: Tx, actor: Actor) -> sa.Select[Any]:
    """Select the accounts with their volumes, without order."""
    actor.must("ledger:read")
    return account_store.listing(tx)


def transfer_listing(tx: Tx, actor: Actor, *, of_account: UUID | None = None) -> sa.Select[Any]:
    """Select transfers of one account or of all, without order."""
    actor.must("ledger:read")
    return transfer_store.listing(tx, of_account=of_account)


async def get_account(tx: Tx, actor: Actor, *, account: UUID) -> sa.Row[Any]:
    """Return one account with its volumes.

    Raises:
        NotFound: There is none.
    """
    actor.must("ledger:read")
    if (row := await account_store.by_id(tx, account)) is None:
        raise NotFound("account", str(account))
    return row


async def get_transfer(tx: Tx, actor: Actor, *, transfer: UUID) -> sa.Row[Any]:
    """Return one transfer.

    Raises:
        NotFound: There is none.
    """
    actor.must("ledger:read")
    if (row := await transfer_store.by_id(tx, transfer)) is None:
        raise NotFound("transfer", str(transfer))
    return row
