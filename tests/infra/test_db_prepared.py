"""Prepared statements: the same answers, the same confinement, the same refusals as any other statement."""

import pytest
import sqlalchemy as sa

from bursar.core.operations.tables import objective
from bursar.infra.clock import utc_now
from bursar.infra.db import Database, TooSlow, query_observers
from bursar.infra.db_prepared import Prepared
from bursar.infra.db_tx import Statement
from bursar.infra.web_tables import idempotency
from bursar.kernel.actor import Actor

table = idempotency
BY_KEY = Prepared(
    sa.select(table.c.org, table.c.key, table.c.status, table.c.headers, table.c.at).where(
        table.c.key == sa.bindparam("key")
    )
)


async def keep(db: Database, actor: Actor) -> dict[str, object]:
    row = {"org": actor.org, "actor": actor.name, "key": "k", "fingerprint": b"f", "status": 201}
    row |= {"headers": [["etag", "1"]], "body": b"", "at": utc_now()}
    async with db.writing(actor) as tx:
        await tx.run(sa.insert(table).values(row))
    return row


async def test_a_row_comes_back_typed_and_only_to_its_organisation(
    db: Database, actor: Actor, other_actor: Actor
) -> None:
    row = await keep(db, actor)
    async with db.reading(actor) as tx:
        found = await BY_KEY.one(tx, key="k")
        usual = await tx.one(BY_KEY.source, {"key": "k"})
        missing = await BY_KEY.one(tx, key="other")
    async with db.reading(other_actor) as tx:
        hidden = await BY_KEY.one(tx, key="k")

    assert (found.org, found.key, found.status, found.headers, found.at) == tuple(
        row[name] for name in ("org", "key", "status", "headers", "at")
    )
    assert tuple(found) == tuple(usual or ())
    assert missing is None
    assert hidden is None


async def test_its_time_is_observed(db: Database, actor: Actor) -> None:
    seen: list[Statement] = []

    def observer(_: float, statement: Statement) -> None:
        seen.append(statement)

    query_observers.append(observer)
    try:
        async with db.reading(actor) as tx:
            await BY_KEY.all(tx, key="k")
    finally:
        query_observers.remove(observer)

    assert BY_KEY.source in seen


async def test_wrong_facts_and_literals_are_refused(db: Database, actor: Actor) -> None:
    async with db.reading(actor) as tx:
        with pytest.raises(ValueError, match="takes"):
            await BY_KEY.all(tx, name="k")
    with pytest.raises(ValueError, match="literal"):
        Prepared(sa.select(table.c.key).where(table.c.key == "frozen"))


async def test_two_rows_where_one_is_expected_are_a_bug(db: Database, actor: Actor) -> None:
    every = Prepared(sa.select(objective.c.name).where(objective.c.budget > sa.bindparam("least")))
    async with db.reading(actor) as tx:
        assert len(await every.all(tx, least=0)) == 4
        with pytest.raises(sa.exc.MultipleResultsFound):
            await every.one(tx, least=0)


async def test_a_refusal_of_the_database_is_the_usual_one(db: Database, actor: Actor) -> None:
    slow = Prepared(sa.select(sa.func.pg_sleep(sa.bindparam("seconds", type_=sa.Double)).label("slept")))
    with pytest.raises(TooSlow):
        async with db.reading(actor) as tx:
            await tx.run("set local statement_timeout = '50ms'")
            await slow.all(tx, seconds=5.0)
