"""``bursar ledger``: accounts, transfers between them, exchange rates, the proof of the books."""

from datetime import date, datetime
from typing import IO, TYPE_CHECKING, Any
from uuid import UUID

import click

from bursar.cli import running, showing
from bursar.cli.findings import json_option, org_option
from bursar.cli.main import FAILED, OK
from bursar.kernel.money import Money

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bursar.core.ledger.rules.admit import Outcome
    from bursar.infra.db import Tx
    from bursar.kernel.actor import Actor

ROWS_MAX = 10_000
_limit = click.option("--limit", type=click.IntRange(1, ROWS_MAX), default=50, show_default=True, help="Most rows.")
_VOLUMES = ("debits_posted", "credits_posted", "debits_pending", "credits_pending")


@click.group()
def ledger() -> None:
    """Accounts and immutable transfers; nothing here is ever changed, only reversed. Accounts are named by code."""


async def _account(tx: "Tx", actor: "Actor", code: str) -> UUID:
    from bursar.core.ledger import service
    from bursar.kernel.errors import NotFound

    found = await service.accounts_by_code(tx, actor, codes=[code])
    if code not in found:
        raise NotFound("account", code)
    return found[code]


def _facts(row: Any) -> dict[str, Any]:
    plain = {name: getattr(row, name) for name in ("id", "code", "kind", "guard")}
    volumes = {name: Money(getattr(row, name), row.currency) for name in _VOLUMES}
    return plain | volumes | {"name": row.name, "party": row.party, "opened": row.opened_at, "closed": row.closed_at}


@ledger.command()
@_limit
@json_option
@org_option
def accounts(limit: int, as_json: bool, org: str | None) -> int:
    """List accounts by code with their volumes."""
    from bursar.core.ledger import service

    async def ask(tx: "Tx", actor: "Actor") -> Any:
        found = service.account_listing(tx, actor)
        return await tx.all(found.order_by(found.selected_columns.code).limit(limit))

    rows = [_facts(row) for row in running.in_org(org, ask)]
    few = ("code", *_VOLUMES)
    showing.show(
        rows if as_json else [{name: row[name] for name in few} for row in rows],
        as_json=as_json,
        none="No accounts yet.",
    )
    return OK


@ledger.command()
@click.argument("code")
@json_option
@org_option
def account(code: str, as_json: bool, org: str | None) -> int:
    """Show the account CODE."""
    from bursar.core.ledger import service

    async def ask(tx: "Tx", actor: "Actor") -> Any:
        return await service.get_account(tx, actor, account=await _account(tx, actor, code))

    showing.show_one(_facts(running.in_org(org, ask)), as_json=as_json)
    return OK


@ledger.command("open")
@click.argument("code")
@click.option("--kind", required=True, type=click.Choice(["asset", "liability", "equity", "income", "expense"]), help="What it counts.")  # fmt: skip
@click.option("--currency", required=True, help="ISO 4217 code.")
@click.option("--name", default="", help="What people call it.")
@click.option("--guard", type=click.Choice(["none", "debits_within_credits", "credits_within_debits"]), default="none", show_default=True, help="A limit that it never passes, holds counted.")  # fmt: skip
@click.option("--party", type=click.UUID, default=None, help="The party it belongs to.")
@json_option
@org_option
def open_(
    code: str, kind: str, currency: str, name: str, guard: str, party: UUID | None, as_json: bool, org: str | None
) -> int:
    """Open the account CODE, such as `asset:cash`; one that is like it already stays as it is."""
    from bursar.core.ledger import service
    from bursar.infra.clock import utc_now

    new = service.NewAccount(code, kind, currency, name, service.Guard(guard), party)
    ids = running.in_org(
        org, lambda tx, actor: service.open_accounts(tx, actor, accounts=[new], now=utc_now()), write=True
    )
    running.tell(f"{code} is open ({ids[code]}).", {"id": ids[code], "code": code}, as_json=as_json)
    return OK


@ledger.command("close")
@click.argument("code")
@json_option
@org_option
def close(code: str, as_json: bool, org: str | None) -> int:
    """Close the empty account CODE."""
    from bursar.core.ledger import service
    from bursar.infra.clock import utc_now

    async def ask(tx: "Tx", actor: "Actor") -> None:
        await service.close_account(tx, actor, account=await _account(tx, actor, code), now=utc_now())

    running.in_org(org, ask, write=True)
    running.tell(f"{code} is closed.", {"closed": code}, as_json=as_json)
    return OK


@ledger.command()
@click.option("--account", "code", default="", help="Only those of this account.")
@_limit
@json_option
@org_option
def transfers(code: str, limit: int, as_json: bool, org: str | None) -> int:
    """List transfers, the newest first."""
    from bursar.core.ledger import service

    async def ask(tx: "Tx", actor: "Actor") -> Any:
        found = service.transfer_listing(tx, actor, of_account=await _account(tx, actor, code) if code else None)
        return await tx.all(found.order_by(found.selected_columns.id.desc()).limit(limit))

    names = ("id", "key", "kind", "value_day", "debit", "credit", "memo", "of", "due", "entry", "party", "recorded_at", "actor")  # fmt: skip
    rows = [
        {"amount": Money(row.amount, row.currency)}
        | {name: getattr(row, name) for name in names}
        | {"tags": row.tags or {}}
        for row in running.in_org(org, ask)
    ]
    few = ("id", "value_day", "kind", "amount", "key", "memo")
    showing.show(
        rows if as_json else [{name: row[name] for name in few} for row in rows],
        as_json=as_json,
        none="No transfers yet.",
    )
    return OK


@ledger.command()
@click.argument("key")
@click.option("--action", type=click.Choice(["post", "hold", "settle", "void", "reverse"]), default="post", show_default=True, help="What to do; the last three are about --of.")  # fmt: skip
@click.option("--debit", default="", help="Code of the account debited.")
@click.option("--credit", default="", help="Code of the account credited.")
@click.option("--amount", nargs=2, default=None, metavar="AMOUNT CUR", help="With --of: all that is left by default.")
@click.option("--day", type=showing.DAY, default=None, help="Value date, today by default; may lie in the past.")
@click.option("--due", type=showing.INSTANT, default=None, help="When a hold lapses by itself.")
@click.option("--of", type=click.UUID, default=None, help="The earlier transfer.")
@click.option("--party", type=click.UUID, default=None, help="The counterparty.")
@click.option("--memo", default="", help="Free text.")
@click.option("--tag", "tags", multiple=True, metavar="NAME=VALUE", help="Repeat it.")
@json_option
@org_option
def transfer(
    key: str, action: str, debit: str, credit: str, amount: tuple[str, str] | None, day: date | None, due: datetime | None,
    of: UUID | None, party: UUID | None, memo: str, tags: tuple[str, ...], as_json: bool, org: str | None,
) -> int:  # fmt: skip
    """Record one transfer under KEY, its name for ever; the same again changes nothing.

    \b
    bursar ledger transfer rent-11 --debit expense:rent --credit asset:bank --amount 900 EUR
    bursar ledger transfer order-7 --action hold --debit expense:it --credit asset:bank --amount 50 EUR
    bursar ledger transfer order-7-paid --action settle --of ID --amount 20 EUR
    """  # noqa: D301  click's mark for text that is not re-wrapped
    from bursar.core.ledger import service
    from bursar.infra.clock import utc_now

    now, given = utc_now(), showing.money(amount) if amount else None

    async def ask(tx: "Tx", actor: "Actor") -> UUID:
        one, other = [await _account(tx, actor, code) if code else None for code in (debit, credit)]
        minor, currency = (given.minor, given.currency) if given else (0, "")
        order = service.Order(
            key, service.Action(action), day or now.date(), one, other, minor, currency, due, of,
            party=party, memo=memo, tags=dict(showing.pairs(tags)),
        )  # fmt: skip
        return (await service.record(tx, actor, orders=[order], now=now))[0]

    id_ = running.in_org(org, ask, write=True)
    running.tell(f"Recorded as {id_}.", {"id": id_, "key": key}, as_json=as_json)
    return OK


@ledger.command()
@click.argument("document", type=click.File("rb"))
@json_option
@org_option
def record(document: IO[bytes], as_json: bool, org: str | None) -> int:
    """Record the transfers of a JSON DOCUMENT (`-`: standard input) in one transaction; exits 1 when one is refused.

    It is the body of `POST /v1/ledger/transfers/batch`; transfers next to each other with one `entry` are recorded all or none.
    """
    from pydantic import ValidationError

    from bursar.core.ledger import api, service
    from bursar.infra.clock import utc_now
    from bursar.kernel.errors import Invalid

    try:
        orders = [one.order() for one in api.BatchIn.model_validate_json(document.read()).transfers]
    except ValidationError as error:
        first = error.errors()[0]
        raise Invalid(f"{'.'.join(map(str, first['loc'])) or 'The document'}: {first['msg']}") from error
    done: Sequence[Outcome] = running.in_org(
        org, lambda tx, actor: service.transfer(tx, actor, orders=orders, now=utc_now()), write=True
    )
    rows = [
        {"key": order.key, "id": one.id, "new": one.new, "refused": str(one.refusal) if one.refusal else None}
        for order, one in zip(orders, done, strict=True)
    ]
    showing.show(rows, as_json=as_json)
    return FAILED if any(one.refusal for one in done) else OK


@ledger.command()
@click.argument("base")
@click.argument("quote")
@click.argument("day", type=showing.DAY)
@click.argument("value", metavar="RATE")
@click.option("--source", required=True, help="Who says so.")
@json_option
@org_option
def rate(base: str, quote: str, day: date, value: str, source: str, as_json: bool, org: str | None) -> int:
    """Record that on DAY one BASE costs RATE of QUOTE; the last one recorded for a day counts."""
    from bursar.core.ledger import service
    from bursar.infra.clock import utc_now

    facts = [(base, quote, day, showing.amount(value))]
    running.in_org(
        org, lambda tx, actor: service.add_rates(tx, actor, rates=facts, source=source, now=utc_now()), write=True
    )
    running.tell(
        f"1 {base} = {value} {quote} on {day}.",
        {"base": base, "quote": quote, "day": day, "rate": value, "source": source},
        as_json=as_json,
    )
    return OK


@ledger.command()
@json_option
@org_option
def prove(as_json: bool, org: str | None) -> int:
    """Prove the books again from the transfers: volumes, zero sums, remainders, hash chain; exits 1 on a fault."""
    from bursar.core.ledger import service

    faults = running.in_org(org, service.prove)
    showing.show(
        [{"what": one.what, "where": one.where} for one in faults], as_json=as_json, none="The books are proved."
    )
    return FAILED if faults else OK
