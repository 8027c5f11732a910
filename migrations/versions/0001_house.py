"""The roles, what they may do in the schema, and the function behind append-only tables.

Safe while the old version runs: nothing exists before it.
"""

from alembic import op

from bursar.infra.schema import APP, BACKUP, role_statements

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in role_statements():
        op.execute(statement)
    # Whoever migrates may act as the application and as the backup (so one BURSAR_DATABASE_URL is enough).
    op.execute(
        f"""do $$ begin
            if not (select rolsuper from pg_roles where rolname = current_user) then
                execute format('grant {APP}, {BACKUP} to %I', current_user);
            end if;
        exception when insufficient_privilege then null;  -- then the application signs in by itself
        end $$"""
    )
    op.execute("revoke create on schema public from public")
    op.execute(f"grant usage on schema public to {APP}, {BACKUP}")
    op.execute(f"grant select on alembic_version to {APP}, {BACKUP}")
    op.execute(
        """create function bursar_append_only() returns trigger language plpgsql as $$
        begin
            if tg_op = 'DELETE' and old.org::text = current_setting('bursar.erase_org', true) then
                return old;  -- an organisation is erased as a whole, by a role that may delete
            end if;
            raise exception 'rows of % are never changed', tg_table_name using errcode = 'insufficient_privilege';
        end $$"""
    )


def downgrade() -> None:
    op.execute("drop function bursar_append_only()")
    op.execute(f"revoke select on alembic_version from {APP}, {BACKUP}")
    op.execute(f"revoke usage on schema public from {APP}, {BACKUP}")
