"""Transfers per second of the ledger beside a plain row-lock implementation, in one run on one durable server.

``python -m benchmarks.ledger [--quick]``: single transfers from 1,024 concurrent callers and batches of 8,000, over 10,000
accounts and over 10 hot ones, every invariant on and synchronous_commit on; then the plain implementation (one
transaction per transfer, accounts locked in order) on the same server, its accounts table carrying the same guard and
its transfers the same keys, and ``pgbench`` with its TPC-B script. Aim: at least 10,000 single transfers/s at p99 <= 100 ms, at least 5 times the plain one on
hot accounts.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the root: this folder holds a module named http

import asyncio
import os
import random
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import psycopg

from benchmarks._figures import arguments, figure, finish, table
from bursar.core.ledger import service
from bursar.core.ledger.gather.service import Gathering
from bursar.core.ledger.rules.orders import Action, Guard, Order
from bursar.core.ledger.service import NewAccount
from bursar.infra.clock import utc_now
from bursar.infra.db import Database, new_id
from bursar.infra.embedded_postgres import ADMIN, APP, OWNER, EmbeddedPostgres
from bursar.infra.migrate import migrate
from bursar.infra.web_server import settle
from bursar.kernel.actor import Actor

CALLERS = 1_024
PLAIN_CALLERS = 16
BATCH = 8_000
FUNDS = 10**12
WARM_S = 1.0
"""Not measured before each measurement: connections are opened and statements planned then."""

PLAIN = """
create table plain_account (id uuid primary key, debits bigint not null default 0, credits bigint not null default 0,
    check (debits <= credits));
create table plain_transfer (id uuid primary key, key text not null unique, debit uuid not null references plain_account,
    credit uuid not null references plain_account, amount bigint not null, day date not null, at timestamptz not null,
    check (amount > 0));
create index on plain_transfer (debit, day); create index on plain_transfer (credit, day);
"""


async def accounts_of(db: Database, actor: Actor, many: int) -> list[UUID]:
    """Open ``many`` funded, guarded accounts."""
    now = utc_now()
    async with db.writing(actor) as tx:
        new = [NewAccount(f"a{n}", "liability", "EUR", guard=Guard.DEBITS_WITHIN_CREDITS) for n in range(many)]
        ids = list((await service.open_accounts(tx, actor, accounts=new, now=now)).values())
        source = (await service.open_accounts(tx, actor, accounts=[NewAccount("source", "asset", "EUR")], now=now))[
            "source"
        ]
        orders = [Order(f"fund{n}", Action.POST, now.date(), source, id_, FUNDS, "EUR") for n, id_ in enumerate(ids)]
        await service.record(tx, actor, orders=orders, now=now)
    return ids


def order(ids: Sequence[UUID], key: str) -> Order:
    debit, credit = random.sample(ids, 2)
    return Order(key, Action.POST, utc_now().date(), debit, credit, random.randint(1, 100), "EUR")


async def callers(count: int, seconds: float, once: Callable[[str], Awaitable[object]]) -> list[float]:
    """Let ``count`` callers repeat ``once`` for ``seconds``; return the latencies."""
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def caller(number: int) -> None:
        turn = 0
        while (start := time.perf_counter()) < end:
            await once(f"{seconds}-{number}-{turn}-{start}")
            latencies.append(time.perf_counter() - start)
            turn += 1

    await asyncio.gather(*[caller(number) for number in range(count)])
    return latencies


def row(label: str, latencies: Sequence[float], seconds: float, each: int = 1) -> list[object]:
    """Return a row of the table: transfers a second and the latencies in milliseconds."""
    p99 = statistics.quantiles(latencies, n=100)[98] if len(latencies) > 1 else latencies[0]
    return [label, round(len(latencies) * each / seconds), statistics.median(latencies) * 1000, p99 * 1000]


async def ours(db: Database, many: int, seconds: float) -> list[list[object]]:
    actor = Actor(new_id(), "person:bench", frozenset({"ledger:write", "ledger:read"}))
    ids = await accounts_of(db, actor, many)
    settle()  # as `bursar up` does
    gathering = Gathering(db)

    async def once(key: str) -> None:
        await gathering.record(actor, order=order(ids, key), now=utc_now())

    await callers(CALLERS, WARM_S, once)
    start = time.perf_counter()
    latencies = await callers(CALLERS, seconds, once)
    single = row(f"ledger, {many:,} accounts, single, {CALLERS} callers", latencies, time.perf_counter() - start)
    latencies = []
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        now, began = utc_now(), time.perf_counter()
        orders = [order(ids, f"b{began}-{n}") for n in range(BATCH)]
        async with db.writing(actor) as tx:
            await service.record(tx, actor, orders=orders, now=now)
        latencies.append(time.perf_counter() - began)
    batched = row(f"ledger, {many:,} accounts, batches of {BATCH:,}", latencies, time.perf_counter() - start, BATCH)
    async with db.reading(actor) as tx:
        faults = await service.prove(tx, actor)
    assert faults == [], faults
    return [single, batched]


async def plain(url: str, many: int, seconds: float) -> list[object]:
    """The usual way: one transaction per transfer, both accounts locked in the order of their ids."""
    connections = [await psycopg.AsyncConnection.connect(url) for _ in range(PLAIN_CALLERS)]
    ids = [new_id() for _ in range(many)]
    async with connections[0].transaction(), connections[0].cursor() as cursor:
        await cursor.executemany("insert into plain_account values (%s, 0, %s)", [(id_, FUNDS) for id_ in ids])
    free = list(connections)

    async def once(key: str) -> None:
        connection = free.pop()
        one = order(ids, key)
        async with connection.transaction():
            await connection.execute(
                "select id from plain_account where id = any(%s) order by id for update", ([one.debit, one.credit],)
            )
            await connection.execute(
                "insert into plain_transfer values (%s, %s, %s, %s, %s, %s, now())",
                (new_id(), key, one.debit, one.credit, one.amount, one.value_day),
            )
            await connection.execute(
                "update plain_account set debits = debits + %s where id = %s", (one.amount, one.debit)
            )
            await connection.execute(
                "update plain_account set credits = credits + %s where id = %s", (one.amount, one.credit)
            )
        free.append(connection)

    await callers(PLAIN_CALLERS, WARM_S, once)
    start = time.perf_counter()
    latencies = await callers(PLAIN_CALLERS, seconds, once)
    line = row(f"plain row locks, {many:,} accounts, {PLAIN_CALLERS} callers", latencies, time.perf_counter() - start)
    for connection in connections:
        await connection.close()
    return line


def pgbench(server: EmbeddedPostgres, scale: int, seconds: float) -> list[object]:
    """Run PostgreSQL's own TPC-B-like script; ``scale`` 1 has one hot branch row, 100 spreads over a hundred."""
    program = server.place.binaries / "pgbench"
    base = [str(program), "-h", str(server.place.socket), "-U", ADMIN, "postgres"]
    subprocess.run([*base, "-i", "-q", "-s", str(scale)], check=True, capture_output=True)
    done = subprocess.run(
        [*base, "-n", "-M", "prepared", "-c", "16", "-j", "2", "-T", str(round(seconds))],
        check=True,
        capture_output=True,
        text=True,
    )
    rate = float(re.search(r"tps = ([\d.]+)", done.stdout)[1])  # type: ignore[index]
    latency = float(re.search(r"latency average = ([\d.]+)", done.stdout)[1])  # type: ignore[index]
    return [f"pgbench TPC-B, scale {scale}, 16 clients (mean latency)", round(rate), latency, latency]


async def measure(server: EmbeddedPostgres, seconds: float) -> list[list[object]]:
    await migrate(server.url(OWNER))
    owner = server.url(OWNER).replace("+psycopg", "")
    async with await psycopg.AsyncConnection.connect(owner) as connection:
        await connection.execute(PLAIN.encode())
    db = Database(server.url(APP), pool_size=4)
    lines: list[list[object]] = []
    for many in (10_000, 10):
        lines += await ours(db, many, seconds)
        lines.append(await plain(owner, many, seconds))
    await db.close()
    return lines


def main(seconds: float) -> None:
    with tempfile.TemporaryDirectory(prefix="bursar-bench-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        with EmbeddedPostgres(home, settings={"shared_buffers": "256MB"}) as server:
            lines = asyncio.run(measure(server, seconds))
            lines += [pgbench(server, scale, seconds) for scale in (10, 1)]
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores: only figures of one run compare")
    table(lines, head=["what", "a second", "p50 ms", "p99 ms"])
    wide, _, _, hot, _, plain_hot = [[float(str(cell)) for cell in line[1:]] for line in lines[:6]]
    finish(
        figure(
            "single transfers on 10 hot accounts against plain row locks",
            hot[0] / plain_hot[0],
            "times",
            target=5,
            better="higher",
        ),
        others=[
            figure("single transfers a second, 10,000 accounts", wide[0], "1/s", target=10_000, better="higher"),
            figure("p99 of single transfers, 10,000 accounts", wide[2], "ms", target=100, better="lower"),
        ],
    )


if __name__ == "__main__":
    main(2.0 if arguments(__doc__).quick else 12.0)
