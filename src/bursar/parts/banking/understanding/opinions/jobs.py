"""Asking: at once while somebody waits, else as a batch that is collected later."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from bursar.core.language import service as language
from bursar.core.language.service import Means, WhyNot
from bursar.infra.clock import utc_now
from bursar.infra.http import Answered, NoAnswer
from bursar.infra.jobs import Context, enqueue, job
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Refusal
from bursar.kernel.language import Ended, Said, Vendor
from bursar.parts.banking.understanding.opinions import service
from bursar.parts.banking.understanding.opinions.service import Ask
from bursar.parts.banking.understanding.service import Understood

RIGHTS = ("transaction:read", "transaction:write", "ledger:read", "language:read", "language:use")
COLLECT = "banking.opinions_collect"
LOOK = "banking.opinions_look"
POLL_MIN = timedelta(minutes=2)
POLL_MAX = timedelta(hours=1)
POLLS_MAX = 40
"""After this many looks (over a day) a batch is left to be counted as spent."""
CLOCKS_DIFFER = timedelta(minutes=10)
"""A batch is looked for from this long before it was sent by our own clock."""


@job(service.PURPOSE, attempts=3, seconds=1800, rights=RIGHTS)
async def ask(ctx: Context, *, org: str, wait: bool = False) -> dict[str, Any]:
    """Ask the language model what the groups of undecided rows were for, as far as the caps go.

    Safe to run twice: a group on its way or known is not asked again; what a killed run held counts as spent.
    """
    actor, means = ctx.actor(org), ctx.tool(Means)
    return await (ask_now(ctx, actor, means) if wait else _ask_later(ctx, actor, means))


async def ask_now(ctx: Any, actor: Actor, means: Means) -> dict[str, Any]:
    """Ask the cheap model, then the dear one where they disagree, one question after the other.

    Args:
        ctx: Anything that holds the database as ``db``.
        actor: Whoever asks.
        means: The installation's vendor, models and cap.
    """
    done, asked, why_not = Understood(), 0, None
    for dear in (False, True):
        async with ctx.db.writing(actor) as tx:
            plan = await service.plan(tx, actor, means=means, batch=False, now=utc_now(), dear=dear)
        why_not = why_not or plan.why_not
        for number, one in enumerate(plan.asks):
            said, offline = await _said(means, one)
            async with ctx.db.writing(actor) as tx:
                done += await service.take(tx, actor, means=means, call=one.call, said=said, now=utc_now())
            asked += 1
            if offline:
                await _unasked(ctx, actor, means, [later.call for later in plan.asks[number + 1 :]])
                return _result(done, asked, WhyNot.OFFLINE)
    return _result(done, asked, why_not)


async def _said(means: Means, one: Ask) -> tuple[Said | None, bool]:
    """Ask one question; return what came back (None where nobody can know) and whether to give up for now."""
    assert means.vendor is not None
    try:
        return await means.vendor.ask(one.question), False
    except NoAnswer as refused:
        return (None if refused.sent else Said(Ended.FAILED, why=str(refused))), True
    except Refusal as refused:
        return Said(Ended.FAILED, why=str(refused)), True


async def _unasked(ctx: Any, actor: Actor, means: Means, calls: Sequence[UUID]) -> None:
    """Give back the money of questions that were never sent."""
    for call in calls:
        async with ctx.db.writing(actor) as tx:
            await service.take(tx, actor, means=means, call=call, said=Said(Ended.FAILED), now=utc_now())


def _result(done: Understood, asked: int, why_not: WhyNot | None) -> dict[str, Any]:
    told = {"asked": asked, "automatic": done.automatic, "suggested": done.suggested}
    return told | ({"why_not": why_not.value} if why_not else {})


async def _ask_later(ctx: Context, actor: Actor, means: Means, *, dear: bool = False) -> dict[str, Any]:
    now = utc_now()
    async with ctx.db.writing(actor) as tx:
        plan = await service.plan(tx, actor, means=means, batch=True, now=now, dear=dear)
        if plan.asks:  # found again, should this run die before the name of the batch is written down
            facts = {"calls": [str(one.call) for one in plan.asks], "since": now.isoformat(), "polls": 0, "dear": dear}
            await enqueue(tx, LOOK, facts, at=now + language.ASKING_MAX)
    if not plan.asks or means.vendor is None:
        return _result(Understood(), 0, plan.why_not)
    try:
        batch = await means.vendor.submit({str(one.call): one.question for one in plan.asks})
    except Refusal as refused:
        if isinstance(refused, Answered) or (isinstance(refused, NoAnswer) and not refused.sent):
            await _unasked(ctx, actor, means, [one.call for one in plan.asks])
        return _result(Understood(), 0, WhyNot.OFFLINE)
    async with ctx.db.writing(actor) as tx:
        await service.batch_sent(tx, actor, calls=[one.call for one in plan.asks], batch=batch)
        await enqueue(tx, COLLECT, {"batch": batch, "polls": 0, "dear": dear}, at=utc_now() + POLL_MIN)
    return _result(Understood(), len(plan.asks), plan.why_not)


@job(LOOK, attempts=5, seconds=1800, rights=RIGHTS)
async def look(ctx: Context, *, org: str, calls: list[str], since: str, polls: int, dear: bool) -> dict[str, Any]:
    """Find the batch of calls whose run died between sending them and writing down its name; else give their money back.

    Safe to run twice: calls whose batch is known, or that are settled, are left alone.
    """
    actor, means = ctx.actor(org), ctx.tool(Means)
    async with ctx.db.reading(actor) as tx:
        lost = await service.unsent(tx, actor, calls=[UUID(call) for call in calls])
    if not lost or means.vendor is None:
        return _result(Understood(), 0, None if means.vendor else WhyNot.NO_KEY)
    try:
        batch = await _batch_of(means.vendor, frozenset(calls), datetime.fromisoformat(since))
    except (Answered, NoAnswer):
        batch = None
    if batch == "":
        await _unasked(ctx, actor, means, lost)
        return _result(Understood(), 0, None)
    async with ctx.db.writing(actor) as tx:
        if batch:
            await service.batch_sent(tx, actor, calls=lost, batch=batch)
            await enqueue(tx, COLLECT, {"batch": batch, "polls": 0, "dear": dear})
        elif polls < POLLS_MAX:
            facts = {"calls": calls, "since": since, "polls": polls + 1, "dear": dear}
            await enqueue(tx, LOOK, facts, at=utc_now() + _pause(polls))
    return _result(Understood(), len(lost) if batch else 0, None if batch else WhyNot.OFFLINE)


async def _batch_of(vendor: Vendor, calls: frozenset[str], since: datetime) -> str | None:
    """Return the batch that holds some calls, "" where none does, None where one that is not done yet may."""
    listed = await vendor.batches(since - CLOCKS_DIFFER)
    alike = [one for one in listed if one.questions == len(calls) and one.made_at < since + language.ASKING_MAX]
    for one in alike:
        if one.ended and calls <= (await vendor.collect(one.name) or {}).keys():
            return one.name
    return "" if all(one.ended for one in alike) else None


def _pause(polls: int) -> timedelta:
    return min(POLL_MIN * (1 << min(polls, 6)), POLL_MAX)


@job(COLLECT, attempts=5, seconds=1800, rights=RIGHTS)
async def collect(ctx: Context, *, org: str, batch: str, polls: int, dear: bool) -> dict[str, Any]:
    """Take what a batch brought, or look again later; then ask the dear model about what is disputed.

    Safe to run twice: each call is settled once, in the transaction of its opinions.
    """
    actor, means = ctx.actor(org), ctx.tool(Means)
    if means.vendor is None:
        return _result(Understood(), 0, WhyNot.NO_KEY)
    try:
        brought = await means.vendor.collect(batch)
    except (Answered, NoAnswer):
        brought = None
    if brought is None:
        if polls < POLLS_MAX:
            async with ctx.db.writing(actor) as tx:
                facts = {"batch": batch, "polls": polls + 1, "dear": dear}
                await enqueue(tx, COLLECT, facts, at=utc_now() + _pause(polls))
        return _result(Understood(), 0, WhyNot.OFFLINE if polls >= POLLS_MAX else None)
    async with ctx.db.reading(actor) as tx:
        calls = await service.of_batch(tx, actor, batch=batch)
    done = Understood()
    for call in calls:
        async with ctx.db.writing(actor) as tx:
            said = brought.get(str(call))
            done += await service.take(tx, actor, means=means, call=call, said=said, now=utc_now())
    if not dear:
        await _ask_later(ctx, actor, means, dear=True)
    return _result(done, len(calls), None)


JOBS = (ask, look, collect)
