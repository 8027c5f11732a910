"""All SQL of posting; sets in, sets out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.db import Tx
from bursar.parts.banking.posting.rules import Anchor
from bursar.parts.banking.posting.tables import opening, posting
from bursar.parts.banking.transactions.tables import own_account, split, transaction, unposted

PARTS_MAX = 200_000
"""Most parts and postings of the transactions of one pass."""
REFUSED_MAX = 1_000
CATEGORIES_MAX = 10_000
ACCOUNTS_MAX = 10_000

t, p = transaction.c, posting.c


def _ids(ids: Sequence[UUID]) -> sa.ColumnElement[Any]:
    return sa.any_(sa.literal(list(ids), pg.ARRAY(sa.Uuid)))


async def take(tx: Tx, *, limit: int) -> list[UUID]:
    """Take what waits to be booked, the longest waiting first; each transaction once."""
    u = unposted.c
    first = sa.select(u.number).where(tx.own(unposted)).order_by(u.number).limit(limit)
    gone = sa.delete(unposted).where(tx.own(unposted), u.number.in_(first)).returning(u.transaction)
    return list(dict.fromkeys(row.transaction for row in await tx.all(gone)))


async def queue_missing(tx: Tx) -> int:
    """Queue every bank transaction that was never booked or was refused; returns how many."""
    none = sa.or_(p.transaction.is_(None), p.refusal != "")
    missing = (
        sa.select(sa.literal(tx.org), t.id)
        .select_from(transaction.outerjoin(posting, sa.and_(p.org == t.org, p.transaction == t.id)))
        .where(tx.own(transaction), t.dataset == "bank", none)
        .distinct()
    )
    added = sa.insert(unposted).from_select(["org", "transaction"], missing).returning(unposted.c.number).cte("added")
    return int(await tx.scalar(sa.select(sa.func.count()).select_from(added)) or 0)


async def facts(tx: Tx, ids: Sequence[UUID]) -> Sequence[sa.Row[Any]]:
    """Return the rows of transactions, one for each part where they are split; ``live`` says whether they are booked."""
    s = split.c
    live = sa.and_(t.gone_at.is_(None), t.status == "booked", t.dataset == "bank")
    query = (
        sa.select(
            t.id, t.account, t.currency, t.booking_date, t.amount, t.category, t.state, t.department, t.tags, t.label,
            t.party, live.label("live"), s.place, s.amount.label("part"), s.category.label("part_category"),
            s.department.label("part_department"),
        )
        .select_from(transaction.outerjoin(split, sa.and_(s.org == t.org, s.transaction == t.id)))
        .where(tx.own(transaction), t.id == _ids(ids))
        .order_by(t.booking_date, t.id, s.place)
        .limit(PARTS_MAX)
    )  # fmt: skip
    return await tx.all(query)


class Booked(NamedTuple):
    """What stands for an entry: its generation, what it says (hashed), its transfer (None when reversed) and value day."""

    generation: int
    content: bytes | None
    transfer: UUID | None
    day: date | None


async def booked(tx: Tx, ids: Sequence[UUID]) -> dict[UUID, dict[int, Booked]]:
    """Return what stands for some transactions, by place."""
    query = sa.select(posting).where(tx.own(posting), p.transaction == _ids(ids)).limit(PARTS_MAX)
    found: dict[UUID, dict[int, Booked]] = {}
    for row in await tx.all(query):
        content = bytes(row.content) if row.content is not None else None
        found.setdefault(row.transaction, {})[row.place] = Booked(row.generation, content, row.transfer, row.day)
    return found


KEPT = ("transaction", "place", "generation", "content", "transfer", "day", "refusal")
Kept = tuple[UUID, int, int, bytes | None, UUID | None, date | None, str]
"""Values of :data:`KEPT`."""

_KEEP = sa.text(
    """
    insert into bank_posting (org, transaction, place, generation, content, transfer, day, refusal)
    select :org, k.* from unnest(cast(:transaction as uuid[]), cast(:place as integer[]), cast(:generation as integer[]),
        cast(:content as bytea[]), cast(:transfer as uuid[]), cast(:day as date[]), cast(:refusal as text[])) as k
    on conflict (org, transaction, place) do update set generation = excluded.generation, content = excluded.content,
        transfer = excluded.transfer, day = excluded.day, refusal = excluded.refusal
    """
)


async def keep(tx: Tx, rows: Sequence[Kept]) -> None:
    """Write what stands for entries now."""
    if rows:
        columns: dict[str, list[Any]] = dict(zip(KEPT, map(list, zip(*rows, strict=True)), strict=True))
        await tx.run(_KEEP, {"org": tx.org, **columns})


async def category_sums(tx: Tx, categories: Sequence[str]) -> list[tuple[str, Decimal]]:
    """Return for each category the sum of everything under it, splits included, currencies together: only its sign counts."""
    live = sa.and_(tx.own(transaction), t.gone_at.is_(None), t.dataset == "bank")
    whole = sa.select(t.category.label("category"), t.amount.label("amount")).where(live, t.category.in_(categories))
    parts = (
        sa.select(split.c.category, split.c.amount)
        .select_from(split.join(transaction, sa.and_(t.org == split.c.org, t.id == split.c.transaction)))
        .where(live, split.c.category.in_(categories))
    )
    both = sa.union_all(whole, parts).subquery()
    query = sa.select(both.c.category, sa.func.sum(both.c.amount).label("sum")).group_by(both.c.category)
    return [(row.category, row.sum) for row in await tx.all(query.limit(CATEGORIES_MAX))]


async def refused(tx: Tx, *, limit: int = REFUSED_MAX) -> Sequence[sa.Row[Any]]:
    """Return transactions that the ledger refused, with the reason."""
    query = (
        sa.select(t.id, t.account, t.booking_date, t.amount, t.currency, t.label, p.refusal)
        .select_from(posting.join(transaction, sa.and_(t.org == p.org, t.id == p.transaction)))
        .where(tx.own(posting), p.refusal != "")
        .order_by(t.id, p.place)
        .limit(limit)
    )
    return await tx.all(query)


async def transfers_of(tx: Tx, id_: UUID) -> list[tuple[int, UUID]]:
    """Return (place, transfer) of what stands for a transaction now."""
    query = sa.select(p.place, p.transfer).where(tx.own(posting), p.transaction == id_, p.transfer.is_not(None))
    return [(row.place, row.transfer) for row in await tx.all(query.order_by(p.place).limit(PARTS_MAX))]


async def own_accounts(tx: Tx) -> list[tuple[str, str]]:
    """Return own accounts with the currencies of their lines."""
    a = own_account.c
    inner = (
        sa.select(t.currency)
        .where(tx.own(transaction), t.account == a.account, t.dataset == "bank")
        .distinct()
        .lateral()
    )
    query = sa.select(a.account, inner.c.currency).select_from(own_account.join(inner, sa.true()))
    rows = await tx.all(query.where(tx.own(own_account)).order_by(a.account, inner.c.currency).limit(ACCOUNTS_MAX))
    return [(row.account, row.currency) for row in rows]


@dataclass(frozen=True, slots=True)
class Opening:
    """An opening balance as it stands: signed minor units."""

    generation: int
    amount: int
    day: date
    transfer: UUID | None
    refusal: str


async def openings(tx: Tx) -> dict[tuple[str, str], Opening]:
    """Return the opening balances that stand, by account and currency."""
    rows = await tx.all(sa.select(opening).where(tx.own(opening)).limit(ACCOUNTS_MAX))
    return {
        (row.account, row.currency): Opening(row.generation, row.amount, row.day, row.transfer, row.refusal) for row in rows
    }  # fmt: skip


async def put_opening(tx: Tx, account: str, currency: str, values: Mapping[str, Any]) -> None:
    """Write the opening balance of an account."""
    put = pg.insert(opening).values(org=tx.org, account=account, currency=currency, **values)
    await tx.run(put.on_conflict_do_update(index_elements=["org", "account", "currency"], set_=dict(values)))


async def before(tx: Tx, anchors: Sequence[Anchor]) -> list[tuple[Decimal, date | None]]:
    """Return for each anchor the exact sum of the booked lines before its balance, and the day of the first line at all."""
    a = (
        sa.func.unnest(
            sa.literal([one.account for one in anchors], pg.ARRAY(sa.Text)),
            sa.literal([one.currency for one in anchors], pg.ARRAY(sa.Text)),
            sa.literal([one.day for one in anchors], pg.ARRAY(sa.Date)),
            sa.literal([one.closing for one in anchors], pg.ARRAY(sa.Boolean)),
        )
        .table_valued("account", "currency", "day", "closing", name="a", with_ordinality="n")
        .render_derived()
    )
    inside = sa.or_(t.booking_date < a.c.day, sa.and_(a.c.closing, t.booking_date == a.c.day))
    mine = sa.and_(
        tx.own(transaction), t.gone_at.is_(None), t.status == "booked", t.dataset == "bank", t.account == a.c.account,
        t.currency == a.c.currency,
    )  # fmt: skip
    query = (
        sa.select(
            sa.func.coalesce(sa.func.sum(t.amount).filter(inside), 0).label("sum"), sa.func.min(t.booking_date).label("first")
        )
        .select_from(a.outerjoin(transaction, mine))
        .group_by(a.c.n)
        .order_by(a.c.n)
        .limit(ACCOUNTS_MAX)
    )  # fmt: skip
    return [(Decimal(row.sum), row.first) for row in await tx.all(query)]
