"""Azure Monitor platform metrics of virtual machines: diagnostic settings to storage (JSON lines) or AzureMetrics as CSV.

CPU is ``Percentage CPU``; memory is ``Available Memory Percentage``, of which the rest is used.
"""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from bursar.connectors.bills.columns import Lines
from bursar.connectors.bills.source import header_of, open_source
from bursar.connectors.measures.percent import CPU, MEMORY, free_to_used, kept, metric_of, parsed
from bursar.kernel.connector import Head
from bursar.kernel.lines import UTILISATION_LINES, DocumentKind, Parsed

SIGNATURE = frozenset({"resourceid", "metricname", "timegrain", "maximum", "minimum", "average"})
METRICS = {"percentage cpu": CPU, "available memory percentage": MEMORY}
_SUBSCRIPTION = r"(?i)/subscriptions/([^/]+)"
_MACHINE = r"(?i)/providers/microsoft\.compute/virtualmachines/([^/]+)$"


class AzureMetrics:
    """Azure Monitor metrics."""

    name = "azure-monitor-metrics"
    title = "Azure Monitor metrics"
    kind = DocumentKind.REFERENCE

    def sniff(self, head: Head) -> float:
        """Return 0.97 for the columns of platform metrics."""
        return 0.97 if header_of(head) >= SIGNATURE else 0.0

    def parse(self, document: Path, *, options: Mapping[str, str]) -> Parsed:
        """Read one export; no options are needed."""
        del options
        source = open_source(document)
        lines = Lines(source, UTILISATION_LINES)
        resource, named = lines.raw_text("ResourceId"), lines.raw_text("MetricName")
        assert resource is not None
        assert named is not None
        metric = metric_of(named.str.to_lowercase(), METRICS)
        lines.source = source = kept(source, pl.when(resource.str.contains(_MACHINE)).then(metric))
        lines.put("provider", pl.lit("azure"))
        lines.put("metric", metric)
        lines.put("resource_id", resource.str.to_lowercase())
        lines.put("sub_account_id", resource.str.extract(_SUBSCRIPTION).str.to_lowercase())
        lines.put("resource_name", resource.str.extract(_MACHINE).str.to_lowercase())
        lines.instant("measured_at", "time", "TimeGenerated", "TimeGenerated [UTC]")
        lines.money("average", "Average")
        lines.money("maximum", "Maximum")
        free_to_used(lines, metric, lines.decimal("Minimum"))
        return parsed(lines, source, {"measured_at": "time", "resource_id": "resourceId"})


AZURE_METRICS = AzureMetrics()
