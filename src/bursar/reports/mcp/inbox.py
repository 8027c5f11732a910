"""Tools about findings."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field

from bursar.core.findings import service
from bursar.infra.traces import TOKEN_CHARS_MAX
from bursar.infra.web_models import In
from bursar.kernel.finding import FindingState
from bursar.kernel.trace import TotalFigure
from bursar.reports.mcp.desk import Desk, amount, evidence, finding, money
from bursar.reports.review import SURE_MIN
from bursar.reports.trace.resolve import resolve

OPEN = (FindingState.NEW, FindingState.ACCEPTED)
LISTED_MAX = 100


class ListFindings(In):
    """Arguments of ``list_findings``."""

    states: Annotated[list[FindingState], Field(max_length=7)] = Field(default_factory=lambda: list(OPEN))
    kind: Annotated[str, Field(max_length=100, description="Prefix, e.g. `cloud.`")] = ""
    confidence_min: Annotated[float, Field(ge=0, le=1)] = SURE_MIN
    limit: Annotated[int, Field(ge=1, le=LISTED_MAX)] = 20


class ExplainFinding(In):
    """Arguments of ``explain_finding``."""

    id: Annotated[str, Field(max_length=20, description="As F12")]


async def list_findings(desk: Desk, asked: ListFindings) -> dict[str, Any]:
    """Return findings by expected money and the totals of all that fit."""
    async with desk.db.reading(desk.actor) as tx:
        found = await service.inbox(
            tx, desk.actor, states=asked.states, kind_prefix=asked.kind, confidence_min=asked.confidence_min
        )
    totals = service.totals([kept for kept in found if kept.counted.minor > 0])
    sure = Decimal(str(asked.confidence_min))
    return {
        "findings": [finding(kept) for kept in found[: asked.limit]],
        "left_out": max(0, len(found) - asked.limit),
        "totals": [
            {
                **{
                    part: money(getattr(total, part), desk.tracer.token(TotalFigure(total.currency, sure, part)))
                    for part in ("worth", "low", "high", "overlap")
                },
                "findings": total.count,
            }
            for total in totals
        ],
    }


class ExplainFigure(In):
    """Arguments of ``explain_figure``."""

    trace: Annotated[str, Field(max_length=TOKEN_CHARS_MAX, description="Beside any amount")]


async def explain_figure(desk: Desk, asked: ExplainFigure) -> dict[str, Any]:
    """Return what any traced amount is made of."""
    async with desk.db.reading(desk.actor) as tx:
        found = await resolve(desk.asking(tx), desk.tracer, asked.trace)
    figure = amount(found.amount, found.currency, asked.trace)
    return {"title": found.title, "figure": figure} | evidence(found.evidence, found.currency)


async def explain_finding(desk: Desk, asked: ExplainFinding) -> dict[str, Any]:
    """Return a finding with formula, exact parts, prices, source rows and history."""
    async with desk.db.reading(desk.actor) as tx:
        kept = await service.get(tx, desk.actor, name=asked.id)
        history = await service.history(tx, desk.actor, name=asked.id)
    shown = evidence(kept.finding.evidence, kept.finding.worth.currency)
    return (
        finding(kept)
        | shown
        | {
            "subject": kept.finding.subject,
            "verified": money(kept.measured, kept.name) if kept.measured else None,
            "history": [
                {
                    "at": event["at"].isoformat(),
                    "who": event["actor"],
                    "action": event["action"],
                    "undone": event["undone"],
                }
                for event in history
            ],
        }
    )


Day = Annotated[date | None, Field(description="YYYY-MM-DD")]
