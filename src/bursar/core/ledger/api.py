"""Accounts and transfers over HTTP."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import sqlalchemy as sa
from fastapi import Query
from pydantic import AwareDatetime, Field

from bursar.core.ledger import service
from bursar.core.ledger.gather.service import gathering_of
from bursar.core.ledger.rules.admit import Outcome
from bursar.core.ledger.rules.orders import (
    KEY_CHARS_MAX,
    MEMO_CHARS_MAX,
    TAGS_MAX,
    AccountClosed,
    Action,
    BooksClosed,
    Guard,
    KeyReused,
    LimitReached,
    LinkFailed,
    NoSuchAccount,
    NotOpen,
    Order,
    TooMuch,
    WrongCurrency,
)
from bursar.core.ledger.rules.reports import DEBIT_KINDS
from bursar.core.ledger.service import CODE_CHARS_MAX, NewAccount
from bursar.core.ledger.tables import account as account_table
from bursar.core.ledger.tables import transfer as transfer_table
from bursar.infra.clock import utc_now
from bursar.infra.traces import Tracer
from bursar.infra.web import As, Day, In, Listed, MoneyIn, Out, Page, TheDb, TracedOut, Traces, router
from bursar.kernel.money import Money
from bursar.kernel.trace import LedgerFigure

r = router("ledger", tag="Ledger", about="Accounts, immutable transfers between them, and the proof of both.")

ORDERS_MAX = 1_000
"""Transfers in one request."""

REFUSALS = (KeyReused, NoSuchAccount, WrongCurrency, AccountClosed, LimitReached, BooksClosed, NotOpen, TooMuch)

_Text = Annotated[str, Field(max_length=500)]


class AccountIn(In):
    """An account to open."""

    code: Annotated[
        str, Field(min_length=1, max_length=CODE_CHARS_MAX, description="Unique path, such as `asset:bank:DE89…`.")
    ]
    kind: Annotated[str, Field(pattern="^(asset|liability|equity|income|expense)$", description="What it counts.")]
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$", description="ISO 4217 code.")]
    name: Annotated[_Text, Field(description="What people call it; the code when empty.")] = ""
    guard: Annotated[Guard, Field(description="A limit that it never passes, holds counted.")] = Guard.NONE
    party: Annotated[UUID | None, Field(description="The party it belongs to.")] = None


class AccountOut(Out):
    """An account with its volumes."""

    id: UUID
    code: str
    name: str
    kind: str
    guard: str
    party: UUID | None
    opened_at: datetime
    closed_at: datetime | None
    balance: Annotated[
        TracedOut, Field(description="Debits less credits for assets and expenses, else credits less debits.")
    ]
    debits_posted: TracedOut
    credits_posted: TracedOut
    debits_pending: Annotated[TracedOut, Field(description="Held against its debits.")]
    credits_pending: Annotated[TracedOut, Field(description="Held against its credits.")]


class TransferIn(In):
    """A transfer to record; `settle`, `void` and `reverse` name an earlier one in `of`."""

    key: Annotated[
        str,
        Field(
            min_length=1,
            max_length=KEY_CHARS_MAX,
            description="Names this transfer for ever; sending it again changes nothing.",
        ),
    ]
    action: Annotated[Action, Field(description="What to do.")] = Action.POST
    debit: Annotated[UUID | None, Field(description="Account debited; not with `of`.")] = None
    credit: Annotated[UUID | None, Field(description="Account credited; not with `of`.")] = None
    amount: Annotated[
        MoneyIn | None, Field(description="Needed for a new transfer; with `of`, null means all that is left.")
    ] = None
    value_day: Annotated[Day, Field(description="The day it counts for; may lie in the past.")]
    due: Annotated[AwareDatetime | None, Field(description="When a hold lapses by itself.")] = None
    of: Annotated[UUID | None, Field(description="The earlier transfer.")] = None
    entry: Annotated[
        UUID | None, Field(description="Transfers next to each other with the same entry are recorded all or none.")
    ] = None
    party: Annotated[UUID | None, Field(description="The counterparty.")] = None
    memo: Annotated[str, Field(max_length=MEMO_CHARS_MAX, description="Free text.")] = ""
    tags: Annotated[
        Mapping[Annotated[str, Field(max_length=64)], _Text], Field(max_length=TAGS_MAX, description="Name to value.")
    ] = Field(default_factory=dict)

    def order(self) -> Order:
        """Translate for the service."""
        money = self.amount.money() if self.amount else None
        return Order(
            self.key, self.action, self.value_day, self.debit, self.credit, money.minor if money else 0, money.currency if money else "",
            self.due, self.of, self.entry, self.party, self.memo, dict(self.tags),
        )  # fmt: skip


class BatchIn(In):
    """Transfers to record in one transaction."""

    transfers: Annotated[
        list[TransferIn], Field(min_length=1, max_length=ORDERS_MAX, description="In the order they happen.")
    ]


class RecordedOut(Out):
    """What became of one transfer."""

    id: Annotated[UUID | None, Field(description="Its id; null when it was refused.")]
    new: Annotated[bool, Field(description="False when it was recorded before under the same key, or refused.")]
    refused: Annotated[str | None, Field(description="Code of the refusal.")] = None
    why: Annotated[str | None, Field(description="The refusal, for people.")] = None


class TransferOut(Out):
    """A recorded transfer."""

    id: UUID
    key: str
    kind: Annotated[
        str,
        Field(
            description="`post`, `settle` and `reverse` moved money; `hold` reserved it; `void` and `expire` let it go."
        ),
    ]
    debit: UUID
    credit: UUID
    amount: TracedOut
    value_day: date
    recorded_at: datetime
    due: datetime | None
    of: UUID | None
    entry: UUID | None
    party: UUID | None
    memo: str
    tags: dict[str, str]
    actor: Annotated[str, Field(description="Who asked for it.")]


def account_out(row: sa.Row[Any], traces: Tracer, now: datetime) -> AccountOut:
    """Translate an account for the wire; its tokens stand for the volumes as known ``now``."""

    def told(minor: int, side: str) -> TracedOut:
        figure = LedgerFigure(side, row.currency, row.id, known_at=now)
        return TracedOut.to(Money(minor, row.currency), traces.token(figure))

    net = row.debits_posted - row.credits_posted
    volumes = {name: told(getattr(row, name), name) for name in ("debits_pending", "credits_pending")}
    volumes |= {f"{side}_posted": told(getattr(row, f"{side}_posted"), side) for side in ("debits", "credits")}
    plain = {
        name: getattr(row, name) for name in ("id", "code", "name", "kind", "guard", "party", "opened_at", "closed_at")
    }
    balance = told(net if row.kind in DEBIT_KINDS else -net, "balance")
    return AccountOut(**plain, **volumes, balance=balance)


def transfer_out(row: sa.Row[Any], traces: Tracer) -> TransferOut:
    """Translate a transfer for the wire."""
    same = (
        "id",
        "key",
        "kind",
        "debit",
        "credit",
        "value_day",
        "recorded_at",
        "due",
        "of",
        "entry",
        "party",
        "memo",
        "actor",
    )
    plain = {name: getattr(row, name) for name in same}
    trace = traces.asked("transfer", "amount", row.currency, (("transfer", str(row.id)),))
    return TransferOut(**plain, amount=TracedOut.to(Money(row.amount, row.currency), trace), tags=row.tags or {})


def _recorded(outcome: Outcome) -> RecordedOut:
    no = outcome.refusal
    return RecordedOut(id=outcome.id, new=outcome.new, refused=no.code if no else None, why=str(no) if no else None)


@r.post("/v1/ledger/accounts", right="ledger:write", status_code=201)
async def open_account(body: AccountIn, db: TheDb, actor: As, traces: Traces) -> AccountOut:
    """Open an account; one that exists with the same kind, currency and guard is left as it is."""
    new = NewAccount(body.code, body.kind, body.currency, body.name, body.guard, body.party)
    async with db.writing(actor) as tx:
        ids = await service.open_accounts(tx, actor, accounts=[new], now=utc_now())
        row = await service.get_account(tx, actor, account=ids[body.code])
    return account_out(row, traces, utc_now())


@r.get("/v1/ledger/accounts", right="ledger:read")
async def list_accounts(db: TheDb, actor: As, page: Page, traces: Traces) -> Listed[AccountOut]:
    """List the accounts by code."""
    async with db.reading(actor) as tx:
        rows = await tx.all(page.of(service.account_listing(tx, actor), account_table.c.code, newest_first=False))
    now = utc_now()
    return page.listed(rows, key=lambda row: (row.code,), out=lambda row: account_out(row, traces, now))


@r.get("/v1/ledger/accounts/{id}", right="ledger:read")
async def get_account(id: UUID, db: TheDb, actor: As, traces: Traces) -> AccountOut:  # noqa: A002  the path's word
    """Show one account with its volumes."""
    async with db.reading(actor) as tx:
        return account_out(await service.get_account(tx, actor, account=id), traces, utc_now())


@r.post("/v1/ledger/accounts/{id}/close", right="ledger:write", status_code=204)
async def close_account(id: UUID, db: TheDb, actor: As) -> None:  # noqa: A002  the path's word
    """Close an empty account."""
    async with db.writing(actor) as tx:
        await service.close_account(tx, actor, account=id, now=utc_now())


@r.post("/v1/ledger/transfers", right="ledger:write", status_code=201, refusals=REFUSALS)
async def record_transfer(body: TransferIn, db: TheDb, actor: As) -> RecordedOut:
    """Record one transfer; transfers sent at the same time share a transaction, and a refused one fails alone."""
    return _recorded(await gathering_of(db).record(actor, order=body.order(), now=utc_now()))


@r.post("/v1/ledger/transfers/batch", right="ledger:write", status_code=200, refusals=[LinkFailed])
async def record_batch(body: BatchIn, db: TheDb, actor: As) -> list[RecordedOut]:
    """Record up to 1,000 transfers in one transaction; each answer says what became of the transfer in its place."""
    orders = [one.order() for one in body.transfers]
    async with db.writing(actor) as tx:
        outcomes = await service.transfer(tx, actor, orders=orders, now=utc_now())
    return [_recorded(outcome) for outcome in outcomes]


@r.get("/v1/ledger/transfers", right="ledger:read")
async def list_transfers(
    db: TheDb,
    actor: As,
    page: Page,
    traces: Traces,
    account: Annotated[UUID | None, Query(description="Only those of this account.")] = None,
) -> Listed[TransferOut]:
    """List transfers, the newest first."""
    async with db.reading(actor) as tx:
        rows = await tx.all(page.of(service.transfer_listing(tx, actor, of_account=account), transfer_table.c.id))
    return page.listed(rows, key=lambda row: (row.id,), out=lambda row: transfer_out(row, traces))


@r.get("/v1/ledger/transfers/{id}", right="ledger:read")
async def get_transfer(id: UUID, db: TheDb, actor: As, traces: Traces) -> TransferOut:  # noqa: A002  the path's word
    """Show one transfer."""
    async with db.reading(actor) as tx:
        return transfer_out(await service.get_transfer(tx, actor, transfer=id), traces)


class RateIn(In):
    """An exchange rate."""

    base: Annotated[str, Field(pattern="^[A-Z]{3}$", description="One of this …")]
    quote: Annotated[str, Field(pattern="^[A-Z]{3}$", description="… costs `rate` of this.")]
    day: Day
    rate: Annotated[str, Field(pattern=r"^[0-9]{1,12}(\.[0-9]{1,15})?$", description="Decimal text.")]
    source: Annotated[str, Field(min_length=1, max_length=100, description="Who says so.")]


@r.post("/v1/ledger/rates", right="ledger:write", status_code=204)
async def add_rate(body: RateIn, db: TheDb, actor: As) -> None:
    """Record an exchange rate; the last one recorded for a day counts."""
    async with db.writing(actor) as tx:
        fact = (body.base, body.quote, body.day, Decimal(body.rate))
        await service.add_rates(tx, actor, rates=[fact], source=body.source, now=utc_now())


class FaultOut(Out):
    """Something that does not hold."""

    what: str
    where: str


@r.get("/v1/ledger/proof", right="ledger:read")
async def prove_books(db: TheDb, actor: As) -> list[FaultOut]:
    """Prove the books again from the transfers: volumes, zero sums, remainders and the hash chain; empty means proven."""
    async with db.reading(actor) as tx:
        return [FaultOut(what=fault.what, where=fault.where) for fault in await service.prove(tx, actor)]
