"""Use cases: switch language models on, hold the most a question can cost, settle what it did."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from bursar.core.audit import service as audit
from bursar.core.language import rules, store
from bursar.core.language.rules import Model, WhyNot
from bursar.infra.db import Tx, new_id
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, Invalid, NotFound
from bursar.kernel.language import Ended, Question, Said, Vendor

__all__ = ["Held", "Means", "Model", "Standing", "WhyNot", "forget", "hold", "of_batch", "sent", "set_policy", "settle", "standing", "unsent"]  # fmt: skip

QUESTIONS_MAX = 200
"""Most questions held money for by one call."""
ASKING_MAX = timedelta(minutes=15)
"""After this long a call that was not sent has no process any more; whether a batch arrived all the same is then looked for."""
BATCH_MAX = timedelta(hours=30)
"""After this long a batch is over: the vendor ends it within 24 hours."""


@dataclass(frozen=True, slots=True)
class Means:
    """What the installation has: the vendor (None without a key), its models, the cheap one first, and the cap in USD."""

    vendor: Vendor | None
    models: Sequence[Model]
    monthly_max: Decimal

    def model(self, name: str) -> Model:
        """Return a model by name."""
        return next(model for model in self.models if model.name == name)

    def cost_of(self, said: Said, *, model: str, held: Decimal, batch: bool) -> Decimal:
        """Return what an answer did cost; all that was held where its model is no longer among the settings."""
        known = next((one for one in self.models if one.name == model), None)
        if said.ended is Ended.FAILED:
            return Decimal(0)
        return rules.cost_of(said.usage, known, batch=batch) if known else held


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an organisation stands this month, in USD; ``why_not`` says why nothing can be asked, None when it can.

    Attributes:
        enabled: Whether the organisation wants language models.
        monthly_max: Its own cap.
        held: The most that open calls can cost.
        spent: What ended calls did cost.
        left: What may still be held, under both caps.
    """

    enabled: bool
    monthly_max: Decimal
    held: Decimal
    spent: Decimal
    left: Decimal
    why_not: WhyNot | None


async def standing(tx: Tx, actor: Actor, *, means: Means, now: datetime) -> Standing:
    """Tell where the organisation stands this month."""
    actor.must("language:read")
    return await _standing(tx, means, now)


async def _standing(tx: Tx, means: Means, now: datetime) -> Standing:
    of = rules.month_of(now)
    enabled, own = await store.policy_of(tx) or (False, Decimal(0))
    held, spent = await store.taken(tx, of)
    left = max(Decimal(0), min(own - held - spent, means.monthly_max - await store.taken_by_all(tx, of)))
    why_not = None
    if means.vendor is None or not means.models:
        why_not = WhyNot.NO_KEY
    elif not enabled:
        why_not = WhyNot.OFF
    elif left == 0:
        why_not = WhyNot.NO_MONEY
    return Standing(enabled, own, held, spent, left, why_not)


async def set_policy(tx: Tx, actor: Actor, *, enabled: bool, monthly_max: Decimal, now: datetime) -> None:
    """Switch language models on or off for the organisation, with its own monthly cap in USD.

    Raises:
        Invalid: The cap is not within 0 and 1,000,000.
    """
    actor.must("language:write")
    rules.check_cap(monthly_max)
    before = await store.policy_of(tx)
    await store.put_policy(tx, enabled=enabled, monthly_max=monthly_max)
    told = {"enabled": enabled, "monthly_max": f"{monthly_max:f}"}
    was = {"enabled": before[0], "monthly_max": f"{before[1].normalize():f}"} if before else None
    await audit.record(tx, actor, action="language.policy", subject="language", before=was, after=told, now=now)


@dataclass(frozen=True, slots=True)
class Held:
    """Calls that money is held for, in the order of the questions; ``why_not`` where not all of them have one."""

    calls: Sequence[UUID]
    why_not: WhyNot | None = None


async def hold(
    tx: Tx, actor: Actor, *, means: Means, questions: Sequence[Question], purpose: str, batch: bool, now: datetime
) -> Held:
    """Hold the most that each question can cost; commit before sending the first.

    The first questions that fit under both caps get a call, the rest none. Whoever dies after this leaves the money held,
    and :func:`forget` counts it as spent.

    Args:
        tx: Writing transaction.
        actor: Needs ``language:use``.
        means: What the installation has.
        questions: At most 200, of known models.
        purpose: Who asks, such as ``banking.opinions``.
        batch: Whether they will be sent as a batch, at half the price.
        now: Instant of asking; its month pays.

    Raises:
        Invalid: There are too many questions.
    """
    actor.must("language:use")
    if len(questions) > QUESTIONS_MAX:
        raise Invalid(f"At most {QUESTIONS_MAX} questions are asked at once")
    await store.lock(tx)
    here, of = await _standing(tx, means, now), rules.month_of(now)
    if here.why_not or not questions:
        return Held((), here.why_not)
    calls, left = [], here.left
    for question in questions:
        most = rules.at_most(question, means.model(question.model), batch=batch)
        if most > left or not await store.take(tx, of, most, cap=means.monthly_max):
            break
        left -= most
        calls.append(
            {"id": new_id(), "month": of, "purpose": purpose, "model": question.model, "state": "held", "held": most,
             "asked_at": now, "batched": batch}
        )  # fmt: skip
    if calls:
        await store.add(tx, calls)
    ids = [UUID(str(one["id"])) for one in calls]
    return Held(ids, None if len(ids) == len(questions) else WhyNot.NO_MONEY)


async def sent(tx: Tx, actor: Actor, *, calls: Sequence[UUID], batch: str) -> None:
    """Say that calls are on their way in a batch of the vendor."""
    actor.must("language:use")
    await store.sent(tx, calls, batch=batch)


async def unsent(tx: Tx, actor: Actor, *, calls: Sequence[UUID]) -> list[UUID]:
    """Return those of some calls that money is held for and that no batch is known of."""
    actor.must("language:use")
    return await store.unsent(tx, calls)


async def of_batch(tx: Tx, actor: Actor, *, batch: str) -> list[UUID]:
    """Return the calls of a batch that are not settled."""
    actor.must("language:use")
    return await store.of_batch(tx, batch)


async def settle(tx: Tx, actor: Actor, *, means: Means, call: UUID, said: Said | None, now: datetime) -> Decimal:
    """Write what a call did cost and give the rest of what was held back; returns the cost in USD.

    Args:
        tx: Writing transaction; what the answer changes belongs into it too.
        actor: Needs ``language:use``.
        means: What the installation has.
        call: The call.
        said: What came back; None where nobody can know: then all that was held counts as spent.
        now: Instant of settling.

    Raises:
        NotFound: There is no such call.
        Conflict: It is settled already.
    """
    actor.must("language:use")
    row = await store.locked(tx, call)
    if row is None:
        raise NotFound("call", str(call))
    if row.cost is not None:
        raise Conflict("That call is settled already")
    values: dict[str, Any] = {"state": "unknown", "cost": row.held, "settled_at": now}
    if said is not None:
        read = said.usage.read + said.usage.cache_read + said.usage.cache_written
        cost = means.cost_of(said, model=row.model, held=row.held, batch=row.batched)
        values |= {
            "state": "settled", "cost": cost, "ended": said.ended.value, "tokens_read": read,
            "tokens_written": said.usage.written,
        }  # fmt: skip
    await store.settle(tx, call, values)
    await store.give_back(tx, row.month, row.held - values["cost"])
    return Decimal(values["cost"])


async def forget(tx: Tx, actor: Actor, *, means: Means, now: datetime) -> list[UUID]:
    """Count calls as spent whose process died or whose batch is over; returns them, so that they may be asked again."""
    actor.must("language:use")
    lost = await store.forgotten(tx, asked_before=now - ASKING_MAX, sent_before=now - BATCH_MAX)
    for call in lost:
        await settle(tx, actor, means=means, call=call, said=None, now=now)
    return lost
