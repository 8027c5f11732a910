"""The database edge on a real server: confinement, commit and rollback, time limits, COPY, lost connections."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from uuid import UUID

import psycopg
import pytest
import sqlalchemy as sa

from bursar.infra import db as edge
from bursar.infra.db import Busy, Database, OutcomeUnknown, TooSlow, new_id, tenant_table
from bursar.infra.embedded_postgres import ADMIN, APP, EmbeddedPostgres
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Unavailable
from tests.infra.probe import make_tables, note, plain, reply


@pytest.fixture(autouse=True)
def _tables(owner_url: str) -> None:
    make_tables(owner_url)


async def _write(db: Database, actor: Actor, text: str = "mine") -> UUID:
    key = new_id()
    async with db.writing(actor) as tx:
        await tx.run(sa.insert(note).values(org=actor.org, id=key, text=text))
    return key


async def _texts(db: Database, actor: Actor) -> list[str]:
    async with db.reading(actor) as tx:
        return [row.text for row in await tx.all("select text from probe_note order by text limit 100")]


async def test_a_row_is_seen_by_its_organisation_only(db: Database, actor: Actor, other_actor: Actor) -> None:
    await _write(db, actor)

    assert await _texts(db, actor) == ["mine"]
    assert await _texts(db, other_actor) == []


async def test_without_an_organisation_no_row_is_seen_and_none_can_be_written(db: Database, actor: Actor) -> None:
    await _write(db, actor)

    async with db.system("test", write=True) as tx:
        assert await tx.all("select * from probe_note limit 9") == []
        with pytest.raises(sa.exc.ProgrammingError, match="row-level security"):
            async with tx.savepoint():
                await tx.run(sa.insert(note).values(org=actor.org, id=new_id()))
        await tx.run("insert into probe_global values ('seen')")
    async with db.system("test") as tx:
        assert await tx.scalar("select name from probe_global limit 1") == "seen"


@pytest.mark.parametrize(
    "statement",
    [
        "insert into probe_note values (:org, gen_random_uuid(), 'planted')",
        "update probe_note set org = :org",
        "update probe_note set text = 'changed' where org = :org",
        "delete from probe_note where org = :org",
        "select * from probe_note where org = :org limit 9",
    ],
)
async def test_no_verb_reaches_another_organisation(
    db: Database, actor: Actor, other_actor: Actor, statement: str
) -> None:
    await _write(db, actor, "theirs")
    await _write(db, other_actor, "own")

    if statement.startswith(("insert", "update probe_note set org")):
        with pytest.raises(sa.exc.ProgrammingError, match="row-level security"):
            async with db.writing(other_actor) as tx:
                await tx.run(statement, {"org": actor.org})
    else:
        async with db.writing(other_actor) as tx:
            result = await tx.run(statement, {"org": actor.org})
            assert result.rowcount == 0

    assert await _texts(db, actor) == ["theirs"]
    assert await _texts(db, other_actor) == ["own"]


async def test_a_foreign_key_into_another_organisation_is_refused(
    db: Database, actor: Actor, other_actor: Actor
) -> None:
    theirs = await _write(db, actor)

    with pytest.raises(sa.exc.IntegrityError, match="probe_reply_note_fkey"):
        async with db.writing(other_actor) as tx:
            await tx.run(sa.insert(reply).values(org=other_actor.org, id=new_id(), note=theirs))


async def test_a_transaction_that_computes_may_stand_still_longer_and_only_that_one(db: Database, actor: Actor) -> None:
    idle = "show idle_in_transaction_session_timeout"
    async with db.reading(actor) as tx:
        await tx.allow_idle(900)
        assert await tx.scalar(idle) == "15min"
    async with db.reading(actor) as tx:
        assert await tx.scalar(idle) == f"{edge.IDLE_IN_TRANSACTION_TIMEOUT_S // 60}min"


async def test_the_setting_does_not_survive_in_the_pool(database_url: str, actor: Actor, other_actor: Actor) -> None:
    db = Database(database_url, pool_size=1, pool_overflow=0)
    await _write(db, actor)
    async with db.engine.connect() as same:
        setting = (await same.execute(sa.text("select current_setting('bursar.org', true)"))).scalar()
        rows = (await same.execute(sa.text("select * from probe_note"))).all()

    assert setting == ""
    assert rows == []
    assert await _texts(db, other_actor) == []
    await db.close()


async def test_a_connection_kept_ready_carries_nothing_over(
    database_url: str, actor: Actor, other_actor: Actor
) -> None:
    db = Database(database_url, pool_size=3, pool_overflow=0)
    await _write(db, actor)
    async with db.reading(actor) as tx:
        kept = tx.driver
    async with db.reading(other_actor) as tx:
        same = tx.driver is kept
        rows = await tx.all("select * from probe_note limit 9")
    with pytest.raises(ZeroDivisionError):
        async with db.writing(actor):
            _ = 1 / 0
    async with db.system("test") as tx:
        setting = await tx.scalar("select current_setting('bursar.org', true)")
        read_only = await tx.scalar("show transaction_read_only")

    assert same
    assert rows == []
    assert (setting, read_only) == ("", "on")
    await db.close()


async def test_a_connection_broken_inside_a_pipeline_is_dropped_and_hides_no_error(db: Database, actor: Actor) -> None:
    with pytest.raises(LookupError):
        async with db.writing(actor) as tx:
            broken = await tx.scalar("select pg_backend_pid()")
            tx.driver.pgconn.enter_pipeline_mode()
            tx.driver.pgconn.send_query_params(b"select 1", None)
            raise LookupError
    async with db.writing(actor) as tx:
        fresh = await tx.scalar("select pg_backend_pid()")

    assert fresh != broken
    assert db.engine.pool.checkedout() <= 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "escape", ["reset role", "reset all", "discard all", "set role none", "set session authorization default"]
)
async def test_one_url_of_a_mighty_role_still_acts_as_the_application(
    postgres: EmbeddedPostgres, database: str, actor: Actor, other_actor: Actor, escape: str
) -> None:
    """The superuser's URL stands for an external server where there is only one."""
    db = Database(postgres.url(ADMIN, database), pool_size=1, pool_overflow=0)
    await _write(db, actor)
    async with db.engine.connect() as same:
        await same.execute(sa.text(escape))

    async with db.reading(other_actor) as tx:
        assert await tx.scalar("select current_user") == APP
        assert await tx.all("select * from probe_note limit 9") == []
        if not escape.startswith("set"):
            await tx.run(escape if escape != "discard all" else "reset role")
            assert await tx.scalar("select current_user") == APP
    await db.close()


async def test_a_connection_that_would_bypass_the_policies_is_refused(
    postgres: EmbeddedPostgres, database: str, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge, "connect_args", dict)
    db = Database(postgres.url(ADMIN, database))

    with pytest.raises(RuntimeError, match="under row-level security"):
        async with db.reading(actor):
            pass
    await db.close()


@pytest.mark.parametrize("table", ["probe_note", "probe_log"])
async def test_the_application_cannot_truncate(db: Database, actor: Actor, table: str) -> None:
    with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
        async with db.writing(actor) as tx:
            await tx.run(f"truncate {table}")


@pytest.mark.parametrize("verb", ["update probe_log set text = 'x'", "delete from probe_log", "truncate probe_log"])
async def test_append_only_rows_are_refused_by_rights_and_by_trigger(
    db: Database, actor: Actor, owner_url: str, verb: str
) -> None:
    async with db.writing(actor) as tx:
        await tx.run("insert into probe_log values (:org, :id, 'said')", {"org": actor.org, "id": new_id()})

    with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
        async with db.writing(actor) as tx:
            await tx.run(verb)
    with psycopg.connect(plain(owner_url)) as owner:
        owner.execute("select set_config('bursar.org', %s, true)", [str(actor.org)])
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="never changed"):
            owner.execute(verb.encode())


async def test_an_error_rolls_everything_back_and_nothing_is_called(db: Database, actor: Actor) -> None:
    called: list[str] = []
    with pytest.raises(ZeroDivisionError):
        async with db.writing(actor) as tx:
            await tx.run(sa.insert(note).values(org=actor.org, id=new_id(), text="lost"))
            tx.after_commit(lambda: called.append("rolled back"))
            raise ZeroDivisionError

    async with db.writing(actor) as tx:
        tx.after_commit(lambda: called.append("committed"))
        assert called == []

    assert called == ["committed"]
    assert await _texts(db, actor) == []


async def test_a_savepoint_undoes_only_itself(db: Database, actor: Actor) -> None:
    key = await _write(db, actor, "first")
    async with db.writing(actor) as tx:
        await tx.run(sa.insert(note).values(org=actor.org, id=new_id(), text="second"))
        with pytest.raises(sa.exc.IntegrityError):
            async with tx.savepoint():
                await tx.run(sa.insert(note).values(org=actor.org, id=key, text="again"))

    assert await _texts(db, actor) == ["first", "second"]


async def test_a_swallowed_failure_is_not_taken_for_a_commit(db: Database, actor: Actor) -> None:
    with pytest.raises(RuntimeError, match="swallowed"):
        async with db.writing(actor) as tx:
            await tx.run(sa.insert(note).values(org=actor.org, id=new_id(), text="lost"))
            with suppress(sa.exc.DataError):
                await tx.run("select 1 / 0")

    assert await _texts(db, actor) == []


async def test_reading_cannot_write(db: Database, actor: Actor) -> None:
    with pytest.raises(sa.exc.InternalError, match="read-only"):
        async with db.reading(actor) as tx:
            await tx.run(sa.insert(note).values(org=actor.org, id=new_id()))


async def test_own_filters_unless_switched_off(database_url: str, actor: Actor) -> None:
    statements = {}
    for filtered in (True, False):
        db = Database(database_url, application_filter=filtered)
        async with db.reading(actor) as tx:
            statements[filtered] = str(sa.select(note.c.text).where(tx.own(note)))
            await tx.all(sa.select(note.c.text).where(tx.own(note)).limit(1))
        await db.close()

    assert "probe_note.org =" in statements[True]
    assert "probe_note.org =" not in statements[False]


async def test_one_gives_none_a_row_or_an_error(db: Database, actor: Actor) -> None:
    async with db.reading(actor) as tx:
        assert await tx.one("select 1 as n where false") is None
        row = await tx.one("select 7 as n")
        assert row is not None
        assert row.n == 7
        with pytest.raises(sa.exc.MultipleResultsFound):
            await tx.one("select generate_series(1, 2)")


async def test_copy_writes_many_rows_under_row_level_security(db: Database, actor: Actor, other_actor: Actor) -> None:
    rows = [(new_id(), f"line {i}\t\\N ä", {"i": i} if i % 2 else None) for i in range(10_000)]
    async with db.writing(actor) as tx:
        first = await tx.copy(note, ["id", "text", "facts"], rows[:9_000])
        second = await tx.copy(note, ["id", "text", "facts"], rows[9_000:])
        nothing = await tx.copy(note, ["id", "text"], [])

    assert (first, second, nothing) == (9_000, 1_000, 0)
    async with db.reading(actor) as tx:
        stored = await tx.all(sa.select(note.c.id, note.c.text, note.c.facts).order_by(note.c.id).limit(10_001))
    assert [tuple(row) for row in stored] == sorted(rows, key=lambda row: row[0])
    assert await _texts(db, other_actor) == []


async def test_copy_writes_into_global_tables_too(db: Database) -> None:
    names = sa.Table("probe_global", sa.MetaData(), sa.Column("name", sa.Text, primary_key=True))
    async with db.system("test", write=True) as tx:
        assert await tx.copy(names, ["name"], [("a",), ("b",)]) == 2
    async with db.system("test") as tx:
        assert await tx.scalar("select count(*) from probe_global") == 2


async def test_copy_cannot_plant_rows_elsewhere(db: Database, actor: Actor, other_actor: Actor) -> None:
    with pytest.raises(sa.exc.DBAPIError, match="row-level security"):
        async with db.writing(actor) as tx:
            await tx.copy(note, ["org", "id"], [(other_actor.org, new_id())])


async def test_a_lock_that_is_held_too_long_is_refused(
    db: Database, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await _write(db, actor)
    async with db.writing(actor) as first:
        await first.run(sa.update(note).where(note.c.id == key).values(text="first"))
        started = time.monotonic()
        with pytest.raises(Busy):
            async with db.writing(actor) as second:
                await second.run("set local lock_timeout = '200ms'")
                await second.run(sa.update(note).where(note.c.id == key).values(text="second"))

    assert time.monotonic() - started < 3
    assert await _texts(db, actor) == ["first"]


async def test_a_deadlock_is_broken_and_refused(db: Database, actor: Actor) -> None:
    keys = [await _write(db, actor, text) for text in ("a", "b")]
    met = asyncio.Barrier(2)

    async def cross(order: list[UUID]) -> None:
        async with db.writing(actor) as tx:
            await tx.run(sa.update(note).where(note.c.id == order[0]).values(text="x"))
            await met.wait()
            await tx.run(sa.update(note).where(note.c.id == order[1]).values(text="x"))

    outcomes = await asyncio.gather(cross(keys), cross(keys[::-1]), return_exceptions=True)

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Busy", "NoneType"]


async def test_a_slow_query_is_stopped(db: Database, actor: Actor) -> None:
    with pytest.raises(TooSlow):
        async with db.reading(actor) as tx:
            await tx.run("set local statement_timeout = '100ms'")
            await tx.run("select pg_sleep(5)")


async def test_the_time_limits_are_set_on_every_connection(db: Database, actor: Actor) -> None:
    limits = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    async with db.reading(actor) as tx:
        found = [await tx.scalar(f"show {limit}") for limit in limits]

    assert found == ["30s", "5s", "1min"]


@pytest.fixture
def observed() -> Iterator[list[tuple[float, Any]]]:
    seen: list[tuple[float, Any]] = []

    def observer(seconds: float, statement: edge.Statement) -> None:
        seen.append((seconds, statement))

    edge.query_observers.append(observer)
    yield seen
    edge.query_observers.remove(observer)


async def test_every_statement_is_observed_with_its_time(
    db: Database, actor: Actor, observed: list[tuple[float, Any]]
) -> None:
    async with db.writing(actor) as tx:
        await tx.run("select pg_sleep(0.12)")
        await tx.copy(note, ["id"], [(new_id(),)])

    assert [statement for _, statement in observed] == ["begin", "select pg_sleep(0.12)", "copy probe_note", "commit"]
    assert observed[1][0] >= 0.12 > edge.SLOW_QUERY_S


async def test_a_cancelled_request_gives_its_connection_back(database_url: str, actor: Actor) -> None:
    db = Database(database_url, pool_size=1, pool_overflow=0)

    async def sleep() -> None:
        async with db.writing(actor) as tx:
            await tx.run(sa.insert(note).values(org=actor.org, id=new_id(), text="lost"))
            await tx.run("select pg_sleep(20)")

    for _ in range(3):
        task = asyncio.create_task(sleep())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert await _texts(db, actor) == []
    await db.close()


def _end_backends(postgres: EmbeddedPostgres, database: str) -> None:
    with psycopg.connect(plain(postgres.url(ADMIN, "postgres")), autocommit=True) as admin:
        admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [database])


async def test_the_pool_survives_the_end_of_its_connections(
    db: Database, postgres: EmbeddedPostgres, database: str, actor: Actor
) -> None:
    await asyncio.gather(*(_write(db, actor, str(i)) for i in range(4)))
    _end_backends(postgres, database)

    assert await _texts(db, actor) == ["0", "1", "2", "3"]


async def test_a_connection_lost_inside_is_refused_as_unavailable(
    db: Database, postgres: EmbeddedPostgres, database: str, actor: Actor
) -> None:
    with pytest.raises(Unavailable):
        async with db.writing(actor) as tx:
            await tx.run(sa.insert(note).values(org=actor.org, id=new_id(), text="lost"))
            _end_backends(postgres, database)
            await tx.run("select 1")

    assert await _texts(db, actor) == []


async def test_a_connection_lost_at_the_commit_leaves_the_outcome_open(
    db: Database, postgres: EmbeddedPostgres, database: str, actor: Actor
) -> None:
    called: list[str] = []
    with pytest.raises(OutcomeUnknown):
        async with db.writing(actor) as tx:
            await tx.run(sa.insert(note).values(org=actor.org, id=new_id(), text="lost"))
            tx.after_commit(lambda: called.append("wrong"))
            _end_backends(postgres, database)

    assert called == []
    assert await _texts(db, actor) == []


async def test_no_server_is_unavailable_after_the_wait(short_home: Any, actor: Actor) -> None:
    db = Database(f"postgresql+psycopg://nobody@/nothing?host={short_home}", come_back_s=0.2)

    with pytest.raises(Unavailable):
        async with db.reading(actor):
            pass
    await db.close()


async def test_an_exhausted_pool_is_unavailable(
    database_url: str, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge, "POOL_WAIT_S", 0.1)
    db = Database(database_url, pool_size=1, pool_overflow=0)
    async with db.reading(actor):
        with pytest.raises(Unavailable, match="pool"):
            async with db.reading(actor):
                pass
    await db.close()


async def test_whoever_waits_for_a_connection_gets_the_first_that_is_free(
    database_url: str, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is kept ready must not be kept from those who wait."""
    monkeypatch.setattr(edge, "POOL_WAIT_S", 5)
    db = Database(database_url, pool_size=4, pool_overflow=0)
    done = [asyncio.Event() for _ in range(4)]

    async def hold(until: asyncio.Event) -> None:
        async with db.reading(actor):
            await until.wait()

    holders = [asyncio.create_task(hold(event)) for event in done]
    await asyncio.sleep(0.3)
    waiter = asyncio.create_task(_texts(db, actor))
    await asyncio.sleep(0.3)
    done[0].set()

    assert await waiter == []
    for event in done:
        event.set()
    await asyncio.gather(*holders)
    await db.close()


def test_new_ids_are_version_7_ordered_in_time_and_distinct() -> None:
    before = time.time_ns() // 1_000_000
    ids = [new_id() for _ in range(10_000)]
    after = time.time_ns() // 1_000_000

    assert len(set(ids)) == len(ids)
    assert {(one.version, one.variant) for one in ids} == {(7, "specified in RFC 4122")}
    assert all(before <= one.int >> 80 <= after for one in ids)
    assert [one.int >> 80 for one in ids] == sorted(one.int >> 80 for one in ids)


def test_a_tenant_table_begins_its_keys_with_org(make_table: Callable[..., sa.Table]) -> None:
    table = make_table(sa.Column("id", sa.Uuid, primary_key=True), sa.UniqueConstraint("org", "id"))

    assert [column.name for column in table.primary_key] == ["org", "id"]
    assert next(iter(table.columns)).name == "org"


@pytest.mark.parametrize(
    ("items", "says"),
    [
        ([sa.Column("id", sa.Uuid)], "primary_key=True"),
        ([sa.Column("id", sa.Uuid, primary_key=True), sa.Column("mail", sa.Text, unique=True)], "begin it with org"),
        ([sa.Column("id", sa.Uuid, primary_key=True), sa.UniqueConstraint("id")], "begin it with org"),
        ([sa.Column("id", sa.Uuid, primary_key=True), sa.Index(None, "id", unique=True)], "begin it with org"),
    ],
)
def test_a_tenant_table_refuses_keys_across_organisations(
    make_table: Callable[..., sa.Table], items: list[sa.schema.SchemaItem], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        make_table(*items)


@pytest.fixture
def make_table() -> Iterator[Callable[..., sa.Table]]:
    yield lambda *items: tenant_table("probe_declared", *items)
    if (table := edge.metadata.tables.get("probe_declared")) is not None:
        edge.metadata.remove(table)
