"""Tables of the audit trail; both are append-only by trigger and by rights."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.db import tenant_table

_INSTANT = sa.DateTime(timezone=True)

entry = tenant_table(
    "audit_entry",
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("at", _INSTANT, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("before", pg.JSONB),
    sa.Column("after", pg.JSONB),
    sa.Column("cluster", sa.BigInteger, nullable=False, server_default=sa.text("audit_cluster()")),
    sa.Column("xid", sa.BigInteger, nullable=False, server_default=sa.text("audit_xid()")),
    sa.Index("audit_entry_order", "org", "cluster", "xid", "id"),
    sa.Index("audit_entry_newest", "org", "at", "id"),
    sa.Index("audit_entry_subject", "org", "subject", "at"),
)
"""``cluster`` and ``xid``: which server and which transaction wrote the row; PostgreSQL fills both in."""

block = tenant_table(
    "audit_block",
    sa.Column("number", sa.BigInteger, primary_key=True),
    sa.Column("cluster", sa.BigInteger, nullable=False),
    sa.Column("from_xid", sa.BigInteger, nullable=False),
    sa.Column("from_id", sa.Uuid, nullable=False),
    sa.Column("upto_xid", sa.BigInteger, nullable=False),
    sa.Column("upto_id", sa.Uuid, nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("content_hash", sa.LargeBinary, nullable=False),
    sa.Column("leaves", sa.LargeBinary, nullable=False),
    sa.Column("previous_hash", sa.LargeBinary, nullable=False),
    sa.Column("hash", sa.LargeBinary, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("signature", sa.LargeBinary, nullable=False),
    sa.Column("sealed_at", _INSTANT, nullable=False),
    sa.CheckConstraint("number > 0", name="audit_block_number_check"),
    sa.CheckConstraint("rows > 0", name="audit_block_rows_check"),
)
"""Holds the entries of one ``cluster`` with ``from <= (xid, id) < upto``. ``leaves``: id and half a digest of each row."""
