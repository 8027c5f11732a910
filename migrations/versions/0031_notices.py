"""Keep mails and alerts in an outbox, and deliver webhooks.

Safe while the old version runs: new tables only.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.schema import tenant_policy

revision = "notices_1"
down_revision = "jobs_1"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "mail_outbox",
        sa.Column("org", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("recipient", sa.Text, nullable=False),
        sa.Column("template", sa.Text, nullable=False),
        sa.Column("facts", pg.JSONB),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("queued_at", INSTANT, nullable=False, server_default=sa.func.now()),
        sa.Column("changed_at", INSTANT, nullable=False, server_default=sa.func.now()),
        sa.Column("error", sa.Text),
        sa.Column("reached", pg.ARRAY(sa.Text), nullable=False, server_default="{}"),
        sa.PrimaryKeyConstraint("org", "id", name="mail_outbox_pkey"),
        sa.CheckConstraint("channel in ('mail', 'alert')", name=op.f("mail_outbox_channel_check")),
        sa.CheckConstraint(
            "state in ('queued', 'sending', 'sent', 'unknown', 'dead')", name=op.f("mail_outbox_state_check")
        ),
    )
    tenant_policy(op, "mail_outbox")
    op.create_table(
        "webhook_endpoint",
        sa.Column("org", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("events", pg.ARRAY(sa.Text), nullable=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("previous_secret", sa.LargeBinary),
        sa.Column("previous_until", INSTANT),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("disabled_why", sa.Text),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("changed_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("org", "id", name="webhook_endpoint_pkey"),
    )
    tenant_policy(op, "webhook_endpoint")
    op.create_table(
        "webhook_message",
        sa.Column("org", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("org", "id", name="webhook_message_pkey"),
    )
    tenant_policy(op, "webhook_message")
    op.create_table(
        "webhook_delivery",
        sa.Column("org", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("endpoint", sa.Uuid, nullable=False),
        sa.Column("message", sa.Uuid, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_at", INSTANT),
        sa.Column("ended_at", INSTANT),
        sa.PrimaryKeyConstraint("org", "id", name="webhook_delivery_pkey"),
        sa.CheckConstraint("state in ('pending', 'delivered', 'failed')", name=op.f("webhook_delivery_state_check")),
        sa.ForeignKeyConstraint(
            ["org", "endpoint"],
            ["webhook_endpoint.org", "webhook_endpoint.id"],
            name="webhook_delivery_org_endpoint_fkey",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["org", "message"],
            ["webhook_message.org", "webhook_message.id"],
            name="webhook_delivery_org_message_fkey",
            ondelete="CASCADE",
        ),
    )
    op.create_index("webhook_delivery_org_endpoint_id_idx", "webhook_delivery", ["org", "endpoint", "id"])
    op.create_index("webhook_delivery_org_message_idx", "webhook_delivery", ["org", "message"])
    tenant_policy(op, "webhook_delivery")
    op.create_table(
        "webhook_attempt",
        sa.Column("org", sa.Uuid, nullable=False),
        sa.Column("delivery", sa.Uuid, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("ms", sa.Integer, nullable=False),
        sa.Column("error", sa.Text),
        sa.PrimaryKeyConstraint("org", "delivery", "number", name="webhook_attempt_pkey"),
        sa.ForeignKeyConstraint(
            ["org", "delivery"],
            ["webhook_delivery.org", "webhook_delivery.id"],
            name="webhook_attempt_org_delivery_fkey",
            ondelete="CASCADE",
        ),
    )
    tenant_policy(op, "webhook_attempt")


def downgrade() -> None:
    for table in ("webhook_attempt", "webhook_delivery", "webhook_message", "webhook_endpoint", "mail_outbox"):
        op.drop_table(table)
