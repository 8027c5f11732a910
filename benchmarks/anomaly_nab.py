"""The streaming detector on the Numenta Anomaly Benchmark: the folders that are present, three profiles.

The scorer is first proven: it must give the published score of a published detector on every file. The threshold for a
folder is chosen on the other folders. ``python -m benchmarks.anomaly_nab``
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the root: this folder holds a module named http

import numpy as np
from numpy.typing import NDArray

from benchmarks._figures import arguments, figure, finish, table
from benchmarks._nab import PROFILES, PUBLISHED, File, Floats, load, normalised, score, windowed_gaussian
from benchmarks._planning_data import SHARED
from bursar.ml.anomaly.stream import Stream

ROOT = SHARED / "planning" / "nab"
CANDIDATES = 150
"""Thresholds tried."""

QUIET_SHARE = 0.25
"""Quiet time after a told change, as a share of the probation that NAB grants a file."""

TARGET, FALSE_ROWS_MAX = 60.0, 100


def prove_scorer(files: list[File]) -> float:
    """Return the largest difference to the published scores of ``windowedGaussian`` over all files."""
    gaps = [abs(score(file, windowed_gaussian(file.values) >= 1.0)[0] - PUBLISHED[file.name]) for file in files]
    return max(gaps)


def ours(file: File) -> Floats:
    """Return our scores of one file."""
    quiet = int(QUIET_SHARE * max(file.probation, 50))
    return Stream(warm_up=file.probation, quiet=quiet).scores(file.values)


def left_out(files: list[File], scores: list[Floats], profile: str) -> dict[str, tuple[float, int, int, int]]:
    """Return raw score, windows found, windows and false rows per folder, its threshold chosen on the others."""
    told = np.concatenate([one[one > 0] for one in scores])
    thresholds = np.quantile(told, np.linspace(0, 1, CANDIDATES))
    raw = np.array(
        [[score(file, one >= cut, profile)[0] for cut in thresholds] for file, one in zip(files, scores, strict=True)]
    )
    folders = np.array([file.folder for file in files])
    out = {}
    for folder in np.unique(folders):
        cut = thresholds[raw[folders != folder].sum(axis=0).argmax()]
        sums: NDArray[np.float64] = np.sum(
            [
                score(file, one >= cut, profile)
                for file, one in zip(files, scores, strict=True)
                if file.folder == folder
            ],
            axis=0,
        )
        windows = sum(len(file.windows) for file in files if file.folder == folder)
        out[str(folder)] = (float(sums[0]), int(sums[1]), windows, int(sums[2]))
    return out


def main(root: Path = ROOT) -> None:
    """Print the table and the figures."""
    arguments(__doc__)
    files = load(root)
    gap = prove_scorer(files)
    scores, gaussian = [ours(file) for file in files], [windowed_gaussian(file.values) for file in files]
    rows, headline, false_rows = [], 0.0, 0
    for name, each in (("Bursar", scores), ("windowedGaussian", gaussian)):
        for profile in PROFILES:
            folders = left_out(files, each, profile)
            groups = {
                **{folder: [folder] for folder in folders},
                "AWS + AdExchange": ["realAWSCloudwatch", "realAdExchange"],
                "all present": list(folders),
            }
            for group, members in groups.items():
                raw, found, windows, false = (sum(folders[one][at] for one in members) for at in range(4))
                result = normalised(raw, int(windows), profile) if windows else float("nan")
                rows.append((name, profile, group, result, f"{found}/{windows}", int(false)))
                if (name, profile, group) == ("Bursar", "standard", "all present"):
                    headline, false_rows = result, int(false)
    table(rows, head=("detector", "profile", "files", "score", "windows found", "false rows"))
    print(
        "Published on all of NAB: AWS Random Cut Forest 51.7, CAD OSE 69.9, windowedGaussian 39.6 (standard profile).\n"
    )
    finish(
        figure(
            "NAB standard, files present, threshold from other folders",
            headline,
            "points",
            target=TARGET,
            better="higher",
        ),
        others=(
            figure("NAB scorer, largest gap to published per-file scores", gap, "points", target=1e-6, better="lower"),
            figure("NAB false-positive rows", false_rows, "rows", target=FALSE_ROWS_MAX, better="lower"),
        ),
    )


if __name__ == "__main__":
    main()
