"""Writes the AWS bill as a legacy Cost and Usage Report: one gzipped CSV a month, daily grain, with resource ids."""

import csv
import gzip
import hashlib
import io
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

from bursar.kernel.period import add_months
from bursar.reports.sample.aws import PRODUCTS, REGION, Aws
from bursar.reports.sample.aws_commitments import Fee
from bursar.reports.sample.company import AWS_PAYER
from bursar.reports.sample.model import Notebook, SampleFile, Stream, quantity

HEADER = (  # noqa: SIM905  a wrapped list of a hundred quoted names would hide the form of the header
    "identity/LineItemId identity/TimeInterval bill/InvoiceId bill/InvoicingEntity bill/BillingEntity bill/BillType "
    "bill/PayerAccountId bill/BillingPeriodStartDate bill/BillingPeriodEndDate lineItem/UsageAccountId "
    "lineItem/LineItemType lineItem/UsageStartDate lineItem/UsageEndDate lineItem/ProductCode lineItem/UsageType "
    "lineItem/Operation lineItem/AvailabilityZone lineItem/ResourceId lineItem/UsageAmount "
    "lineItem/NormalizationFactor lineItem/NormalizedUsageAmount lineItem/CurrencyCode lineItem/UnblendedRate "
    "lineItem/UnblendedCost lineItem/BlendedRate lineItem/BlendedCost lineItem/LineItemDescription lineItem/TaxType "
    "lineItem/LegalEntity product/ProductName product/databaseEngine product/instanceType product/location "
    "product/locationType product/memory product/operatingSystem product/operation product/productFamily "
    "product/region product/regionCode product/servicecode product/servicename product/sku product/storageClass "
    "product/usagetype product/vcpu product/volumeType pricing/LeaseContractLength pricing/OfferingClass "
    "pricing/PurchaseOption pricing/RateCode pricing/RateId pricing/currency pricing/publicOnDemandCost "
    "pricing/publicOnDemandRate pricing/term pricing/unit reservation/AmortizedUpfrontCostForUsage "
    "reservation/AmortizedUpfrontFeeForBillingPeriod reservation/EffectiveCost reservation/EndTime "
    "reservation/ModificationStatus reservation/NormalizedUnitsPerReservation reservation/NumberOfReservations "
    "reservation/RecurringFeeForUsage reservation/ReservationARN reservation/StartTime reservation/SubscriptionId "
    "reservation/TotalReservedNormalizedUnits reservation/TotalReservedUnits reservation/UnitsPerReservation "
    "reservation/UnusedAmortizedUpfrontFeeForBillingPeriod reservation/UnusedNormalizedUnitQuantity "
    "reservation/UnusedQuantity reservation/UnusedRecurringFee reservation/UpfrontValue "
    "savingsPlan/TotalCommitmentToDate savingsPlan/SavingsPlanARN savingsPlan/SavingsPlanRate "
    "savingsPlan/UsedCommitment savingsPlan/SavingsPlanEffectiveCost "
    "savingsPlan/AmortizedUpfrontCommitmentForBillingPeriod savingsPlan/RecurringCommitmentForBillingPeriod "
    "resourceTags/user:Name resourceTags/user:env resourceTags/user:team"
).split()

ENTITY = "Amazon Web Services, Inc."

Row = dict[str, str]


def plain(value: Decimal) -> str:
    """Write a decimal without an exponent and without needless zeros, at most ten places."""
    text = f"{value:.10f}".rstrip("0")
    return text + "0" if text.endswith(".") else text


def code(text: str) -> str:
    """Return an invented 16-character code, as SKUs have."""
    return hashlib.sha256(text.encode()).hexdigest()[:16].upper()


def write_bills(aws: Aws, fees: list[Fee], book: Notebook, folder: Path) -> dict[date, Decimal]:
    """Write one file per month under ``folder``/cloud/aws and return what each month's invoice comes to, in USD."""
    totals = {}
    for month in aws.span.all_months():
        end = add_months(month, 1)
        name = f"cloud/aws/hm-daily-{month:%Y%m%d}-{end:%Y%m%d}.csv.gz"
        total, number = Decimal(0), 0
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, HEADER, restval="", lineterminator="\n")
        writer.writeheader()
        for number, (row, truths) in enumerate(_rows(aws, fees, month, end), start=1):
            writer.writerow(row)
            book.seen(truths, name, number + 1)
            total += Decimal(row["lineItem/UnblendedCost"])
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.getvalue().encode(), compresslevel=6, mtime=0))
        book.files.append(SampleFile(name, "aws-cur-legacy", number, total, "USD"))
        totals[month] = total
    return totals


def _rows(aws: Aws, fees: list[Fee], month: date, end: date) -> Iterator[tuple[Row, tuple[str, ...]]]:
    bill = {
        "bill/InvoiceId": str(2_100_000_000 + month.year * 100 + month.month),
        "bill/InvoicingEntity": ENTITY,
        "bill/BillingEntity": "AWS",
        "bill/BillType": "Anniversary",
        "bill/PayerAccountId": AWS_PAYER,
        "bill/BillingPeriodStartDate": f"{month}T00:00:00.000Z",
        "bill/BillingPeriodEndDate": f"{end}T00:00:00.000Z",
        "lineItem/CurrencyCode": "USD",
        "lineItem/LegalEntity": ENTITY,
        "pricing/currency": "USD",
    }
    for index in range(aws.span.index(month), aws.span.index(end)):
        day = aws.span.day(index)
        for stream in aws.streams:
            used = float(stream.usage[index])
            if used == used:  # noqa: PLR0124  NaN is the only value that differs from itself: no row that day
                yield bill | _usage(stream, day, quantity(used)), stream.truths(day)
    for fee in fees:
        if fee.month == month:
            yield bill | _fee(fee), fee.truths


def _period(start: date, end: date) -> Row:
    return {
        "identity/TimeInterval": f"{start}T00:00:00Z/{end}T00:00:00Z",
        "lineItem/UsageStartDate": f"{start}T00:00:00Z",
        "lineItem/UsageEndDate": f"{end}T00:00:00Z",
    }


def _usage(stream: Stream, day: date, amount: Decimal) -> Row:
    fields, tags = stream.fields, stream.tags
    product, cost = fields["product"], amount * stream.price
    sku = code(f"{product}/{fields['usage_type']}/{fields['operation']}")
    discounted = fields["line"] == "DiscountedUsage"
    billed = Decimal(0) if discounted else cost
    row = _period(day, day + timedelta(days=1)) | {
        "identity/LineItemId": hashlib.sha256(f"{stream.name}/{day}".encode()).hexdigest()[:52],
        "lineItem/UsageAccountId": fields["account"],
        "lineItem/LineItemType": fields["line"],
        "lineItem/ProductCode": product,
        "lineItem/UsageType": fields["usage_type"],
        "lineItem/Operation": fields["operation"],
        "lineItem/AvailabilityZone": fields.get("az", ""),
        "lineItem/ResourceId": fields["resource"],
        "lineItem/UsageAmount": plain(amount),
        "lineItem/UnblendedRate": "0.0" if discounted else plain(stream.price),
        "lineItem/UnblendedCost": plain(billed),
        "lineItem/BlendedRate": "0.0" if discounted else plain(stream.price),
        "lineItem/BlendedCost": plain(billed),
        "lineItem/LineItemDescription": fields.get("description", ""),
        "pricing/RateCode": f"{sku}.JRTCKXETXF.6YS6EN2CT7",
        "pricing/RateId": str(int(sku[:8], 16)),
        "pricing/publicOnDemandCost": plain(cost),
        "pricing/publicOnDemandRate": plain(stream.price),
        "pricing/term": "Reserved" if discounted else "OnDemand",
        "pricing/unit": fields["unit"],
        "resourceTags/user:Name": tags.get("Name", ""),
        "resourceTags/user:env": tags.get("env", ""),
        "resourceTags/user:team": tags.get("team", ""),
    }
    return row | _product(fields, sku) | _commitment(fields, amount)


def _product(fields: Mapping[str, str], sku: str) -> Row:
    name = PRODUCTS[fields["product"]]
    return {
        "product/ProductName": name,
        "product/databaseEngine": fields.get("engine", ""),
        "product/instanceType": fields.get("instance_type", ""),
        "product/location": "US East (N. Virginia)",
        "product/locationType": "AWS Region",
        "product/memory": fields.get("memory", ""),
        "product/operatingSystem": "Linux" if fields["usage_type"].startswith("BoxUsage") else "",
        "product/operation": fields["operation"],
        "product/productFamily": fields["family"],
        "product/region": REGION,
        "product/regionCode": REGION,
        "product/servicecode": fields["product"],
        "product/servicename": name,
        "product/sku": sku,
        "product/storageClass": fields.get("storage_class", ""),
        "product/usagetype": fields["usage_type"],
        "product/vcpu": fields.get("vcpu", ""),
        "product/volumeType": fields.get("volume_type", ""),
    }


def _commitment(fields: Mapping[str, str], amount: Decimal) -> Row:
    if fields["line"] == "DiscountedUsage":
        cost = plain(amount * Decimal(fields["rate"]))
        return {
            "reservation/EffectiveCost": cost,
            "reservation/RecurringFeeForUsage": cost,
            "reservation/AmortizedUpfrontCostForUsage": "0.0",
            "reservation/ReservationARN": fields["commitment"],
            "reservation/SubscriptionId": fields["subscription"],
            "pricing/LeaseContractLength": "1yr",
            "pricing/OfferingClass": "standard",
            "pricing/PurchaseOption": "No Upfront",
        }
    if fields["line"] == "SavingsPlanCoveredUsage":
        return {
            "savingsPlan/SavingsPlanARN": fields["commitment"],
            "savingsPlan/SavingsPlanRate": fields["rate"],
            "savingsPlan/SavingsPlanEffectiveCost": plain(amount * Decimal(fields["rate"])),
        }
    return {}


def _fee(fee: Fee) -> Row:
    cost = plain(fee.cost)
    return (
        _period(fee.start, fee.end)
        | {
            "identity/LineItemId": hashlib.sha256(f"{fee.name}/{fee.start}".encode()).hexdigest()[:52],
            "lineItem/UsageAccountId": fee.account,
            "lineItem/LineItemType": fee.line,
            "lineItem/ProductCode": fee.product,
            "lineItem/UsageAmount": plain(fee.amount),
            "lineItem/UnblendedRate": plain(fee.rate),
            "lineItem/UnblendedCost": cost,
            "lineItem/BlendedRate": plain(fee.rate),
            "lineItem/BlendedCost": cost,
            "lineItem/LineItemDescription": fee.text,
            "product/ProductName": fee.product_name,
        }
        | dict(fee.extra)
    )
