"""Transactions and their categories on the command line: search, derive and understand, work through the cards."""

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from bursar.cli import running, showing
from bursar.cli.findings import json_option, org_option
from bursar.cli.main import OK

if TYPE_CHECKING:
    from bursar.parts.banking.understanding.service import Card, Understood
    from bursar.wiring import House

ROWS_MAX = 1_000


@click.command()
@click.argument("query", default="")
@click.option("--account", default="", help="Only this account.")
@click.option("--since", type=showing.DAY, default=None, help="First day.")
@click.option("--until", type=showing.DAY, default=None, help="First day that is left out.")
@click.option("--least", default=None, help="Least amount, without sign.")
@click.option("--most", default=None, help="Largest amount, without sign.")
@click.option("--currency", default="", help="Only this currency.")
@click.option("--category", default="", help="Only this category.")
@click.option("--department", default="", help="Only this department.")
@click.option("--party", type=click.UUID, default=None, help="Only this counterparty.")
@click.option("--tag", default="", help="Only with this tag.")
@click.option(
    "--state", type=click.Choice(["open", "suggested", "automatic", "confirmed"]), default=None, help="Only this state."
)
@click.option("--limit", type=click.IntRange(1, ROWS_MAX), default=50, show_default=True, help="Most rows printed.")
@click.option("--to", "file", type=click.Path(dir_okay=False, path_type=Path), default=None, help="Write every row found to this .csv or .parquet file instead.")  # fmt: skip
@json_option
@org_option
def transactions(
    query: str, limit: int, file: Path | None, state: str | None, least: str | None, most: str | None, as_json: bool,
    org: str | None, **only: Any,
) -> int:  # fmt: skip
    """Search transactions: QUERY is words that must all occur, `offi*` a beginning; the newest first."""
    from bursar import wiring
    from bursar.infra.paging import Paging
    from bursar.parts.banking.transactions import service
    from bursar.parts.banking.transactions.rules import size_of

    if file and file.suffix not in {".csv", ".parquet"}:
        raise click.UsageError("The file of --to ends in .csv or .parquet.")
    sizes = [size_of(showing.amount(given)) if given else None for given in (least, most)]
    wanted = service.Filter(size_min=sizes[0], size_max=sizes[1], state=state or "", **only)

    async def use(house: "House") -> list[Any]:
        actor = await wiring.local_actor(house, org)
        async with house.db.writing(actor) as tx:
            await _derive(tx, actor, house)
        async with house.db.reading(actor) as tx:
            if file:
                await _write(tx, actor, query, wanted, file)
                return []
            got = await service.find(tx, actor, query=query, wanted=wanted)
            return list(await tx.all(got.page(tx, Paging(limit))))[:limit]

    rows = running.in_house(use)
    if file:
        running.talk(f"They are in {file}")
        return OK
    if as_json:
        names = (
            "id", "account", "booking_date", "amount", "currency", "label", "description", "category", "state", "stage",
            "department", "note", "tags",
        )  # fmt: skip
        running.print_json([{name: getattr(row, name) for name in names} for row in rows])
        return OK
    for row in rows:
        told = row.category or ""
        mark = "?" if row.state == "suggested" else ""
        click.echo(f"{row.booking_date}  {row.amount:>14,.2f} {row.currency}  {_plain(row.label):<40.40}  {told}{mark}")
    if not rows:
        running.talk("Nothing matches.")
    return OK


async def _write(tx: Any, actor: Any, query: str, wanted: Any, file: Path) -> None:
    from bursar.infra.web_exports import save
    from bursar.parts.banking.transactions import api

    await save(file, api.EXPORTED, api.exported(tx, actor, query, wanted), file.suffix.removeprefix("."))


def _plain(text: str) -> str:
    """Return text that moves no cursor and reverses no line on a terminal."""
    return "".join(c if c.isprintable() else "·" for c in text)


async def _derive(tx: Any, actor: Any, house: "House") -> None:
    from bursar.infra.clock import utc_now
    from bursar.parts.banking.transactions import service

    await service.derive(tx, actor, lake=house.lake, now=utc_now())


@click.command()
@click.option("--cards", "many", type=click.IntRange(1, 200), default=20, show_default=True, help="Most cards.")
@click.option("--decide", "answers", multiple=True, metavar="ID=CATEGORY", help="Decide the card or row of an id.")
@click.option("--keys", is_flag=True, help="Go through the cards one by one: 1 to 3, a category in words, s or q.")
@click.option("--ask", is_flag=True, help="Ask the language model about the rest, if it is switched on; waits for it.")
@json_option
@org_option
def categorise(many: int, answers: tuple[str, ...], ask: bool, keys: bool, as_json: bool, org: str | None) -> int:
    """Say what transactions were for; list what only a person can decide, the most money first.

    \b
    bursar categorise                                 answer what can be answered, list the cards
    bursar categorise --decide 3fa8…=Travel           decide; their like are answered anew
    """  # noqa: D301  click's mark for text that is not re-wrapped
    from bursar import wiring
    from bursar.infra.clock import utc_now
    from bursar.parts.banking.understanding import service

    async def use(house: "House") -> "tuple[Understood, list[Card]]":
        actor = await wiring.local_actor(house, org)
        async with house.db.writing(actor) as tx:
            await _derive(tx, actor, house)
            done = await service.understand(tx, actor)
            for answer in answers:
                id_, _, category = answer.partition("=")
                ids = await _ids(tx, actor, id_)
                done += await service.decide(tx, actor, ids=ids, category=category, now=utc_now())
        if ask:
            await _ask(house, actor)
        if keys:
            done += await _by_keys(house, actor, many)
        async with house.db.reading(actor) as tx:
            return done, await service.queue(tx, actor, limit=many)

    done, cards = running.in_house(use)
    if as_json:
        running.print_json({"done": _facts(done), "cards": [_card(card) for card in cards]})
        return OK
    running.talk(f"{done.automatic} automatic, {done.suggested} suggested, {done.learned} learned from exports.")
    for card in cards:
        _show(card)
    return OK


def _show(card: "Card", *, aside: bool = False) -> None:
    """Print a card with its answers; ``aside`` to stderr, where it is asked and not listed."""
    way = "in" if card.inflow else "out"
    click.echo(
        f"{card.ids[0]}  {Decimal(card.size) / 100:>14,.2f} {card.currency} {way:<3} {card.rows:>4} x {_plain(card.label)}",
        err=aside,
    )
    for key, answer in enumerate(card.top, 1):
        click.echo(f" {key}  {answer.score:>4.0%} {_plain(answer.category)}: {_plain(answer.because)}", err=aside)


async def _by_keys(house: "House", actor: Any, most: int) -> "Understood":
    """Show the card most worth answering, take its answer, show the next; each answer re-scores the rest."""
    from bursar.infra.clock import utc_now
    from bursar.parts.banking.understanding import service

    done, skipped = service.Understood(), set[UUID]()
    for _ in range(most):
        async with house.db.reading(actor) as tx:
            cards = await service.queue(tx, actor, limit=min(len(skipped) + 1, service.CARDS_MAX))
        card = next((one for one in cards if one.ids[0] not in skipped), None)
        if card is None:
            break
        _show(card, aside=True)
        said = click.prompt("1-3, a category, s to skip, q to stop", default="q", show_default=False, err=True).strip()
        if said == "q":
            break
        if said == "s" or (said.isdigit() and not 0 < int(said) <= len(card.top)):
            skipped.add(card.ids[0])
            continue
        category = card.top[int(said) - 1].category if said.isdigit() else said
        async with house.db.writing(actor) as tx:
            done += await service.decide(tx, actor, ids=card.ids, category=category, now=utc_now())
    return done


async def _ask(house: "House", actor: Any) -> None:
    """Ask the language model and say what came of it, or why nothing was asked."""
    from bursar.parts.banking.understanding.opinions import jobs
    from bursar.wiring.tools import language_means

    told = await jobs.ask_now(house, actor, language_means(house.settings))
    running.talk(f"{told['asked']} questions asked, {told['suggested'] + told['automatic']} rows answered anew.")
    if "why_not" in told:
        running.talk(f"Not all was asked: {told['why_not']}.")


async def _ids(tx: Any, actor: Any, given: str) -> list[UUID]:
    """Return the rows of the card that begins with an id, or that row alone."""
    from bursar.kernel.errors import Invalid
    from bursar.parts.banking.understanding import service

    try:
        id_ = UUID(given)
    except ValueError as error:
        raise Invalid(f"{given!r} is not the id of a card", fix="Copy it from `bursar categorise`.") from error
    cards = await service.queue(tx, actor, limit=service.CARDS_MAX)
    return next((list(card.ids) for card in cards if card.ids[0] == id_), [id_])


def _facts(done: "Understood") -> dict[str, int]:
    return {name: getattr(done, name) for name in ("learned", "automatic", "suggested", "silent")}


def _card(card: "Card") -> dict[str, Any]:
    return {
        "label": card.label,
        "currency": card.currency,
        "inflow": card.inflow,
        "rows": card.rows,
        "amount": f"{card.size // 100}.{card.size % 100:02d}",
        "ids": [str(id_) for id_ in card.ids],
        "top": [
            {"category": one.category, "stage": one.stage, "score": one.score, "because": one.because}
            for one in card.top
        ],
    }
