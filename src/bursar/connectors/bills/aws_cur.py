"""AWS Cost and Usage Reports: legacy CUR (``lineItem/UsageType`` or ``line_item_usage_type``) and CUR 2.0.

Billed is the unblended cost of every line, so that the sum of the file is the sum of the lines. Effective is the amortised
cost by the rules AWS documents for reservations and savings plans: a covered line costs its share of the commitment, the
fee line of a commitment costs what was not used, an up-front payment and a negation cost nothing.
"""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from bursar.connectors.bills.columns import Lines, by_unique
from bursar.connectors.bills.services import aws_instance_of, category_of
from bursar.connectors.bills.source import Source, header_of, open_source
from bursar.connectors.bills.tags import tags_as_json
from bursar.kernel.connector import Head
from bursar.kernel.lines import COST_LINES, DECIMAL, DocumentKind, Parsed

SIGNATURE = frozenset({"lineitemunblendedcost", "lineitemlineitemtype", "lineitemusagestartdate"})

TEXT_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "billing_account_id": ("bill/PayerAccountId",),
    "billing_account_name": ("bill/PayerAccountName",),
    "sub_account_id": ("lineItem/UsageAccountId",),
    "sub_account_name": ("lineItem/UsageAccountName",),
    "charge_description": ("lineItem/LineItemDescription",),
    "service_name": ("product/ProductName", "product/servicename", "lineItem/ProductCode"),
    "service_subcategory": ("product/productFamily",),
    "sku_id": ("product/sku",),
    "sku_price_id": ("pricing/RateCode", "pricing/RateId"),
    "sku_meter": ("lineItem/UsageType",),
    "operation": ("lineItem/Operation",),
    "resource_id": ("lineItem/ResourceId",),
    "region_id": ("product/regionCode", "product/region"),
    "region_name": ("product/location",),
    "availability_zone": ("lineItem/AvailabilityZone",),
    "pricing_unit": ("pricing/unit",),
    "consumed_unit": ("pricing/unit",),
    "commitment_discount_id": ("savingsPlan/SavingsPlanARN", "reservation/ReservationARN"),
    "invoice_id": ("bill/InvoiceId",),
    "invoice_issuer": ("bill/InvoicingEntity",),
    "publisher": ("lineItem/LegalEntity", "bill/BillingEntity"),
    "currency": ("lineItem/CurrencyCode",),
}

MONEY_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "billed_cost": ("lineItem/UnblendedCost",),
    "contracted_cost": ("lineItem/UnblendedCost",),
    "contracted_unit_price": ("lineItem/UnblendedRate",),
    "list_cost": ("pricing/publicOnDemandCost",),
    "list_unit_price": ("pricing/publicOnDemandRate",),
    "pricing_quantity": ("lineItem/UsageAmount",),
    "consumed_quantity": ("lineItem/UsageAmount",),
}

CATEGORY_BY_TYPE: Mapping[str, str] = {
    "Usage": "Usage",
    "DiscountedUsage": "Usage",
    "SavingsPlanCoveredUsage": "Usage",
    "SavingsPlanNegation": "Usage",
    "Fee": "Purchase",
    "RIFee": "Purchase",
    "SavingsPlanRecurringFee": "Purchase",
    "SavingsPlanUpfrontFee": "Purchase",
    "Tax": "Tax",
    "Credit": "Credit",
    "Refund": "Adjustment",
}
"""Charge category by line item type; discounts (EdpDiscount, PrivateRateDiscount …) and anything new are adjustments."""

RECURRING = ("RIFee", "SavingsPlanRecurringFee")
ONE_TIME = ("Fee", "SavingsPlanUpfrontFee")
_SAVINGS_PLAN = "SavingsPlan"


class CostAndUsageReport:
    """AWS Cost and Usage Report, legacy and 2.0, CSV or Parquet."""

    name = "aws-cur"
    title = "AWS Cost and Usage Report"
    kind = DocumentKind.BILL

    def sniff(self, head: Head) -> float:
        """Return 0.98 for the line-item columns that only this report has, in either header style."""
        return 0.98 if header_of(head) >= SIGNATURE else 0.0

    def parse(self, document: Path, *, options: Mapping[str, str]) -> Parsed:
        """Read one report file; no options are needed."""
        del options
        source = with_products(open_source(document))
        lines = Lines(source, COST_LINES)
        for target, names in TEXT_COLUMNS.items():
            lines.text(target, *names)
        for target, names in MONEY_COLUMNS.items():
            lines.money(target, *names)
        lines.instant("charge_period_start", "lineItem/UsageStartDate")
        lines.instant("charge_period_end", "lineItem/UsageEndDate")
        lines.day("billing_period_start", "bill/BillingPeriodStartDate")
        lines.day("billing_period_end", "bill/BillingPeriodEndDate")
        lines.put("provider", pl.lit("aws"))
        _classify(lines)
        _name_things(lines)
        lines.put("effective_cost", _effective(lines))
        lines.put(
            "tags",
            tags_as_json(source, ("resourceTags/user:", "resource_tags_user_", "resourceTags/", "resource_tags_")),
        )
        if (whole := lines.raw_text("resource_tags", "resourceTags")) is not None:
            lines.put("tags", whole)
        frame = lines.finish(labels=LABELS)
        version = "2.0" if source.has("bill_payer_account_name") else "legacy"
        return Parsed(COST_LINES, frame, problems=source.problems, notes=[*source.notes, f"Read as CUR {version}."])


LABELS = {
    "billed_cost": "lineItem/UnblendedCost",
    "charge_period_start": "lineItem/UsageStartDate",
    "charge_category": "lineItem/LineItemType",
    "currency": "lineItem/CurrencyCode",
}


def with_products(source: Source) -> Source:
    """Give CUR 2.0's maps (``product``, ``discount``) columns of their own; JSON text and Parquet maps alike."""
    column = source.names.get("product")
    if column is None:
        return source
    lines = Lines(source, COST_LINES)
    text = lines.raw_text(column)
    assert text is not None
    wanted = {
        "product/ProductName": "product_name",
        "product/sku": "sku",
        "product/instanceType": "instance_type",
        "product/regionCode": "region",
        "product/location": "location",
    }
    absent = {name: key for name, key in wanted.items() if not source.has(name)}
    added = {name: text.str.extract(f'"{key}"\\s*:\\s*"([^"]*)"') for name, key in absent.items()}
    return source.plus(added)


def _classify(lines: Lines) -> None:
    kind = lines.raw_text("lineItem/LineItemType")
    assert kind is not None
    lines.put("charge_category", by_unique(kind, lambda name: CATEGORY_BY_TYPE.get(name, "Adjustment")))
    lines.put("charge_class", pl.when(kind == "Refund").then(pl.lit("Correction")))
    frequency = pl.when(kind.is_in(RECURRING)).then(pl.lit("Recurring"))
    lines.put(
        "charge_frequency",
        frequency.when(kind.is_in(ONE_TIME)).then(pl.lit("One-Time")).otherwise(pl.lit("Usage-Based")),
    )
    committed = kind.is_in(["DiscountedUsage", "SavingsPlanCoveredUsage"])
    spot = lines.raw_text("lineItem/UsageType")
    dynamic = pl.lit(value=False) if spot is None else spot.str.contains("SpotUsage", literal=True)
    priced = pl.when(committed).then(pl.lit("Committed")).when(dynamic).then(pl.lit("Dynamic"))
    lines.put("pricing_category", priced.otherwise(pl.lit("Standard")))
    reserved = kind.is_in(["DiscountedUsage", "RIFee"])
    planned = kind.str.starts_with(_SAVINGS_PLAN)
    lines.put(
        "commitment_discount_status",
        pl.when(committed).then(pl.lit("Used")).when(kind.is_in(RECURRING)).then(pl.lit("Unused")),
    )
    lines.put(
        "commitment_discount_category", pl.when(planned).then(pl.lit("Spend")).when(reserved).then(pl.lit("Usage"))
    )
    lines.put(
        "commitment_discount_type",
        pl.when(planned).then(pl.lit("Savings Plan")).when(reserved).then(pl.lit("Reserved Instance")),
    )


def _name_things(lines: Lines) -> None:
    service = lines.found.get("service_name")
    if service is not None:
        lines.put("service_category", by_unique(service, category_of))
    usage_type = lines.raw_text("lineItem/UsageType")
    ways = [way for way in (lines.raw_text("product/instanceType"),) if way is not None]
    if usage_type is not None:
        ways.append(by_unique(usage_type, aws_instance_of))
    if ways:
        lines.put("instance_type", pl.coalesce(ways))


def _effective(lines: Lines) -> pl.Expr:
    """Return the amortised cost; a column the export leaves out counts as nothing there, never elsewhere."""
    kind = lines.raw_text("lineItem/LineItemType")
    billed = lines.decimal("lineItem/UnblendedCost")
    assert kind is not None
    assert billed is not None
    nothing = pl.lit(0).cast(DECIMAL)

    def of(*names: str) -> pl.Expr:
        found = [part for part in (lines.decimal(name) for name in names) if part is not None]
        return sum((part.fill_null(0) for part in found[1:]), found[0].fill_null(0)) if found else nothing

    covered = lines.decimal("savingsPlan/SavingsPlanEffectiveCost")
    reserved = lines.decimal("reservation/EffectiveCost")
    arn = lines.raw_text("reservation/ReservationARN")
    used = of("savingsPlan/UsedCommitment")
    unused = of("reservation/UnusedAmortizedUpfrontFeeForBillingPeriod", "reservation/UnusedRecurringFee")
    upfront = pl.lit(value=False) if arn is None else (kind == "Fee") & arn.is_not_null()
    return (
        pl.when(kind == "SavingsPlanRecurringFee")
        .then(of("savingsPlan/TotalCommitmentToDate") - used)
        .when(kind.is_in(["SavingsPlanNegation", "SavingsPlanUpfrontFee"]) | upfront)
        .then(nothing)
        .when(kind == "RIFee")
        .then(unused)
        .when(kind == "SavingsPlanCoveredUsage")
        .then(billed if covered is None else covered)
        .when(kind == "DiscountedUsage")
        .then(billed if reserved is None else reserved)
        .otherwise(billed)
    )


AWS_CUR = CostAndUsageReport()
