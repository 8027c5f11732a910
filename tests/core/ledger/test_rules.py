"""Decisions of the ledger without a database: limits, members that fail together, names in exports."""

from datetime import UTC, date, datetime
from uuid import UUID, uuid4

import pytest

from bursar.core.ledger.rules.admit import Account, Batch, Earlier
from bursar.core.ledger.rules.exports import Beancount
from bursar.core.ledger.rules.orders import VOLUME_MAX, Action, LimitReached, LinkFailed, Order, check
from bursar.kernel.errors import Invalid

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = NOW.date()
CASH, SALES, HELD = (UUID(int=n) for n in (1, 2, 3))


@pytest.fixture
def batch() -> Batch:
    accounts = {id_: Account(id_, "EUR") for id_ in (CASH, SALES)}
    held = Earlier(HELD, Action.HOLD, CASH, SALES, 100, "EUR")
    return Batch(accounts, {HELD: held}, {}, None, NOW, uuid4)


def order(key: str, action: Action = Action.POST, **facts: object) -> Order:
    return Order(key, action, DAY, **facts)  # type: ignore[arg-type]


def test_an_account_that_would_overflow_takes_no_more(batch: Batch) -> None:
    batch.accounts[CASH].debits_posted = VOLUME_MAX - 5
    made = batch.admit([order("a", debit=CASH, credit=SALES, amount=6, currency="EUR")])

    assert isinstance(made[0].refusal, LimitReached)
    assert batch.accounts[CASH].debits_posted == VOLUME_MAX - 5


def test_what_an_entry_used_of_a_hold_is_free_again_when_the_entry_fails(batch: Batch) -> None:
    entry, before = uuid4(), {id_: one.volumes() for id_, one in batch.accounts.items()}
    settle = order("a", Action.SETTLE, of=HELD, amount=40, entry=entry)
    wrong = order("b", debit=CASH, credit=UUID(int=9), amount=1, currency="EUR", entry=entry)
    made = batch.admit([settle, wrong])

    assert isinstance(made[0].refusal, LinkFailed)
    assert batch.earlier[HELD].used == 0
    assert {id_: one.volumes() for id_, one in batch.accounts.items()} == before
    assert batch.used.get(HELD, 0) == 0


@pytest.mark.parametrize("facts", [{"debit": CASH}, {"credit": CASH}, {"debit": CASH, "credit": SALES, "of": HELD}])
def test_a_new_transfer_names_both_accounts_and_nothing_earlier(facts: dict[str, UUID]) -> None:
    assert isinstance(check(order("a", Action.POST, amount=1, currency="EUR", **facts)), Invalid)


def test_accounts_get_names_of_their_own_in_an_export() -> None:
    codes = ["asset:bank", "assets:bank", "bank", "Assets", "::"]
    text = Beancount([(code, "asset", "EUR", date(2026, 1, 1)) for code in codes]).opening(date(2026, 1, 1))

    opened = [line.split()[2] for line in text.splitlines() if " open " in line]
    assert opened == ["Assets:Bank", "Assets:Bank-2", "Assets:Bank-3", "Assets:Assets", "Assets:Unnamed"]
