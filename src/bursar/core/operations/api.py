"""Health, metrics and performance over HTTP."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import Query
from starlette.responses import JSONResponse, Response

from bursar.core.operations import rules, service
from bursar.core.operations.rules import Check, Standing
from bursar.infra.clock import utc_now
from bursar.infra.metrics import METRICS, Metrics
from bursar.infra.web import PUBLIC, SIGNED_IN, As, Here, Out, Router, TheDb, router


class AliveOut(Out):
    """The process answers."""

    ok: bool


class ReadyOut(Out):
    """Whether this process should be sent requests; the parts that are not well, by name."""

    ready: bool
    failing: list[str]


class CheckOut(Out):
    """One part of the server."""

    name: str
    ok: bool
    detail: str


class HealthOut(Out):
    """The server in detail."""

    ready: bool
    version: str
    checks: list[CheckOut]


class StandingOut(Out):
    """How an objective or a series stands; null where nothing was measured."""

    count: int
    within: float | None
    mean_ms: float | None
    p50_ms: float | None
    p99_ms: float | None
    failures: int
    met: bool | None


class WorstOut(Out):
    """A series (route, cache, model) that breaks the budget often."""

    name: str
    standing: StandingOut


class ObjectiveOut(Out):
    """One recorded objective and how the period stands against it."""

    name: str
    about: str
    budget: float
    unit: str
    share: float
    standing: StandingOut
    worst: list[WorstOut]


class PerformanceOut(Out):
    """Every objective over the period."""

    hours: int
    met: bool | None
    objectives: list[ObjectiveOut]


def _standing(standing: Standing) -> StandingOut:
    return StandingOut(**{name: getattr(standing, name) for name in StandingOut.model_fields})


def _reported(each: service.Reported) -> ObjectiveOut:
    objective = each.objective
    return ObjectiveOut(
        name=objective.name,
        about=objective.about,
        budget=objective.budget,
        unit=objective.unit,
        share=objective.share,
        standing=_standing(each.standing),
        worst=[WorstOut(name=name, standing=_standing(standing)) for name, standing in each.worst],
    )


_READY: dict[int | str, dict[str, Any]] = {503: {"description": "Not ready; `failing` says why.", "model": ReadyOut}}
_TEXT: dict[int | str, dict[str, Any]] = {
    200: {"description": "Prometheus text format.", "content": {"text/plain": {"schema": {"type": "string"}}}}
}


def routes(home: Path, *, more: Sequence[Callable[[], Check]] = (), metrics: Metrics = METRICS) -> Router:
    """Return the routes of operations.

    Args:
        home: Folder whose disk holds the data.
        more: Further readiness checks that answer at once.
        metrics: The process's figures.
    """
    r = router("operations", tag="Operations", about="Health of this server and its measured performance.")

    @r.get("/health/live", right=PUBLIC, limit="none")
    async def live() -> AliveOut:
        """Tell that the process answers; restart it when it does not."""
        return AliveOut(ok=True)

    @r.get("/health/ready", right=PUBLIC, limit="none", responses=_READY)
    async def ready(db: TheDb) -> Response:
        """Tell whether requests may be sent here: database, migrations and disk are well."""
        found = await service.checks(db, home, more)
        out = ReadyOut(ready=rules.ready(found), failing=[check.name for check in found if not check.ok])
        return JSONResponse(out.model_dump(), status_code=200 if out.ready else 503)

    @r.get("/health", right=SIGNED_IN)
    async def health(db: TheDb, actor: As, here: Here) -> HealthOut:
        """Show each part of the server, and what to do about one that is not well."""
        del actor  # any member may look
        found = await service.checks(db, home, more)
        shown = [CheckOut(name=check.name, ok=check.ok, detail=check.detail) for check in found]
        return HealthOut(ready=rules.ready(found), version=here.house.version, checks=shown)

    @r.get("/metrics", right="operations:read", response_class=Response, responses=_TEXT)
    async def scrape(actor: As) -> Response:
        """Return this process's metrics in Prometheus's text format."""
        return Response(service.exposed(actor, metrics), media_type="text/plain; version=0.0.4; charset=utf-8")

    @r.get("/v1/operations/performance", right="operations:read")
    async def performance(
        db: TheDb,
        actor: As,
        hours: Annotated[int, Query(ge=1, le=rules.HOURS_MAX, description="How far to look back.")] = 1,
    ) -> PerformanceOut:
        """Hold measured performance against the recorded objectives, with the series that break them most often.

        All processes of the server are included; what others measured appears within ten seconds.
        """
        await service.record(db, now=utc_now(), metrics=metrics)
        async with db.reading(actor) as tx:
            reported = await service.performance(tx, actor, hours=hours, now=utc_now())
        verdicts = [each.standing.met for each in reported if each.standing.met is not None]
        shown = [_reported(each) for each in reported]
        return PerformanceOut(hours=hours, met=all(verdicts) if verdicts else None, objectives=shown)

    return r
