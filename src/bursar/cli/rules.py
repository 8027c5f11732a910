"""``bursar rules``: what people state about categories: rules by version, the largest error of the books, blind audits."""

from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from bursar.cli import running, showing
from bursar.cli.findings import json_option, org_option
from bursar.cli.main import OK

if TYPE_CHECKING:
    from bursar.infra.db import Tx
    from bursar.kernel.actor import Actor


@click.group()
def rules() -> None:
    """Rules that decide categories, and how wrong automatic answers may be."""


@rules.command("list")
@json_option
@org_option
def list_(as_json: bool, org: str | None) -> int:
    """List the rules in their order, with hits and overrides; an overridden one only suggests."""
    from bursar.parts.banking.understanding.stated import service

    names = ("id", "version", "place", "category", "mode", "hits", "overrides")
    rows = [
        {name: getattr(one, name) for name in names}
        | {
            "suggests": one.suggests,
            "when": {name: value for name in service.When.__dataclass_fields__ if (value := getattr(one.when, name))},
        }
        for one in running.in_org(org, service.rule_list)
    ]
    showing.show(rows, as_json=as_json, none="No rules yet.")
    return OK


@rules.command("set")
@click.argument("category")
@click.option("--id", "id_", type=click.UUID, default=None, help="Replace this rule by a new version.")
@click.option("--words", default="", help="Words that all occur.")
@click.option("--party", type=click.UUID, default=None, help="The counterparty.")
@click.option("--account", default="", help="The own account.")
@click.option("--department", default="", help="The department.")
@click.option("--way", type=click.Choice(["", "in", "out"]), default="", help="Money in or out.")
@click.option("--least", default=None, help="Least amount, without sign.")
@click.option("--most", default=None, help="Largest amount, without sign.")
@click.option("--automatic", is_flag=True, help="Decide; otherwise it only suggests.")
@click.option("--place", type=click.IntRange(0, 1_000_000), default=100, show_default=True, help="Lower goes first.")
@json_option
@org_option
def set_(
    category: str, id_: UUID | None, words: str, party: UUID | None, account: str, department: str, way: str, least: str | None,
    most: str | None, automatic: bool, place: int, as_json: bool, org: str | None,
) -> int:  # fmt: skip
    """Make a rule for CATEGORY: everything given must hold.

    \b
    bursar rules set Travel --words taxi --way out --automatic
    """  # noqa: D301  click's mark for text that is not re-wrapped
    from bursar.infra.clock import utc_now
    from bursar.parts.banking.transactions.rules import size_of, words_of
    from bursar.parts.banking.understanding.stated import service

    sizes = [size_of(showing.amount(given)) if given else None for given in (least, most)]
    when = service.When(tuple(words_of(words)), str(party or ""), account, department, way, *sizes)
    mode = "automatic" if automatic else "suggest"
    rule = running.in_org(
        org,
        lambda tx, actor: service.put_rule(
            tx, actor, when=when, category=category, mode=mode, place=place, now=utc_now(), id_=id_
        ),
        write=True,
    )
    running.tell(f"Rule {rule.id}, version {rule.version}.", {"id": rule.id, "version": rule.version}, as_json=as_json)
    return OK


@rules.command()
@click.argument("id_", metavar="ID", type=click.UUID)
@json_option
@org_option
def retire(id_: UUID, as_json: bool, org: str | None) -> int:
    """Retire the rule ID; what it decided stays."""
    from bursar.infra.clock import utc_now
    from bursar.parts.banking.understanding.stated import service

    running.in_org(org, lambda tx, actor: service.retire_rule(tx, actor, id_=id_, now=utc_now()), write=True)
    running.tell("Retired.", {"retired": id_}, as_json=as_json)
    return OK


@rules.command()
@click.option("--error-max", type=float, default=None, help="Largest share of automatic answers that may be wrong.")
@click.option("--audit-share", type=float, default=None, help="Share of automatic rows that are audited blind.")
@json_option
@org_option
def policy(error_max: float | None, audit_share: float | None, as_json: bool, org: str | None) -> int:
    """Show the stated error of the books and the audited share, or state them."""
    from bursar.infra.clock import utc_now
    from bursar.parts.banking.understanding.stated import service

    async def ask(tx: "Tx", actor: "Actor") -> service.Policy:
        stated = await service.policy(tx, actor)
        if error_max is None and audit_share is None:
            return stated
        error = stated.error_max if error_max is None else error_max
        wanted = service.Policy(error, stated.audit_share if audit_share is None else audit_share)
        await service.set_policy(tx, actor, wanted=wanted, now=utc_now())
        return wanted

    found = running.in_org(org, ask, write=True)
    showing.show_one({"error_max": found.error_max, "audit_share": found.audit_share}, as_json=as_json)
    return OK


@rules.command()
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="Most rows.")
@json_option
@org_option
def audits(limit: int, as_json: bool, org: str | None) -> int:
    """List automatic rows to audit blind; answer with `bursar categorise --decide ID=CATEGORY`."""
    from bursar.parts.banking.understanding import service

    found: Any = running.in_org(org, lambda tx, actor: service.audits(tx, actor, limit=limit))
    names = ("id", "account", "day", "label", "amount", "currency", "department")
    showing.show(
        [{name: getattr(row, name) for name in names} for row in found], as_json=as_json, none="Nothing to audit."
    )
    return OK
