"""Keep documents, batches, problems and column mappings.

Additive: new tables only; the old version never reads them.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.schema import tenant_policy

revision = "intake_1"
down_revision = "lake_1"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)


def _column(name: str, kind: object, *, empty: bool = False) -> sa.Column[object]:
    return sa.Column(name, kind, nullable=empty)  # type: ignore[arg-type]


def upgrade() -> None:
    """Create the four tables of intake."""
    op.create_table(
        "intake_document",
        *(_column(n, k) for n, k in (("org", sa.Uuid), ("id", sa.Uuid), ("sha256", sa.Text), ("name", sa.Text))),
        _column("size_bytes", sa.BigInteger),
        _column("received_at", INSTANT),
        sa.PrimaryKeyConstraint("org", "id", name="intake_document_pkey"),
        sa.UniqueConstraint("org", "sha256", name="intake_document_sha256_key"),
    )
    tenant_policy(op, "intake_document")
    counts = ("rows_read", "rows_taken", "rows_known", "rows_refused", "rows_replaced")
    op.create_table(
        "intake_batch",
        *(_column(name, sa.Uuid) for name in ("org", "id", "document", "delivery")),
        *(_column(name, sa.Text) for name in ("file", "format", "title", "dataset", "kind", "state")),
        _column("certainty", sa.Float),
        *(_column(name, sa.BigInteger) for name in counts),
        _column("start_day", sa.Date, empty=True),
        _column("end_day", sa.Date, empty=True),
        *(_column(name, pg.JSONB) for name in ("totals", "balances", "notes", "options")),
        _column("imported_at", INSTANT),
        _column("reverted_at", INSTANT, empty=True),
        sa.PrimaryKeyConstraint("org", "id", name="intake_batch_pkey"),
        sa.ForeignKeyConstraint(
            ["org", "document"], ["intake_document.org", "intake_document.id"], name="intake_batch_document_fkey"
        ),
        sa.CheckConstraint("rows_read = rows_taken + rows_known + rows_refused", name="intake_batch_rows_add_up"),
        sa.CheckConstraint("state in ('imported', 'refused', 'reverted')", name="intake_batch_state_check"),
    )
    op.create_index("intake_batch_document", "intake_batch", ["org", "document"])
    op.create_index("intake_batch_recent", "intake_batch", ["org", "imported_at", "id"])
    tenant_policy(op, "intake_batch")
    op.create_table(
        "intake_problem",
        _column("org", sa.Uuid),
        _column("batch", sa.Uuid),
        _column("seq", sa.Integer),
        _column("row", sa.BigInteger, empty=True),
        *(_column(name, sa.Text) for name in ("column", "what", "fix")),
        sa.PrimaryKeyConstraint("org", "batch", "seq", name="intake_problem_pkey"),
        sa.ForeignKeyConstraint(
            ["org", "batch"],
            ["intake_batch.org", "intake_batch.id"],
            name="intake_problem_batch_fkey",
            ondelete="CASCADE",
        ),
    )
    tenant_policy(op, "intake_problem")
    op.create_table(
        "intake_mapping",
        _column("org", sa.Uuid),
        _column("fingerprint", sa.Text),
        _column("name", sa.Text),
        _column("mapping", pg.JSONB),
        _column("updated_at", INSTANT),
        sa.PrimaryKeyConstraint("org", "fingerprint", name="intake_mapping_pkey"),
    )
    tenant_policy(op, "intake_mapping")


def downgrade() -> None:
    """Drop the tables of intake."""
    for table in ("intake_mapping", "intake_problem", "intake_batch", "intake_document"):
        op.drop_table(table)
