"""Series that appear, and series that fall silent."""

import numpy as np

from bursar.kernel.series import Floats
from bursar.ml.calendar import Bools

NEW_AFTER = 60
"""A panel must reach back this many periods before a first value says that a key is new."""

VALUES_LEAST = 6
"""Values a series needs before its silence can be judged."""


def new_keys(values: Floats, start: int, season: int, ignored: Bools) -> list[tuple[int, int, float]]:
    """Return the series whose first non-zero value lies among the scanned columns.

    Args:
        values: Shape (n, t).
        start: First scanned column.
        season: Main season; the amount reported is the sum of the first season seen.
        ignored: Shape (n, t - start).

    Returns:
        (row, column, amount) per new key.
    """
    if start < min(NEW_AFTER, 4 * season):
        return []
    present = np.nan_to_num(values) != 0
    first = present.argmax(axis=1)
    rows = np.flatnonzero(present.any(axis=1) & (first >= start))
    found = []
    for row in rows:
        at = int(first[row])
        if not ignored[row, at - start]:
            found.append((int(row), at, float(np.nansum(values[row, at : at + season]))))
    return found


def vanished_keys(values: Floats, start: int, season: int, ignored: Bools) -> list[tuple[int, int, int, float, float]]:
    """Return the series that fell silent for longer than their past silences make likely.

    Args:
        values: Shape (n, t); zero and NaN are silence only where the panel itself goes on.
        start: First scanned column.
        season: Main season; silence is judged after one season at least.
        ignored: Shape (n, t - start).

    Returns:
        (row, first silent column, column at which it is unlikely, amount expected in the silence, p).
    """
    width = values.shape[1]
    present = np.nan_to_num(values) != 0
    known = ~np.isnan(values)
    last = np.where(present.any(axis=1), width - 1 - present[:, ::-1].argmax(axis=1), -1)
    found = []
    for row in np.flatnonzero((last >= 0) & (width - 1 - last >= season)):
        columns = np.flatnonzero(present[row, : last[row] + 1])
        silent = int((known[row, last[row] + 1 :]).sum())
        if len(columns) < VALUES_LEAST or silent < season:
            continue
        gaps = np.diff(columns)[-200:]
        needed = int(max(season, 2 * np.max(gaps) + 1))
        at = int(last[row]) + needed
        if at >= width or at < start or ignored[row, at - start]:
            continue
        rate = float(np.nansum(values[row, max(0, last[row] - 12 * season) : last[row] + 1]))
        span = min(int(last[row]) + 1, 12 * season + 1)
        p = 1.0 / (len(gaps) + 1.0) ** 2
        found.append((int(row), int(last[row]) + 1, at, rate / span * needed, p))
    return found
