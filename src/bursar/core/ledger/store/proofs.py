"""Queries that derive again from the transfers what is kept beside them."""

from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from bursar.core.ledger.rules.chain import Leaf
from bursar.core.ledger.tables import head as head_table
from bursar.infra.db import Tx

FAULTS_MAX = 100
"""Faults reported of one kind."""

BATCHES_AT_A_TIME = 200

_WRONG_VOLUMES = sa.text(
    """
    with side as (
        select debit as id, kind, amount as d, 0 as c from ledger_transfer where org = :org
        union all select credit, kind, 0, amount from ledger_transfer where org = :org),
    folded as (
        select id,
               coalesce(sum(d) filter (where kind in ('post', 'settle', 'reverse')), 0) as dp,
               coalesce(sum(c) filter (where kind in ('post', 'settle', 'reverse')), 0) as cp,
               coalesce(sum(case kind when 'hold' then d else -d end) filter (where kind in ('hold', 'settle', 'void', 'expire')), 0) as dn,
               coalesce(sum(case kind when 'hold' then c else -c end) filter (where kind in ('hold', 'settle', 'void', 'expire')), 0) as cn
        from side group by id)
    select a.id from ledger_account a left join folded f on f.id = a.id
    where a.org = :org and (a.debits_posted, a.credits_posted, a.debits_pending, a.credits_pending)
          is distinct from (coalesce(f.dp, 0), coalesce(f.cp, 0), coalesce(f.dn, 0), coalesce(f.cn, 0))
    limit :limit
    """
)
_UNBALANCED = sa.text(
    """
    select currency from ledger_account where org = :org group by currency
    having sum(debits_posted) <> sum(credits_posted) or sum(debits_pending) <> sum(credits_pending) limit :limit
    """
)
_WRONG_REMAINDERS = sa.text(
    """
    with used as (select of as id, sum(amount) as used from ledger_transfer where org = :org and of is not null group by of)
    select coalesce(u.id, r.id) as id from used u
    full join (select id, used, amount from ledger_remainder where org = :org) r on r.id = u.id
    where coalesce(u.used, 0) <> coalesce(r.used, 0)
    limit :limit
    """
)
_BATCHES = sa.text(
    """
    select number, digest, chain from ledger_batch where org = :org and number > :after order by number limit :limit
    """
)
_LEAVES = sa.text(
    """
    select batch, id, key, digest, kind, debit, credit, amount, currency, value_day, recorded_at, of, actor
    from ledger_transfer where org = :org and batch > :after and batch <= :last order by batch, place
    """
)


async def _ids(tx: Tx, query: sa.TextClause) -> list[Any]:
    return [row[0] for row in await tx.all(query, {"org": tx.org, "limit": FAULTS_MAX})]


async def wrong_volumes(tx: Tx) -> list[UUID]:
    """Return accounts whose volumes are not the sum of their transfers."""
    return await _ids(tx, _WRONG_VOLUMES)


async def unbalanced(tx: Tx) -> list[str]:
    """Return currencies whose debits and credits differ."""
    return await _ids(tx, _UNBALANCED)


async def wrong_remainders(tx: Tx) -> list[UUID]:
    """Return transfers of which more or less is used than the later transfers say."""
    return await _ids(tx, _WRONG_REMAINDERS)


async def head(tx: Tx) -> sa.Row[Any] | None:
    """Return the end of the chain, or None before the first transfer."""
    return await tx.one(sa.select(head_table).where(tx.own(head_table)))


async def batches(tx: Tx) -> AsyncIterator[tuple[sa.Row[Any], Sequence[Leaf]]]:
    """Yield every batch with its transfers, in order."""
    after = 0
    while rows := await tx.all(_BATCHES, {"org": tx.org, "after": after, "limit": BATCHES_AT_A_TIME}):
        last = rows[-1].number
        leaves: dict[int, list[Leaf]] = {}
        for leaf in await tx.all(_LEAVES, {"org": tx.org, "after": after, "last": last}):
            number, id_, key, digest, *rest = tuple(leaf)
            leaves.setdefault(number, []).append((id_, key, bytes(digest), *rest))
        for row in rows:
            yield row, leaves.get(row.number, [])
        after = last
