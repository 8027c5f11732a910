"""Azure Cost Management exports that are not FOCUS: actual and amortised cost in EA, MCA and pay-as-you-go layouts.

Headers come in several spellings, in the portal's language (``Ressourcengruppe (ResourceGroup)``), with a byte-order mark,
in camel case; dates as ``2/28/2026`` or ISO; tags as JSON with or without its braces.
"""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from bursar.connectors.bills.columns import Lines, by_unique
from bursar.connectors.bills.focus import currency_or_default
from bursar.connectors.bills.services import category_of
from bursar.connectors.bills.source import Source, header_of, open_source
from bursar.kernel.connector import Head
from bursar.kernel.errors import Invalid
from bursar.kernel.lines import COST_LINES, DECIMAL, DocumentKind, Parsed

COST = ("CostInBillingCurrency", "PreTaxCost", "Cost", "ExtendedCost")
DAY = ("Date", "UsageDateTime", "UsageDate")
METER = ("MeterCategory", "MeterId", "ConsumedService")

TEXT_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "billing_account_id": ("BillingAccountId", "BillingProfileId"),
    "billing_account_name": ("BillingAccountName", "BillingProfileName"),
    "sub_account_id": ("SubscriptionId", "SubscriptionGuid"),
    "sub_account_name": ("SubscriptionName",),
    "charge_description": ("ProductName", "Product", "MeterName"),
    "service_name": ("MeterCategory", "ServiceName", "ConsumedService"),
    "service_subcategory": ("MeterSubCategory",),
    "sku_id": ("MeterId",),
    "sku_price_id": ("PartNumber", "ProductId"),
    "sku_meter": ("MeterName",),
    "operation": ("ConsumedService",),
    "resource_id": ("ResourceId", "InstanceId", "InstanceName"),
    "resource_name": ("ResourceName",),
    "region_id": ("ResourceLocation", "ResourceLocationNormalized", "Location", "MeterRegion"),
    "region_name": ("Location", "MeterRegion", "ResourceLocation"),
    "availability_zone": ("AvailabilityZone",),
    "pricing_unit": ("UnitOfMeasure",),
    "consumed_unit": ("UnitOfMeasure",),
    "commitment_discount_id": ("benefitId", "ReservationId"),
    "commitment_discount_name": ("benefitName", "ReservationName"),
    "invoice_id": ("InvoiceId",),
    "publisher": ("PublisherName", "PublisherType"),
}

MONEY_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "contracted_unit_price": ("UnitPrice", "EffectivePrice", "ResourceRate"),
    "list_unit_price": ("PayGPrice",),
    "list_cost": ("PaygCostInBillingCurrency",),
    "pricing_quantity": ("Quantity", "UsageQuantity", "ConsumedQuantity"),
    "consumed_quantity": ("Quantity", "UsageQuantity", "ConsumedQuantity"),
}

FREQUENCIES = {"onetime": "One-Time", "recurring": "Recurring", "usagebased": "Usage-Based"}
PRICED = {"ondemand": "Standard", "reservation": "Committed", "savingsplan": "Committed", "spot": "Dynamic"}

CATEGORY_BY_TYPE: Mapping[str, str] = {
    "usage": "Usage",
    "unusedreservation": "Usage",
    "unusedsavingsplan": "Usage",
    "purchase": "Purchase",
    "refund": "Adjustment",
    "roundingadjustment": "Adjustment",
    "tax": "Tax",
    "credit": "Credit",
}

UNUSED = ("unusedreservation", "unusedsavingsplan")
COMMITTED = ("reservation", "savingsplan")

ACTUAL = "Read as actual cost: what was invoiced. Import the amortised export to see commitments spread over their use."
AMORTISED = (
    "Read as amortised cost: commitments are spread over their use, so billed cost is 0 where a commitment paid."
)


class AzureCostExport:
    """Azure actual or amortised cost details, any agreement and header spelling."""

    name = "azure-cost"
    title = "Azure cost details"
    kind = DocumentKind.BILL

    def sniff(self, head: Head) -> float:
        """Return 0.95 for the meter, cost and day columns of Azure's layouts; FOCUS exports are FOCUS's."""
        keys = header_of(head)
        if "billedcost" in keys or not keys & _keys(COST) or not keys & _keys(DAY):
            return 0.0
        meters = len(keys & _keys((*METER, "SubscriptionId", "SubscriptionGuid", "ResourceLocation", "UnitOfMeasure")))
        return 0.95 if meters >= len(METER) else 0.0

    def parse(self, document: Path, *, options: Mapping[str, str]) -> Parsed:
        """Read one export; ``options``: ``currency`` for layouts without one, ``dataset`` ``actual`` or ``amortised``."""
        source = open_source(document)
        for needed, ways in (("cost", COST), ("date", DAY)):
            if not source.find(*ways):
                raise Invalid(f"{document.name} has no {needed} column such as {ways[0]}", "Export cost details again.")
        lines = Lines(source, COST_LINES)
        for target, names in TEXT_COLUMNS.items():
            lines.text(target, *names)
        for target, names in MONEY_COLUMNS.items():
            lines.money(target, *names)
        lines.money("billed_cost", *COST)
        lines.instant("charge_period_start", *DAY)
        lines.put("charge_period_end", lines.found["charge_period_start"] + pl.duration(days=1))
        lines.day("billing_period_start", "BillingPeriodStartDate")
        lines.day("billing_period_end", "BillingPeriodEndDate")
        if "billing_period_end" in lines.found:
            lines.put("billing_period_end", lines.found["billing_period_end"] + pl.duration(days=1))
        lines.put("provider", pl.lit("azure"))
        _classify(lines)
        _name_things(lines)
        amortised = _is_amortised(source, options)
        _split_cost(lines, amortised=amortised)
        hint = currency_or_default(lines, options, "BillingCurrency", "BillingCurrencyCode", "Currency")
        labels = {
            "billed_cost": source.find(*COST)[0],
            "charge_period_start": source.find(*DAY)[0],
            "currency": "BillingCurrency",
        }
        notes = [*source.notes, AMORTISED if amortised else ACTUAL]
        return Parsed(
            COST_LINES, lines.finish(labels=labels), problems=source.problems, notes=notes, currency_hint=hint
        )


def _keys(names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(name.lower() for name in names)


def _plain(lines: Lines, name: str) -> pl.Expr | None:
    raw = lines.raw_text(name)
    return None if raw is None else raw.str.to_lowercase().str.replace_all(" ", "", literal=True)


def _classify(lines: Lines) -> None:
    kind = _plain(lines, "ChargeType")
    if kind is None:
        lines.put("charge_category", pl.lit("Usage"))
    else:
        known = by_unique(kind, lambda name: CATEGORY_BY_TYPE.get(name, "Adjustment"))
        lines.put("charge_category", pl.when(kind.is_null()).then(pl.lit("Usage")).otherwise(known))
        lines.put("charge_class", pl.when(kind == "refund").then(pl.lit("Correction")))
    frequency = _plain(lines, "Frequency")
    if frequency is not None:
        lines.put("charge_frequency", by_unique(frequency, FREQUENCIES.get))
    model = _plain(lines, "PricingModel")
    if model is None:
        return
    lines.put("pricing_category", by_unique(model, lambda name: PRICED.get(name, "Other")))
    committed = model.is_in(COMMITTED)
    unused = kind.is_in(UNUSED).fill_null(value=False) if kind is not None else pl.lit(value=False)
    used = committed & (kind == "usage") if kind is not None else committed
    status = pl.when(unused).then(pl.lit("Unused")).when(used).then(pl.lit("Used"))
    lines.put("commitment_discount_status", status)
    is_plan = model == "savingsplan"
    lines.put(
        "commitment_discount_category", pl.when(is_plan).then(pl.lit("Spend")).when(committed).then(pl.lit("Usage"))
    )
    lines.put(
        "commitment_discount_type",
        pl.when(is_plan).then(pl.lit("Savings Plan")).when(committed).then(pl.lit("Reservation")),
    )


def _name_things(lines: Lines) -> None:
    if "service_name" in lines.found:
        lines.put("service_category", by_unique(lines.found["service_name"], category_of))
    resource = lines.found.get("resource_id")
    if resource is not None:
        lines.put("resource_type", resource.str.extract(r"(?i)/providers/([^/]+/[^/]+)"))
    details = lines.raw_text("AdditionalInfo")
    if details is not None:
        lines.put("instance_type", details.str.extract(r'"ServiceType"\s*:\s*"([^"]+)"'))
    tags = lines.raw_text("Tags")
    if tags is not None:
        braced = pl.concat_str(pl.lit("{"), tags, pl.lit("}"))
        lines.put("tags", pl.when(tags.str.starts_with("{")).then(tags).otherwise(braced))


def _is_amortised(source: Source, options: Mapping[str, str]) -> bool:
    """Tell amortised from actual cost: only there does unused or covered use of a commitment cost anything."""
    told = options.get("dataset", "").strip().lower()
    if told:
        return told.startswith("amorti")
    lines = Lines(source, COST_LINES)
    kind, model, cost = _plain(lines, "ChargeType"), _plain(lines, "PricingModel"), lines.decimal(*COST)
    if kind is None or cost is None:
        return False
    sign = kind.is_in(UNUSED)
    if model is not None:
        sign |= model.is_in(COMMITTED) & (kind == "usage") & (cost != 0)
    return bool(source.frame.select(sign.any()).collect(engine="streaming").item())


def _split_cost(lines: Lines, *, amortised: bool) -> None:
    cost = lines.found["billed_cost"]
    lines.put("effective_cost", cost)
    if amortised:
        model = _plain(lines, "PricingModel")
        kind = _plain(lines, "ChargeType")
        paid = kind.is_in(UNUSED) if kind is not None else pl.lit(value=False)
        if model is not None:
            paid |= model.is_in(COMMITTED)
        lines.put("billed_cost", pl.when(paid & cost.is_not_null()).then(pl.lit(0).cast(DECIMAL)).otherwise(cost))
    if (price := lines.decimal("UnitPrice")) is not None and (
        quantity := lines.found.get("pricing_quantity")
    ) is not None:
        lines.put("contracted_cost", (price * quantity).cast(DECIMAL, strict=False))
    if (price := lines.decimal("PayGPrice")) is not None and (
        quantity := lines.found.get("pricing_quantity")
    ) is not None:
        lines.found.setdefault("list_cost", (price * quantity).cast(DECIMAL, strict=False))


AZURE = AzureCostExport()
