"""Transactions derived from real imports: found, annotated, split, closed."""

from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from bursar.core.intake.jobs import Importer
from bursar.core.ledger import service as ledger
from bursar.infra.db import Database
from bursar.infra.paging import Paging
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, Invalid, NotAllowed, NotFound, Stale
from bursar.parts.banking.posting import service as posting
from bursar.parts.banking.transactions import rules, service, store
from bursar.parts.banking.transactions.rules import Part
from bursar.parts.banking.transactions.service import Derived, Filter, PeriodClosed
from tests.parts.banking.statements import NOW, importer_in, ofx, taken

COFFEE = [
    ("20261005", "-4.50", "Café Noir"),
    ("20261005", "-4.50", "Café Noir"),
    ("20261007", "-120.00", "OFFICE DEPOT 0042"),
    ("20261103", "2500.00", "ACME invoice 77"),
]


@pytest.fixture
async def importer(db: Database, tmp_path: Path) -> AsyncIterator[Importer]:
    async with importer_in(db, tmp_path) as made:
        yield made


async def derive(importer: Importer, actor: Actor) -> Derived:
    async with importer.db.writing(actor) as tx:
        return await service.derive(tx, actor, lake=importer.lake, now=NOW)


async def found(db: Database, actor: Actor, query: str = "", **wanted: Any) -> list[sa.Row[Any]]:
    async with db.reading(actor) as tx:
        got = await service.find(tx, actor, query=query, wanted=Filter(**wanted))
        return list(await tx.all(got.page(tx, Paging(100), newest_first=False)))


async def only(db: Database, actor: Actor, query: str) -> Any:
    [row] = await found(db, actor, query)
    return row


async def test_every_line_is_one_transaction_and_deriving_again_changes_nothing(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    await taken(importer, actor, ofx(tmp_path / "a.ofx", COFFEE))

    first, again = await derive(importer, actor), await derive(importer, actor)
    rows = await found(importer.db, actor)

    assert (first, again) == (Derived(added=4, months=2), Derived())
    assert [(str(row.booking_date), row.amount) for row in rows] == [
        ("2026-10-05", Decimal("-4.50")), ("2026-10-05", Decimal("-4.50")), ("2026-10-07", Decimal(-120)), ("2026-11-03", Decimal(2500)),
    ]  # fmt: skip
    assert rows[0].party == rows[1].party != rows[2].party
    assert len({row.id for row in rows}) == 4


async def test_what_people_added_survives_a_batch_taken_back_and_imported_again(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    [batch] = await taken(importer, actor, ofx(tmp_path / "a.ofx", COFFEE))
    await derive(importer, actor)
    depot = await only(importer.db, actor, "depot")
    async with importer.db.writing(actor) as tx:
        await service.annotate(tx, actor, id_=depot.id, version=1, note="the new chairs", tags=["fit-out"], now=NOW)

    await importer.revert(actor, batch.id, clock=lambda: NOW)
    gone = await derive(importer, actor)
    nothing = await found(importer.db, actor)
    await taken(importer, actor, ofx(tmp_path / "a.ofx", COFFEE))
    back = await derive(importer, actor)

    assert (gone, nothing, back) == (Derived(gone=4, months=2), [], Derived(back=4, months=2))
    assert (await only(importer.db, actor, "chairs")).id == depot.id


async def test_overlapping_statements_make_no_second_transaction(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    await taken(importer, actor, ofx(tmp_path / "a.ofx", COFFEE[:3]))
    await derive(importer, actor)
    await taken(importer, actor, ofx(tmp_path / "b.ofx", COFFEE[1:]))

    await derive(importer, actor)

    assert sorted(row.amount for row in await found(importer.db, actor)) == [
        Decimal(-120), Decimal("-4.50"), Decimal("-4.50"), Decimal(2500)
    ]  # fmt: skip


async def test_search_by_words_beginnings_amount_day_and_tag(importer: Importer, actor: Actor, tmp_path: Path) -> None:
    await taken(importer, actor, ofx(tmp_path / "a.ofx", COFFEE))
    await derive(importer, actor)
    depot = await only(importer.db, actor, "depot")
    async with importer.db.writing(actor) as tx:
        await service.annotate(tx, actor, id_=depot.id, version=1, tags=["fit-out"], now=NOW)

    async def hits(query: str = "", **wanted: Any) -> int:
        return len(await found(importer.db, actor, query, **wanted))

    assert [await hits(query) for query in ("cafe noir", "CAFÉ", "noir depot", "off* dep*", "depot off*", "x*")] == [
        2, 2, 0, 1, 1, 0
    ]  # fmt: skip
    assert await hits(size_min=450, size_max=450) == 2
    assert await hits("0042", since=date(2026, 10, 7), until=date(2026, 10, 8)) == 1
    assert await hits("0042", until=date(2026, 10, 7)) == 0
    assert [await hits(tag="fit-out"), await hits("fit"), await hits(account="42"), await hits(account="43")] == [
        1,
        1,
        4,
        0,
    ]
    assert [await hits(currency="USD", state="open", party=depot.party), await hits(department="x")] == [1, 0]
    with pytest.raises(Invalid):
        await hits("***")
    with pytest.raises(Invalid, match="8 words"):
        await hits("a b c d e f g h i")


async def test_a_split_sums_exactly_or_is_refused(importer: Importer, actor: Actor, tmp_path: Path) -> None:
    await taken(importer, actor, ofx(tmp_path / "a.ofx", COFFEE))
    await derive(importer, actor)
    depot = await only(importer.db, actor, "depot")
    good = [Part(Decimal("-100.01"), "Furniture", "Sales"), Part(Decimal("-19.99"), "Paper", note="A4")]

    async with importer.db.writing(actor) as tx:
        await service.split(tx, actor, id_=depot.id, version=1, parts=good, now=NOW)
    async with importer.db.reading(actor) as tx:
        whole = await service.get(tx, actor, id_=depot.id)

    assert (whole.parts, whole.row.version) == (good, 2)
    for parts in (good[:1], [*good, Part(Decimal("0.01"), "x")], [*good, Part(Decimal(0), "x")]):
        with pytest.raises(Invalid):
            rules.check_split(Decimal(-120), parts)
    with pytest.raises(Stale):
        async with importer.db.writing(actor) as tx:
            await service.split(tx, actor, id_=depot.id, version=1, parts=(), now=NOW)
    with pytest.raises(sa.exc.IntegrityError, match="do not sum"):
        async with importer.db.writing(actor) as tx:
            await store.put_split(tx, depot.id, [Part(Decimal(-1), "a"), Part(Decimal(-2), "b")])
            await tx.run("set constraints all immediate")


async def test_nothing_in_a_closed_period_changes_until_it_is_reopened(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    await taken(importer, actor, ofx(tmp_path / "a.ofx", COFFEE))
    await derive(importer, actor)
    depot = await only(importer.db, actor, "depot")
    async with importer.db.writing(actor) as tx:
        await posting.post(tx, actor, now=NOW)
        undecided = await service.close(tx, actor, until=date(2026, 11, 1), now=NOW)
    with pytest.raises(PeriodClosed, match="2026-11-01"):
        async with importer.db.writing(actor) as tx:
            await service.annotate(tx, actor, id_=depot.id, version=1, note="x", now=NOW)
    with pytest.raises(Conflict):
        async with importer.db.writing(actor) as tx:
            await service.close(tx, actor, until=date(2026, 10, 1), now=NOW)
    await taken(importer, actor, ofx(tmp_path / "late.ofx", [("20261009", "-7.00", "FORGOTTEN")]))
    await derive(importer, actor)

    async with importer.db.writing(actor) as tx:
        await service.reopen(tx, actor, until=date(2026, 10, 1), now=NOW)
        await service.annotate(tx, actor, id_=depot.id, version=1, note="x", now=NOW)
        trail = await tx.all(
            sa.text(
                "select action from audit_entry where action not like 'import.%' and action <> 'ledger.accounts_opened' order by action limit 10"
            )
        )

    assert undecided == 3
    assert [row.late for row in await found(importer.db, actor)] == [False, False, False, True, False]
    assert [row.action for row in trail] == [
        "ledger.books_closed", "ledger.books_reopened", "transaction.annotated"
    ]  # fmt: skip


async def test_what_the_ledger_closes_is_closed_for_transactions_too(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    await taken(importer, actor, ofx(tmp_path / "a.ofx", COFFEE))
    await derive(importer, actor)
    depot = await only(importer.db, actor, "depot")
    async with importer.db.writing(actor) as tx:
        await ledger.close_books(tx, actor, through=date(2026, 10, 31), now=NOW)

    with pytest.raises(PeriodClosed, match="2026-11-01"):
        async with importer.db.writing(actor) as tx:
            await service.annotate(tx, actor, id_=depot.id, version=1, note="x", now=NOW)
    async with importer.db.writing(actor) as tx:
        assert await service.closed_until(tx, actor) == date(2026, 11, 1)
        await ledger.reopen_books(tx, actor, after=None, now=NOW)
        assert await service.closed_until(tx, actor) is None
        await service.annotate(tx, actor, id_=depot.id, version=1, note="x", now=NOW)


async def test_rights_and_organisations_are_kept(
    importer: Importer, actor: Actor, other_actor: Actor, tmp_path: Path
) -> None:
    await taken(importer, actor, ofx(tmp_path / "a.ofx", COFFEE))
    await derive(importer, actor)
    depot = await only(importer.db, actor, "depot")
    nobody = Actor(actor.org, "person:x")

    assert await found(importer.db, other_actor, "depot") == []
    async with importer.db.reading(other_actor) as tx:
        with pytest.raises(NotFound):
            await service.get(tx, other_actor, id_=depot.id)
    async with importer.db.writing(nobody) as tx:
        for call in (
            service.derive(tx, nobody, lake=importer.lake, now=NOW),
            service.find(tx, nobody),
            service.annotate(tx, nobody, id_=depot.id, version=1, now=NOW),
            service.split(tx, nobody, id_=depot.id, version=1, parts=(), now=NOW),
            service.close(tx, nobody, until=NOW.date(), now=NOW),
            service.reopen(tx, nobody, until=NOW.date(), now=NOW),
            service.accounts(tx, nobody),
        ):
            with pytest.raises(NotAllowed):
                await call


async def test_hostile_texts_are_kept_exactly(importer: Importer, actor: Actor, tmp_path: Path) -> None:
    texts = ['=HYPERLINK("x")', "'; drop table bank_split; --", "x" * 10_000]
    rows = "".join(
        f'2026-10-{n + 1:02d},-{n + 1}.00,"{text.replace(chr(34), chr(34) * 2)}"\n' for n, text in enumerate(texts)
    )
    path = tmp_path / "a.csv"
    path.write_text(f"Date,Amount,Description\n{rows}", encoding="utf-8")
    await taken(importer, actor, path)

    await derive(importer, actor)

    assert [row.description for row in await found(importer.db, actor)] == texts


@given(st.lists(st.text(max_size=60), max_size=4))
def test_words_are_bounded_and_can_be_asked_for(texts: list[str]) -> None:
    words = rules.words_of(*texts)

    assert len(words) <= rules.WORDS_MAX
    assert all(rules.asked_words(one) in ([one], rules.words_of(one)) for one in words)


def test_ids_differ_with_anything_that_identifies() -> None:
    assert len(set(rules.ids_of(["a#0", "a#1", "b#0"]))) == 3
    assert isinstance(rules.ids_of(["a"])[0], UUID)


async def test_a_common_beginning_and_common_words_are_found_in_order_and_each_row_once(
    importer: Importer, actor: Actor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        (f"202610{n + 1:02d}", f"-{n + 1}.00", f"CAB CABLE {'CABIN' if n % 2 else 'KIOSK'} N{n}X") for n in range(20)
    ]
    await taken(importer, actor, ofx(tmp_path / "a.ofx", rows))
    await derive(importer, actor)
    whole = {
        query: await found(importer.db, actor, query) for query in ("cab*", "cab* kiosk", "ca* k* n1*", "cab cable")
    }

    monkeypatch.setattr(store, "RARE_LOOK", 2)  # every word is a common one
    after: tuple[Any, ...] | None = None
    pages: list[sa.Row[Any]] = []
    for _ in range(4):
        async with importer.db.reading(actor) as tx:
            got = await service.find(tx, actor, query="cab*")
            page = await tx.all(got.page(tx, Paging(5, after)))
        pages += page[:5]
        after = (pages[-1].booking_date, pages[-1].id)

    assert {query: len(rows) for query, rows in whole.items()} == {
        "cab*": 20, "cab* kiosk": 10, "ca* k* n1*": 5, "cab cable": 20,
    }  # fmt: skip
    assert {query: await found(importer.db, actor, query) for query in whole} == whole
    assert [row.id for row in pages] == [row.id for row in reversed(whole["cab*"])]
