"""Shapes of daily usage: weekday rhythm, growth, noise, and the deformations that make an anomaly."""

from datetime import date

import numpy as np

from bursar.reports.sample.model import DAYS_A_YEAR, Floats, Span, rng


def steady(span: Span, per_day: float) -> Floats:
    """Return the same quantity every day; shape (days,)."""
    return np.full(span.days, per_day, dtype=np.float64)


def metered(
    span: Span,
    seed: int,
    name: str,
    per_day: float,
    *,
    weekend: float = 0.7,
    growth: float = 0.1,
    noise: float = 0.02,
) -> Floats:
    """Return metered usage: grows by ``growth`` a year, falls to ``weekend`` of a weekday, with relative noise.

    Args:
        span: Days covered.
        seed: Seed of the whole sample.
        name: Name of the stream; its noise depends on it.
        per_day: Mean quantity of a weekday at the start.
        weekend: Factor on Saturdays and Sundays.
        growth: Relative growth a year (compounded daily).
        noise: Standard deviation of the log of the daily factor.
    """
    days = np.arange(span.days)
    factor = np.where(span.weekend(), weekend, 1.0) * (1 + growth) ** (days / DAYS_A_YEAR)
    draw: Floats = rng(seed, name).normal(0.0, noise, span.days)
    return np.asarray(per_day * factor * np.exp(draw), dtype=np.float64)


def office_hours(span: Span, hours: float = 11.0) -> Floats:
    """Return machine hours a day of something that is switched off at night and at weekends (NaN: no row)."""
    return np.where(span.weekend(), np.nan, hours)


def between(span: Span, start: date, end: date) -> slice:
    """Return the slice of the days from ``start`` to ``end``, both included, cut to the span."""
    return slice(max(0, span.index(start)), max(0, span.index(end) + 1))


def times(usage: Floats, span: Span, start: date, end: date, factor: float) -> Floats:
    """Return a copy with the days from ``start`` to ``end`` multiplied by ``factor``."""
    changed = usage.copy()
    changed[between(span, start, end)] *= factor
    return changed


def only(usage: Floats, span: Span, start: date, end: date) -> Floats:
    """Return a copy that has rows from ``start`` to ``end`` only."""
    changed = np.full_like(usage, np.nan)
    part = between(span, start, end)
    changed[part] = usage[part]
    return changed


def drifting(usage: Floats, span: Span, start: date, monthly: float) -> Floats:
    """Return a copy that grows by ``monthly`` (relative, compounded) a month from ``start`` on."""
    since = np.clip(np.arange(span.days) - span.index(start), 0, None)
    return np.asarray(usage * (1 + monthly) ** (since / 30.4), dtype=np.float64)


def yearly_sum(usage: Floats, last_days: int = 30) -> float:
    """Return the quantity of a year at the pace of the last days."""
    return float(np.nansum(usage[-last_days:]) / last_days * DAYS_A_YEAR)
