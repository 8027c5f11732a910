"""``bursar user`` and ``bursar key``: the console's way in, for whoever owns the home folder."""

from typing import TYPE_CHECKING

import click

from bursar.cli import running
from bursar.cli.findings import json_option, org_option
from bursar.cli.main import OK

if TYPE_CHECKING:
    from bursar.core.identity.service import Means
    from bursar.wiring import House


def means_of(house: "House") -> "Means":
    """Return what identity needs, at the console."""
    from bursar.core.identity.service import Means
    from bursar.infra.crypto import Passwords
    from bursar.wiring import keyring_of

    return Means(keyring_of(house.settings), Passwords(), house.settings.url)


@click.group()
def user() -> None:
    """Enrol people and help those who are locked out."""


@user.command()
@click.argument("email")
@click.option("--name", required=True, help="Name for people.")
@click.option("--organisation", required=True, help="Name of the new organisation, which this person owns.")
@json_option
def add(email: str, name: str, organisation: str, as_json: bool) -> int:
    """Enrol EMAIL as the owner of a new organisation; the password is asked for, or read from standard input."""
    password = running.secret("Password (15 characters or more)", twice=True)

    async def use(house: "House") -> str:
        from bursar.core.identity.people import service
        from bursar.infra.clock import utc_now

        org, _ = await service.enrol(
            house.db,
            means_of(house),
            email=email,
            password=password,
            name=name,
            organisation=organisation,
            now=utc_now(),
        )
        return str(org)

    org = running.in_house(use)
    running.tell(f"{email} owns {organisation} ({org})", {"email": email, "organisation": org}, as_json=as_json)
    return OK


@user.command("reset")
@click.argument("email")
@json_option
def reset(email: str, as_json: bool) -> int:
    """Print a link with which EMAIL sets a new password."""

    async def use(house: "House") -> str:
        from bursar.core.identity.people import service
        from bursar.infra.clock import utc_now

        return await service.reset_link(house.db, means_of(house), email=email, now=utc_now())

    link = running.in_house(use)
    running.tell(link, {"link": link}, as_json=as_json)
    return OK


@click.group()
def key() -> None:
    """API keys for programs."""


@key.command("add")
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, required=True, help="A right such as `finding:read`; repeat it.")
@click.option("--from", "networks", multiple=True, help="Address or network it may be used from; repeat it.")
@click.option("--days", default=90, show_default=True, help="Until it expires.")
@json_option
@org_option
def add_key(
    name: str, scopes: tuple[str, ...], networks: tuple[str, ...], days: int, as_json: bool, org: str | None
) -> int:
    """Make an API key called NAME; it is shown once."""

    async def use(house: "House") -> str:
        from dataclasses import replace

        from bursar import wiring
        from bursar.core.identity.keys import service
        from bursar.core.identity.service import FRESH
        from bursar.infra.clock import utc_now

        actor = await wiring.local_actor(house, org)
        actor = replace(actor, rights=actor.rights | {FRESH})
        async with house.db.writing(actor) as tx:
            _, text = await service.make(
                tx, actor, name=name, scopes=scopes, networks=networks, days=days, now=utc_now()
            )
        return text

    text = running.in_house(use)
    running.tell(text, {"key": text}, as_json=as_json)
    running.talk("This is the only time it is shown. Send it as `Authorization: Bearer …`.")
    return OK


@key.command("list")
@json_option
@org_option
def list_keys(as_json: bool, org: str | None) -> int:
    """List the API keys."""

    async def use(house: "House") -> list[dict[str, object]]:
        from bursar import wiring
        from bursar.core.identity.keys import service

        actor = await wiring.local_actor(house, org)
        async with house.db.reading(actor) as tx:
            rows = await tx.all(service.listing(tx, actor).limit(500))
        return [
            {
                "id": row.id,
                "name": row.name,
                "scopes": list(row.scopes),
                "expires": row.expires_at,
                "last_used": row.used_at,
            }
            for row in rows
        ]

    found = running.in_house(use)
    if as_json:
        running.print_json(found)
        return OK
    for row in found:
        click.echo(f"{row['id']}  {row['name']}  until {row['expires']:%Y-%m-%d}")
    return OK


@key.command("revoke")
@click.argument("id_", metavar="ID")
@json_option
@org_option
def revoke_key(id_: str, as_json: bool, org: str | None) -> int:
    """End the API key ID; it stops working within a second."""

    async def use(house: "House") -> None:
        from bursar import wiring
        from bursar.core.identity.keys import service
        from bursar.infra.clock import utc_now

        actor = await wiring.local_actor(house, org)
        async with house.db.writing(actor) as tx:
            await service.revoke(tx, actor, id_=id_, now=utc_now())

    running.in_house(use)
    running.tell(f"Key {id_} is revoked", {"id": id_, "revoked": True}, as_json=as_json)
    return OK
