"""Use cases of kept models: forecast with the one that serves, train anew when it is time, show what is kept."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import numpy as np
import structlog

from bursar.core.planning.models import rules, store
from bursar.core.planning.models.rules import Ask, Outcome, Parts, model_name
from bursar.infra.cache import Cache
from bursar.infra.db import Database, Tx
from bursar.infra.fleet import Fleet
from bursar.kernel.actor import Actor
from bursar.ml import registry
from bursar.ml.forecast import fleet as work
from bursar.ml.forecast.fleet import Task
from bursar.ml.forecast.keeping import Kept, joined
from bursar.ml.forecast.panel import ForecastResult
from bursar.ml.registry import Card, Served

__all__ = [
    "Ask",
    "Listed",
    "Means",
    "Outcome",
    "Step",
    "forecast",
    "forget_parts",
    "keep",
    "listed",
    "model_name",
    "serving",
]

CACHED_S = 600.0
CACHED_MAX = 8
"""Models kept read in the process."""

PARTS_KEPT = timedelta(days=2)
"""A part of a panel that was never finished is forgotten after this."""

ERROR_CHARS_MAX = 200
"""Of an error that is shown in a note."""

_SERVING: Cache[tuple[UUID, str], Served] = Cache("kept models", ttl_s=CACHED_S, size_max=CACHED_MAX)

Step = Callable[[int, int], Awaitable[None]]
"""Awaited with parts done and parts in all."""

State = Literal["serving", "previous", "kept"]
STATES: dict[int | None, State] = {0: "serving", 1: "previous", None: "kept"}


@dataclass(frozen=True, slots=True)
class Listed:
    """A training: its card, ``serving``, ``previous`` or ``kept``, and the bytes of its artefact."""

    card: Card
    state: State
    size: int


async def serving(tx: Tx, actor: Actor, *, name: str) -> Served:
    """Return what serves under a name: the promoted training, else the one before it, else nothing, with the reasons.

    What was read stays in the process for :data:`CACHED_S`.
    """
    actor.must("forecast:read")
    key = (tx.org, name)
    found = _SERVING.get(key)
    if found is None:
        rows = await store.line(tx, name)
        shelf = rules.shelf_of(name, rows)
        found = await asyncio.to_thread(registry.serve, shelf, name, rules.parts_from)
        _SERVING.put(key, found)
    return found


def forget_cached() -> None:
    """Read what serves anew from the database at the next question."""
    _SERVING.clear()


async def keep(tx: Tx, actor: Actor, *, card: Card, content: bytes, replaces: bool = True) -> bool:
    """Keep a training, and let it serve if it beats its baseline.

    Args:
        tx: Writing transaction.
        actor: Needs ``forecast:write``.
        card: Its card.
        content: Its artefact.
        replaces: Whether it may take the place of the one that serves.

    Returns:
        Whether it serves now.

    Raises:
        Invalid: The card is not that of the artefact.
        TooLarge: The artefact is.
    """
    actor.must("forecast:write")
    shelf = rules.shelf_of(card.name, await store.line(tx, card.name))
    registry.save(shelf, card, content)
    if not await store.add(tx, card, content):
        return False
    promoted = replaces and registry.promote(shelf, card, metric=rules.METRIC)
    await store.arrange(tx, card.name, rules.line_of(shelf, card.name))
    tx.after_commit(lambda: _SERVING.drop((tx.org, card.name)))
    return promoted


async def listed(tx: Tx, actor: Actor, *, name: str = "") -> list[Listed]:
    """Return every training, of one model or all, the newest first."""
    actor.must("model:read")
    return [Listed(rules.card_from(row.card), STATES[row.place], row.size) for row in await store.cards(tx, name=name)]


@dataclass(frozen=True, slots=True)
class Means:
    """What a forecast run needs besides the question.

    Attributes:
        db: The database; transactions are opened as needed.
        actor: Needs ``forecast:read`` and ``forecast:write``.
        fleet: Where parts are computed.
        now: Instant of the run.
        step: Awaited as parts are done.
    """

    db: Database
    actor: Actor
    fleet: Fleet
    now: datetime
    step: Step


async def forecast(means: Means, ask: Ask) -> Outcome:
    """Forecast a panel with the training that serves; train anew first when that is due.

    The chain is: the new training if one is due and may serve, the one that serves, the one before it, the baseline;
    the notes of the outcome say which and why.
    """
    means.actor.must("forecast:write")
    async with means.db.reading(means.actor) as tx:
        served = await serving(tx, means.actor, name=ask.name)
        newest = await store.newest(tx, ask.name)
    parts: Parts | None = served.model
    tried_at = newest[1] if newest else None
    why = rules.why_train(ask, served.card, tried_at, parts.keys if parts else (), means.now)
    notes = list(served.reasons) if newest else []
    if why:
        try:
            found, said = await _trained(means, ask, served, why)
        except Exception as error:
            notes.append(_broken(ask, f"the training that was due ({why})", error))
        else:
            notes.append(said)
            if found is not None:
                return replace(found, notes=(*notes, *found.result.told))
    if parts is not None and served.card is not None:
        try:
            return await _served(means, ask, parts, served.card, notes)
        except Exception as error:
            notes.append(_broken(ask, f"version {served.card.version}", error))
    made, works = await _computed(means, ask, [_task(ask, rows, baseline=True) for rows in work.cut(ask.panel)])
    return Outcome(_whole(ask, made), "", None, (*notes, "the baseline serves"), works)


def _broken(ask: Ask, what: str, error: Exception) -> str:
    structlog.get_logger("planning").error("a model failed", model=ask.name, what=what, exc_info=error)
    return f"{what} failed: {type(error).__name__}: {str(error)[:ERROR_CHARS_MAX]}"


async def _trained(means: Means, ask: Ask, served: Served, why: str) -> tuple[Outcome | None, str]:
    """Train and keep; return the outcome, None when the one that serves is better, and what to say about it."""
    old = served.card
    made, works = await _computed(means, ask, [_task(ask, rows) for rows in work.cut(ask.panel)])
    result = _whole(ask, made)
    if not result.origins or np.isnan(result.error).all():
        return Outcome(result, "", None, (), works), "the history is too short to try a model, so none is kept"
    content = await asyncio.to_thread(rules.artefact, made)
    held, more = await _contest(means, ask, result, served.model)
    async with means.db.writing(means.actor) as tx:
        newest = await store.newest(tx, ask.name)
        card = rules.card_of(ask, result, content, version=newest[0] + 1 if newest else 1, now=means.now)
        replaces = rules.may_replace(card, old, held, drift=ask.drift)
        promoted = await keep(tx, means.actor, card=card, content=content, replaces=replaces)
    figure, base = card.metrics[rules.METRIC], card.baseline_metrics[rules.METRIC]
    compared = f"MASE {figure:.3f} against {base:.3f} of {card.baseline}"
    if held is not None and old is not None:
        compared += f", and {held.new:.3f} against {held.old:.3f} of version {old.version} over {held.periods} periods"
    if promoted:
        said = f"version {card.version} was trained and serves ({why}; {compared})"
        return Outcome(result, card.name, card.version, (), works + more), said
    if old is None:
        return Outcome(result, "", None, (), works), f"version {card.version} was trained and is not better: {compared}"
    return None, f"version {card.version} was trained and does not replace version {old.version}: {compared}"


async def _contest(
    means: Means, ask: Ask, result: ForecastResult, parts: Parts | None
) -> tuple[rules.Contest | None, tuple[str, ...]]:
    """Let what serves forecast from the last backtest origin of a new training; return both errors, and parts kept aside."""
    then = None if parts is None or np.isnat(result.tried_after) else rules.before(ask.panel, result.tried_after)
    if parts is None or then is None or ask.drift:
        return None, ()
    asked = replace(ask, panel=then)
    cut = [(kept, rows) for kept, rows in zip(parts.packed, work.cut(then, parts.kept), strict=True) if rows]
    try:
        made, works = await _computed(
            replace(means, step=_unseen), asked, [_task(asked, rows, kept=kept) for kept, rows in cut]
        )
    except Exception as error:  # it could not have served either
        _broken(ask, "the model that serves", error)
        return None, ()
    seen = max(one.result.last for one in parts.kept)
    return rules.contest(ask, result, _whole(asked, made), seen=seen), works


async def _unseen(_done: int, _total: int) -> None:
    """Tell nobody."""


async def _served(means: Means, ask: Ask, parts: Parts, card: Card, notes: Sequence[str]) -> Outcome:
    """Serve a kept training."""
    cut = [(kept, rows) for kept, rows in zip(parts.packed, work.cut(ask.panel, parts.kept), strict=True) if rows]
    made, works = await _computed(means, ask, [_task(ask, rows, kept=kept) for kept, rows in cut])
    said = f"version {card.version} serves, trained on {card.window[0]} to {card.window[1]}"
    result = _whole(ask, made)
    return Outcome(result, card.name, card.version, (*notes, said, *result.told), works)


def _task(ask: Ask, rows: Sequence[int], *, kept: bytes = b"", baseline: bool = False) -> Task:
    return Task(work.chosen(ask.panel, rows), ask.horizon, ask.calendar, ask.seed, kept, baseline, ask.extras)


def _whole(ask: Ask, made: Sequence[bytes]) -> ForecastResult:
    return joined([Kept.unpack(one).result for one in made], ask.panel.keys)


async def _computed(means: Means, ask: Ask, tasks: Sequence[Task]) -> tuple[list[bytes], tuple[str, ...]]:
    """Do every task; parts that an interrupted run left are not done again. One part alone is not kept aside."""
    contents = [await asyncio.to_thread(one.pack) for one in tasks]
    code = ask.code_version.encode()
    works = tuple(registry.sha256(code + content) for content in contents) if len(tasks) > 1 else ()
    done: dict[int, bytes] = {}
    if works:
        async with means.db.reading(means.actor) as tx:
            known = await store.parts(tx, works)
        done = {at: known[name] for at, name in enumerate(works) if name in known}
    missing = [at for at in range(len(tasks)) if at not in done]
    await means.step(len(done), len(tasks))
    async for place, content in means.fleet.run(work.work, [contents[at] for at in missing]):
        done[missing[place]] = content
        if works:
            async with means.db.writing(means.actor) as tx:
                await store.put_part(tx, works[missing[place]], content, now=means.now)
        await means.step(len(done), len(tasks))
    return [done[at] for at in range(len(tasks))], works


async def forget_parts(tx: Tx, actor: Actor, *, works: Sequence[str] = (), now: datetime | None = None) -> int:
    """Delete parts by name, or those that were never finished."""
    actor.must("forecast:write")
    return await store.forget_parts(tx, works=works, made_before=None if now is None else now - PARTS_KEPT)
