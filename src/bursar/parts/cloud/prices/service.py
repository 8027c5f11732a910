"""Use cases: the price of something on a day, the same machine elsewhere, reading catalogues, packs for closed sites."""

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Protocol

import polars as pl

from bursar.infra.cache import Cache
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Invalid, NotFound, Refusal
from bursar.parts.cloud.prices import store
from bursar.parts.cloud.prices.rules import (
    ON_DEMAND,
    Priced,
    Shape,
    Wanted,
    cheapest,
    checked,
    machines,
    merge,
    scope_of,
)

CACHE_S = 3600.0
CACHE_MAX = 50_000
"""Answers kept; a bill of a month asks for a few thousand different prices."""

COMPARED_MAX = 200
"""Most machines in one comparison."""

STAMP_CHECK_S = 5.0
"""How often the files are looked at for a newer table."""

DEFAULT_NAME = "default"
"""Status name of the pack that comes with the product."""


class Catalogue(Protocol):
    """A provider's price list, as a connector reads it."""

    @property
    def name(self) -> str:
        """Such as ``aws``."""

    @property
    def regions(self) -> Sequence[str]:
        """The regions it is asked for."""

    async def read(self, region: str, *, day: date) -> pl.DataFrame | None:
        """Return the whole table of a region as of ``day``; None when it did not change since it was last read."""


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """How fresh a provider's prices are.

    Attributes:
        name: The provider or catalogue.
        regions: Regions with prices.
        prices: Prices known.
        seen_on: The newest day on which a catalogue listed one of them.
        age_days: Days since then.
        succeeded_at: Last successful reading, ISO 8601.
        error: Of the last attempt; empty when it succeeded or there was none.
        fallback: Whether only the pack that came with the product answers.
    """

    name: str
    regions: int
    prices: int
    seen_on: date | None
    age_days: int | None
    succeeded_at: str
    error: str
    fallback: bool


class PriceList:
    """The prices of this installation, for any thread: comparing and advising look at whole tables beside the event loop.

    Args:
        folder: Where the tables lie; made when absent.
        default: Makes the tables of the pack that comes with the product; asked once, when there is no table yet.
        clock: Monotonic clock, seconds; decides when files are looked at again.
    """

    def __init__(self, folder: Path, *, default: Callable[[], pl.DataFrame], clock: Callable[[], float]) -> None:
        self.tables = store.Prices(folder)
        self._default = default
        self._clock = clock
        self._book: store.Book | None = None
        self._stamp: tuple[tuple[str, int], ...] = ()
        self._looked = float("-inf")
        self._lock = threading.RLock()
        self._cache: Cache[tuple[Wanted, date], tuple[Priced | None]] = Cache(
            "prices", ttl_s=CACHE_S, size_max=CACHE_MAX, clock=clock
        )

    def price(self, wanted: Wanted, *, on: date) -> Priced | None:
        """Return what something costs on a day.

        Returns:
            The price whose validity covers the day, or else the nearest known one, marked as not exact; None when
            nothing is known. Never a price of 0 in place of an unknown one.
        """
        with self._lock:
            book = self.book()
            known = self._cache.get((wanted, on))
            if known is None:
                known = (book.find(wanted, on),)
                self._cache.put((wanted, on), known)
        return known[0]

    def compare(self, shape: Shape, *, on: date, providers: Sequence[str] = (), most: int = 50) -> pl.DataFrame:
        """Return machines of a shape, cheapest first, across providers and regions.

        Raises:
            Invalid: More than :data:`COMPARED_MAX` are asked for.
        """
        if not 1 <= most <= COMPARED_MAX:
            raise Invalid(f"Ask for 1 to {COMPARED_MAX} machines.", f"Give a limit of at most {COMPARED_MAX}.")
        table = self.book().table
        chosen = table.filter(pl.col("provider").is_in(list(providers))) if providers else table
        return cheapest(chosen, shape, on=on, most=most)

    def machines(self, *, on: date, providers: Sequence[str], term: str = ON_DEMAND) -> pl.DataFrame:
        """Return every machine of some providers with its price on a day; see :func:`~…prices.rules.machines`."""
        table = self.book().table
        return machines(table.filter(pl.col("provider").is_in(list(providers))), on=on, term=term)

    def book(self) -> store.Book:
        """Return the prices in memory, read again when a table on disk was replaced."""
        with self._lock:
            now = self._clock()
            book = self._book
            if book is not None and now - self._looked < STAMP_CHECK_S:
                return book
            self._looked = now
            stamp = self.tables.stamp()
            if not stamp:
                self._fill()
                stamp = self.tables.stamp()
            if book is None or stamp != self._stamp:
                book = self._book = store.Book(self.tables.all())
                self._stamp = stamp
                self._cache.clear()
            return book

    def _fill(self) -> None:
        for provider, region, table in by_scope(checked(self._default())):
            self.tables.write(provider, region, table)

    def take(self, frame: pl.DataFrame, *, day: date) -> int:
        """Merge a reading of a catalogue made on ``day``; return the number of prices in it."""
        count = 0
        for provider, region, table in by_scope(checked(frame)):
            old = self.tables.read(provider, region)
            services = table["service"].unique().to_list()
            mine, other = old.filter(pl.col("service").is_in(services)), old.filter(~pl.col("service").is_in(services))
            self.tables.write(provider, region, pl.concat([other, merge(mine, table, day=day)]))
            count += table.height
        self._looked = float("-inf")
        return count

    async def refresh(self, actor: Actor, catalogue: Catalogue, *, now: datetime) -> int:
        """Read a catalogue, region by region; what was read before an error is kept, and so is everything known.

        Args:
            actor: Needs the right ``cloud:refresh``.
            catalogue: What is read.
            now: Instant, aware.

        Returns:
            The number of prices read; 0 when nothing changed.

        Raises:
            NotAllowed: The actor lacks the right.
            Refusal: The catalogue could not be read; its status says so too.
        """
        actor.must("cloud:refresh")
        count = 0
        try:
            for region in catalogue.regions:
                frame = await catalogue.read(region, day=now.date())
                if frame is not None:
                    count += await asyncio.to_thread(self.take, frame, day=now.date())
        except Refusal as refusal:
            self.tables.report(catalogue.name, now, error=str(refusal))
            raise
        self.tables.report(catalogue.name, now, prices=count)
        return count

    def pack(self, actor: Actor, document: Path) -> int:
        """Write all prices into one file for a site without network; return how many."""
        actor.must("price:read")
        self.book()
        return self.tables.pack(document)

    def load(self, actor: Actor, document: Path, *, now: datetime) -> int:
        """Merge a pack made elsewhere; the whole pack is checked before anything changes. Return how many prices."""
        actor.must("price:write")
        tables = list(self.tables.unpack(document))
        if not tables:
            raise Invalid("The price pack is empty.", "Make one with `bursar prices pack`.")
        for provider, region, table in tables:
            old = self.tables.read(provider, region)
            newest = old["seen_on"].max() if old.height else None
            day = table["seen_on"].max()
            newer = newest is None or (isinstance(day, date) and isinstance(newest, date) and day >= newest)
            self.tables.write(provider, region, table if newer else old)
        self._looked = float("-inf")
        count = sum(table.height for _, _, table in tables)
        self.tables.report("pack", now, prices=count)
        return count

    def providers(self, actor: Actor, *, today: date) -> list[ProviderStatus]:
        """Return how fresh every provider's prices are."""
        actor.must("price:read")
        table, known = self.book().table, self.tables.statuses()
        grouped = table.group_by("provider").agg(
            pl.col("region").n_unique().alias("regions"),
            pl.len().alias("prices"),
            pl.col("seen_on").max().alias("seen"),
            (pl.col("source") == DEFAULT_SOURCE).all().alias("fallback"),
        )
        facts = {row["provider"]: row for row in grouped.iter_rows(named=True)}
        return [_status(name, facts.get(name), known.get(name), today) for name in sorted(facts.keys() | known.keys())]


DEFAULT_SOURCE = "apache-libcloud"
"""Source of the prices that come with the product."""


def _status(name: str, facts: Mapping[str, object] | None, last: store.Status | None, today: date) -> ProviderStatus:
    seen = facts["seen"] if facts else None
    day = seen if isinstance(seen, date) else None
    return ProviderStatus(
        name=name,
        regions=int(str(facts["regions"])) if facts else 0,
        prices=int(str(facts["prices"])) if facts else 0,
        seen_on=day,
        age_days=(today - day).days if day else None,
        succeeded_at=last.succeeded_at if last else "",
        error=last.error if last else "",
        fallback=bool(facts["fallback"]) if facts else False,
    )


def by_scope(table: pl.DataFrame) -> Iterable[tuple[str, str, pl.DataFrame]]:
    """Yield the parts of a table by provider and region."""
    for provider, region in scope_of(table):
        yield provider, region, table.filter((pl.col("provider") == provider) & (pl.col("region") == region))


def must_find(found: Priced | None, wanted: Wanted) -> Priced:
    """Return the price, or refuse with what was asked for.

    Raises:
        NotFound: The price is unknown.
    """
    if found is None:
        raise NotFound("price of", f"{wanted.sku or wanted.instance_type} in {wanted.provider} {wanted.region}")
    return found
