"""Keep counterparties, the names and identifiers that lead to them, and what was merged or split.

Additive: new tables only; the old version never reads them.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.schema import APP, tenant_policy

revision = "parties_1"
down_revision = "notices_1"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)


def _columns(kind: object, *names: str, empty: bool = False) -> list[sa.Column[object]]:
    return [sa.Column(name, kind, nullable=empty) for name in names]  # type: ignore[call-overload]


def _party_key(table: str, column: str = "party") -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["org", column], ["party.org", "party.id"], name=f"{table}_{column}_fkey")


def _names() -> None:
    op.create_table(
        "party",
        *_columns(sa.Uuid, "org", "id"),
        *_columns(sa.Text, "name"),
        *_columns(sa.Uuid, "merged_into", empty=True),
        *_columns(INSTANT, "created_at"),
        sa.PrimaryKeyConstraint("org", "id", name="party_pkey"),
        _party_key("party", "merged_into"),
        sa.CheckConstraint("merged_into <> id", name="party_merged_into_check"),
    )
    op.create_index("party_name_idx", "party", ["org", "name"])
    op.create_table(
        "party_name",
        *_columns(sa.Uuid, "org"),
        *_columns(sa.Text, "key"),
        *_columns(sa.Uuid, "party"),
        *_columns(sa.Text, "written"),
        *_columns(sa.Text, "source"),
        *_columns(INSTANT, "added_at"),
        sa.PrimaryKeyConstraint("org", "key", name="party_name_pkey"),
        _party_key("party_name"),
        sa.CheckConstraint("source in ('import', 'certain', 'person')", name="party_name_source_check"),
    )
    op.create_index("party_name_party_idx", "party_name", ["org", "party"])
    op.create_table(
        "party_block",
        *_columns(sa.Uuid, "org"),
        *_columns(sa.Text, "block", "key"),
        sa.PrimaryKeyConstraint("org", "block", "key", name="party_block_pkey"),
        sa.ForeignKeyConstraint(["org", "key"], ["party_name.org", "party_name.key"], name="party_block_key_fkey"),
    )
    op.create_table(
        "party_identifier",
        *_columns(sa.Uuid, "org"),
        *_columns(sa.Text, "scheme", "value"),
        *_columns(sa.Uuid, "party"),
        *_columns(INSTANT, "added_at"),
        sa.PrimaryKeyConstraint("org", "scheme", "value", name="party_identifier_pkey"),
        _party_key("party_identifier"),
    )
    op.create_index("party_identifier_party_idx", "party_identifier", ["org", "party"])


def _changes() -> None:
    op.create_table(
        "party_suggestion",
        *_columns(sa.Uuid, "org", "one", "other"),
        *_columns(sa.Float, "certainty"),
        *_columns(sa.Text, "because", "state"),
        *_columns(INSTANT, "raised_at"),
        sa.PrimaryKeyConstraint("org", "one", "other", name="party_suggestion_pkey"),
        _party_key("party_suggestion", "one"),
        _party_key("party_suggestion", "other"),
        sa.CheckConstraint("one <> other and certainty between 0 and 1", name="party_suggestion_pair_check"),
        sa.CheckConstraint("state in ('open', 'merged', 'different')", name="party_suggestion_state_check"),
    )
    op.create_table(
        "party_change",
        *_columns(sa.Uuid, "org", "id"),
        *_columns(INSTANT, "at"),
        *_columns(sa.Text, "actor", "action"),
        *_columns(sa.Uuid, "party", "other"),
        *_columns(pg.ARRAY(sa.Text), "names"),
        *_columns(pg.JSONB, "identifiers"),
        *_columns(sa.Uuid, "undoes", empty=True),
        sa.PrimaryKeyConstraint("org", "id", name="party_change_pkey"),
        _party_key("party_change"),
        sa.CheckConstraint("action in ('merge', 'split', 'undo')", name="party_change_action_check"),
        sa.UniqueConstraint("org", "undoes", name="party_change_undoes_key"),
    )


def upgrade() -> None:
    """Create parties."""
    _names()
    _changes()
    for table in ("party", "party_name", "party_block", "party_identifier", "party_suggestion"):
        tenant_policy(op, table)
    tenant_policy(op, "party_change", append_only=True)
    op.execute(f"revoke delete on party from {APP}")


def downgrade() -> None:
    """Drop parties."""
    for table in ("party_change", "party_suggestion", "party_identifier", "party_block", "party_name", "party"):
        op.drop_table(table)
