"""Searching a million transactions under row-level security: words, beginnings, amounts, days, and the pages after.

``python -m benchmarks.transactions_search [--quick]``: an embedded server, one organisation with 1,000,000 transactions
(``--quick``: 100,000) of 20,000 counterparties, as the application's role with every policy on. Each figure is the time from
the service call to the rows of a page of 50, on a warm server after what autovacuum does within a minute of such a load.
Aim: p99 under 20 ms.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the root: this folder holds a module named http

import asyncio
import os
import random
import tempfile
import time
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any
from uuid import UUID

import psycopg
import sqlalchemy as sa

from benchmarks._figures import arguments, figure, finish, table
from bursar.infra.clock import utc_now
from bursar.infra.db import Database, new_id
from bursar.infra.embedded_postgres import APP, OWNER, EmbeddedPostgres
from bursar.infra.migrate import migrate
from bursar.infra.paging import Paging
from bursar.kernel.actor import Actor
from bursar.parts.banking.transactions import rules, service, store
from bursar.parts.banking.transactions.service import Filter

FULL, QUICK = 1_000_000, 100_000
CHUNK = 50_000
ASKED = 60
FIRST = date(2020, 1, 1)
SYLLABLES = [a + b + c for a in "bcdfglmnprst" for b in "aeiou" for c in "lmnrst"]


def texts(chance: random.Random, many: int) -> list[str]:
    """Return names of counterparties: two made-up words and a common one."""
    common = ["services", "limited", "trading", "store", "group", "office"]
    return [
        f"{chance.choice(SYLLABLES)}{chance.choice(SYLLABLES)} {chance.choice(SYLLABLES)}{n % 997} {chance.choice(common)}"
        for n in range(many)
    ]


def rows(chance: random.Random, names: list[str], many: int) -> Iterator[tuple[Any, ...]]:
    """Yield transactions as :data:`store.NEW` wants them."""
    now, batch = utc_now(), new_id()
    for n in range(many):
        amount = Decimal(-chance.randint(100, 500_000)) / 100
        day = FIRST + timedelta(days=chance.randrange(2_400))
        name = names[int(len(names) * chance.random() ** 2)]
        yield (
            UUID(int=chance.getrandbits(128)), "bank", day.replace(day=1), f"acct{n % 5}", day, day, amount, "EUR",
            rules.size_of(amount), "booked", name, f"card payment {name} ref {n}", "", str(n), "", "", None, batch, n,
            now, False, "",
        )  # fmt: skip


async def fill(db: Database, actor: Actor, many: int) -> list[str]:
    """Write the transactions and their words; return the names."""
    chance = random.Random(3)
    names = texts(chance, 20_000)
    made = rows(chance, names, many)
    while chunk := list(islice(made, CHUNK)):
        words = [(one, row[4], row[0]) for row in chunk for one in rules.words_of(row[10], row[11], row[13])]
        async with db.writing(actor) as tx:
            await tx.run(sa.text("set local statement_timeout = 0"))
            await store.add(tx, chunk, words)
    return names


async def timed(db: Database, actor: Actor, query: str, wanted: Filter, *, pages: int = 1) -> list[float]:
    """Return the milliseconds of each page."""
    after, spent = None, []
    for _ in range(pages):
        began = time.perf_counter()
        async with db.reading(actor) as tx:
            got = await service.find(tx, actor, query=query, wanted=wanted)
            found = await tx.all(got.page(tx, Paging(50, after)))
        spent.append(1000 * (time.perf_counter() - began))
        if len(found) <= 50:
            break
        after = (found[49].booking_date, found[49].id)
    return spent


async def measure(db: Database, actor: Actor, names: list[str], many: int) -> dict[str, list[float]]:
    """Ask every kind of question :data:`ASKED` times."""
    chance = random.Random(9)
    measured: dict[str, list[float]] = {}
    for _ in range(ASKED):
        name = names[int(len(names) * chance.random() ** 2)]
        size = chance.randint(100, 500_000)
        since = FIRST + timedelta(days=chance.randrange(2_300))
        asked = {
            "one rare word": (name.split()[0], Filter()),
            "one word of a sixth of all rows": ("office", Filter()),
            "three words": (name, Filter()),
            "a beginning": (name[:5] + "*", Filter()),
            "a letter": (name[0] + "*", Filter()),
            "word and month": ("trading", Filter(since=since, until=since + timedelta(days=30))),
            "an amount": ("", Filter(size_min=size, size_max=size)),
            "amount range and account": ("", Filter(size_min=size, size_max=size + 5_000, account="acct2")),
            "the number of a row": (str(chance.randrange(many)), Filter()),
        }
        for what, (query, wanted) in asked.items():
            measured.setdefault(what, []).extend(await timed(db, actor, query, wanted))
    for _ in range(5):
        measured.setdefault("pages on and on", []).extend(await timed(db, actor, "limited", Filter(), pages=20))
    return measured


async def run(many: int) -> None:
    """Fill, measure, judge."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101  the server drops root and must reach its folder
        with EmbeddedPostgres(Path(folder), settings={"fsync": "off", "max_wal_size": "4GB"}) as server:
            await migrate(server.url(OWNER))
            db = Database(server.url(APP), pool_size=2)
            actor = Actor(new_id(), "person:bench", frozenset({"transaction:read"}))
            began = time.perf_counter()
            names = await fill(db, actor, many)
            filled = time.perf_counter() - began
            with psycopg.connect(server.url(OWNER).replace("+psycopg", ""), autocommit=True) as owner:
                owner.execute("vacuum (analyze) bank_transaction, bank_transaction_word")
            await measure(db, actor, names, many)
            measured = await measure(db, actor, names, many)
            await db.close()
    lines = [[what, _at(spent, 0.5), _at(spent, 0.99)] for what, spent in measured.items()]
    table(lines, head=["question", "p50 ms", "p99 ms"])
    print(f"{many:,} transactions filled in {filled:,.0f} s")
    everything = [one for spent in measured.values() for one in spent]
    finish(figure("search p99", _at(everything, 0.99), "ms", target=20.0, better="lower"))


def _at(spent: list[float], share: float) -> float:
    return sorted(spent)[min(len(spent) - 1, int(share * len(spent)))]


if __name__ == "__main__":
    asyncio.run(run(QUICK if arguments(__doc__).quick else FULL))
