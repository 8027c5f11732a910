"""Let a budget's years and quarters begin in another month than January, and a calendar leave its country to the currency.

Additive: a column whose default is what held before, and one more value, null, of a column that the old version reads as it
reads a calendar that nobody set.
"""

from alembic import op

revision = "planning_budget_years"
down_revision = "planning_floor_currency"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; allow null."""
    op.execute("alter table budget add column year_begins smallint not null default 1")
    op.execute("alter table budget add constraint budget_year_begins_check check (year_begins between 1 and 12)")
    op.execute("alter table planning_calendar alter column country drop not null")


def downgrade() -> None:
    """Take back what :func:`upgrade` made."""
    op.execute("update planning_calendar set country = '' where country is null")
    op.execute("alter table planning_calendar alter column country set not null")
    op.drop_column("budget", "year_begins")
