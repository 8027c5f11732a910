"""All SQL of the scoreboard."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from bursar.core.planning.forecasts.tables import run, score, value
from bursar.core.planning.scores.rules import Score
from bursar.infra.db import Tx
from bursar.kernel.period import Grain

SCORES_MAX = 200_000
"""Most score rows looked at together."""

MODELS_MAX = 1_000

_s, _r, _v = score.c, run.c, value.c
_COLUMNS = tuple(Score.__dataclass_fields__)


async def put(tx: Tx, run_id: UUID, scores: Sequence[Score], *, now: datetime) -> None:
    """Replace the scores of a run."""
    await tx.run(sa.delete(score).where(tx.own(score), _s.run == run_id))
    rows = [{"org": tx.org, "scored_at": now} | {name: getattr(one, name) for name in _COLUMNS} for one in scores]
    if rows:
        await tx.run(sa.insert(score), rows)


async def scored_at(tx: Tx) -> dict[UUID, datetime]:
    """Return when each run was last scored."""
    rows = await tx.all(
        sa.select(_s.run, sa.func.max(_s.scored_at).label("at")).where(tx.own(score)).group_by(_s.run).limit(SCORES_MAX)
    )
    return {row.run: row.at for row in rows}


async def scores(tx: Tx, *, leader: str = "", source: str = "", grain: Grain | None = None) -> list[Score]:
    """Return scores, of one leading model or all, of one source and calendar or all; newest runs first."""
    where = [tx.own(score)]
    if leader:
        where.append(_s.leader == leader)
    if source:
        where.append(_r.source == source)
    if grain is not None:
        where.append(_r.grain == grain.value)
    rows = await tx.all(
        sa.select(score)
        .join(run, sa.and_(_r.org == _s.org, _r.id == _s.run))
        .where(*where)
        .order_by(_r.made_at.desc(), _s.run, _s.level, _s.leader, _s.block)
        .limit(SCORES_MAX)
    )
    return [Score(**{name: getattr(row, name) for name in _COLUMNS}) for row in rows]


async def models(tx: Tx) -> Sequence[Any]:
    """Return who led forecasts: leader, version, series, runs, beating (series), first and last instant of serving."""
    return await tx.all(
        sa.select(
            _v.leader,
            _r.code_version,
            sa.func.count().label("series"),
            sa.func.count(sa.distinct(_v.run)).label("runs"),
            sa.func.sum(sa.cast(_v.beats_baseline, sa.Integer)).label("beating"),
            sa.func.min(_r.made_at).label("first_at"),
            sa.func.max(_r.made_at).label("last_at"),
        )
        .join(run, sa.and_(_r.org == _v.org, _r.id == _v.run))
        .where(tx.own(value))
        .group_by(_v.leader, _r.code_version)
        .order_by(sa.desc("last_at"), sa.desc("series"), _v.leader)
        .limit(MODELS_MAX)
    )
