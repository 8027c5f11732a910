"""``bursar books``: bank lines booked into the ledger, its reports, closing a period."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from bursar.cli import running
from bursar.cli.findings import json_option, org_option, printable
from bursar.cli.main import OK, THRESHOLD
from bursar.kernel.money import Money

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from bursar.core.ledger.rules.reports import Line, Section
    from bursar.infra.db import Tx
    from bursar.kernel.actor import Actor
    from bursar.parts.banking.posting.service import Posted
    from bursar.wiring import House

_DAY = click.DateTime(["%Y-%m-%d"])


@click.group()
def books() -> None:
    """The ledger of your bank lines: booked first, then reported; nothing is booked twice."""


async def _booked(house: "House", actor: "Actor") -> "Posted":
    """Do what the jobs after an import do, for whoever runs no worker."""
    from bursar.infra.clock import utc_now
    from bursar.parts.banking.posting import service
    from bursar.parts.banking.transactions import service as transactions

    async with house.db.writing(actor) as tx:
        await transactions.derive(tx, actor, lake=house.lake, now=utc_now())
    done = service.Posted()
    while True:
        async with house.db.writing(actor) as tx:
            step = await service.post(tx, actor, now=utc_now())
        if not step.looked:
            break
        done += step
    async with house.db.writing(actor) as tx:
        await service.settle(tx, actor, now=utc_now())
    return done


def _asked(org: str | None, ask: "Callable[[Tx, Actor], Awaitable[Any]]", *, write: bool = False) -> Any:
    """Book what waits, then ask in one transaction."""
    from bursar import wiring

    async def use(house: "House") -> Any:
        actor = await wiring.local_actor(house, org)
        await _booked(house, actor)
        async with (house.db.writing if write else house.db.reading)(actor) as tx:
            return await ask(tx, actor)

    return running.in_house(use)


@books.command()
@json_option
@org_option
def post(as_json: bool, org: str | None) -> int:
    """Book bank lines that were imported, decided or split since; list what the ledger refuses."""
    from bursar import wiring
    from bursar.parts.banking.posting import service

    async def use(house: "House") -> "tuple[Posted, Sequence[Any]]":
        actor = await wiring.local_actor(house, org)
        done = await _booked(house, actor)
        async with house.db.reading(actor) as tx:
            return done, await service.refused(tx, actor)

    done, refused = running.in_house(use)
    if as_json:
        rows = [{"id": row.id, "day": row.booking_date, "amount": row.amount, "why": row.refusal} for row in refused]
        running.print_json({"booked": done.booked, "reversed": done.reversed, "refused": rows})
        return OK
    click.echo(f"{done.booked:,} transfers booked, {done.reversed:,} reversed, {len(refused):,} lines refused.")
    for row in refused:
        click.echo(
            f"{row.booking_date}  {row.amount:>14,.2f} {row.currency}  {printable(row.label):<40.40}  {row.refusal}"
        )
    return OK


@books.command()
@click.option("--on", type=_DAY, default=None, help="At the end of this day; today by default.")
@json_option
@org_option
def trial(on: datetime | None, as_json: bool, org: str | None) -> int:
    """Show the trial balance."""
    from bursar.core.ledger.books import service

    found = _asked(org, lambda tx, actor: service.trial_balance(tx, actor, on=on.date() if on else None))
    _told([line for line in found.lines if line.balance], as_json=as_json)
    return OK


@books.command()
@click.option("--since", type=_DAY, required=True, help="First day.")
@click.option("--until", type=_DAY, required=True, help="Last day.")
@json_option
@org_option
def income(since: datetime, until: datetime, as_json: bool, org: str | None) -> int:
    """Show income and expenses by category."""
    from bursar.core.ledger.books import service

    days = {"since": since.date(), "until": until.date()}
    found = _asked(org, lambda tx, actor: service.income_statement(tx, actor, **days))
    sections: Sequence[Section] = found.sections
    _told([line for section in sections for line in section.lines], as_json=as_json)
    if not as_json:
        for currency, minor in sorted(found.earnings.items()):
            click.echo(f"{'earnings':<60} {Money(minor, currency).amount:>16,} {currency}")
    return OK


def _told(lines: "Sequence[Line]", *, as_json: bool) -> None:
    if as_json:
        running.print_json(
            [{"code": one.code, "kind": one.kind, "balance": _amount(one), "currency": one.currency} for one in lines]
        )
        return
    for one in lines:
        click.echo(f"{printable(one.code):<60.60} {_amount(one):>16,} {one.currency}")


def _amount(line: "Line") -> Decimal:
    return Money(line.balance, line.currency).amount


@books.command()
@json_option
@org_option
def ties(as_json: bool, org: str | None) -> int:
    """Compare each statement's closing balance with the books; exits 3 when one does not tie."""
    from bursar.parts.banking.posting import service

    found = _asked(org, service.reconcile)
    if as_json:
        running.print_json(
            [
                {"account": one.stated.account, "day": one.stated.closing_day, "file": one.stated.file,
                 "currency": one.stated.currency, "stated": Money(one.closing, one.stated.currency).amount,
                 "off": Money(one.off, one.stated.currency).amount}
                for one in found
            ]
        )  # fmt: skip
    else:
        for one in found:
            off = "ties" if not one.off else f"off by {Money(one.off, one.stated.currency)}"
            click.echo(
                f"{one.stated.closing_day}  {printable(one.stated.account):<34.34}  {off}  {printable(one.stated.file)}"
            )
        if not found:
            running.talk("No statement states a closing balance.")
    return THRESHOLD if any(one.off for one in found) else OK


@books.command()
@click.argument("through", type=_DAY)
@click.option("--reopen", is_flag=True, help="Open everything after THROUGH again.")
@org_option
def close(through: datetime, reopen: bool, org: str | None) -> int:
    """Close the books through a day, or open what comes after it again; both are in the audit trail."""
    from bursar.infra.clock import utc_now
    from bursar.parts.banking.transactions import service

    until: date = through.date() + timedelta(days=1)

    async def ask(tx: "Tx", actor: "Actor") -> int:
        if reopen:
            await service.reopen(tx, actor, until=until, now=utc_now())
            return 0
        return await service.close(tx, actor, until=until, now=utc_now())

    undecided = _asked(org, ask, write=True)
    click.echo(
        f"Open from {until} on."
        if reopen
        else f"Closed through {through.date()}; {undecided:,} lines in it nobody decided on."
    )
    return OK
