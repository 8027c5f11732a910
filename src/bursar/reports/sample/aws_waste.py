"""What is wasted in the AWS bill by construction: resources that are paid for and not used, or cost too much."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import numpy as np

from bursar.reports.sample.aws import Aws, tagged
from bursar.reports.sample.aws_planted import money
from bursar.reports.sample.model import Floats, Mark, Notebook, Stream, hex_id
from bursar.reports.sample.shapes import metered, only, steady, yearly_sum


def a_year(*streams: Stream) -> Decimal:
    """Return what the streams cost a year at the pace of the last month."""
    return sum((money(yearly_sum(np.nan_to_num(stream.usage)), stream.price) for stream in streams), Decimal(0))


def waste(aws: Aws, book: Notebook) -> None:
    """Plant idle, obsolete, oversized-in-time and unowned resources."""
    _idle_addresses(aws, book)
    _orphans(aws, book)
    _stopped(aws, book)
    _snapshots(aws, book)
    _idle_network(aws, book)
    _idle_database(aws, book)
    _old_generation(aws, book)
    _storage_class(aws, book)
    _nights(aws, book)
    _untagged(aws, book)


def _whole(aws: Aws, truth: str, start: date | None = None) -> tuple[Mark, ...]:
    return (Mark(truth, start or aws.span.start, aws.span.end),)


def _address(aws: Aws, name: str, account: str, usage: Floats, truth: str, start: date) -> Stream:
    meter = ("USE1-PublicIPv4:IdleAddress", "AllocateAddressVPC", "Hrs", "Public IPv4 Address")
    return aws.add(
        f"eip/{name}",
        account,
        "AmazonVPC",
        meter,
        usage,
        "0.005",
        resource=aws.arn("ec2", account, f"elastic-ip/eipalloc-0{hex_id(aws.seed, 'eip/' + name, 16)}"),
        tags=tagged(name, "prod", "platform"),
        marks=_whole(aws, truth, start),
        description="$0.005 per Idle public IPv4 address per hour",
    )


def _idle_addresses(aws: Aws, book: Notebook) -> None:
    span = aws.span
    for truth, name, start in (("C07", "vpn-old", span.month(16)), ("C08", "partner-ftp", span.month(9))):
        usage = only(steady(span, 24.0), span, start, span.end)
        stream = _address(aws, name, "prod", usage, truth, start)
        what = f"The public address {name} is reserved and attached to nothing."
        subjects = (stream.fields["resource"],)
        book.plant(truth, "idle_address", subjects, (start, span.end), (a_year(stream), "USD"), what)


def _orphans(aws: Aws, book: Notebook) -> None:
    span = aws.span
    for truth, name, gone, size in (
        ("C09", "reporting", span.month(7), 800.0),
        ("C10", "import-worker", span.month(4), 500.0),
    ):
        last = gone - timedelta(days=1)
        tags = tagged(name, "prod", "data")
        aws.instance(name, "data", "r6i.large", only(steady(span, 24.0), span, span.start, last), tags=tags)
        volume = aws.volume(name, "data", "gp3", size, tags=tags, marks=_whole(aws, truth, gone))
        what = f"The disk of {name} is still charged although its machine was deleted."
        subjects = (volume.fields["resource"],)
        book.plant(truth, "unattached_disk", subjects, (gone, span.end), (a_year(volume), "USD"), what)


def _stopped(aws: Aws, book: Notebook) -> None:
    span = aws.span
    stopped = span.month(8)
    tags = tagged("legacy-erp", "prod", "platform")
    last = stopped - timedelta(days=1)
    aws.instance("legacy-erp", "prod", "m6i.xlarge", only(steady(span, 24.0), span, span.start, last), tags=tags)
    volumes = [
        aws.volume(f"legacy-erp-{part}", "prod", "gp3", size, tags=tags, marks=_whole(aws, "C11", stopped))
        for part, size in (("root", 120.0), ("data", 900.0))
    ]
    what = "The machine legacy-erp was stopped, not deleted: its two disks are charged every day."
    subjects = tuple(volume.fields["resource"] for volume in volumes)
    book.plant("C11", "stopped_but_billed", subjects, (stopped, span.end), (a_year(*volumes), "USD"), what)


def _snapshots(aws: Aws, book: Notebook) -> None:
    streams = []
    for number, size in enumerate((640.0, 420.0, 510.0)):
        resource = aws.arn("ec2", "prod", f"snapshot/snap-0{hex_id(aws.seed, f'snap/{number}', 16)}")
        streams.append(
            aws.add(
                f"snap/{number}",
                "prod",
                "AmazonEC2",
                ("EBS:SnapshotUsage", "CreateSnapshot", "GB-Mo", "Storage Snapshot"),
                aws.monthly(size),
                "0.05",
                resource=resource,
                tags=tagged(f"migration-2023-{number + 1}", "prod", "platform"),
                marks=_whole(aws, "C12"),
                description="$0.05 per GB-Month of snapshot data stored - US East (Northern Virginia)",
            )
        )
    subjects = tuple(stream.fields["resource"] for stream in streams)
    what = "Three snapshots of a finished migration have not changed for two years."
    book.plant("C12", "old_snapshot", subjects, (aws.span.start, aws.span.end), (a_year(*streams), "USD"), what)


def _idle_network(aws: Aws, book: Notebook) -> None:
    span = aws.span
    since = span.month(5)
    gateway = aws.arn("ec2", "staging", f"natgateway/nat-0{hex_id(aws.seed, 'nat/staging', 16)}")
    tags = tagged("nat-staging", "staging", "platform")
    hours = aws.add(
        "nat/staging",
        "staging",
        "AmazonEC2",
        ("NatGateway-Hours", "NatGateway", "Hrs", "NAT Gateway"),
        steady(span, 24.0),
        "0.045",
        resource=gateway,
        tags=tags,
        marks=_whole(aws, "C13", since),
        description="$0.045 per NAT Gateway Hour",
    )
    traffic = only(
        metered(span, aws.seed, "natb/staging", 14.0, weekend=0.4), span, span.start, since - timedelta(days=1)
    )
    live = metered(span, aws.seed, "natb/prod", 55.0, weekend=0.8, growth=0.1)
    prod = next(stream.fields["resource"] for stream in aws.streams if stream.name == "nat/prod")
    for account, resource, usage in (("staging", gateway, traffic), ("prod", prod, live)):
        meter = ("NatGateway-Bytes", "NatGateway", "GB", "NAT Gateway")
        aws.add(
            f"natb/{account}",
            account,
            "AmazonEC2",
            meter,
            usage,
            "0.045",
            resource=resource,
            tags=tagged(f"nat-{account}", account, "platform"),
            description="$0.045 per GB Data Processed by NAT Gateways",
        )
    what = "The NAT gateway of staging has passed no traffic for months."
    book.plant("C13", "idle_gateway", (gateway,), (since, span.end), (a_year(hours), "USD"), what)
    balancer = aws.arn("elasticloadbalancing", "staging", f"loadbalancer/app/demo/{hex_id(aws.seed, 'alb/demo', 16)}")
    start = span.month(14)
    idle = aws.add(
        "alb/demo",
        "staging",
        "AWSELB",
        ("LoadBalancerUsage", "LoadBalancing:Application", "Hrs", "Load Balancer-Application"),
        only(steady(span, 24.0), span, start, span.end),
        "0.0225",
        resource=balancer,
        tags=tagged("demo", "staging", "shop"),
        marks=_whole(aws, "C14", start),
        description="$0.0225 per Application LoadBalancer-hour (or partial hour)",
    )
    what = "A load balancer has been up for over a year without one capacity unit of traffic."
    book.plant("C14", "idle_load_balancer", (balancer,), (start, span.end), (a_year(idle), "USD"), what)


def _idle_database(aws: Aws, book: Notebook) -> None:
    span = aws.span
    since = span.month(5)
    database = aws.arn("rds", "data", "db:survey-2024-1")
    text = {"instance_type": "db.r6g.large", "vcpu": "2", "memory": "16 GiB", "engine": "Aurora PostgreSQL"}
    hours = aws.add(
        "rds/survey",
        "data",
        "AmazonRDS",
        ("InstanceUsage:db.r6g.large", "CreateDBInstance:0021", "Hrs", "Database Instance"),
        steady(span, 24.0),
        "0.26",
        resource=database,
        tags=tagged("survey-2024", "prod", "data"),
        marks=_whole(aws, "C15", since),
        description="$0.26 per db.r6g.large Single-AZ instance hour (or partial hour) running Aurora PostgreSQL",
        more=text,
    )
    reads = metered(span, aws.seed, "rdsio/survey", 2_200_000, weekend=0.3, growth=0.0)
    aws.add(
        "rdsio/survey",
        "data",
        "AmazonRDS",
        ("Aurora:StorageIOUsage", "CreateDBCluster:0021", "IOs", "System Operation"),
        only(reads, span, span.start, since - timedelta(days=1)),
        "0.0000002",
        resource=aws.arn("rds", "data", "cluster:survey-2024"),
        tags=tagged("survey-2024", "prod", "data"),
        engine="Aurora PostgreSQL",
        description="$0.20 per 1 million I/O requests for Aurora",
    )
    what = "The database survey-2024 runs day and night; not one read or write was charged for months."
    book.plant("C15", "idle_database", (database, "survey-2024"), (since, span.end), (a_year(hours), "USD"), what)


def _old_generation(aws: Aws, book: Notebook) -> None:
    span = aws.span
    for truth, name, kind, successor in (
        ("C16", "pim", "m4.xlarge", "0.192"),
        ("C17", "intranet", "t2.large", "0.0832"),
    ):
        tags = tagged(name, "prod", "platform")
        stream = aws.instance(name, "prod", kind, steady(span, 24.0), tags=tags, marks=_whole(aws, truth))
        hours = yearly_sum(stream.usage)
        worth = money(hours, stream.price) - money(hours, Decimal(successor))
        what = f"{name} runs on {kind}, a previous generation; the current one is cheaper and faster."
        subjects = (stream.fields["resource"],)
        book.plant(truth, "previous_generation", subjects, (span.start, span.end), (worth, "USD"), what)
    tags = tagged("media-cache", "prod", "shop")
    disk = aws.volume("media-cache", "prod", "gp2", 2000, tags=tags, marks=_whole(aws, "C18"))
    aws.instance("media-cache", "prod", "t3.large", steady(span, 24.0), tags=tags)
    worth = (a_year(disk) / 5).quantize(Decimal("0.01"))
    what = "A two-terabyte gp2 disk; gp3 gives the same for a fifth less."
    book.plant("C18", "previous_generation", (disk.fields["resource"],), (span.start, span.end), (worth, "USD"), what)


def _storage_class(aws: Aws, book: Notebook) -> None:
    span = aws.span
    stream = aws.add(
        "s3/hm-archive-2019",
        "data",
        "AmazonS3",
        ("TimedStorage-ByteHrs", "StandardStorage", "GB-Mo", "Storage"),
        aws.monthly(21_000),
        "0.023",
        resource="hm-archive-2019",
        tags=tagged("hm-archive-2019", "prod", "data"),
        marks=_whole(aws, "C19"),
        storage_class="General Purpose",
        description="$0.023 per GB - first 50 TB / month of storage used",
    )
    worth = (a_year(stream) * (Decimal("0.023") - Decimal("0.0125")) / Decimal("0.023")).quantize(Decimal("0.01"))
    what = "Twenty-one terabytes in the dearest storage class and not one request in two years."
    book.plant("C19", "storage_class", ("hm-archive-2019",), (span.start, span.end), (worth, "USD"), what)


def _nights(aws: Aws, book: Notebook) -> None:
    span = aws.span
    streams = [
        aws.instance(
            f"staging-{number}",
            "staging",
            "m6i.xlarge",
            steady(span, 24.0),
            tags=tagged(f"staging-{number}", "staging", "shop"),
            marks=_whole(aws, "C20"),
        )
        for number in (1, 2, 3)
    ]
    worth = (a_year(*streams) * (168 - 55) / 168).quantize(Decimal("0.01"))
    subjects = tuple(stream.fields["resource"] for stream in streams)
    what = "Three staging machines run 168 hours a week; people use them on weekdays."
    book.plant("C20", "nonproduction_nights", subjects, (span.start, span.end), (worth, "USD"), what)


def _untagged(aws: Aws, book: Notebook) -> None:
    span = aws.span
    start = span.month(10)
    hours = only(steady(span, 24.0), span, start, span.end)
    stream = aws.instance("sandbox", "sandbox", "c6i.xlarge", hours, marks=_whole(aws, "C21", start))
    disk = aws.volume("sandbox", "sandbox", "gp3", 300, marks=_whole(aws, "C21", start))
    disk = replace(disk, usage=only(disk.usage, span, start, span.end))
    aws.streams[-1] = disk
    subjects = (stream.fields["account"], stream.fields["resource"], disk.fields["resource"])
    what = "Nothing in the sandbox account carries a tag, so nobody owns its cost."
    worth = a_year(stream, disk)
    book.plant("C21", "untagged_spend", subjects, (start, span.end), (worth, "USD"), what)
