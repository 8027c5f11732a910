"""A young series borrows the season of its siblings and keeps its own level."""

from typing import ClassVar, Self

import numpy as np

from bursar.kernel.series import Floats
from bursar.ml.forecast.contract import Forecaster
from bursar.ml.forecast.history import History, fill_gaps
from bursar.ml.forecast.naive import mean_where, repeat_season, seasonal_positions

CYCLES = 8


class Siblings(Forecaster):
    """The median season of the panel, relative to each series' mean, at each series' own recent level."""

    name: ClassVar[str] = "siblings"

    def fit(self, history: History) -> Self:
        """Take every series' profile relative to its level, then the median over series that have a whole season."""
        recent = seasonal_positions(fill_gaps(history.values, history.season), history.season, CYCLES)
        profile = mean_where(recent, 1)
        level = mean_where(profile, 1)
        whole = ~np.isnan(profile).any(axis=1) & (level != 0)
        shape = np.ones(history.season)
        if whole.any():
            shape = np.median(profile[whole] / level[whole, None], axis=0)
            middle = shape.mean()
            shape = shape / middle if middle > 0 else np.ones(history.season)
        flat = recent.reshape(len(recent), -1)
        live = ~np.isnan(flat)
        expected = np.tile(shape, CYCLES)
        mass = (live * expected**2).sum(axis=1)
        fitted = (np.where(live, flat, 0.0) * expected).sum(axis=1) / np.where(mass > 0, mass, 1.0)
        self.level_ = np.where(mass > 0, fitted, mean_where(history.values, 1))
        self.profile_ = self.level_[:, None] * shape
        return self

    def predict(self, horizon: int) -> Floats:
        """Repeat the profile."""
        return repeat_season(self.profile_, horizon)
