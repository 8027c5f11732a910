"""Where the Parquet objects of the lake lie: in its folder, or in S3 with that folder as a verified copy of what is used.

An object is never changed once it has its name, so a local copy is either whole and right or not there: it is compared with
the size and SHA-256 of the manifest before it gets its name. DuckDB and Polars read local files only; nothing that runs
a query can reach the network.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bursar.infra.backup_store import PART_BYTES, Entry, FolderStore, Missing, Store
from bursar.infra.files import FREE_BYTES_MIN, DiskFull
from bursar.kernel.errors import Refusal

CACHE_BYTES_MAX = 20 * 1024**3
"""Local copies of objects in S3 are let go of beyond this."""

IN_USE_S = 3600.0
"""A copy that was asked for less than this ago stays, as a query may be about to open it."""

STAGING = ".staging"
"""Scratch inside the lake's folder; nothing in it belongs to the lake."""


@dataclass(eq=False)
class LakeDamaged(Refusal):
    """The lake's file {name} is missing or damaged; bring it back with `bursar restore`."""

    status: ClassVar[int] = 503
    name: str


@dataclass(frozen=True, slots=True)
class Held:
    """An object: its name, its size in bytes and its SHA-256 in hex (empty where it was written before that was kept)."""

    name: str
    size: int
    sha256: str


class Place:
    """The objects of the lake.

    Args:
        root: Folder of the lake, or of the copies when ``remote`` is given; made when absent.
        remote: Where the objects really lie, if not in ``root``.
        cache_bytes_max: Size of the copies beyond which the longest unused ones go.
    """

    def __init__(self, root: Path, remote: Store | None = None, *, cache_bytes_max: int = CACHE_BYTES_MAX) -> None:
        self.root, self._remote, self._max = root, remote, cache_bytes_max
        root.mkdir(parents=True, exist_ok=True)

    def settle(self, source: Path, name: str) -> Held:
        """Give a local file its name, durably; ``source`` is gone afterwards."""
        with source.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        held = Held(name, source.stat().st_size, sha256)
        if self._remote:
            self._remote.write(name, _parts(source))
        _rename(source, self.root / name)
        return held

    def local(self, held: Iterable[Held]) -> dict[str, Path]:
        """Return where some objects can be read here, by name; what lies in S3 only is fetched first.

        Raises:
            LakeDamaged: One is missing, or its bytes are not those that were written.
            DiskFull: There is no room for the copies.
            Unavailable: S3 does not answer.
        """
        found, fetched = {}, False
        for one in held:
            path = self.root / one.name
            if not self._is_here(path, one.size):
                if not self._remote:
                    raise LakeDamaged(one.name)
                self._fetch(self._remote, one, path)
                fetched = True
            found[one.name] = path
        if fetched:
            self._let_go(keep=frozenset(found))
        return found

    def _is_here(self, path: Path, size: int) -> bool:
        try:
            if self._remote:
                os.utime(path)  # the time of use: many file systems do not keep one
            return path.stat().st_size == size
        except FileNotFoundError:
            return False

    def _fetch(self, remote: Store, held: Held, path: Path) -> None:
        staging = self.root / STAGING
        staging.mkdir(exist_ok=True)
        if shutil.disk_usage(staging).free < FREE_BYTES_MIN + held.size:
            raise DiskFull(FREE_BYTES_MIN)
        handle, name = tempfile.mkstemp(dir=staging, prefix="fetch-")
        draft, digest = Path(name), hashlib.sha256()
        try:
            with os.fdopen(handle, "wb") as file:
                for part in remote.read(held.name):
                    digest.update(part)
                    file.write(part)
            if draft.stat().st_size != held.size or held.sha256 not in {"", digest.hexdigest()}:
                raise LakeDamaged(held.name)
            _rename(draft, path)
        except Missing as error:
            raise LakeDamaged(held.name) from error
        finally:
            draft.unlink(missing_ok=True)

    def _let_go(self, *, keep: frozenset[str]) -> None:
        """Remove the longest unused copies beyond the limit; those in use stay even above it."""
        copies = sorted(FolderStore(self.root).entries(), key=lambda entry: -entry.age_s)
        excess = sum(entry.size for entry in copies) - self._max
        for entry in copies:
            if excess <= 0 or entry.age_s < IN_USE_S:
                return
            if entry.name not in keep:
                (self.root / entry.name).unlink(missing_ok=True)
                excess -= entry.size

    def entries(self, prefix: str) -> Iterator[Entry]:
        """Yield the objects below ``prefix``."""
        yield from (self._remote or FolderStore(self.root)).entries(prefix)

    def remove(self, name: str) -> None:
        """Delete an object; one that is not there is no error."""
        if self._remote:
            self._remote.delete(name)
        (self.root / name).unlink(missing_ok=True)

    def remove_all(self, folder: str) -> None:
        """Delete every object below ``folder``; safe to call twice."""
        for entry in list(self._remote.entries(f"{folder}/")) if self._remote else ():
            self.remove(entry.name)
        shutil.rmtree(self.root / folder, ignore_errors=True)

    def tidy(self, *, older_than: float) -> None:
        """Delete scratch that was last changed before ``older_than`` (seconds since 1970): its maker is gone."""
        for stale in (self.root / STAGING).glob("*"):
            if stale.stat().st_mtime >= older_than:
                continue
            if stale.is_dir():
                shutil.rmtree(stale, ignore_errors=True)
            else:
                stale.unlink(missing_ok=True)


def _parts(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while part := file.read(PART_BYTES):
            yield part


def _rename(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target`` durably: contents and folder entry are on disk before this returns."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.stat().st_dev == target.parent.stat().st_dev:
        source.replace(target)
    else:
        shutil.move(source, target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
