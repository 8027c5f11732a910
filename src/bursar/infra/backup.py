"""Backup and restore: the database at one moment, the files and the lake, in a folder or in S3.

What lies at a place of backups:

``backups/STAMP.json``  the manifest, written last: a backup exists when its manifest does
``dumps/STAMP``         the database as ``pg_dump`` wrote it
``objects/xx/NAME``     one file each, named after its content, so that backups share what did not change
``key.json``            how the key comes from the passphrase, when backups are encrypted (the manifest then is too)

The database is read first and files afterwards: files are never changed once written, so what the database's moment names
is there. :func:`verify` loads the dump into a scratch server and compares every table with what was counted when the
backup was made; a file is compared by its SHA-256.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import ClassVar

from bursar.infra import backup_dump
from bursar.infra.backup_dump import Snapshot, TableSum
from bursar.infra.backup_place import KeptFile, Manifest, Meter, Place
from bursar.infra.backup_seal import Damaged
from bursar.infra.backup_store import Missing, Store
from bursar.infra.migrate import known
from bursar.kernel.errors import Conflict, Refusal

STAMP = "%Y%m%dT%H%M%SZ"
KEEP_DEFAULT = 14
UNFINISHED_S = 24 * 3600.0
"""An object that no manifest names is left alone this long: it may belong to a backup that is being made."""


@dataclass(eq=False)
class NotEmpty(Refusal):
    """{what} is not empty. Restore into a new home, or say that what is there shall be replaced."""

    status: ClassVar[int] = 409
    what: str


@dataclass(eq=False)
class BackupDamaged(Refusal):
    """The backup {stamp} cannot be restored: {problems}"""  # noqa: D415  ends in a list

    status: ClassVar[int] = 409
    stamp: str
    problems: str


@dataclass(eq=False)
class NewerBackup(Refusal):
    """The backup {stamp} was made by Bursar {bursar}, which is newer than this one; install that version first."""

    status: ClassVar[int] = 409
    stamp: str
    bursar: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a check or a restore found: how much was compared, and each problem in a sentence."""

    stamp: str
    tables: int
    rows: int
    files: int
    size: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether there was no problem."""
        return not self.problems


def back_up(
    place: Place,
    url: str,
    folders: Mapping[str, Store],
    *,
    programs: Path,
    now: datetime,
    version: str,
    keep: int = KEEP_DEFAULT,
) -> Manifest:
    """Make one backup, then let go of the oldest beyond ``keep``.

    Args:
        place: Where to.
        url: Of the database; of ``bursar_backup``, or of a role that may act as it.
        folders: What else to keep, by name: ``files`` and ``lake``.
        programs: Folder of ``pg_dump``, of the server's major version or later.
        now: Instant of the backup; becomes its name.
        version: Bursar's version, for the manifest.
        keep: Backups of this database that stay.

    Raises:
        Conflict: Another backup runs, or one was made in the same second.
        CannotReadAll: The backup role is under row-level security.
        DumpFailed: With what ``pg_dump`` said.
    """
    stamp = now.astimezone(UTC).strftime(STAMP)
    if place.store.has(f"backups/{stamp}.json"):
        raise Conflict(f"The backup {stamp} exists already.")
    with backup_dump.snapshot(url) as at:
        meter = Meter()
        place.write(f"dumps/{stamp}", meter.through(backup_dump.dump(url, at.id, programs)))
        manifest = _manifest(stamp, version, at, meter, tuple(_kept(place, folders)))
        place.write(f"backups/{stamp}.json", [manifest.to_json()])
        prune(place, manifest.installation, keep=keep)
    return manifest


def _manifest(stamp: str, version: str, at: Snapshot, meter: "Meter", files: tuple[KeptFile, ...]) -> Manifest:
    return Manifest(
        stamp=stamp,
        bursar=version,
        installation=at.installation,
        server=at.server,
        revisions=at.revisions,
        tables=at.tables,
        dump_size=meter.size,
        dump_sha256=meter.digest,
        files=files,
    )


def _kept(place: Place, folders: Mapping[str, Store]) -> Iterator[KeptFile]:
    """Store each file whose content is not there yet; a file that is removed meanwhile was not in the database's moment."""
    for folder, store in folders.items():
        for entry in store.entries():
            meter = Meter()
            try:
                for _ in meter.through(store.read(entry.name)):
                    pass
                name = place.object_name(meter.digest)
                if not place.store.has(name):
                    again = Meter()
                    place.write(name, again.through(store.read(entry.name)))
                    if again.digest != meter.digest:
                        place.store.delete(name)
                        raise Conflict(f"{folder}/{entry.name} changed while it was read.")
            except Missing:
                continue
            yield KeptFile(folder, entry.name, meter.size, meter.digest, name)


def prune(place: Place, installation: str, *, keep: int) -> list[str]:
    """Remove the oldest backups of ``installation`` beyond ``keep``, and objects that no backup names any more.

    Returns:
        The stamps that were removed.
    """
    manifests = [place.manifest(stamp) for stamp in place.stamps()]
    mine = [manifest for manifest in manifests if manifest.installation == installation]
    gone = {manifest.stamp for manifest in mine[: max(len(mine) - max(keep, 1), 0)]}
    for stamp in sorted(gone):
        place.store.delete(f"backups/{stamp}.json")  # first, so that no manifest names what is missing
        place.store.delete(f"dumps/{stamp}")
    needed = {file.object for manifest in manifests if manifest.stamp not in gone for file in manifest.files}
    needed |= {f"dumps/{manifest.stamp}" for manifest in manifests}
    for entry in list(chain(place.store.entries("objects/"), place.store.entries("dumps/"))):
        if entry.name not in needed and entry.age_s > UNFINISHED_S:
            place.store.delete(entry.name)
    return sorted(gone)


def check_streams(place: Place, manifest: Manifest) -> list[str]:
    """Read every stream of a backup and return what is missing or changed, each as a sentence."""
    wanted = [("the database dump", f"dumps/{manifest.stamp}", manifest.dump_size, manifest.dump_sha256)]
    wanted += [(f"{file.folder}/{file.path}", file.object, file.size, file.sha256) for file in manifest.files]
    problems = []
    for what, name, size, sha256 in wanted:
        meter = Meter()
        try:
            for _ in meter.through(place.read(name)):
                pass
        except Missing:
            problems.append(f"{what} is missing ({name})")
            continue
        except Damaged:
            problems.append(f"{what} was changed ({name})")
            continue
        if (meter.size, meter.digest) != (size, sha256):
            problems.append(f"{what} was changed ({name})")
    return problems


def compare_tables(wanted: Mapping[str, TableSum], found: Mapping[str, TableSum]) -> list[str]:
    """Return how the tables of a database differ from those of a backup, each as a sentence."""
    problems = [f"table {name} is missing" for name in sorted(wanted.keys() - found.keys())]
    problems += [f"table {name} is not in the backup" for name in sorted(found.keys() - wanted.keys())]
    for name in sorted(wanted.keys() & found.keys()):
        if wanted[name].rows != found[name].rows:
            problems.append(f"table {name} has {found[name].rows} rows instead of {wanted[name].rows}")
        elif wanted[name].checksum != found[name].checksum:
            problems.append(f"table {name} has other content in its {wanted[name].rows} rows")
    return problems


def verify(place: Place, stamp: str = "latest", *, pg_bin: Path | None = None) -> Report:
    """Prove that a backup can be restored: read all of it, load it into a scratch server, compare every table.

    Args:
        place: Where it lies.
        stamp: Which; ``latest`` for the newest.
        pg_bin: Folder of the PostgreSQL programs; None takes those of the wheel.
    """
    from bursar.infra.embedded_postgres import BACKUP, OWNER, EmbeddedPostgres

    manifest = place.manifest(stamp)
    problems = check_streams(place, manifest)
    if any(problem.startswith("the database dump") for problem in problems):
        return _report(manifest, problems)
    scratch = Path(tempfile.mkdtemp(prefix="bursar-verify-"))
    try:
        scratch.chmod(0o755)  # the server's user must get to its data, which only it can enter
        with EmbeddedPostgres(scratch, pg_bin=pg_bin, settings=_SCRATCH) as server:
            programs = server.place.binaries
            backup_dump.load(server.url(OWNER), place.read(f"dumps/{manifest.stamp}"), programs, replace=False)
            problems += compare_tables(manifest.tables, backup_dump.sums(server.url(BACKUP)))
    except backup_dump.DumpFailed as error:
        problems.append(f"the database dump does not load: {error}")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return _report(manifest, problems)


_SCRATCH = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}
"""A server that is thrown away need not survive a power cut."""


def restore(
    place: Place, stamp: str, url: str, folders: Mapping[str, Store], *, programs: Path, replace: bool = False
) -> Report:
    """Bring a backup back: files first, then the database in one transaction, then compare.

    Args:
        place: Where it lies.
        stamp: Which; ``latest`` for the newest.
        url: Of the role that shall own everything, to the database to fill.
        folders: Where ``files`` and ``lake`` go.
        programs: Folder of ``pg_restore`` and ``psql``.
        replace: Drop what the target holds; without it a target that holds anything is refused.

    Returns:
        What was compared afterwards; run the migrations next if the backup is of an older version.

    Raises:
        BackupDamaged: Something is missing or changed; nothing was touched.
        NotEmpty: The target holds something.
        NewerBackup: It has migrations that this program does not know.
        Conflict: Another program is connected to the target.
    """
    manifest = place.manifest(stamp)
    if set(manifest.revisions) - known():
        raise NewerBackup(manifest.stamp, manifest.bursar)
    _check_target(url, folders, replace=replace)
    if problems := check_streams(place, manifest):
        raise BackupDamaged(manifest.stamp, "; ".join(problems[:20]))
    for file in manifest.files:
        if file.folder in folders:
            folders[file.folder].write(file.path, place.read(file.object))
    backup_dump.load(url, place.read(f"dumps/{manifest.stamp}"), programs, replace=replace)
    problems = compare_tables(manifest.tables, backup_dump.sums(url))
    wanted = {(file.folder, file.path) for file in manifest.files}
    for name, store in folders.items():
        for entry in list(store.entries()):
            if (name, entry.name) not in wanted:
                store.delete(entry.name)
    return _report(manifest, problems)


def _check_target(url: str, folders: Mapping[str, Store], *, replace: bool) -> None:
    tables, others = backup_dump.occupied(url)
    if others:
        raise Conflict(f"{others} other connections use the database; stop Bursar first.")
    if replace:
        return
    if tables:
        raise NotEmpty("The database")
    for name, store in folders.items():
        if next(iter(store.entries()), None) is not None:
            raise NotEmpty(f"The folder {name}")


def _report(manifest: Manifest, problems: list[str]) -> Report:
    return Report(
        stamp=manifest.stamp,
        tables=len(manifest.tables),
        rows=sum(table.rows for table in manifest.tables.values()),
        files=len(manifest.files),
        size=manifest.dump_size + sum(file.size for file in manifest.files),
        problems=tuple(problems),
    )
