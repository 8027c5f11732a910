"""Keep what each organisation wants to hear about its costs: alert budget, money floor, percent floor.

Additive: a new table; without a row, and for the old version, what was constant before holds.
"""

from alembic import op

from bursar.infra.schema import tenant_policy

revision = "planning_policy"
down_revision = "banking_papers"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.execute(
        """create table anomaly_policy (
            org uuid not null, false_alerts float8 not null, money_floor numeric(15, 2) not null,
            percent_floor float8 not null, changed_at timestamptz not null, changed_by text not null,
            constraint anomaly_policy_pkey primary key (org),
            constraint anomaly_policy_alerts_check check (false_alerts > 0 and false_alerts <= 20),
            constraint anomaly_policy_money_check check (money_floor >= 0),
            constraint anomaly_policy_percent_check check (percent_floor >= 0 and percent_floor <= 1))"""
    )
    tenant_policy(op, "anomaly_policy")


def downgrade() -> None:
    """Drop what :func:`upgrade` made."""
    op.drop_table("anomaly_policy")
