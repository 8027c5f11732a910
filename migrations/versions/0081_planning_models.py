"""Keep trained models, the parts of forecasts under way, and whose holidays and events count.

Additive: new tables, and new columns of runs that have defaults; the old version writes runs without them.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.schema import tenant_policy

revision = "planning_2"
down_revision = "language_1"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables and columns."""
    op.create_table(
        "model_version",
        sa.Column("org", sa.Uuid, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("place", sa.SmallInteger),
        sa.Column("trained_at", INSTANT, nullable=False),
        sa.Column("card", pg.JSONB, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("artefact", sa.LargeBinary),
        sa.PrimaryKeyConstraint("org", "name", "version", name="model_version_pkey"),
        sa.UniqueConstraint("org", "name", "place", name="model_version_place_key"),
        sa.CheckConstraint("place in (0, 1)", name="model_version_place_check"),
        sa.CheckConstraint("place is null or artefact is not null", name="model_version_artefact_check"),
    )
    op.create_table(
        "forecast_part",
        sa.Column("org", sa.Uuid, nullable=False),
        sa.Column("work", sa.CHAR(64), nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("made_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("org", "work", name="forecast_part_pkey"),
    )
    op.create_table(
        "planning_calendar",
        sa.Column("org", sa.Uuid, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("country", sa.Text, nullable=False),
        sa.Column("subdivision", sa.Text, nullable=False),
        sa.Column("events", pg.JSONB, nullable=False),
        sa.Column("changed_at", INSTANT, nullable=False),
        sa.Column("changed_by", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("org", "name", name="planning_calendar_pkey"),
    )
    for table in ("model_version", "forecast_part", "planning_calendar"):
        tenant_policy(op, table)
    op.add_column("forecast_run", sa.Column("model", sa.Text, nullable=False, server_default=""))
    op.add_column("forecast_run", sa.Column("model_version", sa.Integer))
    op.add_column("forecast_run", sa.Column("notes", pg.ARRAY(sa.Text), nullable=False, server_default="{}"))


def downgrade() -> None:
    """Drop what was made."""
    for column in ("notes", "model_version", "model"):
        op.drop_column("forecast_run", column)
    for table in ("planning_calendar", "forecast_part", "model_version"):
        op.drop_table(table)
