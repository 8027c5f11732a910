"""Queue jobs with procrastinate, and let an organisation see its own with their progress.

Safe while the old version runs: new tables, types and functions only. The queue is the package's own schema; it is refused
when the package brings another one than this migration knows, so that an upgrade of the package comes with a migration.
"""

import hashlib
from importlib import resources

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.schema import APP, BACKUP, tenant_policy

revision = "jobs_1"
down_revision = "web_1"
branch_labels = None
depends_on = None

SCHEMA_SHA256 = "c70ec4b400a60ad9592787653aae5ae77ae41bf801d56b5bd2712751a07f2009"
"""Of procrastinate 3.10's ``schema.sql``."""

TABLES = ("procrastinate_workers", "procrastinate_jobs", "procrastinate_periodic_defers", "procrastinate_events")


def upgrade() -> None:
    schema = (resources.files("procrastinate.sql") / "schema.sql").read_text(encoding="utf-8")
    if hashlib.sha256(schema.encode()).hexdigest() != SCHEMA_SHA256:
        message = "procrastinate brings another schema than migration jobs_1 knows; install the locked requirements"
        raise RuntimeError(message)
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute(schema)  # many statements with percent signs: past SQLAlchemy's parameters
    for table in TABLES:
        op.execute(f"grant select, insert, update, delete on {table} to {APP}")
        op.execute(f"grant select on {table} to {BACKUP}")
    op.execute(f"grant usage on all sequences in schema public to {APP}")
    op.create_table(
        "job_run",
        sa.Column("org", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("job", sa.BigInteger, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("enqueued_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("enqueued_by", sa.Text, nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True)),
        sa.Column("result", pg.JSONB),
        sa.PrimaryKeyConstraint("org", "id", name="job_run_pkey"),
        sa.UniqueConstraint("org", "job", name="job_run_org_job_key"),
    )
    tenant_policy(op, "job_run")
    op.create_table(
        "job_event",
        sa.Column("org", sa.Uuid, nullable=False),
        sa.Column("run", sa.Uuid, nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("data", pg.JSONB, nullable=False),
        sa.PrimaryKeyConstraint("org", "run", "seq", name="job_event_pkey"),
        sa.ForeignKeyConstraint(
            ["org", "run"], ["job_run.org", "job_run.id"], name="job_event_org_run_fkey", ondelete="CASCADE"
        ),
    )
    tenant_policy(op, "job_event")


def downgrade() -> None:
    op.drop_table("job_event")
    op.drop_table("job_run")
    for table in reversed(TABLES):
        op.execute(f"drop table {table} cascade")
    op.execute(
        """do $$ declare found record; begin
            for found in select p.oid::regprocedure::text as name from pg_proc p
                         join pg_namespace n on n.oid = p.pronamespace
                         where n.nspname = 'public' and p.proname like 'procrastinate\\_%' loop
                execute 'drop function ' || found.name || ' cascade';
            end loop;
            for found in select t.typname as name from pg_type t join pg_namespace n on n.oid = t.typnamespace
                         where n.nspname = 'public' and t.typname like 'procrastinate\\_%' and t.typtype in ('c', 'e') loop
                execute 'drop type ' || quote_ident(found.name) || ' cascade';
            end loop;
        end $$"""
    )
