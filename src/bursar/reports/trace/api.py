"""Where an amount comes from, over HTTP."""

from typing import Annotated

from fastapi import Path

from bursar.core.findings.api import TraceOut, trace_out
from bursar.infra.clock import utc_now
from bursar.infra.lake import Lake
from bursar.infra.traces import PATTERN
from bursar.infra.web import SIGNED_IN, As, Router, TheDb, Traces, router
from bursar.kernel.errors import Invalid, NotAllowed, NotFound
from bursar.parts.cloud.prices.service import PriceList
from bursar.reports.trace.answer import Asking
from bursar.reports.trace.resolve import resolve

Token = Annotated[str, Path(pattern=PATTERN, description="The `trace` beside an amount, or the id of a finding.")]


def routes(lake: Lake, prices: PriceList) -> Router:
    """Return the route that resolves trace tokens; ``lake`` holds the lines."""
    r = router("trace", tag="Trace", about="Where an amount comes from: formula, exact parts, rates, source lines.")

    @r.get("/v1/trace/{token}", right=SIGNED_IN, refusals=[Invalid, NotAllowed, NotFound])
    async def trace_figure(token: Token, db: TheDb, actor: As, traces: Traces) -> TraceOut:
        """Resolve the trace token of an amount; it needs the right that the amount needed, and those to see its rows."""
        async with db.reading(actor) as tx:
            found = await resolve(Asking(tx, actor, lake, utc_now(), prices), traces, token)
        return trace_out(found.title, found.amount, found.currency, found.evidence)

    return r
