"""Azure Retail Prices: paged without credentials, checked for pages that repeat or drift while they are read.

The service orders by meter and SKU, yet rows move between two calls. Every page therefore begins :data:`OVERLAP` rows
before the last one ended, and those rows must be the same; where they are not, reading goes back a page, at most
:data:`STEPS_BACK_MAX` times. A reservation's price is for its whole term although its unit says "1 Hour".
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import polars as pl

from bursar.connectors.prices.columns import HOURS_A_YEAR, Row, amount, exact, table, term
from bursar.infra.http import Client, Host, NoAnswer

BASE = "https://prices.azure.com/api/retail/prices"
HOSTS = (Host("prices.azure.com"),)
VERSION = "2023-01-01-preview"
PAGE = 1000
OVERLAP = 10
STEPS_BACK_MAX = 5
ROWS_MAX = 1_500_000
SERVICES = ("Virtual Machines", "Storage", "Virtual Network", "SQL Database", "Load Balancer", "Bandwidth")

_YEARS = {"1 Year": 1, "3 Years": 3, "5 Years": 5}

Item = Mapping[str, Any]
Progress = Callable[[str, int], None]


def _quiet(_region: str, _rows: int) -> None:
    """Tell nobody."""


class AzureRetail:
    """The catalogue of some regions and services.

    Args:
        client: For :data:`HOSTS`.
        regions: Such as ``westeurope``.
        services: Service names exactly as the catalogue writes them: filters are case-sensitive.
        currency: ISO 4217; prices other than USD are for reference only.
        base: Address of the service.
        progress: Told the region and the rows read so far after every page.
    """

    name = "azure"

    def __init__(
        self,
        client: Client,
        regions: Sequence[str],
        *,
        services: Sequence[str] = SERVICES,
        currency: str = "USD",
        base: str = BASE,
        progress: Progress = _quiet,
    ) -> None:
        self.regions = tuple(regions)
        self._client, self._services, self._currency = client, tuple(services), currency
        self._base, self._progress = base, progress

    async def read(self, region: str, *, day: date) -> pl.DataFrame | None:
        """Return the prices of a region.

        Raises:
            NoAnswer: No whole, consistent answer was to be had.
            Answered: The service refused (after the client's own retries).
        """
        items: list[Item] = []
        for service in self._services:
            items += await self._pages(region, service)
        rows = [row for item in items for row in rows_of(item)]
        if not rows:
            raise NoAnswer("prices.azure.com", f"it lists no price for the region {region}")
        return table(rows, day=day, source="azure-retail-prices")

    async def _pages(self, region: str, service: str) -> list[Item]:
        read: list[Item] = []
        steps_back = 0
        while True:
            skip = max(0, len(read) - OVERLAP)
            page = await self._page(region, service, skip)
            overlap = read[skip:]
            if [key(item) for item in page[: len(overlap)]] != [key(item) for item in overlap]:
                steps_back += 1
                if steps_back > STEPS_BACK_MAX:
                    raise NoAnswer("prices.azure.com", f"its pages of {service} in {region} kept changing while read")
                read = read[: max(0, len(read) - PAGE)]
                continue
            fresh = page[len(overlap) :]
            read += fresh
            self._progress(region, len(read))
            if len(read) > ROWS_MAX:
                raise NoAnswer("prices.azure.com", f"it lists over {ROWS_MAX:,} prices for {service} in {region}")
            if not fresh:
                return read

    async def _page(self, region: str, service: str, skip: int) -> list[Item]:
        params = {
            "api-version": VERSION,
            "currencyCode": f"'{self._currency}'",
            "meterRegion": "'primary'",
            "$filter": f"serviceName eq '{service}' and armRegionName eq '{region}'",
            "$orderby": "meterId asc, skuId asc",
            "$top": str(PAGE),
            "$skip": str(skip),
        }
        document = exact(await self._client.get(self._base, params=params))
        items = document.get("Items") if isinstance(document, dict) else None
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise NoAnswer("prices.azure.com", "its answer has no list of prices")
        return items


def key(item: Item) -> tuple[str, ...]:
    """Return what tells one price from another."""
    names = ("meterId", "skuId", "type", "reservationTerm", "tierMinimumUnits", "effectiveStartDate")
    return tuple(str(item.get(name, "")) for name in names)


def rows_of(item: Item) -> list[Row]:
    """Return the rows of one catalogue item: its price, and the savings-plan prices embedded in it."""
    price, name = amount(item.get("retailPrice")), str(item.get("armSkuName") or "").strip()
    kind, sku = str(item.get("type", "")), str(item.get("skuId", "")).strip()
    text = " ".join(str(item.get(field) or "") for field in ("productName", "skuName", "meterName"))
    if price is None or not sku or kind == "DevTestConsumption" or not item.get("armRegionName"):
        return []
    machine = str(item.get("serviceName")) == "Virtual Machines" and bool(name)
    vcpu = cores(name) if machine else None
    base: Row = {
        "provider": "azure",
        "service": str(item.get("serviceName") or "").strip(),
        "sku": f"{sku}/{item.get('meterId', '')}",
        "region": str(item["armRegionName"]).strip(),
        "family": str(item.get("productName") or "").strip(),
        "instance_type": name or None,
        "os": ("windows" if " windows" in f" {text.lower()}" else "linux") if machine else None,
        "arch": arch(name) if machine else None,
        "vcpu": vcpu,
        "memory_gib": memory(name, vcpu) if machine else None,
        "meter": str(item.get("meterName") or "").strip(),
        "unit": str(item.get("unitOfMeasure") or "").strip() or "1",
        "currency": str(item.get("currencyCode") or "USD"),
        "tier_start": amount(item.get("tierMinimumUnits")) or Decimal(0),
        "valid_from": _day(item.get("effectiveStartDate")),
        "valid_to": _day(item.get("effectiveEndDate")),
        "description": text.strip(),
    }
    years = _YEARS.get(str(item.get("reservationTerm") or ""), 0)
    if kind == "Reservation" or years:
        if not years:
            return []
        hourly = price / (HOURS_A_YEAR * years)
        return [base | {"term": term(years, ""), "price": hourly, "unit": "1 Hour", "tier_start": Decimal(0)}]
    spot = bool(re.search(r"\b(spot|low priority)\b", text, re.IGNORECASE))
    rows = [base | {"term": "spot" if spot else "on_demand", "price": price}]
    for plan in item.get("savingsPlan") or ():
        cost, length = amount(plan.get("retailPrice")), _YEARS.get(str(plan.get("term") or ""), 0)
        if cost is not None and length:
            rows.append(base | {"term": term(length, "", "savings_plan"), "price": cost})
    return rows


def cores(name: str) -> float | None:
    """Return the vCPUs that a machine's name states, such as 4 of ``Standard_D4s_v5``."""
    found = re.fullmatch(r"(?:Standard|Basic)_[A-Z]{1,3}(\d{1,3})(?:-\d+)?[a-z]*(?:_.*)?", name)
    return float(found[1]) if found and re.search(r"_v[2-9]|_v\d\d", name) and "_v2" not in name else None


def memory(name: str, vcpu: float | None) -> float | None:
    """Return the GiB of a machine of the D, E and F series from version 3 on; None for any other."""
    found = re.match(r"Standard_([DEF])\d+[a-z]*s?[a-z]*_v([3-9])", name)
    if vcpu is None or found is None or "l" in re.sub(r"[^a-z]", "", name.split("_")[1]):
        return None
    return vcpu * {"D": 4.0, "E": 8.0, "F": 2.0}[found[1]]


def arch(name: str) -> str:
    """Return ``arm64`` for machines with the letter p in their features, such as ``Standard_D4ps_v5``."""
    found = re.match(r"Standard_[A-Z]{1,3}\d+([a-z]*)", name)
    return "arm64" if found and "p" in found[1] else "x86_64"


def _day(text: object) -> date | None:
    try:
        return datetime.fromisoformat(str(text)).date() if text else None
    except ValueError:
        return None
