"""``bursar books``: bank lines booked into the ledger, its reports, closing a period."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from bursar.cli import running, showing
from bursar.cli.findings import json_option, org_option, printable
from bursar.cli.main import OK, THRESHOLD
from bursar.kernel.money import Money

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from bursar.core.ledger.rules.reports import Line
    from bursar.infra.db import Tx
    from bursar.kernel.actor import Actor
    from bursar.parts.banking.posting.service import Posted
    from bursar.wiring import House


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
@click.option("--again", is_flag=True, help="Also lines that were never booked, or were refused.")
@json_option
@org_option
def post(again: bool, as_json: bool, org: str | None) -> int:
    """Book bank lines that were imported, decided or split since; list what the ledger refuses."""
    from bursar import wiring
    from bursar.parts.banking.posting import service

    async def use(house: "House") -> "tuple[Posted, Sequence[Any]]":
        actor = await wiring.local_actor(house, org)
        if again:
            async with house.db.writing(actor) as tx:
                await service.again(tx, actor)
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


_on = click.option("--on", type=showing.DAY, default=None, help="At the end of this day; today by default.")
_known = click.option("--known-at", type=showing.INSTANT, default=None, help="Only what was recorded by this instant.")
_since = click.option("--since", type=showing.DAY, required=True, help="First day.")
_until = click.option("--until", type=showing.DAY, required=True, help="Last day.")


@books.command()
@_on
@_known
@json_option
@org_option
def trial(on: date | None, known_at: datetime | None, as_json: bool, org: str | None) -> int:
    """Show the trial balance."""
    from bursar.core.ledger.books import service

    found = _asked(org, lambda tx, actor: service.trial_balance(tx, actor, on=on, known_at=known_at))
    _told([line for line in found.lines if line.balance], {}, as_json=as_json)
    return OK


@books.command()
@_since
@_until
@json_option
@org_option
def income(since: date, until: date, as_json: bool, org: str | None) -> int:
    """Show income and expenses by category."""
    from bursar.core.ledger.books import service

    found = _asked(org, lambda tx, actor: service.income_statement(tx, actor, since=since, until=until))
    _told([line for section in found.sections for line in section.lines], found.earnings, as_json=as_json)
    return OK


@books.command()
@_on
@_known
@json_option
@org_option
def sheet(on: date | None, known_at: datetime | None, as_json: bool, org: str | None) -> int:
    """Show the balance sheet: assets, liabilities, equity; they balance with the earnings."""
    from bursar.core.ledger.books import service
    from bursar.infra.clock import utc_now

    day = on or utc_now().date()
    found = _asked(org, lambda tx, actor: service.balance_sheet(tx, actor, on=day, known_at=known_at))
    _told([line for section in found.sections for line in section.lines], found.earnings, as_json=as_json)
    return OK


@books.command()
@_since
@_until
@click.option("--cash", default="asset:bank", show_default=True, help="Beginning of the codes of the cash accounts.")
@json_option
@org_option
def flow(since: date, until: date, cash: str, as_json: bool, org: str | None) -> int:
    """Show where cash came from and went to."""
    from bursar.core.ledger.books import service

    found = _asked(org, lambda tx, actor: service.cash_flow(tx, actor, cash=cash, since=since, until=until))
    rows = [
        {"code": one.code, "kind": one.kind, "inflow": Money(one.inflow, one.currency), "outflow": Money(one.outflow, one.currency)}
        for one in found
    ]  # fmt: skip
    showing.show(rows, as_json=as_json, none="No cash moved.")
    return OK


@books.command()
@_since
@_until
@click.option("--tag", default="", help="By the value of this tag; by party when empty.")
@json_option
@org_option
def groups(since: date, until: date, tag: str, as_json: bool, org: str | None) -> int:
    """Show income and expenses by party or by tag."""
    from bursar.core.ledger.books import service
    from bursar.core.parties import service as parties

    async def ask(tx: "Tx", actor: "Actor") -> list[dict[str, Any]]:
        found = await service.groups(tx, actor, tag=tag, since=since, until=until)
        ids = [UUID(one.key) for one in found if one.key and not tag]
        names = {str(id_): name for id_, (_, name) in (await parties.current(tx, actor, parties=ids)).items()}
        return [
            {"key": one.key, "name": names.get(one.key or "", one.key or "(none)"), "kind": one.kind,
             "debits": Money(one.debits, one.currency), "credits": Money(one.credits, one.currency)}
            for one in found
        ]  # fmt: skip

    rows = _asked(org, ask)
    showing.show(rows if as_json else [row | {"key": row["key"] or ""} for row in rows], as_json=as_json)
    return OK


@books.command()
@click.argument("into")
@_on
@_known
@json_option
@org_option
def worth(into: str, on: date | None, known_at: datetime | None, as_json: bool, org: str | None) -> int:
    """Show what every balance is worth in the currency INTO, at the rates recorded (`bursar ledger rate`)."""
    from bursar.core.ledger.books import service
    from bursar.infra.clock import utc_now

    async def ask(tx: "Tx", actor: "Actor") -> dict[str, Any]:
        now = utc_now()
        found = await service.revalue(tx, actor, on=on or now.date(), into=into, known_at=known_at or now)
        lines = (await service.trial_balance(tx, actor, on=on or now.date(), known_at=known_at)).lines
        codes = {line.account: line.code for line in lines}
        rates = [f"1 {one.base} = {one.rate:f} {into} ({one.day}, {one.source})" for one in found.rates.values()]
        values = {codes[id_]: Money(minor, into) for id_, minor in found.worth.items()}
        return {"worth": values, "gain": Money(found.gain, into), "rates": rates, "missing": list(found.missing)}

    found = _asked(org, ask)
    if as_json:
        showing.show_one(found, as_json=True)
        return OK
    showing.show([{"code": code, "worth": money} for code, money in found["worth"].items()], as_json=False)
    showing.show_one(
        {"unrealised": found["gain"], "rates": found["rates"], "no rate for": found["missing"]}, as_json=False
    )
    return OK


@books.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--since", type=showing.DAY, default=None, help="First day.")
@click.option("--until", type=showing.DAY, default=None, help="Last day.")
@org_option
def export(file: Path, since: date | None, until: date | None, org: str | None) -> int:
    """Write every transfer that moved money to FILE: .beancount, .csv or .parquet."""
    from bursar.core.ledger.books import service
    from bursar.core.ledger.rules.exports import COLUMNS, cells
    from bursar.infra.web_exports import MEDIA, save

    form = file.suffix.removeprefix(".")
    if form not in {*MEDIA, "beancount"}:
        raise click.UsageError("FILE ends in .beancount, .csv or .parquet.")

    async def ask(tx: "Tx", actor: "Actor") -> None:
        days = {"since": since, "until": until}
        if form == "beancount":
            with file.open("w", encoding="utf-8", newline="") as written:
                async for piece in service.beancount(tx, actor, **days):
                    written.write(piece)
            return
        pages = ([cells(row) for row in page] async for page in service.transfers(tx, actor, **days))
        await save(file, COLUMNS, pages, form)

    _asked(org, ask)
    running.talk(f"The books are in {file}")
    return OK


def _told(lines: "Sequence[Line]", earnings: "Mapping[str, int]", *, as_json: bool) -> None:
    if as_json:
        running.print_json(
            [{"code": one.code, "kind": one.kind, "balance": _amount(one), "currency": one.currency} for one in lines]
        )
        return
    for one in lines:
        click.echo(f"{printable(one.code):<60.60} {_amount(one):>16,} {one.currency}")
    for currency, minor in sorted(earnings.items()):
        click.echo(f"{'earnings':<60} {Money(minor, currency).amount:>16,} {currency}")


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
@click.argument("through", type=showing.DAY, required=False)
@click.option("--reopen", is_flag=True, help="Open everything after THROUGH again.")
@json_option
@org_option
def close(through: date | None, reopen: bool, as_json: bool, org: str | None) -> int:
    """Close the books through a day, or open what comes after it again; both are in the audit trail.

    Without THROUGH it says how far they are closed.
    """
    from bursar.infra.clock import utc_now
    from bursar.parts.banking.transactions import service

    if reopen and not through:
        raise click.UsageError("--reopen needs the last day that stays closed.")

    async def ask(tx: "Tx", actor: "Actor") -> "tuple[date | None, int]":
        if not through:
            return await service.closed_until(tx, actor), 0
        until = through + timedelta(days=1)
        if reopen:
            await service.reopen(tx, actor, until=until, now=utc_now())
            return until, 0
        return until, await service.close(tx, actor, until=until, now=utc_now())

    asked = _asked if through and not reopen else running.in_org
    until, undecided = asked(org, ask, write=through is not None)
    text = f"Closed through {until - timedelta(days=1)}" if until else "Nothing is closed"
    text += f"; {undecided:,} lines in it nobody decided on." if undecided else "."
    running.tell(text, {"open_from": until, "undecided": undecided}, as_json=as_json)
    return OK
