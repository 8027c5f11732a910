"""Use cases of forecasts: make and store those of every series, serve the newest, forecast what a caller sends."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from types import MappingProxyType
from uuid import UUID

import bursar
from bursar.core.planning.calendars import service as calendars
from bursar.core.planning.calendars.service import Planned
from bursar.core.planning.forecasts import store
from bursar.core.planning.forecasts.rules import given, stored, whatif
from bursar.core.planning.forecasts.rules.given import Answer, Given
from bursar.core.planning.forecasts.rules.stored import Run, Values, amount_of, data_hash
from bursar.core.planning.forecasts.rules.whatif import Drivers, Moved
from bursar.core.planning.models import service as models
from bursar.core.planning.models.service import Ask, Means
from bursar.core.planning.series import service as series
from bursar.core.planning.series.service import GRAINS, Hierarchy
from bursar.infra.db import Database, Tx, new_id
from bursar.infra.fleet import Fleet
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Invalid, NotFound
from bursar.kernel.period import Grain
from bursar.kernel.trace import AskedFigure
from bursar.ml.forecast.lineup import Extras

__all__ = [
    "Answer",
    "Done",
    "Drivers",
    "Given",
    "Left",
    "Moved",
    "Run",
    "Values",
    "amount_of",
    "figure",
    "forecast_all",
    "forecast_given",
    "newest",
    "of_series",
    "runs",
    "silent",
    "what_if",
]

KEEP_VALUES = timedelta(days=500)
"""How long predicted values stay; what they were scored at stays for good."""

GIVEN_AT_ONCE = 2
"""Forecasts of sent numbers computed at the same time in one process; others wait."""

NO_EXTRAS = Extras()
"""The house's own models alone."""

_POOL = ThreadPoolExecutor(GIVEN_AT_ONCE, thread_name_prefix="forecast")


@dataclass(frozen=True, slots=True)
class Done:
    """One panel after a forecast run: the run, and whether it was made now or the same data was forecast before."""

    run: Run
    made: bool


@dataclass(frozen=True, slots=True)
class Left:
    """A panel that cannot be forecast, and why; the others are."""

    source: str
    grain: Grain
    currency: str
    because: Invalid


Progress = Callable[[int, int, str], Awaitable[None]]
"""Awaited with series done, series in all, and what comes next."""


async def silent(done: int, total: int, note: str) -> None:
    """Tell nobody."""
    del done, total, note


async def forecast_all(
    db: Database,
    actor: Actor,
    *,
    lake: Lake,
    now: datetime,
    grains: Sequence[Grain] = (),
    horizon: int | None = None,
    progress: Progress = silent,
    fleet: Fleet | None = None,
    drifted: Mapping[str, str] = MappingProxyType({}),
    extras: Extras = NO_EXTRAS,
    leave: Callable[[Left], None] | None = None,
) -> list[Done]:
    """Forecast every series of the organisation and store what was predicted.

    Opens transactions of its own, one for each panel (source, calendar, currency) and for each part of a large one, so
    that an interrupted call goes on where it was: what is stored already is known by the hash of its data.

    Args:
        db: The database.
        actor: Needs ``forecast:read``, ``forecast:write`` and ``series:read``.
        lake: Where the facts are.
        now: Instant of the run; facts of yesterday and today are not used.
        grains: Calendars; by default those of each source.
        horizon: Periods ahead; by default 92 days, 26 weeks, 12 months.
        progress: Awaited with series done, series in all, and what comes next.
        fleet: Where it is computed; by default the processors of this machine.
        drifted: Why a model is out of date, by its name; it is trained anew.
        extras: Models of optional packages that compete too, on panels that they can take.
        leave: Called with each panel that cannot be forecast; without it the first one ends the run.

    Returns:
        One entry for each panel that is forecast.

    Raises:
        Invalid: The horizon is out of range, or a panel cannot be forecast.
    """
    actor.must("forecast:write")
    if horizon is not None and not 1 <= horizon <= stored.HORIZON_MAX:
        raise Invalid(f"a horizon of {horizon} periods is not between 1 and {stored.HORIZON_MAX}")
    wanted = [(source, grain) for source in series.SOURCES for grain in (grains or GRAINS[source])]
    trees: list[Hierarchy] = []
    for source, grain in wanted:
        async with db.reading(actor) as tx:
            trees += await series.hierarchies(tx, actor, lake=lake, source=source, grain=grain, now=now)
    async with db.reading(actor) as tx:
        planned = await calendars.get(tx, actor)
    out: list[Done] = []
    total, before = sum(len(tree.panel) for tree in trees), 0
    for tree in trees:
        panel = tree.panel
        note = f"{tree.source} {panel.grain} {panel.currency}"

        async def step(
            done: int, parts: int, *, before: int = before, size: int = len(panel), note: str = note
        ) -> None:
            await progress(before + size * done // parts, total, note)

        await progress(before, total, note)
        means = Means(db, actor, fleet or Fleet(), now, step)
        try:
            out.append(await _forecast(means, tree, horizon or stored.HORIZONS[panel.grain], planned, drifted, extras))
        except Invalid as refusal:
            if leave is None:
                raise
            leave(Left(tree.source, panel.grain, panel.currency, refusal))
        before += len(panel)
    await progress(total, total, "")
    return out


async def _forecast(
    means: Means, tree: Hierarchy, horizon: int, planned: Planned, drifted: Mapping[str, str], extras: Extras
) -> Done:
    """Forecast one panel outside of any transaction, then store it in one."""
    db, actor, panel = means.db, means.actor, tree.panel
    stored.check(tree)
    entering, left_out = extras.entering(len(panel), int(panel.lengths.max()))
    hash_ = await asyncio.to_thread(data_hash, tree, horizon, planned, entering)
    async with db.reading(actor) as tx:
        found = await _known(tx, tree, horizon, hash_)
    if found is not None:
        return Done(found, made=False)
    name = models.model_name(tree.source, panel.grain, panel.currency, horizon)
    calendar, told = calendars.calendar_of(planned, panel.currency)
    window = panel.starts.min().astype("datetime64[D]").astype(object), tree.last_day
    drift, version = drifted.get(name, ""), bursar.__version__
    ask = Ask(name, panel, horizon, calendar, stored.SEED, hash_, version, window, drift, entering, left_out)
    outcome = await models.forecast(means, ask)
    made = await asyncio.to_thread(stored.make, tree, outcome.result, planned)
    run = Run(
        new_id(),
        means.now,
        tree.source,
        panel.grain,
        panel.currency,
        horizon,
        made.first_day,
        tree.last_day,
        made.origin,
        len(made.values),
        hash_,
        bursar.__version__,
        stored.SEED,
        made.baseline,
        made.windows,
        made.coverage80,
        made.coverage95,
        outcome.model,
        outcome.version,
        (*outcome.notes, *left_out, *told),
    )
    async with db.writing(actor) as tx:
        fresh = await store.put(tx, run, made.values)
        await models.forget_parts(tx, actor, works=outcome.parts)
        if not fresh:
            found = await _known(tx, tree, horizon, hash_)
    return Done(run if fresh or found is None else found, made=fresh)


async def _known(tx: Tx, tree: Hierarchy, horizon: int, hash_: str) -> Run | None:
    panel = tree.panel
    return await store.known(
        tx,
        source=tree.source,
        grain=panel.grain,
        currency=panel.currency,
        horizon=horizon,
        hash_=hash_,
        version=bursar.__version__,
    )


async def forget_old(tx: Tx, actor: Actor, *, now: datetime) -> int:
    """Delete values predicted so long ago that they are scored for good, and parts nobody finished; return how many series."""
    actor.must("forecast:write")
    await models.forget_parts(tx, actor, now=now)
    return await store.forget_values(tx, made_before=now - KEEP_VALUES)


async def newest(tx: Tx, actor: Actor, *, source: str = "", grain: Grain | None = None) -> list[Run]:
    """Return the newest run of each source, calendar and currency."""
    actor.must("forecast:read")
    return await store.newest(tx, source=source, grain=grain)


async def runs(tx: Tx, actor: Actor, *, origin_after: date | None = None, limit: int = store.RUNS_MAX) -> list[Run]:
    """Return runs, newest first; with ``origin_after`` those whose first day forecast lies after it."""
    actor.must("forecast:read")
    return await store.runs(tx, ending_after=origin_after, limit=limit)


async def values_of(tx: Tx, actor: Actor, *, run: UUID) -> list[Values]:
    """Return what a run predicted for every series."""
    actor.must("forecast:read")
    return await store.values_of(tx, run)


async def of_series(tx: Tx, actor: Actor, *, id_: str, grain: Grain) -> tuple[Run, Values]:
    """Return the newest stored forecast of a series.

    Raises:
        NotFound: There is none; the series is unknown here, or was not forecast on this calendar yet.
    """
    actor.must("forecast:read")
    found = await store.of_series(tx, id_, grain=grain)
    if found is None:
        raise NotFound(f"{grain} forecast of series", id_)
    return found


def figure(run: Run, values: Values, start: date | None = None) -> AskedFigure:
    """Return what the mean of one period of a stored forecast stands for, or of all its periods."""
    facts = (("series", values.id), ("grain", run.grain.value), ("start", f"{start}" if start else ""))
    return AskedFigure("forecast", "mean", run.currency, facts)


async def forecast_given(
    actor: Actor,
    *,
    given_: Sequence[Given],
    grain: Grain,
    horizon: int,
    country: str = "",
    extras: Extras = NO_EXTRAS,
) -> list[Answer]:
    """Forecast numbers that a caller sends; nothing is stored.

    Args:
        actor: Needs ``forecast:read``.
        given_: Series with unique keys; each of one currency, they may differ.
        grain: Their calendar.
        horizon: Periods ahead.
        country: ISO 3166-1 alpha-2 code whose public holidays matter; empty for none.
        extras: Models that compete in stored forecasts; they take too long for a caller who waits, and notes say so.

    Returns:
        In the order given.

    Raises:
        Invalid: A key or instant comes twice, an amount is not finite, a series is empty, a limit on form is passed.
        TooLarge: Too many series or points.
    """
    actor.must("forecast:read")
    given.check(given_, horizon)
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_POOL, given.answer, given_, grain, horizon, country, extras.names)


async def what_if(tx: Tx, actor: Actor, *, id_: str, grain: Grain, drivers: Drivers) -> tuple[Run, list[Moved]]:
    """Scale the stored forecast of a series exactly; what is above it moves by the same amounts.

    Returns:
        The run, and the series with everything above it, the total last.

    Raises:
        NotFound: There is no stored forecast of the series.
        Invalid: A driver is out of range.
    """
    actor.must("forecast:read")
    run, values = await of_series(tx, actor, id_=id_, grain=grain)
    whatif.check(drivers, run.starts[0])
    chain = [values]
    while chain[-1].parent:
        above = await store.values_of(tx, run.id, ids=[chain[-1].parent])
        if not above:
            raise Invalid(f"the run of series {id_} is not whole", "Forecast again: `bursar forecast --all`.")
        chain.append(above[0])
    return run, whatif.moved(chain, run.starts, drivers)
