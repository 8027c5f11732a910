"""Accounts with their volumes, transfers, what is used of holds and reversible transfers, batches, rates."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.db import tenant_table

INSTANT = sa.DateTime(timezone=True)

account = tenant_table(
    "ledger_account",
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("currency", sa.CHAR(3), nullable=False),
    sa.Column("guard", sa.Text, nullable=False),
    sa.Column("party", sa.Uuid),
    sa.Column("opened_at", INSTANT, nullable=False),
    sa.Column("closed_at", INSTANT),
    sa.Column("debits_posted", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("credits_posted", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("debits_pending", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("credits_pending", sa.BigInteger, nullable=False, server_default="0"),
    sa.UniqueConstraint("org", "code", name="ledger_account_code_key"),
    sa.UniqueConstraint("org", "id", "currency", name="ledger_account_currency_key"),
    sa.CheckConstraint(
        "kind in ('asset', 'liability', 'equity', 'income', 'expense')", name="ledger_account_kind_check"
    ),
    sa.CheckConstraint(
        "debits_posted >= 0 and credits_posted >= 0 and debits_pending >= 0 and credits_pending >= 0",
        name="ledger_account_volumes_check",
    ),
    sa.CheckConstraint(
        "case guard when 'none' then true"
        " when 'debits_within_credits' then debits_posted + debits_pending <= credits_posted"
        " when 'credits_within_debits' then credits_posted + credits_pending <= debits_posted else false end",
        name="ledger_account_guard_check",
    ),
)
"""``guard`` is none, debits_within_credits (a liability never below zero) or credits_within_debits (an asset never below)."""

transfer = tenant_table(
    "ledger_transfer",
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("batch", sa.BigInteger, nullable=False),
    sa.Column("place", sa.Integer, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("debit", sa.Uuid, nullable=False),
    sa.Column("credit", sa.Uuid, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.CHAR(3), nullable=False),
    sa.Column("value_day", sa.Date, nullable=False),
    sa.Column("recorded_at", INSTANT, nullable=False),
    sa.Column("due", INSTANT),
    sa.Column("of", sa.Uuid),
    sa.Column("entry", sa.Uuid),
    sa.Column("party", sa.Uuid),
    sa.Column("memo", sa.Text, nullable=False),
    sa.Column("tags", pg.JSONB),
    sa.Column("actor", sa.Text, nullable=False),
    sa.UniqueConstraint("org", "key", name="ledger_transfer_key_key"),
    sa.Index("ledger_transfer_debit_idx", "org", "debit", "value_day"),
    sa.Index("ledger_transfer_credit_idx", "org", "credit", "value_day"),
    sa.Index("ledger_transfer_batch_idx", "org", "batch", "place"),
    sa.ForeignKeyConstraint(
        ["org", "debit", "currency"],
        ["ledger_account.org", "ledger_account.id", "ledger_account.currency"],
        name="ledger_transfer_debit_fkey",
    ),
    sa.ForeignKeyConstraint(
        ["org", "credit", "currency"],
        ["ledger_account.org", "ledger_account.id", "ledger_account.currency"],
        name="ledger_transfer_credit_fkey",
    ),
    sa.CheckConstraint("amount > 0 and debit <> credit", name="ledger_transfer_amount_check"),
    sa.CheckConstraint(
        "kind in ('post', 'hold', 'settle', 'void', 'expire', 'reverse')"
        " and (of is not null) = (kind in ('settle', 'void', 'expire', 'reverse'))",
        name="ledger_transfer_kind_check",
    ),
)
"""Append-only. ``post``, ``settle`` and ``reverse`` move money; ``hold`` reserves it; ``void`` and ``expire`` let it go."""

remainder = tenant_table(
    "ledger_remainder",
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("used", sa.BigInteger, nullable=False),
    sa.Column("due", INSTANT),
    sa.ForeignKeyConstraint(
        ["org", "id"], ["ledger_transfer.org", "ledger_transfer.id"], name="ledger_remainder_id_fkey"
    ),
    sa.CheckConstraint("used >= 0 and used <= amount", name="ledger_remainder_used_check"),
    sa.CheckConstraint("kind in ('hold', 'reversible')", name="ledger_remainder_kind_check"),
    sa.Index(
        "ledger_remainder_due_idx",
        "org",
        "due",
        postgresql_where=sa.text("kind = 'hold' and used < amount and due is not null"),
    ),
)
"""How much of a hold is settled or let go, or how much of a transfer is reversed."""

head = tenant_table(
    "ledger_head",
    sa.Column("batch", sa.BigInteger, nullable=False),
    sa.Column("chain", sa.LargeBinary, nullable=False),
    sa.Column("closed_through", sa.Date),
    info={"one_per_org": True},
)
"""The end of the organisation's hash chain, and the last day of closed books; its row lock orders the batches."""

batch = tenant_table(
    "ledger_batch",
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("chain", sa.LargeBinary, nullable=False),
    sa.Column("recorded_at", INSTANT, nullable=False),
)
"""Append-only: one committed batch of transfers."""

rate = tenant_table(
    "ledger_rate",
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("base", sa.CHAR(3), nullable=False),
    sa.Column("quote", sa.CHAR(3), nullable=False),
    sa.Column("day", sa.Date, nullable=False),
    sa.Column("rate", sa.Numeric(38, 15), nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("recorded_at", INSTANT, nullable=False),
    sa.CheckConstraint("rate > 0 and base <> quote", name="ledger_rate_rate_check"),
    sa.Index("ledger_rate_day_idx", "org", "base", "quote", "day", "recorded_at"),
)
"""Append-only: one ``base`` costs ``rate`` of ``quote`` on ``day``, according to ``source``; the last recorded counts."""
