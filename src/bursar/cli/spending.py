"""``bursar cloud``: by which rules cost is borne, and what to commit to."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bursar.cli import running
from bursar.cli.findings import json_option, org_option
from bursar.cli.main import OK

if TYPE_CHECKING:
    from bursar.parts.cloud.commitments.api import CommitmentsOut, PlanOut
    from bursar.wiring import House


@click.group()
def cloud() -> None:
    """Cloud costs: who bears them, and what to commit to."""


@cloud.command()
@click.option("--set", "document", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=None, help="Replace all rules by those of this JSON file.")  # fmt: skip
@json_option
@org_option
def rules(document: Path | None, as_json: bool, org: str | None) -> int:
    """Show the rules by which tags are inherited and shared cost is split, or replace them."""
    import json

    from bursar import wiring
    from bursar.infra.clock import utc_now
    from bursar.kernel.errors import Invalid
    from bursar.parts.cloud.sharing import api, service
    from bursar.parts.cloud.sharing.rules import RuleBook

    try:
        given = RuleBook.from_json(json.loads(document.read_bytes())) if document else None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{document} is no JSON: {error}", "See the guide about shared cost.") from error

    async def use(house: "House") -> "tuple[RuleBook, int]":
        actor = await wiring.local_actor(house, org)
        if given is None:
            async with house.db.reading(actor) as tx:
                return await service.book(tx, actor)
        async with house.db.writing(actor) as tx:
            kept = await service.replace_book(tx, actor, rules_=given, seen=lambda _: None, now=utc_now())
        return given, kept

    book, version = running.in_house(use)
    if as_json:
        running.print_json(api.rules_out(book, version).model_dump(mode="json"))
    else:
        click.echo("\n".join(map(str, (*book.tags, *book.splits))) or "There are no rules yet.")
    return OK


@cloud.command()
@click.option("--provider", default="", help="Only this provider, such as aws.")
@click.option("--years", type=click.Choice(["1", "3"]), default="1", show_default=True, help="Term.")
@click.option(
    "--payment",
    type=click.Choice(["no_upfront", "partial_upfront", "all_upfront"]),
    default="no_upfront",
    show_default=True,
    help="How it is paid, where the price list knows a choice.",
)
@click.option("--scope", type=click.Choice(["family", "provider"]), default="family", show_default=True, help="One plan a family (reservations) or a provider (savings plan).")  # fmt: skip
@click.option("--discount", type=click.FloatRange(0, 0.95, min_open=True), default=None, help="Share off the on-demand price, where no list tells it.")  # fmt: skip
@json_option
@org_option
def commitments(
    provider: str, years: str, payment: str, scope: str, discount: float | None, as_json: bool, org: str | None
) -> int:
    """Say how much to commit to, from forecast quantiles of what no commitment covers yet.

    \b
    bursar cloud commitments                       at listed discounts, else those of your own commitments
    bursar cloud commitments --discount 0.28       at a discount you were offered
    bursar cloud commitments --scope provider      one savings plan over all families
    """  # noqa: D301  click's mark for text that is not re-wrapped
    from bursar import wiring
    from bursar.infra.clock import utc_now
    from bursar.parts.cloud.commitments import api, service

    wanted = service.Wanted(provider, int(years), payment, service.Scope(scope), discount)

    async def use(house: "House") -> "CommitmentsOut":
        actor = await wiring.local_actor(house, org)
        async with house.db.reading(actor) as tx:
            found = await service.plan(
                tx, actor, lake=house.lake, prices=house.prices, wanted=wanted, today=utc_now().date()
            )
        return api.answer_out(found, wanted, wiring.tracer(house, actor.org))

    found = running.in_house(use)
    if as_json:
        running.print_json(found.model_dump(mode="json"))
    else:
        click.echo("\n".join(_lines(found)))
    return OK


def _lines(found: "CommitmentsOut") -> list[str]:
    lines = [
        f"{one.provider} {one.currency} now: {one.coverage:.0%} of machine hours committed, {one.utilisation:.0%} of that used,"
        f" saves {one.savings_rate:.1%} of the on-demand price"
        for one in found.standing
    ]
    for plan in found.plans:
        lines += _plan(plan)
    if not found.plans:
        lines.append("Nothing more is worth committing to.")
    if found.without_offer:
        lines.append(f"No discount is known for {', '.join(found.without_offer)}; give one with --discount.")
    if not found.hours_measured:
        lines.append("The bills are by the day: every hour of a day is taken to be alike.")
    return lines


def _plan(plan: "PlanOut") -> list[str]:
    currency = plan.hourly.currency
    names = ", ".join(f"{one.family} ({one.discount:.0%} by {one.source.value})" for one in plan.offers)
    count = f", about {plan.main_count:g} x {plan.main_type}" if plan.main_count else ""
    regret = ", ".join(f"{one.quantile:.0%}: {float(one.regret.amount):.3f}" for one in plan.outcomes)
    steps = ", ".join(f"{one.on:%b %Y} {float(one.hourly.amount):.3f}" for one in plan.purchases)
    return [
        f"{plan.provider} {names}: {float(plan.hourly.amount):.3f} {currency} an hour{count}",
        f"    saves {plan.saving_a_year.amount} {currency} of {plan.on_demand_a_year.amount} a year ({plan.savings_rate:.1%})",
        f"    covers {plan.coverage:.0%}, used to {plan.utilisation:.0%}, loses money below {plan.break_even:.0%}",
        f"    regret an hour by demand: {regret}",
        f"    buy in steps: {steps}",
    ]
