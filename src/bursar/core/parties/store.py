"""All SQL of parties; sets in, sets out."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from bursar.core.parties.tables import block, change, identifier, name, party, suggestion
from bursar.infra.db import Tx

SPELLINGS_MAX = 100_000
"""Names, or identifiers, of one party."""

COPY_FROM = 500
"""Rows from which COPY pays."""


async def lock(tx: Tx) -> None:
    """Let no other transaction of the organisation make or move parties until this one ends."""
    await tx.run("select pg_advisory_xact_lock(hashtextextended('parties/' || :org, 0))", {"org": str(tx.org)})


async def by_keys(tx: Tx, keys: Sequence[str]) -> dict[str, UUID]:
    """Return the party of each known name key; bounded by the keys."""
    query = sa.text("select key, party from party_name where org = :org and key = any(cast(:keys as text[]))")
    return {row.key: row.party for row in await tx.all(query, {"org": tx.org, "keys": list(keys)})}


async def by_identifiers(tx: Tx, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], UUID]:
    """Return the party of each known identifier (scheme, value); bounded by the pairs."""
    if not pairs:
        return {}
    query = sa.text(
        "select scheme, value, party from party_identifier where org = :org and (scheme, value) in"
        " (select * from unnest(cast(:schemes as text[]), cast(:values as text[])))"
    )
    schemes, values = zip(*pairs, strict=True)
    rows = await tx.all(query, {"org": tx.org, "schemes": list(schemes), "values": list(values)})
    return {(row.scheme, row.value): row.party for row in rows}


async def in_blocks(tx: Tx, blocks: Sequence[str], *, each_max: int) -> list[tuple[str, UUID]]:
    """Return (key, party) of names that share a block, at most ``each_max`` of each block."""
    query = sa.text(
        "select distinct n.key, n.party from unnest(cast(:blocks as text[])) as b(block) cross join lateral ("
        " select key from party_block where org = :org and block = b.block limit :each_max) k"
        " join party_name n on n.org = :org and n.key = k.key"
    )
    rows = await tx.all(query, {"org": tx.org, "blocks": list(blocks), "each_max": each_max})
    return [(row.key, row.party) for row in rows]


async def _insert(tx: Tx, table: sa.Table, rows: Sequence[Mapping[str, Any]], *, ignore: bool = False) -> None:
    if not rows:
        return
    if len(rows) > COPY_FROM and table is not suggestion:  # under the lock nobody else adds a key meanwhile
        await tx.copy(table, list(rows[0]), [list(row.values()) for row in rows])
        return
    facts = [{"org": tx.org, **row} for row in rows]
    await tx.run(insert(table).on_conflict_do_nothing() if ignore else sa.insert(table), facts)


async def add_parties(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert parties."""
    await _insert(tx, party, rows)


async def add_names(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert names; a key that is known stays with its party."""
    await _insert(tx, name, rows, ignore=True)


async def add_blocks(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert the blocks of new names."""
    await _insert(tx, block, rows, ignore=True)


async def add_identifiers(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert identifiers; one that is known stays with its party."""
    await _insert(tx, identifier, rows, ignore=True)


async def add_suggestions(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert suggestions; a pair that was suggested before stays as it was answered."""
    await _insert(tx, suggestion, rows, ignore=True)


async def add_change(tx: Tx, row: Mapping[str, Any]) -> None:
    """Record a merge, a split or an undo."""
    await _insert(tx, change, [row])


async def one_change(tx: Tx, id_: UUID) -> sa.Row[Any] | None:
    """Return a change and whether it was undone."""
    later = change.alias("later")
    was_undone = sa.select(later.c.id).where(later.c.org == change.c.org, later.c.undoes == change.c.id).exists()
    return await tx.one(sa.select(change, was_undone.label("undone")).where(tx.own(change), change.c.id == id_))


async def one(tx: Tx, id_: UUID) -> sa.Row[Any] | None:
    """Return a party, or None."""
    return await tx.one(sa.select(party).where(tx.own(party), party.c.id == id_))


_CURRENT = sa.text(
    """
    with recursive way as (
        select id as asked, id, merged_into from party where org = :org and id = any(cast(:ids as uuid[]))
        union all
        select way.asked, p.id, p.merged_into from way join party p on p.org = :org and p.id = way.merged_into)
    select way.asked, p.id, p.name from way join party p on p.org = :org and p.id = way.id where way.merged_into is null
    """
)


async def current(tx: Tx, ids: Sequence[UUID]) -> dict[UUID, tuple[UUID, str]]:
    """Return for each id the party it is today (after merges) and its name; bounded by the ids."""
    rows = await tx.all(_CURRENT, {"org": tx.org, "ids": list(ids)})
    return {row.asked: (row.id, row.name) for row in rows}


_SAME = sa.text(
    """
    with recursive up as (
        select id, merged_into from party where org = :org and id = any(cast(:ids as uuid[]))
        union
        select p.id, p.merged_into from up join party p on p.org = :org and p.id = up.merged_into),
    down as (
        select id as root, id from up where merged_into is null
        union all
        select down.root, p.id from down join party p on p.org = :org and p.merged_into = down.id)
    select id, root from down order by id limit :most
    """
)


async def same(tx: Tx, ids: Sequence[UUID]) -> dict[UUID, UUID]:
    """Return the party that each id is today (after merges), for these ids and all others of the same; bounded by 100,000."""
    rows = await tx.all(_SAME, {"org": tx.org, "ids": list(ids), "most": SPELLINGS_MAX})
    return {row.id: row.root for row in rows}


async def names_of(tx: Tx, id_: UUID) -> list[sa.Row[Any]]:
    """Return the names of a party, at most 100,000."""
    query = (
        sa.select(name.c.key, name.c.written, name.c.source)
        .where(tx.own(name), name.c.party == id_)
        .order_by(name.c.key)
        .limit(SPELLINGS_MAX)
    )
    return list(await tx.all(query))


async def spellings(tx: Tx, ids: Sequence[UUID]) -> list[tuple[UUID, str]]:
    """Return (party, name as written) of some parties that stand for themselves, at most 100,000."""
    n = name.c
    query = sa.select(n.party, n.written).where(tx.own(name), n.party.in_(ids)).order_by(n.party, n.key)
    return [(row.party, row.written) for row in await tx.all(query.limit(SPELLINGS_MAX))]


async def identifiers_of(tx: Tx, id_: UUID) -> list[sa.Row[Any]]:
    """Return the identifiers of a party, at most 100,000."""
    i = identifier.c
    return list(
        await tx.all(
            sa.select(i.scheme, i.value)
            .where(tx.own(identifier), i.party == id_)
            .order_by(i.scheme, i.value)
            .limit(SPELLINGS_MAX)
        )
    )


async def move(tx: Tx, *, names: Iterable[str], identifiers: Iterable[Sequence[str]], of: UUID, to: UUID) -> None:
    """Move names and identifiers that still belong to ``of``."""
    keys, pairs = list(names), [tuple(pair) for pair in identifiers]
    await tx.run(sa.update(name).where(tx.own(name), name.c.party == of, name.c.key.in_(keys)).values(party=to))
    where = sa.tuple_(identifier.c.scheme, identifier.c.value).in_(pairs)
    await tx.run(sa.update(identifier).where(tx.own(identifier), identifier.c.party == of, where).values(party=to))


async def set_merged(tx: Tx, id_: UUID, *, into: UUID | None) -> None:
    """Say what a party was merged into; None makes it stand alone again."""
    await tx.run(sa.update(party).where(tx.own(party), party.c.id == id_).values(merged_into=into))


async def rename(tx: Tx, id_: UUID, *, to: str) -> bool:
    """Rename a party; False when there is none."""
    return (await tx.run(sa.update(party).where(tx.own(party), party.c.id == id_).values(name=to))).rowcount == 1


async def answer(tx: Tx, one_id: UUID, other_id: UUID, *, state: str, now: datetime) -> None:
    """Keep the answer to a pair, whichever way round it was suggested."""
    first, second = sorted((one_id, other_id))
    row = {
        "org": tx.org,
        "one": first,
        "other": second,
        "certainty": 1.0,
        "because": "said by a person",
        "state": state,
        "raised_at": now,
    }
    await tx.run(
        insert(suggestion).values(row).on_conflict_do_update(constraint="party_suggestion_pkey", set_={"state": state})
    )


def open_suggestions(tx: Tx) -> sa.Select[Any]:
    """Select open suggestions with both names, without order."""
    a, b, s = party.alias("a"), party.alias("b"), suggestion.c
    return (
        sa.select(s.one, a.c.name.label("one_name"), s.other, b.c.name.label("other_name"), s.certainty, s.because)
        .select_from(
            suggestion.join(a, sa.and_(a.c.org == s.org, a.c.id == s.one)).join(
                b, sa.and_(b.c.org == s.org, b.c.id == s.other)
            )
        )
        .where(tx.own(suggestion), s.state == "open", a.c.merged_into.is_(None), b.c.merged_into.is_(None))
    )


def listing(tx: Tx, *, starts: str) -> sa.Select[Any]:
    """Select parties that stand for themselves, without order."""
    p = party.c
    query = sa.select(p.id, p.name, p.created_at).where(tx.own(party), p.merged_into.is_(None))
    return query.where(sa.func.lower(p.name).startswith(starts.lower(), autoescape=True)) if starts else query
