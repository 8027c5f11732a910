"""Forks children that record transfers and kill themselves at a labelled point; run by test_crash, one line per child.

Reads ``url org point turn seed`` lines on stdin, prints the child's exit signal; children append each acknowledged key to the file
named in argv. Everything is imported before the fork, so a run takes a tenth of a second. SIGUSR1 ends the child that runs.
"""

import asyncio
import os
import random
import signal
import sys
from typing import Any
from uuid import UUID, uuid4

from bursar.core.ledger import service
from bursar.core.ledger.gather.service import Gathering
from bursar.core.ledger.rules.orders import Action, Order
from bursar.core.ledger.store import transfers as store
from bursar.infra import db as db_module
from bursar.infra.clock import utc_now
from bursar.infra.db import Database
from bursar.kernel.actor import Actor
from tests.core.ledger.conftest import PLAN

POINTS = {
    "holding the head": (store, "lock_head"),
    "before writing": (store, "lock_accounts"),
    "after writing": (store, "write"),
    "after the remainders": (store, "write_uses"),
    "after the commit": (db_module, "_commit"),
}
"""Label to the function after which the process dies."""


def arm(point: str, turn: int) -> None:
    """Make the process die, unasked, after the ``turn``-th call of the function at ``point``."""
    owner, name = POINTS[point]
    real, calls = getattr(owner, name), 0

    async def deadly(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        answer = await real(*args, **kwargs)
        calls += 1
        if calls >= turn:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(owner, name, deadly)


async def work(url: str, org: UUID, seed: int, acknowledged: int) -> None:
    """Record linked pairs, holds, settlements and single transfers from 8 callers for as long as the process lives."""
    dice = random.Random(seed)
    db, actor = Database(url, pool_size=2), Actor(org, "person:x", frozenset({"ledger:write"}))
    async with db.writing(actor) as tx:
        ids = await service.open_accounts(tx, actor, accounts=PLAN, now=utc_now())
    gathering = Gathering(db)

    def order(action: Action = Action.POST, **facts: Any) -> Order:
        return Order(
            f"{seed}-{uuid4()}", action, utc_now().date(), ids["cash"], ids["sales"], dice.randint(1, 9), "EUR", **facts
        )

    async def single() -> None:
        while True:
            one = order(dice.choice([Action.POST, Action.HOLD]))
            outcome = await gathering.record(actor, order=one, now=utc_now())
            os.write(acknowledged, f"{one.key}\n".encode())
            if one.action is Action.HOLD:
                follow = Order(f"{one.key}/s", Action.SETTLE, one.value_day, of=outcome.id)
                await gathering.record(actor, order=follow, now=utc_now())
                os.write(acknowledged, f"{follow.key}\n".encode())

    async def linked() -> None:
        while True:
            pair = [order(entry=(entry := uuid4())), order(entry=entry)]
            async with db.writing(actor) as tx:
                await service.record(tx, actor, orders=pair, now=utc_now())
            os.write(acknowledged, "".join(f"{one.key}\n" for one in pair).encode())

    await asyncio.gather(linked(), *[single() for _ in range(7)])


def main(path: str) -> None:
    """Fork one child for each line of stdin."""
    acknowledged = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    child = 0
    signal.signal(signal.SIGUSR1, lambda *_: os.kill(child, signal.SIGKILL) if child else None)
    for line in sys.stdin:
        url, org, point, turn, seed = line.rstrip("\n").split("\t")
        child = os.fork()
        if child == 0:
            try:
                if point:
                    arm(point, int(turn))
                asyncio.run(work(url, UUID(org), int(seed), acknowledged))
            except BaseException as error:
                sys.stderr.write(f"{error!r}\n")
            os._exit(3)
        _, status = os.waitpid(child, 0)
        child = 0
        sys.stdout.write(f"{os.WTERMSIG(status)}\n" if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
