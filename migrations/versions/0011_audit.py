"""Keep the audit trail: entries and the sealed blocks over them, both append-only.

``audit_entry`` remembers which server and which transaction wrote a row, because transaction numbers begin anew when a
database is restored elsewhere. Safe while the old version runs: new tables only.
"""

from alembic import op

from bursar.infra.schema import APP, tenant_policy

revision = "audit_1"
down_revision = "identity_1"
branch_labels = None
depends_on = None

FUNCTIONS = (
    """create function audit_cluster() returns bigint language sql stable parallel safe as
       'select system_identifier from pg_control_system()'""",
    """create function audit_xid() returns bigint language sql volatile as
       'select pg_current_xact_id()::text::bigint'""",
    # Every transaction below the horizon has ended, so no row with a smaller number can appear any more.
    """create function audit_horizon() returns bigint language sql volatile as
       'select pg_snapshot_xmin(pg_current_snapshot())::text::bigint'""",
)

# One round trip instead of a transaction for each organisation; it runs with the caller's rights, under the policies.
UNSEALED = """
create function audit_unsealed() returns setof uuid language plpgsql volatile as $$
declare
    here bigint := audit_cluster();
    horizon bigint := audit_horizon();
    everybody uuid[] := array(select id from identity_organisation where purged_at is null);
    candidate uuid;
begin
    foreach candidate in array everybody loop
        perform set_config('bursar.org', candidate::text, true);
        if exists (
            select from audit_entry e
            where e.org = candidate and e.cluster = here and e.xid < horizon
              and e.xid >= coalesce((select b.upto_xid from audit_block b where b.org = candidate and b.cluster = here
                                     order by b.number desc limit 1), 0)
        ) or exists (
            select from audit_entry e where e.org = candidate and e.cluster <> here
              and e.xid >= coalesce((select b.upto_xid from audit_block b
                                     where b.org = candidate and b.cluster = e.cluster
                                     order by b.number desc limit 1), 0)
        ) then
            return next candidate;
        end if;
    end loop;
    perform set_config('bursar.org', '', true);
end $$
"""


def upgrade() -> None:
    for statement in FUNCTIONS:
        op.execute(statement)
    op.execute(
        """create table audit_entry (
            org uuid not null,
            id uuid not null,
            at timestamptz not null,
            actor text not null,
            request_id text not null,
            action text not null,
            subject text not null,
            before jsonb,
            after jsonb,
            cluster bigint not null default audit_cluster(),
            xid bigint not null default audit_xid(),
            constraint audit_entry_pkey primary key (org, id))"""
    )
    op.execute("create index audit_entry_order on audit_entry (org, cluster, xid, id)")
    op.execute("create index audit_entry_newest on audit_entry (org, at, id)")
    op.execute("create index audit_entry_subject on audit_entry (org, subject, at)")
    op.execute(
        """create table audit_block (
            org uuid not null,
            number bigint not null,
            cluster bigint not null,
            from_xid bigint not null,
            from_id uuid not null,
            upto_xid bigint not null,
            upto_id uuid not null,
            rows integer not null,
            content_hash bytea not null,
            leaves bytea not null,
            previous_hash bytea not null,
            hash bytea not null,
            key text not null,
            signature bytea not null,
            sealed_at timestamptz not null,
            constraint audit_block_pkey primary key (org, number),
            constraint audit_block_number_check check (number > 0),
            constraint audit_block_rows_check check (rows > 0))"""
    )
    tenant_policy(op, "audit_entry", append_only=True)
    tenant_policy(op, "audit_block", append_only=True)
    op.execute(UNSEALED)
    # The application fills neither column: what it writes is numbered by the server.
    op.execute(f"revoke insert on audit_entry from {APP}")
    op.execute(f"grant insert (org, id, at, actor, request_id, action, subject, before, after) on audit_entry to {APP}")


def downgrade() -> None:
    op.execute("drop function audit_unsealed()")
    op.execute("drop table audit_block")
    op.execute("drop table audit_entry")
    for name in ("audit_horizon", "audit_xid", "audit_cluster"):
        op.execute(f"drop function {name}()")
