"""AWS Compute Optimizer's export of EC2 recommendations: per instance the highest use of CPU and memory of a look-back.

Only what was measured is taken; what the export recommends is left to it. Memory is empty where no agent reports it.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import polars as pl

from bursar.connectors.bills.columns import Lines
from bursar.connectors.bills.source import header_of, open_source
from bursar.connectors.measures.percent import CPU, MEMORY, parsed
from bursar.kernel.connector import Head
from bursar.kernel.lines import UTILISATION_LINES, DocumentKind, Parsed

SIGNATURE = frozenset({"instancearn", "currentinstancetype", "utilizationmetricscpumaximum", "lookbackperiodindays"})
_ARN = r"^arn:[^:]*:ec2:([^:]*):([^:]*):instance/(.+)$"


class ComputeOptimizer:
    """Compute Optimizer EC2 export."""

    name = "aws-compute-optimizer"
    title = "AWS Compute Optimizer EC2 export"
    kind = DocumentKind.REFERENCE

    def sniff(self, head: Head) -> float:
        """Return 0.99 for the columns that only this export has."""
        return 0.99 if header_of(head) >= SIGNATURE else 0.0

    def parse(self, document: Path, *, options: Mapping[str, str]) -> Parsed:
        """Read one export: a line for CPU and one for memory where it was measured; no options are needed."""
        del options
        source = open_source(document, nulls=("null", "N/A"))
        columns = {CPU: "utilizationMetrics_cpu_maximum", MEMORY: "utilizationMetrics_memory_maximum"}
        raw = {metric: found[0] for metric, name in columns.items() if (found := source.find(name))}
        frames = [
            source.frame.filter(pl.col(name).is_not_null()).with_columns(
                pl.lit(metric).alias("_metric"), pl.col(name).alias("_value")
            )
            for metric, name in raw.items()
        ]
        text = {"_metric": pl.String(), "_value": pl.String()}
        names = {**source.names, "metric": "_metric", "value": "_value"}
        source = replace(source, frame=pl.concat(frames), types={**source.types, **text}, names=names)
        lines = Lines(source, UTILISATION_LINES)
        lines.put("provider", pl.lit("aws"))
        lines.put("metric", pl.col("_metric"))
        lines.money("maximum", "value")
        arn = lines.raw_text("instanceArn")
        assert arn is not None
        lines.put("region_id", arn.str.extract(_ARN, 1))
        lines.put("sub_account_id", arn.str.extract(_ARN, 2))
        lines.put("resource_id", arn.str.extract(_ARN, 3))
        lines.text("resource_name", "instanceName")
        lines.text("instance_type", "currentInstanceType")
        lines.instant("measured_at", "lastRefreshTimestamp")
        lookback = lines.raw_text("lookbackPeriodInDays")
        assert lookback is not None
        lines.put("days", lookback.cast(pl.Float64, strict=False).round())
        return parsed(lines, source, {"measured_at": "lastRefreshTimestamp", "resource_id": "instanceArn"})


COMPUTE_OPTIMIZER = ComputeOptimizer()
