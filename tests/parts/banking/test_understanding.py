"""Understanding on real imports: each stage with its evidence, decisions that teach, rules that step back, audits."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import polars as pl
import pytest
import sqlalchemy as sa

from bursar.connectors.prices.libcloud_pack import default_prices
from bursar.core.intake.jobs import Importer
from bursar.core.language.service import Means
from bursar.core.ledger import service as ledger
from bursar.core.parties import service as parties
from bursar.core.planning.budgets import service as budgets
from bursar.core.planning.budgets.service import Cadence, RollOver
from bursar.infra.db import Tx
from bursar.infra.jobs import Context, Ticket
from bursar.infra.lake import Lake
from bursar.infra.paging import Paging
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, Invalid, NotAllowed, NotFound, TooLarge
from bursar.kernel.lines import BANK_LINES
from bursar.kernel.money import Money
from bursar.kernel.trace import BudgetFigure
from bursar.parts.banking.posting import service as posting
from bursar.parts.banking.transactions import service as transactions
from bursar.parts.banking.transactions.rules import Part
from bursar.parts.banking.transactions.service import Filter, PeriodClosed
from bursar.parts.banking.understanding import jobs, service, store
from bursar.parts.banking.understanding.rules import answers
from bursar.parts.banking.understanding.rules.answers import Policy, When
from bursar.parts.banking.understanding.rules.commitments import Promise, fulfilled, paid
from bursar.parts.banking.understanding.service import Understood
from bursar.parts.banking.understanding.stated import service as stated
from bursar.parts.cloud.prices.service import PriceList
from bursar.reports.trace.answer import Asking, Traced
from bursar.reports.trace.spent import of_budget
from tests.parts.banking.statements import NOW, Row, importer_in, ofx, taken

OCTOBER = date(2026, 10, 1)


@pytest.fixture
async def importer(db: Any, tmp_path: Path) -> AsyncIterator[Importer]:
    async with importer_in(db, tmp_path) as made:
        yield made


async def load(
    importer: Importer, actor: Actor, folder: Path, rows: Sequence[Row], *, account: str = "42"
) -> Understood:
    """Import a statement, derive and understand."""
    await taken(importer, actor, ofx(folder / f"{account}-{len(rows)}-{rows[0][0]}.ofx", rows, account=account))
    async with importer.db.writing(actor) as tx:
        await transactions.derive(tx, actor, lake=importer.lake, now=NOW)
        return await service.understand(tx, actor)


async def listed(importer: Importer, actor: Actor, query: str = "", **wanted: Any) -> list[sa.Row[Any]]:
    async with importer.db.reading(actor) as tx:
        got = await transactions.find(tx, actor, query=query, wanted=Filter(**wanted))
        return list(await tx.all(got.page(tx, Paging(500), newest_first=False)))


async def decide(importer: Importer, actor: Actor, category: str, *ids: UUID) -> Understood:
    async with importer.db.writing(actor) as tx:
        return await service.decide(tx, actor, ids=ids, category=category, now=NOW)


def monthly(text: str, amount: str, months: Sequence[int], day: int = 5) -> list[Row]:
    return [(f"2026{month:02d}{day:02d}", amount, text) for month in months]


async def test_a_transfer_between_own_accounts_is_found_with_its_counterpart(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    await load(importer, actor, tmp_path, [("20261001", "-500.00", "TO SAVINGS"), ("20261001", "-70.00", "SHOP")])
    await load(importer, actor, tmp_path, [("20261003", "500.00", "FROM CURRENT")], account="77")

    async with importer.db.writing(actor) as tx:
        await service.understand(tx, actor, fresh=False)
    out, into = [(await listed(importer, actor, word))[0] for word in ("savings", "current")]

    assert [row.category for row in (out, into)] == [answers.TRANSFER] * 2
    assert [row.evidence["transaction"] for row in (out, into)] == [str(into.id), str(out.id)]
    assert {row.state for row in (out, into)} == {"suggested"}
    assert [row.category for row in await listed(importer, actor, "shop")] == [None]


async def test_a_decision_teaches_at_once_and_the_next_rows_cite_it(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    await load(importer, actor, tmp_path, [("20261001", "-31.00", "GREEN TAXI"), ("20261014", "-29.00", "GREEN TAXI")])
    first, second = await listed(importer, actor)

    became = await decide(importer, actor, "Travel", first.id)
    [again] = [row for row in await listed(importer, actor) if row.id == second.id]

    assert (first.state, became) == ("open", Understood(suggested=1))
    assert (again.state, again.category, again.stage) == ("suggested", "Travel", "model")
    assert again.evidence["transaction"] == str(first.id)
    assert "1 of 1 rows" in again.evidence["because"]


async def test_a_budget_counts_what_was_decided_and_says_which_rows(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    may = replace(actor, rights=actor.rights | {"budget:read", "budget:write", "bank:read", "intake:read"})
    await load(
        importer, actor, tmp_path, [("20261001", "-60.00", "CORNER SHOP"), ("20261014", "-40.00", "CORNER SHOP")]
    )
    first, second = await listed(importer, actor)
    wanted = budgets.Wanted(
        "Office", "bank", {"category": ["Office"]}, Money.of("200.00", "USD"), Cadence.MONTH, RollOver.NONE, OCTOBER, ()
    )
    async with importer.db.writing(may) as tx:
        budget = await budgets.create(tx, may, wanted=wanted, now=NOW)

    async def spent() -> tuple[Money, Traced]:
        async with importer.db.reading(may) as tx:
            figure = BudgetFigure(budget.id, date(2026, 10, 20), "actual", "USD")
            status = await budgets.status(tx, may, id_=budget.id, lake=importer.lake, now=NOW, day=figure.day)
            asking = Asking(tx, may, importer.lake, NOW, PriceList(tmp_path, default=default_prices, clock=lambda: 0.0))
            return status.actual, await of_budget(asking, figure)

    before, _ = await spent()
    await decide(importer, actor, "Office", first.id)
    suggested = next(row for row in await listed(importer, actor) if row.id == second.id)
    decided, _ = await spent()
    async with importer.db.writing(actor) as tx:
        parts = [Part(Decimal(-30), "Office"), Part(Decimal(-10), "Travel")]
        await transactions.split(tx, actor, id_=second.id, version=suggested.version, parts=parts, now=NOW)
    both, traced = await spent()

    assert (before, suggested.state) == (Money(0, "USD"), "suggested")
    assert (decided, both) == (-Money.of(str(first.amount), "USD"), Money.of("90.00", "USD"))
    assert traced.amount == sum(part.amount for part in traced.evidence.parts) == Decimal(90)
    assert {row.amount for row in traced.evidence.rows} == {Decimal(30), Decimal(60)}


async def test_decisions_are_read_once_for_all_budgets_whichever_looks_back_furthest(
    importer: Importer, actor: Actor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may = replace(actor, rights=actor.rights | {"budget:read", "budget:write", "finding:write"})
    await load(importer, actor, tmp_path, monthly("CORNER SHOP", "-60.00", range(1, 11)))
    await decide(importer, actor, "Office", *[row.id for row in await listed(importer, actor)])
    read: list[date] = []

    async def counted(tx: Tx, lines: pl.LazyFrame, since: date) -> pl.LazyFrame | None:
        read.append(since)
        return await transactions.decided(tx, lines, since, schema=BANK_LINES)

    monkeypatch.setattr(importer.lake, "beside", {"bank": counted})
    async with importer.db.writing(may) as tx:
        for at, (kind, start) in enumerate([(RollOver.NONE, OCTOBER), (RollOver.BOTH, date(2026, 6, 1))] * 3):
            wanted = budgets.Wanted(
                f"B{at}", "bank", {"category": ["Office"]}, Money.of("100.00", "USD"), Cadence.MONTH, kind, start, ()
            )
            await budgets.create(tx, may, wanted=wanted, now=NOW)

    async with importer.db.reading(may) as tx:
        found = await budgets.statuses(tx, may, lake=importer.lake, now=NOW, day=date(2026, 10, 20))

    assert len(read) == 1
    assert [one.budget.name for one in found] == [f"B{at}" for at in range(6)]
    assert {one.actual for one in found} == {Money.of("60.00", "USD")}
    assert [one.carried.amount for one in found] == [0, 160] * 3


async def test_changing_a_decision_takes_back_what_it_taught(importer: Importer, actor: Actor, tmp_path: Path) -> None:
    await load(importer, actor, tmp_path, [("20261001", "-31.00", "GREEN TAXI"), ("20261014", "-29.00", "GREEN TAXI")])
    first, second = await listed(importer, actor)
    await decide(importer, actor, "Travel", first.id)

    await decide(importer, actor, "Meals", first.id)
    async with importer.db.reading(actor) as tx:
        [card] = await service.queue(tx, actor)
        taught = await tx.all(sa.text("select distinct category from bank_model_count limit 5"))

    assert [answer.category for answer in card.top] == ["Meals"]
    assert list(card.ids) == [second.id]
    assert [row.category for row in taught] == ["Meals"]


async def test_a_recurring_series_and_a_counterparty_pass_their_category_on(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    await load(importer, actor, tmp_path, monthly("CITY POWER", "-88.10", range(1, 7)))
    rows = await listed(importer, actor)
    await decide(importer, actor, "Energy", *[row.id for row in rows[:3]])

    await load(importer, actor, tmp_path, monthly("CITY POWER", "-91.20", [7, 8]))
    series = (await listed(importer, actor))[-1]
    await load(
        importer, actor, tmp_path, [(f"202609{n:02d}", f"-{n * n}.00", "ODD JOBS") for n in (1, 2, 9, 12, 25, 28)]
    )
    odd = await listed(importer, actor, "odd")
    await decide(importer, actor, "Repairs", *[row.id for row in odd[:5]])
    [last] = [row for row in await listed(importer, actor, "odd") if row.id == odd[5].id]

    assert (series.category, series.stage) == ("Energy", "recurring")
    assert series.evidence["cadence"] == "monthly"
    assert (last.category, last.stage, last.evidence["decided"]) == ("Repairs", "counterparty", 5)


async def test_a_rule_decides_counts_and_steps_back_when_it_is_overridden(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    async with importer.db.writing(actor) as tx:
        rule = await stated.put_rule(
            tx, actor, when=When(words=("kiosk",), way="out"), category="Snacks", mode="automatic", place=1, now=NOW
        )
    rows = [(f"202610{n + 1:02d}", f"-{n + 1}.{n:02d}", f"KIOSK {'ABCDEFGHIJ'[n]}") for n in range(10)]
    first = await load(importer, actor, tmp_path, rows)
    kiosks = await listed(importer, actor, "kiosk")

    await decide(importer, actor, "Office", *[row.id for row in kiosks[:2]])
    async with importer.db.reading(actor) as tx:
        [counted] = await stated.rule_list(tx, actor)
    after = await load(importer, actor, tmp_path, [("20261101", "-3.33", "KIOSK Z")])

    assert first == Understood(automatic=10)
    assert (counted.hits, counted.overrides, counted.suggests) == (10, 2, True)
    assert after == Understood(suggested=1)
    assert (kiosks[0].stage, kiosks[0].evidence["rule"], kiosks[0].evidence["version"]) == ("rule", str(rule.id), 1)


async def test_rules_are_versioned_and_checked(importer: Importer, actor: Actor) -> None:
    made = {"when": When(words=("x",)), "category": "A", "mode": "suggest", "place": 1, "now": NOW}
    async with importer.db.writing(actor) as tx:
        rule = await stated.put_rule(tx, actor, **made)  # type: ignore[arg-type]
        second = await stated.put_rule(tx, actor, id_=rule.id, version=1, **made)  # type: ignore[arg-type]
        kept = await tx.scalar(sa.text("select count(*) from bank_rule where retired_at is not null"))

        assert (second.version, kept) == (2, 1)
        for wrong, refusal in (
            ({"id_": rule.id, "version": 1}, Conflict), ({"id_": UUID(int=1)}, NotFound), ({"when": When()}, Invalid),
            ({"category": " "}, Invalid), ({"mode": "x"}, Invalid), ({"when": When(words=("a",), way="up")}, Invalid),
            ({"when": When(size_min=2, size_max=1)}, Invalid), ({"when": When(words=tuple("abcdefghijk"))}, Invalid),
        ):  # fmt: skip
            with pytest.raises(refusal):
                async with tx.savepoint():
                    await stated.put_rule(tx, actor, **(made | wrong))  # type: ignore[arg-type]
        await stated.retire_rule(tx, actor, id_=rule.id, now=NOW)
        with pytest.raises(NotFound):
            await stated.retire_rule(tx, actor, id_=rule.id, now=NOW)


async def test_rows_become_automatic_only_when_verdicts_of_their_category_allow_it_and_some_are_audited_blind(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    start = date(2025, 1, 3)
    days = [(start + timedelta(days=(n * n * 7) % 600)).strftime("%Y%m%d") for n in range(300)]
    rows = [(days[n], f"-{20 + (n * 37) % 400}.{n % 100:02d}", f"SHOP {'ABCDEFGH'[n % 8]}X") for n in range(300)]
    async with importer.db.writing(actor) as tx:
        await stated.set_policy(tx, actor, wanted=Policy(0.05, 0.05), now=NOW)
    before = await load(importer, actor, tmp_path, rows[:8])
    for row in await listed(importer, actor):
        await decide(importer, actor, "Goods", row.id)
    middle = await load(importer, actor, tmp_path, rows[8:60])
    for row in [row for row in await listed(importer, actor) if row.state != "confirmed"]:
        await decide(importer, actor, "Goods", row.id)

    after = await load(importer, actor, tmp_path, rows[60:])
    async with importer.db.reading(actor) as tx:
        waiting = await service.audits(tx, actor, limit=200)
    await decide(importer, actor, "Tools", waiting[0].id)
    async with importer.db.reading(actor) as tx:
        kept = await tx.all(sa.text("select weight, \"right\" from bank_verdict where source = 'audit' limit 9"))

    assert (before.automatic, middle.automatic) == (0, 0)
    assert after.automatic > 200
    assert 1 <= len(waiting) <= 30
    assert {(one.weight, one.right) for one in kept} == {(20.0, False)}


async def test_the_queue_asks_for_the_most_money_times_uncertainty_first(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    rows = [("20261001", "-10.00", "SMALL"), ("20261002", "-9000.00", "LARGE"), ("20261004", "-8000.00", "LARGE")]
    await load(importer, actor, tmp_path, rows)

    async with importer.db.reading(actor) as tx:
        cards = await service.queue(tx, actor)
        sizes = [(await transactions.get(tx, actor, id_=id_)).row.amount for id_ in cards[0].ids]
    await decide(importer, actor, "Machines", *cards[0].ids)
    async with importer.db.reading(actor) as tx:
        left = await service.queue(tx, actor)

    assert [(card.label, card.rows) for card in cards] == [("LARGE", 2), ("SMALL", 1)]
    assert sizes == [Decimal(-9000), Decimal(-8000)]  # the largest first, whoever asks
    assert [(card.label, [answer.category for answer in card.top]) for card in left] == [("SMALL", ["Machines"])]


async def test_decisions_keep_to_rights_closed_periods_and_limits(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    await load(importer, actor, tmp_path, [("20261001", "-10.00", "SHOP")])
    [row] = await listed(importer, actor)
    nobody = Actor(actor.org, "person:x")
    async with importer.db.writing(nobody) as tx:
        for call in (
            service.understand(tx, nobody), service.queue(tx, nobody), service.audits(tx, nobody),
            stated.rule_list(tx, nobody), stated.policy(tx, nobody),
            service.decide(tx, nobody, ids=[row.id], category="x", now=NOW),
            stated.set_policy(tx, nobody, wanted=Policy(), now=NOW),
        ):  # fmt: skip
            with pytest.raises(NotAllowed):
                await call
    with pytest.raises(NotFound):
        await decide(importer, actor, "x", UUID(int=5))
    for category, ids in (("", [row.id]), ("x", [])):
        with pytest.raises(Invalid):
            await decide(importer, actor, category, *ids)
    async with importer.db.writing(actor) as tx:
        await stated.set_policy(tx, actor, wanted=Policy(0.01, 0.03), now=NOW)
        with pytest.raises(Invalid):
            await stated.set_policy(tx, actor, wanted=Policy(0.9, 0.03), now=NOW)
        await posting.post(tx, actor, now=NOW)
        await transactions.close(tx, actor, until=date(2026, 11, 1), now=NOW)
        kept = await stated.policy(tx, actor)
    with pytest.raises(PeriodClosed):
        await decide(importer, actor, "x", row.id)

    assert kept == Policy(0.01, 0.03)


async def test_payments_that_state_their_category_teach_the_model(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    path = tmp_path / "spend.csv"
    lines = "".join(f"2026-10-{n + 1:02d},ACME LTD,Stationery,Libraries,{n + 10}.50\n" for n in range(8))
    path.write_text(f"Payment Date,Supplier,Expense Type,Directorate,Amount\n{lines}", encoding="utf-8")
    [batch] = await taken(importer, actor, path)
    async with importer.db.writing(actor) as tx:
        await transactions.derive(tx, actor, lake=importer.lake, now=NOW)
        done = await service.understand(tx, actor)
    rows = await listed(importer, actor, "acme")

    assert batch.dataset == "payment"
    assert done == Understood(learned=8)
    assert {(row.category, row.stage, row.state, row.account) for row in rows} == {
        ("Stationery", "source", "confirmed", "payables")
    }
    assert all(row.amount < 0 for row in rows)


async def test_the_job_after_an_import_derives_and_answers_and_can_run_twice(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    await taken(importer, actor, ofx(tmp_path / "a.ofx", [("20261001", "-10.00", "SHOP")]))
    context = Context(
        importer.db,
        jobs.refresh,
        Ticket(1, 1, 0, actor.org),
        tools={Lake: importer.lake, Means: Means(None, (), Decimal(0))},
    )

    done = [await jobs.refresh.run(context, org=str(actor.org)) for _ in range(2)]

    assert done == [
        {"added": 1, "gone": 0, "automatic": 0, "suggested": 0},
        {"added": 0, "gone": 0, "automatic": 0, "suggested": 0},
    ]


async def test_counts_beyond_the_limit_are_refused_and_not_forgotten(
    importer: Importer, actor: Actor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await load(importer, actor, tmp_path, [("20261001", "-31.00", "GREEN TAXI"), ("20261014", "-29.00", "GREEN TAXI")])
    first, second = await listed(importer, actor)
    await decide(importer, actor, "Travel", first.id)
    monkeypatch.setattr(store, "COUNTS_MAX", 2)

    with pytest.raises(TooLarge, match="2 counts"):
        await decide(importer, actor, "Travel", second.id)


async def test_a_row_that_fulfils_a_commitment_takes_its_purpose(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    rows = [("20261105", "-1200.00", "MILLER HALL RENT"), ("20261106", "-1200.00", "SOMETHING ELSE")]
    due = NOW.replace(month=11, day=1)
    async with importer.db.writing(actor) as tx:
        accounts = [ledger.NewAccount("asset:x", "asset", "USD"), ledger.NewAccount("e", "expense", "USD", name="Rent")]
        ids = await ledger.open_accounts(tx, actor, accounts=accounts, now=NOW)
        hold = ledger.Order(
            "rent",
            ledger.Action.HOLD,
            due.date(),
            ids["e"],
            ids["asset:x"],
            120_000,
            "USD",
            due=due,
            memo="Miller hall",
        )
        [id_] = await ledger.record(tx, actor, orders=[hold], now=due - timedelta(days=30))

    await load(importer, actor, tmp_path, rows)
    rent, other = await listed(importer, actor)
    async with importer.db.reading(actor) as tx:
        cards = await service.queue(tx, actor)

    assert (rent.state, rent.category, rent.stage, rent.evidence["hold"]) == (
        "suggested",
        "Rent",
        "commitment",
        str(id_),
    )
    assert other.category is None
    assert {card.label: [one.stage for one in card.top] for card in cards} == {
        "MILLER HALL RENT": ["commitment"], "SOMETHING ELSE": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("day", "amount", "party", "fits"),
    [
        (date(2026, 10, 18), "-10.00", None, True), (date(2026, 10, 17), "-10.00", None, False),
        (date(2026, 12, 16), "-10.00", None, True), (date(2026, 12, 17), "-10.00", None, False),
        (date(2026, 11, 1), "10.00", None, False), (date(2026, 11, 1), "-10.01", None, False),
        (date(2026, 11, 1), "-10.00", UUID(int=7), True), (date(2026, 11, 1), "-10.00", UUID(int=8), False),
    ],
)  # fmt: skip
def test_a_commitment_is_fulfilled_by_its_exact_amount_near_its_day(
    day: date, amount: str, party: UUID | None, fits: bool
) -> None:
    row = answers.Row(
        UUID(int=1),
        "42",
        day,
        Decimal(amount),
        "EUR",
        1_000,
        "HALL",
        ("hall",),
        "",
        UUID(int=7),
        "",
        "",
        UUID(int=2),
        1,
    )
    promise = Promise(UUID(int=3), "Rent", -1_000, "EUR", date(2026, 11, 1), party, ("hall",))

    assert bool(fulfilled([row], [promise])) is fits
    assert fulfilled([row], [promise, replace(promise, id=UUID(int=4))]) == {}
    later = replace(promise, id=UUID(int=4), day=promise.day + timedelta(days=300))
    assert paid([row], [later, promise]) == ({promise.id} if fits else set())
    assert paid([row, row], [promise]) == ({promise.id} if fits else set())


async def test_merged_counterparties_are_one_and_undoing_makes_them_two_again(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    amounts = ("7.00", "52.00", "311.00", "15.00", "890.00")
    seen = [(f"202609{n * n + 1:02d}", f"-{amount}", "ODD JOBS") for n, amount in enumerate(amounts)]
    await load(importer, actor, tmp_path, [*seen, ("20260930", "-4.00", "HANDYMAN XAVER")])
    odd, handy = await listed(importer, actor, "odd"), await listed(importer, actor, "xaver")
    await decide(importer, actor, "Repairs", *[row.id for row in odd])
    async with importer.db.writing(actor) as tx:
        await stated.put_rule(
            tx, actor, when=When(party=str(handy[0].party), size_min=90_000), category="Works", mode="suggest", place=1,
            now=NOW,
        )  # fmt: skip

    async with importer.db.writing(actor) as tx:
        change = await parties.merge(tx, actor, keep=odd[0].party, gone=handy[0].party, now=NOW)
        await service.understand(tx, actor, fresh=False)
    [merged] = await listed(importer, actor, "xaver")
    await load(importer, actor, tmp_path, [("20261001", "-901.00", "ODD JOBS")], account="77")
    async with importer.db.reading(actor) as tx:
        [ruled] = [card for card in await service.queue(tx, actor) if card.size == 90_100]
    async with importer.db.writing(actor) as tx:
        await parties.undo(tx, actor, change=change, now=NOW)
        await service.understand(tx, actor, fresh=False)
    [apart] = await listed(importer, actor, "xaver")

    assert (merged.stage, merged.category, merged.evidence["decided"]) == ("counterparty", "Repairs", 5)
    assert [(one.stage, one.category) for one in ruled.top] == [("counterparty", "Repairs"), ("rule", "Works")]
    assert apart.stage == "model"
    async with importer.db.reading(actor) as tx:
        same = await parties.same(tx, parties=[odd[0].party, handy[0].party])
    assert same == {odd[0].party: odd[0].party, handy[0].party: handy[0].party}


async def answers_of(importer: Importer, actor: Actor, rows: Sequence[Any]) -> dict[UUID, list[tuple[str, float, str]]]:
    """What the model says of some rows, and with what weight of evidence."""
    async with importer.db.reading(actor) as tx:
        said = await service._modelled(tx, [store.row_of(row) for row in rows])
    return {id_: [(one.category, round(one.score, 12), one.because) for one in each] for id_, each in said.items()}


async def test_what_merged_counterparties_taught_counts_together_and_comes_apart_as_it_was(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    await load(
        importer,
        actor,
        tmp_path,
        [(f"202609{n + 1:02d}", "-12.00", "ODD JOBS") for n in range(4)]
        + [(f"202609{n + 11:02d}", "-12.00", "HANDYMAN XAVER") for n in range(4)]
        + [("20260928", "-12.00", "ODD JOBS"), ("20260929", "-12.00", "HANDYMAN XAVER")],
    )
    odd, handy = await listed(importer, actor, "odd"), await listed(importer, actor, "xaver")
    await decide(importer, actor, "Repairs", *[row.id for row in odd[:4]])
    await decide(importer, actor, "Works", *[row.id for row in handy[:3]])
    asked = [odd[4], handy[4]]

    before = await answers_of(importer, actor, asked)
    async with importer.db.writing(actor) as tx:
        change = await parties.merge(tx, actor, keep=odd[0].party, gone=handy[0].party, now=NOW)
    merged = await answers_of(importer, actor, asked)
    async with importer.db.writing(actor) as tx:
        await parties.undo(tx, actor, change=change, now=NOW)
    after = await answers_of(importer, actor, asked)

    assert after == before
    assert [before[row.id][0][0] for row in asked] == ["Repairs", "Works"]
    for row in asked:
        assert {category for category, *_ in merged[row.id]} == {"Repairs", "Works"}
        assert "4 of 7 rows with this counterparty" in merged[row.id][0][2]

    async with importer.db.writing(actor) as tx:
        again = await parties.merge(tx, actor, keep=odd[0].party, gone=handy[0].party, now=NOW)
    await decide(importer, actor, "Works", handy[3].id)
    async with importer.db.writing(actor) as tx:
        await parties.undo(tx, actor, change=again, now=NOW)
    taught = await answers_of(importer, actor, asked)
    assert "4 of 4 rows with this counterparty" in taught[odd[4].id][0][2]
    assert "4 of 4 rows with this counterparty" in taught[handy[4].id][0][2]


async def test_a_rule_counts_each_row_once_and_each_version_for_itself(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    facts: dict[str, Any] = {
        "when": When(words=("kiosk",)),
        "category": "Snacks",
        "mode": "suggest",
        "place": 1,
        "now": NOW,
    }
    async with importer.db.writing(actor) as tx:
        rule = await stated.put_rule(tx, actor, **facts)
    await load(importer, actor, tmp_path, [("20261001", "-1.00", "KIOSK"), ("20261002", "-2.00", "KIOSK")])

    async def counted() -> list[tuple[int, int, int]]:
        async with importer.db.writing(actor) as tx:
            await service.understand(tx, actor, fresh=False)
            rows = await tx.all(sa.text("select version, hits, overrides from bank_rule order by version"))
        return [(row.version, row.hits, row.overrides) for row in rows]

    once, again = await counted(), await counted()
    first, second = await listed(importer, actor)
    async with importer.db.writing(actor) as tx:
        await stated.put_rule(tx, actor, **facts, id_=rule.id)
    await decide(importer, actor, "Meals", first.id)
    changed = await counted()
    await decide(importer, actor, "Meals", second.id)

    assert once == again == [(1, 2, 0)]
    assert changed == [(1, 2, 1), (2, 1, 0)]
    assert await counted() == [(1, 2, 1), (2, 1, 1)]
