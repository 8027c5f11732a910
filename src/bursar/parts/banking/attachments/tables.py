"""Which files are attached to which transactions."""

import sqlalchemy as sa

from bursar.infra.db import tenant_table

attachment = tenant_table(
    "bank_attachment",
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("transaction", sa.Uuid, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("added_by", sa.Text, nullable=False),
    sa.UniqueConstraint("org", "transaction", "sha256", name="bank_attachment_once_key"),
    sa.ForeignKeyConstraint(
        ["org", "transaction"],
        ["bank_transaction.org", "bank_transaction.id"],
        name="bank_attachment_transaction_fkey",
    ),
)
