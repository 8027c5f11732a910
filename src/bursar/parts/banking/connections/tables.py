"""Connections, their links, and the webhooks that were seen."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.db import tenant_table

INSTANT = sa.DateTime(timezone=True)

connection = tenant_table(
    "bank_connection",
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("created_at", INSTANT, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
)
"""``sealed`` holds the credentials and the authorization that webhooks must carry."""

link = tenant_table(
    "bank_link",
    sa.Column("connection", sa.Uuid, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("institution", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False, server_default=""),
    sa.Column("asked", pg.JSONB),
    sa.Column("pulled_until", sa.Date),
    sa.Column("changed_at", INSTANT, nullable=False),
    sa.ForeignKeyConstraint(
        ["org", "connection"], ["bank_connection.org", "bank_connection.id"], name="bank_link_connection_fkey"
    ),
    sa.CheckConstraint(
        "state in ('valid', 'collecting', 'token_required', 'invalid', 'failed', 'gone')", name="bank_link_state_check"
    ),
)
"""``asked`` is what the bank's second factor needs to go on, while it is asked for."""

seen = tenant_table(
    "bank_notice",
    sa.Column("connection", sa.Uuid, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("link", sa.Text, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("received_at", INSTANT, nullable=False),
    sa.ForeignKeyConstraint(
        ["org", "connection"], ["bank_connection.org", "bank_connection.id"], name="bank_notice_connection_fkey"
    ),
)
"""A webhook that was received: services repeat one that was not answered in time."""
