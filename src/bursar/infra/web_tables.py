"""Tables of the HTTP edge: rate limits and replies kept for idempotency keys."""

import sqlalchemy as sa

from bursar.infra.db import global_table, tenant_table

rate_limit = global_table(
    "rate_limit",
    sa.Column("bucket", sa.Text, nullable=False),
    sa.Column("tat_s", sa.Double, nullable=False),
    sa.Column("granted", sa.Integer, nullable=False),
    sa.PrimaryKeyConstraint("bucket", name="rate_limit_pkey"),
    reason="counts requests before anybody is known; holds addresses and actor names for minutes",
    prefixes=["UNLOGGED"],
)
"""One GCRA cell a caller. ``tat_s`` is the theoretical arrival time in seconds since 1970, ``granted`` the last grant."""

idempotency = tenant_table(
    "idempotency",
    sa.Column("actor", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.LargeBinary, nullable=False),
    sa.Column("status", sa.SmallInteger, nullable=False),
    sa.Column("headers", sa.JSON, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    sa.Index("idempotency_org_at_idx", "org", "at"),
)
"""The reply to each request that carried an ``Idempotency-Key``, written in the transaction of its effect."""
