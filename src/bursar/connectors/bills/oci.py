"""Oracle Cloud Infrastructure cost reports (``reports_cost-csv_….csv``)."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from bursar.connectors.bills.columns import Lines, by_unique
from bursar.connectors.bills.services import category_of
from bursar.connectors.bills.source import header_of, open_source
from bursar.connectors.bills.tags import tags_as_json
from bursar.kernel.connector import Head
from bursar.kernel.lines import COST_LINES, DocumentKind, Parsed

SIGNATURE = frozenset({"lineitemreferenceno", "costmycost", "lineitemintervalusagestart"})

TEXT_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "billing_account_id": ("lineItem/tenantId",),
    "sub_account_id": ("product/compartmentId",),
    "sub_account_name": ("product/compartmentName",),
    "charge_description": ("product/Description",),
    "service_name": ("product/service",),
    "sku_id": ("cost/productSku",),
    "sku_meter": ("product/Description",),
    "resource_id": ("product/resourceId",),
    "region_id": ("product/region",),
    "region_name": ("product/region",),
    "availability_zone": ("product/availabilityDomain",),
    "pricing_unit": ("cost/skuUnitDescription", "cost/billingUnitReadable"),
    "consumed_unit": ("cost/skuUnitDescription", "cost/billingUnitReadable"),
}

MONEY_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "billed_cost": ("cost/myCost",),
    "effective_cost": ("cost/myCost",),
    "contracted_cost": ("cost/myCost",),
    "contracted_unit_price": ("cost/unitPrice",),
    "pricing_quantity": ("usage/billedQuantity",),
    "consumed_quantity": ("usage/billedQuantity",),
}

ROUNDED = "Costs are kept with 15 decimal places; Oracle writes up to 18, the rest is rounded half to even."


class OracleCostReport:
    """OCI cost report in CSV."""

    name = "oci-cost"
    title = "Oracle Cloud cost report"
    kind = DocumentKind.BILL

    def sniff(self, head: Head) -> float:
        """Return 0.98 for the line-item columns that only this report has."""
        return 0.98 if header_of(head) >= SIGNATURE else 0.0

    def parse(self, document: Path, *, options: Mapping[str, str]) -> Parsed:
        """Read one cost report; no options are needed."""
        del options
        source = open_source(document)
        lines = Lines(source, COST_LINES)
        for target, names in TEXT_COLUMNS.items():
            lines.text(target, *names)
        for target, names in MONEY_COLUMNS.items():
            lines.money(target, *names)
        lines.instant("charge_period_start", "lineItem/intervalUsageStart")
        lines.instant("charge_period_end", "lineItem/intervalUsageEnd")
        lines.text("currency", "cost/currencyCode")
        lines.put("provider", pl.lit("oci"))
        lines.put("publisher", pl.lit("Oracle"))
        lines.put("charge_category", pl.lit("Usage"))
        lines.put("charge_frequency", pl.lit("Usage-Based"))
        correction = lines.raw_text("lineItem/isCorrection")
        if correction is not None:
            lines.put("charge_class", pl.when(correction == "true").then(pl.lit("Correction")))
        if "service_name" in lines.found:
            lines.put("service_category", by_unique(lines.found["service_name"], category_of))
        lines.put("tags", tags_as_json(source, ("tags/",)))
        labels = {
            "billed_cost": "cost/myCost",
            "currency": "cost/currencyCode",
            "charge_period_start": "lineItem/intervalUsageStart",
        }
        return Parsed(COST_LINES, lines.finish(labels=labels), problems=source.problems, notes=[*source.notes, ROUNDED])


OCI = OracleCostReport()
