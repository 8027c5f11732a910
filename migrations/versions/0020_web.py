"""Count requests for rate limits, keep replies for idempotency keys, sample performance and hold its objectives.

Safe while the old version runs: new tables only. ``rate_limit`` is unlogged: after a crash it is empty, and an empty table
means full buckets.
"""

import sqlalchemy as sa
from alembic import op

from bursar.infra.schema import global_grants, tenant_policy

revision = "web_1"
down_revision = "audit_1"
branch_labels = None
depends_on = None

OBJECTIVES = (
    ("api", "api", 0.5, "s", 0.99, "Requests answered within the budget."),
    ("database", "database", 0.1, "s", 0.99, "Requests whose database time is within the budget."),
    ("cache", "cache", 0.8, "ratio", 0.8, "Cache look-ups that hit."),
    ("model", "model", 1.0, "s", 0.99, "Model answers within the budget."),
)


def upgrade() -> None:
    op.create_table(
        "rate_limit",
        sa.Column("bucket", sa.Text, nullable=False),
        sa.Column("tat_s", sa.Double, nullable=False),
        sa.Column("granted", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("bucket", name="rate_limit_pkey"),
        prefixes=["UNLOGGED"],
    )
    op.execute("alter table rate_limit set (fillfactor = 50)")  # room for updates in place
    op.create_table(
        "idempotency",
        sa.Column("org", sa.Uuid, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("status", sa.SmallInteger, nullable=False),
        sa.Column("headers", sa.JSON, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("org", "actor", "key", name="idempotency_pkey"),
    )
    op.create_index("idempotency_org_at_idx", "idempotency", ["org", "at"])
    op.create_table(
        "operations_sample",
        sa.Column("minute", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("buckets", sa.ARRAY(sa.BigInteger), nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("failures", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("minute", "kind", "name", name="operations_sample_pkey"),
    )
    objective = op.create_table(
        "operations_objective",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("budget", sa.Double, nullable=False),
        sa.Column("unit", sa.Text, nullable=False),
        sa.Column("share", sa.Double, nullable=False),
        sa.Column("about", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", name="operations_objective_pkey"),
        sa.CheckConstraint("budget > 0", name="operations_objective_budget_check"),
        sa.CheckConstraint("share > 0 and share <= 1", name="operations_objective_share_check"),
    )
    names = ("name", "kind", "budget", "unit", "share", "about")
    op.bulk_insert(objective, [dict(zip(names, row, strict=True)) for row in OBJECTIVES])
    tenant_policy(op, "idempotency")
    for table in ("rate_limit", "operations_sample", "operations_objective"):
        global_grants(op, table)


def downgrade() -> None:
    for table in ("operations_objective", "operations_sample", "idempotency", "rate_limit"):
        op.drop_table(table)
