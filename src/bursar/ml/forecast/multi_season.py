"""Several seasons at once: taken out one after the other, shortest first, and what is left is smoothed.

Source: after Bandara, Hyndman and Bergmeir (2021), MSTL, with exponentially weighted position means in place of loess.
"""

from typing import ClassVar, Self

import numpy as np

from bursar.kernel.series import Floats
from bursar.ml.forecast.contract import Forecaster
from bursar.ml.forecast.history import SEASONS, History, fill_gaps, first_valid
from bursar.ml.forecast.naive import mean_where
from bursar.ml.forecast.smoothing import States, grid_of, smooth

CYCLES_LEAST = 2
CYCLES = 12
DECAY = 0.85
ROUNDS = 2
"""Times all seasons are estimated, each with the others taken out."""


class MultiSeason(Forecaster):
    """Additive seasons of every length that fits twice, and damped smoothing of the rest."""

    name: ClassVar[str] = "multi_season"

    def fit(self, history: History) -> Self:
        """Estimate the seasons, then smooth."""
        values = fill_gaps(history.values, history.season)
        width = values.shape[1]
        self.seasons_ = tuple(season for season in SEASONS[history.grain] if width >= CYCLES_LEAST * season)
        effects = {season: np.zeros((len(values), season)) for season in self.seasons_}
        at = np.arange(width)
        rest = values
        for _ in range(ROUNDS):
            for season in self.seasons_:
                others = sum(
                    (effects[one][:, at % one] for one in self.seasons_ if one != season), np.zeros_like(values)
                )
                effects[season] = _positions(values - others, season)
            rest = values - sum((effects[one][:, at % one] for one in self.seasons_), np.zeros_like(values))
        self.effects_ = effects
        self.at_ = width
        self.states_: States
        (self.states_,) = smooth(rest, 1, grid_of(1, seasonal=False), (width,))
        return self

    def predict(self, horizon: int) -> Floats:
        """Extrapolate the smoothed rest and repeat every season."""
        out = self.states_.ahead(horizon)
        ahead = self.at_ + np.arange(horizon)
        for season, effect in self.effects_.items():
            out += effect[:, ahead % season]
        return out


def _positions(values: Floats, season: int) -> Floats:
    """Return the effect of every position (n, season): the weighted mean of its deviations from its own cycle's mean."""
    count, width = values.shape
    cycles = min(width // season, CYCLES)
    recent = values[:, width - cycles * season :].reshape(count, cycles, season)
    deviation = recent - mean_where(recent, 2)[:, :, None]
    whole = first_valid(values) <= width - np.arange(cycles, 0, -1)[:, None] * season
    weight = DECAY ** np.arange(cycles - 1, -1, -1.0)[None, :, None] * whole.T[:, :, None] * ~np.isnan(deviation)
    mass = weight.sum(axis=1)
    effect = (np.nan_to_num(deviation) * weight).sum(axis=1) / np.maximum(mass, 1e-300)
    shrunk = effect * (mass > 0) * (1 - 1 / (1 + whole.sum(axis=0)))[:, None]
    aligned = np.empty_like(shrunk)
    aligned[:, (width - season + np.arange(season)) % season] = shrunk
    out: Floats = aligned - aligned.mean(axis=1, keepdims=True)
    return out
