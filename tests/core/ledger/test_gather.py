"""Concurrent single transfers share transactions; each hears its own answer."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import pytest

from bursar.core.ledger import service
from bursar.core.ledger.gather.service import Gathering, gathering_of
from bursar.core.ledger.rules.orders import KeyReused, LimitReached, Order
from bursar.core.ledger.store import accounts as account_store
from bursar.core.ledger.store import proofs
from bursar.infra.db import Database
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Invalid, NotAllowed, Refusal, TooMany
from tests.core.ledger.conftest import NOW, Accounts, Make


async def _try(gathering: Gathering, actor: Actor, order: Order) -> UUID | type[Exception] | None:
    try:
        return (await gathering.record(actor, order=order, now=NOW)).id
    except Refusal as refusal:
        return type(refusal)


async def test_concurrent_transfers_share_transactions_and_keep_the_limit(
    db: Database, actor: Actor, order: Make
) -> None:
    gathering = Gathering(db, gather_max=64)
    await _try(gathering, actor, order("fund", "cash", "escrow", 100))

    answers = await asyncio.gather(*[_try(gathering, actor, order(f"t{n}", "escrow", "sales", 1)) for n in range(300)])

    assert sum(isinstance(answer, UUID) for answer in answers) == 100
    assert sum(answer is LimitReached for answer in answers) == 200
    async with db.reading(actor) as tx:
        head = await proofs.head(tx)
        assert head is not None
        assert head.batch <= 10
        assert await service.prove(tx, actor) == []


async def test_the_same_key_from_many_callers_is_recorded_once(
    db: Database, actor: Actor, accounts: Accounts, order: Make
) -> None:
    gathering = gathering_of(db)
    assert gathering_of(db) is gathering

    answers = await asyncio.gather(
        *[_try(gathering, actor, order("one", "cash", "sales", 1 + n % 2)) for n in range(40)]
    )

    assert answers.count(KeyReused) == 20
    assert len({answer for answer in answers if isinstance(answer, UUID)}) == 1


async def test_a_member_that_the_database_refuses_fails_alone(db: Database, actor: Actor, order: Make) -> None:
    """A NUL in a tag passes the rules and fails in PostgreSQL; its neighbours are recorded."""
    gathering = Gathering(db)
    orders = [order(f"t{n}", "cash", "sales", 1) for n in range(9)]
    orders[4] = replace(orders[4], tags={"a": "\x00"})

    answers = await asyncio.gather(
        *[gathering.record(actor, order=one, now=NOW) for one in orders], return_exceptions=True
    )

    assert [isinstance(answer, Exception) for answer in answers] == [n == 4 for n in range(9)]
    async with db.reading(actor) as tx:
        assert await service.prove(tx, actor) == []


async def test_rights_and_limits(
    db: Database, actor: Actor, order: Make, make_actor: Callable[..., Actor], monkeypatch: pytest.MonkeyPatch
) -> None:
    gathering = Gathering(db)
    monkeypatch.setattr("bursar.core.ledger.gather.service.WAITING_MAX", 0)

    with pytest.raises(NotAllowed):
        await gathering.record(make_actor("ledger:read", org=actor.org), order=order("a", "cash", "sales", 1), now=NOW)
    with pytest.raises(Invalid, match="one batch"):
        await gathering.record(actor, order=order("a", "cash", "sales", 1, entry=UUID(int=1)), now=NOW)
    with pytest.raises(TooMany):
        await gathering.record(actor, order=order("a", "cash", "sales", 1), now=NOW)
    await gathering.close()


async def test_several_writers_are_equal_to_a_serial_replay(
    db: Database, actor: Actor, accounts: Accounts, order: Make
) -> None:
    """Two gatherers (as two processes) race on guarded accounts; replaying what was recorded, in order, is admitted again."""
    gatherings = [Gathering(db, gather_max=7), Gathering(db, gather_max=11)]
    dice = random.Random(7)
    pairs = [("cash", "escrow"), ("escrow", "sales"), ("till", "sales"), ("rent", "till"), ("sales", "cash")]
    orders = [order(f"k{n}", *dice.choice(pairs), dice.randint(1, 9)) for n in range(300)]

    await asyncio.gather(*[_try(gatherings[n % 2], actor, one) for n, one in enumerate(orders)])

    by_key = {one.key: one for one in orders}
    async with db.reading(actor) as tx:
        rows = await tx.all("select key from ledger_transfer order by batch, place")
        before = {
            row.code: (row.debits_posted, row.credits_posted)
            for row in await account_store.page(tx, after=None, limit=50)
        }
        assert await service.prove(tx, actor) == []
    mirror = Actor(UUID(int=actor.org.int ^ 1), actor.name, actor.rights)
    async with db.writing(mirror) as tx:
        from tests.core.ledger.conftest import PLAN

        ids = await service.open_accounts(tx, mirror, accounts=PLAN, now=NOW)
        back: dict[UUID | None, UUID] = {id_: ids[code] for code, id_ in accounts.items()}
        replay = [
            replace(by_key[row.key], debit=back[by_key[row.key].debit], credit=back[by_key[row.key].credit])
            for row in rows
        ]
        outcomes = await service.transfer(tx, mirror, orders=replay, now=NOW)
        after = {
            row.code: (row.debits_posted, row.credits_posted)
            for row in await account_store.page(tx, after=None, limit=50)
        }

    assert all(outcome.new for outcome in outcomes)
    assert after == before
