"""How long a warm `bursar up` takes until `/health/ready` says yes, and how much CPU `bursar --help` costs.

The first start makes the database and migrates it; it is shown but not judged. Warm starts are judged by their median.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the root: this folder holds a module named http

import os
import signal
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

from benchmarks._figures import arguments, figure, finish, table

READY_S = 5.0
HELP_CPU_S = 0.080
STARTS, HELPS = 5, 12
QUICK_STARTS, QUICK_HELPS = 2, 6
GIVE_UP_S = 120.0

BURSAR = [sys.executable, "-m", "bursar.cli"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def started(home: Path) -> float:
    """Start the server on ``home``, wait until it is ready, stop it; return the seconds until ready."""
    port = free_port()
    environment = {"PATH": os.defpath, "HOME": str(home), "BURSAR_HOME": str(home / "bursar")}
    began = time.perf_counter()
    with subprocess.Popen(
        [*BURSAR, "up", "--port", str(port)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        try:
            while time.perf_counter() - began < GIVE_UP_S and process.poll() is None:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5) as answer:
                        if answer.status == 200:
                            return time.perf_counter() - began
                except (OSError, urllib.error.URLError):
                    time.sleep(0.02)
        finally:
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        message = f"the server did not become ready: {errors.decode(errors='replace')[-2000:]}"
        raise RuntimeError(message)


def help_cpu_s() -> float:
    """Return the CPU seconds (user and system) of one ``bursar --help``."""
    process = subprocess.Popen([*BURSAR, "--help"], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        message = f"bursar --help ended with {process.returncode}"
        raise RuntimeError(message)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    options = arguments(__doc__)
    starts, helps = (QUICK_STARTS, QUICK_HELPS) if options.quick else (STARTS, HELPS)
    home = Path(tempfile.mkdtemp(prefix="bursar-bench-"))
    home.chmod(0o755)
    first = started(home)
    warm = [started(home) for _ in range(starts)]
    help_s = [help_cpu_s() for _ in range(helps)]
    rows = [
        ("first start (database made, migrated)", first, first, first),
        ("warm start", statistics.median(warm), min(warm), max(warm)),
        ("bursar --help, CPU", statistics.median(help_s), min(help_s), max(help_s)),
    ]
    table(rows, head=("what", "median s", "lowest s", "highest s"))
    finish(
        figure("startup: warm `bursar up` to ready", statistics.median(warm), "s", target=READY_S, better="lower"),
        others=[figure("startup: `bursar --help` CPU", min(help_s), "s", target=HELP_CPU_S, better="lower")],
    )


if __name__ == "__main__":
    main()
