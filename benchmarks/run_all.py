"""Run every benchmark of this folder one after the other: ``python benchmarks/run_all.py [--quick]``; 1 when one falls short."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SKIPPED = {"run_all"}


def main() -> int:
    """Run them and print one line about each at the end."""
    results = []
    for script in sorted(HERE.glob("*.py")):
        if script.stem in SKIPPED or script.stem.startswith("_"):
            continue
        print(f"\n=== {script.stem} ===", flush=True)
        done = subprocess.run([sys.executable, str(script), *sys.argv[1:]], cwd=HERE.parent, check=False)
        results.append((script.stem, done.returncode))
    print("\n=== together ===")
    for name, status in results:
        print(f"{'ok' if status == 0 else 'short' if status == 1 else f'failed ({status})':<12} {name}")
    return 0 if all(status == 0 for _, status in results) else 1


if __name__ == "__main__":
    sys.exit(main())
