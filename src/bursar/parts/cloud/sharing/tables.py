"""The rules of an organisation about who bears cost: one row."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.db import tenant_table

rule_book = tenant_table(
    "cloud_rule_book",
    sa.Column("rules", pg.JSONB, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint("version > 0", name="cloud_rule_book_version_check"),
    info={"one_per_org": True},
)
"""``rules`` holds the tag rules and splits, as :class:`~bursar.parts.cloud.sharing.rules.RuleBook` writes them."""
