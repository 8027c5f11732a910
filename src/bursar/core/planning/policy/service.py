"""Use cases of the alert policy: read it, set it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from bursar.core.audit import service as audit
from bursar.core.ledger.books import service as books
from bursar.core.planning.policy import rules, store
from bursar.core.planning.policy.rules import Floor, Policy
from bursar.infra.db import Tx
from bursar.kernel.actor import Actor

__all__ = ["Floor", "Policy", "facts", "floors", "get", "put"]


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


async def floors(tx: Tx, actor: Actor, *, policy: Policy, currencies: Sequence[str], now: datetime) -> dict[str, Floor]:
    """Return the money floor of a policy in each currency, at the latest exchange rates known where it states its own."""
    actor.must("anomaly:read")
    inside, into = replace(actor, rights=frozenset({"ledger:read"})), policy.currency
    known = (
        await books.rates_into(tx, inside, into=into, currencies=currencies, on=now.date(), known_at=now)
        if into
        else {}
    )
    return {
        one: rules.floor_in(policy, one, rate.rate, f"of {rate.day}, {rate.source}")
        if (rate := known.get(one))
        else rules.floor_in(policy, one)
        for one in currencies
    }


def facts(policy: Policy) -> dict[str, float | str | None]:
    """Return a policy as it is written: in answers, at the console and in the audit trail."""
    return {
        "false_alerts": policy.false_alerts,
        "money_floor": f"{policy.money_floor:.2f}",
        "percent_floor": policy.percent_floor,
        "currency": policy.currency,
    }
