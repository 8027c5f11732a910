"""All SQL of forecasts."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.dialects.postgresql import distinct_on

from bursar.core.planning.forecasts.rules.stored import Run, Values
from bursar.core.planning.forecasts.tables import run, value
from bursar.infra.db import Tx
from bursar.kernel.period import Grain

RUNS_MAX = 5_000
"""Most runs looked at together."""

SERIES_MAX = 100_000
"""Most series of one run."""

_r, _v = run.c, value.c
_COLUMNS = tuple(Values.__dataclass_fields__)


def _run_from(row: Any) -> Run:
    facts = {name: getattr(row, name) for name in Run.__dataclass_fields__}
    return Run(**(facts | {"grain": Grain(row.grain), "notes": tuple(row.notes)}))


def _values_from(row: Any) -> Values:
    return Values(**{name: getattr(row, name) for name in _COLUMNS})


async def put(tx: Tx, made: Run, values: Sequence[Values]) -> bool:
    """Store a run with its values; False when the same data was forecast by the same code before."""
    facts = {name: getattr(made, name) for name in Run.__dataclass_fields__} | {
        "grain": made.grain.value,
        "notes": list(made.notes),
    }
    insert = pg.insert(run).values(org=tx.org, **facts).on_conflict_do_nothing(constraint="forecast_run_once")
    if await tx.scalar(insert.returning(_r.id)) is None:
        return False
    await tx.copy(value, ("run", *_COLUMNS), ([made.id, *(getattr(one, name) for name in _COLUMNS)] for one in values))
    return True


async def known(
    tx: Tx, *, source: str, grain: Grain, currency: str, horizon: int, hash_: str, version: str
) -> Run | None:
    """Return the run of the same data by the same code, if there is one."""
    row = await tx.one(
        sa.select(run).where(
            tx.own(run),
            _r.source == source,
            _r.grain == grain.value,
            _r.currency == currency,
            _r.horizon == horizon,
            _r.data_hash == hash_,
            _r.code_version == version,
        )
    )
    return _run_from(row) if row else None


async def newest(tx: Tx, *, source: str = "", grain: Grain | None = None) -> list[Run]:
    """Return the newest run of each source, calendar and currency."""
    where = [tx.own(run)]
    if source:
        where.append(_r.source == source)
    if grain is not None:
        where.append(_r.grain == grain.value)
    rows = await tx.all(
        sa.select(run)
        .ext(distinct_on(_r.source, _r.grain, _r.currency))
        .where(*where)
        .order_by(_r.source, _r.grain, _r.currency, _r.origin.desc(), _r.made_at.desc(), _r.id.desc())
        .limit(RUNS_MAX)
    )
    return [_run_from(row) for row in rows]


async def runs(tx: Tx, *, ending_after: date | None = None, limit: int = RUNS_MAX) -> list[Run]:
    """Return runs, newest first; with ``ending_after`` those whose origin lies after it."""
    where = [tx.own(run)]
    if ending_after is not None:
        where.append(_r.origin > ending_after)
    rows = await tx.all(sa.select(run).where(*where).order_by(_r.made_at.desc(), _r.id.desc()).limit(limit))
    return [_run_from(row) for row in rows]


async def values_of(tx: Tx, run_id: UUID, *, ids: Sequence[str] | None = None) -> list[Values]:
    """Return what a run predicted, for all series or some."""
    where = [tx.own(value), _v.run == run_id]
    if ids is not None:
        where.append(_v.id.in_(list(ids)))
    rows = await tx.all(sa.select(value).where(*where).order_by(_v.level, _v.key, _v.id).limit(SERIES_MAX))
    return [_values_from(row) for row in rows]


async def of_series(tx: Tx, id_: str, *, grain: Grain) -> tuple[Run, Values] | None:
    """Return the newest forecast of one series on a calendar."""
    row = await tx.one(
        sa.select(_v.run)
        .join(run, sa.and_(_r.org == _v.org, _r.id == _v.run))
        .where(tx.own(value), _v.id == id_, _r.grain == grain.value)
        .order_by(_r.origin.desc(), _r.made_at.desc(), _r.id.desc())
        .limit(1)
    )
    if row is None:
        return None
    made = await tx.one(sa.select(run).where(tx.own(run), _r.id == row.run))
    [found] = await values_of(tx, row.run, ids=[id_])
    return _run_from(made), found


async def forget_values(tx: Tx, *, made_before: datetime) -> int:
    """Delete the values of runs made before an instant, except the newest of each kind; runs and scores stay."""
    kept = sa.select(_r.id).ext(distinct_on(_r.source, _r.grain, _r.currency)).where(tx.own(run))
    kept = kept.order_by(_r.source, _r.grain, _r.currency, _r.origin.desc(), _r.made_at.desc(), _r.id.desc())
    old = sa.select(_r.id).where(tx.own(run), _r.made_at < made_before, _r.id.not_in(kept))
    return int((await tx.run(sa.delete(value).where(tx.own(value), _v.run.in_(old)))).rowcount)
