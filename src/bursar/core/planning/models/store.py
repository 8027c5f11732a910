"""All SQL of kept models."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.core.planning.models.tables import part, version
from bursar.infra.db import Tx
from bursar.ml.registry import Card

VERSIONS_MAX = 1_000
"""Most versions listed together."""

PARTS_MAX = 1_000
"""Most parts of one panel."""

_v, _p = version.c, part.c


async def line(tx: Tx, name: str) -> Sequence[Any]:
    """Return what serves and the one before it: version, place, card, artefact."""
    return await tx.all(
        sa.select(_v.version, _v.place, _v.card, _v.artefact)
        .where(tx.own(version), _v.name == name, _v.place.is_not(None))
        .order_by(_v.place)
        .limit(2)
    )


async def newest(tx: Tx, name: str) -> tuple[int, datetime] | None:
    """Return number and instant of the newest training."""
    row = await tx.one(
        sa.select(_v.version, _v.trained_at)
        .where(tx.own(version), _v.name == name)
        .order_by(_v.version.desc())
        .limit(1)
    )
    return (row.version, row.trained_at) if row else None


async def add(tx: Tx, card: Card, content: bytes) -> bool:
    """Keep a training; False when another of this number was kept meanwhile."""
    insert = pg.insert(version).values(
        org=tx.org,
        name=card.name,
        version=card.version,
        trained_at=datetime.fromisoformat(card.trained_at),
        card=json.loads(card.to_json()),
        size=len(content),
        artefact=content,
    )
    return await tx.scalar(insert.on_conflict_do_nothing().returning(_v.version)) is not None


async def arrange(tx: Tx, name: str, versions: Sequence[int]) -> None:
    """Let ``versions`` serve in this order, and forget the artefacts of all that are older than the last of them."""
    mine = sa.and_(tx.own(version), _v.name == name)
    await tx.run(sa.update(version).where(mine, _v.place.is_not(None)).values(place=None))
    for place, number in enumerate(versions):
        await tx.run(sa.update(version).where(mine, _v.version == number).values(place=place))
    newest_one = sa.select(sa.func.max(_v.version)).where(mine).scalar_subquery()
    await tx.run(sa.update(version).where(mine, _v.place.is_(None), _v.version != newest_one).values(artefact=None))


async def cards(tx: Tx, *, name: str = "") -> Sequence[Any]:
    """Return card, place, size and newest-first order of every training, of one model or all."""
    where = [tx.own(version)] + ([_v.name == name] if name else [])
    return await tx.all(
        sa.select(_v.card, _v.place, _v.size)
        .where(*where)
        .order_by(_v.trained_at.desc(), _v.name, _v.version.desc())
        .limit(VERSIONS_MAX)
    )


async def parts(tx: Tx, works: Sequence[str]) -> dict[str, bytes]:
    """Return the parts that are done."""
    rows = await tx.all(sa.select(_p.work, _p.content).where(tx.own(part), _p.work.in_(list(works))).limit(PARTS_MAX))
    return {row.work: bytes(row.content) for row in rows}


async def put_part(tx: Tx, work: str, content: bytes, *, now: datetime) -> None:
    """Keep a part aside."""
    await tx.run(pg.insert(part).values(org=tx.org, work=work, content=content, made_at=now).on_conflict_do_nothing())


async def forget_parts(tx: Tx, *, works: Sequence[str] = (), made_before: datetime | None = None) -> int:
    """Delete parts by name, or those made before an instant."""
    which = _p.made_at < made_before if made_before is not None else _p.work.in_(list(works))
    return int((await tx.run(sa.delete(part).where(tx.own(part), which))).rowcount)
