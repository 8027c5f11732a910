"""Use cases of papers: read them off the lake, find those of an amount."""

from collections.abc import Collection

from bursar.infra.db import Tx
from bursar.infra.lake import Lake
from bursar.infra.lake_query import query
from bursar.parts.banking.papers import rules, store
from bursar.parts.banking.papers.rules import Paper

__all__ = ["Paper", "derive", "of_sizes", "sizes"]


async def derive(tx: Tx, *, lake: Lake) -> int:
    """Bring papers in line with the lake; only months whose files changed are read. Returns how many months were.

    Safe to run at any time and twice. It needs no right: it changes nothing that anybody stated.
    """
    await store.lock(tx)
    done = 0
    for schema, asked, read in rules.SOURCES:
        for month, digest, held in await lake.changed(tx, schema.name, await store.digests(tx, schema.name)):
            found = await query(lake, tx, asked(), schemas=(schema,), months=[month]) if held else None
            papers = [read(row) for row in found.iter_rows(named=True)] if found is not None else []
            await store.put_month(tx, schema.name, month, digest, rules.gathered(papers))
            done += 1
    return done


async def of_sizes(tx: Tx, *, sizes: Collection[int]) -> list[Paper]:
    """Return the papers whose total, in hundredths and without sign, is one of some."""
    return rules.stated_once(await store.of_sizes(tx, sizes))


async def sizes(tx: Tx) -> list[int]:
    """Return the totals of the newest 10,000 papers, in hundredths and without sign."""
    return await store.sizes(tx)
