"""Erasing an organisation that used the whole product leaves no row of it in any table."""

from datetime import timedelta
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from bursar.core.identity.organisations import service
from bursar.core.identity.store import organisations as store
from bursar.infra.clock import utc_now
from bursar.infra.embedded_postgres import ADMIN, EmbeddedPostgres
from tests.core.identity.test_organisations import rows_of
from tests.whole import whole

VALUES = {
    "_int8": "array[1]::bigint[]",
    "uuid": "gen_random_uuid()",
    "text": "'x'",
    "timestamptz": "now()",
    "date": "current_date",
    "int8": "987654321",
    "int4": "1",
    "int2": "0",
    "numeric": "1",
    "float8": "0.5",
    "bool": "true",
    "jsonb": "'{}'",
    "json": "'{}'",
    "bytea": "'x'",
    "_text": "'{}'",
    "_uuid": "'{}'",
    "bpchar": "'EUR'",
}

COLUMNS = """
select c.relname, a.attname, t.typname from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = '' and a.attidentity = ''
join pg_type t on t.oid = a.atttypid
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition and a.attnotnull
  and exists (select from pg_attribute o where o.attrelid = c.oid and o.attname = 'org')
order by c.relname, a.attnum
"""


CHECKS = """
select conrelid::regclass::text, conname from pg_constraint
where contype = 'c' and connamespace = 'public'::regnamespace and conrelid <> 0
"""


def fill(url: str, org: UUID) -> set[str]:
    """Put a row of ``org`` into every tenant table, past foreign keys and checks; returns the tables."""
    columns: dict[str, list[tuple[str, str]]] = {}
    insert = sql.SQL("insert into {} ({}) values ({})")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("set session_replication_role = replica")
        for table, check in connection.execute(CHECKS).fetchall():
            connection.execute(
                sql.SQL("alter table {} drop constraint {}").format(*map(sql.Identifier, (table, check)))
            )
        for table, column, kind in connection.execute(COLUMNS).fetchall():
            columns.setdefault(table, []).append((column, kind))
        for table, wanted in columns.items():
            names = sql.SQL(", ").join(sql.Identifier(column) for column, _ in wanted)
            values = [sql.Literal(org) if column == "org" else sql.SQL(VALUES[kind]) for column, kind in wanted]
            connection.execute(insert.format(sql.Identifier(table), names, sql.SQL(", ").join(values)))
    return set(columns)


@pytest.mark.timeout(120)
async def test_an_organisation_that_used_everything_is_erased(
    postgres: EmbeddedPostgres, database: str, owner_url: str, tmp_path: Path
) -> None:
    admin_url = postgres.url(ADMIN, database).replace("+psycopg", "")
    async with whole(owner_url, tmp_path) as running:
        filled = fill(admin_url, running.org)
        assert set(await rows_of(owner_url, running.org)) == filled
        async with running.db.writing(running.owner) as tx:
            await store.change(tx, {"purge_after": utc_now() - timedelta(days=1)})

        assert await service.erase_due(running.db, now=utc_now()) == [running.org]

        assert await rows_of(owner_url, running.org) == {}
