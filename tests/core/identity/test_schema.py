"""The tables of identity and audit: declared as migrated, confined to their organisation, append-only where they say so."""

import pytest
import sqlalchemy as sa

from bursar.core.audit import tables as audit
from bursar.core.identity import tables
from bursar.infra import schema
from bursar.infra.db import Database, global_tables

OURS = [table for module in (tables, audit) for table in vars(module).values() if isinstance(table, sa.Table)]


def test_the_declared_tables_are_the_migrated_ones(owner_url: str) -> None:
    engine = sa.create_engine(owner_url, poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        inspector = sa.inspect(connection)
        for table in OURS:
            found = {c["name"]: c for c in inspector.get_columns(table.name)}
            assert list(found) == [c.name for c in table.columns], table.name
            for column in table.columns:
                assert found[column.name]["nullable"] == column.nullable, column
                ours = column.type.compile(dialect=connection.dialect)
                assert found[column.name]["type"].compile(dialect=connection.dialect) == ours, column
            indexes = {i["name"] for i in inspector.get_indexes(table.name) if not i.get("duplicates_constraint")}
            assert indexes == {i.name for i in table.indexes}
            assert inspector.get_pk_constraint(table.name)["constrained_columns"] == [c.name for c in table.primary_key]
            uniques = {u["name"] for u in inspector.get_unique_constraints(table.name)}
            assert len(uniques) == sum(isinstance(c, sa.UniqueConstraint) for c in table.constraints)


def test_the_lints_of_the_catalogue_find_nothing_of_ours(owner_url: str) -> None:
    engine = sa.create_engine(owner_url, poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        found = schema.faults(connection, global_tables=global_tables())

    assert [
        fault for fault in found if "identity" in fault.what or "audit" in fault.what or "erase" in fault.what
    ] == []


FORBIDDEN = [
    "update audit_entry set actor = 'x'",
    "delete from audit_entry",
    "truncate audit_entry",
    "update audit_block set rows = 1",
    "delete from audit_block",
    "insert into audit_entry (org, id, at, actor, request_id, action, subject, xid) values (null, null, null, 0, 0, 0, 0, 1)",
]


@pytest.mark.parametrize("statement", FORBIDDEN)
async def test_the_application_can_neither_change_nor_number_audit_rows(db: Database, statement: str) -> None:
    async with db.system("test", write=True) as tx:
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
            async with tx.savepoint():
                await tx.run(statement)
