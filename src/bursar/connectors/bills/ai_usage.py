"""Usage and cost exports of AI vendors as FOCUS lines: OpenAI and Anthropic (Bedrock arrives inside the AWS report)."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import polars as pl

from bursar.connectors.bills.columns import Lines
from bursar.connectors.bills.focus import currency_or_default
from bursar.connectors.bills.source import Source, header_of, open_source
from bursar.kernel.connector import Head
from bursar.kernel.errors import Invalid
from bursar.kernel.lines import COST_LINES, DECIMAL, DocumentKind, Parsed

CENTS = 100
AI = "AI and Machine Learning"

_MODEL = re.compile(r"^([A-Za-z0-9.:_/-]+)")


class OpenAiCosts:
    """OpenAI organisation costs: the dashboard's CSV or the answer of the costs endpoint."""

    name = "openai-costs"
    title = "OpenAI costs"
    kind = DocumentKind.BILL

    def sniff(self, head: Head) -> float:
        """Return 0.97 for the columns of the cost export, 0.9 for the activity export, which has no costs."""
        keys = header_of(head)
        if keys >= {"amountvalue", "amountcurrency", "lineitem"}:
            return 0.97
        if b"organization.costs.result" in head.data:
            return 0.97
        return 0.9 if keys >= {"nummodelrequests", "inputtokens", "outputtokens"} else 0.0

    def parse(self, document: Path, *, options: Mapping[str, str]) -> Parsed:
        """Read one export; days without any cost are left out."""
        source = buckets(open_source(document), ("start_time", "end_time"))
        if not source.has("amount_value"):
            what = f"{document.name} counts tokens but holds no cost"
            raise Invalid(what, "Export the cost report instead of the activity report; its column is amount_value.")
        lines = Lines(source, COST_LINES)
        value = lines.raw_text("amount_value", "line_item", "project_id")
        assert value is not None
        lines.source = source = replace(source, frame=source.frame.filter(value.is_not_null()))
        lines.money("billed_cost", "amount_value")
        lines.text("charge_description", "line_item")
        lines.text("sku_meter", "line_item")
        lines.text("billing_account_id", "organization_id")
        lines.text("billing_account_name", "organization_name")
        lines.text("sub_account_id", "project_id")
        lines.text("sub_account_name", "project_name")
        lines.money("consumed_quantity", "quantity")
        _when(lines, ("start_time_iso", "start_time"), ("end_time_iso", "end_time"))
        item = lines.raw_text("line_item")
        if item is not None:
            lines.put("sku_id", item.str.extract(_MODEL.pattern))
        hint = currency_or_default(lines, options, "amount_currency")
        _common(lines, provider="openai", service="OpenAI API", publisher="OpenAI")
        labels = {"billed_cost": "amount_value", "charge_period_start": "start_time"}
        return Parsed(COST_LINES, lines.finish(labels=labels), source.problems, notes=source.notes, currency_hint=hint)


class AnthropicCosts:
    """Anthropic costs: the console's CSV or the answer of the cost report endpoint (amounts there are cents)."""

    name = "anthropic-costs"
    title = "Anthropic costs"
    kind = DocumentKind.BILL

    def sniff(self, head: Head) -> float:
        """Return 0.97 for the columns of the cost export, 0.9 for the usage export, which has no costs."""
        keys = header_of(head)
        if keys >= {"usagedateutc", "costusd"} or keys >= {"startingat", "workspaceid", "costtype", "amount"}:
            return 0.97
        return 0.9 if keys & {"uncachedinputtokens", "usageinputtokensnocache"} else 0.0

    def parse(self, document: Path, *, options: Mapping[str, str]) -> Parsed:
        """Read one export; no options are needed."""
        source = buckets(open_source(document), ("starting_at", "ending_at"))
        from_console = source.has("cost_usd")
        if not from_console and not source.has("amount"):
            what = f"{document.name} counts tokens but holds no cost"
            raise Invalid(what, "Export the cost report instead of the usage report.")
        lines = Lines(source, COST_LINES)
        lines.money("billed_cost", "cost_usd" if from_console else "amount")
        if not from_console:
            lines.put("billed_cost", (lines.found["billed_cost"] / CENTS).cast(DECIMAL))
        lines.money("list_cost", "list_price_usd")
        lines.text("sub_account_id", "workspace_id", "workspace")
        lines.text("sub_account_name", "workspace")
        lines.text("charge_description", "description", "token_type", "usage_type")
        lines.text("sku_id", "model")
        lines.text("sku_meter", "token_type", "cost_type", "usage_type")
        lines.text("operation", "usage_type", "service_tier")
        lines.text("resource_id", "api_key")
        lines.text("region_id", "inference_geo")
        _when(lines, ("starting_at", "usage_date_utc"), ("ending_at",))
        hint = "USD" if from_console else currency_or_default(lines, options, "currency")
        if from_console:
            lines.put("currency", pl.lit("USD"))
            hint = ""
        _common(lines, provider="anthropic", service="Claude API", publisher="Anthropic")
        labels = {"billed_cost": "cost_usd" if from_console else "amount", "charge_period_start": "usage_date_utc"}
        return Parsed(COST_LINES, lines.finish(labels=labels), source.problems, notes=source.notes, currency_hint=hint)


def buckets(source: Source, times: tuple[str, str]) -> Source:
    """Turn the answer of a vendor's endpoint (pages of time buckets of results) into one row per result."""
    column = source.names.get("data")
    if column is None:
        return source
    start, end = times
    frame = source.frame.select("_row", pl.col(column)).explode(column).unnest(column)
    frame = frame.select("_row", start, end, "results").explode("results")
    schema = frame.collect_schema()
    results = schema["results"]
    if not isinstance(results, pl.Struct):
        raise Invalid("the answer holds no results", "Ask for a period that has costs.")
    frame = frame.filter(pl.col("results").is_not_null()).unnest("results")
    amount = next((field.dtype for field in results.fields if field.name == "amount"), None)
    if isinstance(amount, pl.Struct):
        frame = frame.with_columns(
            pl.col("amount").struct.field("value").alias("amount_value"),
            pl.col("amount").struct.field("currency").alias("amount_currency"),
        ).drop("amount")
    types = {name: kind for name, kind in frame.collect_schema().items() if name != "_row"}
    numbered = frame.drop("_row").with_row_index("_row", offset=1)
    return replace(source, frame=numbered, types=types, names={_key(name): name for name in types})


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _when(lines: Lines, starts: tuple[str, ...], ends: tuple[str, ...]) -> None:
    """Take the period from ISO texts or from seconds since 1970; without an end it is the whole day."""
    source = lines.source
    for target, names in (("charge_period_start", starts), ("charge_period_end", ends)):
        found = source.find(*names)
        if not found:
            continue
        if source.types[found[0]].is_integer():
            lines.put(target, pl.from_epoch(pl.col(found[0]), time_unit="s").dt.replace_time_zone("UTC"))
        else:
            lines.instant(target, *found[:1])
    if "charge_period_end" not in lines.found:
        lines.put("charge_period_end", lines.found["charge_period_start"] + pl.duration(days=1))


def _common(lines: Lines, *, provider: str, service: str, publisher: str) -> None:
    for target, text in (
        ("provider", provider),
        ("service_name", service),
        ("service_category", AI),
        ("service_subcategory", "Generative AI"),
        ("publisher", publisher),
        ("invoice_issuer", publisher),
        ("charge_category", "Usage"),
        ("charge_frequency", "Usage-Based"),
        ("pricing_category", "Standard"),
    ):
        lines.put(target, pl.lit(text))
    lines.put("effective_cost", lines.found["billed_cost"])
    lines.put("contracted_cost", lines.found["billed_cost"])
    if "consumed_quantity" in lines.found:
        lines.put("consumed_unit", pl.lit("Tokens"))


OPENAI = OpenAiCosts()
ANTHROPIC = AnthropicCosts()
