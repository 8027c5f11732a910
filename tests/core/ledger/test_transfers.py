"""What is recorded, what is refused, and that a failing member fails alone."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
import sqlalchemy as sa

from bursar.core.audit import service as audit
from bursar.core.ledger import service
from bursar.core.ledger.rules.orders import (
    BATCH_MAX,
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
)
from bursar.core.ledger.service import NewAccount
from bursar.core.ledger.store import accounts as account_store
from bursar.infra.db import Database, Tx
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, Invalid, NotAllowed, NotFound, Refusal, TooLarge
from tests.core.ledger.conftest import DAY, NOW, Accounts, Make


async def volumes(tx: Tx, accounts: Accounts, name: str) -> tuple[int, int, int, int]:
    row = await account_store.by_id(tx, accounts[name])
    assert row is not None
    return row.debits_posted, row.credits_posted, row.debits_pending, row.credits_pending


async def refused(tx: Tx, actor: Actor, *orders: Order) -> list[type[Refusal] | None]:
    outcomes = await service.transfer(tx, actor, orders=orders, now=NOW)
    return [type(outcome.refusal) if outcome.refusal else None for outcome in outcomes]


async def test_a_transfer_moves_both_volumes(tx: Tx, actor: Actor, accounts: Accounts, order: Make) -> None:
    [id_] = await service.record(tx, actor, orders=[order("a", "cash", "sales", 100)], now=NOW)

    assert await volumes(tx, accounts, "cash") == (100, 0, 0, 0)
    assert await volumes(tx, accounts, "sales") == (0, 100, 0, 0)
    assert id_.version == 7
    assert await service.prove(tx, actor) == []


async def test_the_same_order_again_changes_nothing(tx: Tx, actor: Actor, accounts: Accounts, order: Make) -> None:
    first = await service.transfer(tx, actor, orders=[order("a", "cash", "sales", 100)], now=NOW)
    again = await service.transfer(
        tx, actor, orders=[order("a", "cash", "sales", 100)] * 2, now=NOW + timedelta(days=1)
    )

    assert [outcome.id for outcome in again] == [first[0].id] * 2
    assert [outcome.new for outcome in first + again] == [True, False, False]
    assert await volumes(tx, accounts, "cash") == (100, 0, 0, 0)


async def test_a_key_with_other_content_is_refused(tx: Tx, actor: Actor, order: Make) -> None:
    await service.record(tx, actor, orders=[order("a", "cash", "sales", 100)], now=NOW)

    with pytest.raises(KeyReused, match="key a"):
        await service.record(tx, actor, orders=[order("a", "cash", "sales", 101)], now=NOW)
    assert await refused(tx, actor, order("b", "cash", "sales", 1), order("b", "cash", "sales", 2)) == [None, KeyReused]


async def test_a_failing_member_fails_alone(tx: Tx, actor: Actor, accounts: Accounts, order: Make) -> None:
    got = await refused(
        tx, actor,
        order("1", "cash", "escrow", 50),
        order("2", "escrow", "cash", 60),
        order("3", "escrow", "cash", 50),
        order("4", "escrow", "cash", 1),
        order("5", "cash", "cash usd", 1),
        order("6", "cash usd", "fx usd", 7, currency="USD"),
        Order("7", Action.POST, DAY, accounts["cash"], uuid4(), 1, "EUR"),
    )  # fmt: skip

    assert got == [None, LimitReached, None, LimitReached, WrongCurrency, None, NoSuchAccount]
    assert await volumes(tx, accounts, "escrow") == (50, 50, 0, 0)
    assert await service.prove(tx, actor) == []


async def test_linked_orders_stand_or_fall_together(tx: Tx, actor: Actor, accounts: Accounts, order: Make) -> None:
    good, bad = uuid4(), uuid4()

    got = await refused(
        tx, actor,
        order("1", "cash", "till", 5, entry=bad), order("2", "cash", "sales", 5, entry=bad),
        order("3", "till", "sales", 5, entry=good), order("4", "cash", "till", 5, entry=good),
        order("5", "cash", "sales", 9, entry=bad), order("6", "cash", "till", 1, entry=bad),
    )  # fmt: skip

    assert got == [LimitReached, LinkFailed, None, None, LinkFailed, LimitReached]
    assert await volumes(tx, accounts, "cash") == (5, 0, 0, 0)
    assert await service.prove(tx, actor) == []


async def test_a_hold_is_settled_in_parts_and_the_rest_let_go(
    tx: Tx, actor: Actor, accounts: Accounts, order: Make
) -> None:
    await service.record(tx, actor, orders=[order("in", "cash", "escrow", 100)], now=NOW)
    [hold] = await service.record(tx, actor, orders=[order("h", "escrow", "sales", 80, Action.HOLD)], now=NOW)

    assert await volumes(tx, accounts, "escrow") == (0, 100, 80, 0)
    assert await refused(tx, actor, order("x", "escrow", "sales", 21)) == [LimitReached]
    await service.record(
        tx, actor, orders=[order(f"s{n}", amount=30, action=Action.SETTLE, of=hold) for n in (1, 2)], now=NOW
    )
    assert await volumes(tx, accounts, "escrow") == (60, 100, 20, 0)
    assert await refused(tx, actor, order("s3", amount=21, action=Action.SETTLE, of=hold)) == [TooMuch]
    await service.record(tx, actor, orders=[order("v", action=Action.VOID, of=hold)], now=NOW)
    assert await volumes(tx, accounts, "escrow") == (60, 100, 0, 0)
    assert await refused(
        tx, actor, order("v2", action=Action.VOID, of=hold), order("s4", action=Action.SETTLE, of=hold)
    ) == [NotOpen, NotOpen]
    assert await service.prove(tx, actor) == []


async def test_holds_count_against_the_limit(tx: Tx, actor: Actor, order: Make) -> None:
    """Six holds of 1000 on 5000: the sixth is refused (a fault of another ledger accepted it)."""
    await service.record(tx, actor, orders=[order("in", "cash", "escrow", 5000)], now=NOW)

    got = await refused(tx, actor, *[order(f"h{n}", "escrow", "sales", 1000, Action.HOLD) for n in range(6)])

    assert got == [None] * 5 + [LimitReached]


async def test_a_refused_hold_can_never_be_settled(tx: Tx, actor: Actor, order: Make) -> None:
    [outcome] = await service.transfer(tx, actor, orders=[order("h", "escrow", "sales", 1, Action.HOLD)], now=NOW)

    assert outcome.id is None
    assert await refused(tx, actor, order("s", action=Action.SETTLE, of=uuid4())) == [NotOpen]


async def test_a_hold_is_settled_in_its_own_currency_and_between_its_own_accounts(
    tx: Tx, actor: Actor, accounts: Accounts, order: Make
) -> None:
    [hold] = await service.record(tx, actor, orders=[order("h", "cash", "sales", 80, Action.HOLD)], now=NOW)

    assert await refused(
        tx, actor,
        replace(order("yen", amount=5, action=Action.SETTLE, of=hold), currency="JPY"),
        order("till", "till", "sales", 5, Action.SETTLE, of=hold),
        order("due", amount=5, action=Action.SETTLE, of=hold, due=NOW),
        order("right", amount=5, action=Action.SETTLE, of=hold),
    ) == [WrongCurrency, Invalid, Invalid, None]  # fmt: skip
    assert await volumes(tx, accounts, "cash") == (5, 0, 75, 0)


async def test_a_tag_that_the_database_cannot_hold_is_refused(tx: Tx, actor: Actor, order: Make) -> None:
    for tags in ({"a": "\0"}, {"\0": "a"}):
        assert await refused(tx, actor, replace(order("k", "cash", "sales", 1), tags=tags)) == [Invalid]


async def test_text_that_mimics_tags_is_another_content(tx: Tx, actor: Actor, order: Make) -> None:
    tagged = replace(order("k", "cash", "sales", 1, memo="a"), tags={"b": "c"})
    await service.record(tx, actor, orders=[tagged], now=NOW)

    assert await refused(tx, actor, replace(tagged, memo="a\x1fb\x1dc", tags={})) == [KeyReused]
    assert await refused(tx, actor, tagged) == [None]


@pytest.mark.parametrize(
    ("base", "quote", "rate"),
    [
        ("EUR", "EUR", "1"), ("eur", "USD", "1"), ("EUR", "U$D", "1"), ("EUR", "USD", "0"), ("EUR", "USD", "-1"),
        ("EUR", "USD", "NaN"), ("EUR", "USD", "1e12"), ("EUR", "USD", "1e-16"),
    ],
)  # fmt: skip
async def test_what_is_no_exchange_rate_is_refused(tx: Tx, actor: Actor, base: str, quote: str, rate: str) -> None:
    with pytest.raises(Invalid):
        await service.add_rates(tx, actor, rates=[(base, quote, DAY, Decimal(rate))], source="x", now=NOW)


async def test_a_hold_lapses_at_its_time(tx: Tx, actor: Actor, accounts: Accounts, order: Make) -> None:
    due = NOW + timedelta(hours=1)
    [hold] = await service.record(tx, actor, orders=[order("h", "cash", "sales", 5, Action.HOLD, due=due)], now=NOW)

    assert await refused(tx, actor, order("e", action=Action.EXPIRE, of=hold)) == [NotOpen]
    assert await service.expire_due(tx, actor, now=NOW) == 0
    late = await service.transfer(tx, actor, orders=[order("s", action=Action.SETTLE, of=hold)], now=due)
    assert isinstance(late[0].refusal, NotOpen)
    assert [await service.expire_due(tx, actor, now=due) for _ in range(2)] == [1, 0]
    assert await volumes(tx, accounts, "cash") == (0, 0, 0, 0)
    queued = await tx.scalar("select count(*) from procrastinate_jobs where task_name = 'ledger.expire'")
    assert queued == 1
    assert await service.prove(tx, actor) == []


async def test_a_transfer_is_reversed_up_to_its_amount(tx: Tx, actor: Actor, accounts: Accounts, order: Make) -> None:
    [id_] = await service.record(tx, actor, orders=[order("a", "rent", "cash", 100)], now=NOW)

    await service.record(tx, actor, orders=[order("r1", amount=40, action=Action.REVERSE, of=id_)], now=NOW)
    got = await refused(
        tx,
        actor,
        order("r2", amount=61, action=Action.REVERSE, of=id_),
        order("r3", action=Action.REVERSE, of=id_),
        order("r4", action=Action.REVERSE, of=id_),
    )

    assert got == [TooMuch, None, NotOpen]
    assert await volumes(tx, accounts, "cash") == (100, 100, 0, 0)
    assert await service.prove(tx, actor) == []


async def test_a_hold_is_made_and_settled_in_one_batch_of_the_next_day(
    tx: Tx, actor: Actor, accounts: Accounts, order: Make
) -> None:
    """Reversing what a hold moved refers to the settlement, not the hold; a hold cannot be reversed."""
    [hold] = await service.record(tx, actor, orders=[order("h", "cash", "sales", 5, Action.HOLD)], now=NOW)
    [settled] = await service.record(tx, actor, orders=[order("s", action=Action.SETTLE, of=hold)], now=NOW)

    assert await refused(
        tx, actor, order("r", action=Action.REVERSE, of=hold), order("q", action=Action.REVERSE, of=settled)
    ) == [NotOpen, None]
    assert await volumes(tx, accounts, "sales") == (5, 5, 0, 0)


async def test_closed_books_take_no_movement(tx: Tx, actor: Actor, order: Make) -> None:
    await service.close_books(tx, actor, through=DAY, now=NOW)

    assert await refused(
        tx, actor, order("a", "cash", "sales", 1), order("b", "cash", "sales", 1, day=DAY + timedelta(days=1))
    ) == [BooksClosed, None]
    with pytest.raises(Conflict):
        await service.close_books(tx, actor, through=date(2025, 1, 1), now=NOW)
    with pytest.raises(Conflict, match="open already"):
        await service.reopen_books(tx, actor, after=DAY + timedelta(days=1), now=NOW)
    await service.reopen_books(tx, actor, after=date(2025, 1, 1), now=NOW)
    assert await refused(tx, actor, order("a", "cash", "sales", 1)) == [None]


async def test_what_is_no_transfer_is_in_the_audit_trail(tx: Tx, actor: Actor, accounts: Accounts) -> None:
    """Transfers have a hash chain of their own; opening, closing and rates are entries of the trail, once each."""
    await service.open_accounts(tx, actor, accounts=[NewAccount("cash", "asset", "EUR")], now=NOW)
    await service.close_account(tx, actor, account=accounts["rent"], now=NOW)
    for _ in range(2):
        await service.close_books(tx, actor, through=DAY, now=NOW)
    await service.reopen_books(tx, actor, after=None, now=NOW)
    await service.add_rates(tx, actor, rates=[("USD", "EUR", DAY, Decimal("0.9"))], source="x", now=NOW)

    told = (await tx.run(audit.listing(tx, actor).order_by(sa.text("id")).limit(20))).all()
    assert [row.action for row in told] == [
        "ledger.accounts_opened", "ledger.account_closed", "ledger.books_closed", "ledger.books_reopened", "ledger.rates_added",
    ]  # fmt: skip
    assert (told[2].before, told[2].after) == ({"closed_through": None}, {"closed_through": DAY.isoformat()})


async def test_an_account_is_closed_only_when_empty(tx: Tx, actor: Actor, accounts: Accounts, order: Make) -> None:
    await service.record(tx, actor, orders=[order("a", "cash", "sales", 1)], now=NOW)

    with pytest.raises(Conflict):
        await service.close_account(tx, actor, account=accounts["cash"], now=NOW)
    with pytest.raises(NotFound):
        await service.close_account(tx, actor, account=uuid4(), now=NOW)
    await service.close_account(tx, actor, account=accounts["rent"], now=NOW)
    assert await refused(tx, actor, order("b", "rent", "cash", 1)) == [AccountClosed]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"key": ""}, "characters"), ({"key": "k" * 201}, "characters"), ({"amount": 0}, "no amount"), ({"amount": -1}, "between"),
        ({"amount": 10**15 + 1}, "between"), ({"credit": "cash"}, "same account"), ({"memo": "m" * 2001}, "memo"), ({"memo": "\0"}, "NUL"),
        ({"due": NOW}, "only a hold"), ({"action": Action.SETTLE}, "which transfer"),
    ],
)  # fmt: skip
async def test_a_malformed_order_is_refused(
    tx: Tx, actor: Actor, order: Make, fault: dict[str, object], reason: str
) -> None:
    facts: dict[str, object] = {"key": "k", "debit": "cash", "credit": "sales", "amount": 1, **fault}

    with pytest.raises(Invalid, match=reason):
        await service.record(tx, actor, orders=[order(**facts)], now=NOW)


async def test_limits_and_rights(tx: Tx, actor: Actor, order: Make, make_actor: Callable[..., Actor]) -> None:
    with pytest.raises(TooLarge):
        await service.transfer(tx, actor, orders=[order("a", "cash", "sales", 1)] * (BATCH_MAX + 1), now=NOW)
    for call in (
        service.transfer(tx, make_actor("ledger:read"), orders=[], now=NOW),
        service.close_books(tx, make_actor("ledger:write"), through=DAY, now=NOW),
        service.reopen_books(tx, make_actor("ledger:close"), after=None, now=NOW),
        service.prove(tx, make_actor()),
    ):
        with pytest.raises(NotAllowed):
            await call
    assert await service.transfer(tx, actor, orders=[], now=NOW) == []


async def test_an_account_that_exists_otherwise_is_refused(tx: Tx, actor: Actor, accounts: Accounts) -> None:
    assert await service.open_accounts(tx, actor, accounts=[NewAccount("cash", "asset", "EUR")], now=NOW) == {
        "cash": accounts["cash"]
    }
    for other in (
        NewAccount("cash", "asset", "USD"),
        NewAccount("cash", "asset", "EUR", guard=Guard.CREDITS_WITHIN_DEBITS),
    ):
        with pytest.raises(Conflict):
            await service.open_accounts(tx, actor, accounts=[other], now=NOW)
    for wrong in (NewAccount("", "asset", "EUR"), NewAccount("x", "cash", "EUR"), NewAccount("x", "asset", "eur")):
        with pytest.raises(Invalid):
            await service.open_accounts(tx, actor, accounts=[wrong], now=NOW)


async def test_organisations_do_not_see_one_another(
    db: Database, actor: Actor, other_actor: Actor, order: Make
) -> None:
    async with db.writing(actor) as tx:
        await service.record(tx, actor, orders=[order("a", "cash", "sales", 1)], now=NOW)
    async with db.writing(other_actor) as tx:
        assert await refused(tx, other_actor, order("a", "cash", "sales", 1)) == [NoSuchAccount]
