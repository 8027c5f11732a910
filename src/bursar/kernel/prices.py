"""The price table every price connector returns and the catalogue keeps."""

from collections.abc import Mapping
from typing import Final

import polars as pl

from bursar.kernel.lines import DECIMAL

PRICE_COLUMNS: Final[Mapping[str, pl.DataType]] = {
    "provider": pl.String(),
    "service": pl.String(),
    "sku": pl.String(),
    "region": pl.String(),
    "family": pl.String(),
    "instance_type": pl.String(),
    "os": pl.String(),
    "arch": pl.String(),
    "vcpu": pl.Float64(),
    "memory_gib": pl.Float64(),
    "meter": pl.String(),
    "unit": pl.String(),
    "term": pl.String(),
    "currency": pl.String(),
    "tier_start": DECIMAL,
    "price": DECIMAL,
    "valid_from": pl.Date(),
    "valid_to": pl.Date(),
    "seen_on": pl.Date(),
    "source": pl.String(),
    "description": pl.String(),
}
"""One row per price and validity period.

``term`` is ``on_demand``, ``spot`` or such as ``reserved_1y_no_upfront`` and ``savings_plan_3y_all_upfront`` (their
price is the effective one per hour, upfront spread over the term); ``tier_start`` is the quantity from which the price
holds; ``valid_from`` null: since before anything is known; ``valid_to`` null: still; ``seen_on`` is the last day on
which a catalogue listed it.
"""
