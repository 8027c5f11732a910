"""Accuracy and honesty of the default forecast on real daily series, beside run-rate, seasonal naive, Prophet and an LSTM.

Weights and intervals come from windows before the test window only. ``python -m benchmarks.forecast_accuracy``
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the root: this folder holds a module named http

import time
import warnings
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks._figures import Figure, arguments, figure, finish, table
from benchmarks._planning_data import (
    HIERARCHY_PARENTS,
    NN5_HORIZON,
    NN5_SERIES,
    NN5_TRAIN,
    Series,
    hierarchy,
    nn5,
    payments,
    weekday_filled,
)
from bursar.core.planning.forecasts.rules.stored import PLACES, stored_units
from bursar.kernel.period import Grain
from bursar.kernel.series import calendar
from bursar.ml.calendar import Calendar
from bursar.ml.forecast.deep import GlobalLstm
from bursar.ml.forecast.extras import hush
from bursar.ml.forecast.history import seasonal_scale
from bursar.ml.forecast.naive import RunRate, SeasonalNaive
from bursar.ml.forecast.panel import ForecastResult, forecast_panel, history_of
from bursar.ml.reconcile import Tree, bottom_up

Floats = NDArray[np.float64]
SEED = 0
CHRISTMAS_ORIGIN = 618
"""26 November 1997: its 56 days hold Christmas, and only one earlier Christmas has been seen."""

FURTHER_ORIGINS = (450, 506, 562, 674)
"""Of NN5: with the test window and Christmas six windows, 336 days of each series; 56 days of one series are too few to
tell an honest interval from another, see ``perfect_decile``."""

MASE_TARGET = 0.785
LSTM_TARGET = 0.84
COVERAGE = {0.8: (0.785, 0.815), 0.95: (0.935, 0.965)}
WORST_DECILE = {0.8: 0.75, 0.95: 0.93}
PAYMENT_HORIZON = 28
YOUNG_DAYS, YOUNG_HORIZON = (14, 27), 28


@dataclass(frozen=True, slots=True)
class Case:
    """One test window of one set."""

    series: Series
    origin: int
    horizon: int
    label: str

    @property
    def actual(self) -> Floats:
        """What happened, shape (n, horizon)."""
        return self.series.amounts[:, self.origin : self.origin + self.horizon]

    @property
    def scale(self) -> Floats:
        """The seasonal-naive step before the origin, shape (n,)."""
        return seasonal_scale(weekday_filled(self.series.amounts[:, : self.origin]), 7)


def mase(case: Case, forecast: Floats) -> float:
    """Return the mean over series of the mean absolute scaled error."""
    return float(np.nanmean(np.nanmean(np.abs(forecast - case.actual), axis=1) / case.scale))


def smape(case: Case, forecast: Floats) -> float:
    """Return the symmetric percentage error, 0 to 200; days with 0 forecast as 0 count as 0."""
    size = np.abs(forecast) + np.abs(case.actual)
    gaps = np.where(size > 0, 200 * np.abs(forecast - case.actual) / np.where(size > 0, size, 1.0), 0.0)
    return float(np.nanmean(gaps))


def inside(case: Case, lower: Floats, upper: Floats) -> Floats:
    """Return 1 where an outcome lies inside, 0 where not, NaN where nothing was observed, shape (n, horizon)."""
    return np.where(np.isnan(case.actual), np.nan, (case.actual >= lower) & (case.actual <= upper))


def worst_decile(held: Floats) -> float:
    """Return the share inside that nine series in ten exceed, of :func:`inside`."""
    return float(np.quantile(np.nanmean(held, axis=1), 0.1))


def perfect_decile(level: float, series: int, days: int) -> float:
    """Return the mean worst decile of intervals that hold each outcome with probability ``level``, independently."""
    draws = np.random.default_rng(SEED).binomial(days, level, (2_000, series)) / days
    return float(np.quantile(draws, 0.1, axis=1).mean())


def calendar_of(case: Case) -> Calendar:
    """Return the holidays of a case's country."""
    return Calendar(case.series.country, "ENG" if case.series.country == "GB" else "")


def prophet(case: Case) -> Floats | None:
    """Return Prophet's forecasts with the country's holidays, or None where it is not installed."""
    try:
        import pandas as pd
        from prophet import Prophet
    except ImportError:
        return None
    hush()
    days = calendar(case.series.start, Grain.DAY, case.origin + case.horizon).astype("datetime64[ns]")
    out = []
    for row in case.series.amounts[:, : case.origin]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = Prophet(uncertainty_samples=0)
            model.add_country_holidays(case.series.country)
            model.fit(pd.DataFrame({"ds": days[: case.origin], "y": row}))
            out.append(model.predict(pd.DataFrame({"ds": days[case.origin :]}))["yhat"].to_numpy())
    return np.stack(out)


def lstm(case: Case) -> Floats | None:
    """Return the forecasts of the global LSTM trained on the processor, or None where PyTorch is not installed."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    history = history_of(case.series.panel(case.origin), case.horizon, calendar_of(case))
    return GlobalLstm(horizon=case.horizon, seed=SEED, device="cpu").fit(history).predict(case.horizon)


def run(case: Case, *, beside: bool) -> tuple[list[tuple[object, ...]], ForecastResult, dict[str, float]]:
    """Return the table rows of a case, our forecast and the MASE by model."""
    panel = case.series.panel(case.origin)
    where = calendar_of(case)
    begun = time.process_time()
    ours = forecast_panel(panel, case.horizon, calendar=where, seed=SEED)
    spent = time.process_time() - begun
    history = history_of(panel, case.horizon, where)
    answers: dict[str, tuple[Floats, float]] = {"Bursar default": (ours.mean, spent)}
    for model in (SeasonalNaive(), RunRate()):
        answers[model.name] = (model.fit(history).predict(case.horizon), 0.0)
    extras = {"prophet": prophet} | ({"lstm": lstm} if case.label == "NN5" else {})
    for name, extra in extras.items() if beside else ():
        begun = time.process_time()
        theirs = extra(case)
        if theirs is None:
            print(f"{case.label}, {name}: not measured here (not installed)\n")
        else:
            answers[name] = (theirs, time.process_time() - begun)
    if case.label == "hierarchy":
        answers["Bursar, adding up as served"] = (reconciled(case, ours), spent)
        if "prophet" in answers:
            parts, seconds = answers["prophet"]
            answers["prophet, bottom up"] = (bottom_up(Tree.of(np.array(HIERARCHY_PARENTS)), parts), seconds)
    rows: list[tuple[object, ...]] = [
        (case.label, name, mase(case, forecast), smape(case, forecast), seconds)
        for name, (forecast, seconds) in answers.items()
    ]
    return rows, ours, {name: mase(case, forecast) for name, (forecast, _) in answers.items()}


def young(days: int) -> tuple[list[tuple[object, ...]], Figure]:
    """Return the table rows and the figure of every fifth NN5 series, known for its last ``days`` days alone."""
    series, new = nn5(), np.arange(0, NN5_SERIES, 5)
    known = series.amounts.copy()
    known[new, : NN5_TRAIN - days] = np.nan
    whole = Case(series, NN5_TRAIN, YOUNG_HORIZON, f"NN5, {days} days old")
    panel = replace(series, amounts=known).panel(NN5_TRAIN)
    begun = time.process_time()
    ours = forecast_panel(panel, YOUNG_HORIZON, calendar=calendar_of(whole), seed=SEED)
    spent = time.process_time() - begun
    naive = SeasonalNaive().fit(history_of(panel, YOUNG_HORIZON, calendar_of(whole))).predict(YOUNG_HORIZON)
    part = Case(replace(series, amounts=series.amounts[new]), NN5_TRAIN, YOUNG_HORIZON, whole.label)
    held = np.nanmean(inside(part, ours.lower80[new], ours.upper80[new]))
    answers = {"Bursar default": (ours.mean[new], spent), "seasonal_naive": (naive[new], 0.0)}
    rows: list[tuple[object, ...]] = [
        (part.label, name, mase(part, mean), smape(part, mean), cpu) for name, (mean, cpu) in answers.items()
    ]
    print(f"{part.label}: the 80 % interval holds {100 * held:.1f} %\n")
    ratio = mase(part, ours.mean[new]) / mase(part, naive[new])
    name = f"{part.label}: error over seasonal naive"
    return rows, figure(name, ratio, "ratio", target=1.0, better="lower")


def cases(*, quick: bool) -> list[Case]:
    """Return the fixed test windows."""
    cash = nn5(20) if quick else nn5()
    spend, parts = payments(), hierarchy()
    end = spend.amounts.shape[1]
    out = [Case(cash, NN5_TRAIN, NN5_HORIZON, "NN5"), Case(parts, 86, 14, "hierarchy")]
    if not quick:
        out += [
            *(Case(cash, origin, NN5_HORIZON, f"NN5 day {origin}") for origin in FURTHER_ORIGINS),
            Case(cash, CHRISTMAS_ORIGIN, NN5_HORIZON, "NN5 Christmas"),
            Case(spend, end - PAYMENT_HORIZON, PAYMENT_HORIZON, "payments, year end"),
            Case(spend, end - 4 * PAYMENT_HORIZON, PAYMENT_HORIZON, "payments, winter"),
            Case(spend, end - 7 * PAYMENT_HORIZON, PAYMENT_HORIZON, "payments, autumn"),
        ]
    return out


def reconciled(case: Case, ours: ForecastResult) -> Floats:
    """Return our forecasts made to add up, as they are stored and served."""
    ends = {name: getattr(ours, name) for name in ("mean", "lower80", "upper80", "lower95", "upper95")}
    floor = np.nanmin(case.series.amounts[:, : case.origin], axis=1) >= 0
    units: Floats = stored_units(Tree.of(np.array(HIERARCHY_PARENTS)), ends, floor)["mean"] / 10**PLACES
    return units


def _band(label: str, level: float, held: Floats, record: float) -> tuple[object, ...]:
    """Return a table row of what intervals held, beside what perfect ones would show and what the record promised."""
    shares = (float(np.nanmean(held)), worst_decile(held), perfect_decile(level, *held.shape), record)
    return (label, f"{level:.0%}", *(100 * share for share in shares))


def band_rows(case: Case, ours: ForecastResult) -> tuple[list[tuple[object, ...]], dict[float, Floats]]:
    """Return the table rows of the intervals of a case, and what they held by level."""
    rows: list[tuple[object, ...]] = []
    held = {0.8: inside(case, ours.lower80, ours.upper80), 0.95: inside(case, ours.lower95, ours.upper95)}
    for level, each in held.items():
        rows.append(_band(case.label, level, each, ours.coverage.get(level, np.nan)))
    return rows, held


def coverage_figures(windows: dict[int, dict[float, Floats]]) -> tuple[list[tuple[object, ...]], list[Figure]]:
    """Return the table rows and the figures of the NN5 intervals, from what they held by origin."""
    rows: list[tuple[object, ...]] = []
    figures = []
    for level, (low, high) in COVERAGE.items():
        share = float(np.nanmean(windows[NN5_TRAIN][level]))
        name = f"NN5 coverage of the {level:.0%} interval"
        figures.append(Figure(name, round(share, 4), "share", level, low <= share <= high))
        whole = np.concatenate([held[level] for held in windows.values()], axis=1)
        rows.append(_band("NN5, all windows", level, whole, np.nan))
        name = f"{name}, worst decile of series over {len(windows)} windows"
        figures.append(figure(name, worst_decile(whole), "share", target=WORST_DECILE[level], better="higher"))
    return rows, figures


def main() -> None:
    """Print the tables and the figures."""
    quick = arguments(__doc__).quick
    rows: list[tuple[object, ...]] = []
    bands: list[tuple[object, ...]] = []
    figures: list[Figure] = []
    windows: dict[int, dict[float, Floats]] = {}
    headline = None
    for case in cases(quick=quick):
        more, ours, errors = run(case, beside=not quick and case.origin not in FURTHER_ORIGINS)
        rows += more
        band, held = band_rows(case, ours)
        bands += band
        if case.horizon == NN5_HORIZON:
            windows[case.origin] = held
        if case.label == "NN5":
            weights = ", ".join(
                f"{name} {share:.2f}"
                for name, share in zip(ours.models, ours.weights.mean(axis=0), strict=True)
                if share > 0.005
            )
            print(f"NN5 weights, mean over series: {weights}\n")
            if "lstm" in errors:
                figures.append(figure("NN5 MASE, LSTM", errors["lstm"], "MASE", target=LSTM_TARGET, better="lower"))
            headline = figure(
                "NN5 MASE", errors["Bursar default"], "MASE", target=MASE_TARGET if not quick else 1.0, better="lower"
            )
        ratio = errors["Bursar default"] / errors["seasonal_naive"]
        figures.append(figure(f"{case.label}: error over seasonal naive", ratio, "ratio", target=1.0, better="lower"))
    if not quick:
        for days in YOUNG_DAYS:
            more, judged = young(days)
            rows += more
            figures.append(judged)
        over_all, judged_over_all = coverage_figures(windows)
        bands += over_all
        figures += judged_over_all
    table(rows, head=("set", "model", "MASE", "sMAPE", "CPU s"))
    table(bands, head=("set", "interval", "covers %", "worst decile %", "of perfect ones %", "held-out record %"))
    assert headline is not None
    finish(headline, others=figures)


if __name__ == "__main__":
    main()
