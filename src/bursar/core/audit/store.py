"""SQL of the audit trail. Rows are hashed as the bytes of PostgreSQL's own binary form (``record_send``), never re-encoded."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from bursar.core.audit.rules import BLOCK_ROWS_MAX, NOTHING, XID_END, Block, Sealable
from bursar.core.audit.tables import block, entry
from bursar.infra.db import Tx, driver_of, new_id

_CONTENT = "record_send(row(e.org, e.id, e.at, e.actor, e.request_id, e.action, e.subject, e.before, e.after, e.cluster, e.xid))"
_FIELDS = (
    "b.number, b.cluster, b.from_xid, b.from_id, b.upto_xid, b.upto_id, b.rows, b.content_hash, b.leaves,"
    " b.previous_hash, b.key, b.sealed_at, b.hash, b.signature"
)


async def add(tx: Tx, values: Mapping[str, Any]) -> UUID:
    """Insert one entry; returns its id."""
    made = new_id()
    await tx.run(sa.insert(entry).values(org=tx.org, id=made, **values))
    return made


def listing(tx: Tx, *, subject: str | None, actor: str | None, action: str | None) -> sa.Select[Any]:
    """Return the statement that lists entries; the caller bounds it to a page."""
    found = sa.select(entry).where(tx.own(entry))
    for column, wanted in ((entry.c.subject, subject), (entry.c.actor, actor), (entry.c.action, action)):
        found = found.where(column == wanted) if wanted is not None else found
    return found


async def last_block(tx: Tx) -> Block | None:
    """Return the end of the chain."""
    found = await tx.run(sa.select(block).where(tx.own(block)).order_by(block.c.number.desc()).limit(1))
    row = found.mappings().one_or_none()
    return None if row is None else _block(tx.org, dict(row))


async def insert_block(tx: Tx, made: Block) -> None:
    """Add a block at the end of the chain."""
    await tx.run(
        sa.insert(block).values(
            org=made.org,
            number=made.number,
            cluster=made.cluster,
            from_xid=made.since[0],
            from_id=made.since[1],
            upto_xid=made.upto[0],
            upto_id=made.upto[1],
            rows=made.rows,
            content_hash=made.content_hash,
            leaves=made.leaves,
            previous_hash=made.previous_hash,
            hash=made.hash,
            key=made.key,
            signature=made.signature,
            sealed_at=made.sealed_at,
        )
    )


ORGANISATIONS_A_PASS = 10_000
"""Organisations sealed in one pass; the next pass, a second later, takes the rest."""


async def unsealed(tx: Tx) -> Sequence[UUID]:
    """Return organisations with entries to seal, at most 10,000; in a transaction without an organisation."""
    rows = await tx.all("select * from audit_unsealed() limit :most", {"most": ORGANISATIONS_A_PASS})
    return [row[0] for row in rows]


async def organisations(tx: Tx) -> Sequence[UUID]:
    """Return every organisation that is not erased; in a transaction without an organisation."""
    rows = await tx.all("select id from identity_organisation where purged_at is null order by id limit 100000")
    return [row[0] for row in rows]


async def lock(tx: Tx) -> bool:
    """Take the right to seal this organisation until the transaction ends; False when somebody else has it."""
    taken = await tx.scalar("select pg_try_advisory_xact_lock(hashtextextended(:name, 0))", {"name": f"audit:{tx.org}"})
    return bool(taken)


async def ends(tx: Tx) -> Mapping[int, tuple[tuple[int, UUID], int]]:
    """Return by cluster with entries: where its blocks end, and the transaction below which all have ended."""
    rows = await tx.all(
        """with recursive seen (cluster) as (
               (select e.cluster from audit_entry e where e.org = :org order by e.cluster limit 1)
               union all
               select (select e.cluster from audit_entry e where e.org = :org and e.cluster > s.cluster
                       order by e.cluster limit 1)
               from seen s where s.cluster is not null)
           select s.cluster, l.upto_xid, l.upto_id,
                  case when s.cluster = audit_cluster() then audit_horizon() else :end end as horizon
           from seen s left join lateral (
               select b.upto_xid, b.upto_id from audit_block b where b.org = :org and b.cluster = s.cluster
               order by b.number desc limit 1) l on true
           where s.cluster is not null""",
        {"org": tx.org, "end": XID_END},
    )
    return {row.cluster: ((row.upto_xid or 0, row.upto_id or NOTHING), row.horizon) for row in rows}


async def rows_from(tx: Tx, cluster: int, since: tuple[int, UUID], upto: tuple[int, UUID]) -> list[Sealable]:
    """Return entries with ``since <= (xid, id) < upto`` in order, one more than fits a block."""
    query = (
        f"select e.id, e.xid, {_CONTENT} from audit_entry e where e.org = %s and e.cluster = %s"
        " and (e.xid, e.id) >= (%s, %s) and (e.xid, e.id) < (%s, %s) order by e.xid, e.id limit %s"
    )
    found = await _binary(tx, query, (tx.org, cluster, *since, *upto, BLOCK_ROWS_MAX + 1))
    return [Sealable(id_, xid, content) for id_, xid, content in found]


async def blocks_after(tx: Tx, number: int, limit: int) -> list[tuple[Block, int, bytes]]:
    """Return the ``limit`` blocks after ``number``, each with how many rows lie in its range now and their bytes."""
    query = f"""select {_FIELDS}, now.rows, coalesce(now.content, ''::bytea) from audit_block b cross join lateral (
            select count(*) as rows, string_agg({_CONTENT}, ''::bytea order by e.xid, e.id) as content
            from audit_entry e where e.org = b.org and e.cluster = b.cluster
              and (e.xid, e.id) >= (b.from_xid, b.from_id) and (e.xid, e.id) < (b.upto_xid, b.upto_id)) now
        where b.org = %s and b.number > %s and b.number <= %s order by b.number"""
    names = [name.strip().removeprefix("b.") for name in _FIELDS.split(",")]
    found = await _binary(tx, query, (tx.org, number, number + limit))
    return [(_block(tx.org, dict(zip(names, row, strict=False))), row[-2], row[-1]) for row in found]


async def hashes(tx: Tx, numbers: Collection[int]) -> Mapping[int, bytes]:
    """Return the hash by number of those of the blocks ``numbers`` that exist."""
    rows = await tx.all(sa.select(block.c.number, block.c.hash).where(tx.own(block), block.c.number.in_(numbers)))
    return {row.number: bytes(row.hash) for row in rows}


async def count_from(tx: Tx, cluster: int, since: tuple[int, UUID]) -> int:
    """Return how many entries follow ``since``."""
    following = sa.tuple_(entry.c.xid, entry.c.id) >= sa.tuple_(*since)
    counted = sa.select(sa.func.count()).where(tx.own(entry), entry.c.cluster == cluster, following)
    return int(await tx.scalar(counted))


async def _binary(tx: Tx, query: str, facts: Sequence[object]) -> list[tuple[Any, ...]]:
    """Run ``query`` with results in PostgreSQL's binary form: half the bytes, and no hexadecimal."""
    driver = await driver_of(tx.conn)
    async with driver.cursor(binary=True) as cursor:
        await cursor.execute(query.encode(), facts)
        return await cursor.fetchall()


def _block(org: UUID, row: Mapping[str, Any]) -> Block:
    return Block(
        org=org,
        number=row["number"],
        cluster=row["cluster"],
        since=(row["from_xid"], row["from_id"]),
        upto=(row["upto_xid"], row["upto_id"]),
        rows=row["rows"],
        content_hash=bytes(row["content_hash"]),
        leaves=bytes(row["leaves"]),
        previous_hash=bytes(row["previous_hash"]),
        key=row["key"],
        sealed_at=row["sealed_at"],
        hash=bytes(row["hash"]),
        signature=bytes(row["signature"]),
    )
