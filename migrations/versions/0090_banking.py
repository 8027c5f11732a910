"""Keep transactions people work with, and what is needed to say what each was for.

Additive: new tables only; the old version never reads them. Transactions are derived from the lake: nothing is copied here.
"""

from alembic import op

from bursar.infra.schema import APP, tenant_policy

revision = "banking_1"
down_revision = "planning_1"
branch_labels = None
depends_on = None

TABLES = (
    """create table bank_transaction (
        org uuid not null, id uuid not null, dataset text not null, month date not null, account text not null,
        booking_date date not null, value_date date, amount numeric(38, 15) not null, currency char(3) not null,
        size bigint not null, status text not null, label text not null, description text not null,
        counterparty_account text not null, reference text not null, source_category text not null,
        source_department text not null, party uuid, batch uuid not null, row bigint not null, gone_at timestamptz,
        derived_at timestamptz not null, late boolean not null default false, department text not null default '',
        note text not null default '', tags text[] not null default '{}', category text, state text not null default 'open',
        stage text not null default '', score float8, evidence jsonb not null default '{}',
        audit boolean not null default false, version integer not null default 1,
        constraint bank_transaction_pkey primary key (org, id),
        constraint bank_transaction_state_check check (state in ('open', 'suggested', 'automatic', 'confirmed')),
        constraint bank_transaction_category_check check ((category is null) = (state = 'open')))""",
    "create index bank_transaction_day on bank_transaction (org, booking_date, id)",
    "create index bank_transaction_account on bank_transaction (org, account, booking_date, id)",
    "create index bank_transaction_size on bank_transaction (org, size, booking_date, id)",
    "create index bank_transaction_party on bank_transaction (org, party, booking_date)",
    "create index bank_transaction_month on bank_transaction (org, dataset, month)",
    "create index bank_transaction_state on bank_transaction (org, state, booking_date, id)",
    """create table bank_transaction_word (
        org uuid not null, word text collate "C" not null, booking_date date not null, transaction uuid not null,
        constraint bank_transaction_word_pkey primary key (org, word, booking_date, transaction))""",
    """create table bank_split (
        org uuid not null, transaction uuid not null, place integer not null, amount numeric(38, 15) not null,
        category text not null, department text not null, note text not null,
        constraint bank_split_pkey primary key (org, transaction, place),
        constraint bank_split_transaction_fkey foreign key (org, transaction) references bank_transaction (org, id))""",
    """create table bank_own_account (
        org uuid not null, account text not null, first_day date not null, last_day date not null,
        constraint bank_own_account_pkey primary key (org, account))""",
    """create table bank_derived_month (
        org uuid not null, dataset text not null, month date not null, digest text not null,
        constraint bank_derived_month_pkey primary key (org, dataset, month))""",
    """create table bank_closing (
        org uuid not null, until date not null, changed_at timestamptz not null, changed_by text not null,
        constraint bank_closing_pkey primary key (org))""",
    """create table bank_rule (
        org uuid not null, id uuid not null, version integer not null, place integer not null, "when" jsonb not null,
        category text not null, mode text not null, hits bigint not null default 0, overrides bigint not null default 0,
        made_at timestamptz not null, made_by text not null, retired_at timestamptz,
        constraint bank_rule_pkey primary key (org, id, version),
        constraint bank_rule_mode_check check (mode in ('automatic', 'suggest')),
        constraint bank_rule_counts_check check (hits >= 0 and overrides >= 0))""",
    "create unique index bank_rule_current on bank_rule (org, id) where retired_at is null",
    """create table bank_model_count (
        org uuid not null, context bigint not null, category text not null, weight float8 not null, seen bigint not null,
        last_day date not null, example uuid not null,
        constraint bank_model_count_pkey primary key (org, context, category))""",
    """create table bank_verdict (
        org uuid not null, id uuid not null, transaction uuid not null, at timestamptz not null, stage text not null,
        category text not null, score float8 not null, "right" boolean not null, weight float8 not null, source text not null,
        constraint bank_verdict_pkey primary key (org, id),
        constraint bank_verdict_source_check check (source in ('review', 'audit')),
        constraint bank_verdict_weight_check check (weight >= 1))""",
    "create index bank_verdict_recent on bank_verdict (org, stage, category, id)",
    """create table bank_policy (
        org uuid not null, error_max float8 not null, audit_share float8 not null,
        constraint bank_policy_pkey primary key (org),
        constraint bank_policy_error_check check (error_max > 0 and error_max <= 0.5),
        constraint bank_policy_audit_check check (audit_share >= 0.02 and audit_share <= 0.05))""",
)

SUMS = """
create function bank_split_sums() returns trigger language plpgsql as $$
declare
    whole record;
begin
    select coalesce(new.org, old.org) as org, coalesce(new.transaction, old.transaction) as id into whole;
    if exists (
        select 1 from bank_split s join bank_transaction t on t.org = s.org and t.id = s.transaction
        where s.org = whole.org and s.transaction = whole.id group by t.amount having sum(s.amount) <> t.amount
    ) then
        raise exception 'the splits of transaction % do not sum to its amount', whole.id using errcode = 'check_violation';
    end if;
    return null;
end $$
"""

NAMES = (
    "bank_transaction", "bank_transaction_word", "bank_split", "bank_own_account", "bank_derived_month", "bank_closing",
    "bank_rule", "bank_model_count", "bank_verdict", "bank_policy",
)  # fmt: skip


def upgrade() -> None:
    """Create the tables of banking; splits must sum when a transaction commits."""
    for statement in TABLES:
        op.execute(statement)
    for name in NAMES:
        tenant_policy(op, name)
    op.execute(f"revoke delete on bank_transaction, bank_rule from {APP}")
    op.execute(f"revoke update, delete on bank_verdict from {APP}")
    op.execute(SUMS)
    op.execute(
        "create constraint trigger bank_split_sums after insert or update or delete on bank_split"
        " deferrable initially deferred for each row execute function bank_split_sums()"
    )


def downgrade() -> None:
    """Drop what :func:`upgrade` made."""
    op.execute("drop trigger bank_split_sums on bank_split")
    op.execute("drop function bank_split_sums()")
    for name in reversed(NAMES):
        op.drop_table(name)
