"""Where backups lie, and what is backed up: named byte streams in a folder or under a prefix of an S3 bucket."""

import io
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Protocol

from bursar.kernel.errors import Conflict, Invalid, Refusal, Unavailable

PART_BYTES = 1024 * 1024
_DRAFT = ".draft-"
_PASSING = frozenset({"drafts", ".staging"})
"""Folders of files on their way; what is in them belongs to nobody yet."""


@dataclass(eq=False)
class Missing(Refusal):
    """{name} is missing."""

    status: ClassVar[int] = 404
    name: str


@dataclass(eq=False)
class NoBucket(Unavailable):
    """There is no bucket for {what}; check its name and region."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored stream: its name, its size in bytes, its age in seconds, and what S3 calls its content by."""

    name: str
    size: int
    age_s: float
    etag: str = ""


class Store(Protocol):
    """Byte streams under names such as ``objects/ab/abcd``; each is there whole or not at all."""

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """Yield what lies under ``prefix``, in the order of names."""

    def has(self, name: str) -> bool:
        """Tell whether ``name`` is there."""

    def read(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of ``name`` in parts.

        Raises:
            Missing: It is not there.
        """

    def write(self, name: str, parts: Iterable[bytes]) -> None:
        """Store the bytes under ``name``, replacing what was there."""

    def create(self, name: str, data: bytes) -> bool:
        """Store a small stream unless ``name`` is there already; False then, and nothing changes."""

    def delete(self, name: str) -> None:
        """Remove ``name``; one that is not there is no error."""


def _checked(name: str) -> str:
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise Invalid(f"{name[:80]!r} is not a name inside a backup")
    return name


class FolderStore:
    """Streams as files below ``root``; every write is synced to the disk and then renamed into place."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """Yield the files below; drafts and files on their way are left out."""
        start = self.root / _checked(prefix) if prefix else self.root
        now = time.time()
        for path in sorted(start.rglob("*")):
            parts = path.relative_to(self.root).parts
            if path.name.startswith(_DRAFT) or _PASSING & set(parts[:-1]) or not path.is_file():
                continue
            facts = path.stat()
            yield Entry("/".join(parts), facts.st_size, now - facts.st_mtime)

    def has(self, name: str) -> bool:
        """Tell whether the file is there."""
        return (self.root / _checked(name)).is_file()

    def read(self, name: str) -> Iterator[bytes]:
        """Yield the file's bytes."""
        try:
            stream = (self.root / _checked(name)).open("rb")
        except FileNotFoundError:
            raise Missing(name) from None
        with stream:
            while part := stream.read(PART_BYTES):
                yield part

    def write(self, name: str, parts: Iterable[bytes]) -> None:
        """Write beside its place, sync, rename, sync the folder.

        Raises:
            Unavailable: The disk is full, or the folder cannot be written to.
        """
        path = self.root / _checked(name)
        with self._drafted(path, parts) as draft, _disk(path):
            draft.rename(path)
            _sync(path.parent)

    def create(self, name: str, data: bytes) -> bool:
        """Write beside its place, sync, and link into place unless something is there."""
        path = self.root / _checked(name)
        with self._drafted(path, [data]) as draft, _disk(path):
            try:
                path.hardlink_to(draft)
            except FileExistsError:
                return False
            _sync(path.parent)
        return True

    @contextmanager
    def _drafted(self, path: Path, parts: Iterable[bytes]) -> Iterator[Path]:
        """Give a synced draft with these bytes; what is left of it afterwards is removed."""
        with _disk(path):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=_DRAFT)
        draft = Path(name)
        try:
            with os.fdopen(handle, "wb", buffering=0) as stream:
                for part in parts:
                    rest = memoryview(part)
                    while rest:
                        with _disk(path):
                            rest = rest[stream.write(rest) :]
                with _disk(path):
                    os.fsync(stream.fileno())
            yield draft
        finally:
            draft.unlink(missing_ok=True)

    def delete(self, name: str) -> None:
        """Remove the file."""
        (self.root / _checked(name)).unlink(missing_ok=True)


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """Turn an error of the file system into a refusal that names the file."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"The disk ({error.strerror or error}: {path})") from error


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class S3Store:
    """Streams as objects below ``prefix`` of a bucket; needs the extra ``s3``. Credentials come from where boto3 looks.

    Args:
        bucket: An existing bucket.
        prefix: Without a leading slash; may be empty.
        endpoint: Of an S3 other than AWS's own.
        region: Of the bucket.
    """

    def __init__(self, bucket: str, prefix: str = "", *, endpoint: str = "", region: str = "us-east-1") -> None:
        import boto3
        from boto3.s3.transfer import TransferConfig
        from botocore.config import Config

        config = Config(connect_timeout=10, read_timeout=60, retries={"mode": "standard", "max_attempts": 4})
        self._s3: Any = boto3.client("s3", endpoint_url=endpoint or None, region_name=region, config=config)
        self._transfer = TransferConfig(use_threads=False)
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """Yield the objects below."""
        now = time.time()
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix + prefix)
        with _s3_errors(self._bucket):
            for page in pages:
                for found in page.get("Contents", ()):
                    name = found["Key"].removeprefix(self._prefix)
                    yield Entry(name, found["Size"], now - found["LastModified"].timestamp(), found.get("ETag", ""))

    def has(self, name: str) -> bool:
        """Tell whether the object is there."""
        try:
            with _s3_errors(name):
                self._s3.head_object(Bucket=self._bucket, Key=self._prefix + _checked(name))
        except Missing:
            return False
        return True

    def read(self, name: str, *, etag: str = "") -> Iterator[bytes]:
        """Yield the object's bytes.

        Raises:
            Conflict: It is not the content called ``etag`` any more.
        """
        only = {"IfMatch": etag} if etag else {}
        with _s3_errors(name):
            body = self._s3.get_object(Bucket=self._bucket, Key=self._prefix + _checked(name), **only)["Body"]
            with body:
                yield from body.iter_chunks(PART_BYTES)

    def write(self, name: str, parts: Iterable[bytes]) -> None:
        """Upload in parts; S3 shows the object only once it is whole."""
        with _s3_errors(name), io.BufferedReader(_Parts(parts), PART_BYTES) as stream:
            self._s3.upload_fileobj(stream, self._bucket, self._prefix + _checked(name), Config=self._transfer)

    def create(self, name: str, data: bytes) -> bool:
        """Put the object on the condition that there is none."""
        from botocore.exceptions import ClientError

        with _s3_errors(name):
            try:
                self._s3.put_object(Bucket=self._bucket, Key=self._prefix + _checked(name), Body=data, IfNoneMatch="*")
            except ClientError as error:
                if error.response["Error"]["Code"] == "PreconditionFailed":
                    return False
                raise
        return True

    def delete(self, name: str) -> None:
        """Remove the object."""
        with _s3_errors(name):
            self._s3.delete_object(Bucket=self._bucket, Key=self._prefix + _checked(name))


class _s3_errors:  # noqa: N801  a context manager that reads like a word
    """Turn boto3's errors into refusals."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: object) -> None:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        if isinstance(error, ClientError):
            code = error.response["Error"]["Code"]
            if code in {"404", "NoSuchKey", "NotFound"}:
                raise Missing(self.name) from error
            if code in {"412", "PreconditionFailed"}:
                raise Conflict(f"{self.name[:200]} changed while it was read.") from error
            if code == "NoSuchBucket":
                raise NoBucket(self.name[:200]) from error
            raise Unavailable(f"S3 ({code})") from error
        if isinstance(error, BotoCoreError | Boto3Error):
            raise Unavailable(f"S3 ({type(error).__name__})") from error


class _Parts(io.RawIOBase):
    """An iterable of bytes as a readable stream."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        super().__init__()
        self._parts = iter(parts)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer``; 0 at the end."""
        while not self._rest:
            part = next(self._parts, None)
            if part is None:
                return 0
            self._rest = memoryview(part)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def store_at(place: str, *, endpoint: str = "", region: str = "us-east-1") -> Store:
    """Return the store at a folder's path or at ``s3://bucket/prefix``.

    Raises:
        Invalid: Neither.
    """
    if place.startswith("s3://"):
        bucket, _, prefix = place.removeprefix("s3://").partition("/")
        if not bucket:
            raise Invalid(f"{place!r} names no bucket", "Write s3://bucket/prefix.")
        return S3Store(bucket, prefix, endpoint=endpoint, region=region)
    if not place or "://" in place:
        raise Invalid(f"{place!r} is no place for backups", "Give a folder, or s3://bucket/prefix.")
    return FolderStore(Path(place).expanduser().resolve())
