"""Budgets, and which of their thresholds were told."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.db import tenant_table

INSTANT = sa.DateTime(timezone=True)

budget = tenant_table(
    "budget",
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("filter", pg.JSONB, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.CHAR(3), nullable=False),
    sa.Column("cadence", sa.Text, nullable=False),
    sa.Column("roll_over", sa.Text, nullable=False),
    sa.Column("year_begins", sa.SmallInteger, nullable=False, server_default="1"),
    sa.Column("start_day", sa.Date, nullable=False),
    sa.Column("tell", pg.JSONB, nullable=False),
    sa.Column("created_at", INSTANT, nullable=False),
    sa.Column("changed_at", INSTANT, nullable=False),
    sa.UniqueConstraint("org", "name", name="budget_name_key"),
    sa.CheckConstraint("amount > 0", name="budget_amount_check"),
    sa.CheckConstraint("cadence in ('month', 'quarter', 'year')", name="budget_cadence_check"),
    sa.CheckConstraint("year_begins between 1 and 12", name="budget_year_begins_check"),
    sa.CheckConstraint("roll_over in ('none', 'unspent', 'both')", name="budget_roll_over_check"),
)
"""``filter`` maps a dimension to the values that count; ``tell`` lists mail addresses."""

alert = tenant_table(
    "budget_alert",
    sa.Column("budget", sa.Uuid, primary_key=True),
    sa.Column("start_day", sa.Date, primary_key=True),
    sa.Column("threshold", sa.Text, primary_key=True),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("allowed", sa.BigInteger, nullable=False),
    sa.Column("told", pg.JSONB, nullable=False),
    sa.Column("told_at", INSTANT, nullable=False),
    sa.ForeignKeyConstraint(
        ["org", "budget"], ["budget.org", "budget.id"], name="budget_alert_budget_fkey", ondelete="cascade"
    ),
)
"""A threshold that was crossed in the period from ``start_day``; the key makes it told once. ``told`` lists who was."""
