"""Amazon CloudWatch metric streams in JSON: one data point a line, as Firehose writes them to a bucket.

CPU is ``AWS/EC2 CPUUtilization``; memory is ``CWAgent mem_used_percent``, which the CloudWatch agent has to report.
"""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from bursar.connectors.bills.columns import Lines
from bursar.connectors.bills.source import header_of, open_source
from bursar.connectors.measures.percent import CPU, MEMORY, kept, metric_of, parsed
from bursar.kernel.connector import Head
from bursar.kernel.errors import Invalid
from bursar.kernel.lines import DECIMAL, UTILISATION_LINES, DocumentKind, Parsed

SIGNATURE = frozenset({"metricstreamname", "namespace", "metricname", "dimensions", "value"})
METRICS = {"CPUUtilization": CPU, "mem_used_percent": MEMORY, "Memory % Committed Bytes In Use": MEMORY}
INSTANCE = "InstanceId"


class CloudWatchStream:
    """CloudWatch metric stream."""

    name = "aws-cloudwatch-stream"
    title = "CloudWatch metric stream"
    kind = DocumentKind.REFERENCE

    def sniff(self, head: Head) -> float:
        """Return 0.98 for the keys that only a metric stream has."""
        return 0.98 if header_of(head) >= SIGNATURE else 0.0

    def parse(self, document: Path, *, options: Mapping[str, str]) -> Parsed:
        """Read one file; no options are needed."""
        del options
        source = open_source(document)
        dimensions, values = (_fields(source.types.get(name)) for name in ("dimensions", "value"))
        if INSTANCE not in dimensions:
            raise Invalid(
                f"{document.name} holds no metric of an instance", "Stream the namespaces AWS/EC2 and CWAgent."
            )
        machine = pl.col("dimensions").struct.field(INSTANCE)
        metric = metric_of(pl.col("metric_name"), METRICS)
        source = kept(source, pl.when(machine.is_not_null()).then(metric))
        lines = Lines(source, UTILISATION_LINES)
        lines.put("provider", pl.lit("aws"))
        lines.put("metric", metric)
        lines.put("resource_id", machine)
        if "InstanceType" in dimensions:
            lines.put("instance_type", pl.col("dimensions").struct.field("InstanceType"))
        lines.text("sub_account_id", "account_id")
        lines.text("region_id", "region")
        lines.put("measured_at", pl.from_epoch(pl.col("timestamp"), time_unit="ms").dt.replace_time_zone("UTC"))
        value = pl.col("value").struct
        lines.put("maximum", value.field("max").cast(DECIMAL, strict=False))
        lines.put("average", (value.field("sum") / value.field("count")).cast(DECIMAL, strict=False))
        for name in ("p95", "p99"):
            if name in values:
                lines.put(name, value.field(name).cast(DECIMAL, strict=False))
        return parsed(lines, source, {"measured_at": "timestamp", "resource_id": "dimensions.InstanceId"})


def _fields(kind: pl.DataType | None) -> frozenset[str]:
    return frozenset(field.name for field in kind.fields) if isinstance(kind, pl.Struct) else frozenset()


CLOUDWATCH = CloudWatchStream()
