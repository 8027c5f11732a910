"""What Halden & Marsh runs on AWS: the quiet part of the estate, as streams of daily usage."""

import calendar
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType

import numpy as np

from bursar.reports.sample.company import AWS_ACCOUNTS
from bursar.reports.sample.model import Floats, Mark, Span, Stream, hex_id
from bursar.reports.sample.shapes import metered, office_hours, steady

REGION = "us-east-1"

NOTHING: Mapping[str, str] = MappingProxyType({})

PRODUCTS = {
    "AmazonEC2": "Amazon Elastic Compute Cloud",
    "AmazonS3": "Amazon Simple Storage Service",
    "AmazonRDS": "Amazon Relational Database Service",
    "AmazonCloudWatch": "AmazonCloudWatch",
    "AWSLambda": "AWS Lambda",
    "AWSELB": "Elastic Load Balancing",
    "AmazonVPC": "Amazon Virtual Private Cloud",
    "AWSDataTransfer": "AWS Data Transfer",
    "AmazonGuardDuty": "Amazon GuardDuty",
    "AmazonSageMaker": "Amazon SageMaker",
    "AmazonECR": "Amazon EC2 Container Registry (ECR)",
    "AmazonDynamoDB": "Amazon DynamoDB",
}

INSTANCES = {
    "m6i.large": ("0.096", "2", "8 GiB"),
    "m6i.xlarge": ("0.192", "4", "16 GiB"),
    "m5.large": ("0.096", "2", "8 GiB"),
    "m4.xlarge": ("0.20", "4", "16 GiB"),
    "t2.large": ("0.0928", "2", "8 GiB"),
    "t3.large": ("0.0832", "2", "8 GiB"),
    "r6i.large": ("0.126", "2", "16 GiB"),
    "r6i.xlarge": ("0.252", "4", "32 GiB"),
    "c6i.xlarge": ("0.17", "4", "8 GiB"),
}
"""On-demand price per hour, vCPU and memory of the types used."""


class Aws:
    """Collects streams; knows the field names that the writer of the report needs."""

    def __init__(self, span: Span, seed: int) -> None:
        self.span = span
        self.seed = seed
        self.streams: list[Stream] = []

    def arn(self, service: str, account: str, what: str) -> str:
        """Return the ARN of a resource of ``account`` (its short name)."""
        region = "" if service == "s3" else REGION
        return f"arn:aws:{service}:{region}:{AWS_ACCOUNTS[account][0]}:{what}"

    def add(
        self,
        name: str,
        account: str,
        product: str,
        meter: tuple[str, str, str, str],
        usage: Floats,
        price: str,
        *,
        resource: str,
        tags: dict[str, str] | None = None,
        marks: tuple[Mark, ...] = (),
        more: Mapping[str, str] = NOTHING,
        **extra: str,
    ) -> Stream:
        """Add a stream; ``meter`` is (usage type, operation, unit, product family)."""
        usage_type, operation, unit, family = meter
        fields = {
            "account": AWS_ACCOUNTS[account][0],
            "product": product,
            "usage_type": usage_type,
            "operation": operation,
            "unit": unit,
            "family": family,
            "resource": resource,
            "line": "Usage",
            **more,
            **extra,
        }
        stream = Stream(name, usage, Decimal(price), fields, tags or {}, marks)
        self.streams.append(stream)
        return stream

    def monthly(self, amount: Floats | float) -> Floats:
        """Spread a quantity held all month (GB) over its days, as the vendor does: GB-months per day."""
        spread = [1 / calendar.monthrange(day.year, day.month)[1] for day in map(self.span.day, range(self.span.days))]
        return np.asarray(np.asarray(amount) * np.array(spread), dtype=np.float64)

    def instance(
        self,
        name: str,
        account: str,
        kind: str,
        hours: Floats,
        *,
        tags: dict[str, str] | None = None,
        marks: tuple[Mark, ...] = (),
        more: Mapping[str, str] = NOTHING,
        **extra: str,
    ) -> Stream:
        """Add an EC2 Linux instance with its hours per day."""
        price, vcpu, memory = INSTANCES[kind]
        return self.add(
            f"ec2/{name}",
            account,
            "AmazonEC2",
            (f"BoxUsage:{kind}", "RunInstances", "Hrs", "Compute Instance"),
            hours,
            price,
            resource=self.instance_id(name),
            tags=tags,
            marks=marks,
            more={
                "instance_type": kind,
                "vcpu": vcpu,
                "memory": memory,
                "az": f"{REGION}a",
                "description": f"${price} per On Demand Linux {kind} Instance Hour",
                **more,
                **extra,
            },
        )

    def instance_id(self, name: str) -> str:
        """Return the id of the instance called ``name``."""
        return "i-0" + hex_id(self.seed, f"ec2/{name}", 16)

    def volume_id(self, name: str) -> str:
        """Return the id of the volume called ``name``."""
        return "vol-0" + hex_id(self.seed, f"vol/{name}", 16)

    def volume(
        self,
        name: str,
        account: str,
        kind: str,
        gigabytes: float,
        *,
        tags: dict[str, str] | None = None,
        marks: tuple[Mark, ...] = (),
    ) -> Stream:
        """Add an EBS volume of ``gigabytes``, of kind gp2 or gp3."""
        price = {"gp2": "0.10", "gp3": "0.08"}[kind]
        return self.add(
            f"vol/{name}",
            account,
            "AmazonEC2",
            (f"EBS:VolumeUsage.{kind}", f"CreateVolume-{kind.title()}", "GB-Mo", "Storage"),
            self.monthly(gigabytes),
            price,
            resource=self.volume_id(name),
            tags=tags,
            marks=marks,
            volume_type="General Purpose",
            description=f"${price} per GB-month of General Purpose ({kind}) provisioned storage",
        )


def tagged(name: str, env: str, team: str) -> dict[str, str]:
    """Return the three tags that the company's policy asks for."""
    return {"Name": name, "env": env, "team": team}


def quiet(aws: Aws) -> None:
    """Add everything that behaves: the part in which a detector must find nothing."""
    span, seed = aws.span, aws.seed
    for number in (1, 2, 3):
        name = f"web-prod-{number}"
        aws.instance(name, "prod", "m6i.large", steady(span, 24.0), tags=tagged(name, "prod", "shop"))
        aws.volume(name, "prod", "gp3", 60, tags=tagged(name, "prod", "shop"))
    aws.instance("build-1", "staging", "c6i.xlarge", office_hours(span), tags=tagged("build-1", "ci", "platform"))
    for name, gigabytes, growth in (("hm-assets", 900.0, 0.12), ("hm-backups", 2400.0, 0.08)):
        size = metered(span, seed, f"s3/{name}", gigabytes, weekend=1.0, growth=growth, noise=0.002)
        meter = ("TimedStorage-ByteHrs", "StandardStorage", "GB-Mo", "Storage")
        extra = {
            "storage_class": "General Purpose",
            "description": "$0.023 per GB - first 50 TB / month of storage used",
        }
        aws.add(
            f"s3/{name}",
            "prod",
            "AmazonS3",
            meter,
            aws.monthly(size),
            "0.023",
            resource=name,
            tags=tagged(name, "prod", "shop"),
            more=extra,
        )
        requests = metered(span, seed, f"s3r/{name}", 240_000, weekend=0.75, growth=growth)
        meter = ("Requests-Tier1", "PutObject", "Requests", "API Request")
        text = {"description": "$0.005 per 1,000 PUT, COPY, POST, or LIST requests"}
        aws.add(
            f"s3r/{name}",
            "prod",
            "AmazonS3",
            meter,
            requests,
            "0.000005",
            resource=name,
            tags=tagged(name, "prod", "shop"),
            more=text,
        )
    _databases(aws)
    _network(aws)
    _serverless(aws)


def _databases(aws: Aws) -> None:
    span, seed = aws.span, aws.seed
    for name, growth in (("shop-orders", 0.15), ("shop-catalog", 0.05)):
        resource, tags = aws.arn("rds", "prod", f"cluster:{name}"), tagged(name, "prod", "shop")
        meter = ("InstanceUsage:db.r6g.large", "CreateDBInstance:0021", "Hrs", "Database Instance")
        text = {
            "instance_type": "db.r6g.large",
            "vcpu": "2",
            "memory": "16 GiB",
            "engine": "Aurora PostgreSQL",
            "description": "$0.26 per db.r6g.large Single-AZ instance hour (or partial hour) running Aurora PostgreSQL",
        }
        aws.add(
            f"rds/{name}",
            "prod",
            "AmazonRDS",
            meter,
            steady(span, 24.0),
            "0.26",
            resource=aws.arn("rds", "prod", f"db:{name}-1"),
            tags=tags,
            more=text,
        )
        reads = metered(span, seed, f"rdsio/{name}", 7_500_000, weekend=0.8, growth=growth)
        meter = ("Aurora:StorageIOUsage", "CreateDBCluster:0021", "IOs", "System Operation")
        text = {"engine": "Aurora PostgreSQL", "description": "$0.20 per 1 million I/O requests for Aurora"}
        aws.add(
            f"rdsio/{name}", "prod", "AmazonRDS", meter, reads, "0.0000002", resource=resource, tags=tags, more=text
        )


def _network(aws: Aws) -> None:
    span, seed = aws.span, aws.seed
    balancer = aws.arn("elasticloadbalancing", "prod", f"loadbalancer/app/shop/{hex_id(seed, 'alb/shop', 16)}")
    tags = tagged("shop", "prod", "shop")
    meter = ("LoadBalancerUsage", "LoadBalancing:Application", "Hrs", "Load Balancer-Application")
    text = "$0.0225 per Application LoadBalancer-hour (or partial hour)"
    aws.add(
        "alb/shop",
        "prod",
        "AWSELB",
        meter,
        steady(span, 24.0),
        "0.0225",
        resource=balancer,
        tags=tags,
        description=text,
    )
    meter = ("LCUUsage", "LoadBalancing:Application", "LCU-Hrs", "Load Balancer-Application")
    lcu = metered(span, seed, "lcu/shop", 70, weekend=0.8, growth=0.15)
    text = "$0.008 per used Application load balancer capacity unit-hour (or partial hour)"
    aws.add("lcu/shop", "prod", "AWSELB", meter, lcu, "0.008", resource=balancer, tags=tags, description=text)
    gateway = aws.arn("ec2", "prod", f"natgateway/nat-0{hex_id(seed, 'nat/prod', 16)}")
    tags = tagged("nat-prod", "prod", "platform")
    meter = ("NatGateway-Hours", "NatGateway", "Hrs", "NAT Gateway")
    text = "$0.045 per NAT Gateway Hour"
    aws.add(
        "nat/prod",
        "prod",
        "AmazonEC2",
        meter,
        steady(span, 24.0),
        "0.045",
        resource=gateway,
        tags=tags,
        description=text,
    )


def _serverless(aws: Aws) -> None:
    span, seed = aws.span, aws.seed
    for name, base in (("thumbnails", 1_900_000.0), ("mailer", 520_000.0)):
        meter = ("Lambda-GB-Second", "Invoke", "Lambda-GB-Second", "Serverless")
        text = "AWS Lambda - Total Compute - US East (Northern Virginia)"
        aws.add(
            f"lambda/{name}",
            "prod",
            "AWSLambda",
            meter,
            metered(span, seed, f"lambda/{name}", base, weekend=0.6, growth=0.2),
            "0.0000166667",
            resource=aws.arn("lambda", "prod", f"function:{name}"),
            tags=tagged(name, "prod", "shop"),
            description=text,
        )
    meter = ("WriteRequestUnits", "PutItem", "WriteRequestUnits", "Amazon DynamoDB PayPerRequest Throughput")
    aws.add(
        "ddb/carts",
        "prod",
        "AmazonDynamoDB",
        meter,
        metered(span, seed, "ddb/carts", 6_800_000, weekend=1.15, growth=0.2),
        "0.00000125",
        resource=aws.arn("dynamodb", "prod", "table/carts"),
        tags=tagged("carts", "prod", "shop"),
        description="$1.25 per million write request units (N. Virginia)",
    )
