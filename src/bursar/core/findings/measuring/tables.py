"""The level at acceptance, and what the last attempt to measure said."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.db import tenant_table

_INSTANT = sa.DateTime(timezone=True)

level = tenant_table(
    "finding_level",
    sa.Column("finding", sa.Uuid, primary_key=True),
    sa.Column("accepted", sa.Date, nullable=False),
    sa.Column("end_day", sa.Date),
    sa.Column("block_days", sa.Integer, nullable=False),
    sa.Column("blocks", pg.ARRAY(sa.Text), nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("checked_at", _INSTANT, nullable=False),
    sa.ForeignKeyConstraint(["org", "finding"], ["finding.org", "finding.id"], name="finding_level_finding_fkey"),
    sa.CheckConstraint("block_days in (7, 30)", name="finding_level_block_days_check"),
)
"""``end_day`` is null and ``blocks`` empty where no level could be taken; ``note`` says why. Blocks are exact decimals."""
