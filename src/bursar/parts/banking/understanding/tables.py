"""Rules by version, counts of the local model, verdicts that it is calibrated on, the organisation's policy."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.db import tenant_table

INSTANT = sa.DateTime(timezone=True)

rule = tenant_table(
    "bank_rule",
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("place", sa.Integer, nullable=False),
    sa.Column("when", pg.JSONB, nullable=False),
    sa.Column("category", sa.Text, nullable=False),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("hits", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("overrides", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("made_at", INSTANT, nullable=False),
    sa.Column("made_by", sa.Text, nullable=False),
    sa.Column("retired_at", INSTANT),
    sa.CheckConstraint("mode in ('automatic', 'suggest')", name="bank_rule_mode_check"),
    sa.CheckConstraint("hits >= 0 and overrides >= 0", name="bank_rule_counts_check"),
    sa.Index("bank_rule_current", "org", "id", unique=True, postgresql_where=sa.text("retired_at is null")),
)

count = tenant_table(
    "bank_model_count",
    sa.Column("context", sa.BigInteger, primary_key=True),
    sa.Column("category", sa.Text, primary_key=True),
    sa.Column("weight", sa.Float, nullable=False),
    sa.Column("seen", sa.BigInteger, nullable=False),
    sa.Column("last_day", sa.Date, nullable=False),
    sa.Column("example", sa.Uuid, nullable=False),
)
"""How often a context (hashed) went to a category, newer counts weighing more; ``example`` is the newest transaction."""

verdict = tenant_table(
    "bank_verdict",
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("transaction", sa.Uuid, nullable=False),
    sa.Column("at", INSTANT, nullable=False),
    sa.Column("stage", sa.Text, nullable=False),
    sa.Column("category", sa.Text, nullable=False),
    sa.Column("score", sa.Float, nullable=False),
    sa.Column("right", sa.Boolean, nullable=False),
    sa.Column("weight", sa.Float, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.CheckConstraint("source in ('review', 'audit')", name="bank_verdict_source_check"),
    sa.CheckConstraint("weight >= 1", name="bank_verdict_weight_check"),
    sa.Index("bank_verdict_recent", "org", "stage", "category", "id"),
)
"""What was answered and what people then said; an audited row stands for all automatic rows of its kind (``weight``)."""

policy = tenant_table(
    "bank_policy",
    sa.Column("error_max", sa.Float, nullable=False),
    sa.Column("audit_share", sa.Float, nullable=False),
    sa.CheckConstraint("error_max > 0 and error_max <= 0.5", name="bank_policy_error_check"),
    sa.CheckConstraint("audit_share >= 0.02 and audit_share <= 0.05", name="bank_policy_audit_check"),
    info={"one_per_org": True},
)
