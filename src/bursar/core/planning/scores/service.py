"""Use cases of the scoreboard: score what was predicted, show how models and alerts held."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from bursar.core.findings import service as findings
from bursar.core.planning.forecasts import service as forecasts
from bursar.core.planning.forecasts.rules.stored import last_day
from bursar.core.planning.forecasts.service import NO_EXTRAS, Done, Left, Progress
from bursar.core.planning.models import service as kept
from bursar.core.planning.scores import rules, store
from bursar.core.planning.scores.rules import EVERY, Line, Precision, Record
from bursar.core.planning.series import service as series
from bursar.core.planning.series.service import Hierarchy
from bursar.infra.db import Database, Tx
from bursar.infra.fleet import Fleet
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.kernel.errors import NotFound
from bursar.kernel.period import Grain
from bursar.ml.forecast.lineup import Extras

__all__ = [
    "EVERY",
    "Line",
    "Model",
    "Precision",
    "Record",
    "Use",
    "drifted",
    "live",
    "models",
    "performance",
    "precision",
    "renew",
    "score_all",
    "served",
]

LATE_DAYS = 40
"""Bills change for this long after their last day; scores of a run are made again until then."""

AGAIN_AFTER = timedelta(days=6, hours=12)
"""A run that has been scored is scored again after this, not every night."""

KIND_PREFIX = "planning."


@dataclass(frozen=True, slots=True)
class Model:
    """A model that led forecasts: by which version, of how many series in how many runs, and when."""

    id: str
    version: str
    series: int
    runs: int
    beating: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Use:
    """How much a kept training served: series of its newest run, runs, and when."""

    series: int
    runs: int
    first_at: datetime
    last_at: datetime


async def served(tx: Tx, actor: Actor) -> dict[tuple[str, int], Use]:
    """Return how much each kept training served, by name and version."""
    actor.must("model:read")
    inside = replace(actor, rights=frozenset({"forecast:read"}))
    out: dict[tuple[str, int], Use] = {}
    for run in await forecasts.runs(tx, inside):
        if run.model_version is not None:
            key = (run.model, run.model_version)
            seen = out.get(key, Use(run.series, 0, run.made_at, run.made_at))
            out[key] = Use(seen.series, seen.runs + 1, min(seen.first_at, run.made_at), max(seen.last_at, run.made_at))
    return out


async def score_all(db: Database, actor: Actor, *, lake: Lake, now: datetime, again: bool = False) -> int:
    """Score every stored run that facts now say something about; nothing is refitted.

    Opens transactions of its own, one for each run. Scoring again gives the same figures as long as the facts are the same.

    Args:
        db: The database.
        actor: Needs ``forecast:write`` and ``series:read``.
        lake: Where the facts are.
        now: Instant of scoring.
        again: Also runs that were scored within the last week.

    Returns:
        Runs scored.
    """
    actor.must("forecast:write")
    inside = replace(actor, rights=frozenset({"forecast:read", "series:read"}))
    async with db.reading(actor) as tx:
        made = await forecasts.runs(tx, inside)
        when = await store.scored_at(tx)
    trees: dict[tuple[str, Grain], dict[str, Hierarchy]] = {}
    scored = 0
    for run in made:
        at = when.get(run.id)
        if at is not None and now - at < AGAIN_AFTER and not again:
            continue
        kind = (run.source, run.grain)
        if kind not in trees:
            async with db.reading(actor) as tx:
                found = await series.hierarchies(tx, inside, lake=lake, source=run.source, grain=run.grain, now=now)
            trees[kind] = {tree.panel.currency: tree for tree in found}
        tree = trees[kind].get(run.currency)
        if tree is None or not _due(run.origin, last_day(run), tree.last_day, never=at is None or again):
            continue
        async with db.writing(actor) as tx:
            values = await forecasts.values_of(tx, inside, run=run.id)
            if values:
                actual = await asyncio.to_thread(rules.outcomes, run, values, tree)
                await store.put(tx, run.id, await asyncio.to_thread(rules.score, run, values, actual), now=now)
                scored += 1
    return scored


def _due(origin: date, end: date, known_until: date, *, never: bool) -> bool:
    """Tell whether facts cover a part of a run, and it may still change (or was never scored)."""
    return known_until >= origin and (never or known_until <= end + timedelta(days=LATE_DAYS))


async def renew(
    db: Database,
    actor: Actor,
    *,
    lake: Lake,
    now: datetime,
    grains: Sequence[Grain] = (),
    horizon: int | None = None,
    progress: Progress = forecasts.silent,
    fleet: Fleet | None = None,
    extras: Extras = NO_EXTRAS,
    leave: Callable[[Left], None] | None = None,
) -> tuple[list[Done], int]:
    """Score what is over, then forecast every series; kept models that did not hold are trained anew.

    Opens transactions of its own; what an interrupted call finished is not done again.

    Args:
        db: The database.
        actor: Needs ``forecast:read``, ``forecast:write`` and ``series:read``.
        lake: Where the facts are.
        now: Instant of the run.
        grains: Calendars; by default those of each source.
        horizon: Periods ahead; by default those of the calendar.
        progress: Awaited with series done, series in all, and what comes next.
        fleet: Where forecasts are computed.
        extras: Models of optional packages that compete too.
        leave: Called with each panel that cannot be forecast; without it the first one ends the run.

    Returns:
        One entry for each panel that is forecast, and the runs scored.
    """
    scored = await score_all(db, actor, lake=lake, now=now)
    async with db.reading(actor) as tx:
        reasons = await drifted(tx, actor)
    done = await forecasts.forecast_all(
        db,
        actor,
        lake=lake,
        now=now,
        grains=grains,
        horizon=horizon,
        progress=progress,
        fleet=fleet,
        extras=extras,
        drifted=reasons,
        leave=leave,
    )
    return done, scored


async def models(tx: Tx, actor: Actor) -> list[Model]:
    """Return the models that led forecasts, the last serving first."""
    actor.must("model:read")
    return [
        Model(row.leader, row.code_version, row.series, row.runs, row.beating, row.first_at, row.last_at)
        for row in await store.models(tx)
    ]


async def performance(tx: Tx, actor: Actor, *, model: str, source: str = "", grain: Grain | None = None) -> list[Line]:
    """Return how the forecasts led by a model held, those served by a kept model, or all with ``model`` equal to ``all``.

    Returns:
        One entry for each source, calendar and currency with scored periods; empty while nothing is over.

    Raises:
        NotFound: No such model ever served here.
    """
    actor.must("model:read")
    inside = replace(actor, rights=frozenset({"forecast:read"}))
    known = {run.id: run for run in await forecasts.runs(tx, inside)}
    if await kept.listed(tx, actor, name=model):
        scores = await store.scores(tx, source=source, grain=grain)
        return rules.lines(known, [one for one in scores if one.run in known and known[one.run].model == model])
    if model != EVERY and model not in {one.id for one in await models(tx, actor)}:
        raise NotFound("model", model)
    scores = await store.scores(tx, leader="" if model == EVERY else model, source=source, grain=grain)
    return rules.lines(known, [one for one in scores if one.run in known])


async def live(tx: Tx, *, source: str, grain: Grain, currency: str) -> Record | None:
    """Return how all scored forecasts of one kind held; None while nothing is over."""
    inside = replace(tx.actor, rights=frozenset({"forecast:read"}))
    known = {run.id for run in await forecasts.runs(tx, inside) if run.currency == currency}
    return rules.record([one for one in await store.scores(tx, source=source, grain=grain) if one.run in known])


async def drifted(tx: Tx, actor: Actor) -> dict[str, str]:
    """Return why a kept model is out of date, by its name, judged by what it really predicted."""
    actor.must("forecast:write")
    inside = replace(actor, rights=frozenset({"forecast:read"}))
    return rules.drifted(await forecasts.runs(tx, inside), await store.scores(tx))


async def precision(tx: Tx, actor: Actor) -> Sequence[Precision]:
    """Return per kind of alert how many people found real (accepted or done) and how many they dismissed."""
    actor.must("model:read")
    inside = replace(actor, rights=frozenset({"finding:read"}))
    sums: dict[str, list[int]] = {}
    for one in await findings.scoreboard(tx, inside):
        if one.kind.startswith(KIND_PREFIX):
            so_far = sums.setdefault(one.kind, [0, 0, 0])
            for at, count in enumerate((one.raised, one.accepted + one.done + one.measured, one.dismissed)):
                so_far[at] += count
    return [
        rules.precision(kind, raised=raised, real=real, dismissed=dismissed)
        for kind, (raised, real, dismissed) in sorted(sums.items())
    ]
