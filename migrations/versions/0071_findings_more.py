"""Keep the level at acceptance, who wants a digest, and which digests were sent.

Additive: new tables only; the old version never reads them.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.schema import tenant_policy

revision = "findings_2"
down_revision = "findings_1"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "finding_level",
        sa.Column("org", sa.Uuid, nullable=False),
        sa.Column("finding", sa.Uuid, nullable=False),
        sa.Column("accepted", sa.Date, nullable=False),
        sa.Column("end_day", sa.Date),
        sa.Column("block_days", sa.Integer, nullable=False),
        sa.Column("blocks", pg.ARRAY(sa.Text), nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("checked_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("org", "finding", name="finding_level_pkey"),
        sa.ForeignKeyConstraint(["org", "finding"], ["finding.org", "finding.id"], name="finding_level_finding_fkey"),
        sa.CheckConstraint("block_days in (7, 30)", name="finding_level_block_days_check"),
    )
    tenant_policy(op, "finding_level")
    op.create_table(
        "finding_digest_wish",
        sa.Column("org", sa.Uuid, nullable=False),
        sa.Column("taker", sa.Uuid, nullable=False),
        sa.Column("every", sa.Text, nullable=False),
        sa.Column("since", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("org", "taker", name="finding_digest_wish_pkey"),
        sa.CheckConstraint("every in ('day', 'week')", name="finding_digest_wish_every_check"),
    )
    tenant_policy(op, "finding_digest_wish")
    op.create_table(
        "finding_digest_sent",
        sa.Column("org", sa.Uuid, nullable=False),
        sa.Column("taker", sa.Uuid, nullable=False),
        sa.Column("start_day", sa.Date, nullable=False),
        sa.Column("every", sa.Text, nullable=False),
        sa.Column("findings", sa.Integer, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("org", "taker", "start_day", "every", name="finding_digest_sent_pkey"),
    )
    tenant_policy(op, "finding_digest_sent")


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("finding_digest_sent")
    op.drop_table("finding_digest_wish")
    op.drop_table("finding_level")
