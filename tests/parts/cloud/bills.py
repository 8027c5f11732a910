"""Cost lines for the tests of cloud: a table of what differs from an ordinary line, put into a real lake."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import polars as pl

from bursar.infra.db import Tx, new_id
from bursar.infra.lake import Lake
from bursar.infra.lake_stage import stage
from bursar.kernel.lines import COST_LINES, LineSchema, Parsed
from bursar.kernel.period import Period

NOW = datetime(2026, 4, 2, tzinfo=UTC)
MARCH = Period(date(2026, 3, 1), date(2026, 4, 1))
FEBRUARY = Period(date(2026, 2, 1), date(2026, 3, 1))

ORDINARY: Mapping[str, Any] = {
    "provider": "aws",
    "billing_account_id": "payer",
    "sub_account_id": "111",
    "charge_category": "Usage",
    "service_name": "Amazon Elastic Compute Cloud",
    "service_category": "Compute",
    "region_id": "eu-central-1",
    "pricing_category": "Standard",
    "pricing_unit": "Hrs",
    "currency": "USD",
    "tags": '{"team": "web"}',
}


def line(day: date = date(2026, 3, 1), cost: str = "1", *, hours: int = 24, **values: Any) -> dict[str, Any]:
    """Return one line: ``cost`` is billed and effective, ``values`` are columns that differ from the ordinary."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return {
        **ORDINARY,
        "charge_period_start": start,
        "charge_period_end": start + timedelta(hours=hours),
        "billing_period_start": day.replace(day=1),
        "billed_cost": Decimal(cost),
        "effective_cost": Decimal(cost),
        **values,
    }


def daily(period: Period, cost: str, **values: Any) -> list[dict[str, Any]]:
    """Return the same line for each day of ``period``."""
    return [line(period.start + timedelta(days=index), cost, **values) for index in range(period.days)]


def frame(rows: list[dict[str, Any]], schema: LineSchema = COST_LINES) -> pl.LazyFrame:
    """Return rows as lines of ``schema``."""
    numbered = [{"row": index + 2, **row} for index, row in enumerate(rows)]
    columns = {
        name: pl.Series(name, [row.get(name) for row in numbered], dtype=kind, strict=False)
        for name, kind in schema.columns.items()
    }
    return pl.DataFrame(columns).lazy()


async def put(
    lake: Lake, tx: Tx, rows: list[dict[str, Any]], *, schema: LineSchema = COST_LINES, batch: UUID | None = None
) -> UUID:
    """Take rows into the lake as one batch."""
    return await put_parsed(lake, tx, Parsed(schema, frame(rows, schema)), batch=batch)


async def put_parsed(lake: Lake, tx: Tx, parsed: Parsed, *, batch: UUID | None = None) -> UUID:
    """Take what a connector read into the lake as one batch."""
    batch = batch or new_id()
    staged = stage(parsed, Path(lake.root) / ".staging" / str(new_id()))
    await lake.take(tx, parsed.schema, staged, batch=batch, format_name="test", siblings=frozenset(), now=NOW)
    return batch
