"""The calendar of the organisation."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.db import tenant_table

planning_calendar = tenant_table(
    "planning_calendar",
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("country", sa.Text),
    sa.Column("subdivision", sa.Text, nullable=False),
    sa.Column("events", pg.JSONB, nullable=False),
    sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("changed_by", sa.Text, nullable=False),
)
"""Country, region and events as JSON; one row, named ``all``."""
