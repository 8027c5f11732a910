"""A place of backups: its manifests and named streams, sealed when there is a passphrase."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bursar.infra.backup_dump import TableSum
from bursar.infra.backup_seal import Damaged, Key, key_of
from bursar.infra.backup_store import Missing, Store
from bursar.kernel.errors import NotFound

FORMAT = 1


@dataclass(frozen=True, slots=True)
class KeptFile:
    """One file of a backup: its folder (``files``, ``lake``), path in it, size in bytes, SHA-256 and object's name."""

    folder: str
    path: str
    size: int
    sha256: str
    object: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one backup holds; ``tables`` maps a table's name to its rows and checksum."""

    stamp: str
    bursar: str
    installation: str
    server: str
    revisions: tuple[str, ...]
    tables: Mapping[str, TableSum]
    dump_size: int
    dump_sha256: str
    files: tuple[KeptFile, ...]
    format: int = FORMAT

    def to_json(self) -> bytes:
        """Return the manifest as it is stored."""
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, text: bytes) -> "Manifest":
        """Read a stored manifest.

        Raises:
            ValueError: It is not one.
        """
        try:
            facts: dict[str, Any] = json.loads(text)
            facts["tables"] = {name: TableSum(**table) for name, table in facts["tables"].items()}
            facts["files"] = tuple(KeptFile(**file) for file in facts["files"])
            facts["revisions"] = tuple(facts["revisions"])
            made = cls(**facts)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(str(error)) from error
        if made.format != FORMAT:
            message = f"format {made.format} is not {FORMAT}"
            raise ValueError(message)
        return made


@dataclass(frozen=True, slots=True)
class Place:
    """A place of backups, opened with its key."""

    store: Store
    key: Key | None

    @classmethod
    def open(cls, store: Store, passphrase: str | None = None, *, make: bool = False) -> "Place":
        """Open a place; ``make`` sets a new one up with the passphrase. Raises as :func:`~.backup_seal.key_of`."""
        return cls(store, key_of(store, passphrase, make=make))

    def write(self, name: str, parts: Iterable[bytes]) -> None:
        """Store a stream, sealed when there is a key."""
        self.store.write(name, self.key.seal(name, parts) if self.key else parts)

    def read(self, name: str) -> Iterator[bytes]:
        """Yield a stored stream, opened. Raises Missing or Damaged."""
        parts = self.store.read(name)
        return self.key.open(name, parts) if self.key else parts

    def object_name(self, digest: str) -> str:
        """Return where content with this SHA-256 lies."""
        name = self.key.object_name(digest) if self.key else digest
        return f"objects/{name[:2]}/{name}"

    def stamps(self) -> list[str]:
        """Return the backups here, oldest first."""
        names = [entry.name for entry in self.store.entries("backups/") if entry.name.endswith(".json")]
        return sorted(name.removeprefix("backups/").removesuffix(".json") for name in names)

    def manifest(self, stamp: str = "latest") -> Manifest:
        """Return the manifest of a backup.

        Raises:
            NotFound: There is no such backup.
            Damaged: The manifest cannot be read.
        """
        if stamp == "latest":
            stamps = self.stamps()
            if not stamps:
                raise NotFound("backup", stamp)
            stamp = stamps[-1]
        name = f"backups/{stamp}.json"
        try:
            return Manifest.from_json(b"".join(self.read(name)))
        except Missing:
            raise NotFound("backup", stamp) from None
        except ValueError:
            raise Damaged(name) from None


class Meter:
    """Counts and hashes a stream on its way."""

    def __init__(self) -> None:
        self.size = 0
        self._hash = hashlib.sha256()

    @property
    def digest(self) -> str:
        """The SHA-256 in hex of what has passed."""
        return self._hash.hexdigest()

    def through(self, parts: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the stream."""
        for part in parts:
            self.size += len(part)
            self._hash.update(part)
            yield part
