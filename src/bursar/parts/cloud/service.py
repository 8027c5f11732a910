"""Use cases of cloud: what it costs, why it changed, what to save, what to commit to, and whether the invoice is right."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import numpy as np
import polars as pl

from bursar.core.intake import service as intake
from bursar.infra.db import Tx
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Invalid
from bursar.kernel.finding import Finding, SourceRow
from bursar.kernel.period import Period, add_months, month_of
from bursar.parts.cloud import store
from bursar.parts.cloud.rules import allocation, charges, endings, invoices, queries, savings, trends
from bursar.parts.cloud.rules import bridge as bridges
from bursar.parts.cloud.rules import commitments as planner
from bursar.parts.cloud.rules.dimensions import CostKind
from bursar.parts.cloud.rules.history import HISTORY_MONTHS, History, complete, history
from bursar.parts.cloud.rules.telling import Noticed

KINDS = savings.KINDS
"""Every kind of finding this part raises."""

DUCKDB = "duckdb"
ADVICE_DAYS = 30
"""Savings are looked for in the last thirty days that bills cover."""

SURE_DAYS_MIN = 7
UNSURE = 0.5
"""A year told from less than a week of bills is a guess and says so."""

DOUBLE_LEAST = "1"
"""Smallest line, in major units, whose repetition in the last days is worth telling."""

DOUBLE_LEAST_OF_OLD = "50"
DOUBLE_MONTHS = 12
"""Older doubles are looked for among larger lines only, and no further back than anybody would correct them."""


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


async def advise(
    tx: Tx, actor: Actor, *, lake: Lake, now: datetime, period: Period | None = None, engine: str = DUCKDB
) -> list[Finding]:
    """Return what the bills show to be worth doing, netted per resource.

    Args:
        tx: Reading transaction.
        actor: Needs the rights ``cost:read`` and ``intake:read``.
        lake: The lake.
        now: Days after it are no facts.
        period: The days looked at; of each billing account the last thirty that its bills cover when None.
        engine: Where the queries run.
    """
    actor.must("cost:read")
    rows = await store.ask(tx, lake, queries.last_day(), period=None, engine=engine)
    covers = {
        (provider, account): span
        for provider, account, first, last, ended in rows.iter_rows()
        if (span := _cover(first, last, ended, now.date()))
    }
    if not covers:
        return []
    looked: dict[Period, list[queries.Payer]] = {}
    for payer, span in covers.items():
        looked.setdefault(period or _recent(span), []).append(payer)
    since = add_months(max(span.end for span in covers.values()), -HISTORY_MONTHS)
    months = await store.ask(
        tx, lake, queries.months(since), period=Period(since, now.date() + timedelta(days=1)), engine=engine
    )
    seen = history(months, covers)
    found: list[Finding] = []
    for days, payers in sorted(looked.items(), key=lambda one: (one[0].start, one[0].end)):
        found += await _standing(tx, actor, lake, days, payers, covers, seen, engine)
    noticed = [*trends.trends(seen), *endings.endings(seen), *await _doubled(tx, lake, covers, looked, seen, engine)]
    return [*found, *await _shown(tx, actor, lake, noticed)]


def _cover(first: date, last: date, ended: date, today: date) -> Period | None:
    """Return the days that a payer's bills cover; a monthly fee covers its month, but nobody knows tomorrow's bill."""
    end = min(max(ended, last + timedelta(days=1)), today + timedelta(days=1))
    return Period(first, end) if first < end else None


def _recent(span: Period) -> Period:
    return Period(max(span.start, span.end - timedelta(days=ADVICE_DAYS)), span.end)


def _last_month(covers: Mapping[queries.Payer, Period], payers: Sequence[queries.Payer], days: Period) -> Period:
    """Return the last month that the bills of ``payers`` cover wholly, else ``days``: commitments are billed by month."""
    end = month_of(min(covers[name].end for name in payers))
    start = add_months(end, -1)
    whole = all(complete(start, month_of(covers[name].start), covers[name].end) for name in payers)
    return Period(start, end) if whole else days


async def _standing(
    tx: Tx, actor: Actor, lake: Lake, days: Period, payers: Sequence[queries.Payer],
    covers: Mapping[queries.Payer, Period], seen: History, engine: str,
) -> list[Finding]:  # fmt: skip
    """Return what the last days of some payers' bills show."""
    uses = await store.ask(tx, lake, queries.uses(days, payers), period=days, engine=engine)
    moved = await store.ask(
        tx, lake, queries.transfer_days(days, charges.TRANSFER_WORDS, payers), period=days, engine=engine
    )
    month = _last_month(covers, payers, days)
    committed = await store.ask(tx, lake, queries.commitments(month, payers), period=month, engine=engine)
    advice = savings.look(uses, days, seen)
    rows = await _rows(tx, actor, lake, days, [one.resource_id for one in advice])
    unused = await _rows(tx, actor, lake, month, committed["commitment_discount_id"].unique().to_list())
    found = [
        *savings.findings(advice, days, rows),
        *charges.unused_commitments(committed, month, unused),
        *charges.untagged(uses, days),
        *charges.transfer_jumps(moved, days),
    ]
    sure = 1.0 if days.days >= SURE_DAYS_MIN else UNSURE
    return [replace(one, confidence=min(one.confidence, sure)) for one in found]


async def _doubled(
    tx: Tx, lake: Lake, covers: Mapping[queries.Payer, Period], looked: Iterable[Period], seen: History, engine: str
) -> list[Noticed]:
    """Return charges billed twice: large ones of a year, and all of the last days."""
    end = max(span.end for span in covers.values())
    asked = [(Period(add_months(end, -DOUBLE_MONTHS), end), DOUBLE_LEAST_OF_OLD)]
    asked += [
        (Period(month_of(days.start), days.end), DOUBLE_LEAST) for days in sorted(looked, key=lambda one: one.start)
    ]
    frames = [
        await store.ask(tx, lake, queries.doubles(days, least), period=days, engine=engine) for days, least in asked
    ]
    return charges.doubles(pl.concat(frames, how="vertical_relaxed").unique(maintain_order=True), seen)


async def _shown(tx: Tx, actor: Actor, lake: Lake, noticed: Sequence[Noticed]) -> list[Finding]:
    """Return findings with the dearest of the rows that show them."""
    if not noticed:
        return []
    wanted = [(index, key, one.start, one.end) for index, one in enumerate(noticed) for key in one.keys]
    frame = await store.rows_of_keys(tx, lake, wanted)
    found, totals = await _sources(tx, actor, frame)
    return [one.shown(found.get(str(index), []), totals.get(str(index), 0)) for index, one in enumerate(noticed)]


async def _rows(tx: Tx, actor: Actor, lake: Lake, period: Period, ids: Sequence[str]) -> savings.Rows:
    """Return what finds the source rows of a resource or commitment."""
    if not ids:
        return lambda _: ((), 0)
    found, totals = await _sources(tx, actor, await store.telling_rows(tx, lake, period, ids=ids))
    return lambda identifier: (found.get(identifier, []), totals.get(identifier, 0))


async def _sources(tx: Tx, actor: Actor, frame: pl.DataFrame) -> tuple[dict[str, list[SourceRow]], dict[str, int]]:
    """Return source rows, with the names of their files, and how many there are, by id."""
    batches = [UUID(batch) for batch in frame["batch"].unique().to_list() if batch]
    files = await intake.file_names(tx, actor, batches=batches) if batches else {}
    found: dict[str, list[SourceRow]] = {}
    totals: dict[str, int] = {}
    for row in frame.iter_rows(named=True):
        file = files.get(UUID(row["batch"]), "") if row["batch"] else ""
        one = SourceRow(row["batch"], file, row["row"], row["text"][:200], row["cost"], row["currency"])
        found.setdefault(row["id"], []).append(one)
        totals[row["id"]] = row["total"]
    return found, totals


async def allocate(
    tx: Tx,
    actor: Actor,
    *,
    lake: Lake,
    period: Period,
    by: str,
    shared: str,
    method: allocation.Method,
    weights: Mapping[str, Decimal] | None = None,
    where: str = "",
    kind: CostKind = CostKind.EFFECTIVE,
    engine: str = DUCKDB,
) -> dict[str, list[allocation.Allocated]]:
    """Split the cost of the lines that the filter ``shared`` keeps among the values of ``by``, per currency.

    Lines without a value of ``by`` are shared as well; the totals sum exactly to the whole cost.

    Raises:
        Invalid: A filter or dimension is not understood, or there is nobody to split among.
    """
    actor.must("cost:read")
    kept = f"({where})" if where.strip() else ""
    own = " and ".join(part for part in (kept, f"not ({shared})" if shared.strip() else "") if part)
    limit = queries.GROUPS_MAX
    mine = await costs(tx, actor, lake=lake, asked=queries.CostQuery(period, (by,), kind, own, limit), engine=engine)
    if len(mine) >= limit:
        raise Invalid(f"{by} has more than {limit} values", "Split by a dimension with fewer values.")
    rest: dict[str, Decimal] = {}
    if shared.strip():
        both = " and ".join(part for part in (kept, f"({shared})") if part)
        pool = await costs(tx, actor, lake=lake, asked=queries.CostQuery(period, (), kind, both), engine=engine)
        rest = {group.currency: group.cost or Decimal(0) for group in pool}
    direct: dict[str, dict[str, Decimal]] = {currency: {} for currency in rest}
    for group in mine:
        target, cost = group.values[0], group.cost or Decimal(0)
        if target:
            direct.setdefault(group.currency, {})[target] = cost
        else:
            direct.setdefault(group.currency, {})
            rest[group.currency] = rest.get(group.currency, Decimal(0)) + cost
    return {
        currency: allocation.allocate(targets, rest.get(currency, Decimal(0)), method=method, weights=weights)
        for currency, targets in sorted(direct.items())
    }


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


def plan_commitment(
    actor: Actor, *, scenarios: planner.Floats, on_demand: planner.Floats, committed: planner.Floats, held: float = 0.0
) -> planner.Plan:
    """Choose how much to commit to, over forecast scenarios; see :func:`~…rules.commitments.plan`.

    Raises:
        Invalid: Shapes do not fit or a value is negative or not finite.
    """
    actor.must("cost:read")
    try:
        return planner.plan(np.asarray(scenarios), planner.Offer(on_demand, committed), held=held)
    except ValueError as error:
        raise Invalid(str(error)) from error
