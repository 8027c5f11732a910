"""All SQL of the alert policy."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.core.planning.policy.rules import Policy
from bursar.core.planning.policy.tables import anomaly_policy as table
from bursar.infra.db import Tx


async def get(tx: Tx) -> Policy:
    """Return the organisation's own policy, or the usual one."""
    row = await tx.one(sa.select(table).where(tx.own(table)))
    return Policy(row.false_alerts, row.money_floor, row.percent_floor, row.money_currency) if row else Policy()


async def put(tx: Tx, policy: Policy, *, by: str, now: datetime) -> None:
    """Replace the policy."""
    facts = {
        "false_alerts": policy.false_alerts,
        "money_floor": policy.money_floor,
        "percent_floor": policy.percent_floor,
        "money_currency": policy.currency,
        "changed_at": now,
        "changed_by": by,
    }
    insert = pg.insert(table).values(org=tx.org, **facts)
    await tx.run(insert.on_conflict_do_update(index_elements=["org"], set_=facts))
