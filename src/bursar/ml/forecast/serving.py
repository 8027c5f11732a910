"""Serving between trainings: new periods are taken in with what was learned, within milliseconds."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bursar.kernel.errors import Invalid
from bursar.kernel.series import Floats, Ints, Panel
from bursar.kernel.series import calendar as period_starts
from bursar.ml.calendar import Bools, Calendar, near_effects, turn_of_year
from bursar.ml.forecast.contract import Forecaster
from bursar.ml.forecast.history import History, padded
from bursar.ml.forecast.naive import SeasonalNaive, mean_where
from bursar.ml.forecast.panel import ForecastResult, history_of, told_by
from bursar.ml.forecast.select import mix

WEIGHT_LEAST = 0.02
"""Models with less weight than this on every series served are left out, and the others scaled up."""


@dataclass(slots=True)
class Serving:
    """Fitted models with their weights and interval widths, for the series of one panel.

    Attributes:
        models: Fitted, in the order of the weights.
        weights: Shape (n, m).
        unit: Shape (n,): what the values were divided by before fitting.
        result: The forecast made at the fit; its interval widths are kept.
        calendar: Country and events.
        unusual: Shape (h,): which periods of ``result`` lie around the turn of the year.
    """

    models: tuple[Forecaster, ...]
    weights: Floats
    unit: Floats
    result: ForecastResult
    calendar: Calendar
    unusual: Bools

    @classmethod
    def of(
        cls,
        panel: Panel,
        rows: Sequence[int],
        result: ForecastResult,
        trained: Sequence[Forecaster],
        calendar: Calendar | None = None,
    ) -> "Serving":
        """Prepare to serve some series of a forecast.

        Args:
            panel: Those series alone, as they were when the forecast was made.
            rows: Their rows in ``result``.
            result: Of :func:`~bursar.ml.forecast.panel.fit_panel`.
            trained: Its models; the global ones are shared, the others are fitted to ``panel``.
            calendar: As given there.
        """
        at = list(rows)
        if [result.keys[row] for row in at] != list(panel.keys):
            raise Invalid("the rows of the forecast and the series of the panel are not the same")
        kept = np.flatnonzero((result.weights[at] >= WEIGHT_LEAST).any(axis=0))
        weights = result.weights[at][:, kept]
        history = history_of(panel, len(result.times), calendar or Calendar())
        unit = mean_where(np.abs(history.values), 1)
        unit = np.where(unit > 0, unit, 1.0)
        scaled = replace(history, values=history.values / unit[:, None])
        models = []
        for number in kept:
            model = copy.copy(trained[int(number)])
            models.append(model.read(scaled))
        return cls(
            tuple(models),
            weights / weights.sum(axis=1, keepdims=True),
            unit,
            rows_of(result, at),
            calendar or Calendar(),
            turn_of_year(*near_effects(result.times, panel.grain, calendar or Calendar())),
        )

    def refresh(self, panel: Panel) -> ForecastResult:
        """Return the forecast after new periods arrived.

        Args:
            panel: The same series in the same order, longer.

        Returns:
            As at the fit, from the new origin; weights and record are those of the fit, interval widths those of the nearest
            step of the same kind.
        """
        history = history_of(panel, len(self.result.times), self.calendar)
        scaled = replace(history, values=history.values / self.unit[:, None])
        for model in self.models:
            model.advance(scaled)
        return self.forecast(history)

    def forecast(self, history: History) -> ForecastResult:
        """Return the forecast of the models as they stand, from the end of ``history``, which they have read."""
        horizon = len(self.result.times)
        ahead = np.stack([model.predict(horizon) for model in self.models])
        mean = mix(ahead, self.weights) * self.unit[:, None]
        lost = np.isnan(mean)
        if lost.any():  # nothing that carries weight has a forecast: the baseline does
            mean = np.where(lost, SeasonalNaive().fit(history).predict(horizon), mean)
        floor = np.where(np.nanmin(history.values, axis=1) >= 0, 0.0, -np.inf)[:, None]
        now = turn_of_year(padded(history.near[len(history.times) :], horizon), history.near_names)
        old, like = self.result, nearest_alike(self.unusual, now)

        def band(end: Floats) -> Floats:
            out: Floats = np.maximum(mean + (end - old.mean)[:, like], floor)
            return out

        return replace(
            old,
            times=period_starts(history.times[-1], history.grain, horizon + 1)[1:],
            mean=np.maximum(mean, floor),
            lower80=band(old.lower80),
            upper80=band(old.upper80),
            lower95=band(old.lower95),
            upper95=band(old.upper95),
            last=history.times[-1],
            told=tuple(dict.fromkeys((*old.told, *told_by(self.models)))),
        )


def nearest_alike(then: Bools, now: Bools) -> Ints:
    """Return for each step now the nearest step of then that is of the same kind, shape (h,); itself where none is.

    Args:
        then: Shape (h,): the kind of each step when the widths were made.
        now: Shape (h,): the kind of each step that is forecast.
    """
    steps = np.arange(len(then))
    apart = np.abs(steps[:, None] - steps[None, :]) + len(then) * (now[:, None] != then[None, :])
    out: Ints = apart.argmin(axis=1)
    return out


def rows_of(result: ForecastResult, rows: Sequence[int]) -> ForecastResult:
    """Return the forecast of some series alone."""
    at = list(rows)
    return replace(
        result,
        keys=tuple(result.keys[row] for row in at),
        **{
            name: getattr(result, name)[at]
            for name in (
                "mean",
                "lower80",
                "upper80",
                "lower95",
                "upper95",
                "weights",
                "error",
                "baseline_error",
                "beats_baseline",
                "cold",
                "tried",
            )
        },
    )
