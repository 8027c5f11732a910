"""Keep which files are attached to which transactions.

Additive: a new table; the old version never reads it.
"""

from alembic import op

from bursar.infra.schema import tenant_policy

revision = "banking_attachments"
down_revision = "cloud_rules"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.execute(
        """create table bank_attachment (
            org uuid not null, id uuid not null, transaction uuid not null, sha256 text not null, name text not null,
            kind text not null, size_bytes bigint not null, added_at timestamptz not null, added_by text not null,
            constraint bank_attachment_pkey primary key (org, id),
            constraint bank_attachment_once_key unique (org, transaction, sha256),
            constraint bank_attachment_transaction_fkey foreign key (org, transaction) references bank_transaction (org, id))"""
    )
    tenant_policy(op, "bank_attachment")


def downgrade() -> None:
    """Drop what :func:`upgrade` made."""
    op.drop_table("bank_attachment")
