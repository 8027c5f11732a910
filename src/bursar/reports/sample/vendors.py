"""Two smaller vendors: a SaaS vendor's FOCUS 1.2 file, and the cost pages of OpenAI's organisation API."""

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np

from bursar.kernel.period import add_months
from bursar.reports.sample.aws_cur import plain
from bursar.reports.sample.company import COMPANY
from bursar.reports.sample.model import Floats, Notebook, SampleFile, Span
from bursar.reports.sample.shapes import between, metered, times, yearly_sum

SAAS = "Signalgrid"

HEADER = (  # noqa: SIM905  a wrapped list of sixty quoted names would hide the form of the header
    "AvailabilityZone BilledCost BillingAccountId BillingAccountName BillingAccountType BillingCurrency "
    "BillingPeriodEnd BillingPeriodStart CapacityReservationId CapacityReservationStatus ChargeCategory "
    "ChargeClass ChargeDescription ChargeFrequency ChargePeriodEnd ChargePeriodStart CommitmentDiscountCategory "
    "CommitmentDiscountId CommitmentDiscountName CommitmentDiscountQuantity CommitmentDiscountStatus "
    "CommitmentDiscountType CommitmentDiscountUnit ConsumedQuantity ConsumedUnit ContractedCost "
    "ContractedUnitPrice EffectiveCost InvoiceId InvoiceIssuerName ListCost ListUnitPrice PricingCategory "
    "PricingCurrency PricingCurrencyContractedUnitPrice PricingCurrencyEffectiveCost PricingCurrencyListUnitPrice "
    "PricingQuantity PricingUnit ProviderName PublisherName RegionId RegionName ResourceId ResourceName "
    "ResourceType ServiceCategory ServiceName ServiceSubcategory SkuId SkuMeter SkuPriceDetails SkuPriceId "
    "SubAccountId SubAccountName SubAccountType Tags"
).split()

Charge = tuple[str, str, Decimal, Decimal, str, tuple[str, ...]]
"""Product, SKU, quantity, unit price, unit, truths."""


def write_saas(span: Span, book: Notebook, folder: Path) -> dict[date, Decimal]:
    """Write ``folder``/cloud/signalgrid-focus-1.2.csv; return each month's invoice in EUR."""
    name = "cloud/signalgrid-focus-1.2.csv"
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, HEADER, restval="", lineterminator="\n")
    writer.writeheader()
    totals: dict[date, Decimal] = {}
    line = 1
    for back in range(span.months - 1, -1, -1):
        month = span.month(back)
        for charge in _charges(span.months - 1 - back, back):
            line += 1
            writer.writerow(_row(month, charge))
            book.seen(charge[5], name, line)
            totals[month] = totals.get(month, Decimal(0)) + charge[2] * charge[3]
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    book.files.append(SampleFile(name, "focus-1.2", line - 1, sum(totals.values(), Decimal(0)), "EUR"))
    _plant(span, book)
    return totals


def _charges(age: int, back: int) -> Iterator[Charge]:
    dearer = back <= 6
    hosts: Charge = ("Infrastructure Monitoring", "SG-INFRA-PRO", Decimal(34), Decimal("15.00"), "Hosts", ())
    yield hosts
    price = Decimal("27.73") if dearer else Decimal("23.50")
    yield "Application Tracing", "SG-APM", Decimal(18), price, "Hosts", ("C37",) if dearer else ()
    seats = Decimal(12 + age)
    yield "Incident Desk", "SG-SEAT", seats, Decimal("19.00"), "Seats", ("C38",) if back <= 12 else ()
    synthetic = ("Synthetic Checks", "SG-SYN", Decimal(260), Decimal("0.72"), "Thousand Runs")
    copies = 2 if back == 2 else 1
    for _ in range(copies):
        yield *synthetic, ("C36",) if copies > 1 else ()


def _plant(span: Span, book: Notebook) -> None:
    twice, dearer, year_ago = span.month(2), span.month(6), span.month(12)
    once = (twice, add_months(twice, 1) - timedelta(days=1))
    amount = Decimal(260) * Decimal("0.72")
    what = "The synthetic checks of one month are on the invoice twice, line for line."
    book.plant(
        "C36", "duplicate_charge", ("SG-SYN", "Synthetic Checks", SAAS), once, (amount, "EUR"), what, recurring=False
    )
    rise = (Decimal("27.73") - Decimal("23.50")) * 18 * 12
    what = "Tracing became 18 % dearer per host at renewal."
    book.plant(
        "C37", "unit_price_rise", ("SG-APM", "Application Tracing", SAAS), (dearer, span.end), (rise, "EUR"), what
    )
    growth = Decimal(12 * 19 * 12)
    what = "One more seat of the incident desk every month for two years; nobody gives one back."
    book.plant("C38", "seat_creep", ("SG-SEAT", "Incident Desk", SAAS), (year_ago, span.end), (growth, "EUR"), what)


def _row(month: date, charge: Charge) -> dict[str, str]:
    product, sku, amount, price, unit, _ = charge
    end = add_months(month, 1)
    cost = plain(amount * price)
    return {
        "BilledCost": cost,
        "BillingAccountId": "SG-550071",
        "BillingAccountName": COMPANY,
        "BillingAccountType": "Organization",
        "BillingCurrency": "EUR",
        "BillingPeriodEnd": f"{end}T00:00:00Z",
        "BillingPeriodStart": f"{month}T00:00:00Z",
        "ChargeCategory": "Usage",
        "ChargeDescription": f"{product}, {unit.lower()} per month",
        "ChargeFrequency": "Recurring",
        "ChargePeriodEnd": f"{end}T00:00:00Z",
        "ChargePeriodStart": f"{month}T00:00:00Z",
        "ConsumedQuantity": plain(amount),
        "ConsumedUnit": unit,
        "ContractedCost": cost,
        "ContractedUnitPrice": plain(price),
        "EffectiveCost": cost,
        "InvoiceId": f"SG-{month:%Y-%m}-0071",
        "InvoiceIssuerName": SAAS,
        "ListCost": cost,
        "ListUnitPrice": plain(price),
        "PricingCategory": "Standard",
        "PricingCurrency": "EUR",
        "PricingCurrencyContractedUnitPrice": plain(price),
        "PricingCurrencyEffectiveCost": cost,
        "PricingCurrencyListUnitPrice": plain(price),
        "PricingQuantity": plain(amount),
        "PricingUnit": unit,
        "ProviderName": SAAS,
        "PublisherName": SAAS,
        "ResourceId": sku.lower(),
        "ResourceName": product,
        "ResourceType": "Subscription",
        "ServiceCategory": "Management and Governance",
        "ServiceName": product,
        "ServiceSubcategory": "Observability",
        "SkuId": sku,
        "SkuMeter": product,
        "SkuPriceId": f"{sku}-EUR-MONTH",
        "SubAccountId": "team-platform",
        "SubAccountName": "Platform",
        "SubAccountType": "Team",
        "Tags": json.dumps({"env": "prod", "team": "platform"}),
    }


BUCKETS_A_PAGE = 180
"""The largest page the vendor's cost endpoint gives."""

OpenAi = dict[tuple[str, str], Floats]


def _tokens(span: Span, seed: int) -> OpenAi:
    """Return dollars a day per (project, line item)."""
    support = metered(span, seed, "openai/support", 9.0, weekend=0.45, growth=0.3, noise=0.04)
    extract = metered(span, seed, "openai/extract", 14.0, weekend=0.2, growth=0.15, noise=0.04)
    loop = span.month(1) + timedelta(days=18)
    bigger = span.month(3) + timedelta(days=6)
    return {
        ("proj_support", "gpt-4o-mini, input"): support,
        ("proj_support", "gpt-4o-mini, output"): support * 0.6,
        ("proj_extract", "gpt-4o, input"): times(extract, span, loop, loop + timedelta(days=2), 16.0),
        ("proj_extract", "gpt-4o, output"): times(extract * 0.8, span, bigger, span.end, 2.9),
    }


def write_openai(span: Span, seed: int, book: Notebook, folder: Path) -> dict[date, Decimal]:
    """Write the pages under ``folder``/cloud/openai; return each month's cost in USD."""
    usage = _tokens(span, seed)
    totals: dict[date, Decimal] = {}
    for page, first in enumerate(range(0, span.days, BUCKETS_A_PAGE), start=1):
        last = min(first + BUCKETS_A_PAGE, span.days)
        name = f"cloud/openai/organization-costs-page-{page:02d}.json"
        buckets, whole = [], Decimal(0)
        for index in range(first, last):
            bucket, cost = _bucket(span, usage, index)
            buckets.append(bucket)
            whole += cost
            month = span.day(index).replace(day=1)
            totals[month] = totals.get(month, Decimal(0)) + cost
        document = {"object": "page", "data": buckets, "has_more": last < span.days}
        document["next_page"] = f"page_{page + 1:04d}" if last < span.days else None
        text = json.dumps(document, indent=1) + "\n"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        book.files.append(SampleFile(name, "openai-costs", len(buckets) * len(usage), whole, "USD"))
        _find_rows(span, book, name, text)
    _plant_tokens(span, seed, usage, book)
    return totals


def _bucket(span: Span, usage: OpenAi, index: int) -> tuple[dict[str, object], Decimal]:
    start = datetime.combine(span.day(index), datetime.min.time(), UTC)
    results, whole = [], Decimal(0)
    for (project, item), dollars in usage.items():
        cost = Decimal(f"{dollars[index]:.6f}")
        whole += cost
        results.append(
            {
                "object": "organization.costs.result",
                "amount": {"value": float(cost), "currency": "usd"},
                "line_item": item,
                "project_id": project,
                "organization_id": "org-haldenmarsh",
            }
        )
    end = int((start + timedelta(days=1)).timestamp())
    return {"object": "bucket", "start_time": int(start.timestamp()), "end_time": end, "results": results}, whole


def _events(span: Span) -> dict[str, tuple[str, date, date]]:
    loop = span.month(1) + timedelta(days=18)
    bigger = span.month(3) + timedelta(days=6)
    return {
        "C39": ("gpt-4o, input", loop, loop + timedelta(days=2)),
        "C40": ("gpt-4o, output", bigger, span.end),
    }


def _find_rows(span: Span, book: Notebook, name: str, text: str) -> None:
    """Note the line on which the line item of every planted result stands."""
    day = span.start
    for number, line in enumerate(text.split("\n"), start=1):
        words = line.strip().rstrip(",")
        if words.startswith('"start_time"'):
            day = datetime.fromtimestamp(int(words.split(": ")[1]), UTC).date()
        for truth, (item, start, end) in _events(span).items():
            if words == f'"line_item": "{item}"' and start <= day <= end:
                book.seen((truth,), name, number)


def _plant_tokens(span: Span, seed: int, usage: OpenAi, book: Notebook) -> None:
    calm = metered(span, seed, "openai/extract", 14.0, weekend=0.2, growth=0.15, noise=0.04)
    item, start, end = _events(span)["C39"]
    part = between(span, start, end)
    extra = float(np.sum((usage["proj_extract", item] - calm)[part]))
    what = "A retry loop sent the same documents to the model for three days."
    worth = Decimal(f"{extra:.2f}")
    book.plant(
        "C39", "cost_spike", ("proj_extract", item, "openai"), (start, end), (worth, "USD"), what, recurring=False
    )
    item, start, end = _events(span)["C40"]
    shift = usage["proj_extract", item] - calm * 0.8
    what = "Answers became almost three times as long after a prompt change, and so did their cost."
    worth = Decimal(f"{yearly_sum(shift):.2f}")
    book.plant("C40", "cost_level_shift", ("proj_extract", item, "openai"), (start, end), (worth, "USD"), what)
