"""Find what was merged into a party, so that its rows are seen as one counterparty.

Additive: one small partial index; the old version does not need it.
"""

from alembic import op

revision = "parties_2"
down_revision = "banking_attachments"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the index."""
    op.execute("create index party_merged_idx on party (org, merged_into) where merged_into is not null")


def downgrade() -> None:
    """Drop it."""
    op.execute("drop index party_merged_idx")
