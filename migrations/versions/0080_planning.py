"""Keep forecasts as they were made, how they held, and budgets with what was told about them.

Additive: new tables only; the old version never reads them.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.schema import tenant_policy

revision = "planning_1"
down_revision = "findings_2"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)
UNITS = pg.ARRAY(sa.BigInteger)


def _columns(kind: Any, *names: str, empty: bool = False) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=empty) for name in names]


def upgrade() -> None:
    """Create runs, values and scores of forecasts, budgets and their alerts."""
    _forecasts()
    _budgets()
    for table in ("forecast_run", "forecast_value", "forecast_score", "budget", "budget_alert"):
        tenant_policy(op, table)


def _forecasts() -> None:
    op.create_table(
        "forecast_run",
        *_columns(sa.Uuid, "org", "id"),
        *_columns(INSTANT, "made_at"),
        *_columns(sa.Text, "source", "grain"),
        *_columns(sa.CHAR(3), "currency"),
        *_columns(sa.Integer, "horizon"),
        *_columns(sa.Date, "first_day", "last_day", "origin"),
        *_columns(sa.Integer, "series"),
        *_columns(sa.CHAR(64), "data_hash"),
        *_columns(sa.Text, "code_version"),
        *_columns(sa.Integer, "seed"),
        *_columns(sa.Text, "baseline"),
        *_columns(sa.Integer, "windows"),
        *_columns(sa.Float, "coverage80", "coverage95", empty=True),
        sa.PrimaryKeyConstraint("org", "id", name="forecast_run_pkey"),
        sa.UniqueConstraint(
            "org", "source", "grain", "currency", "horizon", "data_hash", "code_version", name="forecast_run_once"
        ),
        sa.CheckConstraint("first_day <= last_day and last_day < origin", name="forecast_run_days_check"),
    )
    op.create_index("forecast_run_newest", "forecast_run", ["org", "source", "grain", "currency", "made_at"])
    op.create_table(
        "forecast_value",
        *_columns(sa.Uuid, "org", "run"),
        *_columns(sa.Text, "id", "key", "level", "parent", "model", "leader"),
        *_columns(sa.Boolean, "beats_baseline", "cold"),
        *_columns(sa.Float, "error", "baseline_error", empty=True),
        *_columns(sa.Float, "scale"),
        *_columns(UNITS, "mean", "lower80", "upper80", "lower95", "upper95", "baseline"),
        sa.PrimaryKeyConstraint("org", "run", "id", name="forecast_value_pkey"),
        sa.ForeignKeyConstraint(
            ["org", "run"], ["forecast_run.org", "forecast_run.id"], name="forecast_value_run_fkey", ondelete="cascade"
        ),
    )
    op.create_table(
        "forecast_score",
        *_columns(sa.Uuid, "org", "run"),
        *_columns(sa.Text, "level", "leader"),
        *_columns(sa.Integer, "block", "first_step", "last_step"),
        *_columns(sa.BigInteger, "periods", "inside80", "inside95"),
        *_columns(sa.Float, "actual_abs", "error_abs", "baseline_abs", "error_scaled", "baseline_scaled"),
        *_columns(INSTANT, "scored_at"),
        sa.PrimaryKeyConstraint("org", "run", "level", "leader", "block", name="forecast_score_pkey"),
        sa.ForeignKeyConstraint(
            ["org", "run"], ["forecast_run.org", "forecast_run.id"], name="forecast_score_run_fkey", ondelete="cascade"
        ),
        sa.CheckConstraint("inside80 <= inside95 and inside95 <= periods", name="forecast_score_inside_check"),
    )


def _budgets() -> None:
    op.create_table(
        "budget",
        *_columns(sa.Uuid, "org", "id"),
        *_columns(sa.Text, "name", "source"),
        *_columns(pg.JSONB, "filter"),
        *_columns(sa.BigInteger, "amount"),
        *_columns(sa.CHAR(3), "currency"),
        *_columns(sa.Text, "cadence", "roll_over"),
        *_columns(sa.Date, "start_day"),
        *_columns(pg.JSONB, "tell"),
        *_columns(INSTANT, "created_at", "changed_at"),
        sa.PrimaryKeyConstraint("org", "id", name="budget_pkey"),
        sa.UniqueConstraint("org", "name", name="budget_name_key"),
        sa.CheckConstraint("amount > 0", name="budget_amount_check"),
        sa.CheckConstraint("cadence in ('month', 'quarter', 'year')", name="budget_cadence_check"),
        sa.CheckConstraint("roll_over in ('none', 'unspent', 'both')", name="budget_roll_over_check"),
    )
    op.create_table(
        "budget_alert",
        *_columns(sa.Uuid, "org", "budget"),
        *_columns(sa.Date, "start_day"),
        *_columns(sa.Text, "threshold"),
        *_columns(sa.BigInteger, "amount", "allowed"),
        *_columns(pg.JSONB, "told"),
        *_columns(INSTANT, "told_at"),
        sa.PrimaryKeyConstraint("org", "budget", "start_day", "threshold", name="budget_alert_pkey"),
        sa.ForeignKeyConstraint(
            ["org", "budget"], ["budget.org", "budget.id"], name="budget_alert_budget_fkey", ondelete="cascade"
        ),
    )


def downgrade() -> None:
    """Drop what was made, dependants first."""
    for table in ("budget_alert", "budget", "forecast_score", "forecast_value", "forecast_run"):
        op.drop_table(table)
