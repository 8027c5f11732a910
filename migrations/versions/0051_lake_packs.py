"""Let many small files of a month lie in one pack, and know an unchanged file again without reading it.

Additive: two new tables and columns with defaults. The old version goes on reading the files that packs replace, which are
kept for a day after each compaction; it must not run beside the new one for longer than that.
"""

import sqlalchemy as sa
from alembic import op

from bursar.infra.schema import tenant_policy

revision = "lake_2"
down_revision = "banking_1"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the packs, point files at them, and create what was seen."""
    op.create_table(
        "lake_pack",
        sa.Column("org", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("dataset", sa.Text, nullable=False),
        sa.Column("month", sa.Date, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("parts", sa.Integer, nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("replaced_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("org", "id", name="lake_pack_pkey"),
        sa.UniqueConstraint("org", "path", name="lake_pack_path_key"),
    )
    tenant_policy(op, "lake_pack")
    op.add_column("lake_file", sa.Column("sha256", sa.Text, nullable=False, server_default=""))
    op.add_column("lake_file", sa.Column("pack", sa.Uuid))
    op.create_foreign_key("lake_file_pack_fkey", "lake_file", "lake_pack", ["org", "pack"], ["org", "id"])
    op.create_index("lake_file_pack", "lake_file", ["org", "pack"])
    op.create_table(
        "intake_seen",
        sa.Column("org", sa.Uuid, nullable=False),
        sa.Column("place", sa.LargeBinary, nullable=False),
        sa.Column("mark", sa.Text, nullable=False),
        sa.Column("documents", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("org", "place", name="intake_seen_pkey"),
    )
    tenant_policy(op, "intake_seen")


def downgrade() -> None:
    """Drop them; lines that lie in packs only are gone from the older version's sight."""
    op.drop_table("intake_seen")
    op.drop_constraint("lake_file_pack_fkey", "lake_file")
    op.drop_index("lake_file_pack", "lake_file")
    op.drop_column("lake_file", "pack")
    op.drop_column("lake_file", "sha256")
    op.drop_table("lake_pack")
