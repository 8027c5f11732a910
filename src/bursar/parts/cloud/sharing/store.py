"""All SQL of sharing."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlglot import exp

from bursar.infra.db import Tx
from bursar.kernel.period import Period
from bursar.parts.cloud.rules.dimensions import column
from bursar.parts.cloud.rules.queries import USES_MAX
from bursar.parts.cloud.sharing.rules import RuleBook
from bursar.parts.cloud.sharing.tables import rule_book

_r = rule_book.c


async def book(tx: Tx, *, for_update: bool = False) -> tuple[RuleBook, int]:
    """Return the rules and their version; none, of version 0, where nobody wrote any."""
    statement = sa.select(_r.rules, _r.version).where(tx.own(rule_book))
    row = await tx.one(statement.with_for_update() if for_update else statement)
    return (RuleBook.from_json(row.rules), row.version) if row else (RuleBook(), 0)


async def put_book(tx: Tx, rules: RuleBook, *, version: int, now: datetime) -> bool:
    """Replace the rules of version ``version - 1``; False when another was faster."""
    values = {"rules": rules.to_json(), "version": version, "changed_at": now}
    made = pg.insert(rule_book).values(org=tx.org, **values)
    kept = made.on_conflict_do_update(constraint="cloud_rule_book_pkey", set_=values, where=_r.version == version - 1)
    return await tx.scalar(kept.returning(_r.version)) is not None


def quantities(period: Period, measure: str) -> exp.Query:
    """Return the query for an imported quantity by target and day."""
    first, end = (exp.cast(exp.Literal.string(day.isoformat()), "date") for day in (period.start, period.end))
    at = column("day")
    return (
        exp.select("target", "day", exp.func("sum", column("quantity")).as_("quantity"), exp.func("max", column("unit")).as_("unit"))
        .from_("measure")
        .where(column("measure").eq(exp.Literal.string(measure)))
        .where(exp.and_(exp.GTE(this=at, expression=first), exp.LT(this=at.copy(), expression=end)))
        .group_by(exp.Literal.number(1), exp.Literal.number(2))
        .limit(USES_MAX)
    )  # fmt: skip


def measures() -> exp.Query:
    """Return the query for the names of imported quantities."""
    return exp.select("measure").distinct().from_("measure").order_by(exp.Literal.number(1)).limit(100)
