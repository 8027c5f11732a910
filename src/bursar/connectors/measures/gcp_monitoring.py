"""Google Cloud Monitoring time series, as ``projects.timeSeries.list`` answers: one series a line, or pages of them.

CPU is ``compute.googleapis.com/instance/cpu/utilization`` (a fraction); memory is the Ops Agent's
``agent.googleapis.com/memory/percent_used`` in the state ``used``.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import polars as pl

from bursar.connectors.bills.columns import Lines
from bursar.connectors.bills.source import Source, header_of, key_of, open_source
from bursar.connectors.measures.percent import CPU, LEFT_OUT, MEMORY, metric_of, parsed
from bursar.kernel.connector import Head
from bursar.kernel.errors import Invalid
from bursar.kernel.lines import DECIMAL, UTILISATION_LINES, DocumentKind, Parsed

METRICS = {
    "compute.googleapis.com/instance/cpu/utilization": CPU,
    "agent.googleapis.com/memory/percent_used": MEMORY,
}
SIGNATURE = frozenset({"metric", "resource", "points", "interval"})
PAGES = "timeSeries"
_ZONE = r"-[a-z]$"


class GoogleMonitoring:
    """Google Cloud Monitoring time series."""

    name = "gcp-monitoring"
    title = "Google Cloud Monitoring time series"
    kind = DocumentKind.REFERENCE

    def sniff(self, head: Head) -> float:
        """Return 0.97 for the keys of a time series with points."""
        return 0.97 if header_of(head) >= SIGNATURE else 0.0

    def parse(self, document: Path, *, options: Mapping[str, str]) -> Parsed:
        """Read one answer; no options are needed."""
        del options
        source = _points(open_source(document), document.name)
        lines = Lines(source, UTILISATION_LINES)
        lines.put("provider", pl.lit("gcp"))
        lines.put("metric", pl.col("metric"))
        lines.text("sub_account_id", "project_id")
        lines.text("resource_id", "instance_id")
        lines.text("resource_name", "instance_name")
        lines.put("region_id", pl.col("zone").str.replace(_ZONE, ""))
        lines.instant("measured_at", "endTime")
        fraction = pl.when(pl.col("metric") == CPU).then(100).otherwise(1)
        lines.put("average", (pl.col("number") * fraction).cast(DECIMAL, strict=False))
        return parsed(
            lines, source, {"measured_at": "points.interval.endTime", "resource_id": "resource.labels.instance_id"}
        )


def _points(source: Source, name: str) -> Source:
    """Return one row a point of the metrics of machines, flat."""
    frame = source.frame
    if PAGES in source.types:
        frame = frame.select("_row", pl.col(PAGES)).explode(PAGES).unnest(PAGES)
    try:
        flat = frame.explode("points").select(
            "_row",
            metric_of(pl.col("metric").struct.field("type"), METRICS).alias("metric"),
            _label(frame, "metric", "state").alias("state"),
            _label(frame, "metric", "instance_name").alias("instance_name"),
            *[_label(frame, "resource", label).alias(label) for label in ("project_id", "instance_id", "zone")],
            pl.col("points").struct.field("interval").struct.field("endTime"),
            pl.col("points").struct.field("value").struct.field("doubleValue").cast(pl.Float64).alias("number"),
        )
        flat = flat.filter(
            pl.col("metric").is_not_null()
            & pl.col("instance_id").is_not_null()
            & ((pl.col("metric") == CPU) | pl.col("state").eq("used"))
        )
        types = dict(flat.collect_schema())
    except pl.exceptions.PolarsError as error:
        what = f"{name} holds time series of another build: {str(error)[:120]}"
        raise Invalid(what, "List the time series of CPU and memory with all their labels.") from error
    del types["_row"]
    names = {key_of(column): column for column in types}
    return replace(source, frame=flat, types=types, names=names, notes=(*source.notes, LEFT_OUT))


def _label(frame: pl.LazyFrame, of: str, label: str) -> pl.Expr:
    """Return a label of the metric or resource; null where no series of the file has it."""
    kind = frame.collect_schema()[of]
    labels = (
        next((field.dtype for field in kind.fields if field.name == "labels"), None)
        if isinstance(kind, pl.Struct)
        else None
    )
    if isinstance(labels, pl.Struct) and label in {field.name for field in labels.fields}:
        return pl.col(of).struct.field("labels").struct.field(label)
    return pl.lit(None, dtype=pl.String())


GCP_MONITORING = GoogleMonitoring()
