"""The gatherer; see the package."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from bursar.core.ledger import service
from bursar.core.ledger.rules.admit import Outcome
from bursar.core.ledger.rules.orders import Order
from bursar.infra.db import Database
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Invalid, TooMany

GATHER_MAX = 1_024
"""Most transfers in one transaction."""

WAITING_MAX = 20_000
"""Most transfers of one organisation that wait in one process."""


@dataclass(slots=True)
class _Waiting:
    order: Order
    actor: str
    now: datetime
    answer: "asyncio.Future[Outcome]"


class Gathering:
    """Records single transfers in shared transactions.

    Args:
        db: Where to.
        gather_max: Most transfers in one transaction.
    """

    def __init__(self, db: Database, *, gather_max: int = GATHER_MAX) -> None:
        self._db = db
        self._gather_max = gather_max
        self._queues: dict[UUID, list[_Waiting]] = {}
        self._writers: dict[UUID, asyncio.Task[None]] = {}

    async def record(self, actor: Actor, *, order: Order, now: datetime) -> Outcome:
        """Record one transfer; returns after the commit that holds it.

        Args:
            actor: Needs ``ledger:write``.
            order: The transfer; it belongs to no ``entry``.
            now: Instant of asking, aware; the latest of a shared transaction is the instant of recording.

        Raises:
            Refusal: Why this transfer, and no other, was refused.
            Invalid: It belongs to an entry.
            TooMany: Too many transfers wait already.
        """
        actor.must("ledger:write")
        if order.entry is not None:
            raise Invalid("Linked transfers stand or fall together, so they come in one batch", "Send them as a batch")
        queue = self._queues.setdefault(actor.org, [])
        if len(queue) >= WAITING_MAX:
            raise TooMany("transfers waiting", 1)
        waiting = _Waiting(order, actor.name, now, asyncio.get_running_loop().create_future())
        queue.append(waiting)
        if actor.org not in self._writers:
            self._writers[actor.org] = asyncio.create_task(self._write(actor.org))
        outcome = await waiting.answer
        if outcome.refusal:
            raise outcome.refusal
        return outcome

    async def close(self) -> None:
        """Wait until everything gathered is written."""
        while self._writers:
            await asyncio.gather(*self._writers.values())

    async def _write(self, org: UUID) -> None:
        queue = self._queues[org]
        try:
            while queue:
                await asyncio.sleep(0)  # let callers of the same tick join
                batch = queue[: self._gather_max]
                del queue[: self._gather_max]
                await self._commit(org, batch)
        finally:
            del self._writers[org]

    async def _commit(self, org: UUID, batch: Sequence[_Waiting]) -> None:
        """Commit a batch; when the database refuses it as a whole, halve it until the culprit stands alone."""
        actor = Actor(org, "system:ledger", frozenset({"ledger:write"}))
        orders, actors = [one.order for one in batch], [one.actor for one in batch]
        try:
            async with self._db.writing(actor) as tx:
                now = max(one.now for one in batch)
                outcomes = await service.transfer(tx, actor, orders=orders, now=now, actors=actors)
        except (sa.exc.IntegrityError, sa.exc.DataError) as error:
            if len(batch) == 1:
                _fail(batch, error)
                return
            half = len(batch) // 2
            await self._commit(org, batch[:half])
            await self._commit(org, batch[half:])
        except Exception as error:  # the same answer for all that shared the transaction
            _fail(batch, error)
        else:
            for one, outcome in zip(batch, outcomes, strict=True):
                if not one.answer.done():
                    one.answer.set_result(outcome)


def _fail(batch: Sequence[_Waiting], error: Exception) -> None:
    for one in batch:
        if not one.answer.done():
            one.answer.set_exception(error)


_gatherings: "WeakKeyDictionary[Database, Gathering]" = WeakKeyDictionary()


def gathering_of(db: Database) -> Gathering:
    """Return the gatherer of this process for ``db``."""
    if db not in _gatherings:
        _gatherings[db] = Gathering(db)
    return _gatherings[db]
