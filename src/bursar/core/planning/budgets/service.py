"""Use cases of budgets: keep them, say where they stand, tell crossed thresholds once."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import polars as pl

from bursar.core.audit import service as audit
from bursar.core.findings import service as findings
from bursar.core.planning.budgets import store
from bursar.core.planning.budgets.rules import limits as rules
from bursar.core.planning.budgets.rules import spending
from bursar.core.planning.budgets.rules.limits import (
    BUDGETS_MAX,
    KINDS,
    Ahead,
    Budget,
    Cadence,
    RollOver,
    Status,
    Threshold,
)
from bursar.core.planning.forecasts import service as forecasts
from bursar.core.planning.forecasts.rules import whatif
from bursar.core.planning.forecasts.rules.whatif import Change
from bursar.core.planning.forecasts.service import Run, Values
from bursar.core.planning.series import rules as series_rules
from bursar.core.planning.series import service as series
from bursar.core.planning.series.service import Source
from bursar.infra import mail
from bursar.infra.db import Tx, new_id
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, NotFound, TooLarge
from bursar.kernel.money import Money
from bursar.kernel.period import Grain, Period

__all__ = [
    "KINDS",
    "Budget",
    "Cadence",
    "Change",
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

_INSIDE = frozenset({"series:read", "forecast:read"})


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
    return {name: getattr(wanted, name) for name in Wanted.__dataclass_fields__}


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


async def status(tx: Tx, actor: Actor, *, id_: UUID, lake: Lake, now: datetime, day: date | None = None) -> Status:
    """Say where a budget stands in the period of ``day`` (today's by default).

    Raises:
        NotFound: There is no such budget.
    """
    one = await get(tx, actor, id_=id_)
    return await _status(tx, actor, one, lake, now, day or now.date())


async def statuses(tx: Tx, actor: Actor, *, lake: Lake, now: datetime) -> list[Status]:
    """Say where every budget stands today, by name."""
    return [await _status(tx, actor, one, lake, now, now.date()) for one in await listed(tx, actor)]


async def what_if(
    tx: Tx, actor: Actor, *, id_: UUID, change: Change, lake: Lake, now: datetime
) -> tuple[Status, Status]:
    """Say where a budget stands today, and where it would stand if a series changed; nothing is stored.

    Raises:
        NotFound: There is no such budget, or no stored forecast of such a series in its source and currency.
        Invalid: A driver is out of range.
    """
    one = await get(tx, actor, id_=id_)
    whatif.check(change.drivers)
    inside = replace(actor, rights=_INSIDE)
    for run in await forecasts.newest(tx, inside, source=one.source):
        values = await forecasts.values_of(tx, inside, run=run.id) if run.currency == one.amount.currency else []
        if any(each.id == change.series for each in values):
            break
    else:
        raise NotFound("forecast of series", change.series)
    before = await _status(tx, actor, one, lake, now, now.date())
    return before, await _status(tx, actor, one, lake, now, now.date(), change)


async def check(tx: Tx, actor: Actor, *, lake: Lake, now: datetime) -> list[tuple[Status, Threshold]]:
    """Bring the findings of budgets up to date and tell each threshold that is newly crossed, once.

    Safe to repeat: what was told in a period is a row whose key is unique, written in the transaction of the mail.

    Args:
        tx: Writing transaction.
        actor: Needs ``budget:read`` and ``finding:write``.
        lake: Where the facts are.
        now: Instant of the check.

    Returns:
        What was told now.
    """
    actor.must("budget:read")
    told = []
    raised = []
    for one in await statuses(tx, actor, lake=lake, now=now):
        for threshold in one.crossed:
            raised.append(rules.finding(threshold, one))
            if not await store.tell_once(tx, one, threshold, now=now):
                continue
            told.append((one, threshold))
            facts = {"title": rules.text_of(threshold, one), "body": rules.body_of(threshold, one), "link": ""}
            for address in one.budget.tell:
                await mail.queue(tx, to=address, template="alert", facts=facts)
    await findings.raise_(tx, actor, kinds=KINDS, findings=raised, now=now)
    return told


async def _status(
    tx: Tx, actor: Actor, one: Budget, lake: Lake, now: datetime, day: date, change: Change | None = None
) -> Status:
    inside = replace(actor, rights=_INSIDE)
    source = series.SOURCES[one.source]
    periods = rules.periods_until(one, day)
    current = periods[-1]
    first = periods[0].start if one.roll_over is not RollOver.NONE else current.start
    facts = await series.facts(tx, inside, lake=lake, source=one.source)
    mine = facts.sums.filter(pl.col("currency") == one.amount.currency)
    known = series_rules.complete_until(mine, now.date())[0] if mine.height else None
    since = min(first, (known or day) - timedelta(days=rules.SHARE_DAYS))
    asked, lines = await series.rows_of(tx, inside, lake=lake, source=source, names=one.filter, since=since)
    sums = (
        spending.summed(source, facts.sums, one.filter)
        if lines is None
        else await asyncio.to_thread(spending.scanned, asked, lines, one.filter)
    )
    spent = [spending.spent(sums, one.amount.currency, period) for period in periods[:-1] if period.start >= first]
    actual = spending.spent(sums, one.amount.currency, current)
    may = rules.allowed(one, spent)
    ahead = await _ahead(tx, inside, one, asked, current, known, lines, facts.sums, change)
    complete = spending.spent(sums, one.amount.currency, current, until=known)
    notes = (
        rules.NO_COMMITMENTS,
        *(ahead.notes if ahead else ("Nothing is forecast yet; `bursar forecast --all` does it.",)),
    )
    others = spending.others(sums, one.amount.currency, current)
    if others:
        notes = (*notes, f"Not counted, in other currencies: {', '.join(str(each) for each in others)}.")

    def end(more: Decimal) -> Money:
        total = Money.rounded(complete.amount + more, one.amount.currency)
        return total if total.minor > actual.minor else actual

    return Status(
        one,
        current,
        may,
        may - one.amount,
        actual,
        Money(0, one.amount.currency),
        known,
        end(ahead.mean) if ahead else None,
        end(ahead.low80) if ahead else None,
        end(ahead.high80) if ahead else None,
        end(ahead.low95) if ahead else None,
        end(ahead.high95) if ahead else None,
        others,
        notes,
    )


async def _ahead(
    tx: Tx,
    inside: Actor,
    one: Budget,
    source: Source,
    period: Period,
    known: date | None,
    lines: pl.LazyFrame | None,
    sums: pl.DataFrame,
    change: Change | None,
) -> Ahead | None:
    """Forecast from the first day not known to the end of the period; None when nothing was forecast yet."""
    runs = {
        run.grain: run
        for run in await forecasts.newest(tx, inside, source=one.source)
        if run.currency == one.amount.currency
    }
    ordered = [runs[grain] for grain in (Grain.DAY, Grain.WEEK, Grain.MONTH) if grain in runs]
    if known is None or not ordered:
        return None
    shares = await _shares(one, source, known, lines, sums)
    total = Ahead()
    after = max(known, period.start - timedelta(days=1))
    for run in ordered:
        if after >= period.end - timedelta(days=1):
            break
        leaves = await _leaves(tx, inside, run, source, one.filter, shares, change)
        part = rules.ahead(run, leaves, after=after, before=period.end)
        if part.covered_until is None:
            continue
        total = total.plus(part)
        after = part.covered_until
    notes = []
    if shares is not None:
        notes.append(f"The filter is finer than the series; its share of the last {rules.SHARE_DAYS} days is forecast.")
    if after < period.end - timedelta(days=1):
        notes.append(f"The forecast reaches {after} only; days after it are counted as 0.")
    return replace(total, notes=tuple(notes))


async def _leaves(
    tx: Tx,
    inside: Actor,
    run: Run,
    source: Source,
    filter_: Mapping[str, Sequence[str]],
    shares: Mapping[str, Decimal] | None,
    change: Change | None,
) -> list[tuple[Values, Decimal]]:
    """Return the forecasts that count: the one node that is the whole filter, or the leaves that match it."""
    values = await forecasts.values_of(tx, inside, run=run.id)
    if change is not None:
        values = whatif.changed(values, run.starts, change)
    if shares is None:
        whole = spending.node_of(source, filter_)
        exact = [one for one in values if one.key == whole]
        if exact:
            return [(exact[0], Decimal(1))]
    parents = {one.parent for one in values}
    return [
        (one, Decimal(1) if shares is None else shares.get(one.key, Decimal(0)))
        for one in values
        if one.id not in parents
        and one.level == source.levels[-1]
        and (shares is not None or rules.matches(source, filter_, one.key))
    ]


async def _shares(
    one: Budget, source: Source, known: date, lines: pl.LazyFrame | None, sums: pl.DataFrame
) -> dict[str, Decimal] | None:
    """Return the recent share of each leaf series that a finer filter takes; None when the filter is no finer."""
    if lines is None:
        return None
    since = known - timedelta(days=rules.SHARE_DAYS - 1)
    names = [f"part{at}" for at in range(len(source.levels))]
    recent = sums.filter((pl.col("currency") == one.amount.currency) & pl.col("day").is_between(since, known))
    whole = spending.by_key(recent, names)
    day = pl.col(source.schema.day).cast(pl.Date)
    levels = series_rules.part_expressions(series.SOURCES[source.name])
    parts = [part.alias(name) for part, name in zip(levels, names, strict=True)]
    chosen = lines.filter(
        pl.col("currency") == one.amount.currency, day.is_between(since, known), *spending.matching(source, one.filter)
    )
    mine = await asyncio.to_thread(lambda: chosen.select(*parts, pl.col(source.amount).alias("amount")).collect())
    return rules.shares(whole, spending.by_key(mine, names))
