"""All SQL of transactions; sets in, sets out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.db import Tx
from bursar.infra.paging import Paging
from bursar.parts.banking.transactions.rules import Part
from bursar.parts.banking.transactions.tables import derived, own_account, split, transaction, unposted, word

ROWS_A_MONTH_MAX = 5_000_000
"""Most transactions of one month of one dataset."""
MONTHS_MAX = 2_400
ACCOUNTS_MAX = 10_000
PREFIX_WORDS_MAX = 40
"""Words that a beginning is expanded to."""
RARE_LOOK = 2_000
"""How far occurrences of a word are counted to find the rarest one."""

Words = tuple[str, ...]

t = transaction.c


async def lock(tx: Tx, *, shared: bool, what: str) -> None:
    """Serialise with others inside the organisation until the transaction ends."""
    kind = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
    await tx.run(sa.text(f"select {kind}(hashtextextended(:name, 0))"), {"name": f"banking/{what}/{tx.org}"})


async def digests(tx: Tx, dataset: str) -> dict[date, str]:
    """Return what each month was derived from."""
    query = sa.select(derived.c.month, derived.c.digest).where(tx.own(derived), derived.c.dataset == dataset)
    return {row.month: row.digest for row in await tx.all(query.limit(MONTHS_MAX))}


async def put_digest(tx: Tx, dataset: str, month: date, digest: str) -> None:
    """Remember what a month was derived from."""
    add = pg.insert(derived).values(org=tx.org, dataset=dataset, month=month, digest=digest)
    await tx.run(
        add.on_conflict_do_update(index_elements=["org", "dataset", "month"], set_={"digest": add.excluded.digest})
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a derived row stands: its batch and file row, and whether it is gone."""

    batch: UUID
    row: int
    gone: bool


async def standing(tx: Tx, dataset: str, month: date) -> dict[UUID, Standing]:
    """Return the derived rows of a month, gone ones too."""
    rows = await tx.all(
        sa.select(t.id, t.batch, t.row, t.gone_at)
        .where(tx.own(transaction), t.dataset == dataset, t.month == month)
        .limit(ROWS_A_MONTH_MAX)
    )
    return {row.id: Standing(row.batch, row.row, row.gone_at is not None) for row in rows}


NEW = (
    "id", "dataset", "month", "account", "booking_date", "value_date", "amount", "currency", "size", "status", "label",
    "description", "counterparty_account", "reference", "source_category", "source_department", "party", "batch", "row",
    "derived_at", "late", "department",
)  # fmt: skip


async def add(tx: Tx, rows: Iterable[Sequence[Any]], words: Iterable[tuple[str, date, UUID]]) -> int:
    """Add transactions (columns of :data:`NEW`) and their words."""
    added = await tx.copy(transaction, NEW, rows)
    await tx.copy(word, ("word", "booking_date", "transaction"), words)
    return added


async def derived_at(tx: Tx, now: datetime, *, limit: int) -> list[UUID]:
    """Return the transactions that one derivation added, the newest booking first."""
    query = sa.select(t.id).where(tx.own(transaction), t.derived_at == now)
    return [row.id for row in await tx.all(query.order_by(t.booking_date.desc(), t.id.desc()).limit(limit))]


async def set_gone(tx: Tx, ids: Sequence[UUID], *, now: datetime) -> None:
    """Mark rows whose line is no longer in the lake."""
    await tx.run(
        sa.update(transaction).where(tx.own(transaction), t.id == sa.any_(sa.literal(list(ids), pg.ARRAY(sa.Uuid))))
        .values(gone_at=now, version=t.version + 1)
    )  # fmt: skip


async def set_place(tx: Tx, places: Sequence[tuple[UUID, UUID, int]]) -> None:
    """Write where rows stand now (id, batch, file row); they are no longer gone."""
    ids, batches, rows = zip(*places, strict=True)
    fresh = (
        sa.func.unnest(
            sa.literal(list(ids), pg.ARRAY(sa.Uuid)),
            sa.literal(list(batches), pg.ARRAY(sa.Uuid)),
            sa.literal(list(rows), pg.ARRAY(sa.BigInteger)),
        )
        .table_valued("id", "batch", "row", name="fresh")
        .render_derived()
    )
    await tx.run(
        sa.update(transaction)
        .where(tx.own(transaction), t.id == fresh.c.id)
        .values(batch=fresh.c.batch, row=fresh.c.row, gone_at=None, version=t.version + 1)
    )


async def put_accounts(tx: Tx, spans: Mapping[str, tuple[date, date]]) -> None:
    """Remember own accounts with their first and last day."""
    if not spans:
        return
    rows = [{"org": tx.org, "account": a, "first_day": f, "last_day": z} for a, (f, z) in spans.items()]
    put = pg.insert(own_account).values(rows)
    changed = {
        "first_day": sa.func.least(own_account.c.first_day, put.excluded.first_day),
        "last_day": sa.func.greatest(own_account.c.last_day, put.excluded.last_day),
    }
    await tx.run(put.on_conflict_do_update(index_elements=["org", "account"], set_=changed))


async def accounts(tx: Tx) -> Sequence[sa.Row[Any]]:
    """Return own accounts."""
    query = sa.select(own_account.c.account, own_account.c.first_day, own_account.c.last_day)
    return await tx.all(query.where(tx.own(own_account)).order_by(own_account.c.account).limit(ACCOUNTS_MAX))


@dataclass(frozen=True, slots=True)
class Filter:
    """What to list; ``since`` and ``until`` are half-open booking days, sizes are absolute amounts in hundredths."""

    words: tuple[str, ...] = ()
    account: str = ""
    since: date | None = None
    until: date | None = None
    size_min: int | None = None
    size_max: int | None = None
    currency: str = ""
    state: str = ""
    category: str = ""
    department: str = ""
    party: UUID | None = None
    tag: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found: the days and ids of transactions, not yet ordered or bounded."""

    keys: sa.Select[Any]
    day: sa.ColumnElement[Any]
    id: sa.ColumnElement[Any]

    def page(self, tx: Tx, paging: Paging, *, newest_first: bool = True) -> sa.Select[Any]:
        """Return the statement of one page of whole transactions, and one more.

        The page is found by keys, which indexes alone can give; only its own rows are then read.
        """
        keys = paging.of(self.keys, self.day, self.id, newest_first=newest_first).subquery("page")
        joined = keys.join(transaction, sa.and_(t.id == keys.c.id, tx.own(transaction)))
        order = (keys.c.day, keys.c.id)
        query = sa.select(transaction).select_from(joined).limit(paging.limit + 1)
        return query.order_by(*(column.desc() if newest_first else column for column in order))


async def found(tx: Tx, wanted: Filter) -> Found:
    """Return the transactions that match.

    A search by words reads in the order of the words' index until the page is full; sorting is switched off for the rest
    of the transaction, because right after a large import the planner has no statistics and would sort everything.
    """
    where = _conditions(tx, wanted)
    if not wanted.words:
        keys = sa.select(t.booking_date.label("day"), t.id.label("id")).where(*where, *_days(wanted, t.booking_date))
        return Found(keys, t.booking_date, t.id)
    words = await _expanded(tx, wanted.words)
    driver, rest = await _driver(tx, words)
    where += _days(wanted, driver.c.booking_date)
    where += [_also(tx, other, driver.c.booking_date, driver.c.transaction) for other in rest]
    joined = driver.join(transaction, sa.and_(t.id == driver.c.transaction, tx.own(transaction)))
    day, id_ = driver.c.booking_date, driver.c.transaction
    return Found(sa.select(day.label("day"), id_.label("id")).select_from(joined).where(*where), day, id_)


def _conditions(tx: Tx, wanted: Filter) -> list[sa.ColumnElement[bool]]:
    where = [tx.own(transaction), t.gone_at.is_(None)]
    equal = {"account": t.account, "currency": t.currency, "state": t.state, "category": t.category}
    where += [column == getattr(wanted, name) for name, column in equal.items() if getattr(wanted, name)]
    if wanted.department:
        where.append(t.department == wanted.department)
    if wanted.party:
        where.append(t.party == wanted.party)
    if wanted.size_min is not None:
        where.append(t.size >= wanted.size_min)
    if wanted.size_max is not None:
        where.append(t.size <= wanted.size_max)
    if wanted.tag:
        where.append(sa.literal(wanted.tag) == sa.any_(t.tags))
    return where


def _days(wanted: Filter, column: sa.ColumnElement[Any]) -> list[sa.ColumnElement[bool]]:
    found = [column >= wanted.since] if wanted.since else []
    return [*found, column < wanted.until] if wanted.until else found


async def _expanded(tx: Tx, words: Sequence[str]) -> list[Words]:
    """Return for each asked word the words it stands for: itself, or up to 40 that begin so."""
    return [tuple(await _beginning(tx, one[:-1])) if one.endswith("*") else (one,) for one in words]


async def _driver(tx: Tx, words: Sequence[Words]) -> tuple[sa.FromClause, list[Words]]:
    """Return the rows of the rarest word, one for each transaction, and the words that are still to be checked.

    Words of a common beginning are merged in the order of their index, so that the first page needs few of them.
    """
    seen = await _seen(tx, words)
    rarest = min(words, key=lambda these: (seen[these], len(these)))
    rest = [these for these in words if these != rarest]
    columns = (word.c.booking_date, word.c.transaction)
    if len(rarest) == 1:
        return sa.select(*columns).where(tx.own(word), word.c.word == rarest[0]).subquery("driver"), rest
    each = [sa.select(*columns).where(tx.own(word), word.c.word == one).subquery().select() for one in rarest]
    merged = (sa.union_all(*each) if each else sa.select(*columns).where(sa.false())).subquery("merged")
    once = sa.select(merged).distinct().order_by(*(column.desc() for column in merged.c))
    return once.subquery("driver"), rest


async def _seen(tx: Tx, words: Sequence[Words]) -> dict[Words, int]:
    """Switch sorting off and count each word up to :data:`RARE_LOOK`, in one round trip; one word needs no count."""
    off = [sa.func.set_config(name, "off", sa.true()) for name in ("enable_sort", "enable_bitmapscan")]
    counted = words if len(words) > 1 or any(len(these) > 1 for these in words) else ()
    counts = [
        sa.select(sa.func.count())
        .select_from(sa.select(sa.literal(1)).select_from(word).where(tx.own(word), word.c.word.in_(these)).limit(RARE_LOOK).subquery())
        .scalar_subquery()
        for these in counted
    ]  # fmt: skip
    row = await tx.one(sa.select(*off, *counts))
    return dict.fromkeys(words, 0) | (dict(zip(counted, row[2:], strict=True)) if row else {})


def _after(beginning: str) -> str:
    return beginning[:-1] + chr(ord(beginning[-1]) + 1)


async def _beginning(tx: Tx, beginning: str) -> list[str]:
    """Return up to 40 words that begin so, each found by one probe of the index."""
    first = sa.select(sa.func.min(word.c.word).label("word")).where(
        tx.own(word), word.c.word >= beginning, word.c.word < _after(beginning)
    )
    walk = first.cte("walk", recursive=True)
    following = (
        sa.select(sa.func.min(word.c.word))
        .where(tx.own(word), word.c.word > walk.c.word, word.c.word < _after(beginning))
        .correlate(walk)
        .scalar_subquery()
    )
    walk = walk.union_all(sa.select(following).where(walk.c.word.is_not(None)))
    rows = await tx.all(sa.select(walk.c.word).where(walk.c.word.is_not(None)).limit(PREFIX_WORDS_MAX))
    return [row.word for row in rows]


def _also(tx: Tx, these: Words, day: sa.ColumnElement[Any], id_: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    other = word.alias()
    here = (tx.own(other), other.c.word.in_(these), other.c.booking_date == day, other.c.transaction == id_)
    return sa.exists(sa.select(sa.literal(1)).select_from(other).where(*here))


async def one(tx: Tx, id_: UUID, *, change: bool = False) -> sa.Row[Any] | None:
    """Return a transaction that is not gone; locked when it is about to change."""
    query = sa.select(transaction).where(tx.own(transaction), t.id == id_, t.gone_at.is_(None))
    return await tx.one(query.with_for_update() if change else query)


async def splits(tx: Tx, ids: Sequence[UUID]) -> dict[UUID, list[Part]]:
    """Return the parts of each split transaction, in order."""
    s = split.c
    rows = await tx.all(sa.select(split).where(tx.own(split), s.transaction.in_(ids)).order_by(s.transaction, s.place))
    found: dict[UUID, list[Part]] = {}
    for row in rows:
        found.setdefault(row.transaction, []).append(Part(row.amount, row.category, row.department, row.note))
    return found


async def put_split(tx: Tx, id_: UUID, parts: Sequence[Part]) -> None:
    """Replace the parts of a transaction."""
    await tx.run(sa.delete(split).where(tx.own(split), split.c.transaction == id_))
    if parts:
        rows = [
            {"org": tx.org, "transaction": id_, "place": n, "amount": part.amount, "category": part.category,
             "department": part.department, "note": part.note}
            for n, part in enumerate(parts)
        ]  # fmt: skip
        await tx.run(sa.insert(split).values(rows))


async def change(tx: Tx, id_: UUID, values: Mapping[str, Any]) -> None:
    """Change a transaction; its version grows."""
    await tx.run(sa.update(transaction).where(tx.own(transaction), t.id == id_).values(**values, version=t.version + 1))


async def replace_words(tx: Tx, id_: UUID, day: date, *, old: Sequence[str], new: Sequence[str]) -> None:
    """Replace the words of a transaction whose note or tags changed."""
    gone, fresh = [one for one in old if one not in set(new)], [one for one in new if one not in set(old)]
    if gone:
        here = (word.c.word.in_(gone), word.c.booking_date == day, word.c.transaction == id_)
        await tx.run(sa.delete(word).where(tx.own(word), *here))
    if fresh:
        rows = [{"org": tx.org, "word": one, "booking_date": day, "transaction": id_} for one in fresh]
        await tx.run(sa.insert(word).values(rows))


async def waiting(tx: Tx, *, before: date | None = None) -> bool:
    """Tell whether a transaction (booked before a day) waits."""
    query = sa.select(sa.literal(1)).select_from(
        unposted.join(transaction, sa.and_(t.org == unposted.c.org, t.id == unposted.c.transaction))
    )
    query = query.where(tx.own(unposted))
    return await tx.scalar((query.where(t.booking_date < before) if before else query).limit(1)) is not None


async def open_until(tx: Tx, until: date) -> int:
    """Return how many booked transactions before a day nobody has decided on."""
    few = (
        sa.select(sa.literal(1))
        .where(tx.own(transaction), t.booking_date < until, t.gone_at.is_(None), t.state.in_(("open", "suggested")))
        .limit(100_000)
    )
    return int(await tx.scalar(sa.select(sa.func.count()).select_from(few.subquery())) or 0)


DECIDED_MAX = 5_000_000
"""Most decisions looked at for one budget."""


async def decided(tx: Tx, dataset: str, *, since: date) -> Sequence[sa.Row[Any]]:
    """Return id, category, department and amount (of a part only) where they differ from what the file says."""
    s = split.c
    joined = transaction.outerjoin(split, sa.and_(s.org == t.org, s.transaction == t.id))
    differs = sa.or_(t.category != t.source_category, t.department != t.source_department)
    said = sa.and_(t.state.not_in(("open", "suggested")), differs)
    query = (
        sa.select(
            t.id,
            sa.func.coalesce(s.category, t.category).label("category"),
            sa.func.coalesce(sa.func.nullif(s.department, ""), t.department).label("department"),
            s.amount,
        )
        .select_from(joined)
        .where(tx.own(transaction), t.dataset == dataset, t.booking_date >= since, t.gone_at.is_(None))
        .where(sa.or_(said, s.place.is_not(None)))
    )
    return await tx.all(query.limit(DECIDED_MAX))


def amount_of(row: sa.Row[Any]) -> Decimal:
    """Return the exact amount of a row."""
    return Decimal(row.amount)
