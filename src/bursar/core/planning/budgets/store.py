"""All SQL of budgets."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.core.planning.budgets.rules.limits import (
    BUDGETS_MAX,
    Budget,
    Cadence,
    RollOver,
    Status,
    Threshold,
    people,
)
from bursar.core.planning.budgets.tables import alert, budget
from bursar.infra.db import Tx
from bursar.kernel.money import Money

ALERTS_MAX = 1_000
"""Newest alerts of one budget that are shown."""

_b, _a = budget.c, alert.c


def _from(row: Any) -> Budget:
    return Budget(
        row.id,
        row.name,
        row.source,
        row.filter,
        Money(row.amount, row.currency),
        Cadence(row.cadence),
        RollOver(row.roll_over),
        row.start_day,
        row.tell,
        row.created_at,
        row.changed_at,
        row.year_begins,
    )


def _columns(one: Budget) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.name,
        "source": one.source,
        "filter": {name: list(values) for name, values in one.filter.items()},
        "amount": one.amount.minor,
        "currency": one.amount.currency,
        "cadence": one.cadence.value,
        "roll_over": one.roll_over.value,
        "start_day": one.start,
        "tell": list(one.tell),
        "created_at": one.created_at,
        "changed_at": one.changed_at,
        "year_begins": one.year_begins,
    }


async def insert(tx: Tx, one: Budget) -> bool:
    """Add a budget; False when its name is taken."""
    made = pg.insert(budget).values(org=tx.org, **_columns(one)).on_conflict_do_nothing(constraint="budget_name_key")
    return await tx.scalar(made.returning(_b.id)) is not None


async def update(tx: Tx, one: Budget) -> None:
    """Replace a budget."""
    await tx.run(sa.update(budget).where(tx.own(budget), _b.id == one.id).values(**_columns(one)))


async def delete(tx: Tx, id_: UUID) -> None:
    """Delete a budget with its alerts."""
    await tx.run(sa.delete(budget).where(tx.own(budget), _b.id == id_))


async def get(tx: Tx, id_: UUID, *, for_update: bool = False) -> Budget | None:
    """Return a budget, or None."""
    statement = sa.select(budget).where(tx.own(budget), _b.id == id_)
    row = await tx.one(statement.with_for_update() if for_update else statement)
    return _from(row) if row else None


async def named(tx: Tx, name: str) -> Budget | None:
    """Return the budget of a name, or None."""
    row = await tx.one(sa.select(budget).where(tx.own(budget), _b.name == name))
    return _from(row) if row else None


async def count(tx: Tx) -> int:
    """Return how many budgets there are."""
    return int(await tx.scalar(sa.select(sa.func.count()).select_from(budget).where(tx.own(budget))))


async def all_(tx: Tx) -> list[Budget]:
    """Return every budget by name; there are at most ``BUDGETS_MAX``."""
    rows = await tx.all(sa.select(budget).where(tx.own(budget)).order_by(_b.name).limit(BUDGETS_MAX))
    return [_from(row) for row in rows]


async def tell_once(tx: Tx, status: Status, threshold: Threshold, *, now: datetime) -> Sequence[str] | None:
    """Note that a threshold is told now; return to whom, None when everybody was told before in this period."""
    who = people(status.budget.tell)
    key = {"budget": status.budget.id, "start_day": status.period.start, "threshold": threshold.value}
    row = {
        "amount": (status.end if threshold is Threshold.FORECAST else status.actual).minor,
        "allowed": status.allowed.minor,
        "told": who,
        "told_at": now,
    }
    made = pg.insert(alert).values(org=tx.org, **key, **row).on_conflict_do_nothing(constraint="budget_alert_pkey")
    if await tx.scalar(made.returning(_a.budget)) is not None:
        return who
    mine = sa.and_(tx.own(alert), *(_a[name] == value for name, value in key.items()))
    before = people(await tx.scalar(sa.select(_a.told).where(mine).with_for_update()) or [])
    told = people([*before, *who])
    if len(told) == len(before):
        return None
    await tx.run(sa.update(alert).where(mine).values(told=told))
    return told[len(before) :]


async def alerts(tx: Tx, id_: UUID, *, since: date | None = None) -> Sequence[Any]:
    """Return what was told about a budget, newest first."""
    where = [tx.own(alert), _a.budget == id_]
    if since is not None:
        where.append(_a.start_day >= since)
    return await tx.all(sa.select(alert).where(*where).order_by(_a.told_at.desc(), _a.threshold).limit(ALERTS_MAX))
