"""Series: amounts of one currency on a regular calendar under one key; the only input of forecasting and anomalies."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bursar.kernel.errors import Invalid, TooLarge
from bursar.kernel.period import Grain

Floats = NDArray[np.float64]
Days = NDArray[np.datetime64]
Ints = NDArray[np.int64]

SERIES_MAX = 100_000
"""Series in one panel."""

POINTS_MAX = 200_000_000
"""Values in one panel, all series together (1.6 GB)."""

_STEP = {
    Grain.HOUR: np.timedelta64(1, "h"),
    Grain.DAY: np.timedelta64(24, "h"),
    Grain.WEEK: np.timedelta64(168, "h"),
}


def calendar(start: np.datetime64, grain: Grain, count: int) -> Days:
    """Return the starts of ``count`` consecutive periods.

    Args:
        start: Start of the first period; for months any instant of the month.
        grain: The calendar.
        count: Number of periods, at least 0.

    Returns:
        Shape (count,), ``datetime64[h]``.
    """
    if grain is Grain.MONTH:
        months = start.astype("datetime64[M]") + np.arange(count)
        out: Days = months.astype("datetime64[h]")
    else:
        out = start.astype("datetime64[h]") + np.arange(count) * _STEP[grain]
    return out


def steps_between(first: Days, last: Days, grain: Grain) -> Ints:
    """Return the whole number of periods from ``first`` to ``last``, elementwise; negative when ``last`` is earlier."""
    if grain is Grain.MONTH:
        out: Ints = (last.astype("datetime64[M]") - first.astype("datetime64[M]")).astype(np.int64)
    else:
        out = ((last.astype("datetime64[h]") - first.astype("datetime64[h]")) // _STEP[grain]).astype(np.int64)
    return out


@dataclass(frozen=True, slots=True)
class Panel:
    """Many series of one grain and currency, ragged: one flat array plus index pointers (CSR layout).

    Attributes:
        keys: Shape (n,): series keys, such as ``cost/aws/123456789012/AmazonEC2``.
        starts: Shape (n,), ``datetime64[h]``: the first period of each series.
        values: Shape (sum of lengths,): amounts in major units of ``currency``; NaN marks a gap (no data), 0 is zero.
        indptr: Shape (n + 1,): series i is ``values[indptr[i]:indptr[i + 1]]``.
        grain: The calendar.
        currency: ISO 4217 code.
    """

    keys: tuple[str, ...]
    starts: Days
    values: Floats
    indptr: NDArray[np.int64]
    grain: Grain
    currency: str

    @classmethod
    def of(
        cls,
        keys: Sequence[str],
        starts: Sequence[np.datetime64] | Days,
        series: Sequence[Floats],
        *,
        grain: Grain,
        currency: str,
    ) -> "Panel":
        """Build a checked panel from separate arrays.

        Args:
            keys: Shape (n,), unique.
            starts: Shape (n,): first period of each series.
            series: n arrays, each of one dimension and at least one value; NaN is a gap, infinity is refused.
            grain: The calendar.
            currency: ISO 4217 code of every value.

        Raises:
            Invalid: A key comes twice, a series is empty or infinite somewhere, or the counts differ.
            TooLarge: More than ``SERIES_MAX`` series or ``POINTS_MAX`` values.
        """
        if len(keys) > SERIES_MAX:
            raise TooLarge("a panel", SERIES_MAX, "series")
        lengths = np.fromiter((len(one) for one in series), dtype=np.int64, count=len(series))
        if int(lengths.sum()) > POINTS_MAX:
            raise TooLarge("a panel", POINTS_MAX, "values")
        if not len(keys) == len(starts) == len(series):
            raise Invalid(f"{len(keys)} keys, {len(starts)} starts and {len(series)} series do not belong together")
        values = np.concatenate([np.asarray(one, dtype=np.float64) for one in series]) if len(series) else np.empty(0)
        indptr = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        panel = cls(tuple(keys), np.asarray(starts, dtype="datetime64[h]"), values, indptr, grain, currency)
        panel.check()
        return panel

    def check(self) -> None:
        """Refuse what no forecast can be made of.

        Raises:
            Invalid: A key comes twice, a series is empty, or a value is infinite; the text names the first such key.
        """
        if len(set(self.keys)) != len(self.keys):
            twice = next(key for key in self.keys if self.keys.count(key) > 1)
            raise Invalid(f"series {twice} comes twice", "Give every series its own key, or add the two up first.")
        empty = np.flatnonzero(self.lengths == 0)
        if len(empty):
            raise Invalid(f"series {self.keys[empty[0]]} has no values", "Leave it out, or give at least one value.")
        infinite = np.flatnonzero(np.isinf(self.values))
        if len(infinite):
            row = int(np.searchsorted(self.indptr, infinite[0], side="right")) - 1
            raise Invalid(
                f"series {self.keys[row]} is infinite at position {infinite[0] - self.indptr[row]}",
                "Send the amount itself, or null for a gap.",
            )

    def __len__(self) -> int:
        """Return the number of series."""
        return len(self.keys)

    @property
    def lengths(self) -> Ints:
        """Shape (n,): the number of periods of each series."""
        return np.diff(self.indptr)

    @property
    def ends(self) -> Days:
        """Shape (n,), ``datetime64[h]``: the start of the period after the last of each series."""
        if self.grain is Grain.MONTH:
            return (self.starts.astype("datetime64[M]") + self.lengths).astype("datetime64[h]")
        hours = self.starts.astype("datetime64[h]").astype(np.int64) + self.lengths * _STEP[self.grain].astype(np.int64)
        out: Days = hours.astype("datetime64[h]")
        return out

    def series(self, index: int) -> Floats:
        """Return the values of series ``index`` as a view."""
        return self.values[self.indptr[index] : self.indptr[index + 1]]

    def times(self, index: int) -> Days:
        """Return the period starts of series ``index``, ``datetime64[h]``."""
        return calendar(self.starts[index], self.grain, int(self.lengths[index]))

    def matrix(self, *, length_max: int) -> tuple[Floats, Days]:
        """Lay the series side by side on one calendar that ends with the latest of them.

        Args:
            length_max: Only the last ``length_max`` periods are kept.

        Returns:
            Values of shape (n, t), NaN where a series has no value, and the t period starts (``datetime64[h]``).
        """
        ends = self.ends
        last = ends.max()
        late = steps_between(ends, np.full_like(ends, last), self.grain)
        width = int(min(length_max, (self.lengths + late).max()))
        out = np.full((len(self), width), np.nan)
        row = np.repeat(np.arange(len(self)), self.lengths)
        within = np.arange(len(self.values)) - np.repeat(self.indptr[:-1], self.lengths)
        column = within + np.repeat(width - late - self.lengths, self.lengths)
        kept = column >= 0
        out[row[kept], column[kept]] = self.values[kept]
        if self.grain is Grain.MONTH:
            first = (last.astype("datetime64[M]") - np.timedelta64(width, "M")).astype("datetime64[h]")
        else:
            first = last - width * _STEP[self.grain]
        return out, calendar(first, self.grain, width)
