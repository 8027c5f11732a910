"""The jobs of the ledger: holds whose time has come, and the proof that is loud when something does not hold."""

from datetime import UTC, datetime

import psycopg
import pytest

from bursar.core.ledger import jobs, service
from bursar.core.ledger.rules.orders import Action
from bursar.core.ledger.store import accounts as account_store
from bursar.infra.db import Database
from bursar.infra.embedded_postgres import ADMIN, EmbeddedPostgres
from bursar.infra.jobs import Context, GiveUp, Ticket
from bursar.kernel.actor import Actor
from tests.core.identity.house import House, cheap_means
from tests.core.ledger.conftest import NOW, Accounts, Make

PAST = datetime(2020, 1, 1, tzinfo=UTC)


def context(db: Database, job: object, actor: Actor) -> Context:
    return Context(db, job, Ticket(1, 1, 0, actor.org))  # type: ignore[arg-type]


async def test_due_holds_are_let_go(db: Database, actor: Actor, accounts: Accounts, order: Make) -> None:
    async with db.writing(actor) as tx:
        orders = [order(f"h{n}", "cash", "sales", 5, Action.HOLD, due=PAST) for n in range(3)]
        await service.record(tx, actor, orders=orders, now=datetime(2019, 1, 1, tzinfo=UTC))

    gone = [await jobs.expire.run(context(db, jobs.expire, actor), org=str(actor.org)) for _ in range(2)]

    assert gone == [3, 0]
    async with db.reading(actor) as tx:
        row = await account_store.by_id(tx, accounts["cash"])
        assert row is not None
        assert row.debits_pending == 0


async def test_the_proof_is_quiet_until_something_does_not_hold(
    db: Database, actor: Actor, order: Make, postgres: EmbeddedPostgres, database: str
) -> None:
    async with db.writing(actor) as tx:
        await service.record(tx, actor, orders=[order("a", "cash", "sales", 5)], now=NOW)
    assert await jobs.prove.run(context(db, jobs.prove, actor), org=str(actor.org)) == 0

    async with await psycopg.AsyncConnection.connect(
        postgres.url(ADMIN, database).replace("+psycopg", "")
    ) as connection:
        await connection.execute("alter table ledger_account disable trigger user")
        await connection.execute("update ledger_account set debits_posted = debits_posted + 1 where code = 'cash'")
        await connection.commit()

    with pytest.raises(GiveUp, match="volumes are not the sum"):
        await jobs.prove.run(context(db, jobs.prove, actor), org=str(actor.org))
    assert [job.name for job in jobs.JOBS] == ["ledger.expire", "ledger.nightly", "ledger.prove"]


async def test_each_night_every_organisation_is_proved_once(db: Database) -> None:
    people = House(db, cheap_means(url="http://test"))
    orgs = [await people.organisation("Engines"), await people.organisation("Elsewhere")]
    counts = [await jobs.nightly.run(Context(db, jobs.nightly, Ticket(1, 1, 0))) for _ in range(2)]

    async with db.system("test") as tx:
        rows = await tx.all("select args from procrastinate_jobs where task_name = 'ledger.prove' limit 9")
    assert counts == [2, 2]
    assert sorted(row.args["org"] for row in rows) == sorted(str(org) for org in orgs)
