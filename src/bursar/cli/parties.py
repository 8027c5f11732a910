"""``bursar parties``: counterparties under one identity: look, merge, split, undo."""

from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from bursar.cli import running, showing
from bursar.cli.findings import json_option, org_option
from bursar.cli.main import OK

if TYPE_CHECKING:
    from bursar.infra.db import Tx
    from bursar.kernel.actor import Actor

ROWS_MAX = 1_000
_limit = click.option("--limit", type=click.IntRange(1, ROWS_MAX), default=50, show_default=True, help="Most rows.")
_identifiers = click.option("--id", "identifiers", multiple=True, metavar="SCHEME=VALUE", help="Such as iban=DE89… or vat=DE123456789; repeat it.")  # fmt: skip


@click.group()
def parties() -> None:
    """Counterparties: one party from many spellings; every merge and split can be undone."""


@parties.command("list")
@click.argument("starts", default="")
@_limit
@json_option
@org_option
def list_(starts: str, limit: int, as_json: bool, org: str | None) -> int:
    """List parties by name, those that begin with STARTS."""
    from bursar.core.parties import service

    async def ask(tx: "Tx", actor: "Actor") -> Any:
        found = service.listing(tx, actor, starts=starts)
        return await tx.all(found.order_by(found.selected_columns.name, found.selected_columns.id).limit(limit))

    rows = running.in_org(org, ask)
    showing.show([{"id": row.id, "name": row.name, "since": row.created_at} for row in rows], as_json=as_json)
    return OK


@parties.command("show")
@click.argument("party", type=click.UUID)
@json_option
@org_option
def show(party: UUID, as_json: bool, org: str | None) -> int:
    """Show PARTY with the names and identifiers that lead to it; `split` takes their keys."""
    from bursar.core.parties import service

    one = running.in_org(org, lambda tx, actor: service.get(tx, actor, party=party))
    names = [{"key": key, "written": written} for key, written in one.names]
    facts = {"id": one.id, "name": one.name, "merged_into": one.merged_into, "names": names}
    showing.show_one(
        facts | {"identifiers": [f"{scheme}={value}" for scheme, value in one.identifiers]}, as_json=as_json
    )
    return OK


@parties.command()
@click.argument("name", default="")
@_identifiers
@json_option
@org_option
def resolve(name: str, identifiers: tuple[str, ...], as_json: bool, org: str | None) -> int:
    """Find the party that NAME or an identifier means; one that is not known is made."""
    from bursar.core.parties import service
    from bursar.infra.clock import utc_now

    mention = service.Mention(name, tuple(showing.pairs(identifiers)))

    async def ask(tx: "Tx", actor: "Actor") -> UUID | None:
        return (await service.resolve(tx, actor, mentions=[mention], now=utc_now()))[0]

    found = running.in_org(org, ask, write=True)
    running.tell(f"{found or 'That says nothing.'}", {"party": found}, as_json=as_json)
    return OK


@parties.command()
@_limit
@json_option
@org_option
def suggestions(limit: int, as_json: bool, org: str | None) -> int:
    """List pairs that may be one party; answer with `merge` or `apart`."""
    from bursar.core.parties import service

    async def ask(tx: "Tx", actor: "Actor") -> Any:
        found = service.suggestions(tx, actor)
        return await tx.all(found.order_by(found.selected_columns.certainty.desc()).limit(limit))

    names = ("certainty", "one", "one_name", "other", "other_name", "because")
    rows = [{name: getattr(row, name) for name in names} for row in running.in_org(org, ask)]
    showing.show(rows, as_json=as_json, none="No two parties look alike.")
    return OK


@parties.command()
@click.argument("party", type=click.UUID)
@click.argument("name")
@json_option
@org_option
def rename(party: UUID, name: str, as_json: bool, org: str | None) -> int:
    """Give PARTY another display NAME."""
    from bursar.core.parties import service
    from bursar.infra.clock import utc_now

    running.in_org(org, lambda tx, actor: service.rename(tx, actor, party=party, name=name, now=utc_now()), write=True)
    running.tell("Renamed.", {"party": party, "name": name}, as_json=as_json)
    return OK


@parties.command()
@click.argument("keep", type=click.UUID)
@click.argument("gone", type=click.UUID)
@json_option
@org_option
def merge(keep: UUID, gone: UUID, as_json: bool, org: str | None) -> int:
    """Merge party GONE into party KEEP."""
    from bursar.core.parties import service
    from bursar.infra.clock import utc_now

    change = running.in_org(
        org, lambda tx, actor: service.merge(tx, actor, keep=keep, gone=gone, now=utc_now()), write=True
    )
    running.tell(
        f"Merged; `bursar parties undo {change}` takes it back.", {"change": change, "party": keep}, as_json=as_json
    )
    return OK


@parties.command()
@click.argument("party", type=click.UUID)
@click.argument("name")
@click.option("--key", "keys", multiple=True, help="Name that goes with it, as `show` writes its key; repeat it.")
@_identifiers
@json_option
@org_option
def split(
    party: UUID, name: str, keys: tuple[str, ...], identifiers: tuple[str, ...], as_json: bool, org: str | None
) -> int:
    """Split names and identifiers off PARTY into a new party called NAME."""
    from bursar.core.parties import service
    from bursar.infra.clock import utc_now

    new, change = running.in_org(
        org,
        lambda tx, actor: service.split(
            tx, actor, party=party, name=name, keys=keys, pairs=showing.pairs(identifiers), now=utc_now()
        ),
        write=True,
    )
    running.tell(
        f"{new} is new; `bursar parties undo {change}` takes it back.",
        {"change": change, "party": new},
        as_json=as_json,
    )
    return OK


@parties.command()
@click.argument("one", type=click.UUID)
@click.argument("other", type=click.UUID)
@json_option
@org_option
def apart(one: UUID, other: UUID, as_json: bool, org: str | None) -> int:
    """Remember that ONE and OTHER are different; they are never suggested again."""
    from bursar.core.parties import service
    from bursar.infra.clock import utc_now

    running.in_org(
        org, lambda tx, actor: service.keep_apart(tx, actor, one=one, other=other, now=utc_now()), write=True
    )
    running.tell("They stay apart.", {"apart": [one, other]}, as_json=as_json)
    return OK


@parties.command()
@click.argument("change", type=click.UUID)
@json_option
@org_option
def undo(change: UUID, as_json: bool, org: str | None) -> int:
    """Undo the merge or split CHANGE."""
    from bursar.core.parties import service
    from bursar.infra.clock import utc_now

    running.in_org(org, lambda tx, actor: service.undo(tx, actor, change=change, now=utc_now()), write=True)
    running.tell("Undone.", {"undone": change}, as_json=as_json)
    return OK
