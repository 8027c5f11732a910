"""The lake: immutable line detail as zstd Parquet, one folder per organisation, dataset and month, listed in PostgreSQL.

A file is part of the lake when, and only when, a manifest row says so; a batch therefore appears and disappears in one
transaction, and a crash leaves at most orphans, which :meth:`Lake.sweep` removes. Two ways of replacing:

* a *bill* (schema without ``identity``) replaces what it covers of the same source account and billing month;
* a *statement* (schema with ``identity``) adds only rows not seen before; equal rows are told apart by an occurrence
  number, so two equal purchases both stay and the same file twice adds nothing.
"""

import asyncio
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import polars as pl
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.db import Tx, new_id, tenant_table
from bursar.infra.lake_rows import only_new, without_replaced
from bursar.infra.lake_stage import Coverage, Staged, StagedFile, coverage_of
from bursar.kernel.lines import LineSchema

FILES_MAX = 100_000
"""Most files one organisation may have in one dataset before compaction must run."""

lake_file = tenant_table(
    "lake_file",
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("dataset", sa.Text, nullable=False),
    sa.Column("month", sa.Date, nullable=False),
    sa.Column("batch", sa.Uuid, nullable=False),
    sa.Column("family", sa.Uuid, nullable=False),
    sa.Column("format", sa.Text, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("coverage", pg.JSONB, nullable=False),
    sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("dropped_at", sa.DateTime(timezone=True)),
    sa.Column("dropped_by", sa.Uuid),
    sa.Column("made_by", sa.Uuid, nullable=False),
    sa.UniqueConstraint("org", "path", name="lake_file_path_key"),
    sa.Index("lake_file_visible", "org", "dataset", "month", postgresql_where=sa.text("dropped_at is null")),
    sa.Index("lake_file_batch", "org", "batch"),
)


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
    path: str
    rows: int
    coverage: tuple[Coverage, ...]


@dataclass(frozen=True, slots=True)
class _Maker:
    """Whose lines are written: batch, family (parts of one delivery, which never replace each other), format, instant."""

    batch: UUID
    family: UUID
    format: str
    now: datetime


class Lake:
    """The lake under one folder.

    Args:
        root: Folder of the lake; made when absent.
        memory_mb: Memory one query may use, MiB.
        threads: Threads one query may use.
    """

    def __init__(self, root: Path, *, memory_mb: int = 512, threads: int = 2) -> None:
        self.root = root
        self.memory_mb = memory_mb
        self.threads = threads
        root.mkdir(parents=True, exist_ok=True)

    async def files(
        self, tx: Tx, dataset: str, *, months: Iterable[date] | None = None, batch: UUID | None = None
    ) -> list[LakeFile]:
        """Return the visible files of a dataset, oldest month first; optionally of some months or one batch."""
        t = lake_file.c
        where = [tx.own(lake_file), t.dataset == dataset, t.dropped_at.is_(None)]
        if months is not None:
            where.append(t.month.in_(sorted(set(months))))
        if batch is not None:
            where.append(t.batch == batch)
        found = await tx.all(
            sa.select(t.id, t.month, t.batch, t.family, t.format, t.path, t.rows, t.coverage)
            .where(*where)
            .order_by(t.month, t.id)
            .limit(FILES_MAX)
        )
        return [
            LakeFile(
                row.id, row.month, row.batch, row.family, row.format, row.path, row.rows, _coverage_from(row.coverage)
            )
            for row in found
        ]

    def paths(self, files: Sequence[LakeFile]) -> list[Path]:
        """Return the absolute paths of manifest rows."""
        return [self.root / file.path for file in files]

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
        await tx.run(
            sa.text("select pg_advisory_xact_lock(hashtextextended(:name, 0))"),
            {"name": f"lake/{tx.org}/{schema.name}"},
        )
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
            kept = await asyncio.to_thread(
                without_replaced, self.root / old.path, schema, old.coverage, newer, self._scratch(maker.batch)
            )
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
            [(self.root / file.path, file.format) for file in existing],
            schema,
            maker.format,
            self._scratch(maker.batch),
        )
        for file in files:
            await self._admit(tx, schema, file, maker, made_by=maker.batch)
        return Taken(sum(file.rows for file in files), known, 0, totals)

    def _scratch(self, batch: UUID) -> Path:
        folder = self.root / ".staging" / str(batch) / str(new_id())
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    async def _admit(self, tx: Tx, schema: LineSchema, file: StagedFile, maker: "_Maker", *, made_by: UUID) -> None:
        """Move one staged file to its place (durably) and list it in the manifest."""
        identifier = new_id()
        relative = Path(str(tx.org)) / schema.name / f"{file.month:%Y-%m}" / f"{identifier}.parquet"
        await asyncio.to_thread(_settle, Path(file.path), self.root / relative)
        await tx.run(
            sa.insert(lake_file).values(
                org=tx.org,
                id=identifier,
                dataset=schema.name,
                month=file.month,
                batch=maker.batch,
                family=maker.family,
                format=maker.format,
                path=str(relative),
                rows=file.rows,
                size_bytes=file.size,
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

    async def scan(self, tx: Tx, schema: LineSchema, *, months: Iterable[date] | None = None) -> pl.LazyFrame:
        """Return the visible rows of a dataset as a lazy frame (empty, with the right columns, when there are none)."""
        files = await self.files(tx, schema.name, months=months)
        if not files:
            return pl.LazyFrame(schema=schema.columns)
        frames = [
            pl.scan_parquet(self.root / file.path, hive_partitioning=False).with_columns(
                pl.lit(str(file.batch)).alias("batch")
            )
            for file in files
        ]
        return pl.concat(frames, how="diagonal_relaxed")

    async def remove_all(self, org: UUID) -> None:
        """Delete every file of an organisation that is erased; safe to call twice."""
        await asyncio.to_thread(shutil.rmtree, self.root / str(org), ignore_errors=True)

    async def sweep(self, tx: Tx, *, older_than: datetime) -> int:
        """Remove files of this organisation that no manifest row names and that are older than ``older_than``."""
        folder = self.root / str(tx.org)
        named = {
            row[0] for row in await tx.all(sa.select(lake_file.c.path).where(tx.own(lake_file)).limit(FILES_MAX * 10))
        }
        removed = 0
        for path in folder.rglob("*.parquet") if folder.exists() else ():
            if str(path.relative_to(self.root)) not in named and path.stat().st_mtime < older_than.timestamp():
                path.unlink(missing_ok=True)
                removed += 1
        for stale in (self.root / ".staging").glob("*"):
            if stale.stat().st_mtime < older_than.timestamp():
                shutil.rmtree(stale, ignore_errors=True)
        return removed


def _coverage_from(raw: list[dict[str, Any]]) -> tuple[Coverage, ...]:
    return tuple(
        Coverage(c["scope"], date.fromisoformat(c["start"]), date.fromisoformat(c["end"]), c["rows"]) for c in raw
    )


def _settle(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target`` durably: contents and folder entry are on disk before this returns."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as file:
        os.fsync(file.fileno())
    if source.stat().st_dev == target.parent.stat().st_dev:
        source.replace(target)
    else:
        shutil.move(source, target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


__all__ = ["Coverage", "Lake", "LakeFile", "Taken", "coverage_of", "lake_file"]
