"""Hold and settle what language models cost, and keep what they think of groups of transactions.

Additive: new tables only; the old version never reads them. ``language_month`` is outside of organisations because one key
and one cap serve the installation; it holds one sum a month.
"""

from alembic import op

from bursar.infra.schema import APP, global_grants, tenant_policy

revision = "language_1"
down_revision = "banking_posting"
branch_labels = None
depends_on = None

TABLES = (
    """create table language_policy (
        org uuid not null, enabled boolean not null, monthly_max numeric(38, 15) not null,
        constraint language_policy_pkey primary key (org),
        constraint language_policy_max_check check (monthly_max >= 0))""",
    """create table language_call (
        org uuid not null, id uuid not null, month date not null, purpose text not null, model text not null,
        state text not null, held numeric(38, 15) not null, cost numeric(38, 15), asked_at timestamptz not null,
        settled_at timestamptz, batch text, batched boolean not null, tokens_read bigint not null default 0,
        tokens_written bigint not null default 0, ended text not null default '',
        constraint language_call_pkey primary key (org, id),
        constraint language_call_state_check check (state in ('held', 'sent', 'settled', 'unknown')),
        constraint language_call_money_check check (held >= 0 and cost >= 0),
        constraint language_call_settled_check
            check ((state in ('settled', 'unknown')) = (cost is not null and settled_at is not null)))""",
    "create index language_call_month on language_call (org, month, state)",
    "create index language_call_open on language_call (org, asked_at) where cost is null",
    """create table bank_opinion (
        org uuid not null, content text not null, state text not null, call uuid, place integer not null default 0,
        model text not null default '', taxonomy text not null default '', categories text[] not null default '{}',
        category text, alternatives text[] not null default '{}', why text not null default '', rows uuid[] not null,
        failures integer not null default 0, asked_at timestamptz not null, answered_at timestamptz,
        constraint bank_opinion_pkey primary key (org, content),
        constraint bank_opinion_state_check check (state in ('asked', 'disputed', 'known', 'failed')),
        constraint bank_opinion_call_check check ((state = 'asked') = (call is not null)),
        constraint bank_opinion_counts_check check (failures >= 0 and place >= 0))""",
    "create index bank_opinion_call on bank_opinion (org, call)",
    "create index bank_opinion_state on bank_opinion (org, state, asked_at)",
)

MONTH = """create table language_month (
    month date not null, taken numeric(38, 15) not null,
    constraint language_month_pkey primary key (month),
    constraint language_month_taken_check check (taken >= 0))"""

NAMES = ("language_policy", "language_call", "bank_opinion")


def upgrade() -> None:
    """Create the tables; calls are a record of money and are never deleted by the application."""
    for statement in TABLES:
        op.execute(statement)
    for name in NAMES:
        tenant_policy(op, name)
    op.execute(MONTH)
    global_grants(op, "language_month")
    op.execute(f"revoke delete on language_call, language_month from {APP}")


def downgrade() -> None:
    """Drop what :func:`upgrade` made."""
    for name in ("bank_opinion", "language_month", "language_call", "language_policy"):
        op.drop_table(name)
