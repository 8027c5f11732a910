"""Accuracy and honesty of the default forecast on real daily series, beside run-rate, seasonal naive, Prophet and an LSTM.

Weights and intervals come from windows before the test window only. ``python -m benchmarks.forecast_accuracy``
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the root: this folder holds a module named http

import time
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks._figures import Figure, arguments, figure, finish, table
from benchmarks._planning_data import NN5_HORIZON, NN5_TRAIN, Series, hierarchy, nn5, payments, weekday_filled
from bursar.kernel.period import Grain
from bursar.kernel.series import calendar
from bursar.ml.calendar import Calendar
from bursar.ml.forecast.deep import GlobalLstm
from bursar.ml.forecast.history import seasonal_scale
from bursar.ml.forecast.naive import RunRate, SeasonalNaive
from bursar.ml.forecast.panel import ForecastResult, forecast_panel, history_of

Floats = NDArray[np.float64]
SEED = 0
CHRISTMAS_ORIGIN = 618
"""26 November 1997: its 56 days hold Christmas, and only one earlier Christmas has been seen."""

MASE_TARGET = 0.785
LSTM_TARGET = 0.84
COVERAGE = {0.8: (0.785, 0.815), 0.95: (0.935, 0.965)}
WORST_DECILE = {0.8: 0.75, 0.95: 0.93}
PAYMENT_HORIZON = 28


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


def coverage(case: Case, lower: Floats, upper: Floats) -> tuple[float, float]:
    """Return the share of outcomes inside, over all, and the share that nine series in ten exceed."""
    live = ~np.isnan(case.actual)
    inside = (case.actual >= lower) & (case.actual <= upper) & live
    each = inside.sum(axis=1) / live.sum(axis=1)
    return float(inside.sum() / live.sum()), float(np.quantile(each, 0.1))


def calendar_of(case: Case) -> Calendar:
    """Return the holidays of a case's country."""
    return Calendar(case.series.country, "ENG" if case.series.country == "GB" else "")


def prophet(case: Case) -> Floats | None:
    """Return Prophet's forecasts with the country's holidays, or None where it is not installed."""
    try:
        import logging

        import pandas as pd
        from prophet import Prophet
    except ImportError:
        return None
    logging.getLogger("cmdstanpy").setLevel(logging.ERROR)
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
    rows: list[tuple[object, ...]] = [
        (case.label, name, mase(case, forecast), smape(case, forecast), seconds)
        for name, (forecast, seconds) in answers.items()
    ]
    return rows, ours, {name: mase(case, forecast) for name, (forecast, _) in answers.items()}


def cases(*, quick: bool) -> list[Case]:
    """Return the fixed test windows."""
    cash = nn5(20) if quick else nn5()
    spend, parts = payments(), hierarchy()
    end = spend.amounts.shape[1]
    out = [Case(cash, NN5_TRAIN, NN5_HORIZON, "NN5"), Case(parts, 86, 14, "hierarchy")]
    if not quick:
        out += [
            Case(cash, CHRISTMAS_ORIGIN, NN5_HORIZON, "NN5 Christmas"),
            Case(spend, end - PAYMENT_HORIZON, PAYMENT_HORIZON, "payments, year end"),
            Case(spend, end - 4 * PAYMENT_HORIZON, PAYMENT_HORIZON, "payments, winter"),
            Case(spend, end - 7 * PAYMENT_HORIZON, PAYMENT_HORIZON, "payments, autumn"),
        ]
    return out


def main() -> None:
    """Print the tables and the figures."""
    quick = arguments(__doc__).quick
    rows: list[tuple[object, ...]] = []
    bands: list[tuple[object, ...]] = []
    figures: list[Figure] = []
    headline = None
    for case in cases(quick=quick):
        more, ours, errors = run(case, beside=not quick)
        rows += more
        for level, lower, upper in ((0.8, ours.lower80, ours.upper80), (0.95, ours.lower95, ours.upper95)):
            share, worst = coverage(case, lower, upper)
            bands.append((case.label, f"{level:.0%}", 100 * share, 100 * worst, 100 * ours.coverage.get(level, np.nan)))
            if case.label == "NN5" and not quick:
                low, high = COVERAGE[level]
                name = f"NN5 coverage of the {level:.0%} interval"
                figures.append(Figure(name, round(share, 4), "share", level, low <= share <= high))
                figures.append(
                    figure(
                        f"{name}, worst decile of series", worst, "share", target=WORST_DECILE[level], better="higher"
                    )
                )
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
    table(rows, head=("set", "model", "MASE", "sMAPE", "CPU s"))
    table(bands, head=("set", "interval", "covers %", "worst decile %", "held-out record %"))
    assert headline is not None
    finish(headline, others=figures)


if __name__ == "__main__":
    main()
