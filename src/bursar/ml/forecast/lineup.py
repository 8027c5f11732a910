"""The default line-up: which models compete, and how much work they may do on a panel of a given size."""

from bursar.ml.backtest import WINDOWS
from bursar.ml.forecast.complex_smoothing import ComplexSmoothing
from bursar.ml.forecast.contract import Forecaster
from bursar.ml.forecast.global_trees import ROWS_MAX, GlobalTrees
from bursar.ml.forecast.multi_season import MultiSeason
from bursar.ml.forecast.naive import RunRate, SeasonalMean, SeasonalNaive
from bursar.ml.forecast.regression import Ridge
from bursar.ml.forecast.siblings import Siblings
from bursar.ml.forecast.smoothing import Smoothing
from bursar.ml.forecast.theta import Theta

BASELINE = SeasonalNaive.name
"""What every mix must beat."""

COLD = frozenset({"trees_seasonal", "siblings"})
"""What serves a series too young to be tried."""

LARGE_PANEL = 1_000
"""From this many series on, the global models are trained once for all backtest windows, on what precedes the first,
and with fewer rounds on fewer rows."""

LARGE_ROWS = 125_000
"""Training rows of a large panel: half as many as a small one may draw err by 0.1 % more and are learned in a third of
the time."""


SMALL_PANEL_WINDOWS = 5
"""Backtest windows of smaller panels, where time allows more than the least."""


def default_windows(series: int, length: int, horizon: int) -> int:
    """Return the number of backtest windows of the default line-up: more than the least take up to half of the history.

    Args:
        series: Number of series.
        length: Periods of history.
        horizon: Periods ahead.
    """
    most = SMALL_PANEL_WINDOWS if series < LARGE_PANEL else WINDOWS
    return max(WINDOWS, min(most, length // 2 // horizon))


class SeasonalTrees(GlobalTrees):
    """The global model on differences from the seasonal base."""

    name = "trees_seasonal"


class LevelTrees(GlobalTrees):
    """The global model on values in units of the level."""

    name = "trees_level"


def default_lineup(series: int, horizon: int, seed: int) -> tuple[Forecaster, ...]:
    """Return fresh models for a panel of ``series`` series and a ``horizon``.

    Args:
        series: Number of series.
        horizon: Periods ahead.
        seed: Of the global models.
    """
    retrain = series < LARGE_PANEL
    rounds, rows = (200, ROWS_MAX) if retrain else (120, LARGE_ROWS)
    return (
        SeasonalNaive(),
        RunRate(),
        SeasonalMean(),
        Siblings(),
        Smoothing(),
        ComplexSmoothing(),
        MultiSeason(),
        Theta(),
        Ridge(),
        SeasonalTrees(horizon=horizon, difference=True, seed=seed, retrain=retrain, rounds=rounds, rows_max=rows),
        LevelTrees(horizon=horizon, difference=False, seed=seed + 1, retrain=retrain, rounds=rounds, rows_max=rows),
    )
