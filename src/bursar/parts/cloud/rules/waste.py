"""What a bill itself shows to be waste: a table of rules over the meters of each resource, applied as whole columns."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import polars as pl

from bursar.kernel.lines import DECIMAL

MONEY_FLOOR = Decimal(12)
"""Smallest yearly saving, in major units, that is told."""

SIDE_COST_MAX = 0.05
"""Requests and traffic below this share of a bucket's storage cost: hardly anybody reads it."""

HOURS_FULL = 0.9
"""Hours billed above this share of the period: it never sleeps."""

HOURS_A_WEEK = 168
OFFICE_HOURS_A_WEEK = 55
"""Eleven hours on five days."""


@dataclass(frozen=True, slots=True)
class MeterRule:
    """A kind of waste told by a meter.

    Attributes:
        kind: Finding kind.
        meter: What the meter, operation or description of the wasted lines looks like, lower case.
        unless: If any other line of the resource looks like this, it is in use.
        share: Expected share saved; ``low`` and ``high`` bound it (80 %).
        low: See ``share``.
        high: See ``share``.
        confidence: Probability that it is waste.
        title: One line for people; ``{name}`` is the resource.
        action: What to do.
        why: Why the share is what it is.
        effort: ``low``, ``medium`` or ``high``.
        risk: ``low``, ``medium`` or ``high``.
    """

    kind: str
    meter: str
    unless: str
    share: str
    low: str
    high: str
    confidence: float
    title: str
    action: str
    why: str
    effort: str = "low"
    risk: str = "low"


METER_RULES = (
    MeterRule(
        "cloud.idle_address",
        r"idleaddress|elasticip:idle|static ip charge|idle.{0,20}ip address|ip address.{0,20}(idle|unused|unassigned)",
        "", "1", "1", "1", 0.95,
        "Address {name} is reserved but not attached", "Release the address.",
        "all of its charge: the meter bills only addresses that nothing uses",
    ),
    MeterRule(
        "cloud.extended_support", r"extendedsupport|extended support", "", "1", "1", "1", 0.9,
        "{name} pays for extended support of an old version", "Upgrade to a version in standard support.",
        "all of the extended-support charge ends with the upgrade", "medium", "medium",
    ),
    MeterRule(
        "cloud.idle_load_balancer",
        r"loadbalancerusage|load balancer.{0,30}hour|std load balancer|standard load balancer",
        r"lcuusage|lcu-hours|dataprocessing-bytes|data processed|data transfer", "1", "0.9", "1", 0.7,
        "Load balancer {name} runs without traffic", "Delete the load balancer after a look at its targets.",
        "all of its hours: no line of the period bills traffic through it", "low", "medium",
    ),
    MeterRule(
        "cloud.idle_nat_gateway", r"natgateway-hours|nat gateway.{0,30}hour", r"natgateway-bytes|data processed",
        "1", "0.9", "1", 0.75,
        "NAT gateway {name} runs without traffic", "Delete the gateway and its routes.",
        "all of its hours: no line of the period bills bytes through it", "low", "medium",
    ),
    MeterRule(
        "cloud.unattached_storage",
        r"(standard (hdd|ssd)|[se]\d{1,2} lrs|[se]\d{1,2} zrs)(?!.*operation).{0,30}dis[kc]|ebs:volumeusage(?!\.)",
        r"disk operations|volumeiousage|iops|operations", "1", "0.8", "1", 0.6,
        "Disk {name} was not read or written", "Take a snapshot and delete the disk.",
        "all of its capacity: this kind of disk bills operations, and there were none", "low", "medium",
    ),
    MeterRule(
        "cloud.old_snapshots", r"snapshotusage|snapshot storage|storage pd snapshot|\bsnapshots? (lrs|zrs)|snapshot.{0,20}stored",
        "", "0.5", "0.1", "0.9", 0.4,
        "Snapshots {name} are kept without a visible limit", "Set a lifecycle rule that deletes or archives old snapshots.",
        "half of the storage, as retention rules usually find; the range says how uncertain that is", "medium", "low",
    ),
    MeterRule(
        "cloud.storage_generation", r"volumeusage\.gp2", "", "0.2", "0.18", "0.2", 0.9,
        "Volume {name} is of the generation gp2", "Change the volume's type to gp3; it stays attached.",
        "gp3 lists at 0.08 against 0.10 per GB and month (us-east-1, 2025-03-02), with at least the same base performance",
    ),
    MeterRule(
        "cloud.storage_class", r"timedstorage-bytehrs|standard storage|hot lrs data stored", "", "0.4", "0", "0.45", 0.4,
        "Bucket {name} is hardly read but lies in the dearest class", "Set a lifecycle rule or intelligent tiering.",
        "infrequent access lists at 0.0125 against 0.023 per GB and month (us-east-1, 2025-03-02), less retrieval", "medium",
    ),
)  # fmt: skip

BUSY_BUCKETS = "cloud.storage_class"

SCHEDULE = MeterRule(
    "cloud.nonprod_schedule", "", "",
    str(1 - OFFICE_HOURS_A_WEEK / HOURS_A_WEEK)[:6], "0.4", "0.75", 0.65,
    "{name} is not production and never sleeps", "Stop it outside office hours by a schedule.",
    f"it needs {OFFICE_HOURS_A_WEEK} of {HOURS_A_WEEK} hours a week", "low", "low",
)  # fmt: skip

NAME_TAG = r'(?i)"(?:[a-z]+:)?name"\s*:\s*"([^"]+)"'
"""The tag that people name things by."""

NONPROD = r'"(?:[^"]*[:_-])?(?:env|environment|stage)"\s*:\s*"(?:dev|develop|development|test|testing|qa|staging|stage|sandbox|uat|demo|nonprod|non-prod|non-production)"'
"""A tag that says that something is not production, any case."""


def resources(uses: pl.DataFrame) -> pl.DataFrame:
    """Return usage lines of named resources with a text to look at, the resource's name and its whole cost.

    Args:
        uses: Rows of :func:`~bursar.parts.cloud.rules.queries.uses`.

    Returns:
        Rows with cost above 0 and a resource; columns ``text``, ``resource`` and ``resource_cost`` are added.
    """
    text = [pl.col(name).fill_null("") for name in ("sku_meter", "charge_description", "operation")]
    name = [pl.col(name).fill_null("") for name in ("provider", "sub_account_id", "resource_id")]
    used = uses.filter(
        (pl.col("charge_category") == "Usage")
        & pl.col("resource_id").is_not_null()
        & pl.col("commitment_discount_status").fill_null("").ne("Unused")
        & (pl.col("cost") > 0)
    )
    return used.with_columns(
        pl.concat_str(text, separator=" | ").str.to_lowercase().alias("text"),
        pl.concat_str(name, separator="/").alias("resource"),
    ).with_columns(pl.col("cost").sum().over("resource", "currency").alias("resource_cost"))


COLUMNS: Mapping[str, pl.DataType] = {
    "kind": pl.String(),
    "resource": pl.String(),
    "name": pl.String(),
    "currency": pl.String(),
    "cost": DECIMAL,
    "resource_cost": DECIMAL,
    "resource_id": pl.String(),
    "detail": pl.String(),
}
"""What every rule returns: the cost in the period that the step touches, and the whole cost of the resource."""


def picked(rows: pl.DataFrame, kind: str) -> pl.DataFrame:
    """Return rows of one kind of waste by resource, as :data:`COLUMNS`; a name tag names what has no name of its own."""
    return (
        rows.group_by("resource", "currency", maintain_order=True)
        .agg(
            pl.lit(kind).alias("kind"),
            pl.coalesce("resource_name", pl.col("tags").str.extract(NAME_TAG), "resource_id").first().alias("name"),
            pl.col("cost").sum(),
            pl.col("resource_cost").first(),
            pl.col("resource_id").first(),
            pl.coalesce("sku_meter", "charge_description").first().alias("detail"),
        )
        .select([pl.col(name).cast(kind_) for name, kind_ in COLUMNS.items()])
    )


def by_meter(rows: pl.DataFrame, rule: MeterRule) -> pl.DataFrame:
    """Return the resources that ``rule`` applies to, from :func:`resources`."""
    hit = pl.col("text").str.contains(f"(?i){_plain(rule.meter)}")
    found = rows.with_columns(hit.alias("_hit"))
    if "(?!" in rule.meter:
        pattern = re.compile(rule.meter)
        texts = {text: bool(pattern.search(text)) for text in found["text"].unique().to_list()}
        found = found.with_columns(pl.col("text").replace_strict(texts, return_dtype=pl.Boolean).alias("_hit"))
    if rule.unless:
        found = found.filter(~pl.col("text").str.contains(rule.unless).any().over("resource"))
    if rule.kind == BUSY_BUCKETS:
        side = pl.when(~pl.col("_hit")).then(pl.col("cost")).otherwise(0).sum().over("resource").cast(pl.Float64)
        found = found.filter(side <= pl.col("resource_cost").cast(pl.Float64) * SIDE_COST_MAX)
    return picked(found.filter(pl.col("_hit")), rule.kind)


def _plain(pattern: str) -> str:
    """Return the pattern without look-ahead, which the column engine does not know."""
    return re.sub(r"\(\?![^()]*\)", "", pattern)


def never_sleeping(rows: pl.DataFrame, *, days: int) -> pl.DataFrame:
    """Return compute that a tag calls non-production and that is billed for nearly every hour of ``days`` days."""
    hours = rows["quantity"].is_not_null() & rows["pricing_unit"].fill_null("").str.to_lowercase().str.contains(
        r"^(1 )?(hrs?|hours?)$"
    )
    compute = rows.filter(hours).filter(
        (pl.col("instance_type").is_not_null() | (pl.col("service_category") == "Compute"))
        & pl.col("pricing_category").fill_null("Standard").eq("Standard")
        & pl.col("tags").fill_null("").str.to_lowercase().str.contains(NONPROD)
    )
    billed = pl.col("quantity").cast(pl.Float64).sum().over("resource")
    return picked(compute.filter(billed >= HOURS_FULL * 24 * days), SCHEDULE.kind)
