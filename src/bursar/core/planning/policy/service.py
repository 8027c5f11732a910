"""Use cases of the alert policy: read it, set it."""

from datetime import datetime

from bursar.core.audit import service as audit
from bursar.core.planning.policy import rules, store
from bursar.core.planning.policy.rules import Policy
from bursar.infra.db import Tx
from bursar.kernel.actor import Actor

__all__ = ["Policy", "facts", "get", "put"]


async def get(tx: Tx, actor: Actor) -> Policy:
    """Return what the organisation wants to hear about."""
    actor.must("anomaly:read")
    return await store.get(tx)


async def put(tx: Tx, actor: Actor, *, wanted: Policy, now: datetime) -> Policy:
    """Replace the policy; the next scan keeps to it.

    Raises:
        Invalid: A value lies outside of its limits.
    """
    actor.must("forecast:write")
    rules.check(wanted)
    before = await store.get(tx)
    await store.put(tx, wanted, by=actor.name, now=now)
    kept = await store.get(tx)
    await audit.record(
        tx, actor, action="anomaly.policy", subject="anomalies", before=facts(before), after=facts(kept), now=now
    )
    return kept


def facts(policy: Policy) -> dict[str, float | str]:
    """Return a policy as it is written: in answers, at the console and in the audit trail."""
    return {
        "false_alerts": policy.false_alerts,
        "money_floor": f"{policy.money_floor:.2f}",
        "percent_floor": policy.percent_floor,
    }
