"""Running a line-up: its models side by side, at the end of the history or at earlier origins."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from bursar.kernel.series import Floats
from bursar.ml.backtest import Backtest, truth
from bursar.ml.forecast.contract import Forecaster
from bursar.ml.forecast.history import History

THREADS = 2
"""Models computed at the same time; each is single-threaded, so that busy machines are not made busier."""


def side_by_side(lineup: Sequence[Forecaster], work: Callable[[Forecaster], Floats]) -> list[Floats]:
    """Run ``work`` for every model, side by side: NumPy and LightGBM let go of the interpreter while they compute."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(work, lineup))


def run_backtest(history: History, lineup: Sequence[Forecaster], origins: tuple[int, ...], horizon: int) -> Backtest:
    """Run every model of the line-up at every origin."""
    actual, scale = truth(history, origins, horizon)
    forecasts = np.stack(side_by_side(lineup, lambda model: model.backtest(history, origins, horizon)))
    return Backtest(origins, tuple(model.name for model in lineup), forecasts, actual, scale)
