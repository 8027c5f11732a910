"""The price table, how a newer reading of a catalogue is merged into it, and shapes of machines that can be compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

import polars as pl

from bursar.kernel.errors import Invalid
from bursar.kernel.prices import PRICE_COLUMNS

HOURS_A_MONTH = 730
"""A month is 730 hours, everywhere in the product."""

PRICES_MAX = 5_000_000
"""Most prices in one region's table."""

KEY: Final = ("provider", "service", "sku", "region", "term", "currency", "tier_start")
"""What makes two rows the same price at different times."""

ON_DEMAND = "on_demand"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for: a SKU, or a machine by type and operating system; ``tier`` is the quantity used so far."""

    provider: str
    region: str
    sku: str = ""
    instance_type: str = ""
    os: str = "linux"
    term: str = ON_DEMAND
    currency: str = "USD"
    tier: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        """Refuse a question that asks for neither, or for both."""
        if bool(self.sku) == bool(self.instance_type):
            raise Invalid("Ask for a SKU or for an instance type.", "Give exactly one of the two.")

    @property
    def by(self) -> tuple[str, ...]:
        """The values of the index the answer is looked up in."""
        if self.sku:
            return ("sku", self.provider, self.region, self.sku, self.term, self.currency)
        return ("type", self.provider, self.region, self.instance_type, self.os, self.term, self.currency)


@dataclass(frozen=True, slots=True)
class Priced:
    """One price found.

    Attributes:
        id: Stable id, to be cited by findings.
        amount: Per ``unit``, in ``currency``.
        day: The day as of which it is known: the day asked for when a validity period covers it, else the nearest.
        exact: Whether a validity period covers the day asked for and a catalogue was seen on or after it.
        vanished: Whether the catalogue lists it no longer; ``seen_on`` says when it did last.
    """

    id: str
    provider: str
    service: str
    sku: str
    region: str
    instance_type: str
    os: str
    arch: str
    vcpu: float | None
    memory_gib: float | None
    unit: str
    term: str
    currency: str
    amount: Decimal
    day: date
    seen_on: date
    exact: bool
    vanished: bool
    source: str
    description: str


def checked(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame with exactly the columns of the price table.

    Raises:
        Invalid: A column is missing, a key is null, a price is negative, or there are too many rows.
    """
    missing = [name for name in PRICE_COLUMNS if name not in frame.columns]
    if missing:
        raise Invalid(f"The price table lacks the columns {', '.join(missing)}.", "Make the pack again.")
    if frame.height > PRICES_MAX:
        raise Invalid(f"The price table has over {PRICES_MAX:,} rows.", "Read fewer services or regions.")
    typed = frame.select(pl.col(name).cast(kind) for name, kind in PRICE_COLUMNS.items())
    needed = [name for name in (*KEY, "price", "unit", "seen_on") if typed[name].null_count()]
    if needed:
        raise Invalid(f"The price table has empty values in {', '.join(needed)}.", "Make the pack again.")
    if typed.height and typed.select((pl.col("price") < 0).any()).item():
        raise Invalid("The price table has a negative price.", "Make the pack again.")
    return typed


def merge(old: pl.DataFrame, new: pl.DataFrame, *, day: date) -> pl.DataFrame:
    """Merge a whole new reading of a catalogue, made on ``day``, into the table of the same scope.

    A price that is the same is seen again; one that changed ends the old validity period and begins a new one; one that
    vanished stays as it is, with the day it was last seen; one that is new is added. A reading older than what is known
    changes nothing about newer periods.

    Args:
        old: The table so far, as :func:`checked`.
        new: What the catalogue lists now, as :func:`checked`; one row per :data:`KEY`.
        day: Day of the reading.

    Returns:
        The table, sorted by key and start.
    """
    new = new.unique(KEY, keep="last", maintain_order=True)
    closed, current = old.filter(pl.col("valid_to").is_not_null()), old.filter(pl.col("valid_to").is_null())
    joined = current.join(new.select(*KEY, now="price", starts="valid_from"), on=KEY, how="left")
    same = (joined["now"] == joined["price"]).fill_null(value=False)
    vanished = joined["now"].is_null()
    changed = ~same & ~vanished
    starts = pl.coalesce("starts", pl.lit(day))
    later = starts > pl.coalesce("valid_from", pl.lit(date.min))
    kept = joined.filter(same).with_columns(seen_on=pl.max_horizontal("seen_on", pl.lit(day)))
    ended = joined.filter(changed).filter(later).with_columns(valid_to=starts)
    stale = joined.filter(changed).filter(~later)
    fresh = new.join(current.select(KEY), on=KEY, how="anti")
    replaced = new.join(joined.filter(changed).filter(later).select(KEY), on=KEY, how="semi").with_columns(
        valid_from=pl.coalesce("valid_from", pl.lit(day))
    )
    parts = [closed, kept, joined.filter(vanished), ended, stale, fresh, replaced]
    whole = pl.concat([part.select(*PRICE_COLUMNS) for part in parts])
    return whole.sort(*KEY, "valid_from", nulls_last=False)


@dataclass(frozen=True, slots=True)
class Shape:
    """A machine to compare: at least ``vcpu`` and ``memory_gib``, of an architecture and operating system."""

    vcpu: float
    memory_gib: float
    arch: str = ""
    os: str = "linux"
    term: str = ON_DEMAND
    currency: str = "USD"

    def __post_init__(self) -> None:
        """Refuse a shape that is not positive."""
        if self.vcpu <= 0 or self.memory_gib < 0:
            raise Invalid("A machine has at least a part of a vCPU.", "Give positive vCPU and memory.")


def _standing(on: date) -> tuple[pl.Expr, ...]:
    """Return the conditions that a price stands on a day, for the first unit."""
    return (
        pl.col("tier_start") == 0,
        pl.coalesce("valid_from", pl.lit(date.min)) <= on,
        pl.coalesce("valid_to", pl.lit(date.max)) > on,
        pl.col("price") > 0,
    )


def machines(table: pl.DataFrame, *, on: date, term: str = ON_DEMAND) -> pl.DataFrame:
    """Return every machine with its hourly price on a day: ``id`` to be cited, shape, ``price`` and ``price_currency``."""
    begins = pl.col("valid_from").cast(pl.String).fill_null("start")
    shown = (
        "provider",
        "region",
        "instance_type",
        "os",
        "arch",
        "vcpu",
        "memory_gib",
        "term",
        "price",
        "seen_on",
        "source",
    )
    kept = table.filter(pl.col("instance_type").is_not_null(), pl.col("term") == term, *_standing(on))
    identifier = pl.concat_str("provider", "region", "sku", "term", begins, separator=":")
    return kept.select(*shown, identifier.alias("id"), pl.col("currency").alias("price_currency"))


def cheapest(table: pl.DataFrame, shape: Shape, *, on: date, most: int, spare: float = 2.0) -> pl.DataFrame:
    """Return machines that fit ``shape``, the cheapest of every provider and region first.

    Args:
        table: Prices, as :func:`checked`.
        shape: What is needed.
        on: The day.
        most: Rows returned at most.
        spare: A machine of more than ``spare`` times the vCPU or memory asked for is not the same shape.
    """
    wanted = [
        pl.col("instance_type").is_not_null(),
        pl.col("vcpu").is_between(shape.vcpu, shape.vcpu * spare),
        pl.col("memory_gib").is_between(shape.memory_gib, max(shape.memory_gib * spare, 1.0)),
        pl.col("os") == shape.os,
        pl.col("term") == shape.term,
        pl.col("currency") == shape.currency,
        *_standing(on),
    ]
    if shape.arch:
        wanted.append(pl.col("arch") == shape.arch)
    return table.filter(*wanted).sort("price", "provider", "region", "instance_type").head(most)


def empty() -> pl.DataFrame:
    """Return a price table without rows."""
    return pl.DataFrame(schema=dict(PRICE_COLUMNS))


def scope_of(frame: pl.DataFrame) -> Sequence[tuple[str, str]]:
    """Return the distinct (provider, region) pairs of a table, sorted."""
    return sorted(frame.select("provider", "region").unique().iter_rows())
