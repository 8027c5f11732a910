"""Cash on the command line: what is there, what comes and goes, and the next thirteen weeks."""

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from bursar.cli import running, showing
from bursar.cli.banking import _plain
from bursar.cli.findings import json_option, org_option
from bursar.cli.main import OK

if TYPE_CHECKING:
    from bursar.parts.banking.cash.rules.views import Outlook
    from bursar.parts.banking.rules.recurring import Recurring
    from bursar.wiring import House

RECURRING_SHOWN = 15


@click.command()
@click.option("--account", default="", help="Only this account.")
@click.option("--least", default=None, metavar="AMOUNT CUR", nargs=2, help="Set the least balance of --account.")
@click.option(
    "--no-least", default="", metavar="CUR", help="Take the least balance of --account in this currency back."
)
@json_option
@org_option
def cash(account: str, least: tuple[str, str] | None, no_least: str, as_json: bool, org: str | None) -> int:
    """Show balances, recurring payments, runway and the balance of the next thirteen weeks.

    \b
    bursar cash                                        totals, then accounts
    bursar cash --account DE89… --least 5000 EUR       warn when it will fall below
    """  # noqa: D301  click's mark for text that is not re-wrapped
    from bursar import wiring
    from bursar.infra.clock import utc_now
    from bursar.parts.banking.cash import service

    if (least or no_least) and not account:
        raise click.UsageError("--least and --no-least belong to --account.")
    set_to = (showing.amount(least[0]), least[1]) if least else (None, no_least) if no_least else None

    async def use(house: "House") -> "tuple[list[Outlook], list[Recurring]]":
        actor = await wiring.local_actor(house, org)
        if set_to:
            amount, currency = set_to
            async with house.db.writing(actor) as tx:
                await service.set_least(tx, actor, account=account, currency=currency, least=amount, now=utc_now())
        async with house.db.reading(actor) as tx:
            found = await service.outlook(tx, actor, lake=house.lake)
            again = await service.recurring_payments(tx, actor, lake=house.lake)
        mine = [one for one in found if account in ("", one.account)]
        return mine, [one for one in again if account in ("", one.account)]

    found, again = running.in_house(use)
    if as_json:
        running.print_json({"outlook": [_facts(one) for one in found], "recurring": [_series(one) for one in again]})
        return OK
    if not found:
        running.talk("There is no bank statement yet, or none of that account: `bursar review FOLDER`.")
    for one in found:
        _show(one)
    for payment in again[:RECURRING_SHOWN]:
        click.echo(_line(payment))
    return OK


def _show(one: "Outlook") -> None:
    name = _plain(one.account) or f"All accounts in {one.currency}"
    balance = f"{one.balance:,.2f} {one.currency}" if one.known else f"unknown balance ({one.currency})"
    runway = f", runway {one.runway_days} days" if one.runway_days is not None else ""
    click.echo(f"{name}: {balance} on {one.on}{runway}")
    if one.low and one.known:
        until = f"to {one.low.latest}" if one.low.latest else "or later"
        click.echo(f"    below {one.limit:,.2f} about {one.low.day} (80 %: {one.low.earliest} {until})")
    if one.account and not one.low:
        return
    for week in one.weeks:
        moved = week.recurring_in + week.recurring_out + week.committed
        click.echo(
            f"    {week.start}  expected {moved:>14,.2f}  rest {week.rest:>14,.2f}  balance {week.balance:>14,.2f}"
            f"  80 %: {week.lower80:,.2f} to {week.upper80:,.2f}"
        )


def _line(one: "Recurring") -> str:
    from bursar.parts.banking.cash.rules import paths

    return f"{paths.next_day(one)}  {paths.usual_amount(one):>14,.2f} {one.currency}  {one.cadence:<12} {_plain(one.label)}"


def _facts(one: "Outlook") -> dict[str, Any]:
    names = (
        "account",
        "currency",
        "balance",
        "known",
        "on",
        "limit",
        "runway_days",
        "runway_days_min",
        "model",
        "tried",
    )
    low = one.low and {"day": one.low.day, "earliest": one.low.earliest, "latest": one.low.latest}
    weeks = [
        {
            "start": week.start,
            **{name: getattr(week, name) for name in ("recurring_in", "recurring_out", "committed")},
            **{
                name: _cents(getattr(week, name))
                for name in ("rest", "balance", "lower80", "upper80", "lower95", "upper95")
            },
        }
        for week in one.weeks
    ]
    return {name: getattr(one, name) for name in names} | {"low": low, "weeks": weeks}


def _cents(amount: float) -> str:
    return f"{Decimal(str(amount)):.2f}"


def _series(one: "Recurring") -> dict[str, Any]:
    from bursar.parts.banking.cash.rules import paths

    return {
        "account": one.account,
        "label": one.label,
        "cadence": one.cadence,
        "next_day": paths.next_day(one),
        "usual": paths.usual_amount(one),
        "currency": one.currency,
    }
