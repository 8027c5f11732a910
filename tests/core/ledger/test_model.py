"""A stateful test: the ledger beside a small model, with random orders, holds, settlements, reversals and repeats."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from bursar.core.ledger import service
from bursar.core.ledger.rules.orders import Action, Order
from bursar.core.ledger.store import accounts as account_store
from bursar.infra.db import Database, new_id
from bursar.kernel.actor import Actor
from tests.core.ledger.conftest import DAY, NOW, PLAN

NAMES = ("cash", "sales", "escrow", "till")
RIGHTS = frozenset({"ledger:write", "ledger:read"})


@dataclass
class Model:
    """Balances as signed credits, holds as (debit, credit, left, due); knows nothing of volumes or SQL."""

    balance: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NAMES, 0))
    held_debit: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NAMES, 0))
    held_credit: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NAMES, 0))

    def allows(self, debit: str, credit: str, amount: int) -> bool:
        if debit == "escrow" and self.balance["escrow"] - self.held_debit["escrow"] < amount:
            return False
        return not (credit == "till" and -self.balance["till"] - self.held_credit["till"] < amount)

    def move(self, debit: str, credit: str, amount: int) -> None:
        self.balance[debit] -= amount
        self.balance[credit] += amount

    def hold(self, debit: str, credit: str, amount: int) -> None:
        self.held_debit[debit] += amount
        self.held_credit[credit] += amount


@dataclass
class Past:
    """A transfer that happened and what is left of it."""

    id: UUID
    order: Order
    debit: str
    credit: str
    left: int
    due: bool = False


class Machine(RuleBasedStateMachine):
    loop: asyncio.AbstractEventLoop
    url: str

    def __init__(self) -> None:
        super().__init__()
        self.db = Database(self.url, pool_size=1)
        self.actor = Actor(new_id(), "person:x", RIGHTS)
        self.model, self.number, self.now = Model(), 0, NOW
        self.holds: list[Past] = []
        self.moves: list[Past] = []
        self.ids = self._run(self._open())

    def _run(self, what: Any) -> Any:
        return self.loop.run_until_complete(what)

    async def _open(self) -> dict[str, UUID]:
        async with self.db.writing(self.actor) as tx:
            return await service.open_accounts(tx, self.actor, accounts=PLAN, now=NOW)

    async def _send(self, orders: list[Order]) -> list[Any]:
        async with self.db.writing(self.actor) as tx:
            return list(await service.transfer(tx, self.actor, orders=orders, now=self.now))

    def _order(self, action: Action, **facts: Any) -> Order:
        self.number += 1
        return Order(f"k{self.number}", action, DAY, **facts)

    def _new(self, action: Action, debit: str, credit: str, amount: int, due: bool = False) -> Order:
        when = self.now + timedelta(hours=1) if due else None
        return self._order(
            action, debit=self.ids[debit], credit=self.ids[credit], amount=amount, currency="EUR", due=when
        )

    pair = st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)).filter(lambda pair: pair[0] != pair[1])

    @rule(batch=st.lists(st.tuples(pair, st.integers(1, 50), st.booleans(), st.booleans()), min_size=1, max_size=6))
    def post_or_hold(self, batch: list[tuple[tuple[str, str], int, bool, bool]]) -> None:
        kinds = [Action.HOLD if hold else Action.POST for _, _, hold, _ in batch]
        orders = [
            self._new(kind, *pair, amount, due and hold)
            for kind, (pair, amount, hold, due) in zip(kinds, batch, strict=True)
        ]
        for order, ((debit, credit), amount, hold, due), outcome in zip(
            orders, batch, self._run(self._send(orders)), strict=True
        ):
            allowed = self.model.allows(debit, credit, amount)
            assert outcome.new == allowed, (order, outcome)
            if allowed:
                (self.model.hold if hold else self.model.move)(debit, credit, amount)
                (self.holds if hold else self.moves).append(
                    Past(outcome.id, order, debit, credit, amount, due and hold)
                )

    @rule(which=st.integers(0, 100), amount=st.integers(0, 60), action=st.sampled_from([Action.SETTLE, Action.VOID]))
    def use_a_hold(self, which: int, amount: int, action: Action) -> None:
        if not self.holds:
            return
        hold = self.holds[which % len(self.holds)]
        asked = amount if action is Action.SETTLE else 0
        [outcome] = self._run(self._send([self._order(action, of=hold.id, amount=asked)]))
        used = asked or hold.left
        assert outcome.new == (0 < used <= hold.left), (hold, outcome)
        if outcome.new:
            hold.left -= used
            self.model.hold(hold.debit, hold.credit, -used)
            if action is Action.SETTLE:
                self.model.move(hold.debit, hold.credit, used)
                self.moves.append(Past(outcome.id, hold.order, hold.debit, hold.credit, used))

    @rule(which=st.integers(0, 100), amount=st.integers(0, 60))
    def reverse(self, which: int, amount: int) -> None:
        if not self.moves:
            return
        move = self.moves[which % len(self.moves)]
        used = amount or move.left
        [outcome] = self._run(self._send([self._order(Action.REVERSE, of=move.id, amount=amount)]))
        allowed = 0 < used <= move.left and self.model.allows(move.credit, move.debit, used)
        assert outcome.new == allowed, (move, outcome)
        if allowed:
            move.left -= used
            self.model.move(move.credit, move.debit, used)

    @rule(which=st.integers(0, 100))
    def repeat(self, which: int) -> None:
        posted = [move for move in self.moves if move.order.action is Action.POST]
        if posted:
            move = posted[which % len(posted)]
            [outcome] = self._run(self._send([move.order]))
            assert (outcome.id, outcome.new) == (move.id, False)

    @rule()
    def time_passes(self) -> None:
        self.now += timedelta(hours=2)

        async def lapse() -> int:
            async with self.db.writing(self.actor) as tx:
                return await service.expire_due(tx, self.actor, now=self.now)

        lapsed = [hold for hold in self.holds if hold.due and hold.left]
        assert self._run(lapse()) == len(lapsed)
        for hold in lapsed:
            self.model.hold(hold.debit, hold.credit, -hold.left)
            hold.left = 0

    @invariant()
    def balances_agree(self) -> None:
        async def look() -> Any:
            async with self.db.reading(self.actor) as tx:
                return await account_store.page(tx, after=None, limit=50), await service.prove(tx, self.actor)

        rows, faults = self._run(look())
        assert faults == []
        for row in rows:
            if row.code in NAMES:
                assert row.credits_posted - row.debits_posted == self.model.balance[row.code]
                assert (row.debits_pending, row.credits_pending) == (
                    self.model.held_debit[row.code],
                    self.model.held_credit[row.code],
                )

    def teardown(self) -> None:
        self._run(self.db.close())


@pytest.mark.timeout(600)
def test_the_ledger_agrees_with_a_model(database_url: str) -> None:
    loop = asyncio.new_event_loop()
    machine = type("Bound", (Machine,), {"loop": loop, "url": database_url})
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
            ),
        )
    finally:
        loop.close()
