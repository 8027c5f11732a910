"""Which commitments of the books rows have paid: each row one, and none that a settlement stands for."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from bursar.core.intake.jobs import Importer
from bursar.core.ledger import service as ledger
from bursar.kernel.actor import Actor
from bursar.parts.banking.transactions import service as transactions
from bursar.parts.banking.understanding.promises import service
from tests.parts.banking.statements import NOW, importer_in, ofx, taken


@pytest.fixture
async def importer(db: Any, tmp_path: Path) -> AsyncIterator[Importer]:
    async with importer_in(db, tmp_path) as made:
        yield made


async def paid(importer: Importer, actor: Actor, source: str = "bank") -> set[UUID]:
    async with importer.db.reading(actor) as tx:
        return await service.paid(tx, actor, source)


async def test_each_row_pays_one_hold_and_none_beside_a_settled_one(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    accounts = [ledger.NewAccount("asset:x", "asset", "USD"), ledger.NewAccount("e", "expense", "USD")]
    days = [NOW, NOW + timedelta(days=7)]
    async with importer.db.writing(actor) as tx:
        ids = await ledger.open_accounts(tx, actor, accounts=accounts, now=NOW)
        orders = [
            ledger.Order(
                f"week{n}", ledger.Action.HOLD, due.date(), ids["e"], ids["asset:x"], 50_000, "USD", due=due, memo="Miller hall"
            )
            for n, due in enumerate(days)
        ]  # fmt: skip
        this, following = await ledger.record(tx, actor, orders=orders, now=NOW - timedelta(days=9))
    before = await paid(importer, actor)
    rows = [(f"{NOW:%Y%m%d}", "-500.00", "MILLER RENT"), (f"{NOW:%Y%m%d}", "-500.00", "SOMEBODY ELSE")]
    await taken(importer, actor, ofx(tmp_path / "a.ofx", rows))
    async with importer.db.writing(actor) as tx:
        await transactions.derive(tx, actor, lake=importer.lake, now=NOW)

    unsettled = await paid(importer, actor)
    settle = ledger.Order("s", ledger.Action.SETTLE, NOW.date(), of=this)
    async with importer.db.writing(actor) as tx:
        await ledger.record(tx, actor, orders=[settle], now=NOW - timedelta(hours=1))

    assert (before, unsettled) == (set(), {this})
    assert await paid(importer, actor) == set()  # the row of this week does not pay the following one
    assert await paid(importer, actor, "payment") == set()
    assert following not in unsettled
