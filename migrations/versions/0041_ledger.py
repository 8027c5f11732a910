"""Keep accounts, transfers and their hash chain; make every invariant of the ledger the database's own.

Additive: new tables and functions only; the old version never reads them.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.schema import APP, tenant_policy

revision = "ledger_1"
down_revision = "parties_1"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)


def _columns(kind: object, *names: str, empty: bool = False) -> list[sa.Column[object]]:
    return [sa.Column(name, kind, nullable=empty) for name in names]  # type: ignore[call-overload]


def _accounts() -> None:
    op.create_table(
        "ledger_account",
        *_columns(sa.Uuid, "org", "id"),
        *_columns(sa.Text, "code", "name", "kind"),
        *_columns(sa.CHAR(3), "currency"),
        *_columns(sa.Text, "guard"),
        *_columns(sa.Uuid, "party", empty=True),
        *_columns(INSTANT, "opened_at"),
        *_columns(INSTANT, "closed_at", empty=True),
        *[
            sa.Column(name, sa.BigInteger, nullable=False, server_default="0")
            for name in ("debits_posted", "credits_posted", "debits_pending", "credits_pending")
        ],
        sa.PrimaryKeyConstraint("org", "id", name="ledger_account_pkey"),
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
    tenant_policy(op, "ledger_account")
    op.execute("alter table ledger_account set (fillfactor = 50)")  # volumes change often; updates stay on their page
    op.execute(f"revoke update, delete on ledger_account from {APP}")
    op.execute(
        "grant update (name, party, closed_at, debits_posted, credits_posted, debits_pending, credits_pending)"
        f" on ledger_account to {APP}"
    )


def _balance_trigger() -> None:
    """Refuse any statement that changes volumes without balancing them, by currency."""
    op.execute(
        """create function ledger_keeps_balance() returns trigger language plpgsql as $$
        declare off text;
        begin
            if tg_op = 'INSERT' then
                select string_agg(code, ', ') into off from after
                where debits_posted + credits_posted + debits_pending + credits_pending <> 0;
            else
                select string_agg(currency, ', ') into off from (
                    select a.currency from after a join before b on b.org = a.org and b.id = a.id
                    group by a.org, a.currency
                    having sum(a.debits_posted - b.debits_posted) <> sum(a.credits_posted - b.credits_posted)
                        or sum(a.debits_pending - b.debits_pending) <> sum(a.credits_pending - b.credits_pending)) unbalanced;
            end if;
            if off is not null then
                raise exception 'ledger volumes would not balance: %', off using errcode = 'integrity_constraint_violation';
            end if;
            return null;
        end $$"""
    )
    op.execute(
        """create trigger ledger_account_insert_balance after insert on ledger_account
        referencing new table as after for each statement execute function ledger_keeps_balance()"""
    )
    op.execute(
        """create trigger ledger_account_update_balance after update on ledger_account
        referencing old table as before new table as after for each statement execute function ledger_keeps_balance()"""
    )


def _transfers() -> None:
    account = ["ledger_account.org", "ledger_account.id", "ledger_account.currency"]
    op.create_table(
        "ledger_transfer",
        *_columns(sa.Uuid, "org", "id"),
        *_columns(sa.BigInteger, "batch"),
        *_columns(sa.Integer, "place"),
        *_columns(sa.Text, "key"),
        *_columns(sa.LargeBinary, "digest"),
        *_columns(sa.Text, "kind"),
        *_columns(sa.Uuid, "debit", "credit"),
        *_columns(sa.BigInteger, "amount"),
        *_columns(sa.CHAR(3), "currency"),
        *_columns(sa.Date, "value_day"),
        *_columns(INSTANT, "recorded_at"),
        *_columns(INSTANT, "due", empty=True),
        *_columns(sa.Uuid, "of", "entry", "party", empty=True),
        *_columns(sa.Text, "memo"),
        *_columns(pg.JSONB, "tags", empty=True),
        *_columns(sa.Text, "actor"),
        sa.PrimaryKeyConstraint("org", "id", name="ledger_transfer_pkey"),
        sa.UniqueConstraint("org", "key", name="ledger_transfer_key_key"),
        sa.ForeignKeyConstraint(["org", "debit", "currency"], account, name="ledger_transfer_debit_fkey"),
        sa.ForeignKeyConstraint(["org", "credit", "currency"], account, name="ledger_transfer_credit_fkey"),
        sa.CheckConstraint("amount > 0 and debit <> credit", name="ledger_transfer_amount_check"),
        sa.CheckConstraint(
            "kind in ('post', 'hold', 'settle', 'void', 'expire', 'reverse')"
            " and (of is not null) = (kind in ('settle', 'void', 'expire', 'reverse'))",
            name="ledger_transfer_kind_check",
        ),
    )
    op.create_index("ledger_transfer_debit_idx", "ledger_transfer", ["org", "debit", "value_day"])
    op.create_index("ledger_transfer_credit_idx", "ledger_transfer", ["org", "credit", "value_day"])
    op.create_index("ledger_transfer_batch_idx", "ledger_transfer", ["org", "batch", "place"])
    tenant_policy(op, "ledger_transfer", append_only=True)


def _beside() -> None:
    op.create_table(
        "ledger_remainder",
        *_columns(sa.Uuid, "org", "id"),
        *_columns(sa.Text, "kind"),
        *_columns(sa.BigInteger, "amount", "used"),
        *_columns(INSTANT, "due", empty=True),
        sa.PrimaryKeyConstraint("org", "id", name="ledger_remainder_pkey"),
        sa.ForeignKeyConstraint(
            ["org", "id"], ["ledger_transfer.org", "ledger_transfer.id"], name="ledger_remainder_id_fkey"
        ),
        sa.CheckConstraint("used >= 0 and used <= amount", name="ledger_remainder_used_check"),
        sa.CheckConstraint("kind in ('hold', 'reversible')", name="ledger_remainder_kind_check"),
    )
    op.create_index(
        "ledger_remainder_due_idx",
        "ledger_remainder",
        ["org", "due"],
        postgresql_where=sa.text("kind = 'hold' and used < amount and due is not null"),
    )
    tenant_policy(op, "ledger_remainder")
    op.execute(f"revoke update, delete on ledger_remainder from {APP}")
    op.execute(f"grant update (used) on ledger_remainder to {APP}")
    op.create_table(
        "ledger_head",
        *_columns(sa.Uuid, "org"),
        *_columns(sa.BigInteger, "batch"),
        *_columns(sa.LargeBinary, "chain"),
        *_columns(sa.Date, "closed_through", empty=True),
        sa.PrimaryKeyConstraint("org", name="ledger_head_pkey"),
    )
    tenant_policy(op, "ledger_head")
    op.execute(f"revoke delete on ledger_head from {APP}")
    op.create_table(
        "ledger_batch",
        *_columns(sa.Uuid, "org"),
        *_columns(sa.BigInteger, "number"),
        *_columns(sa.Integer, "rows"),
        *_columns(sa.LargeBinary, "digest", "chain"),
        *_columns(INSTANT, "recorded_at"),
        sa.PrimaryKeyConstraint("org", "number", name="ledger_batch_pkey"),
    )
    tenant_policy(op, "ledger_batch", append_only=True)
    op.create_table(
        "ledger_rate",
        *_columns(sa.Uuid, "org", "id"),
        *_columns(sa.CHAR(3), "base", "quote"),
        *_columns(sa.Date, "day"),
        *_columns(sa.Numeric(38, 15), "rate"),
        *_columns(sa.Text, "source"),
        *_columns(INSTANT, "recorded_at"),
        sa.PrimaryKeyConstraint("org", "id", name="ledger_rate_pkey"),
        sa.CheckConstraint("rate > 0 and base <> quote", name="ledger_rate_rate_check"),
    )
    op.create_index("ledger_rate_day_idx", "ledger_rate", ["org", "base", "quote", "day", "recorded_at"])
    tenant_policy(op, "ledger_rate", append_only=True)


def upgrade() -> None:
    """Create the ledger."""
    _accounts()
    _balance_trigger()
    _transfers()
    _beside()


def downgrade() -> None:
    """Drop the ledger."""
    for table in (
        "ledger_rate",
        "ledger_batch",
        "ledger_head",
        "ledger_remainder",
        "ledger_transfer",
        "ledger_account",
    ):
        op.drop_table(table)
    op.execute("drop function ledger_keeps_balance()")
