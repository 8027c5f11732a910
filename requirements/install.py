"""Install one hash-locked requirement file and Bursar itself into the running environment.

uv does it in seconds; where uv cannot (a mirror only pip is configured for), pip does it and this says so.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
_PIP = ("pip", "install", "--quiet", "--disable-pip-version-check")


def _ran(*command: str) -> bool:
    return subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=False).returncode == 0  # noqa: S603


def main(lock: str) -> int:
    """Install the files of ``lock``, then this checkout in editable form; return an exit status."""
    uv = ("uv", "pip", "install", "--quiet", "--compile-bytecode", "--python", sys.executable)
    if not _ran(*uv, "--require-hashes", "-r", lock):
        print("uv could not install the locked set; trying pip, which is slower", file=sys.stderr)  # noqa: T201
        if not _ran(*_PIP, "--require-hashes", "-r", lock):
            return 1
    if not _ran(*_PIP, "--no-deps", "--no-build-isolation", "--editable", "."):
        return 1
    _ran("compileall", "-q", "src/bursar")  # else the first command compiles 1,200 modules before it answers
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
