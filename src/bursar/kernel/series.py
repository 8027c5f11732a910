"""Series: amounts of one currency on a regular calendar under one key; the only input of forecasting and anomalies."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bursar.kernel.period import Grain

Floats = NDArray[np.float64]
Days = NDArray[np.datetime64]


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

    def __len__(self) -> int:
        """Return the number of series."""
        return len(self.keys)

    def series(self, index: int) -> Floats:
        """Return the values of series ``index`` as a view."""
        return self.values[self.indptr[index] : self.indptr[index + 1]]
