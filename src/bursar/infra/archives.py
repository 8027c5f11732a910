"""Unpacking of zip, gzip and zstandard files from strangers: streamed, bounded, to names of our own.

Members are written to ``0001``, ``0002`` … in a given folder, so no name from an archive ever becomes a path. Sizes in
headers are not believed: bytes are counted as they come out. An archive inside an archive is unpacked once more
(:data:`DEPTH_MAX`). An office document is a zip too, and is left whole.
"""

import errno
import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from gzip import BadGzipFile, GzipFile
from pathlib import Path
from typing import Literal, Protocol

import zstandard

from bursar.kernel.errors import Refusal

TOTAL_BYTES_MAX = 8 * 1024**3
"""All unpacked bytes of one upload."""

RATIO_MAX = 200
"""Unpacked bytes per packed byte; applies beyond :data:`RATIO_FREE_BYTES`, as small repetitive files pack very well."""

RATIO_FREE_BYTES = 64 * 1024**2
ENTRIES_MAX = 2000
DEPTH_MAX = 2
NAME_CHARS_MAX = 500
WINDOW_BYTES_MAX = 128 * 1024**2
"""Memory a zstandard frame may ask for."""

_CHUNK_BYTES = 1 << 20
_OFFICE = frozenset({"[Content_Types].xml", "mimetype"})
_NOISE = ("__MACOSX/", ".DS_Store", "Thumbs.db")
_BROKEN = (
    zipfile.BadZipFile,
    BadGzipFile,
    EOFError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    zlib.error,
    zstandard.ZstdError,
)
"""What the three libraries raise on damaged bytes; found by trying."""

Kind = Literal["zip", "gzip", "zstd"]


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(eq=False)
class ArchiveRefused(Refusal):
    """The archive {name} cannot be unpacked: {why}."""

    name: str
    why: str
    fix: str = "Unpack it yourself and import the files inside."


@dataclass(frozen=True, slots=True)
class Member:
    """One unpacked file: its name for people (``bills.zip/march.csv``), where it lies, and its size in bytes."""

    name: str
    path: Path
    size: int


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Limits of one upload, all archives inside it counted together."""

    total_bytes: int = TOTAL_BYTES_MAX
    ratio: int = RATIO_MAX
    ratio_free_bytes: int = RATIO_FREE_BYTES
    entries: int = ENTRIES_MAX
    depth: int = DEPTH_MAX


@dataclass
class _Unpacking:
    """Progress of one upload."""

    into: Path
    packed_bytes: int
    limits: ArchiveLimits
    total: int = 0
    entries: int = 0
    members: list[Member] = field(default_factory=list)

    def count(self, name: str, size: int) -> None:
        """Count bytes that came out; refuse as soon as a limit is passed."""
        self.total += size
        if self.total > self.limits.total_bytes:
            raise ArchiveRefused(name, f"it holds over {self.limits.total_bytes} bytes")
        if self.total > max(self.limits.ratio_free_bytes, self.limits.ratio * self.packed_bytes):
            raise ArchiveRefused(name, f"it holds over {self.limits.ratio} times its own size")

    def next_path(self, name: str) -> Path:
        """Return the path of the next file; refuse one too many."""
        self.entries += 1
        if self.entries > self.limits.entries:
            raise ArchiveRefused(name, f"it holds over {self.limits.entries} files")
        return self.into / f"{self.entries:04}"


def kind_of(head: bytes) -> Kind | None:
    """Tell from its first bytes which archive a file is; None for anything else."""
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if head.startswith(b"\x1f\x8b\x08"):
        return "gzip"
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return "zstd"
    return None


def unpack(source: Path, into: Path, *, name: str = "", limits: ArchiveLimits | None = None) -> list[Member]:
    """Unpack ``source`` into ``into``, archives inside it too.

    Args:
        source: Any file; one that is no archive comes back as the only member, where it lies.
        into: An empty folder for the members; what a refusal leaves in it is the caller's to delete.
        name: The name people know the file by; the path's own when empty.
        limits: Other limits than the default ones.

    Returns:
        The files inside, in the archive's order.

    Raises:
        ArchiveRefused: A limit was passed, a name or an entry is not a plain file's, or the archive is broken or locked.
    """
    into.mkdir(parents=True, exist_ok=True)
    work = _Unpacking(into, source.stat().st_size, limits or ArchiveLimits())
    _take(work, source, name or source.name, 0)
    return work.members


def _take(work: _Unpacking, path: Path, name: str, depth: int) -> None:
    """Add one file to the members, or unpack it when it is an archive."""
    with path.open("rb") as stream:
        kind = kind_of(stream.read(4))
    if kind is None or (kind == "zip" and _is_office(path)):
        work.members.append(Member(name, path, path.stat().st_size))
        return
    if depth == work.limits.depth:
        raise ArchiveRefused(name, f"archives lie in archives more than {work.limits.depth} deep")
    try:
        if kind == "zip":
            _take_zip(work, path, name, depth)
        else:
            with _stream(kind, path) as stream:
                inside = _write(work, stream, name)
            _take(work, inside, name, depth + 1)
    except _BROKEN as error:
        raise ArchiveRefused(name, f"it is broken or packed in an unknown way ({type(error).__name__})") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # a damaged zip sends the reader to a negative offset
            raise
        raise ArchiveRefused(name, "it is broken") from error
    finally:
        if path.parent == work.into:
            path.unlink(missing_ok=True)


def _take_zip(work: _Unpacking, path: Path, name: str, depth: int) -> None:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.is_dir() or entry.filename.startswith(_NOISE[0]) or entry.filename.endswith(_NOISE[1:]):
                continue
            _check(entry, name)
            with archive.open(entry) as stream:
                inside = _write(work, stream, f"{name}/{entry.filename}")
            _take(work, inside, f"{name}/{entry.filename}", depth + 1)


def _check(entry: zipfile.ZipInfo, name: str) -> None:
    """Refuse an entry that is not a plain file with a plain name."""
    parts = entry.filename.replace("\\", "/").split("/")
    mode = entry.external_attr >> 16
    if entry.flag_bits & 0x1:
        raise ArchiveRefused(name, "it is protected by a password")
    if stat.S_IFMT(mode) not in {0, stat.S_IFREG}:
        raise ArchiveRefused(name, f"{entry.filename[:80]!r} is a link or a device, not a file")
    unsafe = ".." in parts or not parts[0] or parts[0].endswith(":") or not entry.filename.isprintable()
    if unsafe or len(entry.filename) > NAME_CHARS_MAX:
        raise ArchiveRefused(name, f"{entry.filename[:80]!r} is not a plain file name")


def _write(work: _Unpacking, stream: _Readable, name: str) -> Path:
    path = work.next_path(name)
    with path.open("wb") as sink:
        while part := stream.read(_CHUNK_BYTES):
            work.count(name, len(part))
            sink.write(part)
    return path


def _is_office(path: Path) -> bool:
    """Tell whether a zip is an office document (xlsx, docx, ods …), which is read as a whole."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(entry.filename in _OFFICE for entry in archive.infolist()[:50])
    except (*_BROKEN, OSError):
        return False


@contextmanager
def _stream(kind: Kind, path: Path) -> Iterator[_Readable]:
    with path.open("rb") as packed:
        if kind == "gzip":
            with GzipFile(fileobj=packed) as stream:
                yield stream
        else:
            machine = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES_MAX)
            with machine.stream_reader(packed, read_across_frames=True) as stream:
                yield stream
