"""The inbox on the command line: list, explain, act, undo."""

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from bursar.cli import running
from bursar.cli.main import OK

if TYPE_CHECKING:
    from bursar.core.findings.service import Kept
    from bursar.kernel.finding import Evidence, SourceRow
    from bursar.wiring import House

ROWS_SHOWN = 12
"""Source rows printed by ``explain`` without ``--all``."""

org_option = click.option("--org", default=None, help="Id of an organisation, where there are several.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also those less than 60 % sure, dismissed, done …")
@click.option("--kind", default="", help="Only kinds that begin with this, such as `cloud.`.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@json_option
@org_option
def findings(everything: bool, kind: str, as_csv: bool, as_json: bool, org: str | None) -> int:
    """List the inbox, the dearest first."""
    from bursar import wiring
    from bursar.cli.review import finding_dict, print_csv
    from bursar.core.findings import service
    from bursar.kernel.finding import FindingState
    from bursar.reports.review import SURE_MIN

    async def use(house: "House") -> "list[Kept]":
        actor = await wiring.local_actor(house, org)
        states = tuple(FindingState) if everything else (FindingState.NEW, FindingState.ACCEPTED)
        async with house.db.reading(actor) as tx:
            return await service.inbox(
                tx, actor, states=states, kind_prefix=kind, confidence_min=0.0 if everything else SURE_MIN
            )

    found = running.in_house(use)
    if as_json:
        running.print_json([finding_dict(kept) for kept in found])
        return OK
    if as_csv:
        print_csv(found)
        return OK
    for kept in found:
        finding = kept.finding
        click.echo(
            f"{kept.name:<6} {kept.counted.amount:>12,.2f} {kept.counted.currency}"
            f" {'a year' if finding.recurring else 'once  '} {finding.confidence:>4.0%}"
            f"  {kept.state.value:<9}  {finding.title}"
        )
    if not found:
        running.talk("The inbox is empty. `bursar review FOLDER` fills it.")
    return OK


@click.command()
@click.argument("name")
@click.option("--all", "everything", is_flag=True, help="Print every source row kept.")
@json_option
@org_option
def explain(name: str, everything: bool, as_json: bool, org: str | None) -> int:
    """Show where a figure comes from: formula, exact parts, prices, source rows.

    NAME is the id of a finding (such as F1), or the trace token that stands beside any amount in an answer.
    """
    from bursar.infra.traces import PREFIX

    if name.startswith(PREFIX):
        return _explain_figure(name, everything=everything, as_json=as_json, org=org)
    from bursar import wiring
    from bursar.cli.review import finding_dict
    from bursar.core.findings import service

    async def use(house: "House") -> "Kept":
        actor = await wiring.local_actor(house, org)
        async with house.db.reading(actor) as tx:
            return await service.get(tx, actor, name=name)

    kept = running.in_house(use)
    if as_json:
        running.print_json(finding_dict(kept) | {"evidence": service.evidence_dict(kept)})
    else:
        click.echo("\n".join(explained(kept, everything=everything)))
    return OK


def _explain_figure(token: str, *, everything: bool, as_json: bool, org: str | None) -> int:
    from bursar import wiring
    from bursar.core.findings.service import evidence_to_json
    from bursar.infra.clock import utc_now
    from bursar.kernel.money import plainly
    from bursar.reports.trace.answer import Asking, Traced
    from bursar.reports.trace.resolve import resolve

    async def use(house: "House") -> Traced:
        actor = await wiring.local_actor(house, org)
        async with house.db.reading(actor) as tx:
            asking = Asking(tx, actor, house.lake, utc_now(), house.prices)
            return await resolve(asking, wiring.tracer(house, actor.org), token)

    found = running.in_house(use)
    if as_json:
        figure = {"amount": plainly(found.amount, found.currency), "currency": found.currency}
        evidence = evidence_to_json(found.evidence)
        running.print_json({"title": found.title, "figure": figure, "evidence": evidence})
        return OK
    head = [f"{printable(found.title)}  {found.amount:,f} {found.currency}", ""]
    click.echo("\n".join([*head, *_evidence(found.evidence, found.amount, found.currency, everything=everything)]))
    return OK


def explained(kept: "Kept", *, everything: bool = False) -> list[str]:
    """Return the explanation of a finding as lines for a terminal."""
    say = running.chosen.command
    finding, worth = kept.finding, kept.finding.worth
    head = f"{kept.name}  {finding.title}"
    figure = f"{worth.amount:,.2f} {worth.currency} {'a year' if finding.recurring else 'once'}"
    lines = [
        f"{printable(head):<64} {figure}, {finding.confidence:.0%} sure",
        f"    {finding.kind}, {finding.period}, {kept.state.value}",
        f"    {finding.action}",
        "",
        *_evidence(finding.evidence, worth.amount, worth.currency, everything=everything),
    ]
    if kept.counted != worth:
        lines += [
            "",
            f"    Counted as {kept.counted.amount:,.2f}: the rest overlaps other findings on {finding.resource}.",
        ]
    lines += ["", f'    Wrong? `{say} dismiss {kept.name} --because "…"`, taken back with `{say} undo`']
    return lines


def _evidence(evidence: "Evidence", amount: Decimal, currency: str, *, everything: bool) -> list[str]:
    """Return formula, parts with their sum, prices and source rows as lines for a terminal."""
    lines = [f"    {printable(evidence.formula)}"]
    total = sum((part.amount for part in evidence.parts), start=Decimal(0))
    places = max((-int(part.amount.normalize().as_tuple().exponent) for part in evidence.parts), default=2)
    shown = max(2, min(places, 8))
    lines += [f"    {part.amount:>18,.{shown}f} {currency}  {printable(part.label)}" for part in evidence.parts]
    if evidence.parts:
        exact = "exact" if total == amount else f"rounded to {amount:,.2f}"
        lines.append(f"    {total:>18,.{shown}f} {currency}  together, {exact}")
    for price in evidence.prices:
        lines.append(
            f"    price {price.amount:f} {price.currency} per {price.unit} of {price.day} ({price.source}, {price.id})"
        )
    rows = evidence.rows if everything else evidence.rows[:ROWS_SHOWN]
    if rows:
        lines += ["", f"    {evidence.rows_total:,} source rows"]
        lines += [_source_line(row) for row in rows]
        if evidence.rows_total > len(rows):
            lines.append(f"    … {evidence.rows_total - len(rows):,} more")
    return lines


def _source_line(row: "SourceRow") -> str:
    amount = f"{row.amount:>16,.2f} {row.currency}" if row.amount is not None else ""
    return f"    {amount}  {printable(row.text)[:60]:<60}  {row.file}:{row.row}"


def printable(text: str) -> str:
    """Return foreign text that cannot disturb a terminal: control and bidirectional characters become ``·``."""
    bidi = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C}
    return "".join("·" if ord(char) in bidi or not (char.isprintable()) else char for char in text)


def _act(action: str, name: str, *, org: str | None, as_json: bool, **facts: Any) -> int:
    from bursar import wiring
    from bursar.cli.review import finding_dict
    from bursar.core.findings import service
    from bursar.infra.clock import utc_now

    async def use(house: "House") -> "Kept":
        actor = await wiring.local_actor(house, org)
        async with house.db.writing(actor) as tx:
            return await service.act(tx, actor, name=name, action=action, now=utc_now(), **facts)

    kept = running.in_house(use)
    if as_json:
        running.print_json(finding_dict(kept))
    else:
        click.echo(f"{kept.name} is {kept.state.value}: {kept.finding.title}")
        running.talk(f"hint: `{running.chosen.command} undo` takes it back")
    return OK


@click.command()
@click.argument("name")
@click.option("--to", "assignee", default="", help="Who takes care of it.")
@click.option("--due", type=click.DateTime(["%Y-%m-%d"]), default=None, help="Until when.")
@json_option
@org_option
def accept(name: str, assignee: str, due: datetime | None, as_json: bool, org: str | None) -> int:
    """Accept finding NAME: somebody will act on it."""
    return _act("accept", name, org=org, as_json=as_json, assignee=assignee, due=due.date() if due else None)


@click.command()
@click.argument("name")
@click.option("--because", required=True, help="Why it is not worth acting on.")
@json_option
@org_option
def dismiss(name: str, because: str, as_json: bool, org: str | None) -> int:
    """Dismiss finding NAME; it returns only if its figures grow materially."""
    return _act("dismiss", name, org=org, as_json=as_json, because=because)


@click.command()
@click.argument("name")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), required=True, help="Day it returns.")
@json_option
@org_option
def snooze(name: str, until: datetime, as_json: bool, org: str | None) -> int:
    """Hide finding NAME until a day."""
    return _act("snooze", name, org=org, as_json=as_json, until=until.date())


@click.command()
@click.argument("name")
@json_option
@org_option
def done(name: str, as_json: bool, org: str | None) -> int:
    """Say that finding NAME was acted on; later facts measure what it brought."""
    return _act("done", name, org=org, as_json=as_json)


@click.command()
@json_option
@org_option
def undo(as_json: bool, org: str | None) -> int:
    """Take the last action on a finding back."""
    from bursar import wiring
    from bursar.core.findings import service
    from bursar.infra.clock import utc_now

    async def use(house: "House") -> "tuple[str, Kept]":
        actor = await wiring.local_actor(house, org)
        async with house.db.writing(actor) as tx:
            return await service.undo(tx, actor, now=utc_now())

    action, kept = running.in_house(use)
    facts = {"action": action, "id": kept.name, "state": kept.state.value}
    running.tell(f"Took back `{action}`: {kept.name} is {kept.state.value} again", facts, as_json=as_json)
    return OK
