"""``bursar anomalies``: how much you want to hear about changes of cost, and what you say about an alert."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from bursar.cli import running, showing
from bursar.cli.findings import json_option, org_option
from bursar.cli.main import OK

if TYPE_CHECKING:
    from bursar.infra.db import Tx
    from bursar.kernel.actor import Actor


@click.group()
def anomalies() -> None:
    """Alerts on cost; `bursar findings --kind planning.` lists them."""


@anomalies.command()
@click.option("--false-alerts", type=float, default=None, help="False alerts allowed in 100 series and 30 days.")
@click.option("--money", default=None, metavar="AMOUNT", help="Smallest impact told.")
@click.option("--percent", type=float, default=None, help="Smallest impact told, in % of what was expected.")
@click.option("--currency", default=None, metavar="CODE", help="Of that amount; '' for any of about a euro's size.")
@json_option
@org_option
def policy(
    false_alerts: float | None,
    money: str | None,
    percent: float | None,
    currency: str | None,
    as_json: bool,
    org: str | None,
) -> int:
    """Show alert budget and floors, or state them; the next scan keeps to them.

    \b
    bursar anomalies policy --false-alerts 5 --money 100 --currency EUR --percent 10
    """  # noqa: D301  click's mark for text that is not re-wrapped
    from bursar.core.planning.policy import service
    from bursar.infra.clock import utc_now

    stated: dict[str, Any] = {
        "false_alerts": false_alerts,
        "money_floor": None if money is None else showing.amount(money),
        "percent_floor": None if percent is None else percent / 100,
    }
    stated = {name: value for name, value in stated.items() if value is not None}
    if currency is not None:
        stated["currency"] = currency.upper() or None

    async def ask(tx: "Tx", actor: "Actor") -> service.Policy:
        kept = await service.get(tx, actor)
        return await service.put(tx, actor, wanted=replace(kept, **stated), now=utc_now()) if stated else kept

    found = running.in_org(org, ask, write=bool(stated))
    showing.show_one(service.facts(found), as_json=as_json)
    return OK


@anomalies.command()
@click.argument("name")
@click.argument("verdict", type=click.Choice(["real", "expected", "noise"]))
@click.option("--because", default="", help="What you know about it.")
@json_option
@org_option
def judge(name: str, verdict: str, because: str, as_json: bool, org: str | None) -> int:
    """Say whether the alert NAME (such as F4) was real, expected or noise; the next scan learns from it."""
    from bursar.cli.review import finding_dict
    from bursar.core.planning import service
    from bursar.infra.clock import utc_now

    kept = running.in_org(
        org,
        lambda tx, actor: service.judge(tx, actor, name=name, verdict=verdict, because=because, now=utc_now()),
        write=True,
    )
    running.tell(f"{kept.name} is {kept.state.value}: {kept.finding.title}", finding_dict(kept), as_json=as_json)
    return OK
