"""Let searches by amount and account find a page from indexes alone, and read only the page's own rows.

The two indexes are replaced by ones that hold what is compared and leave rows out that are gone; every query of either
leaves them out too, so the old version uses them as well.
"""

from alembic import op

revision = "banking_search"
down_revision = "banking_cash"
branch_labels = None
depends_on = None

FIRST = {"account": "account", "size": "size"}
INCLUDED = {"account": "size", "size": "account"}


def upgrade() -> None:
    """Replace both indexes."""
    for name, column in FIRST.items():
        op.execute(f"drop index bank_transaction_{name}")
        op.execute(
            f"create index bank_transaction_{name} on bank_transaction (org, {column}, booking_date, id)"
            f" include ({INCLUDED[name]}) where gone_at is null"
        )


def downgrade() -> None:
    """Put the plain indexes back."""
    for name, column in FIRST.items():
        op.execute(f"drop index bank_transaction_{name}")
        op.execute(f"create index bank_transaction_{name} on bank_transaction (org, {column}, booking_date, id)")
