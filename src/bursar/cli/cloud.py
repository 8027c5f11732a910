"""``bursar focus`` and ``bursar prices``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bursar.cli import running
from bursar.cli.findings import json_option
from bursar.cli.main import OK, REFUSED_INPUT

if TYPE_CHECKING:
    from bursar.parts.cloud.focus_validation.rules.report import Outcome, Report
    from bursar.wiring import House

VIOLATIONS_SHOWN = 40
ROWS_SHOWN = 5


@click.group()
def focus() -> None:
    """The FOCUS specification of cost and usage files."""


@focus.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--version", default="1.2", show_default=True, help="Version of the specification.")
@click.option("--model", type=click.Path(exists=True, path_type=Path), default=None, help="A published rule model.")
@click.option("--supports", multiple=True, help="Criterion the provider meets; repeat it, or ALL.")
@json_option
def validate(file: Path, version: str, model: Path | None, supports: tuple[str, ...], as_json: bool) -> int:
    """Decide every rule of the specification for FILE; exits 5 on violations. Nothing is imported."""
    from bursar.parts.cloud.focus_validation import service

    report = service.validate(
        file, version=version, model=service.model_from(model) if model else None, supports=list(supports) or None
    )
    if as_json:
        running.print_json(_report(report))
    else:
        click.echo("\n".join(_lines(report)))
    return REFUSED_INPUT if report.violations else OK


def _outcome(outcome: "Outcome") -> dict[str, object]:
    return {
        "rule": outcome.rule.id,
        "verdict": outcome.verdict.value,
        "count": outcome.count,
        "rows": list(outcome.rows),
        "example": outcome.example,
        "why": outcome.why,
        "repair": outcome.repair,
    }


def _report(report: "Report") -> dict[str, object]:
    return {
        "file": report.file,
        "version": report.version,
        "rows": report.rows,
        "counts": dict(report.counts),
        "violations": [_outcome(one) for one in report.violations],
        "advice": [_outcome(one) for one in report.advice],
        "undecided": [_outcome(one) for one in report.undecided],
        "notes": list(report.notes),
    }


def _lines(report: "Report") -> list[str]:
    counts = ", ".join(f"{count} {verdict}" for verdict, count in report.counts.items())
    lines = [f"{report.file}: {report.rows:,} rows, {report.columns} columns, FOCUS {report.version}: {counts}"]
    for one in report.violations[:VIOLATIONS_SHOWN]:
        rows = ", ".join(str(row) for row in one.rows[:ROWS_SHOWN])
        where = f"{one.count:,} rows, first {rows}" if one.rows else f"{one.count:,}" if one.count else "the file"
        lines += [f"  {one.rule.id}  {where}" + (f"  e.g. {one.example[:40]!r}" if one.example else "")]
        lines += [f"      fix: {one.repair}"] if one.repair else []
    if len(report.violations) > VIOLATIONS_SHOWN:
        lines.append(f"  … and {len(report.violations) - VIOLATIONS_SHOWN} more (`--json`)")
    if report.undecided:
        lines.append(f"{len(report.undecided)} rules cannot be decided from the file (`--json` says why)")
    return lines


@click.group()
def prices() -> None:
    """Price catalogues of the clouds."""


@prices.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def pack(file: Path, as_json: bool) -> int:
    """Write every known price into FILE, for a site without network."""
    from bursar import wiring

    async def use(house: "House") -> int:
        actor = await wiring.local_actor(house)
        return house.prices.pack(actor, file)

    count = running.in_house(use)
    running.tell(f"Packed {count:,} prices into {file}", {"prices": count}, as_json=as_json)
    return OK


@prices.command()
@click.argument("file", type=click.Path(exists=True, path_type=Path))
@json_option
def load(file: Path, as_json: bool) -> int:
    """Merge the prices that were packed into FILE elsewhere."""
    from bursar import wiring
    from bursar.infra.clock import utc_now

    async def use(house: "House") -> int:
        actor = await wiring.local_actor(house)
        return house.prices.load(actor, file, now=utc_now())

    count = running.in_house(use)
    running.tell(f"Loaded {count:,} prices", {"prices": count}, as_json=as_json)
    return OK


@prices.command()
@json_option
def refresh(as_json: bool) -> int:
    """Read the catalogues named by BURSAR_PRICE_REGIONS now."""
    from bursar import wiring
    from bursar.infra.clock import utc_now
    from bursar.kernel.errors import Invalid
    from bursar.wiring import tools

    async def use(house: "House") -> dict[str, int]:
        found = tools.catalogues(house.settings)
        if not found:
            raise Invalid("No catalogue is configured.", "Set BURSAR_PRICE_REGIONS, for instance aws:eu-central-1.")
        actor, held = await wiring.local_actor(house), house.prices
        return {one.name: await held.refresh(actor, one, now=utc_now()) for one in found}

    counts = running.in_house(use)
    running.tell("\n".join(f"{name}: {count:,} prices" for name, count in counts.items()), counts, as_json=as_json)
    return OK


@prices.command()
@click.option("--vcpu", type=click.FloatRange(0, 4096, min_open=True), required=True, help="At least so many vCPUs.")
@click.option("--memory", type=click.FloatRange(0, 65536), required=True, help="At least so much memory, GiB.")
@click.option("--provider", multiple=True, help="Only this provider; repeat it.")
@click.option("--arch", type=click.Choice(["x86_64", "arm64"]), default=None, help="Architecture.")
@click.option("--os", "system", default="linux", show_default=True, help="Operating system.")
@click.option("--term", default="on_demand", show_default=True, help="Such as on_demand or reserved_1y_no_upfront.")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="Most machines.")
@json_option
def compare(
    vcpu: float,
    memory: float,
    provider: tuple[str, ...],
    arch: str | None,
    system: str,
    term: str,
    limit: int,
    as_json: bool,
) -> int:
    """Compare machines of a shape across providers and regions, the cheapest first."""
    from bursar import wiring
    from bursar.infra.clock import utc_now
    from bursar.parts.cloud.prices import api
    from bursar.parts.cloud.prices.rules import Shape

    shape = Shape(vcpu, memory, arch or "", system, term)

    async def use(house: "House") -> "list[api.MachineOut]":
        traces, today = wiring.tracer(house, (await wiring.local_actor(house)).org), utc_now().date()
        table = house.prices.compare(shape, on=today, providers=provider, most=limit)
        return [api.machine_out(row, today, traces) for row in table.iter_rows(named=True)]

    found = running.in_house(use)
    if as_json:
        running.print_json([one.model_dump(mode="json") for one in found])
        return OK
    for one in found:
        price = f"{one.price.amount} {one.price.currency}/{one.price.unit}"
        where = f"{one.provider} {one.region}"
        shown = f"{one.vcpu:g} vCPU {one.memory_gib:g} GiB {one.arch}"
        click.echo(
            f"{one.monthly:>10} a month  {price:<20} {one.instance_type:<24} {where:<28} {shown}  ({one.seen_on})"
        )
    if not found:
        running.talk("No machine of this shape is listed.")
    return OK


@prices.command()
@json_option
def providers(as_json: bool) -> int:
    """Say how fresh each provider's prices are, and what went wrong at the last reading."""
    from bursar import wiring
    from bursar.infra.clock import utc_now
    from bursar.parts.cloud.prices import api

    async def use(house: "House") -> "list[api.ProviderOut]":
        actor = await wiring.local_actor(house)
        return [api.provider_out(one) for one in house.prices.providers(actor, today=utc_now().date())]

    found = running.in_house(use)
    if as_json:
        running.print_json([one.model_dump(mode="json") for one in found])
        return OK
    for one in found:
        state = one.error or (
            "the pack that came with the product" if one.fallback else f"read {one.succeeded_at[:10]}"
        )
        age = "never seen" if one.age_days is None else f"{one.age_days} days old"
        click.echo(f"{one.name:<10} {one.prices:>9,} prices in {one.regions} regions, {age}: {state}")
    return OK
