"""All SQL of opinions; sets in, sets out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.db import Tx
from bursar.parts.banking.understanding import store
from bursar.parts.banking.understanding.opinions.rules.asking import Group
from bursar.parts.banking.understanding.opinions.tables import opinion
from bursar.parts.banking.understanding.rules.answers import Row

GROUPS_MAX = 5_000
"""Most groups looked at by one pass, those worth most first."""
FAILURES_MAX = 3
"""A content that failed as often is left alone."""

o = opinion.c


async def lock(tx: Tx) -> None:
    """Let no other transaction of the organisation choose what to ask until this one ends."""
    await tx.run("select pg_advisory_xact_lock(hashtextextended('banking/opinions/' || :org, 0))", {"org": str(tx.org)})


async def with_opinions(tx: Tx, rows: Sequence[Row]) -> list[Row]:
    """Return rows with the opinions there are on their content."""
    if not rows or not await tx.scalar(sa.select(sa.literal(1)).select_from(opinion).where(tx.own(opinion)).limit(1)):
        return list(rows)
    contents = {row.id: Group.of(row).content for row in rows}
    wanted = sa.literal(sorted(set(contents.values())), pg.ARRAY(sa.Text))
    query = sa.select(o.content, o.category).where(
        tx.own(opinion), o.content == sa.any_(wanted), o.category.is_not(None)
    )
    known = {row.content: row.category for row in await tx.all(query)}
    return [replace(row, opinion=known.get(contents[row.id], "")) for row in rows]


async def abstained(tx: Tx) -> Sequence[sa.Row[Any]]:
    """Return groups of undecided rows by what a stranger may see of them, the most money times uncertainty first."""
    c = store.waiting(tx).c
    ids: Any = sa.func.array_agg(c.id, type_=pg.ARRAY(sa.Uuid))
    worth = sa.func.sum(c.worth)
    query = (
        sa.select(ids[1 : store.CARD_ROWS_MAX].label("ids"))
        .where(c.size > 0)
        .group_by(sa.func.lower(c.label), c.inflow, c.currency, c.bucket, c.department, c.hint)
        .order_by(worth.desc(), sa.func.min(c.label))
        .limit(GROUPS_MAX)
    )
    return await tx.all(query)


async def of_contents(tx: Tx, contents: Sequence[str]) -> dict[str, sa.Row[Any]]:
    """Return what is known of some contents."""
    wanted = sa.literal(list(contents), pg.ARRAY(sa.Text))
    return {
        row.content: row
        for row in await tx.all(sa.select(opinion).where(tx.own(opinion), o.content == sa.any_(wanted)))
    }


async def disputed(tx: Tx, *, limit: int) -> list[sa.Row[Any]]:
    """Return contents that wait for the dear model, oldest first."""
    query = (
        sa.select(opinion).where(tx.own(opinion), o.state == "disputed").order_by(o.asked_at, o.content).limit(limit)
    )
    return list(await tx.all(query))


async def of_call(tx: Tx, call: UUID) -> list[sa.Row[Any]]:
    """Return the contents of a call by place, at most 50, locked."""
    query = sa.select(opinion).where(tx.own(opinion), o.call == call).order_by(o.place).limit(50)
    return list(await tx.all(query.with_for_update()))


async def put_asked(tx: Tx, asked: Sequence[Mapping[str, Any]]) -> None:
    """Say that contents are on their way; what is known of them stays until an answer comes."""
    if not asked:
        return
    put = pg.insert(opinion).values([{"org": tx.org, "state": "asked", **one} for one in asked])
    names = ("state", "call", "place", "model", "taxonomy", "categories", "rows", "asked_at")
    await tx.run(
        put.on_conflict_do_update(
            index_elements=["org", "content"], set_={name: getattr(put.excluded, name) for name in names}
        )
    )


async def put_answers(tx: Tx, answers: Sequence[Mapping[str, Any]], *, now: datetime) -> None:
    """Write what came back for contents that were asked: ``content``, ``state``, ``category``, ``alternatives``, ``why``, ``rows``."""
    if not answers:
        return
    fixed: dict[str, Any] = {"org": tx.org, "call": None, "categories": [], "asked_at": now, "answered_at": now}
    put = pg.insert(opinion).values([{**fixed, **one} for one in answers])
    names = ("state", "call", "categories", "category", "alternatives", "why", "answered_at")
    await tx.run(
        put.on_conflict_do_update(
            index_elements=["org", "content"], set_={name: getattr(put.excluded, name) for name in names}
        )
    )


async def put_failed(tx: Tx, calls: Sequence[UUID], *, fault: bool) -> None:
    """Say that calls brought nothing; what was known before stays known.

    Args:
        tx: Writing transaction.
        calls: The calls.
        fault: Whether the answer was at fault; after three such a content is left alone.
    """
    failures = o.failures + int(fault)
    known = sa.or_(o.category.is_not(None), failures >= FAILURES_MAX)
    await tx.run(
        sa.update(opinion)
        .where(tx.own(opinion), o.call.in_(calls))
        .values(state=sa.case((known, "known"), else_="failed"), call=None, categories=[], failures=failures)
    )


async def rows_of(tx: Tx, ids: Sequence[UUID]) -> dict[UUID, Row]:
    """Return some rows by id."""
    return await store.facts(tx, ids)


async def tally(tx: Tx) -> dict[str, int]:
    """Return how many contents are in each state."""
    query = sa.select(o.state, sa.func.count().label("many")).where(tx.own(opinion)).group_by(o.state).limit(10)
    return {row.state: row.many for row in await tx.all(query)}
