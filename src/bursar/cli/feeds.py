"""``bursar bank``: connections to bank data services, their links, pulls and second factors."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import click

from bursar.cli import running
from bursar.cli.findings import json_option, org_option, printable
from bursar.cli.main import FAILED, OK

if TYPE_CHECKING:
    from bursar.kernel.actor import Actor
    from bursar.parts.banking.connections.service import Feeds
    from bursar.wiring import House

T = TypeVar("T")
_DAY = click.DateTime(["%Y-%m-%d"])
_connection = click.argument("connection", type=click.UUID)


@click.group()
def bank() -> None:
    """Banks through a data service (`BURSAR_BANK_FEEDS`); statement files need none: `bursar import`."""


def _using(org: str | None, ask: "Callable[[House, Actor, Feeds], Awaitable[T]]") -> T:
    from bursar import wiring
    from bursar.wiring import tools

    async def use(house: "House") -> T:
        actor, given = await wiring.local_actor(house, org), tools.tools(house)
        try:
            return await ask(house, actor, given.feeds)
        finally:
            await given.notices.client.close()

    return running.in_house(use)


@bank.command()
@click.argument("provider")
@click.option("--name", required=True, help="What you call it.")
@click.option("--environment", default="production", show_default=True, help="Where the service is called.")
@json_option
@org_option
def connect(provider: str, name: str, environment: str, as_json: bool, org: str | None) -> int:
    """Register a connection to PROVIDER (`belvo`); its credentials are asked for, sealed and never shown again."""
    from bursar.infra.clock import utc_now
    from bursar.parts.banking.connections import service

    async def ask(house: "House", actor: "Actor", feeds: "Feeds") -> tuple[UUID, str, str]:
        credentials = {each: running.secret(each) for each in feeds.kind(provider).secrets}
        async with house.db.writing(actor) as tx:
            made = await service.create(
                tx, actor, feeds, provider=provider, environment=environment, name=name, credentials=credentials, now=utc_now()
            )  # fmt: skip
        return *made, f"/v1/hooks/bank/{actor.org}/{made[0]}"

    id_, authorization, path = _using(org, ask)
    text = f"Connection {id_}. Enter at the service, for its webhooks (shown this once):\n  {path}\n  {authorization}"
    running.tell(text, {"id": str(id_), "webhook_path": path, "authorization": authorization}, as_json=as_json)
    return OK


@bank.command()
@json_option
@org_option
def links(as_json: bool, org: str | None) -> int:
    """List every connection with its links as they stand."""
    from bursar.parts.banking.connections import service

    async def ask(house: "House", actor: "Actor", _: "Feeds") -> list[tuple[Any, Any]]:
        async with house.db.reading(actor) as tx:
            return [(row, await service.links(tx, actor, connection=row.id)) for row in await service.listed(tx, actor)]

    found = _using(org, ask)
    if as_json:
        shown = ("id", "institution", "state", "why", "pulled_until")
        running.print_json(
            [
                {"id": str(row.id), "provider": row.provider, "environment": row.environment, "name": row.name,
                 "links": [{name: getattr(link, name) for name in shown} for link in mine]}
                for row, mine in found
            ]
        )  # fmt: skip
        return OK
    for row, mine in found:
        click.echo(f"{row.id}  {row.provider} {row.environment}  {printable(row.name)}")
        for link in mine:
            click.echo(f"  {link.id}  {printable(link.institution)}  {link.state}  {printable(link.why)}".rstrip())
    if not found:
        running.talk("No connection. `bursar bank connect belvo --name NAME` makes one.")
    return OK


@bank.command()
@_connection
@click.option("--link", default="", help="Only this link.")
@click.option("--since", type=_DAY, default=None, help="First day; by default where the last pull ended.")
@click.option("--until", type=_DAY, default=None, help="Last day; today by default.")
@org_option
def pull(connection: UUID, link: str, since: datetime | None, until: datetime | None, org: str | None) -> int:
    """Read the links of CONNECTION anew and pull each valid one now; pulling days again adds nothing."""
    from bursar.infra.clock import utc_now
    from bursar.parts.banking.connections import service

    first, last = (day.date() if day else None for day in (since, until))

    async def ask(house: "House", actor: "Actor", feeds: "Feeds") -> int:
        await service.refresh(house.db, actor, feeds, connection=connection, now=utc_now())
        async with house.db.reading(actor) as tx:
            standing = [one for one in await service.links(tx, actor, connection=connection) if link in {"", one.id}]
        waiting = 0
        for one in standing:
            batch = None
            if link or one.state == "valid":
                batch = await service.pull(
                    house.db, actor, feeds, connection=connection, link=one.id, now=utc_now(), since=first, until=last
                )
            click.echo(f"{one.id}  {f'{batch.rows_read:,} rows' if batch else 'waits; see `bursar bank links`'}")
            waiting += batch is None
        return waiting

    return FAILED if _using(org, ask) else OK


@bank.command()
@_connection
@click.argument("link")
@org_option
def token(connection: UUID, link: str, org: str | None) -> int:
    """Give the code that the bank asked for at LINK; the pull goes on in the next `bursar bank pull` or the worker."""
    from bursar.infra.clock import utc_now
    from bursar.parts.banking.connections import service

    code = running.secret("Code")

    async def ask(house: "House", actor: "Actor", feeds: "Feeds") -> bool:
        return await service.give_token(
            house.db, actor, feeds, connection=connection, link=link, token=code, now=utc_now()
        )

    goes_on = _using(org, ask)
    click.echo("The pull goes on." if goes_on else "The bank asks for another code.")
    return OK if goes_on else FAILED


@bank.command()
@_connection
@org_option
def remove(connection: UUID, org: str | None) -> int:
    """Forget CONNECTION and its credentials; what it brought stays."""
    from bursar.infra.clock import utc_now
    from bursar.parts.banking.connections import service

    async def ask(house: "House", actor: "Actor", _: "Feeds") -> None:
        async with house.db.writing(actor) as tx:
            await service.remove(tx, actor, connection=connection, now=utc_now())

    _using(org, ask)
    click.echo(f"Connection {connection} is forgotten.")
    return OK
