"""Use cases of promises: read what the books hold, say what was paid."""

from dataclasses import replace
from datetime import date, timedelta
from uuid import UUID

from bursar.core.ledger import service as ledger
from bursar.core.parties import service as parties
from bursar.infra.db import Tx
from bursar.kernel.actor import Actor
from bursar.parts.banking.transactions import rules as rows_rules
from bursar.parts.banking.understanding import store
from bursar.parts.banking.understanding.rules import commitments as rules
from bursar.parts.banking.understanding.rules.commitments import Promise

SETTLED_MAX = 10_000
"""Settlements looked at, the newest first."""


async def promised(tx: Tx, actor: Actor) -> list[Promise]:
    """Return the commitments of the books that say what they are for; none for who may not read them."""
    return [one for one in await _open(tx, actor) if one.category] if actor.may("ledger:read") else []


async def _open(tx: Tx, actor: Actor) -> list[Promise]:
    return [
        Promise(
            one.id, one.purpose, one.money.minor if one.inflow else -one.money.minor, one.money.currency,
            one.due.date() if one.due else one.value_day, one.party, tuple(rows_rules.words_of(one.memo)),
        )
        for one in await ledger.open_holds(tx, actor)
    ]  # fmt: skip


async def _settled(tx: Tx, actor: Actor, since: date) -> list[Promise]:
    """Return what was settled from a day on, the newest 10,000: the rows behind it have paid nothing else."""
    listing = ledger.transfer_listing(tx, actor)
    c = listing.selected_columns
    settled = listing.where(c.kind == "settle", c.value_day >= since).order_by(c.value_day.desc(), c.id)
    rows = await tx.all(settled.limit(SETTLED_MAX))
    holds = {one.id: one for one in await tx.all(listing.where(c.id.in_([row.of for row in rows])).limit(SETTLED_MAX))}
    return [
        Promise(
            row.id, "", -row.amount, row.currency, row.value_day, holds[row.of].party,
            tuple(rows_rules.words_of(holds[row.of].memo)),
        )
        for row in rows
    ]  # fmt: skip


async def paid(tx: Tx, actor: Actor, source: str) -> set[UUID]:
    """Return the open commitments that rows of a source have paid, whatever people said the rows were for.

    A row that a settlement stands for has paid that one and no other.

    Args:
        tx: Any transaction.
        actor: Needs ``ledger:read``.
        source: ``bank`` or ``payment``, as the rows' dataset is called.
    """
    promises = await _open(tx, actor)
    if not promises:
        return set()
    open_ = {one.id for one in promises}
    since = min(one.day for one in promises) - timedelta(days=rules.COMMITMENT_DAYS_EARLY)
    promises += await _settled(tx, actor, since)
    rows = await store.of_sizes(tx, {abs(one.minor) for one in promises}, dataset=source, since=since)
    who = {row.party for row in rows} | {one.party for one in promises}
    same = await parties.same(tx, parties=sorted(party for party in who if party))
    found = rules.paid(
        [replace(row, party=same.get(row.party, row.party)) if row.party else row for row in rows],
        [replace(one, party=same.get(one.party, one.party)) if one.party else one for one in promises],
    )
    return found & open_
