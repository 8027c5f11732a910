from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime
from uuid import UUID

import pytest

from bursar.core.ledger import service
from bursar.core.ledger.rules.orders import Action, Guard, Order
from bursar.core.ledger.service import NewAccount
from bursar.infra.db import Database, Tx
from bursar.kernel.actor import Actor

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = date(2026, 3, 1)

Accounts = dict[str, UUID]
PLAN = (
    NewAccount("cash", "asset", "EUR"),
    NewAccount("sales", "income", "EUR"),
    NewAccount("rent", "expense", "EUR"),
    NewAccount("escrow", "liability", "EUR", guard=Guard.DEBITS_WITHIN_CREDITS),
    NewAccount("till", "asset", "EUR", guard=Guard.CREDITS_WITHIN_DEBITS),
    NewAccount("cash usd", "asset", "USD"),
    NewAccount("fx usd", "equity", "USD"),
)


@pytest.fixture
async def tx(db: Database, actor: Actor) -> AsyncIterator[Tx]:
    async with db.writing(actor) as open_tx:
        yield open_tx


@pytest.fixture
async def accounts(db: Database, actor: Actor) -> Accounts:
    async with db.writing(actor) as open_tx:
        return await service.open_accounts(open_tx, actor, accounts=PLAN, now=NOW)


Make = Callable[..., Order]


@pytest.fixture
def order(accounts: Accounts) -> Make:
    def make(
        key: str, debit: str = "", credit: str = "", amount: int = 0, action: Action = Action.POST, *, of: UUID | None = None,
        currency: str = "EUR", day: date = DAY, due: datetime | None = None, entry: UUID | None = None, memo: str = "",
    ) -> Order:  # fmt: skip
        return Order(
            key,
            action,
            day,
            accounts.get(debit),
            accounts.get(credit),
            amount,
            "" if of else currency,
            due,
            of,
            entry,
            memo=memo,
        )

    return make
