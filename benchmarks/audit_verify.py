"""How fast the audit trail is proved: entries a second, against a chain from row to row over the same rows.

One million entries (``--quick``: 200,000) with before and after states are sealed into signed blocks and verified through
the product's own function. The peer is the usual design, one hash for each row over the row and the hash before it, walked
over the same canonical bytes. The limit is what PostgreSQL needs to produce these bytes at all.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the root: this folder holds a module named http

import asyncio
import hashlib
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from uuid import UUID

import psycopg

from benchmarks._figures import arguments, figure, finish, table
from bursar.core.audit import service, store
from bursar.core.audit.rules import NOTHING
from bursar.core.identity.tables import organisation
from bursar.infra.anchors import Anchors
from bursar.infra.crypto import Keyring
from bursar.infra.db import Database, new_id
from bursar.infra.embedded_postgres import ADMIN, APP, OWNER, EmbeddedPostgres
from bursar.infra.migrate import migrate
from bursar.kernel.actor import Actor

TARGET = 400_000
NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
# ids are ordered by time, as the product makes them
ENTRIES = """
insert into audit_entry (org, id, at, actor, request_id, action, subject, before, after)
select %(org)s, (lpad(to_hex(n / 4), 12, '0') || '7' || substr(md5(n::text), 1, 3) || 'a' || substr(md5(n::text), 4, 15))::uuid,
       timestamptz '2026-01-01' + n * interval '1 second', 'person:' || (n %% 50)::text,
       md5(n::text), 'transfer.posted', 'transfer:' || n::text,
       case when n %% 3 = 0 then jsonb_build_object('state', 'pending', 'amount', (n * 7)::text) end,
       jsonb_build_object('state', 'posted', 'amount', (n * 7)::text, 'currency', 'EUR', 'account', 'bank:' || (n %% 9)::text)
from generate_series(%(first)s::bigint, %(last)s::bigint) n
"""


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    """Return the seconds that ``work`` takes."""
    start = time.perf_counter()
    await work()
    return time.perf_counter() - start


async def chained(db: Database, actor: Actor) -> int:
    """Walk the rows in order with one chained hash for each; returns how many there are."""
    count, previous, since = 0, bytes(32), (0, NOTHING)
    async with db.reading(actor) as tx:
        (cluster, (_, upto)), *_ = (await store.ends(tx)).items()
        while rows := await store.rows_from(tx, cluster, since, (upto, NOTHING)):
            for row in rows[:1_000]:
                previous = hashlib.sha256(previous + row.content).digest()
                count += 1
            if len(rows) <= 1_000:
                break
            since = (rows[1_000].xid, rows[1_000].id)
    return count


async def produced(db: Database, actor: Actor) -> None:
    """Let PostgreSQL make the canonical bytes and throw them away."""
    async with db.reading(actor) as tx:
        await tx.scalar(
            "select sum(octet_length(record_send(row(org, id, at, actor, request_id, action, subject, before, after,"
            " cluster, xid)))) from audit_entry where org = :org",
            {"org": actor.org},
        )


def fill(url: str, org: UUID, count: int) -> None:
    """Write the entries, in transactions of 50,000."""
    with psycopg.connect(url, autocommit=True) as connection:
        for first in range(1, count + 1, 50_000):
            facts = {"org": org, "first": first, "last": min(first + 49_999, count)}
            connection.execute(ENTRIES, facts)
        connection.execute("vacuum analyze audit_entry")


async def measure(server: EmbeddedPostgres, folder: Path, count: int) -> dict[str, float]:
    """Return seconds by what was done."""
    await migrate(server.url(OWNER))
    org, keyring, anchors = new_id(), Keyring(["benchmark" * 8]), Anchors(folder / "anchors")
    actor = Actor(org, "person:benchmark", frozenset({"audit:read"}))
    db = Database(server.url(APP))
    async with db.writing(actor) as tx:
        facts = {"id": org, "name": "Benchmark", "created_at": NOW, "changed_at": NOW, "is_local": False}
        await tx.run(organisation.insert().values(facts))
    fill(server.url(ADMIN).replace("+psycopg", ""), org, count)

    async def seal() -> None:
        while await service.seal(db, keyring=keyring, now=NOW, anchors=anchors):
            pass

    async def verify() -> None:
        verdict = await service.verify(db, actor, keyring=keyring, anchors=anchors)
        assert verdict.broken is None, verdict
        assert (verdict.rows, verdict.unsealed) == (count, 0), verdict

    async def walk() -> None:
        assert await chained(db, actor) == count

    found = {"seal": await timed(seal)}
    for name, work in (("verify", verify), ("row chain", walk), ("bytes only", lambda: produced(db, actor))):
        found[name] = min([await timed(work) for _ in range(2)])
    await db.close()
    return found


def main() -> None:
    """Measure and print."""
    count = 200_000 if arguments(__doc__).quick else 1_000_000
    with tempfile.TemporaryDirectory(prefix="bursar-audit-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with EmbeddedPostgres(folder / "home", settings={"fsync": "off"}) as server:
            found = asyncio.run(measure(server, folder, count))
    rows = [[what, count, seconds, count / seconds] for what, seconds in found.items()]
    table(rows, head=["what", "entries", "seconds", "entries/s"])
    speed = count / found["verify"]
    ratio = found["row chain"] / found["verify"]
    finish(
        figure("audit trail verified", speed, "entries/s", target=TARGET, better="higher"),
        others=[figure("verification against a row-to-row chain", ratio, "times faster", target=1, better="higher")],
    )


if __name__ == "__main__":
    main()
