"""Uploaded documents, kept under their SHA-256, apart for each organisation: in the home folder or in S3.

A file exists whole or not at all: it is written aside, synced, and renamed. Storing the same bytes again stores nothing.
Organisations are kept apart although that stores equal files twice: otherwise "already there" would tell one
organisation what another has.
"""

import asyncio
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol
from uuid import UUID

from bursar.kernel.errors import NotFound, Refusal, TooLarge

FILE_BYTES_MAX = 2 * 1024**3
"""Largest file when the caller names no other limit."""

FREE_BYTES_MIN = 1024**3
"""Storing stops before the disk has less room than this: a full disk stops the database."""

CHUNK_BYTES = 1 << 20
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(eq=False)
class DiskFull(Refusal):
    """The disk has less than {free_min} bytes free; make room, or move BURSAR_HOME to a larger disk."""

    status: ClassVar[int] = 507
    free_min: int


@dataclass(eq=False)
class FileDamaged(Refusal):
    """The stored file {digest} is damaged; restore it from a backup with `bursar restore`."""

    status: ClassVar[int] = 503
    digest: str


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored file: its SHA-256 in hex, its size in bytes, and whether it was not there before."""

    digest: str
    size: int
    new: bool


Source = Path | AsyncIterator[bytes]


class FileStore(Protocol):
    """Files by organisation and digest."""

    async def put(self, org: UUID, source: Source, *, bytes_max: int = FILE_BYTES_MAX) -> Stored:
        """Store a local file or a stream.

        Raises:
            TooLarge: It has over ``bytes_max`` bytes; nothing of it is kept.
            DiskFull: There is not room enough.
        """

    def local(self, org: UUID, digest: str, *, verify: bool = False) -> AbstractAsyncContextManager[Path]:
        """Give a path to read the file from while the block lasts; the path's name tells nothing.

        Raises:
            NotFound: There is no such file.
            FileDamaged: ``verify`` is set and the bytes do not match the digest.
        """

    async def has(self, org: UUID, digest: str) -> bool:
        """Tell whether the file is stored."""

    async def remove(self, org: UUID, digest: str) -> None:
        """Delete a file; one that is not there is no error."""

    async def remove_all(self, org: UUID) -> None:
        """Delete every file of an organisation."""

    def listing(self) -> AsyncIterator[tuple[UUID, str, int]]:
        """Yield organisation, digest and size of every file (for the backup)."""


class _Draft:
    """A file being written aside: hashed, counted and synced."""

    def __init__(self, folder: Path, bytes_max: int) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._handle, name = tempfile.mkstemp(dir=folder, prefix="draft-")
        self.path, self.size, self._max, self._hash = Path(name), 0, bytes_max, hashlib.sha256()

    def write(self, part: bytes) -> None:
        self.size += len(part)
        if self.size > self._max:
            raise TooLarge("The file", self._max, "bytes")
        self._hash.update(part)
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(self._handle, rest) :]

    def copy(self, source: Path) -> None:
        with source.open("rb") as stream:
            while part := stream.read(CHUNK_BYTES):
                self.write(part)

    def finish(self) -> str:
        """Sync the bytes to the disk and return the digest."""
        os.fsync(self._handle)
        return self._hash.hexdigest()

    def close(self) -> None:
        os.close(self._handle)
        self.path.unlink(missing_ok=True)


@contextmanager
def _draft(folder: Path, bytes_max: int) -> Iterator[_Draft]:
    draft = _Draft(folder, bytes_max)
    try:
        yield draft
    finally:
        draft.close()


async def _fill(draft: _Draft, source: Source) -> str:
    if isinstance(source, Path):
        await asyncio.to_thread(draft.copy, source)
    else:
        held, size = [], 0
        async for part in source:
            held.append(part)
            size += len(part)
            if size >= CHUNK_BYTES:
                await asyncio.to_thread(draft.write, b"".join(held))
                held, size = [], 0
        await asyncio.to_thread(draft.write, b"".join(held))
    return await asyncio.to_thread(draft.finish)


def _checked(digest: str) -> str:
    """Return ``digest`` when it has the form of one: nothing else ever becomes part of a path or key."""
    if not _DIGEST.fullmatch(digest):
        raise NotFound("file", digest[:80])
    return digest


def _verify(path: Path, digest: str) -> None:
    with path.open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != digest:
            raise FileDamaged(digest)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class LocalFiles:
    """Files in a folder: ``<org>/<first two digits>/<digest>``.

    Args:
        folder: Made when absent, readable by this user only.
        free_bytes_min: Room that must be left on the disk.
    """

    def __init__(self, folder: Path, *, free_bytes_min: int = FREE_BYTES_MIN) -> None:
        self.folder, self._free_min = folder, free_bytes_min

    def _path(self, org: UUID, digest: str) -> Path:
        return self.folder / str(org) / _checked(digest)[:2] / digest

    async def put(self, org: UUID, source: Source, *, bytes_max: int = FILE_BYTES_MAX) -> Stored:
        """Store a local file or a stream; see :meth:`FileStore.put`."""
        drafts = self.folder / "drafts"
        with _draft(drafts, bytes_max) as draft:
            if shutil.disk_usage(drafts).free < self._free_min:
                raise DiskFull(self._free_min)
            digest = await _fill(draft, source)
            new = await asyncio.to_thread(self._place, draft, self._path(org, digest))
        return Stored(digest, draft.size, new)

    @staticmethod
    def _place(draft: _Draft, path: Path) -> bool:
        if path.exists() and path.stat().st_size == draft.size:
            return False
        made = not path.parent.exists()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft.path.chmod(0o400)
        draft.path.rename(path)
        for folder in (path.parent, path.parent.parent, path.parent.parent.parent)[: 3 if made else 1]:
            _sync_folder(folder)
        return True

    @asynccontextmanager
    async def local(self, org: UUID, digest: str, *, verify: bool = False) -> AsyncIterator[Path]:
        """Give the stored path itself, which must not be written; see :meth:`FileStore.local`."""
        path = self._path(org, digest)
        if not await asyncio.to_thread(path.exists):
            raise NotFound("file", digest)
        if verify:
            await asyncio.to_thread(_verify, path, digest)
        yield path

    async def has(self, org: UUID, digest: str) -> bool:
        """Tell whether the file is stored."""
        return await asyncio.to_thread(self._path(org, digest).exists)

    async def remove(self, org: UUID, digest: str) -> None:
        """Delete a file."""
        path = self._path(org, digest)
        await asyncio.to_thread(path.unlink, missing_ok=True)

    async def remove_all(self, org: UUID) -> None:
        """Delete every file of an organisation."""
        await asyncio.to_thread(shutil.rmtree, self.folder / str(org), ignore_errors=True)

    async def listing(self) -> AsyncIterator[tuple[UUID, str, int]]:
        """Yield organisation, digest and size of every file."""
        for path in await asyncio.to_thread(lambda: sorted(self.folder.glob("*/??/*"))):
            yield UUID(path.parent.parent.name), path.name, path.stat().st_size


def open_files(home: Path, *, bucket: str = "", endpoint: str = "", region: str = "us-east-1") -> FileStore:
    """Return the store that the settings name: the bucket when there is one, else ``home/files``."""
    if bucket:
        from bursar.infra.files_s3 import S3Files

        return S3Files(bucket, endpoint=endpoint, region=region, scratch=home / "scratch")
    return LocalFiles(home / "files")
