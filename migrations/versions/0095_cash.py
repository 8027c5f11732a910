"""Keep the least balance an account should have, and whether its last forecast was low: a webhook tells each crossing once.

Additive: a new table; the old version never reads it.
"""

from alembic import op

from bursar.infra.schema import tenant_policy

revision = "banking_cash"
down_revision = "planning_2"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.execute(
        """create table bank_cash_watch (
            org uuid not null, account text not null, currency char(3) not null, least numeric(38, 15),
            low boolean not null default false, changed_at timestamptz not null,
            constraint bank_cash_watch_pkey primary key (org, account, currency))"""
    )
    tenant_policy(op, "bank_cash_watch")


def downgrade() -> None:
    """Drop what :func:`upgrade` made."""
    op.drop_table("bank_cash_watch")
