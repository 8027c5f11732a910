"""Transactions with their words, splits, own accounts, what was derived, and how far the books are closed."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.db import tenant_table

INSTANT = sa.DateTime(timezone=True)
EXACT = sa.Numeric(38, 15)

transaction = tenant_table(
    "bank_transaction",
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("dataset", sa.Text, nullable=False),
    sa.Column("month", sa.Date, nullable=False),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("booking_date", sa.Date, nullable=False),
    sa.Column("value_date", sa.Date),
    sa.Column("amount", EXACT, nullable=False),
    sa.Column("currency", sa.CHAR(3), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("counterparty_account", sa.Text, nullable=False),
    sa.Column("reference", sa.Text, nullable=False),
    sa.Column("source_category", sa.Text, nullable=False),
    sa.Column("source_department", sa.Text, nullable=False),
    sa.Column("party", sa.Uuid),
    sa.Column("batch", sa.Uuid, nullable=False),
    sa.Column("row", sa.BigInteger, nullable=False),
    sa.Column("gone_at", INSTANT),
    sa.Column("derived_at", INSTANT, nullable=False),
    sa.Column("late", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("department", sa.Text, nullable=False, server_default=""),
    sa.Column("note", sa.Text, nullable=False, server_default=""),
    sa.Column("tags", pg.ARRAY(sa.Text), nullable=False, server_default="{}"),
    sa.Column("category", sa.Text),
    sa.Column("state", sa.Text, nullable=False, server_default="open"),
    sa.Column("stage", sa.Text, nullable=False, server_default=""),
    sa.Column("score", sa.Float),
    sa.Column("evidence", pg.JSONB, nullable=False, server_default="{}"),
    sa.Column("audit", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("version", sa.Integer, nullable=False, server_default="1"),
    sa.CheckConstraint("state in ('open', 'suggested', 'automatic', 'confirmed')", name="bank_transaction_state_check"),
    sa.CheckConstraint("(category is null) = (state = 'open')", name="bank_transaction_category_check"),
    sa.Index("bank_transaction_day", "org", "booking_date", "id"),
    sa.Index(
        "bank_transaction_account",
        *("org", "account", "booking_date", "id"),
        postgresql_include=["size"],
        postgresql_where=sa.text("gone_at is null"),
    ),
    sa.Index(
        "bank_transaction_size",
        *("org", "size", "booking_date", "id"),
        postgresql_include=["account"],
        postgresql_where=sa.text("gone_at is null"),
    ),
    sa.Index("bank_transaction_party", "org", "party", "booking_date"),
    sa.Index("bank_transaction_month", "org", "dataset", "month"),
    sa.Index("bank_transaction_state", "org", "state", "booking_date", "id"),
)
"""``size`` is the absolute amount in minor units, rounded: for looking up by amount; ``amount`` is exact. ``month`` is the
lake's month. ``stage`` says who decided: source, person, transfer, commitment, recurring, counterparty, rule, model, language."""

word = tenant_table(
    "bank_transaction_word",
    sa.Column("word", sa.Text(collation="C"), primary_key=True),
    sa.Column("booking_date", sa.Date, primary_key=True),
    sa.Column("transaction", sa.Uuid, primary_key=True),
)
"""Which words stand in a transaction. A table and not a tsvector, because ``@@`` is not leak-proof and its index would
lie idle under row-level security; equality and order of text, day and id are."""

split = tenant_table(
    "bank_split",
    sa.Column("transaction", sa.Uuid, primary_key=True),
    sa.Column("place", sa.Integer, primary_key=True),
    sa.Column("amount", EXACT, nullable=False),
    sa.Column("category", sa.Text, nullable=False),
    sa.Column("department", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.ForeignKeyConstraint(
        ["org", "transaction"],
        ["bank_transaction.org", "bank_transaction.id"],
        name="bank_split_transaction_fkey",
    ),
)

own_account = tenant_table(
    "bank_own_account",
    sa.Column("account", sa.Text, primary_key=True),
    sa.Column("first_day", sa.Date, nullable=False),
    sa.Column("last_day", sa.Date, nullable=False),
)

derived = tenant_table(
    "bank_derived_month",
    sa.Column("dataset", sa.Text, primary_key=True),
    sa.Column("month", sa.Date, primary_key=True),
    sa.Column("digest", sa.Text, nullable=False),
)
"""The visible files of the lake (their ids, hashed) that the transactions of a month were derived from."""

unposted = tenant_table(
    "bank_unposted",
    sa.Column("number", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("transaction", sa.Uuid, nullable=False),
)
"""Transactions added or changed since they were booked, once for each change: written by a trigger, so that no way of
changing one is forgotten; append-only until booked, so that a change during booking is booked after it."""
