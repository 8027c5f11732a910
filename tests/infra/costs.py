"""Cost lines in a lake, made by hand."""

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import polars as pl

from bursar.infra.db import Tx, new_id
from bursar.infra.lake import Lake
from bursar.infra.lake_stage import stage
from bursar.kernel.lines import COST_LINES, Parsed

NOW = datetime(2026, 4, 2, tzinfo=UTC)


def lines(*rows: tuple[str, date, str], account: str = "a") -> pl.LazyFrame:
    frame = pl.DataFrame(
        {
            "row": range(2, 2 + len(rows)),
            "service_name": [service for service, _, _ in rows],
            "charge_period_start": [datetime(day.year, day.month, day.day, tzinfo=UTC) for _, day, _ in rows],
            "billing_period_start": [day.replace(day=1) for _, day, _ in rows],
            "billed_cost": [Decimal(cost) for _, _, cost in rows],
        }
    )
    given = {"provider": "aws", "currency": "USD", "charge_category": "Usage", "billing_account_id": account}
    columns = {
        name: (pl.col(name) if name in frame.columns else pl.lit(given.get(name))).cast(kind)
        for name, kind in COST_LINES.columns.items()
    }
    return frame.lazy().select(**columns)


async def put(lake: Lake, tx: Tx, rows: pl.LazyFrame, *, batch: UUID | None = None, now: datetime = NOW) -> UUID:
    batch = batch or new_id()
    staged = stage(Parsed(COST_LINES, rows), lake.root / ".staging" / str(new_id()))
    await lake.take(tx, COST_LINES, staged, batch=batch, format_name="focus", siblings=frozenset(), now=now)
    return batch
