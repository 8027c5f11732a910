"""Tables of webhooks."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.db import tenant_table

_INSTANT = sa.DateTime(timezone=True)

endpoint = tenant_table(
    "webhook_endpoint",
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("events", pg.ARRAY(sa.Text), nullable=False),
    sa.Column("secret", sa.LargeBinary, nullable=False),
    sa.Column("previous_secret", sa.LargeBinary),
    sa.Column("previous_until", _INSTANT),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.Column("disabled_why", sa.Text),
    sa.Column("created_at", _INSTANT, nullable=False),
    sa.Column("changed_at", _INSTANT, nullable=False),
)
"""Where events go; secrets are sealed."""

message = tenant_table(
    "webhook_message",
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("at", _INSTANT, nullable=False),
)
"""One event; ``body`` is sent byte for byte, so that every attempt signs the same."""

delivery = tenant_table(
    "webhook_delivery",
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("endpoint", sa.Uuid, nullable=False),
    sa.Column("message", sa.Uuid, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_at", _INSTANT),
    sa.Column("ended_at", _INSTANT),
    sa.CheckConstraint("state in ('pending', 'delivered', 'failed')", name="webhook_delivery_state_check"),
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
    sa.Index("webhook_delivery_org_endpoint_id_idx", "org", "endpoint", "id"),
    sa.Index("webhook_delivery_org_message_idx", "org", "message"),
)
"""One event for one endpoint; a replay is a further delivery of the same event."""

attempt = tenant_table(
    "webhook_attempt",
    sa.Column("delivery", sa.Uuid, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("at", _INSTANT, nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("ms", sa.Integer, nullable=False),
    sa.Column("error", sa.Text),
    sa.ForeignKeyConstraint(
        ["org", "delivery"],
        ["webhook_delivery.org", "webhook_delivery.id"],
        name="webhook_attempt_org_delivery_fkey",
        ondelete="CASCADE",
    ),
)
"""The delivery log; what the receiver said is not kept beyond its status."""
