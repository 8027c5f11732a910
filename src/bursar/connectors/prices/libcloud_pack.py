"""The price pack that comes with the product: made from the price data of the apache-libcloud package (Apache-2.0).

It lets a fresh or closed installation answer at once and is marked with the day of its data. A price of 0 in that data
means unknown and is left out.
"""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib import resources
from typing import Any

import polars as pl

from bursar.connectors.prices.azure_retail import arch as azure_arch
from bursar.connectors.prices.azure_retail import cores, memory
from bursar.connectors.prices.columns import Row, table
from bursar.connectors.prices.gcp_catalog import machines

SOURCE = "apache-libcloud"

AWS_SYSTEMS = {"ec2_linux": "linux", "ec2_windows": "windows", "ec2_rhel": "rhel", "ec2_suse": "suse"}
AZURE_SYSTEMS = {"azure_linux": "linux", "azure_windows": "windows"}
GOOGLE_SERIES = {"n1": "N1 Predefined", "e2": "E2", "n2": "N2", "n2d": "N2D AMD", "c2": "Compute optimized"}


def default_prices() -> pl.DataFrame:
    """Return the whole pack as a price table."""
    text = (resources.files("libcloud") / "data" / "pricing.json").read_text(encoding="utf-8")
    document = json.loads(text, parse_float=Decimal)
    day = datetime.fromtimestamp(int(document["updated"]), UTC).date()
    compute = document["compute"]
    rows = [*_aws(compute), *_azure(compute), *_google(compute)]
    return table(
        (row | {"currency": "USD", "term": row.get("term", "on_demand")} for row in rows), day=day, source=SOURCE
    )


def pack_day() -> date:
    """Return the day of the pack's data."""
    return date.fromisoformat(str(default_prices()["seen_on"].max()))


def _priced(prices: Mapping[str, Any]) -> Iterator[tuple[str, Decimal]]:
    """Yield (region, price) where the price is known."""
    for region, price in prices.items():
        value = Decimal(str(price))
        if value > 0:
            yield region, value


def _facts(types: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    found = types.get(kind)
    return found if isinstance(found, dict) else {}


def _aws(compute: Mapping[str, Any]) -> Iterator[Row]:
    from libcloud.compute.constants.ec2_instance_types import INSTANCE_TYPES

    for part, system in AWS_SYSTEMS.items():
        for kind, prices in compute[part].items():
            facts = _facts(INSTANCE_TYPES, kind)
            vcpu = facts.get("extra", {}).get("vcpu")
            for region, price in _priced(prices):
                yield {
                    "provider": "aws",
                    "service": "AmazonEC2",
                    "sku": f"{kind}/{system}",
                    "region": region,
                    "family": "Compute Instance",
                    "instance_type": kind,
                    "os": system,
                    "arch": "arm64" if re.match(r"(a1|[a-z]+\d+g[a-z]*|x2g\w*|im4gn|is4gen)\.", kind) else "x86_64",
                    "vcpu": float(vcpu) if vcpu else None,
                    "memory_gib": facts["ram"] / 1024 if facts.get("ram") else None,
                    "meter": f"BoxUsage:{kind}",
                    "unit": "Hrs",
                    "price": price,
                    "description": f"{kind} {system} on demand, per hour",
                }


_AZURE_NAME = re.compile(r"(lowpriority|standard|basic)?([a-z]+)(\d+)(?:-?(\d+))?([a-z]*?)(v\d+)?")


def azure_name(short: str) -> tuple[str, bool] | None:
    """Return the full name of a machine that is written short, and whether it is a low-priority one.

    ``standardd4sv3`` is ``Standard_D4s_v3``; None when the short form has another build.
    """
    found = _AZURE_NAME.fullmatch(short)
    if not found or found[4]:
        return None
    tier, series, size, _, features, version = found.groups()
    name = f"{'Basic' if tier == 'basic' else 'Standard'}_{series.upper()}{size}{features}"
    return (f"{name}_{version}" if version else name), tier == "lowpriority"


def _azure(compute: Mapping[str, Any]) -> Iterator[Row]:
    for part, system in AZURE_SYSTEMS.items():
        for short, prices in compute[part].items():
            known = azure_name(short)
            if known is None:
                continue
            name, low = known
            vcpu = cores(name)
            for region, price in _priced(prices):
                yield {
                    "provider": "azure",
                    "service": "Virtual Machines",
                    "sku": f"{short}/{system}",
                    "region": region,
                    "family": "Virtual Machines",
                    "instance_type": name,
                    "os": system,
                    "arch": azure_arch(name),
                    "vcpu": vcpu,
                    "memory_gib": memory(name, vcpu),
                    "meter": name,
                    "unit": "1 Hour",
                    "term": "spot" if low else "on_demand",
                    "price": price,
                    "description": f"{name} {system}, per hour",
                }


_GOOGLE_TERMS = {
    "on_demand": "on_demand",
    "preemptible": "spot",
    "1yr_commitment": "reserved_1y",
    "3yr_commitment": "reserved_3y",
}


def _google(compute: Mapping[str, Any]) -> Iterator[Row]:
    by_region: dict[str, list[Row]] = {}
    for series, label in GOOGLE_SERIES.items():
        for part in ("cpu", "ram"):
            facts = compute["gce_instances"][series].get(part, {})
            for field, term in _GOOGLE_TERMS.items():
                for region, entry in (facts.get(field) or {}).items():
                    price = Decimal(str(entry["price"]))
                    if price > 0:
                        by_region.setdefault(region, []).append(_part(label, part, term, region, price, entry["sku"]))
    for region, rows in by_region.items():
        yield from rows
        yield from machines(rows, region)


def _part(label: str, part: str, term: str, region: str, price: Decimal, sku: str) -> Row:
    text = f"{label} Instance {'Core' if part == 'cpu' else 'Ram'} running in {region}"
    return {
        "provider": "gcp",
        "service": "Compute Engine",
        "sku": sku,
        "region": region,
        "family": "CPU" if part == "cpu" else "RAM",
        "meter": text,
        "unit": "h" if part == "cpu" else "GiBy.h",
        "term": term,
        "currency": "USD",
        "tier_start": Decimal(0),
        "price": price,
        "valid_from": None,
        "description": text,
    }
