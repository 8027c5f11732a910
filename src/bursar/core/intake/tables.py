"""Documents, batches, problems and remembered column mappings."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.db import tenant_table

INSTANT = sa.DateTime(timezone=True)

document = tenant_table(
    "intake_document",
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("received_at", INSTANT, nullable=False),
    sa.UniqueConstraint("org", "sha256", name="intake_document_sha256_key"),
)

batch = tenant_table(
    "intake_batch",
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("document", sa.Uuid, nullable=False),
    sa.Column("delivery", sa.Uuid, nullable=False),
    sa.Column("file", sa.Text, nullable=False),
    sa.Column("format", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("dataset", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("certainty", sa.Float, nullable=False),
    sa.Column("rows_read", sa.BigInteger, nullable=False),
    sa.Column("rows_taken", sa.BigInteger, nullable=False),
    sa.Column("rows_known", sa.BigInteger, nullable=False),
    sa.Column("rows_refused", sa.BigInteger, nullable=False),
    sa.Column("rows_replaced", sa.BigInteger, nullable=False),
    sa.Column("start_day", sa.Date),
    sa.Column("end_day", sa.Date),
    sa.Column("totals", pg.JSONB, nullable=False),
    sa.Column("balances", pg.JSONB, nullable=False),
    sa.Column("notes", pg.JSONB, nullable=False),
    sa.Column("options", pg.JSONB, nullable=False),
    sa.Column("imported_at", INSTANT, nullable=False),
    sa.Column("reverted_at", INSTANT),
    sa.ForeignKeyConstraint(
        ["org", "document"], ["intake_document.org", "intake_document.id"], name="intake_batch_document_fkey"
    ),
    sa.CheckConstraint("rows_read = rows_taken + rows_known + rows_refused", name="intake_batch_rows_add_up"),
    sa.CheckConstraint("state in ('imported', 'refused', 'reverted')", name="intake_batch_state_check"),
    sa.Index("intake_batch_document", "org", "document"),
    sa.Index("intake_batch_recent", "org", "imported_at", "id"),
)

problem = tenant_table(
    "intake_problem",
    sa.Column("batch", sa.Uuid, primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("row", sa.BigInteger),
    sa.Column("column", sa.Text, nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("fix", sa.Text, nullable=False),
    sa.ForeignKeyConstraint(
        ["org", "batch"], ["intake_batch.org", "intake_batch.id"], name="intake_problem_batch_fkey", ondelete="CASCADE"
    ),
)

mapping = tenant_table(
    "intake_mapping",
    sa.Column("fingerprint", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("mapping", pg.JSONB, nullable=False),
    sa.Column("updated_at", INSTANT, nullable=False),
)

seen = tenant_table(
    "intake_seen",
    sa.Column("place", sa.LargeBinary, primary_key=True),
    sa.Column("mark", sa.Text, nullable=False),
    sa.Column("documents", pg.ARRAY(sa.Text), nullable=False),
    sa.Column("seen_at", INSTANT, nullable=False),
)
"""What a place (a path of a machine, an object of a bucket) held when it was read: which documents, by SHA-256."""
