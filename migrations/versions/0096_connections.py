"""Keep connections to bank services, their links and the webhooks that were seen.

Additive: new tables; the old version never reads them.
"""

from alembic import op

from bursar.infra.schema import tenant_policy

revision = "banking_connections"
down_revision = "banking_search"
branch_labels = None
depends_on = None

TABLES = (
    """create table bank_connection (
        org uuid not null, id uuid not null, provider text not null, environment text not null, name text not null,
        sealed bytea not null, created_at timestamptz not null, created_by text not null,
        constraint bank_connection_pkey primary key (org, id))""",
    """create table bank_link (
        org uuid not null, connection uuid not null, id text not null, institution text not null, state text not null,
        why text not null default '', asked jsonb, pulled_until date, changed_at timestamptz not null,
        constraint bank_link_pkey primary key (org, connection, id),
        constraint bank_link_connection_fkey foreign key (org, connection) references bank_connection (org, id),
        constraint bank_link_state_check check (
            state in ('valid', 'collecting', 'token_required', 'invalid', 'failed', 'gone')))""",
    """create table bank_notice (
        org uuid not null, connection uuid not null, key text not null, code text not null, link text not null,
        rows bigint not null, received_at timestamptz not null,
        constraint bank_notice_pkey primary key (org, connection, key),
        constraint bank_notice_connection_fkey foreign key (org, connection) references bank_connection (org, id))""",
)
NAMES = ("bank_connection", "bank_link", "bank_notice")


def upgrade() -> None:
    """Create the tables."""
    for statement in TABLES:
        op.execute(statement)
    for name in NAMES:
        tenant_policy(op, name)


def downgrade() -> None:
    """Drop what :func:`upgrade` made."""
    for name in reversed(NAMES):
        op.drop_table(name)
