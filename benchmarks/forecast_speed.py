"""A fleet of daily series: choose by three windows, forecast with intervals; the time of one refresh; Prophet beside it.

On a CUDA device the LSTM: windows trained a second, and the fleet trained and forecast; not measured where there is none.
The series are drawn with a fixed seed: weekly and yearly seasons, drift, level shifts, spikes and gaps.
``python -m benchmarks.forecast_speed``
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the root: this folder holds a module named http

import resource
import time
import warnings

import numpy as np
from numpy.typing import NDArray

from benchmarks._figures import Figure, arguments, figure, finish, table
from bursar.kernel.period import Grain
from bursar.kernel.series import Panel
from bursar.ml.calendar import Calendar
from bursar.ml.forecast.deep import GlobalLstm
from bursar.ml.forecast.deep_training import BATCH, BATCH_CUDA
from bursar.ml.forecast.extras import hush
from bursar.ml.forecast.panel import fit_panel, history_of
from bursar.ml.forecast.serving import Serving

Floats = NDArray[np.float64]
START = np.datetime64("2023-01-01T00", "h")
SERIES, LENGTH, HORIZON = 10_000, 730, 90
QUICK_SERIES = 1_000
CORES = 2
SECONDS_MAX = 60.0
QUICK_SECONDS_MAX = 15.0
"""For a tenth of the series: training takes about as long on few."""

REFRESH_MS_MAX = 5.0
PROPHET_SERIES = 5
PROPHET_RATIO = 20.0
LSTM_CONTEXT, LSTM_HORIZON, LSTM_HIDDEN = 112, 56, 64
LSTM_STEPS = {"cuda": (100, 1_100), "cpu": (10, 40)}
WINDOWS_PER_S = 800_000.0
LSTM_SECONDS_MAX = 40.0
UNKNOWN = "not measured here"

Rows = list[tuple[object, ...]]


def fleet(series: int, length: int, seed: int = 0) -> Floats:
    """Return costs of ``series`` services over ``length`` days."""
    rng = np.random.default_rng(seed)
    day = np.arange(length)
    level = rng.lognormal(4, 1.5, (series, 1))
    week = rng.normal(0, 0.15, (series, 7))[:, day % 7]
    year = rng.normal(0, 0.1, (series, 1)) * np.sin(2 * np.pi * day / 365.25 + rng.uniform(0, 6, (series, 1)))
    drift = rng.normal(0, 0.3, (series, 1)) * day / length
    shift = (
        rng.normal(0, 0.4, (series, 1))
        * (day > rng.integers(min(60, length // 2), length, (series, 1)))
        * (rng.random((series, 1)) < 0.3)
    )
    noise = rng.normal(0, 0.08, (series, length))
    spike = (rng.random((series, length)) < 0.002) * rng.uniform(1, 4, (series, length))
    out: Floats = level * np.maximum(1 + week + year + drift + shift + noise + spike, 0)
    out[rng.random((series, length)) < 0.001] = np.nan
    return out


def cpu_s() -> float:
    """Return the processor seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def panel_of(values: Floats) -> Panel:
    """Return the fleet as a panel."""
    keys = [f"service-{row}" for row in range(len(values))]
    return Panel.of(keys, [START] * len(values), list(values), grain=Grain.DAY, currency="EUR")


def prophet_seconds(values: Floats) -> float | None:
    """Return Prophet's processor seconds per series: one fit and forecast with intervals per window, three and the final."""
    try:
        import pandas as pd
        from prophet import Prophet
    except ImportError:
        return None
    hush()
    days = (START + np.arange(LENGTH + HORIZON) * np.timedelta64(24, "h")).astype("datetime64[ns]")
    begun = time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    for row in values[:PROPHET_SERIES]:
        for origin in (LENGTH - 3 * HORIZON, LENGTH - 2 * HORIZON, LENGTH - HORIZON, LENGTH):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = Prophet()
                model.fit(pd.DataFrame({"ds": days[:origin], "y": row[:origin]}))
                model.predict(pd.DataFrame({"ds": days[origin : origin + HORIZON]}))
    spent = time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - begun
    return spent / PROPHET_SERIES


def lstm_windows_per_s(panel: Panel, device: str, batch: int) -> tuple[float, str]:
    """Return windows trained a second, and how: from two trainings, so that neither set-up nor capture counts."""
    history = history_of(panel, LSTM_HORIZON, Calendar("DE"))
    seconds = []
    for steps in (LSTM_STEPS[device][0], *LSTM_STEPS[device]):  # the first warms up
        model = GlobalLstm(
            horizon=LSTM_HORIZON,
            context=LSTM_CONTEXT,
            hidden=LSTM_HIDDEN,
            members=1,
            steps=steps,
            batch=batch,
            device=device,
        )
        began = time.perf_counter()
        model.fit(history)
        seconds.append(time.perf_counter() - began)
    few, many = LSTM_STEPS[device]
    return (many - few) * batch / (seconds[2] - seconds[1]), str(model.trained_)


def lstm(panel: Panel) -> tuple[Rows, list[Figure]]:
    """Return what is measured of the LSTM, on a CUDA device where there is one, and on a processor to know."""
    speed, whole = f"LSTM: windows a second, {BATCH_CUDA:,} a step, on CUDA", "LSTM: trained and forecast, on CUDA"
    try:
        import torch
    except ImportError:
        return [(speed, len(panel), UNKNOWN, "1/s"), (whole, len(panel), UNKNOWN, "s")], []
    per_s, how = lstm_windows_per_s(panel, "cpu", BATCH)
    rows: Rows = [(f"LSTM: windows a second, {BATCH} a step, {how}", len(panel), per_s, "1/s")]
    if not torch.cuda.is_available():
        return [*rows, (speed, len(panel), UNKNOWN, "1/s"), (whole, len(panel), UNKNOWN, "s")], []
    per_s, how = lstm_windows_per_s(panel, "cuda", BATCH_CUDA)
    began = time.perf_counter()
    ahead = GlobalLstm(horizon=HORIZON).fit(history_of(panel, HORIZON, Calendar("DE"))).predict(HORIZON)
    seconds = time.perf_counter() - began
    assert np.isfinite(ahead).all()
    rows += [(f"{speed}: {how}", len(panel), per_s, "1/s"), (whole, len(panel), seconds, "s")]
    figures = [figure(speed, per_s, "1/s", target=WINDOWS_PER_S, better="higher")]
    if len(panel) == SERIES:
        figures.append(figure(f"{SERIES:,} series: {whole}", seconds, "s", target=LSTM_SECONDS_MAX, better="lower"))
    return rows, figures


def main() -> None:
    """Print the table and the figures."""
    quick = arguments(__doc__).quick
    values = fleet(QUICK_SERIES if quick else SERIES, LENGTH)
    panel = panel_of(values)
    began, used = time.perf_counter(), cpu_s()
    result, models = fit_panel(panel, HORIZON, calendar=Calendar("DE"))
    wall, cpu = time.perf_counter() - began, cpu_s() - used
    assert np.isfinite(result.mean).all()
    serving = Serving.of(panel_of(values[:1]), [0], result, models, Calendar("DE"))
    later = np.concatenate((values[:1], fleet(1, 30, seed=1)), axis=1)
    times = []
    for day in range(30):
        one = panel_of(later[:, : LENGTH + day + 1])
        began = time.process_time()
        serving.refresh(one)
        times.append(time.process_time() - began)
    refresh_ms = 1000 * float(np.median(times))
    rows: list[tuple[object, ...]] = [
        ("fleet: wall seconds on this machine, as busy as it is", len(panel), wall, "s"),
        ("fleet: processor seconds", len(panel), cpu, "s"),
        (f"fleet: processor seconds over {CORES} cores", len(panel), cpu / CORES, "s"),
        ("refresh of one series, processor time, median of 30", 1, refresh_ms, "ms"),
        (
            "error over the baseline's",
            len(panel),
            float(np.nanmean(result.error) / np.nanmean(result.baseline_error)),
            "ratio",
        ),
    ]
    figures: list[Figure] = [
        figure("refresh of one series, processor time", refresh_ms, "ms", target=REFRESH_MS_MAX, better="lower")
    ]
    theirs = None if quick else prophet_seconds(values)
    if theirs is None:
        print("Prophet: not measured here (not installed, or --quick)\n")
    else:
        ratio = theirs / (cpu / len(panel))
        rows.append(("Prophet, same work per series", PROPHET_SERIES, theirs, "CPU s"))
        figures.append(
            figure(
                "Prophet's processor time over ours, per series", ratio, "ratio", target=PROPHET_RATIO, better="higher"
            )
        )
    more, judged = lstm(panel)
    table([*rows, *more], head=("what", "series", "value", "unit"))
    finish(
        figure(
            f"{len(panel):,} series x {LENGTH} days, horizon {HORIZON}: processor seconds over two cores",
            cpu / CORES,
            "s",
            target=QUICK_SECONDS_MAX if quick else SECONDS_MAX,
            better="lower",
        ),
        others=[*figures, *judged],
    )


if __name__ == "__main__":
    main()
