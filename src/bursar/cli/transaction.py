"""``bursar transaction``: one transaction: look at it, note, tag, department, split, receipts."""

from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from bursar.cli import running, showing
from bursar.cli.findings import json_option, org_option
from bursar.cli.main import OK

if TYPE_CHECKING:
    from bursar.infra.db import Tx
    from bursar.kernel.actor import Actor
    from bursar.wiring import House

_id = click.argument("id_", metavar="ID", type=click.UUID)


@click.group()
def transaction() -> None:
    """One bank movement or payment, by the id that `bursar transactions` prints with --json."""


@transaction.command()
@_id
@json_option
@org_option
def show(id_: UUID, as_json: bool, org: str | None) -> int:
    """Show a transaction with its category and why, parts, receipts and transfers in the books."""
    from bursar.parts.banking.attachments import service as attachments
    from bursar.parts.banking.posting import service as posting
    from bursar.parts.banking.transactions import service

    names = (
        "id", "account", "booking_date", "value_date", "currency", "label", "description", "reference", "counterparty_account",
        "party", "department", "note", "tags", "category", "state", "stage", "score", "evidence", "late", "batch", "row",
    )  # fmt: skip

    async def ask(tx: "Tx", actor: "Actor") -> dict[str, Any]:
        whole = await service.get(tx, actor, id_=id_)
        parts = [
            {"amount": one.amount, "category": one.category, "department": one.department, "note": one.note}
            for one in whole.parts
        ]
        files = [{"id": one.id, "name": one.name} for one in await attachments.listed(tx, actor, transaction=id_)]
        booked = [moved for _, moved in await posting.transfers_of(tx, actor, transaction=id_)]
        facts = {"amount": whole.row.amount} | {name: getattr(whole.row, name) for name in names}
        return facts | {"parts": parts, "files": files, "transfers": booked}

    showing.show_one(running.in_org(org, ask), as_json=as_json)
    return OK


@transaction.command()
@_id
@click.option("--note", default=None, help="Set the note; empty removes it.")
@click.option("--tag", "tags", multiple=True, help="Set the tags; repeat it.")
@click.option("--no-tags", is_flag=True, help="Remove every tag.")
@click.option("--department", default=None, help="Set the department or cost centre; empty removes it.")
@json_option
@org_option
def annotate(
    id_: UUID, note: str | None, tags: tuple[str, ...], no_tags: bool, department: str | None, as_json: bool, org: str | None
) -> int:  # fmt: skip
    """Set note, tags or department; what is not given stays."""
    from bursar.infra.clock import utc_now
    from bursar.parts.banking.transactions import service

    async def ask(tx: "Tx", actor: "Actor") -> None:
        version = (await service.get(tx, actor, id_=id_)).row.version
        await service.annotate(
            tx, actor, id_=id_, version=version, now=utc_now(), note=note, tags=tags or ([] if no_tags else None),
            department=department,
        )  # fmt: skip

    running.in_org(org, ask, write=True)
    running.tell("Set.", {"id": id_}, as_json=as_json)
    return OK


@transaction.command()
@_id
@click.option("--part", "parts", nargs=2, multiple=True, metavar="AMOUNT CATEGORY[@DEPARTMENT]", help="A part, its sign that of the whole; repeat it.")  # fmt: skip
@json_option
@org_option
def split(id_: UUID, parts: tuple[tuple[str, str], ...], as_json: bool, org: str | None) -> int:
    """Split a transaction into parts that sum to it exactly; without parts it is whole again.

    \b
    bursar transaction split ID --part -80.00 Furniture --part -39.99 Paper@Sales
    """  # noqa: D301  click's mark for text that is not re-wrapped
    from bursar.infra.clock import utc_now
    from bursar.parts.banking.transactions import service
    from bursar.parts.banking.transactions.rules import Part

    def part(written: str, purpose: str) -> Part:
        category, _, department = purpose.partition("@")
        return Part(showing.amount(written), category, department)

    wanted = [part(*one) for one in parts]

    async def ask(tx: "Tx", actor: "Actor") -> None:
        version = (await service.get(tx, actor, id_=id_)).row.version
        await service.split(tx, actor, id_=id_, version=version, parts=wanted, now=utc_now())

    running.in_org(org, ask, write=True)
    running.tell(
        f"Split in {len(wanted)}." if wanted else "It is whole again.", {"parts": len(wanted)}, as_json=as_json
    )
    return OK


@transaction.command()
@_id
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
@org_option
def attach(id_: UUID, file: Path, as_json: bool, org: str | None) -> int:
    """Attach FILE: a PDF, an image, XML or plain text of at most 25 MiB."""
    from bursar import wiring
    from bursar.infra.clock import utc_now
    from bursar.parts.banking.attachments import rules, service

    with file.open("rb") as opened:
        head = opened.read(rules.HEAD_BYTES)
    rules.kind_of(head)

    async def use(house: "House") -> Any:
        actor = await wiring.local_actor(house, org)
        stored = await house.importer.documents.put(actor.org, file, bytes_max=rules.BYTES_MAX)
        async with house.db.writing(actor) as tx:
            return await service.attach(
                tx, actor, transaction=id_, stored=stored, head=head, name=file.name, now=utc_now()
            )

    row = running.in_house(use)
    running.tell(f"{row.name} is attached as {row.id}.", {"id": row.id, "name": row.name, "kind": row.kind, "sha256": row.sha256}, as_json=as_json)  # fmt: skip
    return OK


@transaction.command()
@_id
@click.argument("attachment", type=click.UUID)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@org_option
def fetch(id_: UUID, attachment: UUID, file: Path, org: str | None) -> int:
    """Write the ATTACHMENT (its id, see `show`) to FILE."""
    import shutil

    from bursar import wiring
    from bursar.parts.banking.attachments import service

    async def use(house: "House") -> None:
        actor = await wiring.local_actor(house, org)
        async with house.db.reading(actor) as tx:
            row = await service.get(tx, actor, transaction=id_, id_=attachment)
        async with house.importer.documents.local(actor.org, row.sha256, verify=True) as path:
            shutil.copyfile(path, file)

    running.in_house(use)
    running.talk(f"It is in {file}")
    return OK


@transaction.command()
@_id
@click.argument("attachment", type=click.UUID)
@json_option
@org_option
def detach(id_: UUID, attachment: UUID, as_json: bool, org: str | None) -> int:
    """Take the ATTACHMENT (its id, see `show`) off a transaction; not in a closed period."""
    from bursar.infra.clock import utc_now
    from bursar.parts.banking.attachments import service

    running.in_org(
        org, lambda tx, actor: service.remove(tx, actor, transaction=id_, id_=attachment, now=utc_now()), write=True
    )
    running.tell("Taken off.", {"removed": attachment}, as_json=as_json)
    return OK
