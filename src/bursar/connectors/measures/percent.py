"""What every utilisation format shares: columns taken by name, values that are percent, rows of no interest left out."""

from collections.abc import Mapping
from dataclasses import replace

import polars as pl

from bursar.connectors.bills.columns import Lines
from bursar.connectors.bills.source import Source
from bursar.kernel.lines import DECIMAL, REFUSED, UTILISATION_LINES, Parsed

CPU, MEMORY = "cpu", "memory"
STATISTICS = ("average", "maximum", "p95", "p99")

PERCENT_MAX = 101
"""Rounding may carry a busy machine a little over 100 %."""

LEFT_OUT = "Other metrics than CPU and memory, and those of other things than machines, are left out."


def metric_of(column: pl.Expr, names: Mapping[str, str]) -> pl.Expr:
    """Return ``cpu`` or ``memory`` where the text is one of ``names``; null elsewhere."""
    return column.replace_strict(names, default=None, return_dtype=pl.String())


def kept(source: Source, metric: pl.Expr) -> Source:
    """Return the source with its rows of CPU and memory alone."""
    return replace(source, frame=source.frame.filter(metric.is_not_null()), notes=(*source.notes, LEFT_OUT))


def free_to_used(lines: Lines, metric: pl.Expr, least: pl.Expr | None) -> None:
    """Turn a memory metric that tells what is free into what is used; the least free is the most used."""
    hundred = pl.lit(100).cast(DECIMAL)
    memory = metric == MEMORY
    if (average := lines.found.get("average")) is not None:
        lines.put("average", pl.when(memory).then(hundred - average).otherwise(average))
    most = pl.lit(None, dtype=DECIMAL) if least is None else hundred - least
    lines.put("maximum", pl.when(memory).then(most).otherwise(lines.found.get("maximum", pl.lit(None))))


def parsed(lines: Lines, source: Source, labels: Mapping[str, str]) -> Parsed:
    """Return the lines; a row without a value, or with one that is no percentage, is refused."""
    frame = lines.finish(labels=labels)
    values = [pl.col(name) for name in STATISTICS]
    outside = pl.any_horizontal((value < 0) | (value > PERCENT_MAX) for value in values)
    verdict = (
        pl.when(pl.all_horizontal(value.is_null() for value in values))
        .then(pl.lit("|the row has no value|Export the average or, better, the maximum."))
        .when(outside.fill_null(value=False))
        .then(pl.lit("|a value lies outside 0 to 100|Export the metric in percent of the whole machine."))
    )
    checked = frame.with_columns(pl.coalesce(REFUSED, verdict).alias(REFUSED))
    return Parsed(UTILISATION_LINES, checked, problems=source.problems, notes=source.notes)
