"""Use cases of series: build the hierarchies, list and search them."""

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from uuid import UUID

import polars as pl

from bursar.core.planning.series import rules
from bursar.core.planning.series.rules import GRAINS, SAID, SOURCES, Hierarchy, Source
from bursar.infra.cache import Cache
from bursar.infra.db import Tx
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Invalid, NotFound
from bursar.kernel.period import Grain, add_months
from bursar.kernel.series import Days, Floats
from bursar.kernel.trace import SpentFigure

__all__ = [
    "GRAINS",
    "SAID",
    "SOURCES",
    "Decided",
    "Facts",
    "Found",
    "Hierarchy",
    "Source",
    "decided",
    "facts",
    "find",
    "hierarchies",
    "listed",
]

CACHED_S = 900.0
CACHED_MAX = 8
"""Groupings kept in the process; each is known by the organisation and its set of visible files."""

CACHED_ROWS_MAX = 5_000_000
"""A grouping with more rows is not kept."""

SEARCH_CHARS_MAX = 200


@dataclass(frozen=True, slots=True)
class Facts:
    """One source grouped by day.

    Attributes:
        source: Which.
        sums: Of :func:`~bursar.core.planning.series.rules.daily_sums`.
        version: Names the set of visible files; changes with every import and revert.
    """

    source: Source
    sums: pl.DataFrame
    version: str


@dataclass(frozen=True, slots=True)
class Found:
    """One series: where it stands in the tree and its newest level.

    ``recent`` is the sum of its last 28 days (4 weeks, 1 month), major units.
    """

    id: str
    source: str
    key: str
    level: str
    parent: str
    currency: str
    grain: Grain
    first: date
    last: date
    periods: int
    recent: float


_GROUPED: Cache[tuple[UUID, str, str, str], Facts] = Cache("planning series", ttl_s=CACHED_S, size_max=CACHED_MAX)
_RECENT = {Grain.DAY: 28, Grain.WEEK: 4, Grain.MONTH: 1}


def source_named(name: str) -> Source:
    """Return a source.

    Raises:
        Invalid: There is none of this name.
    """
    if name not in SOURCES:
        raise Invalid(f"{name[:40]!r} is no source of series.", f"Use {', '.join(SOURCES)}.")
    return SOURCES[name]


async def facts(tx: Tx, actor: Actor, *, lake: Lake, source: str) -> Facts:
    """Group one source by its levels and days, off the event loop; the same set of files is grouped once."""
    actor.must("series:read")
    chosen = source_named(source)
    files = await lake.files(tx, chosen.schema.name)
    version = hashlib.sha256("\n".join(sorted(str(one.id) for one in files)).encode()).hexdigest()
    key = (tx.org, chosen.name, version, str(lake.root))
    known = _GROUPED.get(key)
    if known is not None:
        return known
    lines = await lake.scan(tx, chosen.schema)
    made = Facts(chosen, await asyncio.to_thread(rules.daily_sums, chosen, lines), version)
    if made.sums.height <= CACHED_ROWS_MAX:
        _GROUPED.put(key, made)
    return made


Decided = tuple[Source, pl.LazyFrame] | None
"""A source's rows with what was decided about them, and the source that asks for it; None where nothing was."""


async def decided(tx: Tx, actor: Actor, *, lake: Lake, source: Source, since: date) -> Decided:
    """Return a source's rows with what people, rules and the model decided about them, and the source that asks for it.

    Args:
        tx: Any transaction.
        actor: Needs ``series:read``.
        lake: The lake, with what is kept beside its rows.
        source: Whose rows.
        since: First day that matters; older rows are left out.

    Returns:
        None when no decision differs from what the files say.
    """
    actor.must("series:read")
    look = lake.beside.get(source.schema.name)
    lines = await look(tx, await lake.scan(tx, source.schema), since) if look else None
    if lines is None:
        return None
    own = {name: column for name in SAID if (column := source.column(name))}
    return rules.decided(source), lines.with_columns(
        pl.coalesce("said_amount", source.amount).cast(source.schema.columns[source.amount]).alias(source.amount),
        *(pl.coalesce(SAID[name], column.column).alias(SAID[name]) for name, column in own.items()),
    )


async def rows_of(
    tx: Tx,
    actor: Actor,
    *,
    lake: Lake,
    source: Source,
    names: Iterable[str],
    since: date,
    kept: dict[str, tuple[date, Decided]],
) -> tuple[Source, pl.LazyFrame | None]:
    """Return the rows behind a filter that the series cannot answer, and the source that asks for them.

    A category or department is the one decided on; where nothing was decided, it is what the file says.

    Args:
        tx: Any transaction.
        actor: Needs ``series:read``.
        lake: The lake.
        source: Whose rows.
        names: Levels and filters that are asked for.
        since: First day that matters; older rows may be left out.
        kept: By source, what was decided from a day on, as this transaction has read it; filled here.

    Returns:
        The source itself and None where its series answer the filter.
    """
    wanted = set(names)
    if not wanted.isdisjoint(SAID):
        if since < kept.get(source.name, (date.max,))[0]:
            kept[source.name] = since, await decided(tx, actor, lake=lake, source=source, since=since)
        if found := kept[source.name][1]:
            return found[0], source.rows(found[1])
    if wanted <= set(source.levels):
        return source, None
    return source, source.rows(await lake.scan(tx, source.schema))


async def hierarchies(tx: Tx, actor: Actor, *, lake: Lake, source: str, grain: Grain, now: datetime) -> list[Hierarchy]:
    """Return the series of one source on one calendar, a hierarchy per currency, the one of most series first."""
    actor.must("series:read")
    if grain is Grain.HOUR:
        raise Invalid("Series of stored facts are daily or coarser.", "Use day, week or month.")
    grouped = await facts(tx, actor, lake=lake, source=source)
    if grouped.sums.is_empty():
        return []
    return await asyncio.to_thread(rules.hierarchies, grouped.source, grouped.sums, grain=grain, today=now.date())


async def listed(
    tx: Tx, actor: Actor, *, lake: Lake, source: str, grain: Grain, now: datetime, search: str = "", level: str = ""
) -> list[Found]:
    """Return the series of a source whose key holds every word of ``search``, parents before children.

    Args:
        tx: Any transaction.
        actor: Needs ``series:read``.
        lake: Where the facts are.
        source: ``cost``, ``payment`` or ``bank``; empty for all.
        grain: Calendar.
        now: Instant of asking.
        search: Words, in any order; or the id of a series.
        level: Only this level, such as ``service``.
    """
    actor.must("series:read")
    if len(search) > SEARCH_CHARS_MAX:
        raise Invalid(f"The search is over {SEARCH_CHARS_MAX} characters.")
    out: list[Found] = []
    for name in [source] if source else list(SOURCES):
        for tree in await hierarchies(tx, actor, lake=lake, source=name, grain=grain, now=now):
            pairs = list(zip(tree.ids, tree.panel.keys, strict=True))
            out += [_found(tree, row) for row in rules.chosen(pairs, search) if level in {"", tree.levels[row]}]
    return out


def _found(tree: Hierarchy, row: int) -> Found:
    values, times = tree.panel.series(row), tree.panel.times(row)
    parent = int(tree.parent[row])
    return Found(
        tree.ids[row],
        tree.source,
        tree.panel.keys[row],
        tree.levels[row],
        tree.ids[parent] if parent >= 0 else "",
        tree.panel.currency,
        tree.panel.grain,
        times[0].astype("datetime64[D]").astype(object),
        times[-1].astype("datetime64[D]").astype(object),
        len(values),
        float(values[-_RECENT[tree.panel.grain] :].sum()),
    )


async def find(
    tx: Tx, actor: Actor, *, lake: Lake, id_: str, grain: Grain, now: datetime
) -> tuple[Found, Days, Floats]:
    """Return one series with its period starts and amounts, major units.

    Raises:
        NotFound: No series of this organisation has the id on this calendar.
    """
    actor.must("series:read")
    for name in SOURCES:
        for tree in await hierarchies(tx, actor, lake=lake, source=name, grain=grain, now=now):
            row = tree.row(id_)
            if row is not None:
                return _found(tree, row), tree.panel.times(row), tree.panel.series(row)
    raise NotFound("series", id_)


PLACES = 4
"""Decimal places that amounts of a series are told with."""

_DAYS = {Grain.DAY: 1, Grain.WEEK: 7}


def figure(found: Found, start: date) -> SpentFigure:
    """Return what the amount of one period of a series stands for."""
    source = SOURCES[found.source]
    values = zip(source.levels, rules.parts_of(found.key, len(source.levels)), strict=False)
    end = add_months(start, 1) if found.grain is Grain.MONTH else start + timedelta(days=_DAYS[found.grain])
    return SpentFigure(found.source, start, end, found.currency, PLACES, tuple(values))


def recent_figure(found: Found) -> SpentFigure:
    """Return what the newest level of a series stands for."""
    back = timedelta(days=_DAYS.get(found.grain, 0) * (_RECENT[found.grain] - 1))
    newest = figure(found, found.last)
    return replace(newest, start=newest.start - back, places=2)


def row_names(source: Source) -> Sequence[str]:
    """Return what a budget may filter by."""
    return source.names
