"""Machines and what else they could be: smaller, of another architecture, in another region, without a licence.

Every alternative comes from the price lists: it exists where it is advised, and its price is cited with id and day.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl

from bursar.parts.cloud.rules.waste import NAME_TAG, NONPROD

RIGHTSIZE = "cloud.rightsize"
UNMEASURED = "cloud.unmeasured_memory"
IDLE = "cloud.idle_machine"
ARCHITECTURE = "cloud.cheaper_architecture"
REGION = "cloud.cheaper_region"
LICENCE = "cloud.licence_waste"

ROOM = 0.8
"""After the change the 99th percentile of CPU and the most memory ever used fill at most this share of the machine."""

IDLE_P99_MAX = 3.0
IDLE_PEAK_MAX = 10.0
"""CPU, percent: nothing but the operating system works."""

REGION_SHARE_MIN = 0.1
"""A move between regions for less is not worth its risk."""

LICENSED = ("windows", "rhel", "suse")

AREAS: Mapping[str, tuple[frozenset[str], ...]] = {
    "aws": (
        frozenset({"eu-central-1", "eu-west-1", "eu-west-3", "eu-north-1", "eu-south-1", "eu-south-2"}),
        frozenset({"us-east-1", "us-east-2", "us-west-1", "us-west-2"}),
    ),
    "azure": (
        frozenset({"westeurope", "northeurope", "francecentral", "germanywestcentral", "swedencentral", "polandcentral",
                   "italynorth", "spaincentral", "austriaeast", "belgiumcentral"}),
        frozenset({"eastus", "eastus2", "centralus", "northcentralus", "southcentralus", "westcentralus", "westus",
                   "westus2", "westus3"}),
    ),
    "gcp": (
        frozenset({"europe-west1", "europe-west3", "europe-west4", "europe-west8", "europe-west9", "europe-west10",
                   "europe-west12", "europe-north1", "europe-north2", "europe-central2", "europe-southwest1"}),
        frozenset({"us-central1", "us-east1", "us-east4", "us-east5", "us-west1", "us-west2", "us-west3", "us-west4",
                   "us-south1"}),
    ),
}  # fmt: skip
"""Regions of the European Union and of the United States: within one of them data stays under the same law."""


@dataclass(frozen=True, slots=True)
class Model:
    """What the name of an instance type says.

    Attributes:
        provider: Whose it is.
        letters: The class, such as ``m`` or ``d``.
        generation: Its generation; 0 where the name has none.
        chip: Letters that name the processor.
        extras: What it has besides (local disks, network).
    """

    provider: str
    letters: str
    generation: int
    chip: str
    extras: str

    @property
    def series(self) -> str:
        """What sizes of one series share, whatever their memory for a core."""
        letters = "balanced" if self.letters in _BALANCED.get(self.provider, ()) else self.letters
        return f"{self.provider} {letters} {self.generation} {self.chip} {self.extras}"

    @property
    def line(self) -> str:
        """What successors on any processor share."""
        return f"{self.provider} {self.letters} {self.extras}"


_AWS = re.compile(r"([a-z]+)(\d+)([a-z-]*)\.[a-z0-9-]+")
_AZURE = re.compile(r"standard_([a-z]+)\d+(?:-\d+)?([a-z]*)(?:_v(\d+))?")
_GOOGLE = re.compile(r"([a-z]+\d+[a-z]?)-(?:standard|highmem|highcpu)-\d+")
_CHIPS = {"aws": "agi", "azure": "ap"}
_BALANCED = {"aws": frozenset("cmr"), "azure": frozenset("de")}
"""Classes that differ in memory for a core alone."""


def model_of(instance_type: str) -> Model | None:
    """Return what the name of an instance type says; None where it has no provider's form."""
    name = instance_type.strip().lower()
    if found := _AWS.fullmatch(name):
        return _model("aws", found[1], found[2], found[3])
    if found := _AZURE.fullmatch(name):
        return _model("azure", found[1], found[3] or "1", found[2])
    if found := _GOOGLE.fullmatch(name):
        return Model("gcp", found[1], 0, "", "")
    return None


def _model(provider: str, letters: str, generation: str, features: str) -> Model:
    chips = "".join(letter for letter in features if letter in _CHIPS[provider])
    extras = "".join(letter for letter in features if letter not in _CHIPS[provider])
    return Model(provider, letters, int(generation), chips, extras)


def area_of(provider: str, region: str) -> str:
    """Return the name of the area within which data may move under one law; empty where none is known."""
    for number, regions in enumerate(AREAS.get(provider, ())):
        if region in regions:
            return f"{provider}/{number}"
    return ""


def named(frame: pl.DataFrame) -> pl.DataFrame:
    """Add what the names of types and regions say: ``series``, ``line``, ``generation`` and ``area``."""
    models = {name: model_of(name) for name in frame["instance_type"].unique().to_list()}
    places = frame.select("provider", "region").unique().rows()

    def told(what: Callable[[Model], object], kind: pl.DataType) -> pl.Expr:
        texts = {name: what(model) for name, model in models.items() if model}
        return pl.col("instance_type").replace_strict(texts, default=None, return_dtype=kind)

    areas = pl.DataFrame(
        [(provider, region, area_of(provider, region)) for provider, region in places],
        schema={"provider": pl.String(), "region": pl.String(), "area": pl.String()},
        orient="row",
    )
    return frame.with_columns(
        told(lambda model: model.series, pl.String()).alias("series"),
        told(lambda model: model.line, pl.String()).alias("line"),
        told(lambda model: model.generation, pl.Int64()).alias("generation"),
    ).join(areas, on=["provider", "region"], how="left", maintain_order="left")


_SYSTEM = (
    ("sql", r"\bsql|runinstances:0(006|100|102|200|202|004)"),
    ("windows", r"windows|runinstances:0002"),
    ("rhel", r"\brhel|red hat|runinstances:0010"),
    ("suse", r"\bsuse|runinstances:000g"),
    ("other", r"runinstances:0[0-9a-z]{3}"),
)
"""Operating system by what a line says, the first that fits; Linux where it says nothing."""


def _system() -> pl.Expr:
    found = pl.lit("linux")
    for name, pattern in reversed(_SYSTEM):
        found = pl.when(pl.col("text").str.contains(pattern)).then(pl.lit(name)).otherwise(found)
    return found


FACTS = ("vcpu", "memory_gib", "arch", "price", "id", "seen_on", "source", "price_currency")
"""What the price lists tell of a machine."""


def machines(rows: pl.DataFrame, market: pl.DataFrame) -> pl.DataFrame:
    """Return the machines that are paid for on demand, with what the price lists say of them.

    Args:
        rows: Rows of :func:`~bursar.parts.cloud.rules.waste.resources`.
        market: Rows of :meth:`~bursar.parts.cloud.prices.service.PriceList.machines`, as :func:`named`.

    Returns:
        One row per resource and currency: ``provider``, ``account``, ``resource``, ``resource_id``, ``name``, ``currency``,
        ``cost``, ``resource_cost``, ``instance_type``, ``region``, ``os``, ``nonprod``, :data:`FACTS` (null where unlisted),
        ``series``, ``line``, ``generation``, ``area``.
    """
    used = rows.filter(
        pl.col("instance_type").is_not_null()
        & (pl.col("service_category") == "Compute")
        & pl.col("pricing_category").fill_null("Standard").eq("Standard")
    )
    found = used.group_by("resource", "currency", maintain_order=True).agg(
        pl.col("provider", "resource_id", "resource_cost").first(),
        pl.col("sub_account_id").fill_null("").first().alias("account"),
        pl.coalesce("resource_name", pl.col("tags").str.extract(NAME_TAG), "resource_id").first().alias("name"),
        pl.col("cost").sum(),
        pl.col("instance_type").sort_by("last_day").last(),
        pl.col("region_id").drop_nulls().last().fill_null("").alias("region"),
        _system().first().alias("os"),
        pl.col("tags").fill_null("").str.to_lowercase().str.contains(NONPROD).any().alias("nonprod"),
    )
    listed = market.with_columns(pl.col("instance_type").str.to_lowercase().alias("_type")).unique(
        [*_PLACE, "_type", "os"], keep="first", maintain_order=True
    )
    told = named(found).with_columns(pl.col("instance_type").str.to_lowercase().alias("_type"))
    known = listed.select(*_PLACE, "_type", "os", *FACTS)
    return told.join(known, on=[*_PLACE, "_type", "os"], how="left", maintain_order="left").drop("_type")


_PLACE = ("provider", "region")
_BEST = ("resource", "currency")


def _others(found: pl.DataFrame, market: pl.DataFrame, on: tuple[str, ...]) -> pl.DataFrame:
    """Return every pair of a machine and a cheaper one that is equal in ``on``; of the other, names end in ``_to``."""
    names = ("region", "instance_type", "generation", *FACTS)
    other = market.select(*on, *[pl.col(name).alias(f"{name}_to") for name in names])
    pairs = found.drop_nulls("price").join(other, on=list(on), how="inner", maintain_order="left")
    cheaper = (pl.col("price_to") < pl.col("price")) & (pl.col("price_currency_to") == pl.col("price_currency"))
    return pairs.filter(cheaper)


def _cheapest(pairs: pl.DataFrame) -> pl.DataFrame:
    """Return the cheapest alternative of each machine, with ``price_cautious``: the dearest that would save anything."""
    ordered = pairs.sort(
        "price_to", "vcpu_to", "instance_type_to", descending=[False, True, False], maintain_order=True
    )
    return ordered.group_by(*_BEST, maintain_order=True).agg(
        pl.exclude("price_cautious").first(), pl.col("price_to").max().alias("price_cautious")
    )


def smaller(found: pl.DataFrame, market: pl.DataFrame) -> pl.DataFrame:
    """Return the smallest sufficient machine of the same series, region and system, for machines that were measured.

    Args:
        found: Of :func:`machines`, with the evidence of :func:`~bursar.parts.cloud.rules.utilisation.measured`; rows without
            evidence of both CPU and memory get no answer.
        market: The price lists.

    Returns:
        The machines with their alternative (names end in ``_to``), ``needs_vcpu`` and ``needs_gib``.
    """
    needs = found.drop_nulls(["cpu_p99", "memory_peak", "vcpu", "memory_gib"]).with_columns(
        (pl.col("vcpu") * pl.col("cpu_p99") / 100 / ROOM).alias("needs_vcpu"),
        (pl.col("memory_gib") * pl.col("memory_peak") / 100 / ROOM).alias("needs_gib"),
    )
    pairs = _others(needs, market, ("provider", "region", "os", "series", "arch"))
    fits = (pl.col("vcpu_to") >= pl.col("needs_vcpu")) & (pl.col("memory_gib_to") >= pl.col("needs_gib"))
    return _cheapest(pairs.filter(fits))


def other_architecture(found: pl.DataFrame, market: pl.DataFrame) -> pl.DataFrame:
    """Return the cheapest ARM machine with as many cores and as much memory, no older, in the same region."""
    here = found.filter((pl.col("arch") == "x86_64") & (pl.col("os") == "linux"))
    pairs = _others(
        here, market.filter(pl.col("arch") == "arm64"), ("provider", "region", "os", "line", "vcpu", "memory_gib")
    )
    return _cheapest(pairs.filter(pl.col("generation_to") >= pl.col("generation")))


def elsewhere(found: pl.DataFrame, market: pl.DataFrame) -> pl.DataFrame:
    """Return the cheapest other region of the same area for the same machine, where it is cheaper by a tenth or more."""
    pairs = _others(found.filter(pl.col("area") != ""), market, ("provider", "area", "os", "instance_type"))
    return _cheapest(pairs.filter(pl.col("price_to") <= pl.col("price") * (1 - REGION_SHARE_MIN)))


def licensed(found: pl.DataFrame, market: pl.DataFrame) -> pl.DataFrame:
    """Return machines that are not production and pay for a licence by the hour, against the same machine on Linux.

    Windows counts on Azure alone, where development and test subscriptions run it at the price of Linux.
    """
    paying = found.filter(
        pl.col("nonprod") & pl.col("os").is_in(LICENSED) & (pl.col("os").ne("windows") | pl.col("provider").eq("azure"))
    )
    free = market.filter(pl.col("os") == "linux")
    return _cheapest(_others(paying, free, ("provider", "region", "instance_type")))


def idle(found: pl.DataFrame) -> pl.DataFrame:
    """Return machines whose CPU did nothing all the time that it was measured."""
    return found.filter((pl.col("cpu_p99") <= IDLE_P99_MAX) & (pl.col("cpu_peak") <= IDLE_PEAK_MAX))


def unmeasured(found: pl.DataFrame) -> pl.DataFrame:
    """Return machines that look half empty by their CPU, and of whose memory nothing was imported."""
    half = pl.col("cpu_p99") <= 100 * ROOM / 2
    return found.filter(half & pl.col("memory_peak").is_null() & ~(pl.col("cpu_p99") <= IDLE_P99_MAX))
