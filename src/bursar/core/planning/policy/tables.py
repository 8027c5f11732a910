"""The alert policy of the organisation."""

import sqlalchemy as sa

from bursar.infra.db import tenant_table

anomaly_policy = tenant_table(
    "anomaly_policy",
    sa.Column("false_alerts", sa.Float, nullable=False),
    sa.Column("money_floor", sa.Numeric(15, 2), nullable=False),
    sa.Column("percent_floor", sa.Float, nullable=False),
    sa.Column("money_currency", sa.CHAR(3)),
    sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("changed_by", sa.Text, nullable=False),
    sa.CheckConstraint("false_alerts > 0 and false_alerts <= 20", name="anomaly_policy_alerts_check"),
    sa.CheckConstraint("money_floor >= 0", name="anomaly_policy_money_check"),
    sa.CheckConstraint("percent_floor >= 0 and percent_floor <= 1", name="anomaly_policy_percent_check"),
    info={"one_per_org": True},
)
