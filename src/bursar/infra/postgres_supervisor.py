"""The process that owns the embedded PostgreSQL: parent of the postmaster, restarts it, stops it after the last user.

It runs as a script of its own (``python -I -S postgres_supervisor.py SPEC``, standard library only), so that no Bursar
process is the one the others depend on. Who lives is told by ``flock``, never by a process id: the kernel drops a lock
when its holder dies, however it dies, and a zombie holds none. Files in the folder ``SPEC["folder"]``:

``supervisor.lock``  held exclusively by the supervisor for as long as it lives
``users.lock``       held shared by every process that uses the server; once the supervisor gets it exclusively, the last
                     user has left, and it stops the server (fast shutdown) and exits
``state.json``       what runs: process ids, restarts, the last exit; removed at the end
``server.log``       what PostgreSQL says, and one line for each start and exit
"""

import fcntl
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 5.0
HEALTHY_AFTER_S = 1.0
"""A server that was ready and lived this long starts the back-off afresh when it dies."""

READY_LINE = 8
"""The line of ``postmaster.pid`` that holds the server's status (``LOCK_FILE_LINE_PM_STATUS``)."""

STOP_FAST_S = 20.0
"""How long a fast shutdown (which writes a checkpoint) may take before an immediate one (which needs recovery)."""

STOP_IMMEDIATE_S = 10.0
LOCK_WAIT_S = 5.0
LOG_BYTES_MAX = 8 * 1024 * 1024
"""The log is set aside as ``server.log.1`` when it is longer than this at a start."""


HAS_PROC = Path("/proc/self").exists()


def works_in(pid: int, folder: Path) -> bool:
    """Tell whether process ``pid`` lives and ``folder`` is its working directory (a zombie has none)."""
    try:
        return os.readlink(f"/proc/{pid}/cwd") == os.path.realpath(folder)  # noqa: PTH115  most processes are strangers
    except OSError:
        return False


def processes_in(folder: Path) -> list[int]:
    """Return the living processes whose working directory is ``folder`` (every PostgreSQL process of a data directory).

    Empty where there is no ``/proc`` (then PostgreSQL's own interlock decides).
    """
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if works_in(int(entry.name), folder)]


def postmaster_of(data: Path) -> int | None:
    """Return the id of the postmaster that serves ``data`` now, or None; a stale or reused id counts as None."""
    try:
        pid = int((data / "postmaster.pid").read_text().splitlines()[0])
    except (OSError, ValueError, IndexError):
        return None
    if HAS_PROC:
        return pid if works_in(pid, data) else None
    command = ["/bin/ps", "-o", "command=", "-p", str(pid)]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  a number
    return pid if str(data) in listed.stdout else None


def announced_ready(data: Path) -> bool:
    """Tell whether the server that wrote the lock file last got as far as taking connections."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return len(lines) >= READY_LINE and lines[READY_LINE - 1].strip() == "ready"


def _wait_gone(data: Path, pid: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not works_in(pid, data) and postmaster_of(data) != pid:
            return True
        time.sleep(0.02)
    return False


def stop_orphan(data: Path, socket: Path, say: Callable[[str], None]) -> None:
    """Stop a server that a killed supervisor left behind, wait for its remaining children, and clear its lock files."""
    pid = postmaster_of(data)
    if pid is not None:
        say(f"stopping the PostgreSQL {pid} that a killed supervisor left behind")
        for number, seconds in (
            (signal.SIGINT, STOP_FAST_S),
            (signal.SIGQUIT, STOP_IMMEDIATE_S),
            (signal.SIGKILL, 5.0),
        ):
            os.kill(pid, number)
            if _wait_gone(data, pid, seconds):
                break
    end = time.monotonic() + STOP_IMMEDIATE_S
    while (rest := processes_in(data)) and time.monotonic() < end:
        time.sleep(0.02)
    for child in rest:
        say(f"ending the process {child} of a dead PostgreSQL")
        os.kill(child, signal.SIGKILL)
    if HAS_PROC and not processes_in(data):
        # Nothing runs here any more, but PostgreSQL would believe the files: the id in them may belong to a stranger by
        # now, or to a zombie that nobody waits for (as in a container without an init).
        for stale in (data / "postmaster.pid", *socket.glob(".s.PGSQL.*")):
            stale.unlink(missing_ok=True)


class Supervisor:
    """Runs one postmaster until the last user has left; see the module's docstring."""

    def __init__(self, spec: dict[str, Any], log: TextIO) -> None:
        self.spec = spec
        self.folder = Path(spec["folder"])
        self.data = Path(spec["data"])
        self.log = log
        self.events: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.child: subprocess.Popen[bytes] | None = None
        self.restarts = 0
        self.last_exit: int | None = None

    def say(self, text: str) -> None:
        """Write one line to the log."""
        self.log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())} UTC supervisor: {text}\n")
        self.log.flush()

    def record(self, state: str) -> None:
        """Replace ``state.json``."""
        facts = {
            "state": state,
            "supervisor": os.getpid(),
            "postmaster": self.child.pid if self.child else None,
            "restarts": self.restarts,
            "last_exit": self.last_exit,
            "socket": self.spec["socket"],
        }
        draft = self.folder / "state.json.new"
        draft.write_text(json.dumps(facts))
        draft.replace(self.folder / "state.json")

    def as_owner(self) -> dict[str, Any]:
        """Return the ``subprocess`` arguments that drop root, where there is root to drop."""
        owner = self.spec.get("owner")
        return {} if owner is None else {"user": owner["uid"], "group": owner["gid"], "extra_groups": []}

    def initdb(self) -> None:
        """Make the data directory beside its place and rename it, so that a half-made one is never taken for one."""
        draft = self.data.with_name(self.data.name + ".new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        if owner := self.spec.get("owner"):
            os.chown(draft, owner["uid"], owner["gid"])
        self.say(f"making the data directory {self.data}")
        command = [*self.spec["initdb"], "--pgdata", str(draft)]
        subprocess.run(command, stdout=self.log, stderr=self.log, check=True, cwd="/", **self.as_owner())  # noqa: S603  our own spec
        draft.rename(self.data)

    def write_access(self) -> None:
        """Write who may connect: named operating-system users, over the socket only."""
        for name, text in self.spec["files"].items():
            path = self.data / name
            path.write_text(text)
            path.chmod(0o600)
            if owner := self.spec.get("owner"):
                os.chown(path, owner["uid"], owner["gid"])

    def start_child(self) -> None:
        """Start the postmaster as our direct child; a thread waits for its end."""
        self.child = subprocess.Popen(  # noqa: S603  our own spec
            self.spec["postgres"],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            cwd="/",
            **self.as_owner(),
        )
        self.say(f"started PostgreSQL as {self.child.pid}")
        self.record("running")
        threading.Thread(target=self._wait_child, args=(self.child,), daemon=True).start()

    def _wait_child(self, child: "subprocess.Popen[bytes]") -> None:
        child.wait()
        self.events.put("exited")

    def _wait_users(self) -> None:
        with (self.folder / "users.lock").open("a") as users:
            fcntl.flock(users, fcntl.LOCK_EX)
            self.events.put("last user left")
            threading.Event().wait()  # the lock is kept until this process is gone

    def stop_child(self) -> None:
        """Shut the server down: fast, or immediately when that takes too long."""
        if self.child is None:
            return
        for number, seconds in ((signal.SIGINT, STOP_FAST_S), (signal.SIGQUIT, STOP_IMMEDIATE_S)):
            if self.child.poll() is None:
                self.child.send_signal(number)
                try:
                    self.child.wait(seconds)
                except subprocess.TimeoutExpired:
                    self.say(f"PostgreSQL did not stop within {seconds:.0f} s of signal {number}")
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()

    def run(self) -> None:
        """Supervise until the last user has left or a signal asks to stop."""
        stop_orphan(self.data, Path(self.spec["socket"]), self.say)
        if not (self.data / "PG_VERSION").exists():
            self.record("initdb")
            self.initdb()
        self.write_access()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.events.put("asked to stop"))
        threading.Thread(target=self._wait_users, daemon=True).start()
        backoff_s = BACKOFF_FIRST_S
        while True:
            started = time.monotonic()
            self.start_child()
            event = self._next_event()
            if event != "exited":
                self.say(event)
                break
            self.last_exit = self.child.returncode if self.child else None
            self.restarts += 1
            healthy = time.monotonic() - started > HEALTHY_AFTER_S and announced_ready(self.data)
            backoff_s = BACKOFF_FIRST_S if healthy else backoff_s
            self.say(f"PostgreSQL exited with {self.last_exit}; starting it again in {backoff_s:.1f} s")
            self.record("restarting")
            if self._pause(backoff_s):
                break
            backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)
            stop_orphan(self.data, Path(self.spec["socket"]), self.say)
        self.record("stopping")
        self.stop_child()
        self.say("stopped")

    def _next_event(self) -> str:
        while True:
            try:
                return self.events.get(timeout=1.0)  # wakes up so that a Python signal handler can run
            except queue.Empty:
                continue

    def _pause(self, seconds: float) -> bool:
        """Wait before a restart; True when there is a reason to stop instead."""
        try:
            self.say(self.events.get(timeout=seconds))
        except queue.Empty:
            return False
        return True


def _take(path: Path) -> TextIO | None:
    """Take the lock file exclusively; a look at it by another process (which takes it for an instant) is waited out."""
    lock = path.open("a")
    end = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                return None
            time.sleep(0.01)
        else:
            return lock


def main(spec: dict[str, Any]) -> int:
    """Supervise according to ``spec`` in the background; 0 when that began or another supervisor is there already."""
    folder = Path(spec["folder"])
    lock = _take(folder / "supervisor.lock")
    if lock is None:
        return 0
    if os.fork():  # nobody's child, so that no Bursar process has to wait for it; the lock stays with the copy
        return 0
    log_path = folder / "server.log"
    if log_path.exists() and log_path.stat().st_size > LOG_BYTES_MAX:
        log_path.replace(folder / "server.log.1")
    with log_path.open("a") as log:
        supervisor = Supervisor(spec, log)
        supervisor.record("starting")
        sys.stdout.close()  # whoever started us reads to the end of it
        os.close(1)
        try:
            supervisor.run()
        except (OSError, subprocess.SubprocessError) as error:
            supervisor.say(f"gave up: {error}")
            supervisor.stop_child()
            return 1
        finally:
            (folder / "state.json").unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.stdin.read())))
