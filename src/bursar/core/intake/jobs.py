"""Importing from end to end: store the bytes, read them in a killable child, take them in one transaction.

Safe to run twice: a document is known by its hash, its lines by period or occurrence; a crash before the commit leaves
only files that the lake's sweep removes.
"""

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from bursar.core.intake import rules, service
from bursar.core.intake.service import Arrived, Batch, Read
from bursar.infra.archives import ArchiveRefused, Member, unpack
from bursar.infra.db import Database, new_id
from bursar.infra.files import FileStore
from bursar.infra.lake import Lake
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
    """

    db: Database
    lake: Lake
    documents: FileStore
    sandbox: Sandbox
    parser: str
    schemas: Mapping[str, LineSchema]
    scratch: Path
    quarantine: Path

    async def import_paths(
        self,
        actor: Actor,
        paths: Sequence[Path],
        *,
        clock: Callable[[], datetime],
        options: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Batch]:
        """Import files and folders as one delivery, in name order; yield each document's batch as it is done.

        Raises:
            NothingToImport: A path does not exist or a folder holds no file.
            TooManyFiles: More than the limit.
        """
        delivery = new_id()
        for received in files_under(paths):
            async for batch in self._import_file(actor, received, delivery, clock, options or {}):
                yield batch

    async def _import_file(
        self,
        actor: Actor,
        received: tuple[Path, str],
        delivery: UUID,
        clock: Callable[[], datetime],
        options: Mapping[str, str],
    ) -> AsyncIterator[Batch]:
        path, name = received
        self.scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            problem = None
            try:
                members = await asyncio.to_thread(unpack, path, Path(folder), name=name)
            except ArchiveRefused as refused:
                members = [Member(name, path, path.stat().st_size)]
                problem = Problem(what=str(refused), fix=refused.fix, file=name)
            for member in members:
                yield await self.import_document(
                    actor, member, delivery=delivery, clock=clock, options=options, problem=problem
                )

    async def import_document(
        self,
        actor: Actor,
        member: Member,
        *,
        delivery: UUID,
        clock: Callable[[], datetime],
        options: Mapping[str, str],
        problem: Problem | None = None,
    ) -> Batch:
        """Import one document; return its batch (``already`` when these bytes were imported before).

        ``problem`` says why the document was not even opened (an archive over its limits).
        """
        sha256 = (await self.documents.put(actor.org, member.path)).digest
        async with self.db.reading(actor) as tx:
            known = await service.known(tx, actor, sha256=sha256)
        if known:
            return known
        folder = self.scratch / f"stage-{new_id()}"
        try:
            if problem:
                read = _unread(problem)
            else:
                read = await self.read(member.path, member.name, folder, options, now=clock())
            async with self.db.writing(actor) as tx:
                return await service.take(
                    tx,
                    actor,
                    lake=self.lake,
                    arrived=Arrived(sha256, member.name, member.size, delivery),
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
        async with self.db.writing(actor) as tx:
            others = await service.revert(tx, actor, lake=self.lake, schemas=self.schemas, batch=batch, now=clock())
        for other in others:
            async with self.db.reading(actor) as tx:
                sha256, name, options = await service.source_of(tx, actor, batch=other)
            folder = self.scratch / f"stage-{new_id()}"
            try:
                async with self.documents.local(actor.org, sha256) as path:
                    read = await self.read(path, name, folder, options, now=clock())
                async with self.db.writing(actor) as tx:
                    await service.retake(tx, actor, lake=self.lake, batch=other, read=read, now=clock())
            finally:
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        async with self.db.reading(actor) as tx:
            return await service.get(tx, actor, batch=batch)


def _unread(problem: Problem) -> Read:
    return Read("", "not understood", "", 0.0, None, None, (), (), (problem,))


def files_under(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """Return (file, name for people) for files and everything below folders, in name order; hidden files stay out.

    Raises:
        NothingToImport: A path does not exist, or a folder holds no file.
        TooManyFiles: More than :data:`~bursar.core.intake.rules.FILES_PER_DELIVERY_MAX`.
    """
    found: list[tuple[Path, str]] = []
    for path in paths:
        if path.is_file():
            found.append((path, path.name))
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
        found += [(inner, str(inner.relative_to(path))) for inner in below]
    return found
