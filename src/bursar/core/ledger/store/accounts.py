"""Accounts and exchange rates."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on, insert

from bursar.core.ledger.tables import account, rate
from bursar.infra.db import Tx

_SHOWN = (
    account.c.id, account.c.code, account.c.name, account.c.kind, account.c.currency, account.c.guard, account.c.party, account.c.opened_at,
    account.c.closed_at, account.c.debits_posted, account.c.credits_posted, account.c.debits_pending, account.c.credits_pending,
)  # fmt: skip


async def open_missing(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Insert accounts; one whose code exists already stays as it is. Returns the codes of the new ones, in order."""
    if not rows:
        return []
    new = insert(account).on_conflict_do_nothing(constraint="ledger_account_code_key").returning(account.c.code)
    return sorted(row[0] for row in await tx.run(new, [{"org": tx.org, **row} for row in rows]))


async def by_codes(tx: Tx, codes: Sequence[str]) -> Sequence[sa.Row[Any]]:
    """Return the accounts with these codes."""
    return await tx.all(sa.select(*_SHOWN).where(tx.own(account), account.c.code.in_(codes)))


async def by_id(tx: Tx, id_: UUID) -> sa.Row[Any] | None:
    """Return one account, or None."""
    return await tx.one(sa.select(*_SHOWN).where(tx.own(account), account.c.id == id_))


def listing(tx: Tx) -> sa.Select[Any]:
    """Select accounts, without order."""
    return sa.select(*_SHOWN).where(tx.own(account))


async def page(tx: Tx, *, after: str | None, limit: int) -> Sequence[sa.Row[Any]]:
    """Return accounts by code."""
    query = sa.select(*_SHOWN).where(tx.own(account))
    if after is not None:
        query = query.where(account.c.code > after)
    return await tx.all(query.order_by(account.c.code).limit(limit))


async def close(tx: Tx, id_: UUID, *, now: datetime) -> bool:
    """Close an account that holds nothing; False when it is unknown, closed or not empty."""
    a = account.c
    done = await tx.run(
        sa.update(account)
        .where(
            tx.own(account), a.id == id_, a.closed_at.is_(None), a.debits_posted == a.credits_posted, a.debits_pending == 0,
            a.credits_pending == 0,
        )
        .values(closed_at=now)
    )  # fmt: skip
    return done.rowcount == 1


async def add_rates(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    """Record exchange rates."""
    if rows:
        await tx.run(sa.insert(rate), [{"org": tx.org, **row} for row in rows])


async def rates(
    tx: Tx, *, into: str, currencies: Sequence[str], day: date, known_at: datetime
) -> Sequence[sa.Row[Any]]:
    """Return for each currency its latest rate with ``into``, either way round, on or before ``day``, as recorded by ``known_at``.

    Rows are (currency, direct, rate, day, source); the rate is into ``into`` where ``direct``, else from it.
    """
    r = rate.c
    direct = r.quote == into
    currency = sa.case((direct, r.base), else_=r.quote)
    both = (
        sa.select(currency.label("currency"), direct.label("direct"), r.rate, r.day, r.source, r.recorded_at, r.id)
        .where(tx.own(rate), sa.or_(direct, r.base == into), r.day <= day, r.recorded_at <= known_at)
        .subquery()
        .c
    )
    query = (
        sa.select(both.currency, both.direct, both.rate, both.day, both.source)
        .ext(distinct_on(both.currency))
        .where(both.currency.in_(currencies))
        .order_by(both.currency, both.day.desc(), both.direct.desc(), both.recorded_at.desc(), both.id.desc())
    )
    return await tx.all(query)
