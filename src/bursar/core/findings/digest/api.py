"""Who wants a digest, over HTTP."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from bursar.core.findings.digest import service
from bursar.core.findings.digest.rules import Every
from bursar.infra.clock import utc_now
from bursar.infra.web import As, In, Out, TheDb, router
from bursar.kernel.errors import Invalid

r = router("digest", tag="Findings", about="A summary of new findings by mail, or to the operator's channels.")


class DigestOut(Out):
    """How often a summary of new findings comes; null for never."""

    every: Annotated[Every | None, Field(examples=["day"])]


class DigestIn(In):
    """How often a summary of new findings should come; null for never."""

    every: Annotated[Every | None, Field(examples=["week"])]


@r.get("/v1/digest", right="finding:read")
async def show_digest(db: TheDb, actor: As) -> DigestOut:
    """Show how often the caller gets a digest by mail."""
    async with db.reading(actor) as tx:
        return DigestOut(every=await service.wished(tx, actor))


@r.put("/v1/digest", right="finding:read", refusals=[Invalid])
async def want_digest(body: DigestIn, db: TheDb, actor: As) -> DigestOut:
    """Set how often the caller gets a digest by mail; a week is told on Mondays."""
    return await _set(db, actor, body.every, now=utc_now(), alerts=False)


@r.get("/v1/digest/alerts", right="settings:read")
async def show_alert_digest(db: TheDb, actor: As) -> DigestOut:
    """Show how often the operator's channels get a digest of this organisation."""
    async with db.reading(actor) as tx:
        return DigestOut(every=await service.wished(tx, actor, alerts=True))


@r.put("/v1/digest/alerts", right="settings:write")
async def want_alert_digest(body: DigestIn, db: TheDb, actor: As) -> DigestOut:
    """Set how often the operator's channels (`BURSAR_ALERT_URLS`) get a digest of this organisation."""
    return await _set(db, actor, body.every, now=utc_now(), alerts=True)


async def _set(db: TheDb, actor: As, every: Every | None, *, now: datetime, alerts: bool) -> DigestOut:
    async with db.writing(actor) as tx:
        await service.wish(tx, actor, every=every, now=now, alerts=alerts)
    return DigestOut(every=every)
