"""Which transfer stands for which line, and opening balances."""

import sqlalchemy as sa

from bursar.infra.db import tenant_table

posting = tenant_table(
    "bank_posting",
    sa.Column("transaction", sa.Uuid, primary_key=True),
    sa.Column("place", sa.Integer, primary_key=True),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("content", sa.LargeBinary),
    sa.Column("transfer", sa.Uuid),
    sa.Column("day", sa.Date),
    sa.Column("refusal", sa.Text, nullable=False, server_default=""),
    sa.Index("bank_posting_refused", "org", "transaction", postgresql_where=sa.text("refusal <> ''")),
)
"""The transfer that stands for a transaction (place 0) or one part of its split; ``content`` is what it says, hashed, and
``day`` the transfer's value day. ``transfer`` is null where it is reversed and nothing took its place; ``generation`` then still names the next one."""

opening = tenant_table(
    "bank_opening",
    sa.Column("account", sa.Text, primary_key=True),
    sa.Column("currency", sa.CHAR(3), primary_key=True),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("day", sa.Date, nullable=False),
    sa.Column("transfer", sa.Uuid),
    sa.Column("refusal", sa.Text, nullable=False, server_default=""),
)
"""What stood on an own account before its first line, signed minor units, as its earliest stated balance tells."""
