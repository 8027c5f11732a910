"""Google Cloud billing export from BigQuery: standard and detailed, as CSV, NDJSON, JSON or Parquet.

The export keeps credits inside the line they reduce; each becomes a line of its own of the category Credit, so that the
sum of the lines is what is invoiced.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import polars as pl

from bursar.connectors.bills.columns import Lines, by_unique, read_decimal
from bursar.connectors.bills.services import category_of
from bursar.connectors.bills.source import Source, header_of, open_source
from bursar.kernel.connector import Head
from bursar.kernel.lines import COST_LINES, DECIMAL, DocumentKind, Parsed

TEXT_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "billing_account_id": ("billing_account_id",),
    "sub_account_id": ("project.id", "project.number"),
    "sub_account_name": ("project.name",),
    "service_name": ("service.description", "service.id"),
    "sku_id": ("sku.id",),
    "sku_meter": ("sku.description",),
    "resource_id": ("resource.global_name", "resource.name"),
    "resource_name": ("resource.name",),
    "region_id": ("location.region", "location.location"),
    "region_name": ("location.location",),
    "availability_zone": ("location.zone",),
    "pricing_unit": ("usage.pricing_unit", "usage.unit"),
    "consumed_unit": ("usage.unit",),
    "publisher": ("seller_name",),
    "currency": ("currency",),
}

MONEY_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "billed_cost": ("cost",),
    "list_cost": ("cost_at_list",),
    "contracted_unit_price": ("price.effective_price",),
    "list_unit_price": ("price.list_price",),
    "pricing_quantity": ("usage.amount_in_pricing_units",),
    "consumed_quantity": ("usage.amount",),
}

CATEGORY_BY_TYPE: Mapping[str, str] = {"regular": "Usage", "tax": "Tax", "adjustment": "Adjustment"}
"""``rounding_error`` and anything new are adjustments."""

NESTED = ("service", "sku", "project", "location", "usage", "invoice", "resource", "price", "adjustment_info")

CREDIT = pl.Struct({"name": pl.String(), "amount": pl.String(), "full_name": pl.String(), "type": pl.String()})

_PART = "_part"


class GoogleBillingExport:
    """Google Cloud billing export, standard or detailed."""

    name = "gcp-billing"
    title = "Google Cloud billing export"
    kind = DocumentKind.BILL

    def sniff(self, head: Head) -> float:
        """Return 0.97 for the columns of the export, nested or with dotted names."""
        keys = header_of(head)
        core = frozenset({"billingaccountid", "usagestarttime", "cost", "currency"})
        if not keys >= core or "billedcost" in keys:
            return 0.0
        return 0.97 if keys & {"skuid", "sku", "skudescription", "servicedescription"} else 0.5

    def parse(self, document: Path, *, options: Mapping[str, str]) -> Parsed:
        """Read one export file; no options are needed."""
        del options
        source = with_credit_rows(flattened(open_source(document)))
        lines = Lines(source, COST_LINES)
        for target, names in TEXT_COLUMNS.items():
            lines.text(target, *names)
        for target, names in MONEY_COLUMNS.items():
            lines.money(target, *names)
        lines.instant("charge_period_start", "usage_start_time")
        lines.instant("charge_period_end", "usage_end_time")
        lines.put("provider", pl.lit("gcp"))
        _periods(lines)
        _classify(lines)
        _name_things(lines)
        _as_credit(lines)
        labels = {"billed_cost": "cost", "charge_period_start": "usage_start_time"}
        return Parsed(COST_LINES, lines.finish(labels=labels), problems=source.problems, notes=source.notes)


def flattened(source: Source) -> Source:
    """Give the fields of nested records columns of their own, named ``service.description`` and so on."""
    added: dict[str, pl.Expr] = {}
    types = dict(source.types)
    for name in NESTED:
        column = source.names.get(name)
        kind = source.types.get(column) if column else None
        if column and isinstance(kind, pl.Struct):
            for field in kind.fields:
                added[f"{name}.{field.name}"] = pl.col(column).struct.field(field.name)
                types[f"{name}.{field.name}"] = field.dtype  # type: ignore[assignment]
            types.pop(column)
    if not added:
        return source
    wider = source.plus(added)
    names = {key: name for key, name in wider.names.items() if name in types}
    return replace(wider, types=types, names=names)


def with_credit_rows(source: Source) -> Source:
    """Follow every line by one row per credit it carries; ``_part`` is null on the line itself."""
    column = source.names.get("credits")
    if column is None:
        nothing = pl.lit(None, dtype=CREDIT)
        return replace(source, frame=source.frame.with_columns(nothing.alias(_PART)))
    held = _credits(column, source.types[column])
    itself = pl.lit([None], dtype=pl.List(CREDIT))
    parts = pl.concat_list(itself, held.fill_null([]))
    return replace(source, frame=source.frame.with_columns(parts.alias(_PART)).explode(_PART))


def _credits(column: str, kind: pl.DataType) -> pl.Expr:
    if isinstance(kind, pl.List) and isinstance(kind.inner, pl.Struct):
        held = {field.name for field in kind.inner.fields}
        fields = [
            (
                pl.element().struct.field(name).cast(pl.String()) if name in held else pl.lit(None, dtype=pl.String())
            ).alias(name)
            for name in ("name", "amount", "full_name", "type")
        ]
        return pl.col(column).list.eval(pl.struct(fields))
    return pl.col(column).cast(pl.String()).map_batches(_decoded, return_dtype=pl.List(CREDIT), is_elementwise=True)


def _decoded(column: pl.Series) -> pl.Series:
    """Decode the JSON text of credits; what is not JSON becomes a credit without an amount, which refuses its row."""
    blank = (column.str.strip_chars() == "") | column.is_null()
    text = column.zip_with(~blank, pl.Series(column.name, [None], dtype=pl.String()).new_from_index(0, len(column)))
    quoted = text.str.replace_all("'", '"', literal=True) if text.str.starts_with("[{'").any() else text
    try:
        return quoted.str.json_decode(pl.List(CREDIT))
    except pl.exceptions.ComputeError:
        valid = quoted.str.contains(r"^\s*\[[\s\S]*\]\s*$")
        broken = '[{"name":"unreadable","amount":"unreadable credits"}]'
        return quoted.zip_with(valid.fill_null(value=True), pl.Series([broken])).str.json_decode(pl.List(CREDIT))


def _is_credit() -> pl.Expr:
    return pl.col(_PART).is_not_null()


def _periods(lines: Lines) -> None:
    month = lines.raw_text("invoice.month", "invoice_month")
    if month is None:
        return
    start = pl.concat_str(month.str.replace_all("-", "", literal=True).str.slice(0, 6), pl.lit("01"))
    begins = start.str.to_date("%Y%m%d", strict=False)
    lines.put("billing_period_start", begins)
    lines.put("billing_period_end", begins.dt.offset_by("1mo"))
    lines.put("invoice_id", month)


def _classify(lines: Lines) -> None:
    kind = lines.raw_text("cost_type")
    usage = pl.lit("Usage")
    if kind is not None:
        known = by_unique(kind, lambda name: CATEGORY_BY_TYPE.get(name, "Adjustment"))
        usage = pl.when(kind.is_null()).then(usage).otherwise(known)
    lines.put("charge_category", pl.when(_is_credit()).then(pl.lit("Credit")).otherwise(usage))
    lines.put("charge_frequency", pl.lit("Usage-Based"))
    credit_type = pl.col(_PART).struct.field("type")
    committed = credit_type.str.contains("COMMITTED", literal=True)
    lines.put("commitment_discount_type", pl.when(committed).then(pl.lit("Committed Use Discount")))


def _name_things(lines: Lines) -> None:
    if "service_name" in lines.found:
        lines.put("service_category", by_unique(lines.found["service_name"], category_of))
    meter = lines.raw_text("sku.description")
    described = pl.coalesce(pl.col(_PART).struct.field("full_name"), pl.col(_PART).struct.field("name"))
    lines.put("charge_description", described if meter is None else pl.coalesce(described, meter))
    system = lines.raw_text("system_labels")
    if system is not None:
        spec = system.str.extract(r'machine_spec"?\s*[:,]\s*(?:"value"\s*:\s*)?"([^"]+)"')
        lines.put("instance_type", spec)
    if meter is not None:
        dynamic = meter.str.contains(r"(?i)spot|preemptible")
        lines.put("pricing_category", pl.when(dynamic).then(pl.lit("Dynamic")).otherwise(pl.lit("Standard")))
    labels = lines.raw_text("labels")
    if labels is not None:
        pairs = labels.str.extract_all(r'"key"\s*:\s*"(?:[^"\\]|\\.)*"\s*,\s*"value"\s*:\s*"(?:[^"\\]|\\.)*"')
        joined = pairs.list.join(",").str.replace_all(r'"key"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"value"\s*:', "$1:")
        plain = pl.when(joined != "").then(pl.concat_str(pl.lit("{"), joined, pl.lit("}")))
        lines.put("tags", pl.when(labels.str.starts_with("{")).then(labels).otherwise(plain))


def _as_credit(lines: Lines) -> None:
    """On credit rows the amount is the credit's, and quantities and list cost, which belong to the line, are empty."""
    amount = pl.col(_PART).struct.field("amount")
    exact = amount.map_batches(read_decimal, return_dtype=DECIMAL, is_elementwise=True)
    cost = pl.when(_is_credit()).then(exact).otherwise(lines.found["billed_cost"])
    lines.put("billed_cost", cost)
    lines.put("effective_cost", cost)
    lines.put("contracted_cost", cost)
    lines.raw["billed_cost"] = pl.when(_is_credit()).then(amount).otherwise(lines.raw["billed_cost"])
    for name in ("list_cost", "pricing_quantity", "consumed_quantity", "list_unit_price", "contracted_unit_price"):
        if name in lines.found:
            lines.put(name, pl.when(~_is_credit()).then(lines.found[name]))
            lines.raw[name] = pl.when(~_is_credit()).then(lines.raw[name])
    if "list_cost" not in lines.found:
        lines.put("list_cost", pl.when(~_is_credit()).then(lines.found["billed_cost"]))


GCP = GoogleBillingExport()
