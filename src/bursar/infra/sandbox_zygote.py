"""The process that parsers of foreign bytes are forked from: a fresh interpreter, warm imports, no secrets.

Started by :mod:`bursar.infra.sandbox` with an empty environment. Reads one JSON request per line from standard input,
forks one child per request, and answers one JSON line per finished child. It parses nothing itself. When the parent
goes away (end of input), every child is killed and the process ends.

Forking is safe here although Polars and DuckDB are loaded: nothing has run in them yet, so no pool, lock or file exists.
"""

import contextlib
import ctypes
import importlib
import json
import os
import resource
import select
import signal
import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PAGE_BYTES = resource.getpagesize()
OPEN_FILES_MAX = 256
_PR_SET_PDEATHSIG = 1
_FOREVER_S = 3600.0


@dataclass
class Running:
    """One forked child: its request, the instant (monotonic seconds) it is killed at, and whether it was."""

    id: int
    deadline: float
    late: bool = False


@dataclass
class Zygote:
    """State of the loop: unread bytes of standard input, and children by process id."""

    unread: bytes = b""
    children: dict[int, Running] = field(default_factory=dict)


def _address_space_bytes() -> int:
    """Return the bytes of address space in use (0 where the system does not tell, as on macOS)."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * PAGE_BYTES
    except OSError:
        return 0


def _confine(limits: Mapping[str, int]) -> None:
    """Set the limits of a fresh child, and make it die with its parent."""
    cpu, memory, output = limits["cpu_seconds"], limits["memory_bytes"], limits["output_bytes"]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (output, output))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES_MAX, OPEN_FILES_MAX))
    with contextlib.suppress(ValueError, OSError):  # macOS refuses the limit on address space
        room = _address_space_bytes() + memory
        resource.setrlimit(resource.RLIMIT_AS, (room, room))
    die_with_parent(os.getppid())


def die_with_parent(parent: int) -> None:
    """Have the system kill this process when process ``parent`` ends; end at once when it has ended already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _refusal_facts(error: BaseException) -> dict[str, Any]:
    """Tell what ended a parser: its own refusal with what and fix, or the exception nobody foresaw."""
    from bursar.kernel.errors import Refusal

    if isinstance(error, Refusal):
        return {"refused": {"what": str(error)[:1000], "fix": str(error.facts.get("fix", ""))[:1000]}}
    if isinstance(error, MemoryError):
        return {"memory": True}
    return {"raised": f"{type(error).__name__}: {error}"[:500]}


def _call(function: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """Call ``module:name`` and wrap what it returned or raised."""
    try:
        module, _, name = function.partition(":")
        return {"result": getattr(importlib.import_module(module), name)(**args)}
    except (Exception, RecursionError, SystemExit, KeyboardInterrupt) as error:  # border of the process: all of them
        return _refusal_facts(error)


def _child(request: Mapping[str, Any]) -> None:
    """Run one request and leave its outcome in ``folder``; never returns."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        folder = Path(request["folder"])
        nothing = os.open(os.devnull, os.O_RDWR)
        talk = os.open(folder / "stderr", os.O_WRONLY | os.O_CREAT, 0o600)
        for source, target in ((nothing, 0), (nothing, 1), (talk, 2)):
            os.dup2(source, target)
        os.closerange(3, OPEN_FILES_MAX)
        _confine(request["limits"])
        outcome = _call(request["function"], request["args"])
        try:
            text = json.dumps(outcome)
        except (TypeError, ValueError, RecursionError) as error:
            text = json.dumps({"raised": f"the parser's result is not JSON: {error}"[:500]})
        (folder / "outcome.part").write_text(text, encoding="utf-8")
        (folder / "outcome.part").rename(folder / "outcome")
        code = 0
    finally:
        os._exit(code)


def _answer(**facts: object) -> None:
    """Write one JSON line to the parent."""
    os.write(1, json.dumps(facts).encode() + b"\n")


def _start(zygote: Zygote, request: Mapping[str, Any]) -> None:
    """Import what the request needs (so that the next one finds it warm), then fork its child."""
    with contextlib.suppress(Exception):  # the child meets the same error and reports it
        importlib.import_module(str(request["function"]).partition(":")[0])
    pid = os.fork()
    if pid == 0:
        _child(request)
    deadline = time.monotonic() + request["limits"]["wall_seconds"]
    zygote.children[pid] = Running(request["id"], deadline)


def _kill(pid: int) -> None:
    """Kill a child with everything it started."""
    for kill in (os.killpg, os.kill):  # the group does not exist until the child has called setsid
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def _reap(zygote: Zygote) -> None:
    """Answer for every child that has ended."""
    while zygote.children:
        pid, status, used = os.wait4(-1, os.WNOHANG)
        if pid == 0:
            return
        child = zygote.children.pop(pid, None)
        if child is None:
            continue
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)  # what it may have started and left behind
        _answer(
            id=child.id,
            signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
            code=os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0,
            late=child.late,
            cpu_seconds=round(used.ru_utime + used.ru_stime, 3),
        )


def _read(zygote: Zygote) -> bool:
    """Take complete requests from standard input; False at its end."""
    got = os.read(0, 1 << 16)
    *lines, zygote.unread = (zygote.unread + got).split(b"\n")
    for line in lines:
        request = json.loads(line)
        if "warm" in request:
            for module in request["warm"]:
                with contextlib.suppress(ImportError):
                    importlib.import_module(module)
            _answer(ready=os.getpid())
        elif "kill" in request:
            for pid, child in zygote.children.items():
                if child.id == request["kill"]:
                    _kill(pid)
        else:
            _start(zygote, request)
    return bool(got)


def main() -> None:
    """Serve requests until standard input ends, then kill what still runs."""
    warnings.simplefilter("ignore")  # 3.12 warns about threads at fork; see the module's docstring
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    ended, tell = os.pipe()
    os.set_blocking(ended, False)
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    zygote, going = Zygote(), True
    while going:
        now = time.monotonic()
        for pid, child in zygote.children.items():
            if child.deadline <= now and not child.late:
                child.late = True
                _kill(pid)
        wait = min((c.deadline - now for c in zygote.children.values() if not c.late), default=_FOREVER_S)
        ready, _, _ = select.select([0, ended], [], [], max(0.0, wait))
        if ended in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(ended, 1 << 12)
        _reap(zygote)
        if 0 in ready:
            going = _read(zygote)
    for pid in zygote.children:
        _kill(pid)


if __name__ == "__main__":
    main()
