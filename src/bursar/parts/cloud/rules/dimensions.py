"""What cost lines can be grouped and filtered by, and the kinds of cost, as SQL expressions."""

import re
from collections.abc import Mapping
from enum import StrEnum

from sqlglot import exp

from bursar.kernel.errors import Invalid

COLUMNS: Mapping[str, str] = {
    "provider": "provider",
    "billing_account": "billing_account_id",
    "account": "sub_account_id",
    "account_name": "sub_account_name",
    "service": "service_name",
    "category": "service_category",
    "region": "region_id",
    "zone": "availability_zone",
    "resource": "resource_id",
    "resource_name": "resource_name",
    "resource_type": "resource_type",
    "instance_type": "instance_type",
    "sku": "sku_id",
    "meter": "sku_meter",
    "operation": "operation",
    "charge": "charge_category",
    "pricing": "pricing_category",
    "commitment": "commitment_discount_id",
    "commitment_status": "commitment_discount_status",
    "publisher": "publisher",
    "invoice": "invoice_id",
    "currency": "currency",
    "description": "charge_description",
}
"""Name people use to column; besides these ``tag:KEY``, ``day`` and ``month``."""

TAG = "tag:"
TAG_CHARS_MAX = 200
_TAG_KEY = re.compile(r"[^\x00-\x1f\"\\]+")


class CostKind(StrEnum):
    """Which cost: what was invoiced, amortised, at list price, or at the contract's price before commitments."""

    BILLED = "billed"
    EFFECTIVE = "effective"
    LIST = "list"
    CONTRACTED = "contracted"


def column(name: str) -> exp.Expr:
    """Return the column ``name``, quoted where needed."""
    return exp.column(name)


def cost(kind: CostKind) -> exp.Expr:
    """Return the cost of a line; effective falls back to billed where a bill has no amortised cost."""
    if kind is CostKind.EFFECTIVE:
        return exp.func("coalesce", column("effective_cost"), column("billed_cost"))
    return column(f"{kind.value}_cost")


def day() -> exp.Expr:
    """Return the day, in UTC, on which a line's charge period begins."""
    return exp.cast(column("charge_period_start"), "date")


def month() -> exp.Expr:
    """Return the first day of that month."""
    return exp.cast(exp.func("date_trunc", exp.Literal.string("month"), day(), dialect="duckdb"), "date")


def dimension(name: str) -> exp.Expr:
    """Return what ``name`` groups or filters by.

    Raises:
        Invalid: There is no such dimension.
    """
    plain = name.strip()
    if plain.lower().startswith(TAG):
        return tag(plain[len(TAG) :])
    if plain.lower() == "day":
        return exp.cast(day(), "text")
    if plain.lower() == "month":
        return exp.cast(month(), "text")
    found = COLUMNS.get(plain.lower())
    if found is None:
        raise Invalid(f"{plain[:60]!r} is no dimension", f"Use {', '.join(sorted(COLUMNS))}, day, month or tag:KEY.")
    return column(found)


def tag(key: str) -> exp.Expr:
    """Return the value of the tag ``key``; null where a line does not have it.

    Raises:
        Invalid: The key is empty, too long, or holds a quote or a control character.
    """
    if not key or len(key) > TAG_CHARS_MAX or not _TAG_KEY.fullmatch(key):
        raise Invalid(f"{key[:60]!r} is no tag key", f"Use up to {TAG_CHARS_MAX} characters without quotes.")
    path = exp.JSONPath(expressions=[exp.JSONPathRoot(), exp.JSONPathKey(this=key)])
    return exp.JSONExtractScalar(this=column("tags"), expression=path, only_json_types=False)
