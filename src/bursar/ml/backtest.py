"""Rolling origins, and the errors measured at them."""

from dataclasses import dataclass, field

import numpy as np

from bursar.kernel.period import Grain
from bursar.kernel.series import Floats, Ints
from bursar.ml.forecast.history import YEAR_PERIODS, History, fill_gaps, seasonal_scale

WINDOWS_LEAST = 3
"""Origins a model must be tried at before it may be chosen."""

WINDOWS = 3


def rolling_origins(length: int, season: int, horizon: int, *, windows: int = WINDOWS) -> tuple[int, ...]:
    """Return ascending origins, the last of them ``horizon`` before the end where the history is long enough.

    Args:
        length: Periods of history.
        season: Main season in periods.
        horizon: Periods ahead that will be forecast.
        windows: Number of origins wanted.

    Returns:
        ``windows`` origins one horizon apart; on a shorter history they lie closer, see a shorter future, or are fewer; empty when
        not even ``WINDOWS_LEAST`` origins fit after two seasons (or after four periods, if that is more).
    """
    least = max(2 * season, 4)
    spare = length - least
    if spare < WINDOWS_LEAST:
        return ()
    windows = min(windows, spare)
    step = min(horizon, max(1, spare // (windows + 1)))
    last = length - min(horizon, max(step, spare // 2))
    origins = [last - step * back for back in range(windows - 1, -1, -1)]
    return tuple(origin for origin in origins if origin >= min(least, last))


def a_year_before(length: int, grain: Grain) -> int | None:
    """Return the origin one year before the end; None where less than half a year lies before it."""
    origin = length - YEAR_PERIODS[grain]
    return origin if origin >= YEAR_PERIODS[grain] // 2 else None


@dataclass(frozen=True, slots=True)
class Backtest:
    """What was forecast at each origin, and what happened.

    Attributes:
        origins: Shape (w,).
        names: The m models.
        forecasts: Shape (m, w, n, h), in units of the series.
        actual: Shape (w, n, h): NaN where nothing was observed.
        scale: Shape (w, n): mean absolute seasonal difference before each origin.
        rows: Shape (n,): the series of a larger panel that were tried; empty where all were.
    """

    origins: tuple[int, ...]
    names: tuple[str, ...]
    forecasts: Floats
    actual: Floats
    scale: Floats
    rows: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def residuals(self, forecasts: Floats) -> Floats:
        """Return (actual - forecast) / scale of forecasts (w, n, h); NaN where nothing was observed."""
        out: Floats = (self.actual - forecasts) / self.scale[:, :, None]
        return out

    def errors(self, forecasts: Floats) -> Floats:
        """Return mean absolute scaled errors per window and series, shape (..., w, n); NaN where nothing was observed.

        Args:
            forecasts: Shape (..., w, n, h).
        """
        gaps = np.abs(forecasts - self.actual)
        live = ~np.isnan(gaps)
        count = live.sum(axis=-1)
        total = np.where(live, gaps, 0.0).sum(axis=-1)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan) / self.scale


def truth(history: History, origins: tuple[int, ...], horizon: int) -> tuple[Floats, Floats]:
    """Return what happened after each origin, shape (w, n, horizon), and the scale before it, shape (w, n)."""
    count, width = history.values.shape
    actual = np.full((len(origins), count, horizon), np.nan)
    scale = np.empty((len(origins), count))
    for at, origin in enumerate(origins):
        seen = min(horizon, width - origin)
        actual[at, :, :seen] = history.values[:, origin : origin + seen]
        scale[at] = seasonal_scale(fill_gaps(history.values[:, :origin], history.season), history.season)
    return actual, scale
