"""Series over HTTP."""

from datetime import date
from typing import Annotated, Literal

from fastapi import Query
from pydantic import Field

from bursar.core.planning.series import service
from bursar.core.planning.series.service import Found
from bursar.infra.clock import utc_now
from bursar.infra.lake import Lake
from bursar.infra.traces import Tracer
from bursar.infra.web import As, Listed, Out, Page, Router, TheDb, Traces, router
from bursar.kernel.period import Grain

SourceName = Annotated[
    Literal["cost", "payment", "bank"] | None, Query(description="Only bills, payments or bank outflow.")
]
GrainName = Annotated[Literal["day", "week", "month"], Query(description="Calendar.")]


class SeriesOut(Out):
    """One series: where it stands in the tree, and what it cost recently (28 days, 4 weeks or 1 month)."""

    key: str
    name: str
    source: str
    level: str
    parent: str | None
    currency: str
    grain: Grain
    first: date
    last: date
    periods: int
    recent: str
    trace: Annotated[str, Field(description="Of `recent`.")]


def out(found: Found, traces: Tracer) -> SeriesOut:
    """Translate a series for the wire."""
    return SeriesOut(
        key=found.id,
        name=found.key,
        source=found.source,
        level=found.level,
        parent=found.parent or None,
        currency=found.currency,
        grain=found.grain,
        first=found.first,
        last=found.last,
        periods=found.periods,
        recent=f"{found.recent:.2f}",
        trace=traces.token(service.recent_figure(found)),
    )


def routes(lake: Lake) -> Router:
    """Return the routes of series; ``lake`` holds the facts."""
    r = router("series", tag="Series", about="Amounts over time: the total, each provider, account and service.")

    @r.get("/v1/series", right="series:read")
    async def list_series(
        db: TheDb,
        actor: As,
        page: Page,
        traces: Traces,
        search: Annotated[
            str, Query(max_length=service.SEARCH_CHARS_MAX, description="Words the name must hold.")
        ] = "",
        source: SourceName = None,
        level: Annotated[str, Query(max_length=40, description="Only this level, such as `service`.")] = "",
        grain: GrainName = "day",
    ) -> Listed[SeriesOut]:
        """List the series built from bills, payments and bank statements, parents before children."""
        async with db.reading(actor) as tx:
            found = await service.listed(
                tx,
                actor,
                lake=lake,
                source=source or "",
                grain=Grain(grain),
                now=utc_now(),
                search=search,
                level=level,
            )
        start = int(page.after[0]) if page.after else 0
        numbered = list(enumerate(found[start : start + page.limit + 1], start + 1))
        return page.listed(numbered, key=lambda pair: (pair[0],), out=lambda pair: out(pair[1], traces))

    return r
