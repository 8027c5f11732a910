"""Models of optional packages behind the house contract: Prophet, and any model of statsforecast.

They fit series one at a time, so they are for comparison and for small panels; the packages are imported where used.
"""

import logging
import warnings
from typing import Any, ClassVar, Self

import numpy as np

from bursar.kernel.errors import Invalid, Unavailable
from bursar.kernel.series import Floats, calendar
from bursar.ml.forecast.contract import Forecaster
from bursar.ml.forecast.history import History, fill_gaps

POINTS_LEAST = 3
"""Values a series needs; with fewer its mean is the forecast."""


class Prophet(Forecaster):
    """Prophet with its default seasons, and the house's holidays and events as regressors."""

    name: ClassVar[str] = "prophet"

    def fit(self, history: History) -> Self:
        """Keep the history; Prophet fits and forecasts in one go.

        Raises:
            Unavailable: The package is not installed.
        """
        try:
            import prophet
        except ImportError as error:
            raise Unavailable("Prophet (install bursar[prophet])") from error
        self.package_ = prophet
        self.history_ = history
        return self

    def predict(self, horizon: int) -> Floats:
        """Fit and forecast every series in turn."""
        import pandas as pd

        logging.getLogger("cmdstanpy").setLevel(logging.ERROR)
        history, width = self.history_, len(self.history_.times)
        times = calendar(history.times[0], history.grain, width + horizon).astype("datetime64[ns]")
        known = np.zeros((width + horizon, history.known.shape[1]))
        kept = min(len(known), len(history.known))
        known[:kept] = history.known[:kept]
        names = [f"known{at}" for at in range(known.shape[1])]
        frame = pd.DataFrame(known, columns=names).assign(ds=times)
        out = np.empty((len(history.values), horizon))
        for row, values in enumerate(history.values):
            live = ~np.isnan(values)
            if live.sum() < POINTS_LEAST:
                out[row] = values[live].mean() if live.any() else np.nan
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = self.package_.Prophet(uncertainty_samples=0)
                for at, name in enumerate(names):
                    if known[:width, at][live].any():
                        model.add_regressor(name)
                model.fit(frame[:width].assign(y=values)[live])
                out[row] = model.predict(frame[width:])["yhat"].to_numpy()
        return out


class StatsForecast(Forecaster):
    """Any model class of ``statsforecast.models`` that takes ``season_length``.

    Args:
        model: Its name, such as ``AutoARIMA``.
    """

    name: ClassVar[str] = "statsforecast"

    def __init__(self, model: str = "AutoARIMA") -> None:
        self.model = model

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
        if not hasattr(models, self.model):
            raise Invalid(f"statsforecast has no model {self.model}")
        self.maker_: Any = getattr(models, self.model)
        self.values_ = fill_gaps(history.values, history.season)
        self.season_ = history.season
        return self

    def predict(self, horizon: int) -> Floats:
        """Fit and forecast every series in turn; one that cannot be fitted repeats its mean."""
        out = np.empty((len(self.values_), horizon))
        for row, values in enumerate(self.values_):
            live = values[~np.isnan(values)]
            if len(live) < POINTS_LEAST or np.ptp(live) == 0:
                out[row] = live.mean() if len(live) else np.nan
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                season = self.season_ if len(live) >= 2 * self.season_ else 1
                out[row] = self.maker_(season_length=season).forecast(y=live, h=horizon)["mean"]
        return out
