"""Two plain tables of our own, for what no vendor exports: utilisation from any tool, and quantities of business."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from bursar.connectors.bills.columns import Lines
from bursar.connectors.bills.source import header_of, open_source
from bursar.connectors.measures.percent import STATISTICS, kept, parsed
from bursar.kernel.connector import Head
from bursar.kernel.lines import MEASURE_LINES, UTILISATION_LINES, DocumentKind, Parsed

NAMED = ("provider", "sub_account_id", "region_id", "resource_id", "resource_name", "instance_type", "metric")


class UtilisationTable:
    """A table with the columns of our own schema."""

    name = "utilisation"
    title = "Utilisation table"
    kind = DocumentKind.REFERENCE

    def sniff(self, head: Head) -> float:
        """Return 0.96 for our own column names."""
        keys = header_of(head)
        return 0.96 if keys >= {"provider", "resourceid", "metric", "measuredat"} and keys & set(STATISTICS) else 0.0

    def parse(self, document: Path, *, options: Mapping[str, str]) -> Parsed:
        """Read one table; no options are needed."""
        del options
        source = open_source(document)
        lines = Lines(source, UTILISATION_LINES)
        for name in NAMED:
            lines.text(name, name)
        lines.put("metric", lines.found["metric"].str.to_lowercase())
        lines.put("provider", lines.found["provider"].str.to_lowercase())
        wanted = lines.found["metric"].is_in(["cpu", "memory"])
        lines.source = source = kept(source, pl.when(wanted).then(lines.found["metric"]))
        lines.instant("measured_at", "measured_at")
        if (days := lines.raw_text("days")) is not None:
            lines.put("days", days.cast(pl.Float64, strict=False).round())
        for name in STATISTICS:
            lines.money(name, name)
        return parsed(lines, source, {})


class QuantityTable:
    """A table of what was done: ``measure``, ``day`` and ``quantity``, optionally ``target`` and ``unit``."""

    name = "quantities"
    title = "Table of business quantities"
    kind = DocumentKind.REFERENCE

    def sniff(self, head: Head) -> float:
        """Return 0.96 for our own column names."""
        keys = header_of(head)
        return (
            0.96 if {"measure", "day", "quantity"} <= keys <= {"measure", "day", "quantity", "target", "unit"} else 0.0
        )

    def parse(self, document: Path, *, options: Mapping[str, str]) -> Parsed:
        """Read one table; no options are needed."""
        del options
        source = open_source(document)
        lines = Lines(source, MEASURE_LINES)
        for name in ("measure", "target", "unit"):
            lines.text(name, name)
        lines.day("day", "day")
        lines.money("quantity", "quantity")
        return Parsed(MEASURE_LINES, lines.finish(), problems=source.problems, notes=source.notes)


UTILISATION = UtilisationTable()
QUANTITIES = QuantityTable()
