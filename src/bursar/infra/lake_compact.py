"""Keeping the lake in few files: many small ones of a month become one pack, and what nobody reads any more is removed.

A pack holds the lines of several manifest rows, each line marked with its row (:data:`~.lake_rows.PART`). The rows of the
manifest stay as they are and only say where their lines lie now, in one transaction; so a reader sees each line once at any
moment, and replacing and reverting batches works on packs as it does on files. The files that a pack replaced are kept for
:data:`GRACE`, for readers that listed them and for a backup that is being made.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import polars as pl
import sqlalchemy as sa

from bursar.infra.db import Database, Tx, new_id
from bursar.infra.lake import Lake, LakeFile, by_object, lock, name_of
from bursar.infra.lake_rows import PART
from bursar.infra.lake_stage import ROW_GROUP_ROWS
from bursar.infra.lake_tables import lake_file, lake_pack
from bursar.kernel.actor import Actor
from bursar.kernel.lines import LineSchema

GRACE = timedelta(hours=24)
"""How long a file that is not needed any more stays; longer than any query, job or backup runs."""

OBJECTS_MIN = 8
"""Fewer small files than this in a month are left alone."""

SMALL_BYTES_MAX = 64 * 1024**2
"""A file over this is left alone."""

PACK_BYTES_MAX = 512 * 1024**2
"""Files are put together up to this size."""

PARTS_MAX = 2000
"""Most manifest rows in one pack."""

NAMES_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a compaction did: packs made, files they replace, rows in them."""

    packs: int = 0
    files: int = 0
    rows: int = 0

    def __add__(self, other: "Compacted") -> "Compacted":
        """Add the counts."""
        return Compacted(self.packs + other.packs, self.files + other.files, self.rows + other.rows)


class CompactionDiffers(Exception):  # noqa: N818  a bug or a bad disk, not a refusal
    """A pack does not hold what its files hold; nothing was changed."""


async def compact(
    db: Database, actor: Actor, lake: Lake, schema: LineSchema, *, now: datetime, objects_min: int = OBJECTS_MIN
) -> Compacted:
    """Put the small files of each month of a dataset together, one transaction for each pack.

    Safe to run twice, beside imports and reverts, and to kill: until the manifest points at it a pack is an orphan.

    Args:
        db: The database edge.
        actor: Whose organisation.
        lake: The lake.
        schema: The dataset.
        now: Instant of the run.
        objects_min: Fewer small files than this in a month are left alone; at least 2.

    Raises:
        CompactionDiffers: A written pack does not hold exactly the rows and the money of its files.
    """
    async with db.reading(actor) as tx:
        files = await lake.files(tx, schema.name)
    done = Compacted()
    for month in sorted({file.month for file in files}):
        small = [group for group in by_object(file for file in files if file.month == month) if _is_small(group)]
        for groups in _packs(small, max(objects_min, 2)):
            done += await _pack(db, actor, lake, schema, month, groups, now)
    return done


def _is_small(group: Sequence[LakeFile]) -> bool:
    """Tell whether an object is worth rewriting: small, or a pack most of which nobody sees any more."""
    return group[0].held.size <= SMALL_BYTES_MAX or len(group) * 2 < group[0].parts


def _packs(small: Iterable[list[LakeFile]], objects_min: int) -> Iterator[list[list[LakeFile]]]:
    """Divide objects into packs, in order."""
    taken: list[list[LakeFile]] = []
    size = parts = 0
    for group in small:
        full = size + group[0].held.size > PACK_BYTES_MAX or parts + len(group) > PARTS_MAX
        if taken and full:
            if len(taken) >= objects_min:
                yield taken
            taken, size, parts = [], 0, 0
        taken.append(group)
        size += group[0].held.size
        parts += len(group)
    if len(taken) >= objects_min:
        yield taken


async def _pack(
    db: Database,
    actor: Actor,
    lake: Lake,
    schema: LineSchema,
    month: date,
    groups: Sequence[Sequence[LakeFile]],
    now: datetime,
) -> Compacted:
    """Write one pack and point the manifest at it; nothing when the manifest changed its mind meanwhile."""
    identifier = new_id()
    files = sorted((file for group in groups for file in group), key=lambda one: one.id)
    target = lake.scratch(identifier) / "pack.parquet"
    frames = await lake.frames(files)
    rows = await asyncio.to_thread(_write, frames, schema, target)
    held = await asyncio.to_thread(lake.place.settle, target, name_of(actor.org, schema.name, month, identifier))
    async with db.writing(actor) as tx:
        await lock(tx, schema.name)
        if await _places(tx, files) != {file.id: file.held.name for file in files}:
            return Compacted()
        await tx.run(
            sa.insert(lake_pack).values(
                org=tx.org,
                id=identifier,
                dataset=schema.name,
                month=month,
                path=held.name,
                parts=len(files),
                rows=rows,
                size_bytes=held.size,
                sha256=held.sha256,
                made_at=now,
            )
        )
        mine = (tx.own(lake_file), lake_file.c.id.in_([file.id for file in files]))
        await tx.run(sa.update(lake_file).where(*mine).values(pack=identifier))
        await _let_go(tx, now=now)
    return Compacted(1, len(groups), rows)


def _write(frames: Sequence[tuple[LakeFile, pl.LazyFrame]], schema: LineSchema, target: Path) -> int:
    """Write the rows of files one after the other, each marked; return their number once it is proved equal."""
    marked = [rows.drop(PART, strict=False).with_columns(pl.lit(str(file.id)).alias(PART)) for file, rows in frames]
    pl.concat(marked, how="diagonal_relaxed").sink_parquet(
        target, compression="zstd", compression_level=1, row_group_size=ROW_GROUP_ROWS, engine="streaming"
    )
    pack = pl.scan_parquet(target, hive_partitioning=False)
    found = dict(pack.group_by(PART).len().collect(engine="streaming").iter_rows())
    if found != {str(file.id): file.rows for file, _ in frames}:
        raise CompactionDiffers(str(target))
    if schema.amount and _sums([rows for _, rows in frames], schema) != _sums([pack], schema):
        raise CompactionDiffers(str(target))
    return sum(found.values())


def _sums(frames: Sequence[pl.LazyFrame], schema: LineSchema) -> dict[str, Decimal]:
    amounts = pl.concat([rows.select("currency", schema.amount) for rows in frames])
    return dict(amounts.group_by("currency").sum().collect(engine="streaming").iter_rows())


async def _places(tx: Tx, files: Sequence[LakeFile]) -> dict[UUID, str]:
    """Return in which object the lines of some files lie now."""
    joined = lake_file.outerjoin(
        lake_pack, sa.and_(lake_pack.c.org == lake_file.c.org, lake_pack.c.id == lake_file.c.pack)
    )
    found = await tx.all(
        sa.select(lake_file.c.id, sa.func.coalesce(lake_pack.c.path, lake_file.c.path).label("place"))
        .select_from(joined)
        .where(tx.own(lake_file), lake_file.c.id.in_([file.id for file in files]))
        .limit(len(files))
    )
    return {row.id: row.place for row in found}


async def _let_go(tx: Tx, *, now: datetime) -> None:
    """Note which packs no manifest row points at any more; they are removed after their grace."""
    pointed = sa.select(lake_file.c.id).where(lake_file.c.org == lake_pack.c.org, lake_file.c.pack == lake_pack.c.id)
    unused = (tx.own(lake_pack), lake_pack.c.replaced_at.is_(None), ~pointed.exists())
    await tx.run(sa.update(lake_pack).where(*unused).values(replaced_at=now))


async def sweep(tx: Tx, lake: Lake, *, now: datetime, grace: timedelta = GRACE) -> int:
    """Remove this organisation's objects that nothing needs any more and that were not needed ``grace`` ago either.

    Those are orphans of transactions that failed, files whose lines lie in a pack, packs that were replaced, and what
    belongs to batches that were reverted. Safe to run twice and to interrupt.

    Args:
        tx: Writing transaction; serialises with imports by nothing, as it only touches what is over.
        lake: The lake.
        now: Instant of the run, by the clock that objects are dated with.
        grace: How long what is not needed stays.

    Returns:
        Objects removed.
    """
    before = now - grace
    over = sa.or_(lake_file.c.made_by != lake_file.c.batch, lake_file.c.dropped_by == lake_file.c.batch)
    await tx.run(sa.delete(lake_file).where(tx.own(lake_file), lake_file.c.dropped_at < before, over))
    await _let_go(tx, now=now)
    await tx.run(sa.delete(lake_pack).where(tx.own(lake_pack), lake_pack.c.replaced_at < before))
    old = [
        entry.name
        for entry in await asyncio.to_thread(lambda: list(lake.place.entries(f"{tx.org}/")))
        if entry.age_s > grace.total_seconds()
    ]
    removed = 0
    for at in range(0, len(old), NAMES_AT_ONCE):
        names = old[at : at + NAMES_AT_ONCE]
        for name in set(names) - await _needed(tx, names, before):
            await asyncio.to_thread(lake.place.remove, name)
            removed += 1
    await asyncio.to_thread(lake.place.tidy, older_than=before.timestamp())
    return removed


async def _needed(tx: Tx, names: Sequence[str], before: datetime) -> set[str]:
    """Return which of some objects hold lines of the manifest, or did after ``before``."""
    t, pack = lake_file.c, lake_pack.c
    joined = lake_file.outerjoin(lake_pack, sa.and_(pack.org == t.org, pack.id == t.pack))
    files = sa.select(t.path).select_from(joined).where(tx.own(lake_file), t.path.in_(names))
    packs = sa.select(pack.path).where(tx.own(lake_pack), pack.path.in_(names))
    found = [
        *await tx.all(files.where(sa.or_(pack.id.is_(None), pack.made_at >= before)).limit(len(names))),
        *await tx.all(packs.limit(len(names))),
    ]
    return {row[0] for row in found}
