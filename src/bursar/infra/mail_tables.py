"""The outbox of mails and alerts."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.db import tenant_table

_INSTANT = sa.DateTime(timezone=True)

outbox = tenant_table(
    "mail_outbox",
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("recipient", sa.Text, nullable=False),
    sa.Column("template", sa.Text, nullable=False),
    sa.Column("facts", pg.JSONB),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("queued_at", _INSTANT, nullable=False, server_default=sa.func.now()),
    sa.Column("changed_at", _INSTANT, nullable=False, server_default=sa.func.now()),
    sa.Column("error", sa.Text),
    sa.Column("reached", pg.ARRAY(sa.Text), nullable=False, server_default="{}"),
    sa.CheckConstraint("channel in ('mail', 'alert')", name="mail_outbox_channel_check"),
    sa.CheckConstraint("state in ('queued', 'sending', 'sent', 'unknown', 'dead')", name="mail_outbox_state_check"),
)
"""``facts`` may hold links that sign somebody in; they are wiped as soon as the row is sent or given up. ``reached`` are the
alert targets that have it, by a hash of their address."""
