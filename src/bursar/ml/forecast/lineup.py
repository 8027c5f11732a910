"""The line-up: which models compete, and how much work they may do on a panel of a given size."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from bursar.kernel.errors import Invalid
from bursar.ml.backtest import WINDOWS
from bursar.ml.forecast.complex_smoothing import ComplexSmoothing
from bursar.ml.forecast.contract import Forecaster
from bursar.ml.forecast.deep import GlobalLstm
from bursar.ml.forecast.extras import AutoArima, AutoCes, AutoEts, AutoTheta, Prophet
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


@dataclass(frozen=True, slots=True)
class Extra:
    """A forecaster of an optional package.

    Attributes:
        package: That is imported.
        install: The extra of Bursar that brings it.
        make: Returns a fresh model for a horizon and a seed; whether it trains anew at every backtest origin.
        values_max: Values (series times periods) of a panel that it takes part in: half an hour of one processor for a
            training with its backtest. 0 where the cost does not grow with the series.
    """

    package: str
    install: str
    make: Callable[[int, int, bool], Forecaster]
    values_max: int = 0


EXTRAS = {
    "prophet": Extra("prophet", "prophet", lambda *_: Prophet(), 1_400_000),
    "lstm": Extra(
        "torch",
        "deep",
        lambda horizon, seed, retrain: GlobalLstm(horizon=horizon, seed=seed, retrain=retrain),
    ),
    "AutoARIMA": Extra("statsforecast", "statsforecast", lambda *_: AutoArima(), 50_000),
    "AutoETS": Extra("statsforecast", "statsforecast", lambda *_: AutoEts(), 400_000),
    "AutoCES": Extra("statsforecast", "statsforecast", lambda *_: AutoCes(), 7_000_000),
    "AutoTheta": Extra("statsforecast", "statsforecast", lambda *_: AutoTheta(), 900_000),
}
"""By the name of the model. Measured on daily series of two years: 0.16 s a fit for Prophet, 4 s for AutoARIMA, 0.55 s for
AutoETS, 0.03 s for AutoCES, 0.25 s for AutoTheta; a training fits six times."""


@dataclass(frozen=True, slots=True)
class Extras:
    """Which of :data:`EXTRAS` compete beside the models of the house, by name."""

    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, asked: Iterable[str]) -> "Extras":
        """Read names, in any case.

        Raises:
            Invalid: A name is not known, or its package is not installed.
        """
        known = {name.lower(): name for name in EXTRAS}
        names = tuple(dict.fromkeys(one.strip() for one in asked))
        for one in names:
            if one.lower() not in known:
                raise Invalid(f"the forecaster {one!r} is not known", f"Choose from {', '.join(EXTRAS)}.")
            extra = EXTRAS[known[one.lower()]]
            if find_spec(extra.package) is None:
                fix = f"Install it (`pip install 'bursar[{extra.install}]'`) or leave the forecaster out."
                raise Invalid(f"the forecaster {one} needs the package {extra.package}, which is not installed", fix)
        return cls(tuple(dict.fromkeys(known[one.lower()] for one in names)))

    def entering(self, series: int, periods: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return those that take part in a panel, and what to say of those left out."""
        out = [name for name in self.names if 0 < EXTRAS[name].values_max < series * periods]
        told = (
            f"{name} is left out: it fits series one at a time, and {series:,} series of {periods:,} periods are more than"
            f" the {EXTRAS[name].values_max:,} values it takes"
            for name in out
        )
        return tuple(name for name in self.names if name not in out), tuple(told)


def default_lineup(series: int, horizon: int, seed: int, extras: Sequence[str] = ()) -> tuple[Forecaster, ...]:
    """Return fresh models for a panel of ``series`` series and a ``horizon``.

    Args:
        series: Number of series.
        horizon: Periods ahead.
        seed: Of the global models.
        extras: Names of :data:`EXTRAS` that compete too.
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
        *(EXTRAS[name].make(horizon, seed + 2, retrain) for name in extras),
    )
