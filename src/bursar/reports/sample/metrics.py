"""How busy the machines are: a CloudWatch metric stream and Azure platform metrics of the last month.

Two machines are larger than they need to be, three are busy, one reports no memory.
"""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np

from bursar.reports.sample.aws import REGION, Aws, tagged
from bursar.reports.sample.aws_waste import a_year
from bursar.reports.sample.azure import Azure
from bursar.reports.sample.company import AWS_ACCOUNTS
from bursar.reports.sample.model import Mark, Notebook, SampleFile, Span, rng
from bursar.reports.sample.shapes import steady

DAYS = 30
SAMPLES_A_DAY = 24

AWS_FILE = "cloud/aws/metrics/hm-all-metrics.json"
AZURE_FILE = "cloud/azure/metrics/insights-metrics.json"

Measured = tuple[str, str, float, float | None, tuple[str, ...]]
"""Resource, account or subscription, highest CPU, highest memory (None where no agent reports it), truths."""


def oversized(aws: Aws, azure: Azure, book: Notebook) -> None:
    """Plant machines that are larger than they need to be, and one of which that cannot be told."""
    span = aws.span
    whole = (span.start, span.end)
    stream = aws.instance(
        "search-index", "prod", "r6i.xlarge", steady(span, 24.0),
        tags=tagged("search-index", "prod", "shop"), marks=(Mark("C41", *whole),),
    )  # fmt: skip
    worth = (a_year(stream) * (1 - Decimal("0.1386") / Decimal("0.252"))).quantize(Decimal("0.01"))
    what = "search-index never uses a fifth of its cores or two fifths of its memory."
    book.plant("C41", "oversized", (stream.fields["resource"],), whole, (worth, "USD"), what)
    stream = azure.machine(
        "erp", "vm-report", "D4s v4", "0.2116", steady(span, 24.0), env="prod", marks=(Mark("C42", *whole),)
    )
    worth = (a_year(stream) / 2).quantize(Decimal("0.01"))
    what = "vm-report would fit into a machine of half the size."
    book.plant("C42", "oversized", (stream.fields["resource"], "vm-report"), whole, (worth, "EUR"), what)
    subjects = (aws.instance_id("build-1"), AWS_ACCOUNTS["staging"][0])
    what = "build-1 uses little CPU, but nobody reports its memory, so no size can be advised."
    book.plant("C43", "unmeasured_memory", subjects, (_first(span), span.end), (Decimal(0), "USD"), what)


def _first(span: Span) -> date:
    return span.end - timedelta(days=DAYS - 1)


def write_metrics(aws: Aws, azure: Azure, book: Notebook, folder: Path) -> None:
    """Write both files."""
    machines: list[Measured] = [(aws.instance_id(f"web-prod-{number}"), "prod", 71.0, 74.0, ()) for number in (1, 2, 3)]
    machines += [(aws.instance_id("search-index"), "prod", 17.5, 36.0, ("C41",))]
    machines += [(aws.instance_id("build-1"), "staging", 22.0, None, ("C43",))]
    _write(_cloudwatch(aws, machines), AWS_FILE, "aws-cloudwatch-stream", book, folder)
    erp: list[Measured] = [(azure.resource("erp", "vm", "vm-report"), "erp", 11.0, 27.0, ("C42",))]
    erp += [(azure.resource("erp", "vm", "vm-erp-1"), "erp", 66.0, 79.0, ())]
    _write(_azure(azure, erp), AZURE_FILE, "azure-monitor-metrics", book, folder)


def _days(span: Span, seed: int, name: str, most: float) -> Iterator[tuple[datetime, float, float]]:
    """Yield the midnight that ends each day, and the day's maximum and average."""
    draw = rng(seed, f"metrics/{name}").uniform(0.55, 1.0, DAYS)
    draw[int(np.argmax(draw))] = 1.0
    for index, share in enumerate(draw):
        day = _first(span) + timedelta(days=index)
        maximum = round(most * float(share), 2)
        yield datetime.combine(day, time(12), UTC), maximum, round(maximum * 0.4, 2)


def _cloudwatch(aws: Aws, machines: list[Measured]) -> Iterator[tuple[dict[str, object], tuple[str, ...]]]:
    for resource, account, cpu, memory, truths in machines:
        metrics = [("AWS/EC2", "CPUUtilization", cpu), ("CWAgent", "mem_used_percent", memory)]
        for namespace, metric, most in metrics:
            if most is None:
                continue
            for at, maximum, average in _days(aws.span, aws.seed, f"{resource}/{metric}", most):
                yield (
                    {
                        "metric_stream_name": "hm-all",
                        "account_id": AWS_ACCOUNTS[account][0],
                        "region": REGION,
                        "namespace": namespace,
                        "metric_name": metric,
                        "dimensions": {"InstanceId": resource},
                        "timestamp": int(at.timestamp() * 1000),
                        "value": {
                            "max": maximum,
                            "min": 0.5,
                            "sum": round(average * SAMPLES_A_DAY, 2),
                            "count": float(SAMPLES_A_DAY),
                        },
                        "unit": "Percent",
                    },
                    truths,
                )


def _azure(azure: Azure, machines: list[Measured]) -> Iterator[tuple[dict[str, object], tuple[str, ...]]]:
    for resource, _, cpu, memory, truths in machines:
        for at, maximum, average in _days(azure.span, azure.seed, f"{resource}/cpu", cpu):
            yield _metric(resource, at, "Percentage CPU", (0.5, maximum, average)), truths
        assert memory is not None
        for at, maximum, average in _days(azure.span, azure.seed, f"{resource}/memory", memory):
            free = (round(100 - maximum, 2), 99.0, round(100 - average, 2))
            yield _metric(resource, at, "Available Memory Percentage", free), truths


def _metric(resource: str, at: datetime, name: str, values: tuple[float, float, float]) -> dict[str, object]:
    minimum, maximum, average = values
    return {
        "count": SAMPLES_A_DAY,
        "total": round(average * SAMPLES_A_DAY, 2),
        "minimum": minimum,
        "maximum": maximum,
        "average": average,
        "resourceId": resource,
        "time": f"{at:%Y-%m-%dT%H:%M:%S}.0000000Z",
        "metricName": name,
        "timeGrain": "PT1H",
    }


def _write(
    rows: Iterator[tuple[dict[str, object], tuple[str, ...]]], name: str, format_name: str, book: Notebook, folder: Path
) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for count, (row, truths) in enumerate(rows, start=1):
            file.write(json.dumps(row, separators=(",", ":")) + "\n")
            book.seen(truths, name, count)
    book.files.append(SampleFile(name, format_name, count, Decimal(0), "USD"))
