"""Keep organisations, people, memberships, sign-ins, tokens and API keys; erase an organisation for good.

These tables are read before the organisation of a request is known, so they are not tenant tables; those with an
organisation are confined to it inside its transactions. Safe while the old version runs: new tables only.
"""

from alembic import op

from bursar.infra.schema import APP, confine, global_grants

revision = "identity_1"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = (
    """create table identity_organisation (
        id uuid not null,
        name text not null,
        created_at timestamptz not null,
        changed_at timestamptz not null,
        is_local boolean not null,
        purge_after timestamptz,
        purged_at timestamptz,
        constraint identity_organisation_pkey primary key (id))""",
    """create table identity_person (
        id uuid not null,
        email text not null,
        name text not null,
        password_hash text,
        password_changed_at timestamptz,
        second_factor bytea,
        second_factor_draft bytea,
        second_factor_step bigint,
        is_local boolean not null,
        created_at timestamptz not null,
        constraint identity_person_pkey primary key (id),
        constraint identity_person_email_key unique (email))""",
    """create table identity_membership (
        org uuid not null,
        person uuid not null,
        roles text[] not null,
        since timestamptz not null,
        changed_at timestamptz not null,
        constraint identity_membership_pkey primary key (org, person),
        constraint identity_membership_org_fkey foreign key (org) references identity_organisation (id),
        constraint identity_membership_person_fkey foreign key (person) references identity_person (id))""",
    """create table identity_registration (
        token_hash bytea not null,
        email text not null,
        name text not null,
        organisation text not null,
        password_hash text not null,
        expires_at timestamptz not null,
        used_at timestamptz,
        constraint identity_registration_pkey primary key (token_hash))""",
    """create table identity_reset (
        token_hash bytea not null,
        person uuid not null,
        expires_at timestamptz not null,
        used_at timestamptz,
        constraint identity_reset_pkey primary key (token_hash),
        constraint identity_reset_person_fkey foreign key (person) references identity_person (id) on delete cascade)""",
    """create table identity_recovery (
        person uuid not null,
        code_hash bytea not null,
        used_at timestamptz,
        constraint identity_recovery_pkey primary key (person, code_hash),
        constraint identity_recovery_person_fkey foreign key (person) references identity_person (id)
            on delete cascade)""",
    """create table identity_attempt (
        subject bytea not null,
        since timestamptz not null,
        tries integer not null,
        failures integer not null,
        at timestamptz not null,
        constraint identity_attempt_pkey primary key (subject))""",
    """create table identity_invitation (
        org uuid not null,
        id uuid not null,
        token_hash bytea not null,
        email text not null,
        roles text[] not null,
        invited_by text not null,
        created_at timestamptz not null,
        expires_at timestamptz not null,
        used_at timestamptz,
        constraint identity_invitation_pkey primary key (org, id),
        constraint identity_invitation_org_fkey foreign key (org) references identity_organisation (id),
        constraint identity_invitation_token_hash_key unique (token_hash))""",
    """create table identity_session (
        org uuid not null,
        id uuid not null,
        token_hash bytea not null,
        person uuid not null,
        created_at timestamptz not null,
        seen_at timestamptz not null,
        expires_at timestamptz not null,
        idle_s integer not null,
        fresh_at timestamptz,
        address text not null,
        agent text not null,
        constraint identity_session_pkey primary key (org, id),
        constraint identity_session_org_fkey foreign key (org) references identity_organisation (id),
        constraint identity_session_token_hash_key unique (token_hash),
        constraint identity_session_person_fkey foreign key (person) references identity_person (id))""",
    """create table identity_family (
        org uuid not null,
        id uuid not null,
        person uuid not null,
        label text not null,
        address text not null,
        signed_in_at timestamptz not null,
        expires_at timestamptz not null,
        revoked_at timestamptz,
        reason text not null,
        constraint identity_family_pkey primary key (org, id),
        constraint identity_family_org_fkey foreign key (org) references identity_organisation (id),
        constraint identity_family_person_fkey foreign key (person) references identity_person (id))""",
    """create table identity_refresh (
        org uuid not null,
        token_hash bytea not null,
        family uuid not null,
        created_at timestamptz not null,
        used_at timestamptz,
        constraint identity_refresh_pkey primary key (org, token_hash),
        constraint identity_refresh_org_family_fkey foreign key (org, family) references identity_family (org, id),
        constraint identity_refresh_token_hash_key unique (token_hash))""",
    """create table identity_key (
        org uuid not null,
        id text not null,
        lineage uuid not null,
        slot smallint not null,
        name text not null,
        secret_hash bytea not null,
        scopes text[] not null,
        networks text[] not null,
        made_by uuid,
        created_at timestamptz not null,
        expires_at timestamptz not null,
        used_at timestamptz,
        used_from text not null,
        revoked_at timestamptz,
        constraint identity_key_pkey primary key (org, id),
        constraint identity_key_slot_check check (slot in (0, 1)),
        constraint identity_key_id_key unique (id),
        constraint identity_key_org_fkey foreign key (org) references identity_organisation (id),
        constraint identity_key_made_by_fkey foreign key (made_by) references identity_person (id))""",
    "create index identity_attempt_at_idx on identity_attempt (at)",
    "create index identity_registration_expires_at_idx on identity_registration (expires_at)",
    "create index identity_family_person_idx on identity_family (person)",
    "create index identity_membership_person_idx on identity_membership (person)",
    "create index identity_reset_person_idx on identity_reset (person)",
    "create index identity_session_person_idx on identity_session (person)",
    "create index identity_refresh_org_family_idx on identity_refresh (org, family)",
    "create unique index identity_key_live_slot on identity_key (org, lineage, slot) where revoked_at is null",
)

OPEN = ("person", "registration", "reset", "recovery", "attempt")
CONFINED = ("membership", "invitation", "session", "family", "refresh", "key")

# Deletes up to rows_max rows of one table a call, those that point at others first; the caller repeats until it says 0.
# It owns the append-only tables, so it is the one way to remove their rows, and it looks itself whether it may.
ERASE = """
create function bursar_erase_step(erased uuid, rows_max integer) returns bigint
language plpgsql security definer set search_path = pg_catalog, public as $$
declare
    target record;
    gone bigint;
begin
    perform set_config('bursar.org', erased::text, true);
    if not exists (select from public.identity_organisation
                   where id = erased and purge_after <= clock_timestamp() and purged_at is null) then
        raise exception 'organisation % is not due to be erased', erased using errcode = 'insufficient_privilege';
    end if;
    perform set_config('bursar.erase_org', erased::text, true);
    for target in
        with recursive mine as (
            select c.oid from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'org'
            where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
              and a.atttypid = 'uuid'::regtype
              and c.relname <> 'identity_membership'),  -- ends last, together with the people who belong nowhere else
        points as (
            select distinct k.conrelid as child, k.confrelid as parent from pg_constraint k
            where k.contype = 'f' and k.conrelid <> k.confrelid
              and k.conrelid in (select oid from mine) and k.confrelid in (select oid from mine)),
        depth (oid, steps) as (
            select oid, 0 from mine
            union
            select p.child, d.steps + 1 from depth d join points p on p.parent = d.oid where d.steps < 50)
        select d.oid::regclass as name, max(d.steps) as steps,
               exists (select from pg_constraint k where k.contype = 'f' and k.conrelid = d.oid and k.confrelid = d.oid)
                   as loops
        from depth d group by d.oid order by 2 desc, 1
    loop
        if target.loops then
            execute format('delete from %s where org = $1', target.name) using erased;
        else
            execute format('delete from %s where ctid = any (array(select ctid from %s where org = $1 limit $2))',
                           target.name, target.name) using erased, rows_max;
        end if;
        get diagnostics gone = row_count;
        if gone > 0 then
            return gone;
        end if;
    end loop;
    return 0;
end $$
"""


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
    for name in ("organisation", *OPEN, *CONFINED):
        global_grants(op, f"identity_{name}")
    confine(op, "identity_organisation", column="id")
    for name in CONFINED:
        confine(op, f"identity_{name}")
    op.execute(ERASE)
    op.execute("revoke all on function bursar_erase_step(uuid, integer) from public")
    op.execute(f"grant execute on function bursar_erase_step(uuid, integer) to {APP}")


def downgrade() -> None:
    op.execute("drop function bursar_erase_step(uuid, integer)")
    for name in ("refresh", *reversed(CONFINED), *reversed(OPEN), "organisation"):
        op.execute(f"drop table if exists identity_{name}")
