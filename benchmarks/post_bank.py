"""Booking bank lines into the ledger: ``python -m benchmarks.post_bank [--quick]``.

An embedded, durable server; 200,000 derived bank lines of five accounts (``--quick``: 20,000), every invariant and policy on:
booked by the job's own passes, then looked at again with nothing changed, then a tenth recategorised and booked by reversal. The
job runs beside imports, so an import never waits for it. Aim: 5,000 lines a second, so that a year of a busy company is booked
within a minute. CPU seconds are those of this process; the server's are beside it.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the root: this folder holds a module named http

import asyncio
import os
import random
import tempfile
import time
from itertools import islice

import sqlalchemy as sa

from benchmarks._figures import arguments, figure, finish, table
from benchmarks.transactions_search import CHUNK, rows, texts
from bursar.core.ledger import service as ledger
from bursar.infra.clock import utc_now
from bursar.infra.db import Database, new_id
from bursar.infra.embedded_postgres import APP, OWNER, EmbeddedPostgres
from bursar.infra.migrate import migrate
from bursar.kernel.actor import Actor
from bursar.parts.banking.posting import service
from bursar.parts.banking.posting.service import Posted
from bursar.parts.banking.transactions import store

FULL, QUICK = 200_000, 20_000


async def fill(db: Database, actor: Actor, many: int) -> None:
    """Write derived bank lines without their words, which posting never reads."""
    chance = random.Random(3)
    made = rows(chance, texts(chance, 2_000), many)
    while chunk := list(islice(made, CHUNK)):
        async with db.writing(actor) as tx:
            await tx.run(sa.text("set local statement_timeout = 0"))
            await store.add(tx, chunk, [])


async def booked(db: Database, actor: Actor) -> tuple[Posted, float, float]:
    """Do the job's passes; return what they did, their seconds on the wall and of CPU."""
    began, cpu, done = time.perf_counter(), time.process_time(), Posted()
    while True:
        async with db.writing(actor) as tx:
            step = await service.post(tx, actor, now=utc_now())
        if not step.looked:
            return done, time.perf_counter() - began, time.process_time() - cpu
        done += step


async def measure(server: EmbeddedPostgres, many: int) -> list[list[object]]:
    await migrate(server.url(OWNER))
    db = Database(server.url(APP), pool_size=4)
    actor = Actor(new_id(), "person:bench", frozenset({"ledger:write", "ledger:read"}))
    await fill(db, actor, many)
    lines = []
    first = await booked(db, actor)
    lines.append(["first booking", first[0].booked, *first[1:], round(first[0].looked / first[1])])
    async with db.writing(actor) as tx:
        await tx.run(sa.text("update bank_transaction set version = version + 1"))
    again = await booked(db, actor)
    lines.append(["again, nothing changed", again[0].booked, *again[1:], round(again[0].looked / again[1])])
    async with db.writing(actor) as tx:
        await tx.run(
            sa.text(
                "update bank_transaction set category = 'Travel', state = 'confirmed', version = version + 1 where row % 10 = 0"
            )
        )
    moved = await booked(db, actor)
    lines.append(["a tenth recategorised", moved[0].booked, *moved[1:], round(moved[0].looked / moved[1])])
    async with db.reading(actor) as tx:
        faults = await ledger.prove(tx, actor)
    assert (first[0].booked, again[0].booked, faults) == (many, 0, []), (first, again, faults)
    await db.close()
    return lines


def main(many: int) -> None:
    with tempfile.TemporaryDirectory(prefix="bursar-bench-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        with EmbeddedPostgres(home, settings={"shared_buffers": "256MB"}) as server:
            lines = asyncio.run(measure(server, many))
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores: only figures of one run compare")
    table(lines, head=["what", "transfers", "wall s", "CPU s", "lines a second"])
    finish(figure(f"booking {many:,} bank lines", float(str(lines[0][4])), "lines/s", target=5_000, better="higher"))


if __name__ == "__main__":
    main(QUICK if arguments(__doc__).quick else FULL)
