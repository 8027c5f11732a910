"""Use cases of opinions: choose what to ask and hold its money, take an answer, say what was left to people and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from bursar.core.language import service as language
from bursar.core.language.service import Means, WhyNot
from bursar.infra.db import Tx
from bursar.infra.jobs import enqueue
from bursar.kernel.actor import Actor
from bursar.kernel.language import Ended, Question, Said
from bursar.ml.tabular import hashed
from bursar.parts.banking.understanding import service as understanding
from bursar.parts.banking.understanding import store as rows_store
from bursar.parts.banking.understanding.opinions import store
from bursar.parts.banking.understanding.opinions.rules import asking
from bursar.parts.banking.understanding.opinions.rules.asking import CATEGORIES_MAX, GROUPS_A_QUESTION, Category, Group
from bursar.parts.banking.understanding.opinions.rules.scrub import scrub
from bursar.parts.banking.understanding.rules.answers import Row
from bursar.parts.banking.understanding.service import Understood

PURPOSE = "banking.opinions"
"""The job that asks, and the purpose under which its calls are kept."""
QUESTIONS_WAITED = 4
"""Questions of 50 groups while somebody waits."""
QUESTIONS_BATCHED = 40
CHEAP, DEAR = 0, 1
"""Places of the models among the settings."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A question whose money is held."""

    call: UUID
    question: Question


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be asked now; ``why_not`` where something was left to people."""

    asks: Sequence[Ask]
    why_not: WhyNot | None = None


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Groups for one pass of one model, with the content and rows of each."""

    groups: Sequence[Group]
    rows: Sequence[Sequence[UUID]]


async def plan(tx: Tx, actor: Actor, *, means: Means, batch: bool, now: datetime, dear: bool = False) -> Plan:
    """Choose the groups most worth asking about that nobody has an opinion on, and hold the money for them.

    Commit before sending. Safe to run twice: what is on its way or known is not asked again.

    Args:
        tx: Writing transaction.
        actor: Needs ``transaction:read`` and ``language:use``.
        means: The installation's vendor, models and cap.
        batch: Whether it will be sent as a batch; else somebody waits, and little is asked.
        now: Instant of asking.
        dear: Ask the dear model about what the cheap one and the local model disagree on.
    """
    actor.must("transaction:read")
    here = await language.standing(tx, actor, means=means, now=now)
    if here.why_not or len(means.models) <= (DEAR if dear else CHEAP):
        return Plan((), here.why_not)
    await store.lock(tx)
    await store.put_failed(tx, await language.forget(tx, actor, means=means, now=now), fault=False)
    categories = await _categories(tx)
    if len(categories) < asking.CATEGORIES_MIN:
        return Plan(())
    most = GROUPS_A_QUESTION * (QUESTIONS_BATCHED if batch else QUESTIONS_WAITED)
    wanted = await (_disputed(tx, most) if dear else _abstained(tx, most, asking.taxonomy(categories)))
    return await _held(tx, actor, wanted, categories, means=means, model=DEAR if dear else CHEAP, batch=batch, now=now)


async def _held(
    tx: Tx, actor: Actor, wanted: _Wanted, categories: Sequence[Category], *, means: Means, model: int, batch: bool, now: datetime
) -> Plan:  # fmt: skip
    """Hold the money for questions of 50 groups and say that these are on their way."""
    starts = range(0, len(wanted.groups), GROUPS_A_QUESTION)
    name = means.models[model].name
    questions = [asking.question(wanted.groups[at : at + GROUPS_A_QUESTION], categories, model=name) for at in starts]
    held = await language.hold(tx, actor, means=means, questions=questions, purpose=PURPOSE, batch=batch, now=now)
    names = [one.name for one in categories]
    fixed = {"model": name, "taxonomy": asking.taxonomy(categories), "asked_at": now}
    asked = [
        {**fixed, "content": group.content, "call": call, "place": place, "rows": list(ids), "categories": [] if place else names}
        for call, at in zip(held.calls, starts, strict=False)
        for place, (group, ids) in enumerate(
            zip(wanted.groups[at : at + GROUPS_A_QUESTION], wanted.rows[at : at + GROUPS_A_QUESTION], strict=True)
        )
    ]  # fmt: skip
    await store.put_asked(tx, asked)
    return Plan([Ask(call, one) for call, one in zip(held.calls, questions, strict=False)], held.why_not)


async def _categories(tx: Tx) -> list[Category]:
    """Return the organisation's own categories by name, each with payees whom people put there."""
    counts = await rows_store.counts(tx, [hashed("all", "in"), hashed("all", "out")])
    weights: dict[str, float] = {}
    examples: dict[str, list[UUID]] = {}
    for here in counts.values():
        for name, seen in here.items():
            weights[name] = weights.get(name, 0.0) + seen.weight
            examples.setdefault(name, []).append(seen.example)
    names = sorted(sorted(weights, key=lambda name: (-weights[name], name))[:CATEGORIES_MAX])
    rows = await store.rows_of(tx, [id_ for name in names for id_ in examples[name]])
    payees = {name: [scrub(rows[id_].label) for id_ in examples[name] if id_ in rows] for name in names}
    return [Category(name, tuple(dict.fromkeys(one for one in payees[name] if one))) for name in names]


async def _abstained(tx: Tx, most: int, taxonomy: str) -> _Wanted:
    """Return groups without an opinion; one without a category is asked again where there are other categories by now."""
    found = await store.abstained(tx)
    rows = await store.rows_of(tx, [one.ids[0] for one in found])
    groups = {Group.of(rows[one.ids[0]]): one.ids for one in found if one.ids[0] in rows}
    known = await store.of_contents(tx, [group.content for group in groups])
    fresh = [group for group in groups if _worth_asking(known.get(group.content), taxonomy)][:most]
    return _Wanted(fresh, [groups[group] for group in fresh])


def _worth_asking(known: Any, taxonomy: str) -> bool:
    if known is None or known.state == "failed":
        return True
    return known.state == "known" and known.category is None and known.taxonomy != taxonomy


async def _disputed(tx: Tx, most: int) -> _Wanted:
    """Return the groups that wait for the dear model."""
    found = await store.disputed(tx, limit=most)
    rows = await store.rows_of(tx, [one.rows[0] for one in found])
    pairs = [(Group.of(rows[one.rows[0]]), one) for one in found if one.rows[0] in rows]
    same = [(group, one) for group, one in pairs if group.content == one.content]
    return _Wanted([group for group, _ in same], [one.rows for _, one in same])


async def batch_sent(tx: Tx, actor: Actor, *, calls: Sequence[UUID], batch: str) -> None:
    """Say that questions are on their way in a batch of the vendor."""
    await language.sent(tx, actor, calls=calls, batch=batch)


async def unsent(tx: Tx, actor: Actor, *, calls: Sequence[UUID]) -> list[UUID]:
    """Return those of some calls that no batch is known of and that are not settled."""
    return await language.unsent(tx, actor, calls=calls)


async def of_batch(tx: Tx, actor: Actor, *, batch: str) -> list[UUID]:
    """Return the calls of a batch that are not settled yet."""
    return await language.of_batch(tx, actor, batch=batch)


async def take(tx: Tx, actor: Actor, *, means: Means, call: UUID, said: Said | None, now: datetime) -> Understood:
    """Take what came back for one call: settle its money, keep the opinions, answer the rows anew; all or nothing.

    Args:
        tx: Writing transaction.
        actor: Needs ``transaction:write`` and ``language:use``.
        means: The installation's vendor, models and cap.
        call: The call.
        said: What came back; None where nobody can know.
        now: Instant of taking it.
    """
    await language.settle(tx, actor, means=means, call=call, said=said, now=now)
    asked = await store.of_call(tx, call)
    names = next((one.categories for one in asked if one.place == 0), ())
    answered = said is not None and said.ended is Ended.ANSWERED
    opinions = asking.opinions_from(said.value, groups=len(asked), categories=names) if said and answered else []
    if not any(opinions):
        await store.put_failed(tx, [call], fault=said is not None and said.ended is not Ended.FAILED)
        return Understood()
    samples = await store.rows_of(tx, [one.rows[0] for one in asked])
    local = await understanding.likely(tx, actor, rows=list(samples.values()))
    dear = len(means.models) > DEAR and asked[0].model != means.models[DEAR].name
    written = [
        _answer(row, said_, disputed=dear and asking.disputed(said_, local.get(row.rows[0], [])))
        for row, said_ in zip(asked, opinions, strict=True)
        if said_ is not None
    ]
    await store.put_answers(tx, written, now=now)
    await store.put_failed(tx, [call], fault=True)  # those without a valid entry
    done = Understood()
    for row, said_ in zip(asked, opinions, strict=True):
        if said_ is not None and said_.category:
            done += await understanding.answer_again(tx, actor, ids=row.rows)
    return done


def _answer(asked: Any, opinion: asking.Opinion, *, disputed: bool) -> Mapping[str, Any]:
    """Return what is kept of an opinion; a later null does not take an earlier category away."""
    return {
        "content": asked.content, "state": "disputed" if disputed else "known", "category": opinion.category or asked.category,
        "alternatives": list(opinion.alternatives), "why": opinion.why, "rows": asked.rows,
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that asks, or why there is none."""

    run: UUID | None
    why_not: WhyNot | None


async def begin(tx: Tx, actor: Actor, *, means: Means, wait: bool, now: datetime) -> Begun:
    """Queue the job that asks; one that waits to start is enough.

    Args:
        tx: Writing transaction.
        actor: Needs ``transaction:write`` and ``language:use``.
        means: The installation's vendor, models and cap.
        wait: Somebody waits: ask at once, at the full price; else as a batch, within a day at half the price.
        now: Instant of asking.
    """
    actor.must("transaction:write")
    actor.must("language:use")
    here = await language.standing(tx, actor, means=means, now=now)
    if here.why_not:
        return Begun(None, here.why_not)
    return Begun(await enqueue(tx, PURPOSE, {"wait": wait}, once=f"opinions/{wait}"), None)


async def tally(tx: Tx, actor: Actor) -> Mapping[str, int]:
    """Return how many groups are asked, disputed, known and failed."""
    actor.must("transaction:read")
    return await store.tally(tx)


__all__ = ["Ask", "Begun", "Plan", "Row", "batch_sent", "begin", "of_batch", "plan", "take", "tally", "unsent"]
