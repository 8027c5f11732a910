"""Who wants language models, every call with its money, and what a month holds in all."""

import sqlalchemy as sa

from bursar.infra.db import global_table, tenant_table

INSTANT = sa.DateTime(timezone=True)
EXACT = sa.Numeric(38, 15)

policy = tenant_table(
    "language_policy",
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("monthly_max", EXACT, nullable=False),
    sa.CheckConstraint("monthly_max >= 0", name="language_policy_max_check"),
    info={"one_per_org": True},
)

call = tenant_table(
    "language_call",
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("month", sa.Date, nullable=False),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("held", EXACT, nullable=False),
    sa.Column("cost", EXACT),
    sa.Column("asked_at", INSTANT, nullable=False),
    sa.Column("settled_at", INSTANT),
    sa.Column("batch", sa.Text),
    sa.Column("batched", sa.Boolean, nullable=False),
    sa.Column("tokens_read", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("tokens_written", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("ended", sa.Text, nullable=False, server_default=""),
    sa.CheckConstraint("state in ('held', 'sent', 'settled', 'unknown')", name="language_call_state_check"),
    sa.CheckConstraint("held >= 0 and cost >= 0", name="language_call_money_check"),
    sa.CheckConstraint(
        "(state in ('settled', 'unknown')) = (cost is not null and settled_at is not null)",
        name="language_call_settled_check",
    ),
    sa.Index("language_call_month", "org", "month", "state"),
    sa.Index("language_call_open", "org", "asked_at", postgresql_where=sa.text("cost is null")),
)
"""``held`` is the most it can cost; ``cost`` what it did: nothing where the vendor did nothing, all of ``held`` where nobody
can know. A batch keeps its name at the vendor."""

month = global_table(
    "language_month",
    sa.Column("month", sa.Date, primary_key=True),
    sa.Column("taken", EXACT, nullable=False),
    sa.CheckConstraint("taken >= 0", name="language_month_taken_check"),
    reason="what the installation's one key may still spend in a month: a sum that tells of nobody",
)
"""``taken`` is what is held and spent by all organisations; one row, so that concurrent calls cannot pass the cap."""
