"""Newer families of the same shape, with the list prices that prove it."""

import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import polars as pl

from bursar.parts.cloud.rules.waste import COLUMNS, NAME_TAG

PRICED_ON = date(2025, 3, 2)
PRICED_WHERE = {
    "aws": "AWS public on-demand price, Linux, us-east-1",
    "azure": "Azure public pay-as-you-go price, Linux, West Europe",
}


@dataclass(frozen=True, slots=True)
class Step:
    """From one family to another, with the hourly list price of one size of each; other sizes cost in proportion.

    Attributes:
        family: The family, as :func:`family_of` returns it.
        to: The successor, as people know it.
        size: The instance type whose prices are named.
        size_to: Its successor.
        price: Hourly price of ``size``, USD.
        price_to: Hourly price of ``size_to``, USD.
        provider: Whose family it is.
    """

    family: str
    to: str
    size: str
    size_to: str
    price: Decimal
    price_to: Decimal
    provider: str = "aws"

    @property
    def share(self) -> Decimal:
        """Share of the cost saved."""
        return (1 - self.price_to / self.price).quantize(Decimal("0.0001"))


def _step(family: str, to: str, size: str, price: str, price_to: str) -> Step:
    return Step(family, to, f"{family}.{size}", f"{to}.{size}", Decimal(price), Decimal(price_to))


def _azure(family: str, to: str, size: str, size_to: str, price: str, price_to: str) -> Step:
    return Step(family, to, size, size_to, Decimal(price), Decimal(price_to), provider="azure")


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
    _azure("d", "Dv4 or newer", "Standard_D3", "Standard_D4_v4", "0.336", "0.23"),
    _azure("d v2", "Dv4 or newer", "Standard_D3_v2", "Standard_D4_v4", "0.272", "0.23"),
    _azure("ds v2", "Dsv4 or newer", "Standard_DS3_v2", "Standard_D4s_v4", "0.272", "0.23"),
    _azure("d1x v2", "Ev4 or newer", "Standard_D12_v2", "Standard_E4_v4", "0.379", "0.304"),
    _azure("ds1x v2", "Esv4 or newer", "Standard_DS12_v2", "Standard_E4s_v4", "0.379", "0.304"),
    _azure("f", "Fsv2", "Standard_F4", "Standard_F4s_v2", "0.227", "0.194"),
    _azure("fs", "Fsv2", "Standard_F4s", "Standard_F4s_v2", "0.227", "0.194"),
)
"""A test compares them with the price data of apache-libcloud."""

BY_FAMILY = {(step.provider, step.family): step for step in STEPS}
GENERATION = "cloud.previous_generation"


_AWS = re.compile(r"([a-z0-9]+)\.[a-z0-9-]+")
_AZURE = re.compile(r"standard_([a-z]+)(\d+)(?:-\d+)?([a-z]*)((?:_v\d+)?)")


def family_of(instance_type: str) -> tuple[str, str] | None:
    """Return the provider and family of an instance type; None where it has neither's form.

    Azure's sizes 11 to 15 of the D series have twice the memory: a family of their own, ``d1x v2``.
    """
    name = instance_type.strip().lower()
    if found := _AWS.fullmatch(name):
        return "aws", found[1]
    if found := _AZURE.fullmatch(name):
        letters, number, more, version = found.groups()
        large = "1x" if letters in {"d", "ds"} and len(number) > 1 and number.startswith("1") else ""
        return "azure", f"{letters}{large}{more}{version.replace('_', ' ')}"
    return None


def upgrades(rows: pl.DataFrame) -> pl.DataFrame:
    """Return instances of a family with a cheaper successor, from :func:`~bursar.parts.cloud.rules.waste.resources`.

    ``detail`` is the instance type. Only on-demand use counts: a commitment would go on being paid.
    """
    types = rows["instance_type"].drop_nulls().unique().to_list()
    steps = {name: BY_FAMILY[family] for name in types if (family := family_of(name)) in BY_FAMILY}
    whose = {name: step.provider for name, step in steps.items()}
    found = rows.filter(
        pl.col("instance_type").is_in(list(steps))
        & (pl.col("service_category") == "Compute")
        & pl.col("pricing_category").fill_null("Standard").eq("Standard")
        & ~pl.col("text").str.contains("windows|sql|runinstances:0[0-9a-z]{3}")
    ).with_columns(
        pl.lit(GENERATION).alias("kind"),
        pl.col("instance_type").replace_strict(whose, default=None, return_dtype=pl.String()).alias("_whose"),
    )
    return (
        found.filter(pl.col("provider") == pl.col("_whose"))
        .group_by("resource", "currency", "kind", maintain_order=True)
        .agg(
            pl.coalesce("resource_name", pl.col("tags").str.extract(NAME_TAG), "resource_id").first().alias("name"),
            pl.col("cost").sum(),
            pl.col("resource_cost").first(),
            pl.col("resource_id").first(),
            pl.col("instance_type").first().alias("detail"),
        )
        .select([pl.col(name).cast(kind) for name, kind in COLUMNS.items()])
    )


def step_of(instance_type: str) -> Step:
    """Return the step for an instance type that :func:`upgrades` found."""
    family = family_of(instance_type)
    assert family is not None
    return BY_FAMILY[family]
