"""Newer or cheaper families of the same shape, with the list prices that prove it."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import polars as pl

from bursar.parts.cloud.rules.waste import COLUMNS

PRICED_ON = date(2025, 3, 2)
PRICED_WHERE = "AWS public on-demand price, Linux, us-east-1"


@dataclass(frozen=True, slots=True)
class Step:
    """From one family to another, with the hourly list price of the ``large`` size of each (or the size named).

    ``arm`` marks a change of processor architecture, which software has to allow.
    """

    family: str
    to: str
    size: str
    price: Decimal
    price_to: Decimal
    arm: bool = False

    @property
    def share(self) -> Decimal:
        """Share of the cost saved."""
        return (1 - self.price_to / self.price).quantize(Decimal("0.0001"))


def _step(family: str, to: str, size: str, price: str, price_to: str, *, arm: bool = False) -> Step:
    return Step(family, to, size, Decimal(price), Decimal(price_to), arm)


STEPS = (
    _step("m1", "m5", "large", "0.175", "0.096"),
    _step("m3", "m5", "large", "0.133", "0.096"),
    _step("m4", "m5", "large", "0.1", "0.096"),
    _step("c3", "c5", "large", "0.105", "0.085"),
    _step("c4", "c5", "large", "0.1", "0.085"),
    _step("r3", "r5", "large", "0.166", "0.126"),
    _step("r4", "r5", "large", "0.133", "0.126"),
    _step("t2", "t3", "large", "0.0928", "0.0832"),
    _step("i2", "i3", "xlarge", "0.853", "0.312"),
    _step("m5", "m6g", "large", "0.096", "0.077", arm=True),
    _step("c5", "c6g", "large", "0.085", "0.068", arm=True),
    _step("r5", "r6g", "large", "0.126", "0.1008", arm=True),
    _step("t3", "t4g", "large", "0.0832", "0.0672", arm=True),
)
"""A test compares them with the price data of apache-libcloud."""

BY_FAMILY = {step.family: step for step in STEPS}
GENERATION = "cloud.previous_generation"
ARCHITECTURE = "cloud.cheaper_architecture"


def upgrades(rows: pl.DataFrame) -> pl.DataFrame:
    """Return AWS instances of a family with a cheaper successor, from :func:`~bursar.parts.cloud.rules.waste.resources`.

    ``detail`` is the instance type. Only on-demand use counts: a commitment would go on being paid.
    """
    family = pl.col("instance_type").str.extract(r"^([a-z0-9]+)\.[a-z0-9-]+$")
    kinds = {step.family: ARCHITECTURE if step.arm else GENERATION for step in STEPS}
    found = rows.filter(
        (pl.col("provider") == "aws")
        & (pl.col("service_category") == "Compute")
        & pl.col("pricing_category").fill_null("Standard").eq("Standard")
        & family.is_in(list(kinds))
        & ~pl.col("text").str.contains("windows|sql|runinstances:0[0-9a-z]{3}")
    ).with_columns(family.replace_strict(kinds, return_dtype=pl.String()).alias("kind"))
    return (
        found.group_by("resource", "currency", "kind", maintain_order=True)
        .agg(
            pl.coalesce("resource_name", "resource_id").first().alias("name"),
            pl.col("cost").sum(),
            pl.col("resource_cost").first(),
            pl.col("resource_id").first(),
            pl.col("instance_type").first().alias("detail"),
        )
        .select([pl.col(name).cast(kind) for name, kind in COLUMNS.items()])
    )


def step_of(instance_type: str) -> Step:
    """Return the step for an instance type that :func:`upgrades` found."""
    return BY_FAMILY[instance_type.split(".", 1)[0]]
