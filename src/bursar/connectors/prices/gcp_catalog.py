"""Google's Cloud Billing Catalog: services, SKUs, tiers; machines are priced from their core and memory SKUs.

The catalogue knows no machine types: a machine costs cores times a core SKU plus GiB times a memory SKU, which are
recognised by their description. A free tier has a first rate of 0: rates are kept with the quantity they begin at, and
a SKU whose only rate is 0 is unknown rather than free.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import polars as pl

from bursar.connectors.prices.columns import Row, exact, table
from bursar.infra.http import Answered, Client, Host, NoAnswer
from bursar.kernel.errors import Invalid

BASE = "https://cloudbilling.googleapis.com/v1"
HOSTS = (Host("cloudbilling.googleapis.com"),)
SERVICES = {
    "6F81-5844-456A": "Compute Engine",
    "95FF-2EF5-5EA1": "Cloud Storage",
    "9662-B51E-5089": "Cloud SQL",
    "24E6-581D-38E5": "BigQuery",
}
PAGE = 5000
PAGES_MAX = 500
NANOS = Decimal(1_000_000_000)

_TERMS = {"OnDemand": "on_demand", "Preemptible": "spot", "Commit1Yr": "reserved_1y", "Commit3Yr": "reserved_3y"}

Sku = Mapping[str, Any]
Progress = Callable[[str, int], None]


def _quiet(_service: str, _rows: int) -> None:
    """Tell nobody."""


class GcpCatalog:
    """The catalogue of some regions.

    Args:
        client: For :data:`HOSTS`.
        key: API key.
        regions: Such as ``europe-west1``.
        services: Service id to name.
        currency: ISO 4217.
        base: Address of the service.
        progress: Told the service and the SKUs read so far after every page.
    """

    name = "gcp"

    def __init__(
        self,
        client: Client,
        key: str,
        regions: Sequence[str],
        *,
        services: Mapping[str, str] = SERVICES,
        currency: str = "USD",
        base: str = BASE,
        progress: Progress = _quiet,
    ) -> None:
        self.regions = tuple(regions)
        self._client, self._key, self._services, self._currency = client, key, dict(services), currency
        self._base, self._progress = base, progress
        self._skus: dict[str, list[Sku]] = {}
        self._read_on: date | None = None

    async def read(self, region: str, *, day: date) -> pl.DataFrame | None:
        """Return the prices of a region; the catalogue itself is read once a day for all regions.

        Raises:
            Invalid: The API key is refused.
            NoAnswer: No whole answer was to be had.
        """
        if self._read_on != day:
            self._skus = {service: await self._pages(service) for service in self._services}
            self._read_on = day
        rows = [
            row
            for service, skus in self._skus.items()
            for sku in skus
            if region in (sku.get("serviceRegions") or ())
            for row in rows_of(sku, self._services[service], region)
        ]
        return table([*rows, *machines(rows, region)], day=day, source="gcp-billing-catalog")

    async def _pages(self, service: str) -> list[Sku]:
        read: list[Sku] = []
        seen: set[str] = set()
        token = ""
        for _ in range(PAGES_MAX):
            document = await self._page(service, token)
            skus = document.get("skus", [])
            if not isinstance(skus, list):
                raise NoAnswer("cloudbilling.googleapis.com", "its answer has no list of SKUs")
            read += skus
            self._progress(service, len(read))
            token = str(document.get("nextPageToken") or "")
            if not token:
                return read
            if token in seen:
                raise NoAnswer("cloudbilling.googleapis.com", "it gave the same page token twice")
            seen.add(token)
        raise NoAnswer("cloudbilling.googleapis.com", f"it has over {PAGES_MAX} pages of SKUs")

    async def _page(self, service: str, token: str) -> Mapping[str, Any]:
        params = {"key": self._key, "currencyCode": self._currency, "pageSize": str(PAGE)}
        if token:
            params["pageToken"] = token
        reply = await self._client.request("GET", f"{self._base}/services/{service}/skus", params=params)
        if not reply.ok:
            _refuse(reply.status, reply.body)
            reply.must()
        document = exact(reply)
        if not isinstance(document, dict):
            raise NoAnswer(reply.host, "its answer is no list of SKUs")
        return document


def _refuse(status: int, body: bytes) -> None:
    if status in {400, 401, 403} and b"API_KEY" in body:
        raise Invalid("Google refuses the API key.", "Make a key for the Cloud Billing API and set it again.")
    if status == 404:
        raise Answered("cloudbilling.googleapis.com", status)


def unit_price(price: Mapping[str, Any]) -> Decimal | None:
    """Return units plus nanos as one exact amount; None where they are no numbers."""
    try:
        return Decimal(str(price.get("units") or "0")) + Decimal(str(price.get("nanos") or 0)) / NANOS
    except ArithmeticError:
        return None


def rows_of(sku: Sku, service: str, region: str) -> list[Row]:
    """Return one row per tier of the newest price of a SKU; none when its only rate is 0."""
    infos = [info for info in sku.get("pricingInfo") or () if isinstance(info, dict)]
    usage = _TERMS.get(str((sku.get("category") or {}).get("usageType", "")))
    if not infos or usage is None or not sku.get("skuId"):
        return []
    newest = max(infos, key=lambda info: str(info.get("effectiveTime", "")))
    expression = newest.get("pricingExpression") or {}
    rates = expression.get("tieredRates") or []
    priced = [
        (Decimal(str(rate.get("startUsageAmount") or 0)), unit_price(rate.get("unitPrice") or {}), rate)
        for rate in rates
    ]
    if not any(price for _, price, _ in priced):
        return []
    return [
        {
            "provider": "gcp",
            "service": service,
            "sku": str(sku["skuId"]),
            "region": region,
            "family": str((sku.get("category") or {}).get("resourceGroup", "")),
            "meter": str(sku.get("description", "")),
            "unit": str(expression.get("usageUnit") or "1"),
            "term": usage,
            "currency": str((rate.get("unitPrice") or {}).get("currencyCode") or "USD"),
            "tier_start": start,
            "price": price,
            "valid_from": _day(newest.get("effectiveTime")),
            "description": str(sku.get("description", "")),
        }
        for start, price, rate in priced
        if price is not None
    ]


SIZES = (1, 2, 4, 8, 16, 30, 32, 48, 60, 64, 80, 96, 128)
RATIOS: Mapping[str, Mapping[str, str]] = {
    "n1": {"standard": "3.75", "highmem": "6.5", "highcpu": "0.9"},
    "e2": {"standard": "4", "highmem": "8", "highcpu": "1"},
    "n2": {"standard": "4", "highmem": "8", "highcpu": "1"},
    "n2d": {"standard": "4", "highmem": "8", "highcpu": "1"},
    "c2": {"standard": "4"},
    "t2d": {"standard": "4"},
    "t2a": {"standard": "4"},
}
"""GiB per vCPU of the predefined machine types (cloud.google.com/compute/docs/machine-resource)."""

LARGEST = {"n1": 96, "e2": 32, "n2": 128, "n2d": 128, "c2": 60, "t2d": 60, "t2a": 48}

_PART = re.compile(
    r"(?:(?:Spot )?Preemptible )?(N1 Predefined|E2|N2D AMD|N2|Compute optimized|T2D AMD|T2A Arm) (?:Instance )?(Core|Ram) running in ",
    re.IGNORECASE,
)
_SERIES = {"n1 predefined": "n1", "n2d amd": "n2d", "compute optimized": "c2", "t2d amd": "t2d", "t2a arm": "t2a"}


def machines(rows: Sequence[Row], region: str) -> list[Row]:
    """Return the predefined machine types that the core and memory rows of a region price, per hour."""
    parts: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        found = _PART.match(str(row["description"]))
        if found and row["tier_start"] == 0 and row["unit"] in {"h", "GiBy.h"}:
            series = _SERIES.get(found[1].lower(), found[1].lower())
            parts[series, found[2].lower(), row["term"]] = row
    made = []
    for (series, part, term), core in parts.items():
        ram = parts.get((series, "ram", term))
        if part == "core" and ram is not None:
            made += [
                _machine(series, kind, size, core, ram, region) for kind in RATIOS[series] for size in _sizes(series)
            ]
    return made


def _sizes(series: str) -> list[int]:
    return [size for size in SIZES if (size > 1 or series in {"n1", "t2d", "t2a"}) and size <= LARGEST[series]]


def _machine(series: str, kind: str, size: int, core: Row, ram: Row, region: str) -> Row:
    memory = Decimal(RATIOS[series][kind]) * size
    name = f"{series}-{kind}-{size}"
    begins = [day for day in (core["valid_from"], ram["valid_from"]) if day]
    return {
        "provider": "gcp",
        "service": core["service"],
        "sku": f"{name}/{core['sku']}+{ram['sku']}",
        "region": region,
        "family": series,
        "instance_type": name,
        "os": "linux",
        "arch": "arm64" if series == "t2a" else "x86_64",
        "vcpu": float(size),
        "memory_gib": float(memory),
        "meter": name,
        "unit": "h",
        "term": core["term"],
        "currency": core["currency"],
        "tier_start": Decimal(0),
        "price": core["price"] * size + ram["price"] * memory,
        "valid_from": max(begins) if begins else None,
        "description": f"{size} x {core['description']} + {memory} GiB x {ram['description']}",
    }


def _day(text: object) -> date | None:
    try:
        return datetime.fromisoformat(str(text)).date() if text else None
    except ValueError:
        return None
