"""``bursar budgets``: what may be spent, what was, and what is expected by the end."""

from datetime import date
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from bursar.cli import running, showing
from bursar.cli.findings import json_option, org_option
from bursar.cli.main import OK, THRESHOLD

if TYPE_CHECKING:
    from bursar.core.planning.budgets.service import Budget, Status
    from bursar.infra.db import Tx
    from bursar.kernel.actor import Actor
    from bursar.wiring import House

_id = click.argument("id_", metavar="ID", type=click.UUID)


@click.group()
def budgets() -> None:
    """Budgets over costs, payments or bank lines; who is to be told of them is told once for each threshold."""


def _facts(one: "Budget") -> dict[str, Any]:
    names = ("id", "name", "source", "amount", "year_begins", "start")
    plain = {name: getattr(one, name) for name in names} | {"cadence": one.cadence.value}
    more = {"filter": {name: list(values) for name, values in one.filter.items()}, "tell": list(one.tell)}
    return plain | {"roll_over": one.roll_over.value} | more


@budgets.command("list")
@json_option
@org_option
def list_(as_json: bool, org: str | None) -> int:
    """List the budgets by name."""
    from bursar.core.planning.budgets import service

    showing.show([_facts(one) for one in running.in_org(org, service.listed)], as_json=as_json, none="No budgets yet.")
    return OK


@budgets.command("set")
@click.argument("name")
@click.argument("amount", nargs=2, metavar="AMOUNT CUR")
@click.option("--id", "id_", type=click.UUID, default=None, help="Replace this budget.")
@click.option("--source", type=click.Choice(["cost", "payment", "bank"]), default="cost", show_default=True, help="What counts.")  # fmt: skip
@click.option("--where", multiple=True, metavar="DIMENSION=VALUE", help="Only this value of a dimension; repeat it.")
@click.option("--cadence", type=click.Choice(["month", "quarter", "year"]), default="month", show_default=True, help="How long a period is.")  # fmt: skip
@click.option("--roll-over", type=click.Choice(["none", "unspent", "both"]), default="none", show_default=True, help="What the next period takes over.")  # fmt: skip
@click.option("--year-begins", type=click.IntRange(1, 12), default=1, show_default=True, help="Month in which years and quarters begin.")  # fmt: skip
@click.option("--start", type=showing.DAY, required=True, help="First day.")
@click.option("--tell", multiple=True, metavar="ADDRESS", help="Mail address that is told; repeat it.")
@json_option
@org_option
def set_(
    name: str, amount: tuple[str, str], id_: UUID | None, source: str, where: tuple[str, ...], cadence: str, roll_over: str,
    year_begins: int, start: date, tell: tuple[str, ...], as_json: bool, org: str | None,
) -> int:  # fmt: skip
    """Make the budget NAME of AMOUNT a period.

    \b
    bursar budgets set "Cloud, production" 5000 EUR --where provider=aws --start 2026-01-01
    """  # noqa: D301  click's mark for text that is not re-wrapped
    from bursar.core.planning.budgets import service
    from bursar.infra.clock import utc_now

    chosen: dict[str, list[str]] = {}
    for dimension, value in showing.pairs(where):
        chosen.setdefault(dimension, []).append(value)
    wanted = service.Wanted(
        name,
        source,
        chosen,
        showing.money(amount),
        service.Cadence(cadence),
        service.RollOver(roll_over),
        start,
        tell,
        year_begins,
    )

    async def ask(tx: "Tx", actor: "Actor") -> "Budget":
        if id_ is None:
            return await service.create(tx, actor, wanted=wanted, now=utc_now())
        return await service.change(tx, actor, id_=id_, wanted=wanted, seen=lambda _: None, now=utc_now())

    showing.show_one(_facts(running.in_org(org, ask, write=True)), as_json=as_json)
    return OK


@budgets.command()
@click.option("--day", type=showing.DAY, default=None, help="A day of the period; today by default.")
@json_option
@org_option
def status(day: date | None, as_json: bool, org: str | None) -> int:
    """Show where every budget stands; exits 3 when one is overspent or expected to be."""
    from bursar import wiring
    from bursar.core.planning.budgets import service
    from bursar.infra.clock import utc_now

    async def use(house: "House") -> "list[Status]":
        actor = await wiring.local_actor(house, org)
        async with house.db.reading(actor) as tx:
            return await service.statuses(tx, actor, lake=house.lake, now=utc_now(), day=day, paid=wiring.PAID)

    found = running.in_house(use)
    showing.show([_standing(one) for one in found], as_json=as_json, none="No budgets yet.")
    over = {service.Threshold.OVER, service.Threshold.FORECAST}
    return THRESHOLD if any(over & set(one.crossed) for one in found) else OK


def _standing(one: "Status") -> dict[str, Any]:
    names = ("allowed", "actual", "committed", "expected", "low80", "high80")
    return (
        {"name": one.budget.name, "until": one.period.end}
        | {name: getattr(one, name) for name in names}
        | {"crossed": [each.value for each in one.crossed], "notes": list(one.notes)}
    )


@budgets.command("what-if")
@_id
@click.option("--series", required=True, metavar="ID", help="What changes, as `bursar forecast --key` names it.")
@click.option("--price", default="0", metavar="SHARE", help="0.1 is 10 % dearer.")
@click.option("--volume", default="0", metavar="SHARE", help="Seats, hours, gigabytes: 0.1 is 10 % more.")
@click.option("--growth", default="0", metavar="SHARE", help="0.1 is 10 % more each month, compounding.")
@click.option("--since", type=showing.DAY, default=None, help="First day of the change; by default the first forecast.")
@json_option
@org_option
def what_if(
    id_: UUID, series: str, price: str, volume: str, growth: str, since: date | None, as_json: bool, org: str | None
) -> int:
    """Show where the budget ID stands, and where it would stand if a series changed; nothing is stored."""
    from bursar import wiring
    from bursar.core.planning.budgets import service
    from bursar.core.planning.forecasts.service import Drivers
    from bursar.infra.clock import utc_now

    drivers = Drivers(showing.amount(price), showing.amount(volume), showing.amount(growth), since)
    change = service.Change(series, drivers)

    async def use(house: "House") -> "tuple[Status, Status]":
        actor = await wiring.local_actor(house, org)
        async with house.db.reading(actor) as tx:
            return await service.what_if(
                tx, actor, id_=id_, change=change, lake=house.lake, now=utc_now(), paid=wiring.PAID
            )

    before, after = running.in_house(use)
    showing.show([{"when": when} | _standing(one) for when, one in (("now", before), ("then", after))], as_json=as_json)
    return OK


@budgets.command()
@_id
@json_option
@org_option
def alerts(id_: UUID, as_json: bool, org: str | None) -> int:
    """List what was told about the budget ID and to whom, the newest first."""
    from bursar.core.planning.budgets import service
    from bursar.kernel.money import Money

    async def ask(tx: "Tx", actor: "Actor") -> list[dict[str, Any]]:
        currency = (await service.get(tx, actor, id_=id_)).amount.currency
        return [
            {"start": row.start_day, "threshold": row.threshold, "amount": Money(row.amount, currency),
             "allowed": Money(row.allowed, currency), "told": row.told, "told_at": row.told_at}
            for row in await service.alerts(tx, actor, id_=id_)
        ]  # fmt: skip

    showing.show(running.in_org(org, ask), as_json=as_json, none="Nobody was told anything.")
    return OK


@budgets.command()
@_id
@json_option
@org_option
def remove(id_: UUID, as_json: bool, org: str | None) -> int:
    """Delete the budget ID with what was told about it."""
    from bursar.core.planning.budgets import service
    from bursar.infra.clock import utc_now

    running.in_org(
        org, lambda tx, actor: service.remove(tx, actor, id_=id_, seen=lambda _: None, now=utc_now()), write=True
    )
    running.tell("Deleted.", {"deleted": id_}, as_json=as_json)
    return OK
