"""Use cases of what people state: rules by version, the largest error of the books, the audited share."""

from datetime import datetime
from uuid import UUID

from bursar.core.audit import service as audit
from bursar.infra.db import Tx, new_id
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, Invalid, NotFound
from bursar.parts.banking.transactions import rules as rows_rules
from bursar.parts.banking.understanding import store
from bursar.parts.banking.understanding.rules.answers import Policy, Rule, When

__all__ = ["Policy", "Rule", "When", "policy", "put_rule", "retire_rule", "rule_list", "set_policy"]


async def rule_list(tx: Tx, actor: Actor) -> list[Rule]:
    """Return the current rules in their order, with hits and overrides."""
    actor.must("rule:read")
    return await store.rules(tx)


async def put_rule(
    tx: Tx,
    actor: Actor,
    *,
    when: When,
    category: str,
    mode: str,
    place: int,
    now: datetime,
    id_: UUID | None = None,
    version: int | None = None,
) -> Rule:
    """Make a rule, or a new version of one (its counters begin anew).

    Raises:
        Invalid: Conditions, category or mode are wrong, or there are 1,000 rules.
        NotFound: There is no such rule.
        Conflict: Its version is another by now.
    """
    actor.must("rule:write")
    when.check()
    rows_rules.check_category(category)
    if mode not in {"automatic", "suggest"}:
        raise Invalid("The mode of a rule is automatic or suggest")
    before = None
    if id_:
        gone = await store.retire(tx, id_, now=now)
        if gone is None:
            raise NotFound("rule", str(id_))
        if version is not None and version != gone:
            raise Conflict(f"The rule is at version {gone}")
        before = gone
    elif len(await store.rules(tx)) >= store.RULES_MAX:
        raise Invalid(f"There are at most {store.RULES_MAX} rules")
    rule = Rule(id_ or new_id(), (before or 0) + 1, place, when, category, mode)
    await store.add_rule(tx, rule, by=actor.name, now=now)
    await audit.record(
        tx, actor, action="rule.set", subject=f"rule:{rule.id}", before=before,
        after={"version": rule.version, "category": category, "mode": mode, "place": place}, now=now,
    )  # fmt: skip
    return rule


async def retire_rule(tx: Tx, actor: Actor, *, id_: UUID, now: datetime) -> None:
    """Retire a rule; what it decided stays.

    Raises:
        NotFound: There is no such rule.
    """
    actor.must("rule:write")
    gone = await store.retire(tx, id_, now=now)
    if gone is None:
        raise NotFound("rule", str(id_))
    await audit.record(tx, actor, action="rule.retired", subject=f"rule:{id_}", before=gone, now=now)


async def policy(tx: Tx, actor: Actor) -> Policy:
    """Return the stated error and audit share."""
    actor.must("transaction:read")
    return await store.policy_of(tx)


async def set_policy(tx: Tx, actor: Actor, *, wanted: Policy, now: datetime) -> None:
    """State the largest error and the audited share; it counts for rows answered from now on.

    Raises:
        Invalid: The error is not within 0.1 % and 50 %, or the share not within 2 % and 5 %.
    """
    actor.must("rule:write")
    if not 0.001 <= wanted.error_max <= 0.5 or not 0.02 <= wanted.audit_share <= 0.05:
        raise Invalid("The error is 0.001 to 0.5, the audited share 0.02 to 0.05")
    before = await store.policy_of(tx)
    await store.put_policy(tx, wanted.error_max, wanted.audit_share)
    await audit.record(
        tx, actor, action="books.policy", subject="books", before=[before.error_max, before.audit_share],
        after=[wanted.error_max, wanted.audit_share], now=now,
    )  # fmt: skip
