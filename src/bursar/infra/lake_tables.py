"""The manifest of the lake: which lines there are, and in which Parquet object they lie."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.db import tenant_table

lake_pack = tenant_table(
    "lake_pack",
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("dataset", sa.Text, nullable=False),
    sa.Column("month", sa.Date, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("parts", sa.Integer, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("replaced_at", sa.DateTime(timezone=True)),
    sa.UniqueConstraint("org", "path", name="lake_pack_path_key"),
)

lake_file = tenant_table(
    "lake_file",
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("dataset", sa.Text, nullable=False),
    sa.Column("month", sa.Date, nullable=False),
    sa.Column("batch", sa.Uuid, nullable=False),
    sa.Column("family", sa.Uuid, nullable=False),
    sa.Column("format", sa.Text, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False, server_default=""),
    sa.Column("coverage", pg.JSONB, nullable=False),
    sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("dropped_at", sa.DateTime(timezone=True)),
    sa.Column("dropped_by", sa.Uuid),
    sa.Column("made_by", sa.Uuid, nullable=False),
    sa.Column("pack", sa.Uuid),
    sa.UniqueConstraint("org", "path", name="lake_file_path_key"),
    sa.ForeignKeyConstraint(["org", "pack"], ["lake_pack.org", "lake_pack.id"], name="lake_file_pack_fkey"),
    sa.Index("lake_file_visible", "org", "dataset", "month", postgresql_where=sa.text("dropped_at is null")),
    sa.Index("lake_file_batch", "org", "batch"),
    sa.Index("lake_file_pack", "org", "pack"),
)
"""One row for each part that a batch brought to a month; its rows lie at ``path``, or in ``pack`` once it was compacted."""
