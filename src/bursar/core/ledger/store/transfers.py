"""Reading the state that a batch needs under lock, and writing a batch in one statement."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

import orjson
import sqlalchemy as sa

from bursar.core.ledger.rules.admit import Account, Admitted, Earlier, Known
from bursar.core.ledger.tables import account, head, remainder, transfer
from bursar.infra.db import Tx
from bursar.infra.db_arrays import digests, ids, plain, texts


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the chain, and the last day of closed books."""

    batch: int
    chain: bytes
    closed_through: date | None


_HEAD = sa.text("select batch, chain, closed_through from ledger_head where org = :org for update")
_NEW_HEAD = sa.text("insert into ledger_head (org, batch, chain) values (:org, 0, :chain) on conflict do nothing")


async def lock_head(tx: Tx, *, empty: bytes) -> Head:
    """Lock the organisation's head row, making it when there is none: batches follow one another from here."""
    row = await tx.one(_HEAD, {"org": tx.org})
    if row is None:
        await tx.run(_NEW_HEAD, {"org": tx.org, "chain": empty})
        row = await tx.one(_HEAD, {"org": tx.org})
    assert row is not None
    return Head(row.batch, bytes(row.chain), row.closed_through)


async def close_through(tx: Tx, day: date | None) -> None:
    """Set the last day of closed books; None opens them all."""
    await tx.run(sa.update(head).where(tx.own(head)).values(closed_through=day))


_KNOWN = sa.text("select key, id, digest from ledger_transfer where org = :org and key = any(cast(:keys as text[]))")


async def known(tx: Tx, keys: Sequence[str]) -> dict[str, Known]:
    """Return the transfers already recorded under ``keys``; bounded by them."""
    rows = await tx.all(_KNOWN, {"org": tx.org, "keys": texts(keys)})
    return {row.key: Known(row.id, bytes(row.digest)) for row in rows}


_ACCOUNTS = sa.text(
    "select id, currency, guard, closed_at is not null as closed, debits_posted, credits_posted, debits_pending, credits_pending"
    " from ledger_account where org = :org and id = any(cast(:ids as uuid[])) order by id for no key update"
)


async def lock_accounts(tx: Tx, wanted: Collection[UUID]) -> dict[UUID, Account]:
    """Lock accounts in the order of their ids and return their state; bounded by the ids."""
    rows = await tx.all(_ACCOUNTS, {"org": tx.org, "ids": ids(wanted)})
    return {row[0]: Account(*tuple(row)) for row in rows}


async def earlier(tx: Tx, wanted: Sequence[UUID]) -> dict[UUID, Earlier]:
    """Return the transfers that orders refer to, with what is used of them."""
    if not wanted:
        return {}
    t, r = transfer.c, remainder.c
    query = (
        sa.select(t.id, t.kind, t.debit, t.credit, t.amount, t.currency, t.due, sa.func.coalesce(r.used, 0))
        .select_from(transfer.outerjoin(remainder, sa.and_(r.org == t.org, r.id == t.id)))
        .where(tx.own(transfer), t.id.in_(wanted))
    )
    return {row[0]: Earlier(*tuple(row)) for row in await tx.all(query)}


_WRITE = sa.text(
    """
    with put as (
        insert into ledger_transfer (org, id, batch, place, key, digest, kind, debit, credit, amount, currency, value_day,
                                     recorded_at, due, of, entry, party, memo, tags, actor)
        select :org, id, :batch, place - 1, key, digest, kind, debit, credit, amount, currency, value_day, :now, due, of, entry,
               party, memo, tags, actor
        from unnest(cast(:id as uuid[]), cast(:key as text[]), cast(:digest as bytea[]), cast(:kind as text[]),
                    cast(:debit as uuid[]), cast(:credit as uuid[]), cast(:amount as bigint[]), cast(:currency as text[]),
                    cast(:value_day as date[]), cast(:due as timestamptz[]), cast(:of as uuid[]), cast(:entry as uuid[]),
                    cast(:party as uuid[]), cast(:memo as text[]), cast(:tags as jsonb[]), cast(:actor as text[]))
             with ordinality as o(id, key, digest, kind, debit, credit, amount, currency, value_day, due, of, entry, party, memo,
                                  tags, actor, place)
    ), moved as (
        update ledger_account a set debits_posted = d.dp, credits_posted = d.cp, debits_pending = d.dn, credits_pending = d.cn
        from unnest(cast(:account as uuid[]), cast(:dp as bigint[]), cast(:cp as bigint[]), cast(:dn as bigint[]),
                    cast(:cn as bigint[])) as d(id, dp, cp, dn, cn)
        where a.org = :org and a.id = d.id
    ), noted as (
        insert into ledger_batch (org, number, rows, digest, chain, recorded_at)
        values (:org, :batch, :rows, :batch_digest, :chain, :now)
    )
    update ledger_head set batch = :batch, chain = :chain where org = :org
    """
)

_USES = sa.text(
    """
    insert into ledger_remainder (org, id, kind, amount, used, due)
    select :org, u.id, u.kind, u.amount, u.used, u.due
    from unnest(cast(:id as uuid[]), cast(:kind as text[]), cast(:amount as bigint[]), cast(:used as bigint[]),
                cast(:due as timestamptz[])) as u(id, kind, amount, used, due)
    on conflict (org, id) do update set used = ledger_remainder.used + excluded.used
    """
)


async def write(
    tx: Tx, *, admitted: Sequence[Admitted], changed: Sequence[Account], actors: Sequence[str], number: int, digest: bytes, chain: bytes,
    now: datetime,
) -> None:  # fmt: skip
    """Write a batch: transfers, account volumes, the batch and the head, in one statement.

    Args:
        tx: Holds the head's lock and those of the accounts.
        admitted: Shape (n,), n >= 1.
        changed: Accounts with their volumes after the batch.
        actors: Shape (n,): who asked for each.
        number: Of the batch.
        digest: Of the batch's transfers.
        chain: After the batch.
        now: Instant of recording.
    """
    orders = [one.order for one in admitted]
    facts: dict[str, Any] = {
        "org": tx.org, "batch": number, "now": now, "rows": len(admitted), "batch_digest": digest, "chain": chain,
        "id": ids(one.id for one in admitted), "key": texts(o.key for o in orders), "digest": digests(one.digest for one in admitted),
        "kind": texts(o.action.value for o in orders), "debit": ids(one.debit for one in admitted),
        "credit": ids(one.credit for one in admitted), "amount": plain(one.amount for one in admitted),
        "currency": texts(one.currency for one in admitted), "value_day": plain(o.value_day for o in orders),
        "due": plain(o.due for o in orders), "of": ids(o.of for o in orders), "entry": ids(o.entry for o in orders),
        "party": ids(o.party for o in orders), "memo": texts(o.memo for o in orders),
        "tags": texts(orjson.dumps(dict(o.tags)).decode() if o.tags else None for o in orders), "actor": texts(actors),
        "account": ids(a.id for a in changed), "dp": plain(a.debits_posted for a in changed),
        "cp": plain(a.credits_posted for a in changed), "dn": plain(a.debits_pending for a in changed),
        "cn": plain(a.credits_pending for a in changed),
    }  # fmt: skip
    await tx.run(_WRITE, facts)


async def write_uses(tx: Tx, rows: Sequence[tuple[UUID, str, int, int, datetime | None]]) -> None:
    """Add new holds, and what was used of holds and reversible transfers: (id, kind, amount, used more, due)."""
    if rows:
        columns = list(zip(*rows, strict=True))
        names = ("id", "kind", "amount", "used", "due")
        await tx.run(
            _USES, {"org": tx.org, **{name: list(column) for name, column in zip(names, columns, strict=True)}}
        )


async def due_holds(tx: Tx, *, now: datetime, limit: int) -> list[UUID]:
    """Return holds whose time has come and of which something is left, the longest due first."""
    r = remainder.c
    query = (
        sa.select(r.id)
        .where(tx.own(remainder), r.kind == "hold", r.used < r.amount, r.due.is_not(None), r.due <= now)
        .order_by(r.due, r.id)
        .limit(limit)
    )
    return [row.id for row in await tx.all(query)]


async def open_holds(tx: Tx, accounts: Sequence[UUID] | None, *, limit: int) -> Sequence[sa.Row[Any]]:
    """Return holds, on some accounts or on any, of which something is left, with the accounts' names."""
    t, r, a, credited = transfer.c, remainder.c, account.c, account.alias("credited")
    c = credited.c
    side = sa.and_(a.org == t.org, a.id.in_((t.debit, t.credit)), a.kind.in_(("income", "expense")))
    query = (
        sa.select(
            t.id, t.debit, t.credit, (r.amount - r.used).label("left"), t.currency, r.due, t.value_day, t.memo, t.party,
            sa.func.coalesce(a.name, "").label("purpose"), (a.id == t.credit).label("inflow"), c.code, c.name, t.tags,
            t.batch, t.place,
        )
        .select_from(
            remainder.join(transfer, sa.and_(t.org == r.org, t.id == r.id))
            .join(credited, sa.and_(c.org == t.org, c.id == t.credit))
            .join(account, side, isouter=True)
        )
        .where(tx.own(remainder), r.kind == "hold", r.used < r.amount)
        .order_by(r.due.asc().nulls_last(), r.id)
        .limit(limit)
    )  # fmt: skip
    if accounts is not None:
        query = query.where(sa.or_(t.debit.in_(accounts), t.credit.in_(accounts)))
    return await tx.all(query)


async def next_due(tx: Tx) -> datetime | None:
    """Return when the next hold lapses, if any does."""
    r = remainder.c
    open_ = sa.and_(r.kind == "hold", r.used < r.amount, r.due.is_not(None))
    found: datetime | None = await tx.scalar(sa.select(sa.func.min(r.due)).where(tx.own(remainder), open_))
    return found


def listing(tx: Tx, *, of_account: UUID | None) -> sa.Select[Any]:
    """Select transfers of one account or of all, without order."""
    t = transfer.c
    query = sa.select(transfer).where(tx.own(transfer))
    return query if of_account is None else query.where(sa.or_(t.debit == of_account, t.credit == of_account))


async def by_id(tx: Tx, id_: UUID) -> sa.Row[Any] | None:
    """Return one transfer, or None."""
    return await tx.one(sa.select(transfer).where(tx.own(transfer), transfer.c.id == id_))
