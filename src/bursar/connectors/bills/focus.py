"""FOCUS cost and usage, 1.0-preview to 1.4: the shape every other bill is turned into."""

import re
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from bursar.connectors.bills.columns import Lines, by_unique
from bursar.connectors.bills.services import aws_instance_of
from bursar.connectors.bills.source import Source, header_of, open_source
from bursar.kernel.connector import Head
from bursar.kernel.errors import Invalid
from bursar.kernel.lines import COST_LINES, DocumentKind, Parsed

TEXT_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "billing_account_id": ("BillingAccountId",),
    "billing_account_name": ("BillingAccountName",),
    "sub_account_id": ("SubAccountId",),
    "sub_account_name": ("SubAccountName",),
    "charge_class": ("ChargeClass",),
    "charge_frequency": ("ChargeFrequency",),
    "charge_description": ("ChargeDescription",),
    "service_name": ("ServiceName",),
    "service_category": ("ServiceCategory",),
    "service_subcategory": ("ServiceSubcategory",),
    "sku_id": ("SkuId", "x_SkuId"),
    "sku_price_id": ("SkuPriceId",),
    "sku_meter": ("SkuMeter", "x_UsageType", "x_SkuMeterName", "x_SkuMeterId"),
    "operation": ("x_Operation",),
    "resource_id": ("ResourceId",),
    "resource_name": ("ResourceName",),
    "resource_type": ("ResourceType", "x_ResourceType"),
    "region_id": ("RegionId", "Region"),
    "region_name": ("RegionName", "Region"),
    "availability_zone": ("AvailabilityZone",),
    "pricing_category": ("PricingCategory",),
    "pricing_unit": ("PricingUnit",),
    "consumed_unit": ("ConsumedUnit", "UsageUnit"),
    "commitment_discount_id": ("CommitmentDiscountId",),
    "commitment_discount_name": ("CommitmentDiscountName",),
    "commitment_discount_category": ("CommitmentDiscountCategory",),
    "commitment_discount_type": ("CommitmentDiscountType",),
    "commitment_discount_status": ("CommitmentDiscountStatus",),
    "commitment_discount_unit": ("CommitmentDiscountUnit",),
    "invoice_id": ("InvoiceId", "x_InvoiceId"),
    "invoice_issuer": ("InvoiceIssuerName", "InvoiceIssuer"),
    "publisher": ("PublisherName", "Publisher", "HostProviderName"),
    "tags": ("Tags",),
}
"""Bursar column from FOCUS columns, newest name first; the first with a value counts."""

MONEY_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "billed_cost": ("BilledCost",),
    "effective_cost": ("EffectiveCost",),
    "list_cost": ("ListCost",),
    "contracted_cost": ("ContractedCost",),
    "list_unit_price": ("ListUnitPrice",),
    "contracted_unit_price": ("ContractedUnitPrice",),
    "pricing_quantity": ("PricingQuantity",),
    "consumed_quantity": ("ConsumedQuantity", "UsageQuantity"),
    "commitment_discount_quantity": ("CommitmentDiscountQuantity",),
}

NULLS = ("NULL", "null")
"""FOCUS writes a missing value in CSV as an unquoted null."""

SIGNATURE = frozenset({"billedcost", "chargeperiodstart"})

KNOWN_PROVIDERS = (
    (re.compile(r"\baws\b|amazon", re.IGNORECASE), "aws"),
    (re.compile(r"microsoft|azure", re.IGNORECASE), "azure"),
    (re.compile(r"google|\bgcp\b", re.IGNORECASE), "gcp"),
    (re.compile(r"oracle|\boci\b", re.IGNORECASE), "oci"),
    (re.compile(r"alibaba|aliyun", re.IGNORECASE), "alibaba"),
)

_NOT_A_SLUG = re.compile(r"[^a-z0-9]+")


def provider_of(name: str) -> str:
    """Return the lower-case provider of a vendor's name: ``Amazon Web Services, Inc.`` is ``aws``."""
    for pattern, provider in KNOWN_PROVIDERS:
        if pattern.search(name):
            return provider
    return _NOT_A_SLUG.sub("-", name.lower()).strip("-") or "unknown"


class FocusBill:
    """FOCUS cost and usage in CSV or Parquet, versions 1.0-preview to 1.4."""

    name = "focus"
    title = "FOCUS cost and usage"
    kind = DocumentKind.BILL

    def sniff(self, head: Head) -> float:
        """Return 0.99 when the columns that no other bill has are there."""
        keys = header_of(head)
        if not keys >= SIGNATURE or "invoicedetailid" in keys:
            return 0.0
        return 0.99 if keys & {"chargecategory", "chargetype"} else 0.6

    def parse(self, document: Path, *, options: Mapping[str, str]) -> Parsed:
        """Read one FOCUS file; ``options``: ``currency`` and ``provider`` stand in where the file names none."""
        source = open_source(document, nulls=NULLS)
        missing = [name for name in ("BilledCost", "ChargePeriodStart") if not source.has(name)]
        if missing:
            raise Invalid(
                f"{document.name} has no column {missing[0]}", "Export FOCUS cost and usage with all columns."
            )
        lines = Lines(source, COST_LINES)
        for target, names in TEXT_COLUMNS.items():
            lines.text(target, *names)
        for target, names in MONEY_COLUMNS.items():
            lines.money(target, *names)
        lines.instant("charge_period_start", "ChargePeriodStart")
        lines.instant("charge_period_end", "ChargePeriodEnd")
        lines.day("billing_period_start", "BillingPeriodStart")
        lines.day("billing_period_end", "BillingPeriodEnd")
        lines.put("charge_category", _category(lines))
        lines.put("instance_type", _instance_type(lines))
        notes = [*source.notes, f"Read as FOCUS {version_of(source)}."]
        notes += _provider(lines, options)
        hint = currency_or_default(lines, options, "BillingCurrency")
        frame = lines.finish(
            labels={
                "billed_cost": "BilledCost",
                "charge_period_start": "ChargePeriodStart",
                "currency": "BillingCurrency",
                "provider": "ProviderName",
                "charge_category": "ChargeCategory",
            }
        )
        return Parsed(COST_LINES, frame, problems=source.problems, notes=notes, currency_hint=hint)


def version_of(source: Source) -> str:
    """Return the FOCUS version that the columns tell, as ``1.2``; columns are only ever added between versions."""
    for version, signs in (
        ("1.4", ("ContractCommitmentApplicability", "InvoiceDetailId")),
        ("1.3", ("ServiceProviderName", "HostProviderName", "ContractApplied", "AllocatedMethodId")),
        ("1.2", ("InvoiceId", "BillingAccountType", "SubAccountType", "PricingCurrency")),
        (
            "1.1",
            (
                "CommitmentDiscountQuantity",
                "ServiceSubcategory",
                "SkuMeter",
                "SkuPriceDetails",
                "CapacityReservationId",
            ),
        ),
        ("1.0", ("ListUnitPrice", "ContractedCost", "RegionId", "ConsumedQuantity")),
    ):
        if any(source.has(sign) for sign in signs):
            return version
    return "1.0-preview" if source.has("ChargeSubcategory") or source.has("Region") else "1.0"


def _category(lines: Lines) -> pl.Expr:
    """Return the charge category; 1.0-preview called it ChargeType, and a file may leave it out."""
    named = lines.raw_text("ChargeCategory", "ChargeType")
    return pl.lit("Usage") if named is None else named


def _instance_type(lines: Lines) -> pl.Expr:
    """Return the instance type from the price details or the meter, where the provider tells it."""
    ways = []
    if (details := lines.raw_text("SkuPriceDetails", "x_SkuDetails")) is not None:
        ways.append(details.str.extract(r'"(?:InstanceType|x_InstanceType|ServiceType|instanceType)"\s*:\s*"([^"]+)"'))
    if (told := lines.raw_text("x_InstanceType")) is not None:
        ways.insert(0, told)
    if (meter := lines.raw_text("SkuMeter", "x_UsageType")) is not None:
        ways.append(by_unique(meter, aws_instance_of))
    return pl.coalesce(ways) if ways else pl.lit(None, dtype=pl.String())


def _provider(lines: Lines, options: Mapping[str, str]) -> list[str]:
    """Take the provider from the file, else from ``options``; return a note when neither names it."""
    ways = lines.source.find("ServiceProviderName", "ProviderName", "Provider", "InvoiceIssuerName", "PublisherName")
    named = lines.raw_text(*ways[:1])
    given = options.get("provider", "").strip().lower()
    if named is None:
        lines.put("provider", pl.lit(given or "unknown"))
        return [] if given else ["The file names no provider; its lines are kept under the provider 'unknown'."]
    lines.put("provider", by_unique(named, provider_of).fill_null(pl.lit(given or "unknown")))
    return []


def currency_or_default(lines: Lines, options: Mapping[str, str], *names: str) -> str:
    """Take the currency from the columns ``names``, else from ``options``, else US dollars.

    Returns:
        The currency taken when the file has no such column at all, else an empty text.
    """
    given = options.get("currency", "").strip().upper()
    named = lines.raw_text(*names)
    if named is None:
        lines.put("currency", pl.lit(given or "USD"))
        return given or "USD"
    shown = by_unique(named, lambda code: code.strip().upper())
    lines.put("currency", shown.fill_null(pl.lit(given)) if given else shown)
    return ""


FOCUS = FocusBill()
