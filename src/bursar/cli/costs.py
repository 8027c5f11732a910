"""``bursar costs``: what was spent, by any dimensions, as a table, JSON, CSV or Parquet."""

import csv
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bursar.cli import running
from bursar.cli.findings import json_option, org_option, printable
from bursar.cli.main import OK

if TYPE_CHECKING:
    from bursar.parts.cloud.sharing.service import Answer
    from bursar.wiring import House

_DAY = click.DateTime(["%Y-%m-%d"])
WIDTH_MAX = 40
"""Widest column of the table."""


@click.command()
@click.option("--from", "since", type=_DAY, required=True, help="First day.")
@click.option("--to", "until", type=_DAY, required=True, help="The day after the last.")
@click.option("--by", multiple=True, help="Dimension, such as service, region, month or tag:team; may be repeated.")
@click.option("--filter", "where", default="", help='As `service = "Amazon S3" and tag:env != prod`.')
@click.option(
    "--kind", type=click.Choice(["billed", "effective", "list", "contracted"]), default="effective", show_default=True
)
@click.option("--limit", type=click.IntRange(1, 10_000), default=1000, show_default=True, help="Most groups.")
@click.option("--inherit", is_flag=True, help="Complete missing tags by the rules of `bursar cloud rules`.")
@click.option("--split", multiple=True, help="Apply this split of shared cost; may be repeated.")
@click.option("--per", default="", help="Divide by this imported quantity.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--parquet", type=click.Path(path_type=Path), default=None, help="Write Parquet here instead.")
@json_option
@org_option
def costs(
    since: datetime,
    until: datetime,
    by: tuple[str, ...],
    where: str,
    kind: str,
    limit: int,
    inherit: bool,
    split: tuple[str, ...],
    per: str,
    as_csv: bool,
    parquet: Path | None,
    as_json: bool,
    org: str | None,
) -> int:
    """Sum cloud and SaaS cost over a period; amounts of several currencies stay apart.

    With `--json` each amount has a trace token: `bursar explain TOKEN` tells its parts and source lines.
    """
    from bursar import wiring
    from bursar.kernel.errors import Invalid
    from bursar.kernel.period import Period
    from bursar.parts.cloud import api, service
    from bursar.parts.cloud.rules.dimensions import CostKind
    from bursar.parts.cloud.rules.queries import CostQuery
    from bursar.parts.cloud.sharing import service as sharing

    if since >= until:
        raise Invalid(
            f"The period from {since:%Y-%m-%d} to {until:%Y-%m-%d} is empty.", "--to is the day after the last."
        )
    asked = CostQuery(Period(since.date(), until.date()), by, CostKind(kind), where, limit)

    options = sharing.Options(inherit, split, per)

    async def use(house: "House") -> "tuple[Answer, Any]":
        actor = await wiring.local_actor(house, org)
        engine = house.settings.engine
        async with house.db.reading(actor) as tx:
            found = await sharing.ask(tx, actor, lake=house.lake, asked=asked, options=options, engine=engine)
        return found, wiring.tracer(house, actor.org)

    found, tracer = running.in_house(use)
    columns = service.export_columns(asked)
    rows = [[*group.values, group.currency, group.cost, group.lines] for group in found.groups]
    if parquet:
        import polars as pl

        pl.DataFrame(rows, schema=columns, orient="row").write_parquet(parquet)
        running.talk(f"{len(rows):,} rows are in {parquet}")
    elif as_json:
        running.print_json([one.model_dump(mode="json") for one in api.costs_out(asked, options, found, tracer).data])
    elif as_csv:
        _print_csv(columns, rows)
    else:
        _print_table(columns, rows)
        for said in _per_unit(found):
            click.echo(said)
    for said in found.applied:
        running.talk(f"by rule: {said}")
    if len(rows) == limit:
        running.talk(f"hint: there may be more than {limit:,} groups; ask for --limit, fewer --by or a --filter")
    return OK


def _per_unit(found: "Answer") -> list[str]:
    from bursar.parts.cloud.sharing.rules import per_unit

    told = []
    for group, units in zip(found.groups, found.units, strict=True):
        if (one := per_unit(group.cost, units)) is not None:
            name = " · ".join(printable(value or "(none)") for value in group.values) or "in all"
            told.append(f"{name}: {one:,.6f} {group.currency} a unit")
    return told


def _print_csv(columns: dict[str, Any], rows: list[list[Any]]) -> None:
    from bursar.kernel.cells import harmless
    from bursar.kernel.money import plainly

    writer = csv.writer(sys.stdout)
    writer.writerow(columns)
    for *values, currency, cost, lines in rows:
        writer.writerow(
            [
                *(harmless(value or "") for value in values),
                currency,
                "" if cost is None else plainly(cost, currency),
                lines,
            ]
        )


def _print_table(columns: dict[str, Any], rows: list[list[Any]]) -> None:
    if not rows:
        running.talk("No bill has lines in this period that fit.")
        return
    texts = [[printable(value or "(none)")[:WIDTH_MAX] for value in row[:-3]] for row in rows]
    names = list(columns)[:-3]
    wide = [max(len(name), *(len(row[at]) for row in texts)) for at, name in enumerate(names)]
    head = "  ".join(f"{name:<{width}}" for name, width in zip(names, wide, strict=True))
    click.echo(f"{head}  {'cost':>18} {'':3}  {'lines':>9}".strip())
    for text, (*_, currency, cost, lines) in zip(texts, rows, strict=True):
        shown = "  ".join(f"{value:<{width}}" for value, width in zip(text, wide, strict=True))
        amount = "unknown" if cost is None else f"{cost:,.2f}"
        click.echo(f"{shown}  {amount:>18} {currency}  {lines:>9,}".strip())
