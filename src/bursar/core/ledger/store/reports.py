"""Sums over transfers for reports, and their rows for exports."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from bursar.core.ledger.rules.orders import MOVES
from bursar.core.ledger.rules.reports import Line
from bursar.core.ledger.tables import account, transfer
from bursar.infra.db import Tx

ACCOUNTS_MAX = 50_000
"""Accounts in one report."""

GROUPS_MAX = 10_000
"""Parties or tag values in one report."""

DAYS_MAX = 2_000_000
"""Account days in one answer of :func:`daily`."""


def _moved(tx: Tx, *, since: date | None, until: date | None, known_at: datetime | None) -> sa.Select[Any]:
    """Select the transfers that move money, with value dates in [since, until], recorded by ``known_at``."""
    t = transfer.c
    query = sa.select(transfer).where(tx.own(transfer), t.kind.in_([kind.value for kind in MOVES]))
    if since is not None:
        query = query.where(t.value_day >= since)
    if until is not None:
        query = query.where(t.value_day <= until)
    return query.where(t.recorded_at <= known_at) if known_at is not None else query


def _sides(moved: sa.Subquery) -> sa.Subquery:
    m, none = moved.c, sa.cast(0, sa.BigInteger)
    return sa.union_all(
        sa.select(m.debit.label("account"), m.amount.label("debits"), none.label("credits"), m.party, m.tags),
        sa.select(m.credit, none, m.amount, m.party, m.tags),
    ).subquery()


async def lines(
    tx: Tx,
    *,
    since: date | None = None,
    until: date | None = None,
    known_at: datetime | None = None,
    kinds: Sequence[str] = (),
) -> list[Line]:
    """Return every account that moved in the period, by code, at most 50,000."""
    side = _sides(_moved(tx, since=since, until=until, known_at=known_at).subquery())
    a = account.c
    query = (
        sa.select(
            a.id,
            a.code,
            a.name,
            a.kind,
            a.currency,
            sa.func.sum(side.c.debits).label("debits"),
            sa.func.sum(side.c.credits).label("credits"),
        )
        .select_from(account.join(side, side.c.account == a.id))
        .where(tx.own(account))
        .group_by(a.id, a.code, a.name, a.kind, a.currency)
        .order_by(a.code)
        .limit(ACCOUNTS_MAX)
    )
    if kinds:
        query = query.where(a.kind.in_(kinds))
    return [
        Line(row.id, row.code, row.name, row.kind, row.currency, int(row.debits), int(row.credits))
        for row in await tx.all(query)
    ]


async def moves(
    tx: Tx, *, account_id: UUID, since: date | None, until: date | None, known_at: datetime | None, limit: int
) -> tuple[int, Sequence[sa.Row[Any]]]:
    """Return how many transfers moved an account, and the largest: batch, place, key, value_day, memo, minor (signed)."""
    moved = _moved(tx, since=since, until=until, known_at=known_at).subquery()
    m = moved.c
    mine = sa.or_(m.debit == account_id, m.credit == account_id)
    signed = sa.case((m.debit == account_id, m.amount), else_=-m.amount).label("minor")
    largest = sa.select(m.batch, m.place, m.key, m.value_day, m.memo, signed).where(mine)
    count = await tx.scalar(sa.select(sa.func.count()).select_from(moved).where(mine))
    return int(count or 0), await tx.all(largest.order_by(m.amount.desc(), m.batch, m.place).limit(limit))


async def against(
    tx: Tx, *, account_id: UUID, since: date | None, until: date | None, known_at: datetime | None
) -> list[tuple[str, int, int]]:
    """Return (code, debits, credits) of an account by the account on the other side, at most 50,000."""
    moved = _moved(tx, since=since, until=until, known_at=known_at).subquery()
    m, a = moved.c, account.c
    other = sa.case((m.debit == account_id, m.credit), else_=m.debit)
    debits, credit = (
        sa.func.coalesce(sa.func.sum(m.amount).filter(side == account_id), 0) for side in (m.debit, m.credit)
    )
    query = (
        sa.select(a.code, debits.label("debits"), credit.label("credits"))
        .select_from(moved.join(account, sa.and_(a.org == m.org, a.id == other)))
        .where(sa.or_(m.debit == account_id, m.credit == account_id))
        .group_by(a.code)
        .order_by(a.code)
        .limit(ACCOUNTS_MAX)
    )
    return [(row.code, int(row.debits), int(row.credits)) for row in await tx.all(query)]


async def current_lines(tx: Tx) -> list[Line]:
    """Return every account with its volumes of this moment, by code, at most 50,000."""
    a = account.c
    query = (
        sa.select(a.id, a.code, a.name, a.kind, a.currency, a.debits_posted, a.credits_posted)
        .where(tx.own(account))
        .order_by(a.code)
        .limit(ACCOUNTS_MAX)
    )
    return [Line(*tuple(row)) for row in await tx.all(query)]


async def daily(tx: Tx, accounts: Sequence[UUID], *, until: date | None) -> Sequence[sa.Row[Any]]:
    """Return (account, value_day, net) of some accounts, by account and day; net is debits less credits."""
    moved = _moved(tx, since=None, until=until, known_at=None)
    t, ids = transfer.c, list(accounts)
    sides = [
        moved.with_only_columns(side.label("account"), t.value_day, (sign * t.amount).label("net")).where(side.in_(ids))
        for side, sign in ((t.debit, 1), (t.credit, -1))
    ]
    both = sa.union_all(*sides).subquery()
    query = (
        sa.select(both.c.account, both.c.value_day, sa.func.sum(both.c.net).label("net"))
        .group_by(both.c.account, both.c.value_day)
        .order_by(both.c.account, both.c.value_day)
        .limit(DAYS_MAX)
    )
    return await tx.all(query)


async def grouped(tx: Tx, *, since: date, until: date, tag: str | None, kinds: Sequence[str]) -> Sequence[sa.Row[Any]]:
    """Return (group, kind, currency, debits, credits) by party, or by the value of ``tag``, at most 10,000 rows."""
    side = _sides(_moved(tx, since=since, until=until, known_at=None).subquery())
    a = account.c
    group: sa.ColumnElement[Any] = sa.cast(side.c.party, sa.Text) if tag is None else side.c.tags[tag].astext
    query = (
        sa.select(group.label("group"), a.kind, a.currency, sa.func.sum(side.c.debits).label("debits"), sa.func.sum(side.c.credits).label("credits"))
        .select_from(account.join(side, side.c.account == a.id))
        .where(tx.own(account), a.kind.in_(kinds))
        .group_by(group, a.kind, a.currency)
        .order_by(group, a.kind, a.currency)
        .limit(GROUPS_MAX)
    )  # fmt: skip
    return await tx.all(query)


async def cash_flow(tx: Tx, *, cash: str, since: date, until: date) -> Sequence[sa.Row[Any]]:
    """Return (kind, code, currency, inflow, outflow) of the accounts that cash accounts moved against.

    Args:
        tx: Transaction.
        cash: Code prefix of the cash accounts; movements among them are left out.
        since: First value date.
        until: Last value date.
    """
    moved = _moved(tx, since=since, until=until, known_at=None).subquery()
    debit, credit = account.alias("debit"), account.alias("credit")
    to_cash, from_cash = debit.c.code.startswith(cash, autoescape=True), credit.c.code.startswith(cash, autoescape=True)
    other = {
        name: sa.case((to_cash, credit.c[name]), else_=debit.c[name]).label(name)
        for name in ("kind", "code", "currency")
    }
    query = (
        sa.select(
            *other.values(),
            sa.func.coalesce(sa.func.sum(moved.c.amount).filter(to_cash), 0).label("inflow"),
            sa.func.coalesce(sa.func.sum(moved.c.amount).filter(from_cash), 0).label("outflow"),
        )
        .select_from(
            moved.join(debit, sa.and_(debit.c.org == moved.c.org, debit.c.id == moved.c.debit)).join(
                credit, sa.and_(credit.c.org == moved.c.org, credit.c.id == moved.c.credit)
            )
        )
        .where(to_cash != from_cash)
        .group_by(*other.values())
        .order_by(*other.values())
        .limit(ACCOUNTS_MAX)
    )
    return await tx.all(query)


async def exported(
    tx: Tx, *, after: UUID | None, limit: int, since: date | None = None, until: date | None = None
) -> Sequence[sa.Row[Any]]:
    """Return transfers that moved money (with value dates in [since, until]) with their accounts' codes, by id."""
    debit, credit, t = account.alias("debit"), account.alias("credit"), transfer.c
    query = (
        sa.select(
            t.id, t.key, t.kind, t.value_day, t.recorded_at, debit.c.code.label("debit"), credit.c.code.label("credit"), t.amount, t.currency,
            t.memo, t.tags, t.party, t.actor,
        )
        .select_from(
            transfer.join(debit, sa.and_(debit.c.org == t.org, debit.c.id == t.debit)).join(
                credit, sa.and_(credit.c.org == t.org, credit.c.id == t.credit)
            )
        )
        .where(tx.own(transfer), t.kind.in_([kind.value for kind in MOVES]))
        .order_by(t.id)
        .limit(limit)
    )  # fmt: skip
    if since is not None:
        query = query.where(t.value_day >= since)
    if until is not None:
        query = query.where(t.value_day <= until)
    return await tx.all(query if after is None else query.where(t.id > after))
