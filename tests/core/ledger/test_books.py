"""Reports at any value date and known date, and exports that other programs read."""

import csv
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import FileResponse

from bursar.core.ledger import service
from bursar.core.ledger.books import service as books
from bursar.core.ledger.rules import reports
from bursar.core.ledger.rules.exports import COLUMNS, cells
from bursar.core.ledger.rules.orders import Action
from bursar.core.ledger.rules.reports import Line, OutOfBalance
from bursar.infra.db import Tx
from bursar.infra.web_exports import export
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Invalid, NotAllowed
from tests.core.ledger.conftest import DAY, NOW, Accounts, Make

LATER = NOW + timedelta(days=10)
BEFORE = DAY - timedelta(days=5)


@pytest.fixture
async def booked(tx: Tx, actor: Actor, accounts: Accounts, order: Make) -> None:
    party = uuid4()
    orders = [
        order("s", "cash", "sales", 1000, day=BEFORE),
        replace(order("r", "rent", "cash", 300), party=party, tags={"site": "north"}),
        order("f", "cash", "escrow", 50),
        order("x1", "cash usd", "fx usd", 220, currency="USD"),
    ]
    await service.record(tx, actor, orders=orders, now=NOW)
    [hold] = await service.record(tx, actor, orders=[order("h", "escrow", "sales", 20, Action.HOLD)], now=NOW)
    await service.record(tx, actor, orders=[order("late", "rent", "cash", 7, day=BEFORE)], now=LATER)
    await service.record(
        tx,
        actor,
        orders=[order("st", amount=20, action=Action.SETTLE, of=hold, day=DAY + timedelta(days=1))],
        now=LATER,
    )


def balances(lines: list[Line]) -> dict[str, int]:
    return {line.code: line.balance for line in lines if line.balance}


async def test_a_balance_depends_on_value_date_and_on_what_was_known(tx: Tx, actor: Actor, booked: None) -> None:
    async def at(on: date | None, known_at: object = None) -> dict[str, int]:
        return balances(list((await books.trial_balance(tx, actor, on=on, known_at=known_at)).lines))  # type: ignore[arg-type]

    assert await at(BEFORE, NOW) == {"cash": 1000, "sales": 1000}
    assert await at(BEFORE, LATER) == {"cash": 993, "sales": 1000, "rent": 7}
    assert (await at(DAY))["cash"] == 743
    assert await at(DAY + timedelta(days=1)) == await at(None)
    assert (await books.trial_balance(tx, actor)).totals == {"EUR": 1377, "USD": 220}


async def test_statements_balance(tx: Tx, actor: Actor, booked: None) -> None:
    sheet = await books.balance_sheet(tx, actor, on=DAY + timedelta(days=1))
    income = await books.income_statement(tx, actor, since=BEFORE, until=DAY + timedelta(days=1))

    assert {(s.kind, s.currency): s.total for s in sheet.sections} == {
        ("asset", "EUR"): 743, ("liability", "EUR"): 30, ("asset", "USD"): 220, ("equity", "USD"): 220,
    }  # fmt: skip
    assert sheet.earnings == income.earnings == {"EUR": 713}


async def test_cash_parties_and_tags(tx: Tx, actor: Actor, booked: None) -> None:
    flows = await books.cash_flow(tx, actor, cash="cash", since=BEFORE, until=DAY)
    parties = await books.groups(tx, actor, since=DAY, until=DAY)
    tags = await books.groups(tx, actor, tag="site", since=BEFORE, until=DAY)

    assert {(f.code, f.currency): f.inflow - f.outflow for f in flows} == {
        ("sales", "EUR"): 1000, ("rent", "EUR"): -307, ("escrow", "EUR"): 50, ("fx usd", "USD"): 220,
    }  # fmt: skip
    assert [(g.kind, g.debits) for g in parties if g.key] == [("expense", 300)]
    assert {(g.key, g.kind): g.debits - g.credits for g in tags} == {
        ("north", "expense"): 300,
        (None, "expense"): 7,
        (None, "income"): -1000,
    }


async def test_revaluation_names_its_rates_and_what_lacks_one(
    tx: Tx, actor: Actor, booked: None, accounts: Accounts
) -> None:
    none = await books.revalue(tx, actor, on=DAY, into="EUR", known_at=LATER)
    await service.add_rates(
        tx,
        actor,
        rates=[("USD", "EUR", BEFORE, Decimal("0.5")), ("USD", "EUR", DAY, Decimal("0.9"))],
        source="ecb",
        now=NOW,
    )
    early = await books.revalue(tx, actor, on=BEFORE, into="EUR", known_at=LATER)
    full = await books.revalue(tx, actor, on=DAY, into="EUR", known_at=LATER)

    assert (none.missing, accounts["cash usd"] in none.worth) == (["USD"], False)
    assert early.rates == {}
    assert full.worth[accounts["cash usd"]] == 198
    assert full.rates["USD"].source == "ecb"
    with pytest.raises(Invalid):
        await service.add_rates(tx, actor, rates=[("USD", "EUR", DAY, Decimal(0))], source="x", now=NOW)


async def test_a_rate_recorded_the_other_way_round_serves_and_says_so(
    tx: Tx, actor: Actor, booked: None, accounts: Accounts
) -> None:
    other = [("EUR", "USD", DAY - timedelta(days=1), Decimal("1.1"))]
    await service.add_rates(tx, actor, rates=[("USD", "EUR", BEFORE, Decimal("0.5"))], source="bank", now=NOW)
    await service.add_rates(tx, actor, rates=other, source="ecb", now=NOW)
    newer = await books.revalue(tx, actor, on=DAY, into="EUR", known_at=LATER)
    await service.add_rates(
        tx, actor, rates=[("USD", "EUR", DAY - timedelta(days=1), Decimal("0.9"))], source="bank", now=NOW
    )
    direct = await books.revalue(tx, actor, on=DAY, into="EUR", known_at=LATER)

    assert (newer.worth[accounts["cash usd"]], newer.rates["USD"].source) == (200, "ecb, inverted")
    assert (direct.worth[accounts["cash usd"]], direct.rates["USD"].source) == (198, "bank")


async def test_beancount_loads_without_errors_and_agrees(tx: Tx, actor: Actor, booked: None, tmp_path: Path) -> None:
    from beancount import loader
    from beancount.core import data, inventory

    path = tmp_path / "books.beancount"
    path.write_text("".join([piece async for piece in books.beancount(tx, actor)]))
    entries, errors, _ = loader.load_file(str(path))

    assert errors == []
    total: Any = inventory.Inventory()
    for entry in entries:
        if isinstance(entry, data.Transaction):
            for posting in entry.postings:
                if posting.account == "Assets:Cash":
                    total.add_position(posting)
    assert total.get_currency_units("EUR").number == Decimal("7.43")


def read_csv(answer: FileResponse) -> list[dict[str, str]]:
    with Path(answer.path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


async def test_csv_is_complete_and_runs_no_formula(tx: Tx, actor: Actor, accounts: Accounts, order: Make) -> None:
    memos = ["=1+1", "@x", "plain", 'quote " and, comma\nline']
    await service.record(
        tx, actor, orders=[order(f"k{n}", "cash", "sales", 123, memo=memo) for n, memo in enumerate(memos)], now=NOW
    )

    async def pages() -> AsyncIterator[list[list[Any]]]:
        async for page in books.transfers(tx, actor):
            yield [cells(row) for row in page]

    rows = read_csv(await export("books", COLUMNS, pages(), "csv"))
    frame = pl.read_parquet(Path((await export("books", COLUMNS, pages(), "parquet")).path))

    assert [row["memo"] for row in rows] == ["'=1+1", "'@x", "plain", 'quote " and, comma\nline']
    assert {row["amount"] for row in rows} == {"1.23"}
    assert frame["memo"].to_list() == memos
    assert frame["amount"].unique().to_list() == [Decimal("1.23")]
    assert [len(page) async for page in books.transfers(tx, actor, since=DAY + timedelta(days=1))] == [0]


async def test_exports_of_many_rows_come_in_pieces(
    tx: Tx, actor: Actor, accounts: Accounts, order: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books, "EXPORT_ROWS", 3)
    await service.record(tx, actor, orders=[order(f"k{n}", "cash", "sales", 1) for n in range(8)], now=NOW)

    assert [len(page) async for page in books.transfers(tx, actor)] == [3, 3, 2]
    assert len([piece async for piece in books.beancount(tx, actor)]) == 4


async def test_reports_refuse_what_makes_no_sense(tx: Tx, make_actor: Callable[..., Actor], actor: Actor) -> None:
    with pytest.raises(Invalid):
        await books.income_statement(tx, actor, since=DAY, until=BEFORE)
    with pytest.raises(Invalid):
        await books.cash_flow(tx, actor, cash="", since=DAY, until=DAY)
    for call in (
        books.trial_balance(tx, make_actor()),
        books.groups(tx, make_actor(), since=DAY, until=DAY),
        anext(aiter(books.transfers(tx, make_actor()))),
        anext(aiter(books.beancount(tx, make_actor()))),
    ):
        with pytest.raises(NotAllowed):
            await call


def _line(kind: str, debited: int, credited: int, code: str = "x", currency: str = "EUR") -> Line:
    return Line(uuid4(), code, code, kind, currency, debited, credited)


def test_an_unbalanced_report_fails() -> None:
    with pytest.raises(OutOfBalance, match="EUR"):
        reports.check_trial_balance([_line("asset", 1, 0)])


def test_positions_give_the_unrealised_gain() -> None:
    """100 USD bought for 90 EUR; at 0.95 the dollars are worth 95, a gain of 5."""
    lines = [
        _line("asset", 10000, 0, "usd", "USD"), _line("equity", 0, 10000, "fx:usd", "USD"),
        _line("asset", 0, 9000, "eur"), _line("equity", 9000, 0, "fx:eur"),
    ]  # fmt: skip
    rate = reports.Rate("USD", Decimal("0.95"), DAY, "x")

    assert reports.revalued(lines, "EUR", {"USD": rate}) == (500, [])
    assert reports.revalued(lines, "EUR", {}) == (-9000, ["USD"])


@given(st.integers(-(10**12), 10**12), st.decimals("0.0001", "10000", places=4))
def test_translation_is_odd_and_keeps_minor_units(minor: int, rate: Decimal) -> None:
    assert reports.translated(-minor, "EUR", "USD", rate) == -reports.translated(minor, "EUR", "USD", rate)
    assert reports.translated(minor, "EUR", "EUR", Decimal(1)) == minor
    assert reports.translated(100, "EUR", "JPY", Decimal(160)) == 160
