"""What Halden & Marsh runs on Azure, and what is wrong with it, as streams of daily usage in euro."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import numpy as np

from bursar.reports.sample.aws import NOTHING
from bursar.reports.sample.aws_planted import excess, money
from bursar.reports.sample.aws_waste import a_year
from bursar.reports.sample.model import Floats, Mark, Notebook, Span, Stream, guid, hex_id
from bursar.reports.sample.shapes import metered, office_hours, only, steady, times, yearly_sum

SERVICES = {
    "vm": ("Virtual Machines", "Compute", "Virtual machine", "microsoft.compute/virtualmachines"),
    "disk": ("Virtual Machines", "Compute", "Disk", "microsoft.compute/disks"),
    "sql": ("Azure SQL Database", "Databases", "SQL database", "microsoft.sql/servers/databases"),
    "blob": ("Storage Accounts", "Storage", "Storage account", "microsoft.storage/storageaccounts"),
    "logs": (
        "Log Analytics",
        "Management and Governance",
        "Log Analytics workspace",
        "microsoft.operationalinsights/workspaces",
    ),
    "adf": ("Azure Data Factory", "Integration", "Data factory (V2)", "microsoft.datafactory/factories"),
    "app": ("Azure App Service", "Web", "App Service plan", "microsoft.web/serverfarms"),
}
"""FOCUS service name, category, resource type and ARM type of what is used."""

RESERVED_RATE = Decimal("0.0612")
RESERVED_COUNT = 2


class Azure:
    """Collects streams; ids are lower case, as the export writes them."""

    def __init__(self, span: Span, seed: int) -> None:
        self.span = span
        self.seed = seed
        self.streams: list[Stream] = []
        self.subscriptions = {name: guid(seed, f"azure/{name}") for name in ("erp", "analytics")}

    def resource(self, subscription: str, service: str, name: str) -> str:
        """Return the resource id of ``name``."""
        group = f"rg-{subscription}"
        return f"/subscriptions/{self.subscriptions[subscription]}/resourcegroups/{group}/providers/{SERVICES[service][3]}/{name}"

    def add(
        self,
        service: str,
        subscription: str,
        name: str,
        meter: tuple[str, str, str],
        usage: Floats,
        price: str,
        *,
        tags: dict[str, str] | None = None,
        marks: tuple[Mark, ...] = (),
        more: Mapping[str, str] = NOTHING,
        **extra: str,
    ) -> Stream:
        """Add a stream; ``meter`` is (meter name, meter subcategory, unit)."""
        fields = {
            "service": service,
            "subscription": subscription,
            "resource": self.resource(subscription, service, name),
            "resource_name": name,
            "meter": meter[0],
            "subcategory": meter[1],
            "unit": meter[2],
            **more,
            **extra,
        }
        stream = Stream(f"{service}/{name}/{meter[0]}", usage, Decimal(price), fields, tags or {}, marks)
        self.streams.append(stream)
        return stream

    def machine(
        self,
        subscription: str,
        name: str,
        size: str,
        price: str,
        hours: Floats,
        *,
        env: str,
        marks: tuple[Mark, ...] = (),
        more: Mapping[str, str] = NOTHING,
        **extra: str,
    ) -> Stream:
        """Add a virtual machine of ``size`` (such as ``D4s v5``)."""
        sku = f"Standard_{size.replace(' ', '_')}"
        version = size.rsplit(" ", 1)[-1]
        meter = (size, f"{size[0]}{'S' if version == 'v2' else 's'}{version} Series", "Hours")
        tags = {"env": env, "team": "erp"}
        return self.add(
            "vm", subscription, name, meter, hours, price, tags=tags, marks=marks, more={"sku": sku, **more, **extra}
        )

    def disk(self, subscription: str, name: str, *, env: str, marks: tuple[Mark, ...] = ()) -> Stream:
        """Add a premium disk of 512 GiB."""
        meter = ("P20 LRS Disk", "Premium SSD Managed Disks", "1/Month")
        per_day = np.full(self.span.days, 1 / 30.4)
        return self.add(
            "disk", subscription, name, meter, per_day, "73.60", tags={"env": env, "team": "erp"}, marks=marks
        )


def estate(azure: Azure, book: Notebook) -> None:
    """Add the quiet part, then the planted one."""
    span, seed = azure.span, azure.seed
    for name in ("vm-erp-1", "vm-erp-2"):
        azure.machine("erp", name, "D4s v5", "0.2112", steady(span, 24.0), env="prod")
        azure.disk("erp", f"{name}_osdisk_1_{hex_id(seed, name, 32)}", env="prod")
    azure.machine("erp", "vm-test-1", "D4s v5", "0.2112", office_hours(span), env="test")
    size = metered(span, seed, "blob", 48.0, weekend=1.0, growth=0.15, noise=0.002)
    azure.add(
        "blob",
        "analytics",
        "hmlakehouse",
        ("Hot LRS Data Stored", "General Block Blob v2", "GB/Month"),
        size,
        "0.0184",
        tags={"env": "prod", "team": "data"},
    )
    azure.add(
        "app",
        "erp",
        "plan-portal",
        ("P1 v3", "Premium v3 Plan", "Hours"),
        steady(span, 24.0),
        "0.112",
        tags={"env": "prod", "team": "erp"},
    )
    azure.add(
        "blob",
        "analytics",
        "hmlakehouse",
        ("Hot Read Operations", "General Block Blob v2", "10K"),
        metered(span, seed, "blob/reads", 310.0, weekend=0.5, growth=0.15),
        "0.0043",
        tags={"env": "prod", "team": "data"},
    )
    _orphan(azure, book)
    _reservation(azure, book)
    _logs(azure, book)
    _old_generation(azure, book)
    _nights(azure, book)
    _price_rise(azure, book)
    _spike(azure, book)


def _orphan(azure: Azure, book: Notebook) -> None:
    span = azure.span
    gone = span.month(6)
    azure.machine(
        "erp",
        "vm-scan",
        "D4s v5",
        "0.2112",
        only(steady(span, 24.0), span, span.start, gone - timedelta(days=1)),
        env="prod",
    )
    name = f"vm-scan_osdisk_1_{hex_id(azure.seed, 'vm-scan', 32)}"
    disk = azure.disk("erp", name, env="prod", marks=(Mark("C26", gone, span.end),))
    what = "The system disk of vm-scan outlived its machine."
    book.plant("C26", "unattached_disk", (disk.fields["resource"], name), (gone, span.end), (a_year(disk), "EUR"), what)


def _reservation(azure: Azure, book: Notebook) -> None:
    span = azure.span
    since = span.month(5)
    order = guid(azure.seed, "azure/reservation")
    commitment = (
        f"/providers/microsoft.capacity/reservationorders/{guid(azure.seed, 'azure/order')}/reservations/{order}"
    )
    extra = {"commitment": commitment, "commitment_name": "VM_RI_D2s_v5_2025", "rate": str(RESERVED_RATE)}
    hours = steady(span, 24.0)
    for number in range(1, RESERVED_COUNT + 1):
        used = hours if number == 1 else only(hours, span, span.start, since - timedelta(days=1))
        azure.machine("erp", f"vm-edi-{number}", "D2s v5", "0.1056", used, env="prod", status="Used", more=extra)
    idle = only(hours, span, since, span.end)
    stream = azure.machine("erp", "", "D2s v5", "0.1056", idle, env="", status="Unused", more=extra)
    fields = {**stream.fields, "resource": "", "resource_name": ""}
    azure.streams[-1] = replace(
        stream, name="reservation/unused", fields=fields, tags={}, marks=(Mark("C27", since, span.end),)
    )
    worth = money(yearly_sum(np.nan_to_num(idle)), RESERVED_RATE)
    what = "One of two reserved D2s v5 machines was shut down; half of the reservation is unused."
    book.plant("C27", "unused_commitment", (commitment, "VM_RI_D2s_v5_2025"), (since, span.end), (worth, "EUR"), what)


def _logs(azure: Azure, book: Notebook) -> None:
    span = azure.span
    first = span.month(3) + timedelta(days=16)
    calm = metered(span, azure.seed, "la", 9.0, weekend=0.8, growth=0.05)
    usage = times(calm, span, first, span.end, 3.6)
    meter = ("Analytics Logs Data Ingestion", "Azure Monitor", "GB")
    marks = (Mark("C28", first, span.end),)
    stream = azure.add(
        "logs", "analytics", "law-central", meter, usage, "2.53", tags={"env": "prod", "team": "platform"}, marks=marks
    )
    what = "Log ingestion of the central workspace rose to three and a half times and stayed."
    subjects = ("Log Analytics", "law-central")
    book.plant(
        "C28", "cost_level_shift", subjects, (first, span.end), (excess(stream, calm, recurring=True), "EUR"), what
    )


def _old_generation(azure: Azure, book: Notebook) -> None:
    span = azure.span
    marks = (Mark("C29", span.start, span.end),)
    stream = azure.machine("erp", "vm-print", "DS3 v2", "0.2510", steady(span, 24.0), env="prod", marks=marks)
    hours = yearly_sum(stream.usage)
    worth = money(hours, stream.price) - money(hours, Decimal("0.2112"))
    what = "vm-print runs on DS3 v2, a previous generation; D4s v5 has more memory and costs less."
    book.plant(
        "C29",
        "previous_generation",
        (stream.fields["resource"], "vm-print"),
        (span.start, span.end),
        (worth, "EUR"),
        what,
    )


def _nights(azure: Azure, book: Notebook) -> None:
    span = azure.span
    marks = (Mark("C30", span.start, span.end),)
    streams = [
        azure.machine("analytics", f"aks-dev-{number}", "D4s v5", "0.2112", steady(span, 24.0), env="dev", marks=marks)
        for number in (1, 2)
    ]
    worth = (a_year(*streams) * (168 - 55) / 168).quantize(Decimal("0.01"))
    subjects = tuple(stream.fields["resource"] for stream in streams)
    what = "Two development nodes run day and night, also at weekends."
    book.plant("C30", "nonproduction_nights", subjects, (span.start, span.end), (worth, "EUR"), what)


def _price_rise(azure: Azure, book: Notebook) -> None:
    span = azure.span
    since = span.month(8)
    usage = steady(span, 24.0)
    meter = ("vCore", "Single/Elastic Pool General Purpose - Compute Gen5", "Hours")
    tags = {"env": "prod", "team": "erp"}
    old = only(usage, span, span.start, since - timedelta(days=1))
    stream = azure.add("sql", "erp", "sqldb-erp", meter, old, "0.4420", tags=tags)
    later = replace(
        stream,
        name="sql/sqldb-erp/later",
        usage=only(usage, span, since, span.end),
        price=Decimal("0.5216"),
        marks=(Mark("C31", since, span.end),),
    )
    azure.streams.append(later)
    worth = money(yearly_sum(usage), Decimal("0.5216") - Decimal("0.4420"))
    what = "The unit price of the ERP database rose by 18 %; the quantity did not change."
    subjects = (stream.fields["resource"], "sqldb-erp", "Azure SQL Database")
    book.plant("C31", "unit_price_rise", subjects, (since, span.end), (worth, "EUR"), what)


def _spike(azure: Azure, book: Notebook) -> None:
    span = azure.span
    first = span.month(1) + timedelta(days=15)
    last = first + timedelta(days=1)
    calm = metered(span, azure.seed, "adf", 21.0, weekend=0.5, growth=0.05)
    usage = times(calm, span, first, last, 18.0)
    meter = ("Cloud Data Movement", "Azure Data Factory v2", "Hours")
    marks = (Mark("C32", first, last),)
    stream = azure.add(
        "adf", "analytics", "adf-ingest", meter, usage, "0.21", tags={"env": "prod", "team": "data"}, marks=marks
    )
    worth = excess(stream, calm, recurring=False)
    what = "A copy job looped for two days."
    subjects = ("Azure Data Factory", "adf-ingest")
    book.plant("C32", "cost_spike", subjects, (first, last), (worth, "EUR"), what, recurring=False)
