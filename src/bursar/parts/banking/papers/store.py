"""All SQL of papers; sets in, sets out."""

from collections.abc import Collection, Sequence
from datetime import date

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.db import Tx
from bursar.parts.banking.papers.rules import Paper
from bursar.parts.banking.papers.tables import derived, paper

MONTHS_MAX = 2_400
FOUND_MAX = 10_000
"""Most papers of the amounts of one pass."""

p = paper.c


async def lock(tx: Tx) -> None:
    """Derive in one transaction of the organisation at a time."""
    await tx.run("select pg_advisory_xact_lock(hashtextextended('banking/papers/' || :org, 0))", {"org": str(tx.org)})


async def digests(tx: Tx, dataset: str) -> dict[date, str]:
    """Return what each month was derived from."""
    query = sa.select(derived.c.month, derived.c.digest).where(tx.own(derived), derived.c.dataset == dataset)
    return {row.month: row.digest for row in await tx.all(query.limit(MONTHS_MAX))}


async def put_month(tx: Tx, dataset: str, month: date, digest: str, papers: Sequence[Paper]) -> None:
    """Put what the files of one month say of papers in the place of what they said before."""
    await tx.run(sa.delete(paper).where(tx.own(paper), p.dataset == dataset, p.month == month))
    columns = ("dataset", "month", "id", "provider", "issuer", "number", "currency", "total", "last_day")
    facts = ((dataset, month, one.id, one.provider, one.issuer, one.number, one.currency, one.total, one.last_day) for one in papers)  # fmt: skip
    await tx.copy(paper, columns, facts)
    add = pg.insert(derived).values(org=tx.org, dataset=dataset, month=month, digest=digest)
    await tx.run(
        add.on_conflict_do_update(index_elements=["org", "dataset", "month"], set_={"digest": add.excluded.digest})
    )


async def of_sizes(tx: Tx, sizes: Collection[int]) -> list[Paper]:
    """Return the papers whose total in hundredths is one of some amounts, however rounded."""
    if not sizes:
        return []
    total = sa.func.sum(p.total)
    hundredths = sa.func.abs(total) * 100
    wanted = sa.literal(sorted(sizes), pg.ARRAY(sa.BigInteger))
    query = (
        sa.select(
            p.dataset, p.id, p.provider, sa.func.min(p.issuer).label("issuer"), p.number, p.currency,
            total.label("total"), sa.func.max(p.last_day).label("last_day"),
        )
        .where(tx.own(paper))
        .group_by(p.dataset, p.id, p.provider, p.number, p.currency)
        .having(sa.or_(sa.func.floor(hundredths) == sa.any_(wanted), sa.func.ceil(hundredths) == sa.any_(wanted)))
        .order_by(p.id)
        .limit(FOUND_MAX)
    )  # fmt: skip
    return [
        Paper(row.id, row.provider, row.issuer, row.number, row.currency, row.total, row.last_day, row.dataset)
        for row in await tx.all(query)
    ]


async def sizes(tx: Tx) -> list[int]:
    """Return the totals of the newest papers, in hundredths."""
    hundredths = sa.cast(sa.func.round(sa.func.abs(sa.func.sum(p.total)) * 100), sa.BigInteger)
    newest = sa.func.max(p.last_day).desc()
    query = sa.select(hundredths.label("size")).where(tx.own(paper)).group_by(p.dataset, p.id)
    rows = await tx.all(query.order_by(newest, p.id).limit(FOUND_MAX))
    return [row.size for row in rows if row.size]
