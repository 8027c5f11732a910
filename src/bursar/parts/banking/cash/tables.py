"""The least balance of an account, and whether it was low when last looked at."""

import sqlalchemy as sa

from bursar.infra.db import tenant_table

watch = tenant_table(
    "bank_cash_watch",
    sa.Column("account", sa.Text, primary_key=True),
    sa.Column("currency", sa.CHAR(3), primary_key=True),
    sa.Column("least", sa.Numeric(38, 15)),
    sa.Column("low", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
)
"""``least`` is null where nobody set one: then an account that stands above zero should stay there."""
