"""Roles, grants and the tenant policy for migrations, and the catalogue lints that prove them on the migrated schema.

Three roles besides the one that migrates (and owns everything): ``bursar_app`` reads and writes under row-level security
and owns nothing; ``bursar_backup`` reads everything past it and is used by the backup only.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import sqlalchemy as sa

APP = "bursar_app"
BACKUP = "bursar_backup"

ORG_SETTING = "bursar.org"
"""The transaction-local setting that carries the organisation."""

POLICY = "org = nullif(current_setting('bursar.org', true), '')::uuid"
"""What every tenant table's policy says; an unset or emptied setting is NULL, which matches no row."""

GLOBAL_TABLES: Mapping[str, str] = {
    "alembic_version": "which migrations have run; holds no data of anybody",
    "procrastinate_jobs": "the queue; a worker takes the next job of any organisation",
    "procrastinate_events": "history of jobs, next to the queue",
    "procrastinate_periodic_defers": "which cron entries were deferred",
    "procrastinate_workers": "heartbeats of workers",
}
"""Tables without row-level security that no ``tables.py`` declares, and why."""

DEFINER_FUNCTIONS: Mapping[str, str] = {
    "bursar_erase_step": "deletes rows of an organisation whose grace period is over, append-only ones too; refuses any other",
}
"""SECURITY DEFINER functions that are allowed, and why; each takes the organisation from the setting."""


class Operations(Protocol):
    """The part of Alembic's ``op`` that is used here."""

    def execute(self, sqltext: str) -> None:
        """Run one statement."""


def role_statements() -> Sequence[str]:
    """Return statements that make the roles where they are missing.

    ``bursar_backup`` needs BYPASSRLS, which only a superuser (or, from PostgreSQL 16, a role that has it) can give; a
    database user that cannot makes it without, and ``bursar backup`` then says what to run.
    """
    attributes = "login nosuperuser nocreatedb nocreaterole noreplication"
    return (
        _role(APP, f"create role {APP} {attributes} nobypassrls;"),
        _role(
            BACKUP,
            f"""begin
                create role {BACKUP} {attributes} bypassrls;
            exception when insufficient_privilege then
                create role {BACKUP} {attributes};
            end;
            alter role {BACKUP} set default_transaction_read_only = on;""",
        ),
    )


def _role(name: str, make: str) -> str:
    return f"""do $$ begin
        if not exists (select from pg_roles where rolname = '{name}') then {make} end if;
    exception when duplicate_object or unique_violation then null;  -- another database of the cluster was migrated just now
    end $$"""


def tenant_policy(op: Operations, table: str, *, append_only: bool = False) -> None:
    """Put ``table`` under forced row-level security by organisation and grant the application its verbs.

    Args:
        op: Alembic's ``op``.
        table: A table whose first column is ``org uuid not null``.
        append_only: Rows can be added and read, never changed; a trigger says so to every role.
    """
    op.execute(f"alter table {table} enable row level security")
    op.execute(f"alter table {table} force row level security")
    op.execute(f"create policy {table}_tenant on {table} using ({POLICY}) with check ({POLICY})")
    verbs = "select, insert" if append_only else "select, insert, update, delete"
    op.execute(f"grant {verbs} on {table} to {APP}")
    op.execute(f"grant select on {table} to {BACKUP}")
    if append_only:
        op.execute(
            f"create trigger {table}_append_only before update or delete on {table}"
            f" for each row execute function bursar_append_only()"
        )
        op.execute(
            f"create trigger {table}_no_truncate before truncate on {table}"
            f" for each statement execute function bursar_append_only()"
        )


def global_grants(op: Operations, table: str, *, append_only: bool = False) -> None:
    """Grant the application its verbs on an allow-listed table without an organisation (see ``global_table``)."""
    verbs = "select, insert" if append_only else "select, insert, update, delete"
    op.execute(f"grant {verbs} on {table} to {APP}")
    op.execute(f"grant select on {table} to {BACKUP}")


def confine(op: Operations, table: str, *, column: str = "org") -> None:
    """Confine an allow-listed global table: inside a transaction of an organisation only its rows are visible.

    For what must be found before the organisation is known (a session by its secret, the memberships of a person): a
    transaction without an organisation sees all rows, one with an organisation sees and writes its own only.

    Args:
        op: Alembic's ``op``.
        table: A table declared with ``global_table``.
        column: The column that holds the organisation's id.
    """
    rule = f"{column} = nullif(current_setting('{ORG_SETTING}', true), '')::uuid"
    free = f"nullif(current_setting('{ORG_SETTING}', true), '') is null"
    op.execute(f"alter table {table} enable row level security")
    op.execute(f"alter table {table} force row level security")
    op.execute(f"create policy {table}_confined on {table} using ({rule} or {free}) with check ({rule} or {free})")


@dataclass(frozen=True, slots=True)
class Lint:
    """One check of the catalogue: a query whose every row is a fault, and what the fault lets happen."""

    name: str
    danger: str
    query: str


LINTS: Sequence[Lint] = (
    Lint(
        "row-level security is enabled and forced",
        "every organisation's rows are visible to all (without FORCE, to the owner)",
        """select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
           where n.nspname = 'public' and c.relkind in ('r', 'p', 'f') and c.relname <> all (:global_tables)
             and not (c.relrowsecurity and c.relforcerowsecurity
                      and exists (select from pg_policy p where p.polrelid = c.oid))
           union all
           select p.tablename || ' policy ' || p.policyname from pg_policies p
           where p.schemaname = 'public'
             and not (p.tablename = any (:global_tables) and p.qual is not distinct from p.with_check
                      and p.cmd = 'ALL' and p.permissive = 'PERMISSIVE'
                      and p.qual ~ '^\\(\\((org|id) = \\(NULLIF\\(current_setting\\(''bursar.org''::text, true\\), ''''::text\\)\\)::uuid\\) OR \\(NULLIF\\(current_setting\\(''bursar.org''::text, true\\), ''''::text\\) IS NULL\\)\\)$')
             and (p.qual is distinct from p.with_check or p.cmd <> 'ALL' or p.permissive <> 'PERMISSIVE'
                  or p.qual !~ '^\\(org = \\(NULLIF\\(current_setting\\(''bursar.org''::text, true\\), ''''::text\\)\\)::uuid\\)$')""",
    ),
    Lint(
        "views use the rights of who asks",
        "a view runs with its owner's rights and shows rows of every organisation",
        """select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
           where n.nspname = 'public' and c.relkind = 'v'
             and not coalesce(c.reloptions, '{}') && array['security_invoker=true', 'security_invoker=on', 'security_invoker=1']""",
    ),
    Lint(
        "no materialised view is granted to the application",
        "a materialised view has no row-level security at all",
        """select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
           where n.nspname = 'public' and c.relkind = 'm' and has_table_privilege(:app, c.oid, 'select')""",
    ),
    Lint(
        "no SECURITY DEFINER function beyond the allow-list",
        "such a function reads with its owner's rights",
        """select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace
           where n.nspname not in ('pg_catalog', 'information_schema') and p.prosecdef
             and p.proname <> all (:definer_functions)""",
    ),
    Lint(
        "primary, unique and foreign keys of tenant tables begin with org",
        "a key across organisations tells that a value exists elsewhere, or points at another organisation's row",
        """with tenant as (
               select c.oid, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
               where n.nspname = 'public' and c.relkind in ('r', 'p') and c.relname <> all (:global_tables)),
           first_key as (
               select t.relname, i.indexrelid::regclass::text as what,
                      (select a.attname from pg_attribute a where a.attrelid = i.indrelid and a.attnum = i.indkey[0]) as lead
               from pg_index i join tenant t on t.oid = i.indrelid where i.indisunique or i.indisexclusion),
           foreign_key as (
               select c.relname, k.conname as what,
                      (select a.attname from pg_attribute a where a.attrelid = k.conrelid and a.attnum = k.conkey[1]) as lead,
                      (select a.attname from pg_attribute a where a.attrelid = k.confrelid and a.attnum = k.confkey[1]) as target
               from pg_constraint k join pg_class c on c.oid = k.conrelid join tenant t on t.oid = k.confrelid
               where k.contype = 'f')
           select relname || ' ' || what from first_key where lead is distinct from 'org'
           union all
           select relname || ' ' || what from foreign_key where lead is distinct from 'org' or target is distinct from 'org'
           union all
           select relname || ' has no org uuid not null' from tenant
           where not exists (select from pg_attribute a where a.attrelid = tenant.oid and a.attname = 'org'
                             and a.attnotnull and a.atttypid = 'uuid'::regtype)""",
    ),
    Lint(
        "the application owns nothing and cannot step around row-level security",
        "an owner, a BYPASSRLS role or TRUNCATE ignores the policies",
        """select rolname || ' may bypass row-level security' from pg_roles
           where rolname = :app and (rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolreplication)
           union all
           select c.relname || ' is owned by ' || pg_get_userbyid(c.relowner) from pg_class c
           where pg_get_userbyid(c.relowner) = :app and c.relpersistence <> 't'
           union all
           select p.proname || ' is owned by ' || pg_get_userbyid(p.proowner) from pg_proc p
           where pg_get_userbyid(p.proowner) = :app
           union all
           select n.nspname || ': schema is owned or can be created in' from pg_namespace n
           where n.nspname !~ '^pg_' and (pg_get_userbyid(n.nspowner) = :app or has_schema_privilege(:app, n.oid, 'create'))
           union all
           select c.relname || ' can be truncated' from pg_class c join pg_namespace n on n.oid = c.relnamespace
           where n.nspname = 'public' and c.relkind in ('r', 'p') and has_table_privilege(:app, c.oid, 'truncate')
           union all
           select r.rolname || ' can be taken on' from pg_auth_members m
           join pg_roles r on r.oid = m.roleid join pg_roles a on a.oid = m.member where a.rolname = :app""",
    ),
)
"""The six checks of the migrated schema; each query returns one row for each fault, none when all is well."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One finding of a lint."""

    lint: str
    what: str
    danger: str


def faults(connection: sa.Connection, *, global_tables: Iterable[str], lints: Sequence[Lint] = LINTS) -> list[Fault]:
    """Run the lints and return what they find; an empty list is a pass.

    Args:
        connection: Of any role that may read the catalogue.
        global_tables: Declared tables without an organisation; :data:`GLOBAL_TABLES` is added.
        lints: Which to run.
    """
    facts = {
        "app": APP,
        "global_tables": sorted({*global_tables, *GLOBAL_TABLES}),
        "definer_functions": sorted(DEFINER_FUNCTIONS),
    }
    found = []
    for lint in lints:
        query = sa.text(lint.query)
        used = {name: value for name, value in facts.items() if f":{name}" in lint.query}
        found += [Fault(lint.name, row[0], lint.danger) for row in connection.execute(query, used)]
    return found
