"""What Halden & Marsh runs on Google Cloud, written as the detailed BigQuery billing export in newline-delimited JSON."""

import json
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np

from bursar.kernel.period import add_months, month_of
from bursar.reports.sample.aws_cur import code, plain
from bursar.reports.sample.aws_planted import excess
from bursar.reports.sample.aws_waste import a_year
from bursar.reports.sample.company import GCP_BILLING
from bursar.reports.sample.model import Floats, Mark, Notebook, SampleFile, Span, Stream, quantity
from bursar.reports.sample.shapes import metered, only, steady, times

SERVICES = {
    "compute": ("6F81-5844-456A", "Compute Engine"),
    "bigquery": ("24E6-581D-38E5", "BigQuery"),
    "storage": ("95FF-2EF5-5EA1", "Cloud Storage"),
}
RATE = Decimal("0.92")
"""Euro for a US dollar: the bill is in euro, list prices are in dollars."""

DISCOUNT = Decimal("-0.05")
"""A contract discount, written as a credit on every row."""

CREDIT = {"name": "Contract discount", "full_name": "Contract discount 5 %", "id": "hm-contract", "type": "DISCOUNT"}

PROJECT = ("hm-analytics", "411100220033")


class Gcp:
    """Collects streams."""

    def __init__(self, span: Span, seed: int) -> None:
        self.span = span
        self.seed = seed
        self.streams: list[Stream] = []

    def add(
        self,
        service: str,
        sku: str,
        unit: str,
        usage: Floats,
        price: str,
        *,
        resource: str,
        labels: dict[str, str] | None = None,
        marks: tuple[Mark, ...] = (),
    ) -> Stream:
        """Add a stream of the meter described by ``sku``."""
        fields = {"service": service, "sku": sku, "unit": unit, "resource": resource}
        stream = Stream(f"{sku}/{resource}", usage, Decimal(price), fields, labels or {}, marks)
        self.streams.append(stream)
        return stream


def estate(gcp: Gcp, book: Notebook) -> None:
    """Add the quiet part and the planted one."""
    span, seed = gcp.span, gcp.seed
    for name in ("etl-1", "etl-2"):
        labels = {"env": "prod", "team": "data"}
        gcp.add(
            "compute",
            "E2 Instance Core running in Belgium",
            "hour",
            steady(span, 96.0),
            "0.02399",
            resource=name,
            labels=labels,
        )
        gcp.add(
            "compute",
            "E2 Instance Ram running in Belgium",
            "gibibyte hour",
            steady(span, 384.0),
            "0.003215",
            resource=name,
            labels=labels,
        )
    size = metered(span, seed, "gcs", 61.0, weekend=1.0, growth=0.1, noise=0.002)
    gcp.add(
        "storage",
        "Standard Storage Belgium",
        "gibibyte month",
        size,
        "0.020",
        resource="hm-exports",
        labels={"env": "prod", "team": "data"},
    )
    operations = metered(span, seed, "gcs/operations", 21_000.0, weekend=0.6, growth=0.1)
    labels = {"env": "prod", "team": "data"}
    gcp.add(
        "storage",
        "Standard Class A Operations Belgium",
        "count",
        operations,
        "0.000005",
        resource="hm-exports",
        labels=labels,
    )
    _address(gcp, book)
    _disk(gcp, book)
    _queries(gcp, book)


def _address(gcp: Gcp, book: Notebook) -> None:
    span = gcp.span
    since = span.month(11)
    usage = only(steady(span, 24.0), span, since, span.end)
    marks = (Mark("C33", since, span.end),)
    labels = {"env": "prod", "team": "data"}
    stream = gcp.add(
        "compute", "Static Ip Charge", "hour", usage, "0.010", resource="ip-old-gateway", labels=labels, marks=marks
    )
    worth = _net(a_year(stream))
    what = "A static address on Google Cloud is reserved and unused."
    book.plant("C33", "idle_address", ("ip-old-gateway", "Static Ip Charge"), (since, span.end), (worth, "EUR"), what)


def _disk(gcp: Gcp, book: Notebook) -> None:
    span = gcp.span
    gone = span.month(5)
    labels = {"env": "prod", "team": "data", "instance": "notebook-anna"}
    hours = only(steady(span, 192.0), span, span.start, gone - timedelta(days=1))
    gcp.add(
        "compute",
        "N2 Instance Core running in Belgium",
        "hour",
        hours,
        "0.03478",
        resource="notebook-anna",
        labels=labels,
    )
    marks = (Mark("C34", gone, span.end),)
    size = np.full(span.days, 1000 / 30.4)
    disk = gcp.add(
        "compute",
        "SSD backed PD Capacity in Belgium",
        "gibibyte month",
        size,
        "0.187",
        resource="notebook-anna-disk",
        labels=labels,
        marks=marks,
    )
    what = "The disk of a deleted notebook machine is still there."
    book.plant("C34", "unattached_disk", ("notebook-anna-disk",), (gone, span.end), (_net(a_year(disk)), "EUR"), what)


def _queries(gcp: Gcp, book: Notebook) -> None:
    span = gcp.span
    first = span.month(8) + timedelta(days=9)
    last = first + timedelta(days=1)
    calm = metered(span, gcp.seed, "bq", 3.1, weekend=0.25, growth=0.15, noise=0.04)
    usage = times(calm, span, first, last, 22.0)
    marks = (Mark("C35", first, last),)
    labels = {"env": "prod", "team": "data"}
    stream = gcp.add(
        "bigquery",
        "Analysis (europe-west1)",
        "tebibyte",
        usage,
        "6.25",
        resource="hm-warehouse",
        labels=labels,
        marks=marks,
    )
    worth = _net(excess(stream, calm, recurring=False))
    what = "Queries without a partition filter read twenty times the usual volume for two days."
    subjects = ("BigQuery", "Analysis (europe-west1)", "hm-warehouse")
    book.plant("C35", "cost_spike", subjects, (first, last), (worth, "EUR"), what, recurring=False)


def _net(dollars: Decimal) -> Decimal:
    return dollars * RATE * (1 + DISCOUNT)


def write_exports(gcp: Gcp, book: Notebook, folder: Path) -> dict[date, Decimal]:
    """Write one export per year under ``folder``/cloud/gcp; return each invoice month's total after credits, in EUR."""
    totals: dict[date, Decimal] = {}
    months = gcp.span.all_months()
    for number in range(0, len(months), 12):
        part = months[number : number + 12]
        name = f"cloud/gcp/gcp_billing_export_resource_v1_{GCP_BILLING.replace('-', '_')}_{part[0]:%Y%m}.json"
        lines: list[str] = []
        gross = Decimal(0)
        for row, month, cost, net, truths in _rows(gcp, part[0], add_months(part[-1], 1)):
            lines.append(json.dumps(row, separators=(",", ":")))
            book.seen(truths, name, len(lines))
            totals[month] = totals.get(month, Decimal(0)) + net
            gross += cost
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
        book.files.append(SampleFile(name, "gcp-billing-export", len(lines), gross, "EUR"))
    return totals


def _rows(
    gcp: Gcp, start: date, end: date
) -> Iterator[tuple[dict[str, object], date, Decimal, Decimal, tuple[str, ...]]]:
    for index in range(gcp.span.index(start), gcp.span.index(end)):
        day = gcp.span.day(index)
        for stream in gcp.streams:
            used = float(stream.usage[index])
            if used == used:  # noqa: PLR0124  NaN is the only value that differs from itself: no row that day
                amount = quantity(used)
                cost = (amount * stream.price * RATE).quantize(Decimal("0.000001"))
                credit = (cost * DISCOUNT).quantize(Decimal("0.000001"))
                yield _row(stream, day, amount, cost, credit), month_of(day), cost, cost + credit, stream.truths(day)


def _row(stream: Stream, day: date, amount: Decimal, cost: Decimal, credit: Decimal) -> dict[str, object]:
    fields = stream.fields
    number, service = SERVICES[fields["service"]]
    sku = code(fields["sku"])
    after = day + timedelta(days=1)
    listed = f"{amount * stream.price * RATE:.6f}"
    return {
        "billing_account_id": GCP_BILLING,
        "service": {"id": number, "description": service},
        "sku": {"id": f"{sku[:4]}-{sku[4:8]}-{sku[8:12]}", "description": fields["sku"]},
        "usage_start_time": f"{day} 00:00:00 UTC",
        "usage_end_time": f"{after} 00:00:00 UTC",
        "project": {
            "id": PROJECT[0],
            "number": PROJECT[1],
            "name": PROJECT[0],
            "labels": [],
            "ancestry_numbers": "/770011220033/",
            "ancestors": [{"resource_name": f"projects/{PROJECT[1]}", "display_name": PROJECT[0]}],
        },
        "labels": [{"key": key, "value": value} for key, value in sorted(stream.tags.items())],
        "system_labels": [],
        "location": {"location": "europe-west1", "country": "BE", "region": "europe-west1", "zone": "europe-west1-b"},
        "tags": [],
        "transaction_type": "GOOGLE",
        "seller_name": "Google",
        "export_time": f"{after} 07:12:40.551234 UTC",
        "cost": float(cost),
        "currency": "EUR",
        "currency_conversion_rate": float(RATE),
        "usage": {
            "amount": float(amount),
            "unit": fields["unit"],
            "amount_in_pricing_units": float(amount),
            "pricing_unit": fields["unit"],
        },
        "credits": [CREDIT | {"amount": float(credit)}],
        "invoice": {"month": f"{month_of(day):%Y%m}", "publisher_type": "GOOGLE"},
        "cost_type": "regular",
        "adjustment_info": None,
        "resource": {
            "name": fields["resource"],
            "global_name": f"//compute.googleapis.com/projects/{PROJECT[0]}/{fields['resource']}",
        },
        "price": {
            "effective_price": plain(stream.price * RATE),
            "tier_start_amount": "0",
            "unit": fields["unit"],
            "pricing_unit_quantity": "1",
            "list_price": plain(stream.price * RATE),
            "effective_price_default": plain(stream.price),
            "list_price_default": plain(stream.price),
        },
        "cost_at_list": float(listed),
    }
