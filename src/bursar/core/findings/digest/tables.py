"""Who wants a digest, and which were sent."""

import sqlalchemy as sa

from bursar.infra.db import tenant_table

_INSTANT = sa.DateTime(timezone=True)

wish = tenant_table(
    "finding_digest_wish",
    sa.Column("taker", sa.Uuid, primary_key=True),
    sa.Column("every", sa.Text, nullable=False),
    sa.Column("since", _INSTANT, nullable=False),
    sa.CheckConstraint("every in ('day', 'week')", name="finding_digest_wish_every_check"),
)
"""``taker`` is a person; the nil UUID stands for the operator's Apprise addresses."""

sent = tenant_table(
    "finding_digest_sent",
    sa.Column("taker", sa.Uuid, primary_key=True),
    sa.Column("start_day", sa.Date, primary_key=True),
    sa.Column("every", sa.Text, primary_key=True),
    sa.Column("findings", sa.Integer, nullable=False),
    sa.Column("at", _INSTANT, nullable=False),
)
