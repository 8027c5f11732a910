"""Measured minutes and the objectives they are held against."""

import sqlalchemy as sa

from bursar.infra.db import global_table

sample = global_table(
    "operations_sample",
    sa.Column("minute", sa.DateTime(timezone=True), nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("buckets", sa.ARRAY(sa.BigInteger), nullable=False),
    sa.Column("seconds", sa.Double, nullable=False),
    sa.Column("failures", sa.BigInteger, nullable=False),
    sa.PrimaryKeyConstraint("minute", "kind", "name", name="operations_sample_pkey"),
    reason="counts of the server by route template; nobody's data",
)
"""One series in one minute, all processes together; ``buckets`` as in ``infra.metrics.BOUNDS_S``."""

objective = global_table(
    "operations_objective",
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("budget", sa.Double, nullable=False),
    sa.Column("unit", sa.Text, nullable=False),
    sa.Column("share", sa.Double, nullable=False),
    sa.Column("about", sa.Text, nullable=False),
    sa.PrimaryKeyConstraint("name", name="operations_objective_pkey"),
    sa.CheckConstraint("budget > 0", name="operations_objective_budget_check"),
    sa.CheckConstraint("share > 0 and share <= 1", name="operations_objective_share_check"),
    reason="what the operator promises about the server; nobody's data",
)
"""A performance budget: ``share`` of what ``kind`` measures lies within ``budget``."""
