"""Let an organisation say in which currency its money floor of alerts is meant.

Additive: a nullable column; without it, and for the old version, the floor is meant in the currency of each bill.
"""

from alembic import op

revision = "planning_floor_currency"
down_revision = "planning_policy"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.execute("alter table anomaly_policy add column money_currency char(3)")


def downgrade() -> None:
    """Drop what :func:`upgrade` made."""
    op.drop_column("anomaly_policy", "money_currency")
