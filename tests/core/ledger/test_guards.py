"""The database holds every invariant by itself: each guard is provoked past the rules."""

import psycopg
import pytest

from bursar.core.ledger import service
from bursar.core.ledger.rules.orders import Action
from bursar.infra.db import Database
from bursar.infra.embedded_postgres import ADMIN, EmbeddedPostgres
from bursar.kernel.actor import Actor
from tests.core.ledger.conftest import NOW, Accounts, Make


@pytest.fixture
async def booked(db: Database, actor: Actor, accounts: Accounts, order: Make) -> None:
    async with db.writing(actor) as tx:
        await service.record(
            tx, actor, orders=[order("in", "cash", "escrow", 100), order("till", "till", "sales", 50)], now=NOW
        )
        [hold] = await service.record(tx, actor, orders=[order("h", "escrow", "sales", 30, Action.HOLD)], now=NOW)
        await service.record(tx, actor, orders=[order("s", amount=10, action=Action.SETTLE, of=hold)], now=NOW)


TAMPERING = {
    "change a transfer": ("update ledger_transfer set amount = 1", "never changed|permission denied"),
    "remove a transfer": ("delete from ledger_transfer", "never changed|permission denied"),
    "empty the transfers": ("truncate ledger_transfer cascade", "never changed|permission denied"),
    "change a batch": ("update ledger_batch set rows = 9", "never changed|permission denied"),
    "unbalance an account": (
        "update ledger_account set debits_posted = debits_posted + 1 where code = 'cash'",
        "would not balance",
    ),
    "unbalance holds": (
        "update ledger_account set credits_pending = credits_pending + 1 where code = 'sales'",
        "would not balance",
    ),
    "pass a limit of debits": (
        (
            "update ledger_account set debits_posted = debits_posted + case code when 'escrow' then 81 else 0 end,"
            " credits_posted = credits_posted + case code when 'sales' then 81 else 0 end where code in ('escrow', 'sales')"
        ),
        "ledger_account_guard_check",
    ),
    "pass a limit of credits": (
        (
            "update ledger_account set credits_posted = credits_posted + case code when 'till' then 51 else 0 end,"
            " debits_posted = debits_posted + case code when 'cash' then 51 else 0 end where code in ('till', 'cash')"
        ),
        "ledger_account_guard_check",
    ),
    "negative volume": (
        "update ledger_account set debits_posted = -1, credits_posted = credits_posted - debits_posted - 1 where code = 'cash'",
        "ledger_account_volumes_check|would not balance",
    ),
    "start with a balance": (
        (
            "insert into ledger_account (org, id, code, name, kind, currency, guard, opened_at, debits_posted)"
            " select org, gen_random_uuid(), 'x', 'x', 'asset', 'EUR', 'none', now(), 5 from ledger_account limit 1"
        ),
        "would not balance",
    ),
    "use more than a hold": ("update ledger_remainder set used = amount + 1", "ledger_remainder_used_check"),
    "unknown guard": ("update ledger_account set guard = 'x'", "ledger_account_guard_check|permission denied"),
    "zero amount": (
        (
            "insert into ledger_transfer select org, gen_random_uuid(), batch, place, 'z', digest, kind, debit, credit, 0, currency, value_day,"
            " recorded_at, due, of, entry, party, memo, tags, actor from ledger_transfer limit 1"
        ),
        "ledger_transfer_amount_check",
    ),
    "another currency": (
        (
            "insert into ledger_transfer select org, gen_random_uuid(), batch, place, 'z', digest, 'post', debit, credit, 1, 'USD', value_day,"
            " recorded_at, due, null, entry, party, memo, tags, actor from ledger_transfer limit 1"
        ),
        "ledger_transfer_(debit|credit)_fkey",
    ),
    "a key twice": (
        (
            "insert into ledger_transfer select org, gen_random_uuid(), batch, place, key, digest, kind, debit, credit, 1, currency, value_day,"
            " recorded_at, due, of, entry, party, memo, tags, actor from ledger_transfer limit 1"
        ),
        "ledger_transfer_key_key",
    ),
}


@pytest.mark.usefixtures("booked")
@pytest.mark.parametrize("attempt", TAMPERING)
@pytest.mark.parametrize("role", ["application", "owner"])
async def test_tampering_is_refused_by_the_database(
    attempt: str, role: str, database_url: str, owner_url: str, actor: Actor
) -> None:
    statement, reason = TAMPERING[attempt]
    url = (database_url if role == "application" else owner_url).replace("+psycopg", "")

    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute(f"select set_config('bursar.org', '{actor.org}', false)")
        with pytest.raises(psycopg.Error, match=reason):
            await connection.execute(statement.encode())


async def test_a_break_of_the_chain_is_found(
    db: Database, actor: Actor, booked: None, postgres: EmbeddedPostgres, database: str
) -> None:
    admin = postgres.url(ADMIN, database).replace("+psycopg", "")
    async with await psycopg.AsyncConnection.connect(admin) as connection:
        await connection.execute("alter table ledger_transfer disable trigger all")
        await connection.execute("update ledger_transfer set memo = memo, amount = amount + 1 where key = 'till'")
        await connection.commit()

    async with db.reading(actor) as tx:
        faults = {fault.what for fault in await service.prove(tx, actor)}

    assert faults == {"volumes are not the sum of the transfers", "the hash chain is broken"}
