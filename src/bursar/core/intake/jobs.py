"""Importing from end to end: store the bytes, read them in a killable child, take them in one transaction.

Safe to run twice: a document is known by its hash, its lines by period or occurrence; a crash before the commit leaves
only files that the lake's sweep removes.
"""

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from uuid import UUID
from weakref import WeakValueDictionary

from bursar.core.identity.organisations import service as organisations
from bursar.core.intake import rules, service
from bursar.core.intake.service import Arrived, Batch, Read
from bursar.infra import lake_compact
from bursar.infra.archives import ArchiveRefused, Member, unpack
from bursar.infra.arrivals import LocalFile, Mark, Prefix, Source, bucket_and_key, may_import
from bursar.infra.clock import utc_now
from bursar.infra.db import Database, Tx, new_id
from bursar.infra.files import FileStore
from bursar.infra.jobs import Context, job
from bursar.infra.lake import Lake
from bursar.infra.lake_compact import Compacted
from bursar.infra.lake_stage import Staged
from bursar.infra.sandbox import ImportRefused, Limits, Sandbox, keep_aside
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Problem
from bursar.kernel.lines import LineSchema


@dataclass(frozen=True, slots=True)
class Importer:
    """The tools of importing.

    Attributes:
        db: The database edge.
        lake: The lake.
        documents: Where bytes are kept.
        sandbox: Where foreign bytes are parsed.
        parser: ``module:function`` that reads one document in the child.
        schemas: Line schemas by name.
        scratch: Folder for files that live only during an import; on the lake's file system.
        quarantine: Folder that keeps documents the parser choked on, with a note beside each.
        turns: Whose turn it is to take a document, by organisation.
    """

    db: Database
    lake: Lake
    documents: FileStore
    sandbox: Sandbox
    parser: str
    schemas: Mapping[str, LineSchema]
    scratch: Path
    quarantine: Path
    turns: WeakValueDictionary[UUID, asyncio.Lock] = field(default_factory=WeakValueDictionary, repr=False)

    @asynccontextmanager
    async def _taking(self, actor: Actor) -> AsyncIterator[Tx]:
        """Open a transaction that takes or reverts; who waits for another of this organisation holds no connection."""
        async with self.turns.setdefault(actor.org, asyncio.Lock()), self.db.writing(actor) as tx:
            yield tx

    async def import_paths(
        self,
        actor: Actor,
        paths: Sequence[Path],
        *,
        clock: Callable[[], datetime],
        options: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Batch]:
        """Import files and folders as one delivery, in name order; see :meth:`import_sources`.

        Raises:
            NothingToImport: A path does not exist or a folder holds no file.
            TooManyFiles: More than the limit.
        """
        async for batch in self.import_sources(actor, files_under(paths), clock=clock, options=options):
            yield batch

    async def import_sources(
        self,
        actor: Actor,
        sources: Sequence[Source],
        *,
        clock: Callable[[], datetime],
        options: Mapping[str, str] | None = None,
        trust_marks: bool = False,
    ) -> AsyncIterator[Batch]:
        """Import sources as one delivery, in their order; yield each document's batch as it is done.

        Args:
            actor: Needs ``intake:import``.
            sources: What to import.
            clock: Tells the time.
            options: Answers for the parser.
            trust_marks: Know a source again without reading it, where its mark proves that it is unchanged.
        """
        actor.must("intake:import")
        delivery = new_id()
        for source in sources:
            imported = self._import_source(actor, source, delivery, clock, options or {})
            if trust_marks:
                imported = self._unless_unchanged(actor, source, imported, clock)
            async for _, batch in imported:
                yield batch

    async def _unless_unchanged(
        self, actor: Actor, source: Source, imported: AsyncIterator[tuple[str, Batch]], clock: Callable[[], datetime]
    ) -> AsyncIterator[tuple[str, Batch]]:
        """Yield what a source is known to hold; else what importing it yields, and remember that."""
        read_at, mark = clock(), await source.mark()
        held = await self._unchanged(actor, mark) if mark else []
        for pair in held:
            yield pair
        if held:
            return
        found = []
        async for pair in imported:
            found.append(pair)
            yield pair
        whole = all(batch.state is service.BatchState.IMPORTED for _, batch in found)
        if mark and found and whole and await source.is_provable(mark, read_at=read_at):
            async with self.db.writing(actor) as tx:
                documents = [sha256 for sha256, _ in found]
                await service.remember(tx, actor, mark=mark, documents=documents, now=clock())

    async def _unchanged(self, actor: Actor, mark: Mark) -> list[tuple[str, Batch]]:
        """Return (SHA-256, batch) of a place known by its mark, provided the bytes of every document are still stored."""
        async with self.db.reading(actor) as tx:
            known = await service.unchanged(tx, actor, mark=mark)
        stored = [await self.documents.has(actor.org, sha256) for sha256, _ in known]
        return known if all(stored) else []

    async def _import_source(
        self,
        actor: Actor,
        source: Source,
        delivery: UUID,
        clock: Callable[[], datetime],
        options: Mapping[str, str],
    ) -> AsyncIterator[tuple[str, Batch]]:
        self.scratch.mkdir(parents=True, exist_ok=True)
        name = source.name
        with (
            tempfile.TemporaryDirectory(dir=self.scratch) as folder,
            tempfile.TemporaryDirectory(dir=folder) as fetched,
        ):
            async with source.here(Path(fetched)) as path:
                problem = None
                try:
                    members = await asyncio.to_thread(unpack, path, Path(folder), name=name)
                except ArchiveRefused as refused:
                    members = [Member(name, path, path.stat().st_size)]
                    problem = Problem(what=str(refused), fix=refused.fix, file=name)
                for member in members:
                    sha256 = (await self.documents.put(actor.org, member.path)).digest
                    arrived = Arrived(sha256, member.name, member.size, delivery)
                    batch = await self._import_stored(
                        actor, arrived, member.path, clock=clock, options=options, problem=problem
                    )
                    yield sha256, batch

    async def _import_stored(
        self,
        actor: Actor,
        arrived: Arrived,
        path: Path,
        *,
        clock: Callable[[], datetime],
        options: Mapping[str, str],
        problem: Problem | None,
    ) -> Batch:
        """Import one document whose bytes are stored; return its batch (``already`` when it was imported before).

        ``problem`` says why the document was not even opened (an archive over its limits).
        """
        async with self.db.reading(actor) as tx:
            known = await service.known(tx, actor, sha256=arrived.sha256)
        if known:
            same = f"{arrived.name} holds the same bytes as {known.file}, so nothing of it is taken"
            return known if arrived.name == known.file else replace(known, notes=(*known.notes, same))
        folder = self.scratch / f"stage-{new_id()}"
        try:
            if problem:
                read = _unread(problem)
            else:
                read = await self.read(path, arrived.name, folder, options, now=clock())
            async with self._taking(actor) as tx:
                return await service.take(
                    tx,
                    actor,
                    lake=self.lake,
                    arrived=arrived,
                    read=read,
                    options=options,
                    now=clock(),
                )
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def read(self, path: Path, name: str, folder: Path, options: Mapping[str, str], *, now: datetime) -> Read:
        """Read one document in a child; a document that cannot be read becomes a problem, never an exception."""
        size = (await asyncio.to_thread(path.stat)).st_size
        try:
            raw = await self.sandbox.run_parser(
                self.parser,
                {"document": str(path), "name": name, "out": str(folder), "options": json.dumps(dict(options))},
                limits=Limits.for_document(size),
                cwd=self.scratch,
            )
        except ImportRefused as refused:
            if refused.why != "refused":
                await asyncio.to_thread(keep_aside, path, self.quarantine, refused, now=now)
            return _unread(Problem(what=str(refused), fix=refused.fix, file=name))
        return Read(
            format=raw["format"],
            title=raw["title"],
            kind=raw["kind"],
            certainty=raw["certainty"],
            schema=self.schemas[raw["schema"]] if raw["schema"] else None,
            staged=Staged.from_json(raw["staged"]) if raw["staged"] else None,
            balances=[rules.Balance.from_json(balance) for balance in raw["balances"]],
            notes=raw["notes"],
            problems=[Problem(**problem) for problem in raw["problems"]],
        )

    async def revert(self, actor: Actor, batch: UUID, *, clock: Callable[[], datetime]) -> Batch:
        """Take a batch back, then add again the rows that other documents share with it."""
        async with self._taking(actor) as tx:
            others = await service.revert(tx, actor, lake=self.lake, schemas=self.schemas, batch=batch, now=clock())
        for other in others:
            async with self.db.reading(actor) as tx:
                sha256, name, options = await service.source_of(tx, actor, batch=other)
            folder = self.scratch / f"stage-{new_id()}"
            try:
                async with self.documents.local(actor.org, sha256) as path:
                    read = await self.read(path, name, folder, options, now=clock())
                async with self._taking(actor) as tx:
                    await service.retake(tx, actor, lake=self.lake, batch=other, read=read, now=clock())
            finally:
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        async with self.db.reading(actor) as tx:
            return await service.get(tx, actor, batch=batch)


@dataclass(frozen=True, slots=True)
class Keeper:
    """What keeps the lake tidy.

    Attributes:
        lake: The lake.
        schemas: Every dataset in it.
    """

    lake: Lake
    schemas: Sequence[LineSchema]

    async def compact(
        self, db: Database, actor: Actor, *, now: datetime, objects_min: int = lake_compact.OBJECTS_MIN
    ) -> tuple[Compacted, int]:
        """Compact every dataset of the actor's organisation, then remove what is over; return that and files removed."""
        actor.must("intake:import")
        done = Compacted()
        for schema in self.schemas:
            done += await lake_compact.compact(db, actor, self.lake, schema, now=now, objects_min=objects_min)
        async with db.writing(actor) as tx:
            return done, await lake_compact.sweep(tx, self.lake, now=now)


def _unread(problem: Problem) -> Read:
    return Read("", "not understood", "", 0.0, None, None, (), (), (problem,))


def files_under(paths: Sequence[Path]) -> list[LocalFile]:
    """Return files and everything below folders, in name order; hidden files stay out.

    Raises:
        NothingToImport: A path does not exist, or a folder holds no file.
        TooManyFiles: More than :data:`~bursar.core.intake.rules.FILES_PER_DELIVERY_MAX`.
    """
    found: list[LocalFile] = []
    for path in paths:
        if path.is_file():
            found.append(LocalFile(path, path.name))
            continue
        below = sorted(
            inner
            for inner in path.rglob("*")
            if inner.is_file() and not any(part.startswith(".") for part in inner.relative_to(path).parts)
        )
        if not below:
            raise rules.NothingToImport(str(path))
        if len(found) + len(below) > rules.FILES_PER_DELIVERY_MAX:
            raise rules.TooManyFiles(str(path), rules.FILES_PER_DELIVERY_MAX)
        found += [LocalFile(inner, str(inner.relative_to(path))) for inner in below]
    return found


@dataclass(frozen=True, slots=True)
class Buckets:
    """Which prefixes of buckets organisations may import from over HTTP, and how S3 is reached; given by wiring.

    Attributes:
        importer: The tools of importing.
        allowed: Prefixes; ``{org}`` in one stands for the organisation's id.
        endpoint: Of an S3 other than AWS's own.
        region: Of the buckets.
    """

    importer: Importer
    allowed: tuple[str, ...]
    endpoint: str
    region: str

    def check(self, actor: Actor, url: str) -> None:
        """Refuse what is no address of a bucket, and what the settings do not allow this organisation."""
        bucket_and_key(url)
        if not may_import(url, self.allowed, actor.org):
            raise rules.NotOffered(url[:200])

    async def objects(self, url: str) -> Sequence[Source]:
        """Return the objects at ``url``; refuse when there is none."""
        found = await Prefix(url, endpoint=self.endpoint, region=self.region).objects()
        if not found:
            raise rules.NothingToImport(url)
        return found


@job("intake.objects", attempts=3, seconds=6 * 3600, rights=("intake:import",))
async def objects(ctx: Context, *, org: str, url: str) -> dict[str, int]:
    """Import every object of a prefix; safe to run twice: what is imported is known by its mark or its hash."""
    buckets, actor = ctx.tool(Buckets), ctx.actor(org)
    buckets.check(actor, url)
    sources = await buckets.objects(url)
    importer, done = replace(buckets.importer, db=ctx.db), {"objects": len(sources), "documents": 0, "rows": 0}
    async for batch in importer.import_sources(actor, sources, clock=utc_now, trust_marks=True):
        done["documents"] += 1
        done["rows"] += 0 if batch.already else batch.rows_taken
        await ctx.progress(done["documents"], len(sources), batch.file)
    return done


@job("intake.nightly", attempts=3, seconds=600, cron="7 3 * * *")
async def nightly(ctx: Context) -> int:
    """Queue the compaction of every organisation's lake; safe to run twice: one that waits is not queued again."""
    return await organisations.queue_for_each(ctx, "intake.compact", key="compact")


@job("intake.compact", attempts=3, seconds=3 * 3600, rights=("intake:import",))
async def compact(ctx: Context, *, org: str) -> dict[str, int]:
    """Put small files of the lake together and remove what is not needed any more; safe to run twice and to kill."""
    keeper = ctx.tool(Keeper)
    done, removed = await keeper.compact(ctx.db, ctx.actor(org), now=utc_now())
    return {"packs": done.packs, "files": done.files, "rows": done.rows, "removed": removed}


JOBS = (nightly, compact, objects)
