"""Imports on the command line: import, list, problems, revert."""

import csv
import sys
from typing import TYPE_CHECKING
from uuid import UUID

import click

from bursar.cli import running
from bursar.cli.findings import json_option, org_option, printable
from bursar.cli.main import OK, REFUSED_INPUT

if TYPE_CHECKING:
    from bursar.core.intake.service import Batch
    from bursar.kernel.errors import Problem
    from bursar.wiring import House

BATCHES_MAX = 20_000
"""Most imports listed."""

rehash_option = click.option(
    "--rehash", is_flag=True, help="Read every file, also where its place, size and times are those of the last import."
)


@click.command("import")
@running.places_argument
@click.option("--format", "format_name", default="", help="Take this format instead of recognising it.")
@click.option(
    "--set", "answers", multiple=True, metavar="NAME=VALUE", help="Answer a parser's question, as its problem says."
)
@rehash_option
@json_option
@org_option
def import_(
    places: tuple[str, ...],
    format_name: str,
    answers: tuple[str, ...],
    rehash: bool,
    as_json: bool,
    org: str | None,
) -> int:
    """Import files, folders and s3://bucket/prefix without reviewing them."""
    from bursar import wiring
    from bursar.cli.review import about, batch_dict, short
    from bursar.infra.clock import utc_now
    from bursar.wiring.house import sources_at

    options = dict(answer.partition("=")[::2] for answer in answers)
    if format_name:
        options["format"] = format_name

    async def use(house: "House") -> "list[Batch]":
        actor = await wiring.local_actor(house, org)
        sources = await sources_at(house, places)
        taken = house.importer.import_sources(actor, sources, clock=utc_now, options=options, trust_marks=not rehash)
        return [batch async for batch in taken]

    taken = running.in_house(use)
    if as_json:
        running.print_json([batch_dict(batch) for batch in taken])
    else:
        for batch in taken:
            click.echo(
                f"{short(batch.id)}  {batch.file}  {about([batch])}{'  (known already)' if batch.already else ''}"
            )
    return REFUSED_INPUT if any(batch.state.value == "refused" or batch.rows_refused for batch in taken) else OK


@click.command()
@json_option
@org_option
def batches(as_json: bool, org: str | None) -> int:
    """List what was imported, newest first."""
    from bursar import wiring
    from bursar.cli.review import about, batch_dict, short
    from bursar.core.intake import service

    async def use(house: "House") -> "list[Batch]":
        actor = await wiring.local_actor(house, org)
        async with house.db.reading(actor) as tx:
            return await service.history(tx, actor, limit=BATCHES_MAX)

    found = running.in_house(use)
    if as_json:
        running.print_json([batch_dict(batch) for batch in found])
        return OK
    for batch in found:
        click.echo(f"{short(batch.id)}  {batch.state.value:<8}  {batch.file}  {about([batch])}")
    if not found:
        running.talk("Nothing is imported yet. `bursar review FOLDER` imports and reviews.")
    return OK


async def _batch_named(house: "House", prefix: str, org: str | None) -> UUID:
    """Return the id of the one batch whose id begins with ``prefix``."""
    from bursar import wiring
    from bursar.core.intake import service
    from bursar.kernel.errors import Invalid, NotFound

    actor = await wiring.local_actor(house, org)
    async with house.db.reading(actor) as tx:
        fitting = [
            batch.id
            for batch in await service.history(tx, actor, limit=BATCHES_MAX)
            if str(batch.id).startswith(prefix)
        ]
    if not fitting:
        raise NotFound("batch", prefix)
    if len(fitting) > 1:
        raise Invalid(f"{prefix} fits {len(fitting)} batches.", "Give more of the id; `bursar batches` lists them.")
    return fitting[0]


@click.command()
@click.argument("batch", required=False)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@json_option
@org_option
def problems(batch: str | None, as_csv: bool, as_json: bool, org: str | None) -> int:
    """List what could not be read: file, row, column, what, fix. All refused files, or those of one BATCH."""
    from bursar import wiring
    from bursar.core.intake import service

    async def use(house: "House") -> "list[Problem]":
        actor = await wiring.local_actor(house, org)
        wanted = await _batch_named(house, batch, org) if batch else None
        async with house.db.reading(actor) as tx:
            if wanted is None:
                return await service.all_problems(tx, actor)
            return await service.problems(tx, actor, batch=wanted, limit=service.PROBLEMS_MAX)

    found = running.in_house(use)
    if as_json:
        running.print_json(
            [{"file": p.file, "row": p.row, "column": p.column, "what": p.what, "fix": p.fix} for p in found]
        )
    elif as_csv:
        from bursar.kernel.cells import harmless

        writer = csv.writer(sys.stdout)
        writer.writerow(["file", "row", "column", "what", "fix"])
        writer.writerows(
            [harmless(p.file), p.row or "", harmless(p.column), harmless(p.what), harmless(p.fix)] for p in found
        )
    else:
        for p in found:
            where = ":".join(str(part) for part in (p.file, p.row, p.column) if part)
            click.echo(f"{printable(where)}: {printable(p.what)}" + (f"  hint: {p.fix}" if p.fix else ""))
        if not found:
            running.talk("No problems.")
    return OK


@click.command()
@click.argument("batch")
@json_option
@org_option
def revert(batch: str, as_json: bool, org: str | None) -> int:
    """Take import BATCH back: its rows vanish, what it replaced returns."""
    from bursar import wiring
    from bursar.infra.clock import utc_now

    async def use(house: "House") -> "Batch":
        actor = await wiring.local_actor(house, org)
        return await house.importer.revert(actor, await _batch_named(house, batch, org), clock=utc_now)

    gone = running.in_house(use)
    if as_json:
        from bursar.cli.review import batch_dict

        running.print_json(batch_dict(gone))
        return OK
    click.echo(f"Reverted {gone.file}: {gone.rows_taken:,} rows are gone. Import the file again to bring them back.")
    return OK
