"""Findings and the events that changed them."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.db import tenant_table

INSTANT = sa.DateTime(timezone=True)

finding = tenant_table(
    "finding",
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("key_day", sa.Date, nullable=False),
    sa.Column("start_day", sa.Date, nullable=False),
    sa.Column("end_day", sa.Date, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("currency", sa.CHAR(3), nullable=False),
    sa.Column("worth", sa.BigInteger, nullable=False),
    sa.Column("low", sa.BigInteger, nullable=False),
    sa.Column("high", sa.BigInteger, nullable=False),
    sa.Column("counted", sa.BigInteger, nullable=False),
    sa.Column("cost_basis", sa.BigInteger),
    sa.Column("confidence", sa.Float, nullable=False),
    sa.Column("recurring", sa.Boolean, nullable=False),
    sa.Column("resource", sa.Text, nullable=False),
    sa.Column("effort", sa.Text, nullable=False),
    sa.Column("risk", sa.Text, nullable=False),
    sa.Column("due", sa.Date),
    sa.Column("evidence", pg.JSONB, nullable=False),
    sa.Column("assignee", sa.Text, nullable=False),
    sa.Column("because", sa.Text, nullable=False),
    sa.Column("until", sa.Date),
    sa.Column("seen", sa.BigInteger),
    sa.Column("measured", sa.BigInteger),
    sa.Column("measured_low", sa.BigInteger),
    sa.Column("measured_high", sa.BigInteger),
    sa.Column("raised_at", INSTANT, nullable=False),
    sa.Column("changed_at", INSTANT, nullable=False),
    sa.UniqueConstraint("org", "kind", "subject", "key_day", name="finding_once"),
    sa.UniqueConstraint("org", "number", name="finding_number_key"),
    sa.CheckConstraint("low <= worth and worth <= high", name="finding_range_holds_worth"),
    sa.CheckConstraint("confidence >= 0 and confidence <= 1", name="finding_confidence_check"),
)

event = tenant_table(
    "finding_event",
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("finding", sa.Uuid, nullable=False),
    sa.Column("at", INSTANT, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("before", pg.JSONB, nullable=False),
    sa.Column("after", pg.JSONB, nullable=False),
    sa.Column("undone", sa.Boolean, nullable=False),
    sa.ForeignKeyConstraint(["org", "finding"], ["finding.org", "finding.id"], name="finding_event_finding_fkey"),
    sa.Index("finding_event_of", "org", "finding", "at"),
)
