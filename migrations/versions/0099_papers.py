"""Keep which invoices the bills in the lake state, for matching payments with them.

Additive: new tables, derived from the lake; the old version never reads them.
"""

from alembic import op

from bursar.infra.schema import tenant_policy

revision = "banking_papers"
down_revision = "banking_closing"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.execute(
        """create table bank_paper (
            org uuid not null, dataset text not null, month date not null, id text not null, provider text not null,
            issuer text not null, number text not null, currency char(3) not null, total numeric(38, 15) not null,
            last_day date not null, constraint bank_paper_pkey primary key (org, dataset, month, id))"""
    )
    op.execute(
        """create table bank_paper_month (
            org uuid not null, dataset text not null, month date not null, digest text not null,
            constraint bank_paper_month_pkey primary key (org, dataset, month))"""
    )
    tenant_policy(op, "bank_paper")
    tenant_policy(op, "bank_paper_month")


def downgrade() -> None:
    """Drop what :func:`upgrade` made."""
    op.drop_table("bank_paper_month")
    op.drop_table("bank_paper")
