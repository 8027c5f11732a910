"""Use cases of cloud: what it costs, why it changed, and whether the invoice is right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

import polars as pl

from bursar.infra.db import Tx
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.kernel.period import Period
from bursar.parts.cloud import store
from bursar.parts.cloud.rules import bridge as bridges
from bursar.parts.cloud.rules import invoices, queries
from bursar.parts.cloud.rules.dimensions import CostKind

DUCKDB = "duckdb"


@dataclass(frozen=True, slots=True)
class Group:
    """One group of a cost query: the values of its dimensions in the order asked, its currency, cost and lines."""

    values: tuple[str | None, ...]
    currency: str
    cost: Decimal | None
    lines: int


async def costs(tx: Tx, actor: Actor, *, lake: Lake, asked: queries.CostQuery, engine: str = DUCKDB) -> list[Group]:
    """Return what was spent in a period by any dimensions and tags; see :class:`~…rules.queries.CostQuery`.

    Raises:
        Invalid: A dimension or the filter is not understood.
    """
    actor.must("cost:read")
    rows = await store.ask(tx, lake, queries.costs(asked), period=asked.period, engine=engine)
    count = len([name for name in asked.by if name.lower() != "currency"])
    return [Group(tuple(row[:count]), row[count], row[count + 1], row[count + 2]) for row in rows.iter_rows()]


def export_columns(asked: queries.CostQuery) -> dict[str, pl.DataType]:
    """Return the columns of an export of cost: the dimensions asked for, then currency, cost and lines."""
    names = [name for name in asked.by if name.lower() != "currency"]
    money = {"currency": pl.String(), "cost": pl.Decimal(38, 15), "lines": pl.Int64()}
    return {name: pl.String() for name in names} | money


async def covered(tx: Tx, actor: Actor, *, lake: Lake, engine: str = DUCKDB) -> Period | None:
    """Return the days from the first to the last that any usage is billed for; None without any bill."""
    actor.must("cost:read")
    rows = await store.ask(tx, lake, queries.last_day(), period=None, engine=engine)
    if rows.is_empty():
        return None
    first, last = rows.select(pl.col("first").min(), pl.col("last").max()).row(0)
    return Period(first, last + timedelta(days=1))


async def bridge(
    tx: Tx,
    actor: Actor,
    *,
    lake: Lake,
    old: Period,
    new: Period,
    currency: str,
    kind: CostKind = CostKind.EFFECTIVE,
    where: str = "",
    rates: Mapping[str, tuple[Decimal, Decimal]] | None = None,
    engine: str = DUCKDB,
) -> bridges.Bridge:
    """Explain why a bill changed between two periods; the causes sum exactly to the difference.

    Args:
        tx: Reading transaction.
        actor: Needs the right ``cost:read``.
        lake: The lake.
        old: The earlier period.
        new: The later period.
        currency: The currency of the answer.
        kind: Effective or billed cost.
        where: A filter in the filter language.
        rates: For each other currency, its rate into ``currency`` in either period.
        engine: Where the query runs.

    Raises:
        Invalid: The filter is not understood, or a currency has no rate.
    """
    actor.must("cost:read")
    sides = []
    for period in (old, new):
        rows = await store.ask(tx, lake, queries.bridge_cells(period, kind, where), period=period, engine=engine)
        sides.append([_cell(row) for row in rows.iter_rows(named=True)])
    return bridges.bridge(sides[0], sides[1], currency=currency, rates=rates)


def _cell(row: Mapping[str, object]) -> bridges.Cell:
    def text(name: str) -> str:
        return str(row[name] or "")

    cost, before, quantity = row["cost"], row["before"], row["quantity"]
    return bridges.Cell(
        family=(text("provider"), text("service_name"), text("pricing_unit")),
        key=tuple(text(name) for name in ("sub_account_id", "region_id", "sku_id", "sku_meter", "operation")),
        charge=text("charge_category"),
        commitment=text("commitment"),
        commitment_type=text("commitment_discount_type"),
        currency=text("currency"),
        cost=cost if isinstance(cost, Decimal) else Decimal(0),
        before=before if isinstance(before, Decimal) else Decimal(0),
        quantity=quantity if isinstance(quantity, Decimal) else None,
    )


async def match_invoices(
    tx: Tx,
    actor: Actor,
    *,
    lake: Lake,
    months: Sequence[date],
    entered: Sequence[invoices.Stated] = (),
    engine: str = DUCKDB,
) -> list[invoices.Match]:
    """Compare imported invoice details and entered invoice totals with the lines of billing months, to the cent."""
    actor.must("cost:read")
    details = await store.invoice_details(tx, lake, months)
    stated = [
        invoices.Stated(month.replace(day=1), invoice, kind or "", currency, amount, issuer or "")
        for invoice, issuer, month, kind, currency, amount in details.iter_rows()
    ]
    span = Period(min(months), max(months) + timedelta(days=1))
    rows = await store.ask(tx, lake, queries.invoice_totals(months), period=span, engine=engine)
    billed = [
        invoices.Billed(
            row["month"], row["invoice_id"] or "", row["charge_category"], row["currency"], row["cost"], row["lines"]
        )
        for row in rows.iter_rows(named=True)
    ]
    return invoices.match([*stated, *entered], billed)
