"""Keep an organisation's rules about who bears cloud cost: tags inherited and shared cost split.

Additive: one new table; the old version never reads it.
"""

from alembic import op

from bursar.infra.schema import tenant_policy

revision = "cloud_rules"
down_revision = "banking_connections"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.execute(
        """create table cloud_rule_book (
        org uuid not null, rules jsonb not null, version integer not null, changed_at timestamptz not null,
        constraint cloud_rule_book_pkey primary key (org),
        constraint cloud_rule_book_version_check check (version > 0))"""
    )
    tenant_policy(op, "cloud_rule_book")


def downgrade() -> None:
    """Drop what :func:`upgrade` made."""
    op.drop_table("cloud_rule_book")
