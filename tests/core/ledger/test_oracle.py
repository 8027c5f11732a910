"""Balances at any (value date, known date), beside sums made transfer by transfer."""

import random
from collections import Counter
from datetime import timedelta
from uuid import UUID

import pytest

from bursar.core.ledger import service
from bursar.core.ledger.books import service as books
from bursar.core.ledger.rules.orders import MOVES, Action, Order
from bursar.infra.db import Tx
from bursar.kernel.actor import Actor
from tests.core.ledger.conftest import DAY, NOW, Accounts, Make

BATCHES, ORDERS, ASKED = 25, 8, 30
NAMES = ("cash", "till", "sales", "rent", "escrow")


def _any(chance: random.Random, order: Make, key: str, before: list[UUID]) -> Order:
    """Return an order that may well be refused."""
    day = DAY + timedelta(days=chance.randint(-20, 20))
    action = chance.choice((Action.POST, Action.POST, Action.HOLD, Action.SETTLE, Action.VOID, Action.REVERSE))
    if action in {Action.POST, Action.HOLD} or not before:
        debit, credit = chance.sample(NAMES, 2)
        return order(key, debit, credit, chance.randint(1, 900), Action.POST if not before else action, day=day)
    amount = 0 if action is Action.VOID else chance.choice((0, chance.randint(1, 300)))
    return order(key, amount=amount, action=action, of=chance.choice(before), day=day)


@pytest.mark.parametrize("seed", range(3))
async def test_a_balance_is_the_sum_of_what_was_known_by_then(
    tx: Tx, actor: Actor, accounts: Accounts, order: Make, seed: int
) -> None:
    chance = random.Random(seed)
    facts: list[tuple[Order, int, UUID, UUID]] = []
    before: list[UUID] = []
    for number in range(BATCHES):
        now = NOW + timedelta(hours=number)
        orders = [_any(chance, order, f"{number}/{each}", before) for each in range(ORDERS)]
        for asked, outcome in zip(orders, await service.transfer(tx, actor, orders=orders, now=now), strict=True):
            if outcome.id and outcome.new:
                before.append(outcome.id)
                row = await service.get_transfer(tx, actor, transfer=outcome.id)
                facts.append((asked, row.amount, row.debit, row.credit))
                assert (row.value_day, row.recorded_at) == (asked.value_day, now)
    hours = {asked.key: int(asked.key.split("/")[0]) for asked, *_ in facts}

    for _ in range(ASKED):
        on, hour = DAY + timedelta(days=chance.randint(-21, 21)), chance.randrange(-1, BATCHES)
        wanted: Counter[UUID] = Counter()
        for asked, amount, debit, credit in facts:
            if asked.action in MOVES and asked.value_day <= on and hours[asked.key] <= hour:
                wanted[debit] += amount
                wanted[credit] -= amount
        got = await books.trial_balance(tx, actor, on=on, known_at=NOW + timedelta(hours=hour))
        assert {line.account: line.debits - line.credits for line in got.lines if line.debits != line.credits} == {
            account: net for account, net in wanted.items() if net
        }
    assert {asked.action for asked, *_ in facts} == set(Action) - {Action.EXPIRE}
    assert await service.prove(tx, actor) == []
