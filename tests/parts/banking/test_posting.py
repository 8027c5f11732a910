"""Bank lines in the books: balanced, once, reversed where something changed, and tied to what statements state."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bursar.core.intake.jobs import Importer
from bursar.core.intake.service import BooksClosed
from bursar.core.ledger import service as ledger
from bursar.core.ledger.books import service as books
from bursar.infra.db import Database, new_id
from bursar.infra.paging import Paging
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, NotAllowed
from bursar.parts.banking.posting import rules, service
from bursar.parts.banking.posting.rules import Anchor, Stated
from bursar.parts.banking.posting.service import Posted
from bursar.parts.banking.transactions import service as transactions
from bursar.parts.banking.transactions.rules import Part
from bursar.parts.banking.transactions.service import Filter
from bursar.parts.banking.understanding import service as understanding
from tests.parts.banking.statements import NOW, Row, importer_in, ofx, taken
from tests.shared import shared_data

ROWS = [
    ("20261005", "-4.50", "Café Noir"),
    ("20261005", "-4.50", "Café Noir"),
    ("20261007", "-120.00", "OFFICE DEPOT 0042"),
    ("20261103", "2500.00", "ACME invoice 77"),
]


@pytest.fixture
async def importer(db: Database, tmp_path: Path) -> AsyncIterator[Importer]:
    async with importer_in(db, tmp_path) as made:
        yield made


async def booked(importer: Importer, actor: Actor, *, derive: bool = True) -> Posted:
    """Do what the jobs after an import do."""
    done = Posted()
    if derive:
        async with importer.db.writing(actor) as tx:
            await transactions.derive(tx, actor, lake=importer.lake, now=NOW)
    while True:
        async with importer.db.writing(actor) as tx:
            step = await service.post(tx, actor, now=NOW)
        if not step.looked:
            break
        done += step
    async with importer.db.writing(actor) as tx:
        await service.settle(tx, actor, now=NOW)
        assert await ledger.prove(tx, actor) == []
    return done


async def balances(importer: Importer, actor: Actor, **asked: Any) -> dict[str, str]:
    """Return the trial balance: decimal text by code, without empty accounts."""
    async with importer.db.reading(actor) as tx:
        found = await books.trial_balance(tx, actor, **asked)
    return {line.code: f"{Decimal(line.balance) / 100:.2f}" for line in found.lines if line.balance}


async def ids_of(importer: Importer, actor: Actor, query: str) -> list[Any]:
    async with importer.db.reading(actor) as tx:
        got = await transactions.find(tx, actor, query=query, wanted=Filter())
        return [row.id for row in await tx.all(got.page(tx, Paging(100)))]


async def decide(importer: Importer, actor: Actor, query: str, category: str) -> None:
    ids = await ids_of(importer, actor, query)
    async with importer.db.writing(actor) as tx:
        await understanding.decide(tx, actor, ids=ids, category=category, now=NOW)


async def test_each_line_is_one_balanced_transfer_and_again_changes_nothing(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    await taken(importer, actor, ofx(tmp_path / "a.ofx", ROWS[:3]))
    first = await booked(importer, actor)
    await taken(importer, actor, ofx(tmp_path / "b.ofx", ROWS[1:]))

    overlap, again = await booked(importer, actor), await booked(importer, actor)

    assert (first, overlap.booked, overlap.reversed, again) == (Posted(3, 3, 0, 0), 1, 0, Posted())
    assert await balances(importer, actor) == {
        "asset:bank:42:USD": "2371.00", "expense:uncategorised:USD": "129.00", "income:uncategorised:USD": "2500.00",
    }  # fmt: skip
    assert await balances(importer, actor, on=date(2026, 10, 6)) == {
        "asset:bank:42:USD": "-9.00", "expense:uncategorised:USD": "9.00",
    }  # fmt: skip


async def test_a_decision_and_a_split_are_booked_by_reversal_so_history_stays(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    await taken(importer, actor, ofx(tmp_path / "a.ofx", ROWS))
    await booked(importer, actor)
    [depot] = await ids_of(importer, actor, "depot")

    await decide(importer, actor, "noir", "Meals")
    await decide(importer, actor, "acme", "Sales")
    decided = await booked(importer, actor, derive=False)
    async with importer.db.writing(actor) as tx:
        version = (await transactions.get(tx, actor, id_=depot)).row.version
        parts = [Part(Decimal("-100.01"), "Furniture", "Sales"), Part(Decimal("-19.99"), "Paper")]
        await transactions.split(tx, actor, id_=depot, version=version, parts=parts, now=NOW)
    split = await booked(importer, actor, derive=False)
    async with importer.db.reading(actor) as tx:
        statement = await books.income_statement(tx, actor, since=date(2026, 1, 1), until=date(2026, 12, 31))
        by_department = await books.groups(
            tx, actor, tag="department", since=date(2026, 1, 1), until=date(2026, 12, 31)
        )
        standing = await service.transfers_of(tx, actor, transaction=depot)

    assert (decided.booked, decided.reversed, split.booked, split.reversed) == (3, 3, 2, 1)
    assert await balances(importer, actor) == {
        "asset:bank:42:USD": "2371.00", "expense:Meals:USD": "9.00", "expense:Furniture:USD": "100.01",
        "expense:Paper:USD": "19.99", "income:Sales:USD": "2500.00",
    }  # fmt: skip
    assert statement.earnings == {"USD": 237_100}
    assert [group.debits for group in by_department if group.key == "Sales"] == [10_001]
    assert [place for place, _ in standing] == [1, 2]


async def test_a_refund_stays_with_the_expense_it_repays(importer: Importer, actor: Actor, tmp_path: Path) -> None:
    await taken(importer, actor, ofx(tmp_path / "a.ofx", [*ROWS[:2], ("20261009", "4.50", "Café Noir")]))
    await booked(importer, actor)
    await decide(importer, actor, "noir", "Meals")

    await booked(importer, actor, derive=False)

    assert (await balances(importer, actor)) == {"asset:bank:42:USD": "-4.50", "expense:Meals:USD": "4.50"}


async def test_a_batch_taken_back_leaves_the_books_and_returns_with_it(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    [batch] = await taken(importer, actor, ofx(tmp_path / "a.ofx", ROWS))
    await booked(importer, actor)
    before = await balances(importer, actor)

    await importer.revert(actor, batch.id, clock=lambda: NOW)
    gone = await booked(importer, actor)
    nothing = await balances(importer, actor)
    await taken(importer, actor, ofx(tmp_path / "a.ofx", ROWS))
    back = await booked(importer, actor)

    assert (gone.reversed, nothing, back.booked) == (4, {}, 4)
    assert await balances(importer, actor) == before


async def test_transfers_between_own_accounts_meet_in_one_clearing_account(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    await taken(importer, actor, ofx(tmp_path / "a.ofx", [("20261005", "-500.00", "TO SAVINGS 43")], account="42"))
    await taken(importer, actor, ofx(tmp_path / "b.ofx", [("20261006", "500.00", "FROM 42")], account="43"))
    async with importer.db.writing(actor) as tx:
        await transactions.derive(tx, actor, lake=importer.lake, now=NOW)
        await understanding.understand(tx, actor)
    await decide(importer, actor, "savings", "Transfer between own accounts")
    await decide(importer, actor, "from", "Transfer between own accounts")

    await booked(importer, actor, derive=False)

    assert await balances(importer, actor, on=date(2026, 10, 5)) == {
        "asset:bank:42:USD": "-500.00", "asset:clearing:own-transfers:USD": "500.00",
    }  # fmt: skip
    assert await balances(importer, actor) == {"asset:bank:42:USD": "-500.00", "asset:bank:43:USD": "500.00"}


async def test_closed_books_take_late_lines_on_the_first_open_day_and_keep_their_imports(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    [batch] = await taken(importer, actor, ofx(tmp_path / "a.ofx", ROWS))
    async with importer.db.writing(actor) as tx:
        await transactions.derive(tx, actor, lake=importer.lake, now=NOW)
        with pytest.raises(Conflict, match="still being booked"):
            await transactions.close(tx, actor, until=date(2026, 11, 1), now=NOW)
    await booked(importer, actor)
    async with importer.db.writing(actor) as tx:
        await transactions.close(tx, actor, until=date(2026, 11, 1), now=NOW)
    closed = await balances(importer, actor, on=date(2026, 10, 31))

    with pytest.raises(BooksClosed, match="2026-10-31"):
        await importer.revert(actor, batch.id, clock=lambda: NOW)
    await taken(importer, actor, ofx(tmp_path / "late.ofx", [("20261009", "-7.00", "FORGOTTEN")]))
    await booked(importer, actor)
    late = await balances(importer, actor, on=date(2026, 11, 1))
    async with importer.db.writing(actor) as tx:
        await transactions.reopen(tx, actor, until=date(2026, 10, 1), now=NOW)
    await importer.revert(actor, batch.id, clock=lambda: NOW)

    assert await balances(importer, actor, on=date(2026, 10, 31)) == closed
    assert late["asset:bank:42:USD"] == "-136.00"


async def test_a_line_the_ledger_refuses_is_kept_with_the_reason_and_tried_again(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    rows: Sequence[Row] = [*ROWS[:1], ("20261008", "-99999999999999.00", "TOO MUCH")]
    await taken(importer, actor, ofx(tmp_path / "a.ofx", rows))

    done = await booked(importer, actor)
    async with importer.db.writing(actor) as tx:
        waits, refused = await service.waits(tx, actor), await service.refused(tx, actor)
        queued = await service.again(tx, actor)
    again = await booked(importer, actor, derive=False)

    assert (done.booked, done.refused, waits) == (1, 1, False)
    assert [(row.label, "minor units" in row.refusal) for row in refused] == [("TOO MUCH", True)]
    assert (queued, again.refused) == (1, 1)


async def test_rights_are_asked_for(importer: Importer, actor: Actor) -> None:
    nobody = Actor(actor.org, "person:x")

    async with importer.db.writing(nobody) as tx:
        for call in (
            service.post(tx, nobody, now=NOW), service.settle(tx, nobody, now=NOW), service.again(tx, nobody),
            service.reconcile(tx, nobody), service.balances(tx, nobody), service.refused(tx, nobody), service.waits(tx, nobody),
        ):  # fmt: skip
            with pytest.raises(NotAllowed):
                await call


@pytest.mark.parametrize("source", ["camt", "camt_cz", "mt940", "ofxparse", "csv2ofx/test", "quiffen"])
async def test_the_books_agree_with_the_closing_balances_of_real_statements(
    importer: Importer, actor: Actor, source: str
) -> None:
    """Each file alone in an organisation of its own; a file whose statements do not tie in themselves cannot tie here."""
    looked = tied = 0
    for path in sorted(one for one in shared_data("banking").joinpath(source).rglob("*") if one.is_file()):
        mine = replace(actor, org=new_id())
        [batch] = await taken(importer, mine, path)
        if batch.dataset != "bank" or not batch.rows_taken:
            continue
        done = await booked(importer, mine)
        async with importer.db.reading(mine) as tx:
            ties = await service.reconcile(tx, mine)
            trial = await books.trial_balance(tx, mine)
            refused = await service.refused(tx, mine)
        off = {(one.account, one.currency) for one in batch.balances if one.ties is False}
        looked += 1
        tied += len(ties)
        assert not refused, path
        assert done.booked or all(not line.balance for line in trial.lines), path
        wrong = [tie for tie in ties if tie.off and (tie.stated.account, tie.stated.currency) not in off]
        assert not wrong, path
    assert looked
    assert tied or source == "quiffen"


def test_openings_are_reckoned_from_the_earliest_stated_balance() -> None:
    day = date(2026, 3, 1)
    later = day + timedelta(days=30)
    first = Stated("a", "EUR", None, Decimal(5), day, day, day)
    second = Stated("a", "EUR", Decimal(7), Decimal(9), later, later, later)
    blank = Stated("b", "EUR", None, None, day, day, day)

    assert rules.anchors([second, first, blank]) == [Anchor("a", "EUR", Decimal(5), day, closing=True)]
    assert rules.last_closings([first, second, blank]) == [first, second]
    assert len(rules.bank_account("x" * 500, "EUR").code) <= 200
