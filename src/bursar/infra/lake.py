"""The lake: immutable line detail as zstd Parquet, one folder per organisation, dataset and month, listed in PostgreSQL.

A file is part of the lake when, and only when, a manifest row says so; a batch therefore appears and disappears in one
transaction, and a crash leaves at most orphans, which :func:`bursar.infra.lake_compact.sweep` removes. A manifest row stays
the same when its lines move into a pack (:mod:`bursar.infra.lake_compact`): what is visible, replaced or reverted is decided
on rows of the manifest, where their lines lie is looked up. Two ways of replacing:

* a *bill* (schema without ``identity``) replaces what it covers of the same source account and billing month;
* a *statement* (schema with ``identity``) adds only rows not seen before; equal rows are told apart by an occurrence
  number, so two equal purchases both stay and the same file twice adds nothing.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

import polars as pl
import sqlalchemy as sa

from bursar.infra.backup_store import Store
from bursar.infra.db import Tx, new_id
from bursar.infra.lake_place import CACHE_BYTES_MAX, STAGING, Held, Place
from bursar.infra.lake_rows import PART, only_new, without_replaced
from bursar.infra.lake_stage import Coverage, Staged, StagedFile, coverage_of
from bursar.infra.lake_tables import lake_file, lake_pack
from bursar.kernel.errors import TooLarge
from bursar.kernel.lines import LineSchema

FILES_MAX = 100_000
"""Most files one organisation may have in one dataset before compaction must run."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a document added: rows and exact totals per currency of the rows taken, and rows known already."""

    rows: int
    known: int
    replaced: int
    totals: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True)
class LakeFile:
    """One manifest row."""

    id: UUID
    month: date
    batch: UUID
    family: UUID
    format: str
    rows: int
    coverage: tuple[Coverage, ...]
    held: Held
    parts: int
    """Manifest rows whose lines the pack holds; 0 where the object holds this one's only."""


@dataclass(frozen=True, slots=True)
class _Maker:
    """Whose lines are written: batch, family (parts of one delivery, which never replace each other), format, instant."""

    batch: UUID
    family: UUID
    format: str
    now: datetime


Beside = Callable[[Tx, pl.LazyFrame, date], Awaitable[pl.LazyFrame | None]]
"""Returns rows of a dataset from a day on with what is kept beside them; None when nothing is."""


class Lake:
    """The lake under one folder, or in S3 with that folder as its copies.

    Args:
        root: Folder of the lake; made when absent.
        memory_mb: Memory one query may use, MiB.
        threads: Threads one query may use.
        remote: Where the objects lie, if not in ``root``.
        cache_bytes_max: Size of the local copies when there is a ``remote``.
        beside: What a feature keeps beside the rows of a dataset, by dataset.
    """

    def __init__(
        self,
        root: Path,
        *,
        memory_mb: int = 512,
        threads: int = 2,
        remote: Store | None = None,
        cache_bytes_max: int = CACHE_BYTES_MAX,
        beside: Mapping[str, Beside] = MappingProxyType({}),
    ) -> None:
        self.root = root
        self.beside = beside
        self.memory_mb = memory_mb
        self.threads = threads
        self.place = Place(root, remote, cache_bytes_max=cache_bytes_max)

    async def files(
        self, tx: Tx, dataset: str, *, months: Iterable[date] | None = None, batch: UUID | None = None
    ) -> list[LakeFile]:
        """Return the visible files of a dataset, oldest month first; optionally of some months or one batch.

        Raises:
            TooLarge: There are more than :data:`FILES_MAX`.
        """
        t, pack = lake_file.c, lake_pack.c
        where = [tx.own(lake_file), t.dataset == dataset, t.dropped_at.is_(None)]
        if months is not None:
            where.append(t.month.in_(sorted(set(months))))
        if batch is not None:
            where.append(t.batch == batch)
        found = await tx.all(
            sa.select(
                *(t.id, t.month, t.batch, t.family, t.format, t.rows, t.coverage),
                sa.func.coalesce(pack.path, t.path).label("path"),
                sa.func.coalesce(pack.size_bytes, t.size_bytes).label("size_bytes"),
                sa.func.coalesce(pack.sha256, t.sha256).label("sha256"),
                sa.func.coalesce(pack.parts, 0).label("parts"),
            )
            .select_from(lake_file.outerjoin(lake_pack, sa.and_(pack.org == t.org, pack.id == t.pack)))
            .where(*where)
            .order_by(t.month, t.id)
            .limit(FILES_MAX + 1)
        )
        if len(found) > FILES_MAX:
            raise TooLarge(f"the dataset {dataset} (run `bursar lake compact`)", FILES_MAX, "files")
        return [
            LakeFile(
                *(row.id, row.month, row.batch, row.family, row.format, row.rows, _coverage_from(row.coverage)),
                held=Held(row.path, row.size_bytes, row.sha256),
                parts=row.parts,
            )
            for row in found
        ]

    async def local(self, files: Iterable[LakeFile]) -> dict[str, Path]:
        """Return where the objects of some files can be read, by name; see :meth:`.lake_place.Place.local`."""
        wanted = {file.held.name: file.held for file in files}
        return await asyncio.to_thread(self.place.local, wanted.values())

    async def frames(self, files: Sequence[LakeFile]) -> list[tuple[LakeFile, pl.LazyFrame]]:
        """Return the rows of each file as a lazy frame of its own."""
        paths = await self.local(files)
        return [(file, _rows(paths[file.held.name], file)) for file in files]

    async def take(
        self,
        tx: Tx,
        schema: LineSchema,
        staged: Staged,
        *,
        batch: UUID,
        format_name: str,
        siblings: frozenset[UUID],
        now: datetime,
    ) -> Taken:
        """Make staged lines part of the lake in the caller's transaction.

        Args:
            tx: Writing transaction; serialises with other takes of the same dataset by an advisory lock.
            schema: The line schema of the staged files.
            staged: What :func:`~bursar.infra.lake_stage.stage` wrote.
            batch: The batch that brings them.
            format_name: The connector, to tell rows of one format from the same rows in another.
            siblings: Batches of the same delivery (parts of one export), never replaced by this one.
            now: Instant of taking.

        Returns:
            Rows and totals taken, rows known already, rows of older batches replaced.
        """
        await lock(tx, schema.name)
        maker = _Maker(batch, await self._family(tx, siblings) or batch, format_name, now)
        if schema.identity:
            return await self._take_new(tx, schema, staged, maker)
        replaced = 0
        for file in staged.files:
            replaced += await self._replace(tx, schema, file.month, file.coverage, maker)
        for file in staged.files:
            await self._admit(tx, schema, file, maker, made_by=batch)
        return Taken(staged.rows, 0, replaced, staged.totals)

    async def _family(self, tx: Tx, siblings: frozenset[UUID]) -> UUID | None:
        """Return the family that any of some batches belongs to; None when none of them has lines."""
        if not siblings:
            return None
        found: UUID | None = await tx.scalar(
            sa.select(lake_file.c.family)
            .where(tx.own(lake_file), lake_file.c.batch.in_(list(siblings)))
            .order_by(lake_file.c.family)
            .limit(1)
        )
        return found

    async def _replace(
        self, tx: Tx, schema: LineSchema, month: date, coverage: Sequence[Coverage], maker: "_Maker"
    ) -> int:
        """Hide the rows of older batches of other families that ``coverage`` replaces; return how many."""
        hidden = 0
        newer = {c.scope: c for c in coverage}
        for old in await self.files(tx, schema.name, months=[month]):
            older = old.batch < maker.batch and old.family != maker.family
            if not older or not any(c.scope in newer for c in old.coverage):
                continue
            [(_, rows)] = await self.frames([old])
            scratch = self.scratch(maker.batch)
            kept = await asyncio.to_thread(without_replaced, rows, schema, old.coverage, newer, scratch)
            hidden += old.rows - (kept.rows if kept else 0)
            if kept and kept.rows == old.rows:
                continue
            await self._drop(tx, [old.id], by=maker.batch, now=maker.now)
            if kept:
                owner = _Maker(old.batch, old.family, old.format, maker.now)
                await self._admit(tx, schema, kept, owner, made_by=maker.batch)
        return hidden

    async def _take_new(self, tx: Tx, schema: LineSchema, staged: Staged, maker: "_Maker") -> Taken:
        existing = await self.files(tx, schema.name, months=[file.month for file in staged.files])
        files, known, totals = await asyncio.to_thread(
            only_new,
            [Path(file.path) for file in staged.files],
            [(rows, file.format) for file, rows in await self.frames(existing)],
            schema,
            maker.format,
            self.scratch(maker.batch),
        )
        for file in files:
            await self._admit(tx, schema, file, maker, made_by=maker.batch)
        return Taken(sum(file.rows for file in files), known, 0, totals)

    def scratch(self, maker: UUID) -> Path:
        """Return a new empty folder beside the objects, for what ``maker`` writes."""
        folder = self.root / STAGING / str(maker) / str(new_id())
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    async def _admit(self, tx: Tx, schema: LineSchema, file: StagedFile, maker: "_Maker", *, made_by: UUID) -> None:
        """Move one staged file to its place (durably) and list it in the manifest."""
        identifier = new_id()
        held = await asyncio.to_thread(
            self.place.settle, Path(file.path), name_of(tx.org, schema.name, file.month, identifier)
        )
        await tx.run(
            sa.insert(lake_file).values(
                org=tx.org,
                id=identifier,
                dataset=schema.name,
                month=file.month,
                batch=maker.batch,
                family=maker.family,
                format=maker.format,
                path=held.name,
                rows=file.rows,
                size_bytes=held.size,
                sha256=held.sha256,
                coverage=[
                    {"scope": c.scope, "start": c.start.isoformat(), "end": c.end.isoformat(), "rows": c.rows}
                    for c in file.coverage
                ],
                added_at=maker.now,
                made_by=made_by,
            )
        )

    async def _drop(self, tx: Tx, ids: Sequence[UUID], *, by: UUID, now: datetime) -> None:
        await tx.run(
            sa.update(lake_file).where(tx.own(lake_file), lake_file.c.id.in_(ids)).values(dropped_at=now, dropped_by=by)
        )

    async def drop_batch(self, tx: Tx, schema: LineSchema, batch: UUID, *, now: datetime) -> int:
        """Hide everything ``batch`` brought, for good, and rebuild the months it touched; return its visible rows.

        What is visible of a bill is a function of the batches that are not reverted, in their order of arrival: the
        months are laid out again from the original files, so it does not matter in which order batches are reverted.
        """
        t = lake_file.c
        gone = await tx.all(
            sa.select(t.rows, t.month, t.dropped_at).where(tx.own(lake_file), t.batch == batch).limit(FILES_MAX)
        )
        await tx.run(
            sa.update(lake_file).where(tx.own(lake_file), t.batch == batch).values(dropped_at=now, dropped_by=batch)
        )
        if not schema.identity:
            for month in sorted({row.month for row in gone}):
                await self._rebuild(tx, schema, month, now=now)
        return sum(int(row.rows) for row in gone if row.dropped_at is None)

    async def _rebuild(self, tx: Tx, schema: LineSchema, month: date, *, now: datetime) -> None:
        """Lay a month of bills out again: original files of batches not reverted, replaced in order of arrival."""
        t = lake_file.c
        here = (tx.own(lake_file), t.dataset == schema.name, t.month == month)
        await tx.run(
            sa.update(lake_file)
            .where(*here, t.made_by != t.batch, t.dropped_at.is_(None))
            .values(dropped_at=now, dropped_by=t.made_by)
        )
        reverted = sa.or_(t.dropped_by.is_(None), t.dropped_by != t.batch)
        await tx.run(
            sa.update(lake_file).where(*here, t.made_by == t.batch, reverted).values(dropped_at=None, dropped_by=None)
        )
        originals = await self.files(tx, schema.name, months=[month])
        for file in sorted(originals, key=lambda one: (one.batch, one.id)):
            maker = _Maker(file.batch, file.family, file.format, now)
            await self._replace(tx, schema, month, file.coverage, maker)

    async def changed(self, tx: Tx, dataset: str, known: Mapping[date, str]) -> list[tuple[date, str, bool]]:
        """Return the months of a dataset that are not as they were: month, digest of its files now, whether it has any.

        Args:
            tx: Any transaction.
            dataset: Name.
            known: Digests that were seen, by month.
        """
        files: dict[date, list[str]] = {}
        for file in await self.files(tx, dataset):
            files.setdefault(file.month, []).append(str(file.id))
        digests = {
            month: hashlib.sha256("".join(sorted(files.get(month, ()))).encode()).hexdigest()
            for month in sorted({*files, *known})
        }
        return [(month, digest, month in files) for month, digest in digests.items() if known.get(month) != digest]

    async def scan(self, tx: Tx, schema: LineSchema, *, months: Iterable[date] | None = None) -> pl.LazyFrame:
        """Return the visible rows of a dataset as a lazy frame (empty, with the right columns, when there are none)."""
        files = await self.files(tx, schema.name, months=months)
        if not files:
            return pl.LazyFrame(schema={**schema.columns, "batch": pl.String()})
        frames = []
        paths = await self.local(files)
        for held in by_object(files):
            rows = _rows(paths[held[0].held.name], *held)
            frames.append(rows.with_columns(_batch_of(held).alias("batch")))
        since = pl.LazyFrame(schema=schema.columns)  # columns that no file has yet
        return pl.concat([*frames, since], how="diagonal_relaxed").drop(PART, strict=False)

    async def remove_all(self, org: UUID) -> None:
        """Delete every file of an organisation that is erased; safe to call twice."""
        await asyncio.to_thread(self.place.remove_all, str(org))


def _batch_of(held: Sequence[LakeFile]) -> pl.Expr:
    """Return the batch of each row of one object, without holding the whole column as ``replace_strict`` on it would."""
    if not held[0].parts:
        return pl.lit(str(held[0].batch))
    batches = {str(file.id): str(file.batch) for file in held}
    return pl.col(PART).map_batches(
        lambda parts: parts.replace_strict(batches, return_dtype=pl.String()),
        return_dtype=pl.String(),
        is_elementwise=True,
    )


async def lock(tx: Tx, dataset: str) -> None:
    """Let one transaction at a time change what a dataset consists of (held to the end of the transaction)."""
    name = {"name": f"lake/{tx.org}/{dataset}"}
    await tx.run(sa.text("select pg_advisory_xact_lock(hashtextextended(:name, 0))"), name)


def name_of(org: UUID, dataset: str, month: date, identifier: UUID) -> str:
    """Return the name of an object of the lake."""
    return f"{org}/{dataset}/{month:%Y-%m}/{identifier}.parquet"


def by_object(files: Iterable[LakeFile]) -> list[list[LakeFile]]:
    """Return files grouped by the object that holds their lines, in order of appearance."""
    groups: dict[str, list[LakeFile]] = {}
    for file in files:
        groups.setdefault(file.held.name, []).append(file)
    return list(groups.values())


def is_whole(files: Sequence[LakeFile]) -> bool:
    """Tell whether all lines of the object that holds ``files`` belong to them."""
    return not files[0].parts or files[0].parts == len(files)


def _rows(path: Path, *files: LakeFile) -> pl.LazyFrame:
    """Return the lines that belong to some files of one object."""
    rows = pl.scan_parquet(path, hive_partitioning=False)
    return rows if is_whole(files) else rows.filter(pl.col(PART).is_in([str(file.id) for file in files]))


def _coverage_from(raw: list[dict[str, Any]]) -> tuple[Coverage, ...]:
    return tuple(
        Coverage(c["scope"], date.fromisoformat(c["start"]), date.fromisoformat(c["end"]), c["rows"]) for c in raw
    )


__all__ = ["Coverage", "Lake", "LakeFile", "Taken", "coverage_of", "lake_file"]
