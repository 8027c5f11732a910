"""Parsers of foreign bytes run in a killable child with limits on CPU, memory, time and output.

A zygote (:mod:`bursar.infra.sandbox_zygote`) is started once: a fresh interpreter without this process's environment,
with Polars and lxml imported. Each call forks one child from it, so a parse costs milliseconds and leaves nothing behind.
Whatever happens in the child (an exception, a crash, a limit passed) becomes one :class:`ImportRefused`, and the
document is kept aside. What this does not do: the child runs as the same system user and can open files and sockets.
"""

import asyncio
import contextlib
import hashlib
import itertools
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from bursar.kernel.errors import Refusal

WARM_MODULES = ("polars", "lxml.etree", "bursar.kernel.lines", "bursar.kernel.money")
"""Imported in the zygote before the first request."""

RESULT_BYTES_MAX = 8 * 1024**2
"""Largest JSON result of a parser; lines travel as a file it writes, not in the result."""

QUARANTINE_FILES_MAX = 1000
"""Documents kept aside; the oldest goes first."""

MARGIN_S = 5.0
"""How long after a child's own deadline the zygote itself is taken for hung and killed."""

THREADS = 2
"""Polars threads in a child."""

_GONE = {"late": False, "signal": int(signal.SIGABRT), "code": 0, "cpu_seconds": 0.0, "gone": True}
"""The answer when the zygote ended before the child."""

Why = Literal["refused", "crash", "time", "memory", "bug", "output"]


@dataclass(eq=False)
class ImportRefused(Refusal):
    """{what}"""  # noqa: D415  the fact is a whole sentence

    what: str
    fix: str = ""
    why: Why = "refused"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one child may use; memory counts on top of the interpreter with its libraries (about 0.5 GB of addresses)."""

    cpu_seconds: int = 60
    wall_seconds: float = 120.0
    memory_bytes: int = 1024**3
    output_bytes: int = 4 * 1024**3

    @classmethod
    def for_document(cls, size_bytes: int) -> "Limits":
        """Return limits that grow with the document: 20 s of CPU and 1 GiB, plus 1 s per MB and 8 bytes per byte."""
        megabytes = size_bytes // 1_000_000
        return cls(
            cpu_seconds=min(20 + megabytes, 3600),
            wall_seconds=min(60 + 2 * megabytes, 7200),
            memory_bytes=min(1024**3 + 8 * size_bytes, 16 * 1024**3),
        )


@dataclass
class _Zygote:
    """The live process, the task that reads its answers, and who waits for which."""

    process: asyncio.subprocess.Process
    reader: asyncio.Task[None] | None = None
    waiting: dict[int, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)


def _refused(ended: Mapping[str, Any], folder: Path, limits: Limits) -> ImportRefused | None:
    """Tell which limit or crash ended a child; None when it ended by itself and left an outcome."""
    said = _tail(folder / "stderr")
    if ended["late"] or ended["signal"] == signal.SIGXCPU or ended["cpu_seconds"] > limits.cpu_seconds:
        what = f"Reading the document took over {limits.cpu_seconds} s of CPU or {limits.wall_seconds:g} s in all."
        return ImportRefused(what, "Split the document into smaller files and import them one by one.", "time")
    out_of_memory = b"memory allocation" in said or b"MemoryError" in said or b"bad_alloc" in said
    if out_of_memory or ended["signal"] == signal.SIGKILL:
        return _memory(limits)
    if ended["signal"] or ended["code"] or not (folder / "outcome").exists():
        cause = f"signal {signal.Signals(ended['signal']).name}" if ended["signal"] else f"status {ended['code']}"
        what = f"The parser crashed on this document ({cause})."
        return ImportRefused(what, "Export the document again, or in another format.", "crash")
    return None


def _tail(path: Path) -> bytes:
    """Return the beginning and end of a file that may be huge or absent."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as stream:
        head = stream.read(2000)
        stream.seek(max(len(head), path.stat().st_size - 2000))
        return head + stream.read(2000)
    return b""


def _memory(limits: Limits) -> ImportRefused:
    what = f"Reading the document took over {limits.memory_bytes // 1024**2} MiB of memory."
    return ImportRefused(what, "Split the document into smaller files and import them one by one.", "memory")


def _outcome(folder: Path, limits: Limits) -> Any:
    """Return the parser's result, or raise what it said."""
    path = folder / "outcome"
    if path.stat().st_size > RESULT_BYTES_MAX:
        what = f"The parser's result is over {RESULT_BYTES_MAX // 1024**2} MiB."
        raise ImportRefused(what, "Split the document into smaller files and import them one by one.", "output")
    try:
        outcome = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ImportRefused("The parser's result cannot be read.", "Report the document's format.", "bug") from error
    match outcome:
        case {"result": result}:
            return result
        case {"refused": {"what": what, "fix": fix}}:
            raise ImportRefused(what, fix, "refused")
        case {"memory": True}:
            raise _memory(limits)
        case _:
            what = f"The document could not be read: {outcome.get('raised', 'unknown')}."
            raise ImportRefused(what, "Check that it is complete and in the format its name says.", "bug")


def keep_aside(document: Path, folder: Path, refused: ImportRefused, *, now: datetime) -> Path:
    """Copy a refused document into ``folder`` under its SHA-256 with a note beside it; returns the copy's path.

    At most :data:`QUARANTINE_FILES_MAX` are kept; the oldest goes first. Keeping the same document again replaces its note.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with document.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    kept = folder / digest
    if not kept.exists():
        part = folder / f"{digest}.{os.getpid()}.part"
        shutil.copyfile(document, part)
        part.rename(kept)
    note = {"name": document.name, "at": now.isoformat(), **dict(refused.facts)}
    (folder / f"{digest}.json").write_text(json.dumps(note, indent=1), encoding="utf-8")
    notes = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    for old in notes[: max(0, len(notes) - QUARANTINE_FILES_MAX)]:
        old.with_suffix("").unlink(missing_ok=True)
        old.unlink(missing_ok=True)
    return kept


class Sandbox:
    """A warm place to run parsers; one per process, closed at its end. Belongs to the event loop that first used it.

    Args:
        warm: Modules to import beforehand, besides :data:`WARM_MODULES`.
        at_once: How many children run at the same time; the machine's cores when None.
    """

    def __init__(self, *, warm: Sequence[str] = (), at_once: int | None = None) -> None:
        self._warm = (*WARM_MODULES, *warm)
        self._room = asyncio.Semaphore(at_once or os.cpu_count() or 1)
        self._starting = asyncio.Lock()
        self._ids = itertools.count(1)
        self._zygote: _Zygote | None = None
        self._closed = False

    async def run_parser(
        self, function: str, args: Mapping[str, Any], *, limits: Limits | None = None, cwd: Path | None = None
    ) -> Any:
        """Call ``package.module:function`` with keyword arguments in a child.

        Args:
            function: A function of ours; it must be importable and return what JSON can hold.
            args: JSON values; paths as text. Lines are written by the function to a path among them.
            limits: What the child may use.
            cwd: Where the exchange folder is made; the system's temporary folder when None.

        Returns:
            The function's result after a trip through JSON.

        Raises:
            ImportRefused: The function raised, crashed, or passed a limit. Nothing else is raised for any document.
        """
        allowed = limits or Limits()
        async with self._room:
            with tempfile.TemporaryDirectory(prefix="bursar-parse-", dir=cwd) as name:
                folder = Path(name)
                request = {"function": function, "args": dict(args), "folder": name}
                ended = await self._run(request, allowed)
                if ended == _GONE and not self._closed:
                    ended = await self._run_alone(request, allowed)
                if refused := _refused(ended, folder, allowed):
                    raise refused
                return _outcome(folder, allowed)

    async def _run(self, request: dict[str, Any], limits: Limits) -> dict[str, Any]:
        """Have the zygote run one child; a zygote that died or hangs counts as the child's crash."""
        zygote = await self._start()
        request |= {"id": next(self._ids), "limits": asdict(limits)}
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        zygote.waiting[request["id"]] = answer
        assert zygote.process.stdin is not None
        try:
            zygote.process.stdin.write(json.dumps(request).encode() + b"\n")
            await zygote.process.stdin.drain()
            return await asyncio.wait_for(answer, limits.wall_seconds + MARGIN_S)
        except (TimeoutError, ConnectionError):
            await self._stop(zygote)
            return {"late": True, "signal": 0, "code": 0, "cpu_seconds": 0.0}
        except asyncio.CancelledError:
            with contextlib.suppress(ConnectionError):
                zygote.process.stdin.write(json.dumps({"kill": request["id"]}).encode() + b"\n")
            raise
        finally:
            zygote.waiting.pop(request["id"], None)

    async def _run_alone(self, request: dict[str, Any], limits: Limits) -> dict[str, Any]:
        """Try once more in a zygote of its own: the shared one died, and another document may have killed it."""
        alone = Sandbox(warm=self._warm, at_once=1)
        try:
            return await alone._run(request, limits)
        finally:
            await alone.close()

    async def start(self) -> None:
        """Start the zygote now, so that the first document finds it warm (about 0.4 s)."""
        await self._start()

    async def _start(self) -> _Zygote:
        async with self._starting:
            if self._zygote and self._zygote.process.returncode is None:
                return self._zygote
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "bursar.infra.sandbox_zygote",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=environment(),
            )
            zygote = _Zygote(process)
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps({"warm": self._warm}).encode() + b"\n")
            if not await process.stdout.readline():
                await process.wait()
                message = f"the parser process did not start (status {process.returncode})"
                raise RuntimeError(message)
            zygote.reader = asyncio.create_task(self._read_answers(zygote), name="sandbox answers")
            self._zygote = zygote
            return zygote

    async def _stop(self, zygote: _Zygote) -> None:
        """End the zygote; its children die with it."""
        if self._zygote is zygote:
            self._zygote = None
        with contextlib.suppress(ProcessLookupError):
            zygote.process.kill()
        await zygote.process.wait()
        if zygote.reader:
            await zygote.reader
        if zygote.process.stdin:
            zygote.process.stdin.close()

    async def _read_answers(self, zygote: _Zygote) -> None:
        """Hand each answer to who waits for it; at the zygote's end, tell everyone that it is gone."""
        assert zygote.process.stdout is not None
        async for line in zygote.process.stdout:
            answer = json.loads(line)
            waiting = zygote.waiting.get(answer["id"])
            if waiting and not waiting.done():
                waiting.set_result(answer)
        if self._zygote is zygote:
            self._zygote = None
        for waiting in zygote.waiting.values():
            if not waiting.done():
                waiting.set_result(dict(_GONE))

    async def close(self) -> None:
        """Kill what still runs; calls under way are refused."""
        self._closed = True
        if self._zygote:
            await self._stop(self._zygote)


def environment() -> dict[str, str]:
    """Return the child's whole environment: thread counts, a locale, how memory is used; no setting and no secret.

    Polars reads CSV in parts of 16 MiB, two ahead, and its allocator gives freed memory back within three seconds: a large
    bill then takes two thirds of the memory and no more CPU (``benchmarks/cloud_ingest.py``).
    """
    return {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        "POLARS_MAX_THREADS": str(THREADS),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
        "_RJEM_MALLOC_CONF": "background_thread:false,dirty_decay_ms:3000",
        "POLARS_CSV_CHUNK_SIZE": str(16 * 1024**2),
        "POLARS_CSV_CHUNK_PREFETCH_LIMIT": "2",
    }
