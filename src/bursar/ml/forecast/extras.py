"""Models of optional packages behind the house contract: Prophet, and the automatic models of statsforecast.

They fit series one at a time and learn nothing across series, so what serves is fitted anew at every forecast. The
packages are imported where used.
"""

import logging
import warnings
from abc import abstractmethod
from threading import Lock
from typing import Any, ClassVar, Self

import numpy as np

from bursar.kernel.errors import Invalid, Unavailable
from bursar.kernel.series import Floats, calendar
from bursar.ml.forecast.contract import Forecaster
from bursar.ml.forecast.history import History, fill_gaps

POINTS_LEAST = 3
"""Values a series needs; with fewer its mean is the forecast."""

_QUIET = Lock()
"""Held while fitting: which warnings are shown belongs to the process."""


class OneByOne(Forecaster):
    """Fits series one at a time; one that its package cannot fit repeats its mean, and that is told."""

    values_: Floats

    @abstractmethod
    def one(self, row: int, horizon: int) -> Floats:
        """Fit series ``row`` and return its forecast, shape (horizon,)."""

    def predict(self, horizon: int) -> Floats:
        """Fit and forecast every series in turn."""
        out = np.empty((len(self.values_), horizon))
        self.unfit_ = 0
        with _QUIET, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for row, values in enumerate(self.values_):
                live = values[~np.isnan(values)]
                out[row] = live.mean() if len(live) else np.nan
                if len(live) >= POINTS_LEAST and np.ptp(live) > 0:
                    made = self._tried(row, horizon)
                    out[row] = made if np.isfinite(made).all() else out[row]
                    self.unfit_ += not np.isfinite(made).all()
        return out

    def _tried(self, row: int, horizon: int) -> Floats:
        try:
            return np.asarray(self.one(row, horizon), dtype=np.float64)
        except Exception:  # each package raises what it likes
            return np.full(horizon, np.nan)

    def told(self) -> tuple[str, ...]:
        """Return how many series could not be fitted."""
        count = len(self.values_)
        return (f"could not be fitted to {self.unfit_} of {count} series, their mean stands in",) if self.unfit_ else ()


class Prophet(OneByOne):
    """Prophet with its default seasons, and the house's holidays and events as regressors."""

    name: ClassVar[str] = "prophet"

    def fit(self, history: History) -> Self:
        """Keep the history; Prophet fits and forecasts in one go.

        Raises:
            Unavailable: The package is not installed.
        """
        hush()
        try:
            import prophet
        except ImportError as error:
            raise Unavailable("Prophet (install bursar[prophet])") from error
        self.package_ = prophet
        self.history_ = history
        self.values_ = history.values
        self.unfit_ = 0
        return self

    def predict(self, horizon: int) -> Floats:
        """Lay the calendar out once, then fit and forecast every series in turn."""
        import pandas as pd

        history, width = self.history_, len(self.history_.times)
        times = calendar(history.times[0], history.grain, width + horizon).astype("datetime64[ns]")
        known = np.zeros((width + horizon, history.known.shape[1]))
        kept = min(len(known), len(history.known))
        known[:kept] = history.known[:kept]
        self.names_ = [f"known{at}" for at in range(known.shape[1])]
        self.frame_ = pd.DataFrame(known, columns=self.names_).assign(ds=times)
        return super().predict(horizon)

    def one(self, row: int, horizon: int) -> Floats:
        """Fit with the regressors that were seen; intervals are the house's own."""
        values = self.values_[row]
        width, live = len(values), ~np.isnan(values)
        past, ahead = self.frame_[:width], self.frame_[-horizon:]
        model = self.package_.Prophet(uncertainty_samples=0)
        for name in self.names_:
            if past[name][live].any():
                model.add_regressor(name)
        model.fit(past.assign(y=values)[live])
        out: Floats = model.predict(ahead)["yhat"].to_numpy()
        return out


def hush() -> None:
    """Keep Prophet from reporting every fit; its compiler's wrapper sets itself up only where nobody listens yet."""
    logging.getLogger("prophet.plot").setLevel(logging.CRITICAL)  # nothing is plotted
    wrapper = logging.getLogger("cmdstanpy")
    wrapper.setLevel(logging.ERROR)
    if not wrapper.hasHandlers():
        wrapper.addHandler(logging.NullHandler())


class StatsForecast(OneByOne):
    """The class of ``statsforecast.models`` that is called as this one is named; it takes ``season_length``."""

    def fit(self, history: History) -> Self:
        """Keep the filled history.

        Raises:
            Unavailable: The package is not installed.
            Invalid: It has no such model.
        """
        try:
            from statsforecast import models
        except ImportError as error:
            raise Unavailable("statsforecast (install bursar[statsforecast])") from error
        if not hasattr(models, self.name):
            raise Invalid(f"statsforecast has no model {self.name}")
        self.maker_: Any = getattr(models, self.name)
        self.values_ = fill_gaps(history.values, history.season)
        self.season_ = history.season
        self.unfit_ = 0
        return self

    def one(self, row: int, horizon: int) -> Floats:
        """Fit with the season where two of it were seen."""
        live = self.values_[row][~np.isnan(self.values_[row])]
        season = self.season_ if len(live) >= 2 * self.season_ else 1
        out: Floats = self.maker_(season_length=season).forecast(y=live, h=horizon)["mean"]
        return out


class AutoArima(StatsForecast):
    """ARIMA with orders chosen by information criterion."""

    name: ClassVar[str] = "AutoARIMA"


class AutoEts(StatsForecast):
    """Exponential smoothing with components chosen by information criterion."""

    name: ClassVar[str] = "AutoETS"


class AutoCes(StatsForecast):
    """Complex exponential smoothing with the season chosen by information criterion."""

    name: ClassVar[str] = "AutoCES"


class AutoTheta(StatsForecast):
    """The Theta model chosen by mean squared error."""

    name: ClassVar[str] = "AutoTheta"
