"""Use cases of transactions: derive them from the lake, find, annotate, split, close a period."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import polars as pl
import sqlalchemy as sa

from bursar.core.audit import service as audit
from bursar.core.ledger import service as ledger
from bursar.core.notices import service as notices
from bursar.core.parties import service as parties
from bursar.infra import jobs
from bursar.infra.db import Tx
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, Invalid, NotFound, Stale
from bursar.kernel.lines import BANK_LINES, PAYMENT_LINES, LineSchema
from bursar.parts.banking.papers import service as papers
from bursar.parts.banking.transactions import rules, store
from bursar.parts.banking.transactions.rules import Part

Filter = store.Filter
Found = store.Found
PeriodClosed = rules.PeriodClosed

BOOK = "banking.post"
"""The job that books what changed."""

CREATED = "transaction.created"
"""The event of new transactions: one for each derivation, because an import may bring a million."""
ANNOUNCED_MAX = 100
"""Ids told with it."""

DATASETS = ((BANK_LINES, rules.bank_rows), (PAYMENT_LINES, rules.payment_rows))


@dataclass(frozen=True, slots=True)
class Derived:
    """What deriving changed: transactions added, gone (their batch was taken back) and back again; months looked at."""

    added: int = 0
    gone: int = 0
    back: int = 0
    months: int = 0

    def __add__(self, other: "Derived") -> "Derived":
        """Add the counts."""
        return Derived(
            self.added + other.added, self.gone + other.gone, self.back + other.back, self.months + other.months
        )


async def derive(tx: Tx, actor: Actor, *, lake: Lake, now: datetime) -> Derived:
    """Bring transactions, and the papers they may pay, in line with the lake's bank, payment and bill lines; only months whose files changed are read.

    Safe to run at any time and twice: a row's id comes from what identifies the line, so notes, splits and categories stay
    with it when its batch is taken back and imported again.

    Args:
        tx: Writing transaction.
        actor: Needs ``transaction:write`` and, for naming counterparties, ``party:write``.
        lake: The lake.
        now: Instant, aware.
    """
    actor.must("transaction:write")
    await store.lock(tx, shared=False, what="derive")
    await papers.derive(tx, lake=lake)
    done = Derived()
    for schema, read in DATASETS:
        for month, digest, held in await lake.changed(tx, schema.name, await store.digests(tx, schema.name)):
            lines = await lake.scan(tx, schema, months=[month])
            rows = await asyncio.to_thread(read, lines) if held else None
            done += await _sync(tx, actor, schema.name, month, rows, now)
            await store.put_digest(tx, schema.name, month, digest)
    if done != Derived(months=done.months):
        await book_soon(tx)
    if done.added:
        await notices.announce(tx, type_=CREATED, data=await _announced(tx, done.added, now), now=now)
    return done


async def _announced(tx: Tx, added: int, now: datetime) -> dict[str, Any]:
    """Return what subscribers hear of new transactions: how many, and the newest 100 of them."""
    ids = [str(id_) for id_ in await store.derived_at(tx, now, limit=ANNOUNCED_MAX)]
    return {"count": added, "transactions": ids, "more": added > len(ids)}


async def _sync(tx: Tx, actor: Actor, dataset: str, month: date, rows: pl.DataFrame | None, now: datetime) -> Derived:
    """Bring one month in line with its visible lines."""
    before = await store.standing(tx, dataset, month)
    keys = rules.ids_of(rows["_key"]) if rows is not None else []
    gone = [id_ for id_ in before.keys() - set(keys) if not before[id_].gone]
    if gone:
        await store.set_gone(tx, gone, now=now)
    if rows is None:
        return Derived(gone=len(gone), months=1)
    moved, back = [], 0
    for id_, batch, row in zip(keys, rows["batch"], rows["row"], strict=True):
        stood = before.get(id_)
        if stood and (stood.gone or (stood.batch, stood.row) != (UUID(batch), row)):
            moved.append((id_, UUID(batch), row))
            back += stood.gone
    if moved:
        await store.set_place(tx, moved)
    fresh = rows.with_columns(pl.Series("_id", keys, dtype=pl.Object)).filter(
        pl.Series([key not in before for key in keys], dtype=pl.Boolean)
    )
    if not fresh.is_empty():
        await _add(tx, actor, dataset, month, fresh, now)
    return Derived(added=len(fresh), gone=len(gone), back=back, months=1)


async def _add(tx: Tx, actor: Actor, dataset: str, month: date, fresh: pl.DataFrame, now: datetime) -> None:
    until = await _closed_until(tx)
    found = list(fresh.iter_rows(named=True))
    mentions = [
        parties.Mention(row["counterparty_name"] or row["label"], rules.stated(row), rules.pairs_of(row["told"]))
        for row in found
    ]
    who = await parties.resolve(tx, actor, mentions=mentions, now=now)
    values = [
        (
            row["_id"], dataset, month, row["account"], row["booking_date"], row["value_date"], row["amount"],
            row["currency"], rules.size_of(row["amount"]), row["status"], row["label"], row["description"],
            row["counterparty_account"], row["reference"], row["source_category"], row["source_department"], party,
            UUID(row["batch"]), row["row"], now, until is not None and row["booking_date"] < until,
            row["source_department"][: rules.CATEGORY_CHARS_MAX],
        )
        for row, party in zip(found, who, strict=True)
    ]  # fmt: skip
    words = [
        (one, row["booking_date"], row["_id"])
        for row in found
        for one in rules.words_of(
            row["description"], row["counterparty_name"], row["label"], row["reference"], row["counterparty_account"]
        )
    ]
    await store.add(tx, values, words)
    if dataset == BANK_LINES.name:
        spans = fresh.group_by("account").agg(
            pl.col("booking_date").min().alias("first"), pl.col("booking_date").max().alias("last")
        )
        await store.put_accounts(tx, {row[0]: (row[1], row[2]) for row in spans.iter_rows()})


async def find(tx: Tx, actor: Actor, *, query: str = "", wanted: Filter = Filter()) -> Found:
    """Return the statement of the transactions that match a query and filters, to be bounded by a page.

    Args:
        tx: Any transaction.
        actor: Needs ``transaction:read``.
        query: Words that all must stand in description, counterparty, reference, note or tags; case and accents do not
            matter; ``offi*`` finds every word that begins so.
        wanted: Filters.

    Raises:
        Invalid: The query has more than 8 words, or no letter or digit.
    """
    actor.must("transaction:read")
    words = tuple(rules.asked_words(query))
    if query.strip() and not words:
        raise Invalid("A search needs a letter or a digit")
    return await store.found(tx, Filter(**{name: getattr(wanted, name) for name in _FILTERS} | {"words": words}))


_FILTERS = tuple(Filter.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class Whole:
    """A transaction with its parts, empty where it is not split."""

    row: sa.Row[Any]
    parts: Sequence[Part]


async def get(tx: Tx, actor: Actor, *, id_: UUID) -> Whole:
    """Return one transaction with its splits; refuse with :class:`NotFound` when it is not of this organisation."""
    actor.must("transaction:read")
    row = await store.one(tx, id_)
    if row is None:
        raise NotFound("transaction", str(id_))
    return Whole(row, (await store.splits(tx, [id_])).get(id_, []))


async def book_soon(tx: Tx) -> None:
    """Queue the booking of what the caller's transaction changes; see :mod:`bursar.parts.banking.posting`."""
    await jobs.enqueue(tx, BOOK, once="all", key=BOOK)


async def changing(tx: Tx) -> None:
    """Begin a change of transactions: no period is closed meanwhile, and the change is booked soon."""
    await store.lock(tx, shared=True, what="closing")
    await book_soon(tx)


async def changeable(tx: Tx, *, id_: UUID, version: int | None = None) -> sa.Row[Any]:
    """Lock a transaction that is about to change and return it.

    Raises:
        NotFound: There is none.
        PeriodClosed: It lies in a closed period.
        Stale: Its version is another.
    """
    await changing(tx)
    row = await store.one(tx, id_, change=True)
    if row is None:
        raise NotFound("transaction", str(id_))
    await must_be_open(tx, [row.booking_date])
    if version is not None and row.version != version:
        raise Stale
    return row


async def must_be_open(tx: Tx, days: Iterable[date]) -> None:
    """Refuse with :class:`PeriodClosed` when a transaction of one of some days of booking must not change any more."""
    until, first = await _closed_until(tx), min(days, default=date.max)
    if until and first < until:
        raise PeriodClosed(first, until)


async def _closed_until(tx: Tx) -> date | None:
    """Return the first open day: the one after the ledger's last closed day, which is the only place that says it."""
    through = await ledger.closed_through(tx)
    return through + timedelta(days=1) if through else None


async def annotate(
    tx: Tx,
    actor: Actor,
    *,
    id_: UUID,
    version: int,
    now: datetime,
    note: str | None = None,
    tags: Sequence[str] | None = None,
    department: str | None = None,
) -> None:
    """Set note, tags or department (those that are given) of a transaction.

    Raises:
        NotFound, PeriodClosed, Stale: See :func:`changeable`.
        Invalid: Something is too long or too many.
    """
    actor.must("transaction:write")
    row = await changeable(tx, id_=id_, version=version)
    values: dict[str, Any] = {}
    if note is not None:
        if len(note) > rules.NOTE_CHARS_MAX or "\x00" in note:
            raise Invalid(f"A note has at most {rules.NOTE_CHARS_MAX} characters")
        values["note"] = note
    if tags is not None:
        values["tags"] = rules.check_tags(tags)
    if department is not None:
        if department:
            rules.check_category(department)
        values["department"] = department
    if not values:
        return
    before = {name: getattr(row, name) for name in values}
    after_note, after_tags = values.get("note", row.note), values.get("tags", row.tags)
    texts = (row.description, row.label, row.reference, row.counterparty_account)
    old, new = rules.words_of(row.note, *row.tags), rules.words_of(after_note, *after_tags)
    kept = set(rules.words_of(*texts))
    await store.replace_words(
        tx,
        id_,
        row.booking_date,
        old=[one for one in old if one not in kept],
        new=[one for one in new if one not in kept],
    )
    await store.change(tx, id_, values)
    await audit.record(
        tx, actor, action="transaction.annotated", subject=f"transaction:{id_}", before=before, after=values, now=now
    )


async def split(tx: Tx, actor: Actor, *, id_: UUID, version: int, parts: Sequence[Part], now: datetime) -> None:
    """Split a transaction into parts that sum to it exactly; no parts remove the split.

    Raises:
        NotFound, PeriodClosed, Stale: See :func:`changeable`.
        Invalid: The parts do not make the whole.
    """
    actor.must("transaction:write")
    row = await changeable(tx, id_=id_, version=version)
    if parts:
        rules.check_split(store.amount_of(row), parts)
    before = (await store.splits(tx, [id_])).get(id_, [])
    await store.put_split(tx, id_, parts)
    await store.change(tx, id_, {})
    await audit.record(
        tx,
        actor,
        action="transaction.split",
        subject=f"transaction:{id_}",
        before=[_told(part) for part in before],
        after=[_told(part) for part in parts],
        now=now,
    )


def _told(part: Part) -> dict[str, str]:
    return {"amount": f"{part.amount.normalize():f}", "category": part.category, "department": part.department}


async def decided(tx: Tx, lines: pl.LazyFrame, since: date, *, schema: LineSchema) -> pl.LazyFrame | None:
    """Return lines from a day on with what was decided about them otherwise than their file says.

    Args:
        tx: Any transaction.
        lines: Of the lake.
        since: First day of booking.
        schema: Of the lines.

    Returns:
        The lines with columns ``said_category``, ``said_department`` (null where the file's own hold) and ``said_amount``
        (null unless it is split: then there is a line for each part). None when nothing was decided otherwise.
    """
    found = await store.decided(tx, schema.name, since=since)
    if not found:
        return None
    sign = -1 if schema is PAYMENT_LINES else 1  # payment lines count money out as positive
    said = pl.DataFrame(
        [
            (str(one.id), one.category, one.department, None if one.amount is None else sign * one.amount)
            for one in found
        ],
        schema={
            "_id": pl.String(),
            "said_category": pl.String(),
            "said_department": pl.String(),
            "said_amount": schema.columns["amount"],
        },
        orient="row",
    )

    def joined() -> pl.LazyFrame:
        day = pl.col(schema.day).cast(pl.Date)
        rows = rules.identified(lines.filter(day >= since), schema.name).collect()
        ids = pl.Series("_id", [str(one) for one in rules.ids_of(rows["_key"])], dtype=pl.String())
        return rows.with_columns(ids).join(said, on="_id", how="left").lazy()

    return await asyncio.to_thread(joined)


async def closed_until(tx: Tx, actor: Actor) -> date | None:
    """Return the day before which everything is closed; None when nothing is."""
    actor.must("transaction:read")
    return await _closed_until(tx)


async def close(tx: Tx, actor: Actor, *, until: date, now: datetime) -> int:
    """Close the books before ``until``; returns how many transactions in it nobody has decided on.

    Lines that are imported later into the closed period are marked ``late`` and stay as they come.

    Raises:
        Conflict: They are closed further already, or lines in it still wait to be booked.
    """
    actor.must("ledger:close")
    await store.lock(tx, shared=False, what="closing")
    if await store.waiting(tx, before=until):
        raise Conflict("Lines of that period are still being booked; try again in a moment")
    await ledger.close_books(tx, actor, through=until - timedelta(days=1), now=now)
    return await store.open_until(tx, until)


async def reopen(tx: Tx, actor: Actor, *, until: date, now: datetime) -> None:
    """Reopen everything booked from ``until`` on.

    Raises:
        Conflict: It is open already.
    """
    actor.must("ledger:reopen")
    await store.lock(tx, shared=False, what="closing")
    await ledger.reopen_books(tx, actor, after=until - timedelta(days=1), now=now)


async def accounts(tx: Tx, actor: Actor) -> Sequence[sa.Row[Any]]:
    """Return own accounts with their first and last day of booking."""
    actor.must("bank:read")
    return await store.accounts(tx)
