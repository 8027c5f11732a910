"""The books of bank lines over HTTP: book what waits, what was refused, balances, the reconciliation."""

from datetime import date
from typing import Annotated
from uuid import UUID

from fastapi import Query
from pydantic import Field

from bursar.infra.clock import utc_now
from bursar.infra.web import As, Out, TheDb, TracedOut, Traces, router
from bursar.kernel.money import Money
from bursar.kernel.trace import LedgerFigure, TransactionFigure
from bursar.parts.banking.posting import service
from bursar.parts.banking.posting.service import Posted

PASSES_MAX = 20
"""Passes of 2,000 lines in one request; the job books what is left."""


class PostedOut(Out):
    """What was booked."""

    looked: Annotated[int, Field(description="Transactions looked at.")]
    booked: Annotated[int, Field(description="Transfers booked.")]
    reversed: Annotated[int, Field(description="Transfers reversed, because something else stands for the line now.")]
    refused: Annotated[int, Field(description="Transactions that the ledger refused.")]
    openings: Annotated[int, Field(description="Opening balances booked or changed.")]
    waits: Annotated[bool, Field(description="Whether more lines wait; the job books them.")]


class RefusedOut(Out):
    """A line that the ledger refused, with the reason."""

    transaction: UUID
    account: str
    day: date
    amount: TracedOut
    label: str
    why: str


class UnpostedOut(Out):
    """What is not in the books."""

    waits: Annotated[bool, Field(description="Whether lines wait to be booked.")]
    refused: list[RefusedOut]


class TieOut(Out):
    """A statement's closing balance beside the books at the end of that day."""

    account: str
    day: date
    file: str
    stated: TracedOut
    booked: TracedOut
    off: Annotated[TracedOut, Field(description="What the statement states beyond the books.")]
    ties: bool


class BalanceOut(Out):
    """An own account in the books."""

    account: str
    ledger_account: UUID
    balance: TracedOut
    since: Annotated[date, Field(description="Its first day in the books.")]
    until: Annotated[date, Field(description="The last day that changed it.")]


class PlacedOut(Out):
    """A transfer that stands for a transaction or a part of its split."""

    place: Annotated[int, Field(description="0 for the whole, from 1 for the parts.")]
    transfer: UUID


r = router(
    "postings", tag="Books of bank lines", about="Bank lines as ledger transfers, tied to what statements state."
)


@r.post("/v1/bank/postings", right="ledger:write")
async def post_lines(
    db: TheDb,
    actor: As,
    again: Annotated[bool, Query(description="Also lines that were never booked, or were refused.")] = False,
) -> PostedOut:
    """Book bank lines that were added or changed; doing it twice changes nothing."""
    done = Posted()
    if again:
        async with db.writing(actor) as tx:
            await service.again(tx, actor)
    for _ in range(PASSES_MAX):
        async with db.writing(actor) as tx:
            step = await service.post(tx, actor, now=utc_now())
        done += step
        if not step.looked:
            break
    async with db.writing(actor) as tx:
        openings = await service.settle(tx, actor, now=utc_now())
        waits = await service.waits(tx, actor)
    return PostedOut(
        looked=done.looked, booked=done.booked, reversed=done.reversed, refused=done.refused, openings=openings, waits=waits
    )  # fmt: skip


@r.get("/v1/bank/postings", right="bank:read")
async def list_unposted(db: TheDb, actor: As, traces: Traces) -> UnpostedOut:
    """List up to 1,000 lines that the ledger refused, and tell whether others wait."""
    async with db.reading(actor) as tx:
        waits, rows = await service.waits(tx, actor), await service.refused(tx, actor)
    return UnpostedOut(
        waits=waits,
        refused=[
            RefusedOut(
                transaction=row.id, account=row.account, day=row.booking_date,
                amount=TracedOut.exactly(row.amount, row.currency, traces.token(TransactionFigure(row.id))),
                label=row.label, why=row.refusal,
            )
            for row in rows
        ],
    )  # fmt: skip


@r.get("/v1/bank/reconciliation", right="bank:read")
async def reconcile(db: TheDb, actor: As, traces: Traces) -> list[TieOut]:
    """Compare the closing balance of every imported statement with the books at the end of its day."""
    async with db.reading(actor) as tx:
        ties = await service.reconcile(tx, actor)

    def told(tie: service.Tie, part: str) -> TracedOut:
        one = tie.stated
        facts = (("account", one.account), ("day", f"{one.closing_day}"), ("file", one.file))
        minor = {"stated": tie.closing, "booked": tie.booked, "off": tie.off}[part]
        return TracedOut.to(Money(minor, one.currency), traces.asked("tie", part, one.currency, facts))

    return [
        TieOut(
            account=tie.stated.account, day=tie.stated.closing_day, file=tie.stated.file,
            stated=told(tie, "stated"), booked=told(tie, "booked"), off=told(tie, "off"), ties=tie.off == 0,
        )
        for tie in ties
    ]  # fmt: skip


@r.get("/v1/bank/balances", right="bank:read")
async def list_balances(db: TheDb, actor: As, traces: Traces) -> list[BalanceOut]:
    """List own accounts with what the books say is on them."""
    async with db.reading(actor) as tx:
        found = await service.balances(tx, actor)

    def told(one: service.Standing) -> TracedOut:
        figure = LedgerFigure("balance", one.currency, one.ledger_account, until=one.path.days[-1])
        return TracedOut.to(Money(one.path.balances[-1], one.currency), traces.token(figure))

    return [
        BalanceOut(
            account=one.account, ledger_account=one.ledger_account, balance=told(one),
            since=one.path.days[0], until=one.path.days[-1],
        )
        for one in found
    ]  # fmt: skip


@r.get("/v1/transactions/{id}/transfers", right="transaction:read")
async def list_transfers_of_transaction(id: UUID, db: TheDb, actor: As) -> list[PlacedOut]:  # noqa: A002  the path's word
    """List the ledger transfers that stand for a transaction now."""
    async with db.reading(actor) as tx:
        found = await service.transfers_of(tx, actor, transaction=id)
    return [PlacedOut(place=place, transfer=transfer) for place, transfer in found]
