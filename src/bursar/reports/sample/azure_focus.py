"""Writes the Azure bill as Cost Management exports of the FOCUS 1.0 dataset: one CSV per quarter."""

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

from bursar.kernel.period import add_months
from bursar.reports.sample.aws_cur import plain
from bursar.reports.sample.azure import RESERVED_COUNT, RESERVED_RATE, SERVICES, Azure
from bursar.reports.sample.company import AZURE_BILLING, COMPANY
from bursar.reports.sample.model import Notebook, SampleFile, Stream, quantity

HEADER = (  # noqa: SIM905  a wrapped list of a hundred quoted names would hide the form of the header
    "BilledCost BillingAccountId BillingAccountName BillingAccountType BillingCurrency BillingPeriodEnd "
    "BillingPeriodStart ChargeCategory ChargeClass ChargeDescription ChargeFrequency ChargePeriodEnd "
    "ChargePeriodStart CommitmentDiscountCategory CommitmentDiscountId CommitmentDiscountName "
    "CommitmentDiscountStatus CommitmentDiscountType ConsumedQuantity ConsumedUnit ContractedCost "
    "ContractedUnitPrice EffectiveCost InvoiceIssuerName ListCost ListUnitPrice PricingCategory PricingQuantity "
    "PricingUnit ProviderName PublisherName RegionId RegionName ResourceId ResourceName ResourceType "
    "ServiceCategory ServiceName SkuId SkuPriceId SubAccountId SubAccountName SubAccountType Tags x_AccountId "
    "x_AccountName x_AccountOwnerId x_BilledCostInUsd x_BilledUnitPrice x_BillingAccountId x_BillingAccountName "
    "x_BillingExchangeRate x_BillingExchangeRateDate x_BillingProfileId x_BillingProfileName "
    "x_ContractedCostInUsd x_CostAllocationRuleName x_CostCenter x_CustomerId x_CustomerName "
    "x_EffectiveCostInUsd x_EffectiveUnitPrice x_InvoiceId x_InvoiceIssuerId x_InvoiceSectionId "
    "x_InvoiceSectionName x_ListCostInUsd x_PartnerCreditApplied x_PartnerCreditRate x_PricingBlockSize "
    "x_PricingCurrency x_PricingSubcategory x_PricingUnitDescription x_PublisherCategory x_PublisherId "
    "x_ResellerId x_ResellerName x_ResourceGroupName x_ResourceType x_ServicePeriodEnd x_ServicePeriodStart "
    "x_SkuDescription x_SkuDetails x_SkuIsCreditEligible x_SkuMeterCategory x_SkuMeterId x_SkuMeterName "
    "x_SkuMeterSubcategory x_SkuOfferId x_SkuOrderId x_SkuOrderName x_SkuPartNumber x_SkuRegion "
    "x_SkuServiceFamily x_SkuTerm x_SkuTier"
).split()

MONTHS_A_FILE = 3
DOLLARS_A_EURO = Decimal("1.08")

Row = dict[str, str]


def write_exports(azure: Azure, book: Notebook, folder: Path) -> dict[date, Decimal]:
    """Write the exports under ``folder``/cloud/azure; return what each month's invoice comes to, in EUR."""
    totals: dict[date, Decimal] = {}
    months = azure.span.all_months()
    for first in range(0, len(months), MONTHS_A_FILE):
        part = months[first : first + MONTHS_A_FILE]
        name = f"cloud/azure/hm-focus_{part[0]:%Y%m}-{part[-1]:%Y%m}.csv"
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, HEADER, restval="", lineterminator="\r\n")
        writer.writeheader()
        line, whole = 1, Decimal(0)
        for month in part:
            billed = Decimal(0)
            for row, truths in _rows(azure, month):
                line += 1
                writer.writerow(row)
                book.seen(truths, name, line)
                billed += Decimal(row["BilledCost"])
            totals[month] = billed
            whole += billed
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\xef\xbb\xbf" + text.getvalue().encode())
        book.files.append(SampleFile(name, "focus-1.0-azure", line - 1, whole, "EUR"))
    return totals


def _rows(azure: Azure, month: date) -> Iterator[tuple[Row, tuple[str, ...]]]:
    end = add_months(month, 1)
    bill = _bill(month, end)
    yield bill | _purchase(azure, month), ()
    for index in range(azure.span.index(month), azure.span.index(end)):
        day = azure.span.day(index)
        for stream in azure.streams:
            used = float(stream.usage[index])
            if used == used:  # noqa: PLR0124  NaN is the only value that differs from itself: no row that day
                yield bill | _usage(azure, stream, day, quantity(used)), stream.truths(day)


def _bill(month: date, end: date) -> Row:
    account = f"/providers/Microsoft.Billing/billingAccounts/{AZURE_BILLING}"
    return {
        "BillingAccountId": account,
        "BillingAccountName": COMPANY,
        "BillingAccountType": "Billing Account",
        "BillingCurrency": "EUR",
        "BillingPeriodStart": f"{month}T00:00:00Z",
        "BillingPeriodEnd": f"{end}T00:00:00Z",
        "InvoiceIssuerName": "Microsoft",
        "ProviderName": "Microsoft",
        "PublisherName": "Microsoft",
        "RegionId": "westeurope",
        "RegionName": "West Europe",
        "SubAccountType": "Subscription",
        "x_BillingAccountId": AZURE_BILLING,
        "x_BillingAccountName": COMPANY,
        "x_BillingExchangeRate": "1.0",
        "x_InvoiceId": f"E0900{month:%y%m}A7",
        "x_PricingCurrency": "EUR",
        "x_PublisherCategory": "Cloud Provider",
    }


def _money(billed: Decimal, effective: Decimal, listed: Decimal) -> Row:
    return {
        "BilledCost": plain(billed),
        "EffectiveCost": plain(effective),
        "ListCost": plain(listed),
        "ContractedCost": plain(listed),
        "x_BilledCostInUsd": plain(billed * DOLLARS_A_EURO),
        "x_EffectiveCostInUsd": plain(effective * DOLLARS_A_EURO),
        "x_ListCostInUsd": plain(listed * DOLLARS_A_EURO),
        "x_ContractedCostInUsd": plain(listed * DOLLARS_A_EURO),
    }


def _commitment(commitment: str, name: str, status: str) -> Row:
    return {
        "CommitmentDiscountCategory": "Usage",
        "CommitmentDiscountId": commitment,
        "CommitmentDiscountName": name,
        "CommitmentDiscountStatus": status,
        "CommitmentDiscountType": "Reservation",
        "x_SkuTerm": "12",
    }


def _purchase(azure: Azure, month: date) -> Row:
    """Return the monthly payment of the reservation: billed here, effective on the usage rows."""
    stream = next(stream for stream in azure.streams if stream.fields.get("commitment"))
    days = (add_months(month, 1) - month).days
    hours = Decimal(24 * days * RESERVED_COUNT)
    cost = hours * RESERVED_RATE
    fields = stream.fields
    return (
        _money(cost, Decimal(0), cost)
        | _commitment(fields["commitment"], fields["commitment_name"], "")
        | {
            "ChargeCategory": "Purchase",
            "ChargeDescription": "Reserved VM Instance, Standard_D2s_v5, EU West, 1 Year",
            "ChargeFrequency": "Recurring",
            "ChargePeriodStart": f"{month}T00:00:00Z",
            "ChargePeriodEnd": f"{month + timedelta(days=1)}T00:00:00Z",
            "PricingCategory": "Committed",
            "PricingQuantity": str(RESERVED_COUNT),
            "PricingUnit": "Instance",
            "ResourceId": fields["commitment"],
            "ResourceName": fields["commitment_name"],
            "ResourceType": "Reservation",
            "ServiceCategory": "Compute",
            "ServiceName": "Virtual Machines",
        }
    )


def _usage(azure: Azure, stream: Stream, day: date, amount: Decimal) -> Row:
    fields = stream.fields
    service, category, kind, arm = SERVICES[fields["service"]]
    listed = amount * stream.price
    status = fields.get("status", "")
    effective = amount * Decimal(fields["rate"]) if status else listed
    billed = Decimal(0) if status else listed
    price = plain(stream.price)
    meter_id = hashlib.sha256(f"{service}/{fields['meter']}".encode()).hexdigest()
    subscription = azure.subscriptions[fields["subscription"]]
    row = _money(billed, effective, Decimal(0) if status == "Unused" else listed) | {
        "ChargeCategory": "Usage",
        "ChargeDescription": f"{service} {fields['subcategory']} - {fields['meter']} - EU West",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodStart": f"{day}T00:00:00Z",
        "ChargePeriodEnd": f"{day + timedelta(days=1)}T00:00:00Z",
        "ConsumedQuantity": "" if status == "Unused" else plain(amount),
        "ConsumedUnit": "" if status == "Unused" else fields["unit"],
        "ContractedUnitPrice": price,
        "ListUnitPrice": price,
        "PricingCategory": "Committed" if status else "Standard",
        "PricingQuantity": plain(amount),
        "PricingUnit": fields["unit"],
        "ResourceId": fields["resource"],
        "ResourceName": fields["resource_name"],
        "ResourceType": kind if fields["resource"] else "",
        "ServiceCategory": category,
        "ServiceName": service,
        "SkuId": meter_id[:12].upper(),
        "SkuPriceId": f"{meter_id[:12].upper()}_{meter_id[12:16].upper()}",
        "SubAccountId": f"/subscriptions/{subscription}",
        "SubAccountName": f"hm-{fields['subscription']}",
        "Tags": json.dumps(dict(stream.tags), sort_keys=True) if stream.tags else "",
        "x_BilledUnitPrice": price,
        "x_EffectiveUnitPrice": fields.get("rate", price),
        "x_ResourceGroupName": f"rg-{fields['subscription']}" if fields["resource"] else "",
        "x_ResourceType": arm if fields["resource"] else "",
        "x_SkuDescription": f"{fields['subcategory']} - {fields['meter']} - EU West",
        "x_SkuDetails": json.dumps({"ServiceType": fields["sku"]}) if "sku" in fields else "",
        "x_SkuMeterCategory": service,
        "x_SkuMeterId": meter_id[:32],
        "x_SkuMeterName": fields["meter"],
        "x_SkuMeterSubcategory": fields["subcategory"],
        "x_SkuRegion": "EU West",
        "x_SkuServiceFamily": category,
    }
    return row | (_commitment(fields["commitment"], fields["commitment_name"], status) if status else {})
