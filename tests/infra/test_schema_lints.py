"""The six catalogue lints: silent on the migrated schema, loud on each fault they exist for."""

import psycopg
import pytest
import sqlalchemy as sa

from bursar.infra.db import global_tables
from bursar.infra.embedded_postgres import ADMIN, APP, EmbeddedPostgres
from bursar.infra.schema import LINTS, Fault, faults
from tests.infra.declared import import_tables
from tests.infra.probe import make_tables, plain


def _faults(url: str) -> list[Fault]:
    import_tables()
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    try:
        with engine.connect() as connection:
            return faults(connection, global_tables={*global_tables(), "probe_global"})
    finally:
        engine.dispose()


@pytest.fixture
def admin_url(postgres: EmbeddedPostgres, database: str) -> str:
    return postgres.url(ADMIN, database)


def test_the_migrated_schema_has_no_fault(owner_url: str) -> None:
    assert _faults(owner_url) == []


def test_the_application_itself_can_run_the_lints(database_url: str) -> None:
    assert _faults(database_url) == []


def test_tables_made_by_the_helpers_have_no_fault(owner_url: str) -> None:
    make_tables(owner_url)

    assert _faults(owner_url) == []


_ROW_LEVEL, _VIEW, _MATERIALISED, _DEFINER, _KEYS, _ROLE = (lint.name for lint in LINTS)
_POLICY = "org = nullif(current_setting('bursar.org', true), '')::uuid"

PLANTED = {
    "no row-level security": (_ROW_LEVEL, ["create table bad (org uuid primary key)"], "bad"),
    "not forced": (
        _ROW_LEVEL,
        [
            "create table bad (org uuid primary key)",
            "alter table bad enable row level security",
            f"create policy p on bad using ({_POLICY}) with check ({_POLICY})",
        ],
        "bad",
    ),
    "no longer forced": (_ROW_LEVEL, ["alter table probe_note no force row level security"], "probe_note"),
    "no policy": (_ROW_LEVEL, ["drop policy probe_note_tenant on probe_note"], "probe_note"),
    "a second policy that opens the door": (
        _ROW_LEVEL,
        ["create policy open on probe_note using (true) with check (true)"],
        "probe_note policy open",
    ),
    "a policy by membership": (
        _ROW_LEVEL,
        [
            "drop policy probe_note_tenant on probe_note",
            "create policy slow on probe_note using (org in (select org from probe_log)) with check (true)",
        ],
        "probe_note policy slow",
    ),
    "a policy without a check": (
        _ROW_LEVEL,
        ["drop policy probe_note_tenant on probe_note", f"create policy half on probe_note using ({_POLICY})"],
        "probe_note policy half",
    ),
    "a view with its owner's rights": (_VIEW, ["create view bad as select * from probe_note"], "bad"),
    "a materialised view": (
        _MATERIALISED,
        ["create materialized view bad as select * from probe_note", f"grant select on bad to {APP}"],
        "bad",
    ),
    "a definer function": (
        _DEFINER,
        ["create function bad() returns bigint security definer language sql as 'select count(*) from probe_note'"],
        "bad()",
    ),
    "a unique key across organisations": (
        _KEYS,
        ["create unique index bad on probe_note (text)"],
        "probe_note bad",
    ),
    "a unique key that org ends": (_KEYS, ["create unique index bad on probe_note (text, org)"], "probe_note bad"),
    "a unique key of an expression": (
        _KEYS,
        ["create unique index bad on probe_note (lower(text), org)"],
        "probe_note bad",
    ),
    "a foreign key without org": (
        _KEYS,
        [
            "create unique index other on probe_log (org, id, text)",
            "alter table probe_log add constraint key unique (id, org)",
            "alter table probe_reply add constraint bad foreign key (note, org) references probe_log (id, org)",
        ],
        "probe_reply bad",
    ),
    "a table whose org may be missing": (
        _KEYS,
        ["create table bad (org uuid, id uuid not null)", "create unique index on bad (org, id)"],
        "bad has no org uuid not null",
    ),
    "truncate is granted": (_ROLE, [f"grant truncate on probe_note to {APP}"], "probe_note can be truncated"),
    "the application owns a table": (
        _ROLE,
        [f"alter table probe_note owner to {APP}"],
        f"probe_note is owned by {APP}",
    ),
    "the application can make tables": (_ROLE, [f"grant create on schema public to {APP}"], "public: schema"),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_named(owner_url: str, admin_url: str, fault: str) -> None:
    lint, statements, what = PLANTED[fault]
    make_tables(owner_url)
    with psycopg.connect(plain(admin_url)) as admin:
        for statement in statements:
            admin.execute(statement.encode())

    found = _faults(owner_url)

    assert any(one.lint == lint and one.what.startswith(what) for one in found), found


@pytest.mark.parametrize("attribute", ["superuser", "bypassrls", "createrole", "createdb", "replication"])
def test_a_mightier_application_role_is_named(admin_url: str, attribute: str) -> None:
    """The role belongs to the whole server, so the fault is planted and looked at in a transaction that is undone."""
    engine = sa.create_engine(admin_url, poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(f"alter role {APP} {attribute}"))
        found = faults(connection, global_tables=global_tables())
        connection.rollback()
    engine.dispose()

    assert f"{APP} may bypass row-level security" in {one.what for one in found}


def test_membership_in_a_mightier_role_is_named(admin_url: str) -> None:
    engine = sa.create_engine(admin_url, poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(f"grant pg_read_all_data to {APP}"))
        found = faults(connection, global_tables=global_tables())
        connection.rollback()
    engine.dispose()

    assert "pg_read_all_data can be taken on" in {one.what for one in found}
