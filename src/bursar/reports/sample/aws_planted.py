"""What is wrong in the AWS bill by construction: anomalies of the run rate."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import numpy as np

from bursar.reports.sample.aws import Aws, tagged
from bursar.reports.sample.model import Floats, Mark, Notebook, Stream, hex_id
from bursar.reports.sample.shapes import drifting, metered, only, times, yearly_sum


def money(units: float, price: Decimal) -> Decimal:
    """Return what ``units`` cost at ``price``, to the cent."""
    return (Decimal(f"{units:.6f}") * price).quantize(Decimal("0.01"))


def excess(stream: Stream, calm: Floats, *, recurring: bool) -> Decimal:
    """Return what a deformed stream costs above the calm one: in all, or per year at the last month's pace."""
    difference = np.nan_to_num(stream.usage) - np.nan_to_num(calm)
    return money(yearly_sum(difference) if recurring else float(difference.sum()), stream.price)


def anomalies(aws: Aws, book: Notebook) -> None:
    """Plant a spike, a level shift, a drift, a cancelling pair, a new and a vanished service."""
    _spike(aws, book)
    _shift(aws, book)
    _drift(aws, book)
    _cancelling_pair(aws, book)
    _new_and_vanished(aws, book)


def _spike(aws: Aws, book: Notebook) -> None:
    span = aws.span
    first = span.month(5) + timedelta(days=11)
    last = first + timedelta(days=2)
    calm = metered(span, aws.seed, "egress", 310.0, weekend=0.8, growth=0.1)
    usage = times(calm, span, first, last, 14.0)
    resource = aws.instance_id("web-prod-1")
    meter = ("DataTransfer-Out-Bytes", "RunInstances", "GB", "Data Transfer")
    text = "$0.090 per GB - first 10 TB / month data transfer out beyond the global free tier"
    marks = (Mark("C01", first, last),)
    tags = tagged("web-prod-1", "prod", "shop")
    stream = aws.add(
        "egress",
        "prod",
        "AWSDataTransfer",
        meter,
        usage,
        "0.09",
        resource=resource,
        tags=tags,
        marks=marks,
        description=text,
    )
    worth = excess(stream, calm, recurring=False)
    what = "Data transfer out of production rose fourteenfold for three days (a crawler fetched every product image)."
    subjects = ("AWSDataTransfer", "AWS Data Transfer", "DataTransfer-Out-Bytes", resource)
    book.plant("C01", "cost_spike", subjects, (first, last), (worth, "USD"), what, recurring=False)


def _shift(aws: Aws, book: Notebook) -> None:
    span = aws.span
    first = span.month(6) + timedelta(days=13)
    calm = metered(span, aws.seed, "logs", 42.0, weekend=0.85, growth=0.05)
    usage = times(calm, span, first, span.end, 4.2)
    group = aws.arn("logs", "prod", "log-group:/shop/checkout")
    meter = ("USE1-DataProcessing-Bytes", "PutLogEvents", "GB", "Data Payload")
    text = "$0.50 per GB custom log data ingested in Standard log class - US East (Northern Virginia)"
    stream = aws.add(
        "logs",
        "prod",
        "AmazonCloudWatch",
        meter,
        usage,
        "0.50",
        resource=group,
        tags=tagged("checkout", "prod", "shop"),
        marks=(Mark("C02", first, span.end),),
        description=text,
    )
    what = "Log ingestion of the checkout service rose more than fourfold and stayed there (debug logging left on)."
    subjects = ("AmazonCloudWatch", "USE1-DataProcessing-Bytes", group)
    worth = excess(stream, calm, recurring=True)
    book.plant("C02", "cost_level_shift", subjects, (first, span.end), (worth, "USD"), what)


def _drift(aws: Aws, book: Notebook) -> None:
    span = aws.span
    first = span.month(13)
    calm = metered(span, aws.seed, "s3/hm-raw-events", 5200.0, weekend=1.0, growth=0.0, noise=0.002)
    usage = drifting(calm, span, first, 0.07)
    meter = ("TimedStorage-ByteHrs", "StandardStorage", "GB-Mo", "Storage")
    stream = aws.add(
        "s3/hm-raw-events",
        "data",
        "AmazonS3",
        meter,
        aws.monthly(usage),
        "0.023",
        resource="hm-raw-events",
        tags=tagged("hm-raw-events", "prod", "data"),
        marks=(Mark("C03", first, span.end),),
        storage_class="General Purpose",
        description="$0.023 per GB - first 50 TB / month of storage used",
    )
    aws.add(
        "s3r/hm-raw-events",
        "data",
        "AmazonS3",
        ("Requests-Tier1", "PutObject", "Requests", "API Request"),
        metered(span, aws.seed, "s3r/hm-raw-events", 900_000, weekend=0.8, growth=0.1),
        "0.000005",
        resource="hm-raw-events",
        tags=tagged("hm-raw-events", "prod", "data"),
        description="$0.005 per 1,000 PUT, COPY, POST, or LIST requests",
    )
    what = "The bucket of raw events grows by 7 % a month and nothing expires."
    worth = excess(stream, aws.monthly(calm), recurring=True)
    book.plant(
        "C03",
        "cost_drift",
        ("hm-raw-events", "AmazonS3", "Amazon Simple Storage Service"),
        (first, span.end),
        (worth, "USD"),
        what,
    )


def _cancelling_pair(aws: Aws, book: Notebook) -> None:
    span = aws.span
    first = span.month(4) + timedelta(days=8)
    before = aws.instance(
        "ranker-old", "data", "m6i.xlarge", metered(span, aws.seed, "ranker", 96.0, weekend=1.0, growth=0.0, noise=0.0)
    )
    after = aws.instance(
        "ranker-new", "data", "r6i.large", metered(span, aws.seed, "ranker2", 146.0, weekend=1.0, growth=0.0, noise=0.0)
    )
    mark = (Mark("C04", first - timedelta(days=3), first + timedelta(days=10)),)
    tags = {name: tagged(name, "prod", "data") for name in ("ranker-old", "ranker-new")}
    changed = [
        replace(before, usage=only(before.usage, span, span.start, first), marks=mark, tags=tags["ranker-old"]),
        replace(
            after,
            usage=only(after.usage, span, first + timedelta(days=1), span.end),
            marks=mark,
            tags=tags["ranker-new"],
        ),
    ]
    aws.streams[-2:] = changed
    subjects = (before.fields["resource"], after.fields["resource"], "AmazonEC2")
    what = "One fleet stopped and another of almost the same cost began on the next day: the total hides the change."
    period = (first, first + timedelta(days=10))
    book.plant("C04", "cancelling_pair", subjects, period, (Decimal(0), "USD"), what)


def _new_and_vanished(aws: Aws, book: Notebook) -> None:
    span = aws.span
    began = span.month(2) + timedelta(days=4)
    usage = only(metered(span, aws.seed, "sagemaker", 24.0, weekend=1.0, growth=0.0, noise=0.0), span, began, span.end)
    endpoint = aws.arn("sagemaker", "data", f"endpoint/recommend-{hex_id(aws.seed, 'sagemaker', 6)}")
    meter = ("USE1-Host:ml.g4dn.xlarge", "RunInstance", "Hrs", "ML Instance")
    stream = aws.add(
        "sagemaker",
        "data",
        "AmazonSageMaker",
        meter,
        usage,
        "0.736",
        resource=endpoint,
        tags=tagged("recommend", "prod", "data"),
        marks=(Mark("C05", began, span.end),),
        instance_type="ml.g4dn.xlarge",
        description="$0.736 per Hosting ml.g4dn.xlarge hour in US East (N. Virginia)",
    )
    worth = money(yearly_sum(np.nan_to_num(stream.usage)), stream.price)
    what = "A service never used before began: a model endpoint on a GPU, day and night."
    book.plant(
        "C05", "new_service", ("AmazonSageMaker", "Amazon SageMaker", endpoint), (began, span.end), (worth, "USD"), what
    )
    gone = span.month(3)
    calm = metered(span, aws.seed, "guardduty", 1_900.0, weekend=0.85, growth=0.1)
    last = gone - timedelta(days=1)
    detector = aws.arn("guardduty", "prod", f"detector/{hex_id(aws.seed, 'guardduty', 32)}")
    meter = ("USE1-PaidEventsAnalyzed-Bytes", "Analyze", "GB", "Security Services")
    aws.add(
        "guardduty",
        "prod",
        "AmazonGuardDuty",
        meter,
        only(calm, span, span.start, last),
        "0.01",
        resource=detector,
        tags=tagged("guardduty", "prod", "platform"),
        marks=(Mark("C06", last - timedelta(days=13), last),),
        description="$0.010 per GB analysed in US East (N. Virginia)",
    )
    what = "Threat detection was charged every day and then not at all: somebody switched it off, or it broke."
    book.plant(
        "C06",
        "vanished_service",
        ("AmazonGuardDuty", "Amazon GuardDuty", detector),
        (gone, span.end),
        (Decimal(0), "USD"),
        what,
    )
