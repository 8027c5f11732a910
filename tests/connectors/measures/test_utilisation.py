"""Utilisation exports of the vendors: what is taken, what is turned round, what is refused."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from bursar.connectors.formats import head_of, read_document, recognise
from bursar.kernel.errors import Invalid
from bursar.kernel.lines import REFUSED

AT = datetime(2026, 3, 1, 10, tzinfo=UTC)


def read(path: Path) -> tuple[str, pl.DataFrame, pl.DataFrame]:
    """Return the format recognised, the rows taken and the rows refused."""
    certainty, connector = recognise(head_of(path, "any"))[0]
    assert certainty > 0.9
    parsed = connector.parse(path, options={})
    frame = parsed.lines.collect(engine="streaming")
    assert dict(frame.drop(REFUSED).schema) == parsed.schema.columns
    good = pl.col(REFUSED).is_null()
    return connector.name, frame.filter(good), frame.filter(~good)


def written(folder: Path, text: str) -> Path:
    path = folder / "export"
    path.write_text(text, encoding="utf-8")
    return path


def ndjson(folder: Path, rows: list[dict[str, Any]]) -> Path:
    return written(folder, "".join(json.dumps(row) + "\n" for row in rows))


def point(metric: str, value: dict[str, float], **dimensions: str) -> dict[str, Any]:
    """Return one data point of a metric stream."""
    return {
        "metric_stream_name": "all", "account_id": "111", "region": "eu-central-1",
        "namespace": "AWS/EC2" if metric == "CPUUtilization" else "CWAgent", "metric_name": metric,
        "dimensions": dimensions, "timestamp": int(AT.timestamp() * 1000), "value": value, "unit": "Percent",
    }  # fmt: skip


def test_a_cloudwatch_stream_keeps_cpu_and_memory_of_instances(tmp_path: Path) -> None:
    full = {"max": 41.5, "min": 1.0, "sum": 120.0, "count": 60.0, "p99": 40.25}
    path = ndjson(
        tmp_path,
        [
            point("CPUUtilization", full, InstanceId="i-1"),
            point("mem_used_percent", full | {"max": 30.0}, InstanceId="i-1", InstanceType="m6i.large"),
            point("CPUUtilization", full, AutoScalingGroupName="asg"),
            point("NetworkOut", full, InstanceId="i-1"),
        ],
    )

    name, taken, refused = read(path)

    assert name == "aws-cloudwatch-stream"
    assert refused.is_empty()
    assert taken["metric"].to_list() == ["cpu", "memory"]
    assert taken["maximum"].to_list() == [Decimal("41.5"), Decimal(30)]
    assert taken["average"].to_list() == [Decimal(2), Decimal(2)]
    assert taken.row(0, named=True)["p99"] == Decimal("40.25")
    assert set(taken["measured_at"].to_list()) == {AT}
    assert set(taken["resource_id"].to_list()) == {"i-1"}


def test_a_stream_without_instances_is_refused(tmp_path: Path) -> None:
    path = ndjson(tmp_path, [point("Latency", {"max": 1.0, "min": 1.0, "sum": 1.0, "count": 1.0}, LoadBalancer="l")])

    with pytest.raises(Invalid, match="no metric of an instance"):
        read(path)


def test_compute_optimizer_tells_cpu_and_memory_where_it_was_measured(tmp_path: Path) -> None:
    head = "accountId,instanceArn,instanceName,finding,lookbackPeriodInDays,currentInstanceType,"
    head += "utilizationMetrics_cpu_maximum,utilizationMetrics_memory_maximum,lastRefreshTimestamp\n"
    arn = "arn:aws:ec2:eu-central-1:111:instance/"
    path = written(
        tmp_path,
        head
        + f"111,{arn}i-1,web,OVER_PROVISIONED,14.0,m6i.xlarge,12.5,21.0,2026-03-01T10:00:00Z\n"
        + f"111,{arn}i-2,db,OPTIMIZED,14.0,r6i.xlarge,70.5,,2026-03-01T10:00:00Z\n",
    )

    name, taken, refused = read(path)

    assert name == "aws-compute-optimizer"
    assert refused.is_empty()
    found = taken.sort("resource_id", "metric").select("resource_id", "metric", "maximum", "days").rows()
    assert found == [
        ("i-1", "cpu", Decimal("12.5"), 14),
        ("i-1", "memory", Decimal(21), 14),
        ("i-2", "cpu", Decimal("70.5"), 14),
    ]
    assert set(taken["region_id"].to_list()) == {"eu-central-1"}
    assert set(taken["sub_account_id"].to_list()) == {"111"}


VM = "/SUBSCRIPTIONS/ABC/RESOURCEGROUPS/RG/PROVIDERS/MICROSOFT.COMPUTE/VIRTUALMACHINES/VM-1"


def test_azure_metrics_turn_free_memory_into_used_memory(tmp_path: Path) -> None:
    base = {"time": "2026-03-01T10:00:00.0000000Z", "resourceId": VM, "timeGrain": "PT1H", "count": 60, "total": 100.0}
    path = ndjson(
        tmp_path,
        [
            base | {"metricName": "Percentage CPU", "minimum": 1.0, "maximum": 22.5, "average": 4.0},
            base | {"metricName": "Available Memory Percentage", "minimum": 60.0, "maximum": 80.0, "average": 75.0},
            base | {"metricName": "Disk Read Bytes", "minimum": 1.0, "maximum": 1e9, "average": 4.0},
        ],
    )

    name, taken, refused = read(path)

    assert name == "azure-monitor-metrics"
    assert refused.is_empty()
    assert taken.select("metric", "average", "maximum").rows() == [
        ("cpu", Decimal(4), Decimal("22.5")),
        ("memory", Decimal(25), Decimal(40)),
    ]
    assert taken["resource_id"].to_list() == [VM.lower()] * 2
    assert taken["sub_account_id"].to_list() == ["abc"] * 2
    assert taken["measured_at"].to_list() == [AT] * 2


def test_the_azuremetrics_table_as_csv_is_read_as_well(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        '"TimeGenerated [UTC]",ResourceId,MetricName,Total,Count,Maximum,Minimum,Average,TimeGrain,UnitName\n'
        f'"3/1/2026, 10:00:00.000 AM",{VM},Percentage CPU,1,1,9,1,3,PT1M,Percent\n'
        f"2026-03-01T10:00:00Z,{VM},Percentage CPU,1,1,9.5,1,3,PT1M,Percent\n",
    )

    _, taken, refused = read(path)

    assert taken["maximum"].to_list() == [Decimal("9.5")]
    assert refused[REFUSED].str.contains("is not a date and time").all()


def series(metric: str, value: float, **labels: str) -> dict[str, Any]:
    """Return one time series of Cloud Monitoring with one point."""
    resource = {"project_id": "p", "zone": "europe-west3-b", "instance_id": "77"}
    interval = {"startTime": "2026-03-01T10:00:00Z", "endTime": "2026-03-01T10:00:00Z"}
    return {
        "metric": {"type": metric, "labels": labels},
        "resource": {"type": "gce_instance", "labels": resource},
        "metricKind": "GAUGE",
        "valueType": "DOUBLE",
        "points": [{"interval": interval, "value": {"doubleValue": value}}],
    }


@pytest.mark.parametrize("paged", [False, True])
def test_cloud_monitoring_tells_cpu_as_a_fraction_and_memory_in_percent(tmp_path: Path, paged: bool) -> None:
    rows = [
        series("compute.googleapis.com/instance/cpu/utilization", 0.25, instance_name="etl-1"),
        series("agent.googleapis.com/memory/percent_used", 42.0, state="used"),
        series("agent.googleapis.com/memory/percent_used", 30.0, state="cached"),
        series("agent.googleapis.com/disk/percent_used", 30.0, state="used"),
    ]
    path = ndjson(tmp_path, [{"timeSeries": rows, "unit": "1"}] if paged else rows)

    name, taken, refused = read(path)

    assert name == "gcp-monitoring"
    assert refused.is_empty()
    assert taken.select("metric", "average", "resource_id", "region_id").rows() == [
        ("cpu", Decimal(25), "77", "europe-west3"),
        ("memory", Decimal(42), "77", "europe-west3"),
    ]


def test_what_is_no_percentage_or_has_no_value_becomes_a_problem(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "provider,resource_id,metric,measured_at,average,maximum\n"
        "AWS,i-1,CPU,2026-03-01T10:00:00Z,5,250\n"
        "aws,i-1,memory,2026-03-01T10:00:00Z,,\n"
        "aws,i-1,memory,2026-03-01T10:00:00Z,5,50\n"
        "aws,i-1,disk,2026-03-01T10:00:00Z,5,50\n",
    )

    name, taken, refused = read(path)

    assert name == "utilisation"
    assert taken["row"].to_list() == [4]
    assert refused[REFUSED].str.split("|").list.get(1).to_list() == [
        "a value lies outside 0 to 100",
        "the row has no value",
    ]


def test_quantities_of_business_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, "measure,target,day,quantity,unit\norders,shop,2026-03-01,1200,order\norders,,x,5,order\n")

    found = read_document(str(path), "orders.csv", str(tmp_path / "out"), {})

    assert (found["format"], found["schema"], found["kind"]) == ("quantities", "measure", "reference")
    assert found["staged"]["rows"] == 1
    assert [problem["row"] for problem in found["staged"]["problems"]] == [3]
    assert date.fromisoformat(found["staged"]["start"]) == date(2026, 3, 1)
