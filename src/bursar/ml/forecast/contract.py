"""The contract of every forecaster: the constructor holds parameters, ``fit`` returns self, learned names end in ``_``."""

from abc import ABC, abstractmethod
from typing import ClassVar, Self

import numpy as np

from bursar.kernel.errors import Invalid
from bursar.kernel.series import Floats
from bursar.ml.forecast.history import History
from bursar.ml.registry import Arrays


def periods_since(last: np.datetime64, history: History) -> int:
    """Return how many periods of ``history`` lie after the period that starts at ``last``."""
    return int(len(history.times) - np.searchsorted(history.times, last, side="right"))


class Forecaster(ABC):
    """Forecasts every series of a :class:`History` at once.

    Rows without a single number are forecast as NaN; every other row gets finite numbers, whatever its history.
    """

    name: ClassVar[str]

    @abstractmethod
    def fit(self, history: History) -> Self:
        """Learn from ``history``; nothing is kept from an earlier fit."""

    @abstractmethod
    def predict(self, horizon: int) -> Floats:
        """Return the forecasts of the next ``horizon`` periods, shape (n, horizon), in the units of the history."""

    def advance(self, history: History) -> Self:
        """Take in the periods since the fit with what was learned then; the series and the calendar are the same.

        Models whose state is cheap to carry forward override this; the others fit anew.
        """
        return self.fit(history)

    def read(self, history: History) -> Self:
        """Take ``history`` as what is forecast from, keeping what was learned across series.

        Models that learn nothing across series fit anew.
        """
        return self.fit(history)

    def learned(self) -> Arrays:
        """Return what training learned across series, as numbers; empty for models that are fitted to each series."""
        return {}

    def install(self, learned: Arrays) -> None:
        """Take back what :meth:`learned` returned; :meth:`read` then forecasts without training.

        Raises:
            Invalid: It is not what this model learned.
        """
        if learned:
            raise Invalid(f"{self.name} learns nothing across series")

    def told(self) -> tuple[str, ...]:
        """Return what a reader should know of the last fit or forecast, in words that follow the model's name."""
        return ()

    def backtest(self, history: History, origins: tuple[int, ...], horizon: int) -> Floats:
        """Return what would have been forecast at each origin.

        Args:
            history: The whole history.
            origins: Ascending; the forecast at origin o has seen ``history.values[:, :o]`` only.
            horizon: Periods ahead.

        Returns:
            Shape (len(origins), n, horizon). Models that pass over time once for all origins override this; the
            conformance suite holds the override equal to this loop.
        """
        return np.stack([self.fit(history.until(origin)).predict(horizon) for origin in origins])


class Learner(Forecaster):
    """Learns across series; what it learned serves later periods too.

    Attributes:
        retrain: Whether a backtest trains anew at every origin; else once, on what precedes the first.
    """

    retrain: bool

    def advance(self, history: History) -> Self:
        """Forecast from the new periods with what was learned."""
        return self.read(history)

    def backtest(self, history: History, origins: tuple[int, ...], horizon: int) -> Floats:
        """Train at every origin, or at the first alone; the later ones then forecast with an older model, never a newer."""
        if self.retrain:
            return super().backtest(history, origins, horizon)
        self.fit(history.until(origins[0]))
        return np.stack([self.read(history.until(origin)).predict(horizon) for origin in origins])
