"""Use cases of standing: say where a budget stands in one period."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import polars as pl

from bursar.core.planning.budgets.rules import limits as rules
from bursar.core.planning.budgets.rules import spending
from bursar.core.planning.budgets.rules.limits import Ahead, Budget, Status
from bursar.core.planning.commitments import service as commitments
from bursar.core.planning.commitments.service import Claim, Paid
from bursar.core.planning.forecasts import service as forecasts
from bursar.core.planning.forecasts.rules import whatif
from bursar.core.planning.forecasts.rules.whatif import Change
from bursar.core.planning.forecasts.service import Run, Values
from bursar.core.planning.series import rules as series_rules
from bursar.core.planning.series import service as series
from bursar.core.planning.series.service import Decided, Facts, Source
from bursar.infra.db import Tx
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.kernel.period import Grain, Period

_INSIDE = frozenset({"series:read", "forecast:read", "ledger:read", "party:read"})


def inside(actor: Actor) -> Actor:
    """Return the actor with the rights of what budgets read; the right to read budgets was asked for before."""
    return replace(actor, rights=_INSIDE)


@dataclass(frozen=True, slots=True)
class Means:
    """What a look at budgets in one transaction needs: the lake, what lines have paid, the instant.

    What several budgets need is read once: what is committed, what was decided about rows, what is forecast.
    """

    lake: Lake
    paid: Paid
    now: datetime
    known: dict[str, Sequence[Claim]] = field(default_factory=dict)
    decided: dict[str, tuple[date, Decided]] = field(default_factory=dict)
    runs: dict[str, Sequence[Run]] = field(default_factory=dict)
    predicted: dict[UUID, Sequence[Values]] = field(default_factory=dict)

    async def claims(self, tx: Tx, actor: Actor, facts: Facts) -> Sequence[Claim]:
        """Return what is committed over a source."""
        name = facts.source.name
        if name not in self.known:
            self.known[name] = await commitments.claims(
                tx, actor, lake=self.lake, source=facts.source, sums=facts.sums, paid=self.paid, today=self.now.date()
            )
        return self.known[name]

    async def newest(self, tx: Tx, actor: Actor, one: Budget) -> list[Run]:
        """Return the newest runs of a budget's source and currency."""
        if one.source not in self.runs:
            self.runs[one.source] = await forecasts.newest(tx, actor, source=one.source)
        return [run for run in self.runs[one.source] if run.currency == one.amount.currency]

    async def values(self, tx: Tx, actor: Actor, run: Run) -> Sequence[Values]:
        """Return what a run predicted for every series."""
        if run.id not in self.predicted:
            self.predicted[run.id] = await forecasts.values_of(tx, actor, run=run.id)
        return self.predicted[run.id]


async def status(
    tx: Tx, asking: Actor, one: Budget, *, means: Means, day: date | None = None, change: Change | None = None
) -> Status:
    """Say where a budget stands in the period of ``day``, today's by default; the caller has the right to it."""
    actor, lake, today = inside(asking), means.lake, means.now.date()
    source, currency = series.SOURCES[one.source], one.amount.currency
    periods = rules.periods_until(one, day or today)
    current = periods[-1]
    facts = await series.facts(tx, actor, lake=lake, source=one.source)
    mine = facts.sums.filter(pl.col("currency") == currency)
    known = series_rules.complete_until(mine, today)[0] if mine.height else None
    since = min(periods[0].start, (known or current.start) - timedelta(days=rules.SHARE_DAYS))
    asked, lines = await series.rows_of(
        tx, actor, lake=lake, source=source, names=one.filter, since=since, kept=means.decided
    )
    sums = (
        spending.summed(source, facts.sums, one.filter)
        if lines is None
        else await asyncio.to_thread(spending.scanned, asked, lines, one.filter)
    )
    spent = [spending.spent(sums, currency, period) for period in periods[:-1]]
    may = rules.allowed(one, spent)
    committed = commitments.counted(
        await means.claims(tx, actor, facts),
        one.filter,
        currency,
        current,
        today=today,
        seen=spending.last_day(sums, currency),
    )
    return rules.standing(
        one,
        current,
        may=may,
        actual=spending.spent(sums, currency, current),
        complete=spending.spent(sums, currency, current, until=known),
        committed=committed,
        known=known,
        ahead=await _ahead(tx, actor, means, one, asked, current, known, lines, facts.sums, change),
        others=spending.others(sums, currency, current),
    )


async def _ahead(
    tx: Tx,
    actor: Actor,
    means: Means,
    one: Budget,
    source: Source,
    period: Period,
    known: date | None,
    lines: pl.LazyFrame | None,
    sums: pl.DataFrame,
    change: Change | None,
) -> Ahead | None:
    """Forecast from the first day not known to the end of the period; None when nothing was forecast yet."""
    runs = {run.grain: run for run in await means.newest(tx, actor, one)}
    ordered = [runs[grain] for grain in (Grain.DAY, Grain.WEEK, Grain.MONTH) if grain in runs]
    if known is None or not ordered:
        return None
    shares = await _shares(one, source, known, lines, sums)
    total = Ahead()
    after = max(known, period.start - timedelta(days=1))
    for run in ordered:
        if after >= period.end - timedelta(days=1):
            break
        values = await means.values(tx, actor, run)
        if change is not None:
            values = whatif.changed(values, run.starts, change)
        leaves = _leaves(values, source, one.filter, shares)
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


def _leaves(
    values: Sequence[Values],
    source: Source,
    filter_: Mapping[str, Sequence[str]],
    shares: Mapping[str, Decimal] | None,
) -> list[tuple[Values, Decimal]]:
    """Return the forecasts that count: the one node that is the whole filter, or the leaves that match it."""
    if shares is None:
        whole = spending.node_of(source, filter_)
        exact = [one for one in values if (one.level, one.key) == whole]
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
