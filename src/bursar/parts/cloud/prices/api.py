"""List prices over HTTP: what something costs, where the same machine costs less, how fresh the catalogues are."""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from decimal import Decimal
from typing import Annotated, Any

from fastapi import Query
from pydantic import Field

from bursar.infra.clock import utc_now
from bursar.infra.traces import Tracer
from bursar.infra.web import As, Day, Out, Router, Traces, router
from bursar.kernel.errors import NotFound
from bursar.parts.cloud.prices import service
from bursar.parts.cloud.prices.rules import HOURS_A_MONTH, ON_DEMAND, Priced, Shape, Wanted
from bursar.parts.cloud.prices.service import COMPARED_MAX, PriceList, ProviderStatus

Name = Annotated[str, Query(max_length=80, pattern=r"^[A-Za-z0-9 ._:/+()-]*$")]


class UnitPriceOut(Out):
    """A price of one unit: an exact decimal as text, with as many places as the catalogue gives."""

    amount: str
    currency: str
    unit: str
    trace: str


class PriceOut(Out):
    """One list price and the day as of which it is known."""

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
    term: str
    price: UnitPriceOut
    as_of: date
    seen_on: date
    exact: bool
    vanished: bool
    source: str
    description: str


class MachineOut(Out):
    """One machine of a comparison; the monthly price is 730 hours."""

    provider: str
    region: str
    instance_type: str
    vcpu: float
    memory_gib: float
    arch: str
    os: str
    term: str
    price: UnitPriceOut
    monthly: str
    trace: Annotated[str, Field(description="Of the monthly price.")]
    seen_on: date
    source: str


class ComparedOut(Out):
    """Machines of a shape, the cheapest first."""

    data: list[MachineOut]


class ProviderOut(Out):
    """How fresh a provider's prices are; `fallback` when only the pack that came with the product answers."""

    name: str
    regions: int
    prices: int
    seen_on: date | None
    age_days: int | None
    succeeded_at: str
    error: str
    fallback: bool


class ProvidersOut(Out):
    """Every provider with prices or a catalogue."""

    data: list[ProviderOut]


def _trace(traces: Tracer, found: Mapping[str, Any], on: date, part: str = "price") -> str:
    names = ("provider", "region", "sku", "os", "term")
    facts = (*((name, found[name]) for name in names), ("on", f"{on}"))
    return traces.asked("price", part, found["currency"], facts)


def price_out(found: Priced, on: date, traces: Tracer) -> PriceOut:
    """Translate a price for the wire."""
    return PriceOut(
        id=found.id,
        provider=found.provider,
        service=found.service,
        sku=found.sku,
        region=found.region,
        instance_type=found.instance_type,
        os=found.os,
        arch=found.arch,
        vcpu=found.vcpu,
        memory_gib=found.memory_gib,
        term=found.term,
        price=UnitPriceOut(
            amount=text(found.amount), currency=found.currency, unit=found.unit, trace=_trace(traces, asdict(found), on)
        ),
        as_of=found.day,
        seen_on=found.seen_on,
        exact=found.exact,
        vanished=found.vanished,
        source=found.source,
        description=found.description,
    )


def text(amount: Decimal) -> str:
    """Write an exact decimal without needless zeros, at least two places."""
    whole, _, places = f"{amount:f}".partition(".")
    return f"{whole}.{places.rstrip('0').ljust(2, '0')}"


def machine_out(row: dict[str, Any], on: date, traces: Tracer) -> MachineOut:
    """Translate one row of a comparison for the wire."""
    return MachineOut(
        provider=row["provider"],
        region=row["region"],
        instance_type=row["instance_type"],
        vcpu=row["vcpu"],
        memory_gib=row["memory_gib"],
        arch=row["arch"] or "",
        os=row["os"] or "",
        term=row["term"],
        price=UnitPriceOut(
            amount=text(row["price"]), currency=row["currency"], unit=row["unit"], trace=_trace(traces, row, on)
        ),
        monthly=text((row["price"] * HOURS_A_MONTH).quantize(Decimal("0.01"))),
        trace=_trace(traces, row, on, "monthly"),
        seen_on=row["seen_on"],
        source=row["source"],
    )


def provider_out(status: ProviderStatus) -> ProviderOut:
    """Translate the freshness of a provider for the wire."""
    return ProviderOut(
        name=status.name,
        regions=status.regions,
        prices=status.prices,
        seen_on=status.seen_on,
        age_days=status.age_days,
        succeeded_at=status.succeeded_at,
        error=status.error,
        fallback=status.fallback,
    )


def routes(prices: PriceList) -> Router:
    """Return the routes of list prices.

    Args:
        prices: The prices of this installation.
    """
    r = router("prices", tag="Cloud prices", about="List prices of the clouds, with their days; unknown is never 0.")

    @r.get("/v1/cloud/prices", right="price:read")
    async def compare_prices(
        actor: As,
        traces: Traces,
        vcpu: Annotated[float, Query(gt=0, le=4096, description="At least so many vCPUs.")],
        memory_gib: Annotated[float, Query(ge=0, le=65536, description="At least so much memory, GiB.")],
        provider: Annotated[list[str] | None, Query(max_length=10, description="Only these providers.")] = None,
        arch: Annotated[str, Query(pattern=r"^(|x86_64|arm64)$")] = "",
        os: Name = "linux",
        term: Name = ON_DEMAND,
        currency: Annotated[str, Query(pattern=r"^[A-Z]{3}$")] = "USD",
        on: Annotated[Day | None, Query(description="As of this day; today by default.")] = None,
        limit: Annotated[int, Query(ge=1, le=COMPARED_MAX)] = 50,
    ) -> ComparedOut:
        """Compare machines of a shape across providers and regions, the cheapest first."""
        actor.must("price:read")
        shape = Shape(vcpu, memory_gib, arch, os, term, currency)
        day = on or utc_now().date()
        table = await asyncio.to_thread(prices.compare, shape, on=day, providers=provider or (), most=limit)
        return ComparedOut(data=[machine_out(row, day, traces) for row in table.iter_rows(named=True)])

    @r.get("/v1/cloud/prices/one", right="price:read", refusals=[NotFound])
    async def get_price(
        actor: As,
        traces: Traces,
        provider: Name,
        region: Name,
        sku: Name = "",
        instance_type: Name = "",
        os: Name = "linux",
        term: Name = ON_DEMAND,
        currency: Annotated[str, Query(pattern=r"^[A-Z]{3}$")] = "USD",
        on: Annotated[Day | None, Query(description="As of this day; today by default.")] = None,
    ) -> PriceOut:
        """Show what a SKU or an instance type costs on a day; the answer says of which day it is."""
        actor.must("price:read")
        wanted = Wanted(provider, region, sku, instance_type, os, term, currency)
        day = on or utc_now().date()
        return price_out(service.must_find(prices.price(wanted, on=day), wanted), day, traces)

    @r.get("/v1/cloud/providers", right="price:read")
    async def list_providers(actor: As) -> ProvidersOut:
        """List providers with the freshness of their prices and what went wrong at the last reading."""
        found = prices.providers(actor, today=utc_now().date())
        return ProvidersOut(data=[provider_out(status) for status in found])

    return r
