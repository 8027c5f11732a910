"""Keep findings and the events that changed them.

Additive: new tables only; the old version never reads them.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.schema import tenant_policy

revision = "findings_1"
down_revision = "intake_1"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)


def _columns(kind: object, *names: str, empty: bool = False) -> list[sa.Column[object]]:
    return [sa.Column(name, kind, nullable=empty) for name in names]  # type: ignore[call-overload]


def upgrade() -> None:
    """Create findings and their events."""
    op.create_table(
        "finding",
        *_columns(sa.Uuid, "org", "id"),
        *_columns(sa.BigInteger, "number"),
        *_columns(sa.Text, "kind", "subject"),
        *_columns(sa.Date, "key_day", "start_day", "end_day"),
        *_columns(sa.Text, "title", "action", "state"),
        *_columns(sa.CHAR(3), "currency"),
        *_columns(sa.BigInteger, "worth", "low", "high", "counted"),
        *_columns(sa.BigInteger, "cost_basis", empty=True),
        *_columns(sa.Float, "confidence"),
        *_columns(sa.Boolean, "recurring"),
        *_columns(sa.Text, "resource", "effort", "risk"),
        *_columns(sa.Date, "due", empty=True),
        *_columns(pg.JSONB, "evidence"),
        *_columns(sa.Text, "assignee", "because"),
        *_columns(sa.Date, "until", empty=True),
        *_columns(sa.BigInteger, "seen", "measured", "measured_low", "measured_high", empty=True),
        *_columns(INSTANT, "raised_at", "changed_at"),
        sa.PrimaryKeyConstraint("org", "id", name="finding_pkey"),
        sa.UniqueConstraint("org", "kind", "subject", "key_day", name="finding_once"),
        sa.UniqueConstraint("org", "number", name="finding_number_key"),
        sa.CheckConstraint("low <= worth and worth <= high", name="finding_range_holds_worth"),
        sa.CheckConstraint("confidence >= 0 and confidence <= 1", name="finding_confidence_check"),
    )
    tenant_policy(op, "finding")
    op.create_table(
        "finding_event",
        *_columns(sa.Uuid, "org", "id", "finding"),
        *_columns(INSTANT, "at"),
        *_columns(sa.Text, "actor", "action"),
        *_columns(pg.JSONB, "before", "after"),
        *_columns(sa.Boolean, "undone"),
        sa.PrimaryKeyConstraint("org", "id", name="finding_event_pkey"),
        sa.ForeignKeyConstraint(["org", "finding"], ["finding.org", "finding.id"], name="finding_event_finding_fkey"),
    )
    op.create_index("finding_event_of", "finding_event", ["org", "finding", "at"])
    tenant_policy(op, "finding_event")


def downgrade() -> None:
    """Drop findings and their events."""
    op.drop_table("finding_event")
    op.drop_table("finding")
