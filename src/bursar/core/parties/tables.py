"""Parties, the names and identifiers that lead to them, suggestions, and the record of changes."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.db import tenant_table

INSTANT = sa.DateTime(timezone=True)


def _party_key(table: str, column: str = "party") -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["org", column], ["party.org", "party.id"], name=f"{table}_{column}_fkey")


party = tenant_table(
    "party",
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("merged_into", sa.Uuid),
    sa.Column("created_at", INSTANT, nullable=False),
    _party_key("party", "merged_into"),
    sa.CheckConstraint("merged_into <> id", name="party_merged_into_check"),
    sa.Index("party_name_idx", "org", "name"),
    sa.Index("party_merged_idx", "org", "merged_into", postgresql_where=sa.text("merged_into is not null")),
)

name = tenant_table(
    "party_name",
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("party", sa.Uuid, nullable=False),
    sa.Column("written", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("added_at", INSTANT, nullable=False),
    _party_key("party_name"),
    sa.CheckConstraint("source in ('import', 'certain', 'person')", name="party_name_source_check"),
    sa.Index("party_name_party_idx", "org", "party"),
)
"""``key`` is the normalised name; ``source`` tells how it came to its party: first seen, matched with certainty, or said."""

block = tenant_table(
    "party_block",
    sa.Column("block", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.ForeignKeyConstraint(["org", "key"], ["party_name.org", "party_name.key"], name="party_block_key_fkey"),
)
"""Names by block; equality is all that an index may be asked under row-level security."""

identifier = tenant_table(
    "party_identifier",
    sa.Column("scheme", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, primary_key=True),
    sa.Column("party", sa.Uuid, nullable=False),
    sa.Column("added_at", INSTANT, nullable=False),
    _party_key("party_identifier"),
    sa.Index("party_identifier_party_idx", "org", "party"),
)

suggestion = tenant_table(
    "party_suggestion",
    sa.Column("one", sa.Uuid, primary_key=True),
    sa.Column("other", sa.Uuid, primary_key=True),
    sa.Column("certainty", sa.Float, nullable=False),
    sa.Column("because", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("raised_at", INSTANT, nullable=False),
    _party_key("party_suggestion", "one"),
    _party_key("party_suggestion", "other"),
    sa.CheckConstraint("one <> other and certainty between 0 and 1", name="party_suggestion_pair_check"),
    sa.CheckConstraint("state in ('open', 'merged', 'different')", name="party_suggestion_state_check"),
)
"""Two parties that may be one; ``different`` is remembered and never suggested again."""

change = tenant_table(
    "party_change",
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("at", INSTANT, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("party", sa.Uuid, nullable=False),
    sa.Column("other", sa.Uuid, nullable=False),
    sa.Column("names", pg.ARRAY(sa.Text), nullable=False),
    sa.Column("identifiers", pg.JSONB, nullable=False),
    sa.Column("undoes", sa.Uuid),
    _party_key("party_change"),
    sa.CheckConstraint("action in ('merge', 'split', 'undo')", name="party_change_action_check"),
    sa.UniqueConstraint("org", "undoes", name="party_change_undoes_key"),
)
"""Append-only: names and identifiers moved from ``other`` to ``party`` (merge) or from ``party`` to ``other`` (split)."""
