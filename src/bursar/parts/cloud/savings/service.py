"""Use case: look at the last days, the history, the prices and the utilisation, and return findings."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from uuid import UUID

import polars as pl

from bursar.core.intake import service as intake
from bursar.infra.db import Tx
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.kernel.finding import Finding, SourceRow
from bursar.kernel.period import Period, add_months, month_of
from bursar.parts.cloud import store
from bursar.parts.cloud.prices.service import PriceList
from bursar.parts.cloud.rules import (
    alternatives,
    charges,
    endings,
    machines,
    queries,
    savings,
    trends,
    utilisation,
    waste,
)
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
class _Known:
    """What every look at some payers' last days rests on: the lake, what their bills cover, the past, the prices."""

    lake: Lake
    engine: str
    covers: Mapping[queries.Payer, Period]
    seen: History
    market: pl.DataFrame


async def advise(
    tx: Tx,
    actor: Actor,
    *,
    lake: Lake,
    prices: PriceList,
    now: datetime,
    period: Period | None = None,
    engine: str = DUCKDB,
) -> list[Finding]:
    """Return what the bills, with prices and utilisation, show to be worth doing, netted per resource.

    Args:
        tx: Reading transaction.
        actor: Needs the rights ``cost:read`` and ``intake:read``.
        lake: The lake.
        prices: The price lists; alternatives that they do not know are not advised.
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
    providers = sorted({provider for provider, _ in covers})
    listed = await asyncio.to_thread(prices.machines, on=max(span.end for span in covers.values()), providers=providers)
    known = _Known(lake, engine, covers, seen, machines.named(listed))
    found: list[Finding] = []
    for days, payers in sorted(looked.items(), key=lambda one: (one[0].start, one[0].end)):
        found += await _standing(tx, actor, known, days, payers)
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
    tx: Tx, actor: Actor, known: _Known, days: Period, payers: Sequence[queries.Payer]
) -> list[Finding]:
    """Return what the last days of some payers' bills show."""
    lake, engine = known.lake, known.engine
    uses = await store.ask(tx, lake, queries.uses(days, payers), period=days, engine=engine)
    moved = await store.ask(
        tx, lake, queries.transfer_days(days, charges.TRANSFER_WORDS, payers), period=days, engine=engine
    )
    month = _last_month(known.covers, payers, days)
    committed = await store.ask(tx, lake, queries.commitments(month, payers), period=month, engine=engine)
    used = waste.resources(uses)
    measured = await _measured(tx, known, used, days)
    advice = savings.look(used, days, known.seen) + alternatives.alternatives(measured, known.market, days)
    rows = await _rows(tx, actor, lake, days, [one.resource_id for one in advice])
    unused = await _rows(tx, actor, lake, month, committed["commitment_discount_id"].unique().to_list())
    found = [
        *savings.findings(advice, days, rows),
        *alternatives.unmeasured(measured, days),
        *charges.unused_commitments(committed, month, unused),
        *charges.untagged(uses, days),
        *charges.transfer_jumps(moved, days),
    ]
    sure = 1.0 if days.days >= SURE_DAYS_MIN else UNSURE
    return [replace(one, confidence=min(one.confidence, sure)) for one in found]


async def _measured(tx: Tx, known: _Known, used: pl.DataFrame, days: Period) -> pl.DataFrame:
    """Return the machines of some days with their list prices and with what was measured of them."""
    since = Period(days.end - timedelta(days=utilisation.LOOK_BACK_DAYS), days.end)
    proof = await store.ask(tx, known.lake, utilisation.evidence(days), period=since, engine=known.engine)
    return utilisation.measured(machines.machines(used, known.market), proof)


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
    wanted = [(index, key, one.start, one.end, one.billed) for index, one in enumerate(noticed) for key in one.keys]
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
