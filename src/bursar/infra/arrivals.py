"""Where files to import come from: a path of this machine, or a prefix of an S3 bucket.

A source tells by a *mark* that it is unchanged since it was read, without reading it again. Credentials for S3 come from where
boto3 looks for them and the endpoint is the operator's setting, so S3 is reached as backups and documents are.
"""

import asyncio
import hashlib
import os
import platform
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol
from uuid import UUID

from bursar.infra.backup_store import Entry, Missing, S3Store
from bursar.infra.files import FILE_BYTES_MAX, FREE_BYTES_MIN, DiskFull
from bursar.kernel.errors import Conflict, Invalid, TooLarge

S3 = "s3://"

OBJECTS_MAX = 20_000
"""Most objects of one prefix."""

PREFIX_BYTES_MAX = 256 * 1024**3
"""Most bytes of one prefix."""

RACY_NS = 2_000_000_000
"""A file changed less than this before it was read may change again without its times showing it (FAT keeps 2 s)."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where something was read and by what one sees that it is unchanged, without reading it.

    ``place`` is the SHA-256 of its address, ``text`` what the file system or store tells of it.
    """

    place: bytes
    text: str


class Source(Protocol):
    """Something to import."""

    @property
    def name(self) -> str:
        """Its name for people."""

    async def mark(self) -> Mark | None:
        """Return what tells that it is unchanged; None where nothing does."""

    async def is_provable(self, mark: Mark, *, read_at: datetime) -> bool:
        """Tell whether ``mark``, taken when reading began at ``read_at``, would show any later change."""

    def here(self, scratch: Path) -> AbstractAsyncContextManager[Path]:
        """Give a local path of its bytes while the block lasts; ``scratch`` is an empty folder."""


def mark_of_file(machine: str, path: str, stat: os.stat_result) -> Mark:
    """Return the mark of a file: device, inode, size, and both times in nanoseconds, as git's index keeps them.

    The change time (``ctime``) is set by the kernel on every write and cannot be set back by whoever restores ``mtime``.
    """
    facts = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    return Mark(hashlib.sha256(f"file\0{machine}\0{path}".encode()).digest(), ":".join(map(str, facts)))


def is_settled(stat: os.stat_result, read_ns: int) -> bool:
    """Tell whether a file's times prove that it did not change since it was read.

    Args:
        stat: Of the file, equal before and after reading.
        read_ns: When reading began, nanoseconds since 1970.

    Returns:
        False for a file changed just before or "after" it was read: a later write could leave equal times.

    Source:
        Git's "racily clean" entries (Documentation/technical/racy-git.txt).
    """
    return max(stat.st_mtime_ns, stat.st_ctime_ns) + RACY_NS <= read_ns


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file of this machine."""

    path: Path
    name: str

    async def mark(self) -> Mark:
        """Return the mark of its real path; see :meth:`Source.mark`."""
        real = await asyncio.to_thread(self.path.resolve)
        return mark_of_file(platform.node(), str(real), await asyncio.to_thread(real.stat))

    async def is_provable(self, mark: Mark, *, read_at: datetime) -> bool:
        """See :meth:`Source.is_provable`."""
        stat = await asyncio.to_thread(self.path.stat)
        return await self.mark() == mark and is_settled(stat, int(read_at.timestamp()) * 10**9)

    @asynccontextmanager
    async def here(self, scratch: Path) -> AsyncIterator[Path]:
        """Give the path itself, which must not be written."""
        del scratch
        yield self.path


def bucket_and_key(url: str) -> tuple[str, str]:
    """Return bucket and key of ``s3://bucket/key``, the key without a slash at its end.

    Raises:
        Invalid: It is no such text.
    """
    bucket, _, key = url.removeprefix(S3).partition("/")
    if not url.startswith(S3) or not bucket or ".." in key.split("/") or "\0" in url:
        raise Invalid(f"{url[:80]!r} is no place in a bucket", "Write s3://bucket/prefix.")
    return bucket, key.rstrip("/")


class Prefix:
    """The object at ``s3://bucket/key``, or every object below it as in a folder.

    Args:
        url: ``s3://bucket/prefix``.
        endpoint: Of an S3 other than AWS's own.
        region: Of the bucket.

    Raises:
        Invalid: ``url`` is none.
    """

    def __init__(self, url: str, *, endpoint: str = "", region: str = "us-east-1") -> None:
        self.bucket, self.key = bucket_and_key(url)
        self.address = f"{endpoint}\0{self.bucket}"
        self.store = S3Store(self.bucket, endpoint=endpoint, region=region)

    async def objects(self, *, bytes_max: int = FILE_BYTES_MAX) -> "list[BucketObject]":
        """Return the objects in the order of their names; folder marks and hidden names stay out.

        Raises:
            TooLarge: An object is over ``bytes_max``, or there are too many, or too many bytes; nothing was fetched.
            Unavailable: There is no such bucket, or S3 does not answer to these credentials.
        """
        return await asyncio.to_thread(self._objects, bytes_max)

    def _objects(self, bytes_max: int) -> "list[BucketObject]":
        found: list[BucketObject] = []
        total = 0
        for entry in self.store.entries(self.key):
            inside = entry.name.removeprefix(self.key)
            if self.key and inside and not inside.startswith("/"):
                continue  # s3://bucket/bills is not s3://bucket/bills-of-others
            name = inside.strip("/") or entry.name.rpartition("/")[2]
            if entry.name.endswith("/") or any(part.startswith(".") for part in name.split("/")):
                continue
            total += entry.size
            if entry.size > bytes_max:
                raise TooLarge(f"The object {entry.name[:200]}", bytes_max, "bytes")
            if len(found) == OBJECTS_MAX:
                raise TooLarge(f"{S3}{self.bucket}/{self.key[:200]}", OBJECTS_MAX, "objects")
            if total > PREFIX_BYTES_MAX:
                raise TooLarge(f"{S3}{self.bucket}/{self.key[:200]}", PREFIX_BYTES_MAX, "bytes")
            found.append(BucketObject(self, entry, name))
        return found


@dataclass(frozen=True, slots=True)
class BucketObject:
    """An object of a bucket, as its listing told."""

    prefix: Prefix
    entry: Entry
    name: str

    async def mark(self) -> Mark | None:
        """Return its ETag and size: S3 gives other bytes another ETag."""
        address = f"s3\0{self.prefix.address}\0{self.entry.name}"
        mark = Mark(hashlib.sha256(address.encode()).digest(), f"{self.entry.etag}:{self.entry.size}")
        return mark if self.entry.etag else None

    async def is_provable(self, mark: Mark, *, read_at: datetime) -> bool:
        """Say yes: what was read had this very ETag, or it would not have been given."""
        del read_at
        return await self.mark() == mark

    @asynccontextmanager
    async def here(self, scratch: Path) -> AsyncIterator[Path]:
        """Give a copy.

        Raises:
            Conflict: The object changed since it was listed.
            DiskFull: There is no room for it.
        """
        path = scratch / "object"
        await asyncio.to_thread(self._fetch, path)
        yield path

    def _fetch(self, path: Path) -> None:
        stat = os.statvfs(path.parent)
        if stat.f_bavail * stat.f_frsize < FREE_BYTES_MIN + self.entry.size:
            raise DiskFull(FREE_BYTES_MIN)
        try:
            with path.open("wb") as file:
                for part in self.prefix.store.read(self.entry.name, etag=self.entry.etag):
                    file.write(part)
        except Missing as error:
            raise Conflict(f"The object {self.entry.name[:200]} was removed while it was imported.") from error
        if path.stat().st_size != self.entry.size:
            raise Conflict(f"The object {self.entry.name[:200]} changed while it was imported; import it again.")


def may_import(url: str, allowed: tuple[str, ...], org: UUID) -> bool:
    """Tell whether an organisation may import from ``url``.

    Args:
        url: ``s3://bucket/prefix``.
        allowed: Prefixes of the settings; ``{org}`` in one stands for the organisation's id.
        org: The organisation.
    """
    for entry in allowed:
        place = entry.replace("{org}", str(org)).rstrip("/")
        if url == place or url.startswith(f"{place}/"):
            return ".." not in url.split("/")
    return False
