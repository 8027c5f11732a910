"""Use cases of budgets: keep them, say where they stand, tell crossed thresholds once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from bursar.core.audit import service as audit
from bursar.core.findings import service as findings
from bursar.core.planning.budgets import store
from bursar.core.planning.budgets.rules import limits as rules
from bursar.core.planning.budgets.rules import telling
from bursar.core.planning.budgets.rules.limits import (
    BUDGETS_MAX,
    KINDS,
    Budget,
    Cadence,
    RollOver,
    Status,
    Threshold,
)
from bursar.core.planning.budgets.standing import service as standing
from bursar.core.planning.budgets.standing.service import Means
from bursar.core.planning.commitments.service import Paid
from bursar.core.planning.forecasts.rules import whatif
from bursar.core.planning.forecasts.rules.whatif import Change
from bursar.core.planning.series import service as series
from bursar.infra import mail
from bursar.infra.db import Tx, new_id
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, NotFound, TooLarge
from bursar.kernel.money import Money

__all__ = [
    "KINDS",
    "Budget",
    "Cadence",
    "Change",
    "Paid",
    "RollOver",
    "Status",
    "Threshold",
    "alerts",
    "change",
    "check",
    "create",
    "get",
    "listed",
    "remove",
    "status",
    "statuses",
    "what_if",
]

NOBODY_KNOWS = Paid()
"""For callers without parts, such as tests of planning alone."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a caller says about a budget."""

    name: str
    source: str
    filter: Mapping[str, Sequence[str]]
    amount: Money
    cadence: Cadence
    roll_over: RollOver
    start: date
    tell: Sequence[str]
    year_begins: int = 1


async def create(tx: Tx, actor: Actor, *, wanted: Wanted, now: datetime) -> Budget:
    """Make a budget.

    Raises:
        Invalid: A fact is wrong; see :func:`~bursar.core.planning.budgets.rules.check`.
        Conflict: The name is taken.
        TooLarge: There are ``BUDGETS_MAX`` already.
    """
    actor.must("budget:write")
    _check(wanted)
    if await store.count(tx) >= BUDGETS_MAX:
        raise TooLarge("The list of budgets", BUDGETS_MAX, "budgets")
    made = Budget(new_id(), **_facts(wanted), created_at=now, changed_at=now)
    if not await store.insert(tx, made):
        raise Conflict(f"There is a budget called {wanted.name!r} already.")
    await _note(tx, actor, "budget.created", made.id, None, made, now)
    return made


async def change(
    tx: Tx, actor: Actor, *, id_: UUID, wanted: Wanted, seen: Callable[[object], None], now: datetime
) -> Budget:
    """Replace a budget; what was told in the running period stays told.

    Args:
        tx: Writing transaction.
        actor: Needs ``budget:write``.
        id_: Which.
        wanted: What it is from now on.
        seen: Called with its present version; refuses what the caller has not seen.
        now: Instant of the change.

    Raises:
        NotFound: There is none.
        Invalid: A fact is wrong.
        Conflict: The name is taken by another.
    """
    actor.must("budget:write")
    _check(wanted)
    before = await store.get(tx, id_, for_update=True)
    if before is None:
        raise NotFound("budget", str(id_))
    seen(before.changed_at)
    namesake = await store.named(tx, wanted.name)
    if namesake is not None and namesake.id != id_:
        raise Conflict(f"There is a budget called {wanted.name!r} already.")
    after = Budget(id_, **_facts(wanted), created_at=before.created_at, changed_at=now)
    await store.update(tx, after)
    await _note(tx, actor, "budget.changed", id_, before, after, now)
    return after


async def remove(tx: Tx, actor: Actor, *, id_: UUID, seen: Callable[[object], None], now: datetime) -> None:
    """Delete a budget with what was told about it.

    Raises:
        NotFound: There is none.
    """
    actor.must("budget:write")
    before = await store.get(tx, id_, for_update=True)
    if before is None:
        raise NotFound("budget", str(id_))
    seen(before.changed_at)
    await store.delete(tx, id_)
    await _note(tx, actor, "budget.removed", id_, before, None, now)


async def get(tx: Tx, actor: Actor, *, id_: UUID) -> Budget:
    """Return a budget; refuse with :class:`NotFound`."""
    actor.must("budget:read")
    found = await store.get(tx, id_)
    if found is None:
        raise NotFound("budget", str(id_))
    return found


async def listed(tx: Tx, actor: Actor) -> list[Budget]:
    """Return every budget by name."""
    actor.must("budget:read")
    return await store.all_(tx)


async def alerts(tx: Tx, actor: Actor, *, id_: UUID) -> Sequence[Any]:
    """Return what was told about a budget, newest first: start_day, threshold, amount, allowed, told, told_at."""
    await get(tx, actor, id_=id_)
    return await store.alerts(tx, id_)


def _check(wanted: Wanted) -> None:
    source = series.source_named(wanted.source)
    rules.check(source, name=wanted.name, filter_=wanted.filter, amount=wanted.amount, tell=wanted.tell)


def _facts(wanted: Wanted) -> dict[str, Any]:
    return {name: getattr(wanted, name) for name in Wanted.__dataclass_fields__} | {"tell": rules.people(wanted.tell)}


async def _note(
    tx: Tx, actor: Actor, action: str, id_: UUID, before: Budget | None, after: Budget | None, now: datetime
) -> None:
    def plain(one: Budget | None) -> object:
        if one is None:
            return None
        facts = asdict(one) | {"amount": str(one.amount), "filter": {k: list(v) for k, v in one.filter.items()}}
        return {name: value if isinstance(value, dict | list) else str(value) for name, value in facts.items()}

    await audit.record(
        tx, actor, action=action, subject=f"budget:{id_}", before=plain(before), after=plain(after), now=now
    )


async def status(
    tx: Tx, actor: Actor, *, id_: UUID, lake: Lake, now: datetime, day: date | None = None, paid: Paid = NOBODY_KNOWS
) -> Status:
    """Say where a budget stands in the period of ``day`` (today's by default); ``paid`` names holds that lines have paid.

    Raises:
        NotFound: There is no such budget.
    """
    one = await get(tx, actor, id_=id_)
    return await standing.status(tx, actor, one, means=Means(lake, paid, now), day=day)


async def statuses(
    tx: Tx, actor: Actor, *, lake: Lake, now: datetime, day: date | None = None, paid: Paid = NOBODY_KNOWS
) -> list[Status]:
    """Say where every budget stands in the period of ``day`` (today's by default), by name."""
    means, found = Means(lake, paid, now), await listed(tx, actor)
    oldest_first = sorted(found, key=lambda one: rules.periods_until(one, day or now.date())[0].start)
    stand = {one.id: await standing.status(tx, actor, one, means=means, day=day) for one in oldest_first}
    return [stand[one.id] for one in found]


async def what_if(
    tx: Tx, actor: Actor, *, id_: UUID, change: Change, lake: Lake, now: datetime, paid: Paid = NOBODY_KNOWS
) -> tuple[Status, Status]:
    """Say where a budget stands today, and where it would stand if a series changed; nothing is stored.

    Raises:
        NotFound: There is no such budget, or no stored forecast of such a series in its source and currency.
        Invalid: A driver is out of range.
    """
    one = await get(tx, actor, id_=id_)
    inside, means = standing.inside(actor), Means(lake, paid, now)
    first = [
        run.starts[0]
        for run in await means.newest(tx, inside, one)
        if any(each.id == change.series for each in await means.values(tx, inside, run))
    ]
    if not first:
        raise NotFound("forecast of series", change.series)
    whatif.check(change.drivers, min(first))
    before = await standing.status(tx, actor, one, means=means)
    return before, await standing.status(tx, actor, one, means=means, change=change)


async def check(
    tx: Tx, actor: Actor, *, lake: Lake, now: datetime, paid: Paid = NOBODY_KNOWS
) -> list[tuple[Status, Threshold]]:
    """Bring the findings of budgets up to date and tell each threshold that is newly crossed, once.

    Safe to repeat: what was told in a period is a row whose key is unique, written in the transaction of the mail. Who is
    named later is told later, once.

    Args:
        tx: Writing transaction.
        actor: Needs ``budget:read`` and ``finding:write``.
        lake: Where the facts are.
        now: Instant of the check.
        paid: Names the holds that lines have paid.

    Returns:
        What was told now.
    """
    actor.must("budget:read")
    told = []
    raised = []
    for one in await statuses(tx, actor, lake=lake, now=now, paid=paid):
        for threshold in one.crossed:
            raised.append(telling.finding(threshold, one))
            who = await store.tell_once(tx, one, threshold, now=now)
            if who is None:
                continue
            told.append((one, threshold))
            facts = {"title": telling.text_of(threshold, one), "body": telling.body_of(threshold, one), "link": ""}
            for address in who:
                await mail.queue(tx, to=address, template="alert", facts=facts)
    await findings.raise_(tx, actor, kinds=KINDS, findings=raised, now=now)
    return told
