"""Use cases of commitments: gather what is committed over one source."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date
from uuid import UUID

import polars as pl

from bursar.core.ledger import service as ledger
from bursar.core.ledger.service import Hold
from bursar.core.parties import service as parties
from bursar.core.planning.calendars import service as calendars
from bursar.core.planning.calendars.service import Event
from bursar.core.planning.commitments import rules
from bursar.core.planning.commitments.rules import Claim, Committed, Due, counted
from bursar.core.planning.series.service import Source
from bursar.infra.db import Tx
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.kernel.finding import SourceRow
from bursar.kernel.lines import CONTRACT_COMMITMENT_LINES
from bursar.kernel.period import Period

__all__ = ["Claim", "Committed", "Due", "Paid", "claims", "counted", "nobody_knows"]

CONTRACTED_MAX = 10_000
"""Contracted commitments that are counted, those that end last first."""


CALENDAR = "planning calendar"
"""Where planned amounts are written; rows of it are its events, counted from 1."""


async def nobody_knows(tx: Tx, actor: Actor, source: str) -> AbstractSet[UUID]:  # noqa: ARG001  the port's form
    """Return no hold: where no part reads the lines of a source, a hold is open until the ledger says otherwise."""
    return frozenset()


@dataclass(frozen=True, slots=True)
class Paid:
    """Which open holds a line of a source has paid already, by source: a port, because parts know it; given by wiring."""

    holds: Callable[[Tx, Actor, str], Awaitable[AbstractSet[UUID]]] = nobody_knows


async def claims(
    tx: Tx, actor: Actor, *, lake: Lake, source: Source, sums: pl.DataFrame, paid: Paid, today: date
) -> tuple[Claim, ...]:
    """Return what is committed over a source: holds over bank and payments, contracts over cost, planned amounts over all.

    Args:
        tx: Any transaction.
        actor: Needs ``ledger:read``, ``party:read`` and ``forecast:read``.
        lake: Where contracts are.
        source: Which.
        sums: Grouped facts of the source; they tell which series planned amounts are about.
        paid: Says which holds the source's lines have paid.
        today: A hold that is late is due today.
    """
    expected = _planned(source, (await calendars.get(tx, actor)).events, sums)
    if source.name == "cost":
        stated = await _contracted(tx, lake)
    else:
        stated = await _held(tx, actor, source, await paid.holds(tx, actor, source.name), today)
    return (*stated, *await asyncio.to_thread(rules.told_twice, expected, stated))


async def _held(tx: Tx, actor: Actor, source: Source, paid: AbstractSet[UUID], today: date) -> list[Claim]:
    holds = [one for one in await ledger.open_holds(tx, actor) if one.id not in paid and _goes_out(source, one)]
    names = await parties.spellings(tx, actor, parties=sorted({one.party for one in holds if one.party}))
    whom = "counterparty" if source.name == "bank" else "supplier"
    found = []
    for one in holds:
        day = one.due.date() if one.due else one.value_day
        known = {
            "account": _account(one),
            "category": {one.purpose} - {""},
            "department": {one.tags.get("department", "")} - {""},
            whom: names.get(one.party, frozenset()) if one.party else frozenset[str](),
        }
        texts = {name: frozenset(said) for name, said in known.items() if said}
        label = f"hold due {day} {one.memo or one.purpose}".strip()
        due = rules.one_day(max(day, today))
        origin = SourceRow("", f"ledger batch {one.batch}", one.place)
        found.append(Claim(label, one.money.amount, one.money.currency, due, texts, origin, held=True))
    return found


def _goes_out(source: Source, one: Hold) -> bool:
    """Tell whether a hold will be a line of a source: an expense, or anything else that leaves an own bank account."""
    return one.inflow is False or (source.name == "bank" and f"{one.source[0]}:".startswith(rules.CASH_CODES))


def _account(one: Hold) -> set[str]:
    code, name = one.source
    if not code.startswith(rules.CASH_CODES):
        return set()
    return {code.removeprefix(rules.CASH_CODES).removesuffix(f":{one.money.currency}"), name} - {""}


async def _contracted(tx: Tx, lake: Lake) -> list[Claim]:
    """Return contracted commitments, each as it was last told."""
    told = ("provider", "contract_commitment_id", "period_start")
    status = pl.col("status").fill_null("").str.to_lowercase()
    chosen = (
        (await lake.scan(tx, CONTRACT_COMMITMENT_LINES))
        .sort("last_updated", "batch", "row", nulls_last=False)
        .unique(subset=told, keep="last")
        .filter(pl.col("cost") > 0, pl.col("period_end") > pl.col("period_start"), ~status.is_in(sorted(rules.OVER)))
        .sort("period_end", "contract_commitment_id", descending=[True, False])
        .head(CONTRACTED_MAX)
    )
    return [
        Claim(
            f"contract {row['contract_commitment_id']} until {row['period_end']} {row['description'] or ''}".strip(),
            row["cost"],
            row["currency"],
            Period(row["period_start"], row["period_end"]),
            {"provider": frozenset({row["provider"]})} if row["provider"] else {},
            SourceRow(row["batch"], "", row["row"]),
            called=tuple(name for name in (row["contract_commitment_id"], row["contract_id"]) if name),
        )
        for row in (await asyncio.to_thread(chosen.collect)).iter_rows(named=True)
    ]


def _planned(source: Source, events: Sequence[Event], sums: pl.DataFrame) -> list[Claim]:
    """Return the planned amounts of a source's series, a claim for each day; those of other sources are left out."""
    names = [f"part{at}" for at in range(len(source.levels))]
    found = []
    for currency in {event.currency for event in events}:
        leaves = sums.filter(pl.col("currency") == currency).select(names).unique().rows()
        series = rules.nodes(source, currency, leaves)
        for place, event in enumerate(events, 1):
            key = series.get(event.series) if event.series else ()
            if event.currency != currency or key is None or event.amount is None or event.amount <= 0:
                continue
            known = {name: frozenset({part}) for name, part in zip(source.levels, key, strict=False)}
            origin = SourceRow("", CALENDAR, place)
            found += [
                Claim(
                    f"planned {event.name} {day}",
                    event.amount,
                    currency,
                    rules.one_day(day),
                    known,
                    origin,
                    name=event.name,
                )
                for day in event.days
            ]
    return found
