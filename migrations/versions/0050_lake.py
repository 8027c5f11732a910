"""List the lake's Parquet files, so that a batch appears or disappears in one transaction.

Additive: a new table only; the old version never reads it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.schema import tenant_policy

revision = "lake_1"
down_revision = "ledger_1"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the manifest."""
    op.create_table(
        "lake_file",
        sa.Column("org", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("dataset", sa.Text, nullable=False),
        sa.Column("month", sa.Date, nullable=False),
        sa.Column("batch", sa.Uuid, nullable=False),
        sa.Column("family", sa.Uuid, nullable=False),
        sa.Column("format", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("coverage", pg.JSONB, nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("dropped_at", sa.DateTime(timezone=True)),
        sa.Column("dropped_by", sa.Uuid),
        sa.Column("made_by", sa.Uuid, nullable=False),
        sa.PrimaryKeyConstraint("org", "id", name="lake_file_pkey"),
        sa.UniqueConstraint("org", "path", name="lake_file_path_key"),
    )
    op.create_index(
        "lake_file_visible", "lake_file", ["org", "dataset", "month"], postgresql_where=sa.text("dropped_at is null")
    )
    op.create_index("lake_file_batch", "lake_file", ["org", "batch"])
    tenant_policy(op, "lake_file")


def downgrade() -> None:
    """Drop the manifest."""
    op.drop_table("lake_file")
