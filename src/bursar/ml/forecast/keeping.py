"""What is kept of a forecast so that it can be served later: weights, interval widths, and what was learned, as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bursar.kernel.errors import Invalid
from bursar.kernel.series import Floats, Ints, Panel
from bursar.ml.calendar import Calendar
from bursar.ml.conformal import LEVELS
from bursar.ml.forecast.contract import Forecaster
from bursar.ml.forecast.history import SEASONS, fill_gaps, seasonal_scale
from bursar.ml.forecast.lineup import EXTRAS, default_lineup
from bursar.ml.forecast.panel import ForecastResult, cold_weights, history_of
from bursar.ml.forecast.serving import Serving
from bursar.ml.registry import Arrays, array_text, pack_arrays, text_array, unpack_arrays

YOUNG_WIDTH = 1.5
"""Intervals of a series that was not there at the training are this many times those usual in the panel."""

_ENDS = ("mean", "lower80", "upper80", "lower95", "upper95")
_FIGURES = (*_ENDS, "weights", "error", "baseline_error", "beats_baseline", "cold", "tried")
_INSTANTS = ("last", "tried_after")
_SEPARATOR = "\0"


@dataclass(frozen=True, slots=True)
class Kept:
    """A forecast and what its models learned across series; that is all a later night needs.

    Attributes:
        result: As it was forecast.
        learned: By model name, of models that learn across series.
    """

    result: ForecastResult
    learned: dict[str, Arrays]

    @classmethod
    def of(cls, result: ForecastResult, models: Sequence[Forecaster]) -> "Kept":
        """Keep a forecast with the fitted models behind it."""
        found = {model.name: model.learned() for model in models}
        return cls(result, {name: arrays for name, arrays in found.items() if arrays})

    def pack(self) -> bytes:
        """Write it as arrays of numbers; nothing in them is code."""
        one = self.result
        arrays: Arrays = {name: getattr(one, name) for name in _FIGURES}
        arrays |= {name: getattr(one, name).astype("datetime64[h]").astype(np.int64)[None] for name in _INSTANTS}
        arrays["times"] = one.times.astype(np.int64)
        arrays |= {"origins": np.array(one.origins, dtype=np.int64)}
        arrays |= {"coverage": np.array([one.coverage.get(level, np.nan) for level in LEVELS])}
        for name, texts in (
            ("keys", one.keys),
            ("models", one.models),
            ("baseline", (one.baseline,)),
            ("told", one.told),
        ):
            arrays[name] = text_array(_SEPARATOR.join(texts))
        for model, learned in self.learned.items():
            arrays |= {f"{model}.{name}": array for name, array in learned.items()}
        return pack_arrays(arrays)

    @classmethod
    def unpack(cls, content: bytes) -> "Kept":
        """Read what :meth:`pack` wrote.

        Raises:
            Invalid: It is something else.
        """
        arrays = unpack_arrays(content)
        try:
            texts = {name: tuple(array_text(arrays[name]).split(_SEPARATOR)) for name in ("keys", "models", "baseline")}
            known = zip(LEVELS, arrays["coverage"].tolist(), strict=True)
            result = ForecastResult(
                **{name: arrays[name] for name in _FIGURES},
                last=arrays["last"].astype("datetime64[h]")[0],
                tried_after=arrays["tried_after"].astype("datetime64[h]")[0],
                keys=texts["keys"],
                models=texts["models"],
                baseline=texts["baseline"][0],
                times=arrays["times"].astype("datetime64[h]"),
                origins=tuple(arrays["origins"].tolist()),
                coverage={level: share for level, share in known if not np.isnan(share)},
                told=tuple(one for one in array_text(arrays["told"]).split(_SEPARATOR) if one)
                if "told" in arrays
                else (),
            )
        except (KeyError, ValueError, IndexError) as error:
            raise Invalid(f"this is no kept forecast: {error}") from error
        if len(result.mean) != len(result.keys) or result.weights.shape != (len(result.keys), len(result.models)):
            raise Invalid("the arrays of a kept forecast do not belong together")
        learned: dict[str, Arrays] = {}
        for name, array in arrays.items():
            model, dot, part = name.partition(".")
            if dot:
                learned.setdefault(model, {})[part] = array
        return cls(result, learned)

    def serve(self, panel: Panel, calendar: Calendar, seed: int) -> ForecastResult:
        """Forecast from the end of ``panel`` without training.

        Args:
            panel: Series of the same grain and currency, longer than at the training. One that was not there then is
                served by what serves every young series; its interval is that of the panel, :data:`YOUNG_WIDTH` times.
            calendar: With the country and the event names of the training.
            seed: Of the training.

        Raises:
            Invalid: A model of the record is not known to this version of the program.
        """
        horizon = len(self.result.times)
        extras = [name for name in self.result.models if name in EXTRAS]
        lineup = {model.name: model for model in default_lineup(len(panel), horizon, seed, extras)}
        if set(self.result.models) - set(lineup):
            unknown = ", ".join(sorted(set(self.result.models) - set(lineup)))
            raise Invalid(f"this version knows no model {unknown}", "Train anew: `bursar forecast --all`.")
        models = [lineup[name] for name in self.result.models]
        for model in models:
            model.install(self.learned.get(model.name, {}))
        history = history_of(panel, horizon, calendar)
        season = SEASONS[panel.grain][0]
        scale = seasonal_scale(fill_gaps(history.values, season), season)
        result = self._for(panel, scale)
        serving = Serving.of(panel, range(len(panel)), result, models, calendar)
        return serving.forecast(history)

    def _for(self, panel: Panel, scale: Floats) -> ForecastResult:
        """Return the kept forecast with the rows of ``panel``; rows for new series are made from the others."""
        place = {key: row for row, key in enumerate(self.result.keys)}
        at = np.array([place.get(key, -1) for key in panel.keys], dtype=np.int64)
        new = at < 0
        figures = {name: getattr(self.result, name)[np.maximum(at, 0)] for name in _FIGURES}
        if new.any():
            figures |= self._young(figures, at, scale)
        return replace(self.result, keys=panel.keys, **figures)

    def _young(self, figures: dict[str, Floats], at: Ints, scale: Floats) -> dict[str, Floats]:
        new, old = at < 0, at >= 0
        out = {name: values.copy() for name, values in figures.items()}
        out["mean"][new] = 0.0
        for name in _ENDS[1:]:
            apart = (figures[name] - figures["mean"])[old] / scale[old, None]
            usual = np.median(apart, axis=0) if old.any() else np.zeros(len(self.result.times))
            out[name][new] = YOUNG_WIDTH * usual * scale[new, None]
        out["weights"][new] = cold_weights(self.result.models)
        out["error"][new] = out["baseline_error"][new] = out["tried"][new] = np.nan
        out["beats_baseline"][new], out["cold"][new] = False, True
        return out


def joined(results: Sequence[ForecastResult], keys: Sequence[str]) -> ForecastResult:
    """Return the forecasts of several parts of a panel as one, in the order of ``keys``.

    Args:
        results: Of the parts, over the same periods; each key once. What a part tried at an earlier origin than the
            others is left out.
        keys: Shape (n,).

    Raises:
        Invalid: A key has no forecast, or the parts forecast different periods.
    """
    first = results[0]
    if any((one.times != first.times).any() or one.baseline != first.baseline for one in results):
        raise Invalid("the parts of a panel were forecast for different periods")
    place = {key: row for row, key in enumerate(key for one in results for key in one.keys)}
    if set(keys) - set(place):
        raise Invalid(f"series {min(set(keys) - set(place))} was not forecast")
    order = np.array([place[key] for key in keys], dtype=np.int64)
    names = tuple(dict.fromkeys(name for one in results for name in one.models))
    weights = np.zeros((len(place), len(names)))
    row = 0
    for one in results:
        weights[row : row + len(one.keys), [names.index(name) for name in one.models]] = one.weights
        row += len(one.keys)
    figures: dict[str, Any] = {
        name: np.concatenate([getattr(one, name) for one in results])[order] for name in _FIGURES if name != "weights"
    }
    tried_after = max((one.tried_after for one in results if not np.isnat(one.tried_after)), default=first.tried_after)
    lost = np.repeat([one.tried_after != tried_after for one in results], [len(one.keys) for one in results])
    figures["tried"][lost[order]] = np.nan
    return replace(
        first,
        keys=tuple(keys),
        models=names,
        tried_after=tried_after,
        told=tuple(dict.fromkeys(said for one in results for said in one.told)),
        weights=weights[order],
        coverage={level: share for level in LEVELS if (share := _share(results, level)) is not None},
        **figures,
    )


def _share(results: Sequence[ForecastResult], level: float) -> float | None:
    """Return the backtest coverage weighted by the number of series; None where nothing was backtested."""
    known = [(one.coverage[level], len(one.keys)) for one in results if level in one.coverage]
    known = [(share, count) for share, count in known if not np.isnan(share)]
    whole = sum(count for _, count in known)
    return sum(share * count for share, count in known) / whole if whole else None
