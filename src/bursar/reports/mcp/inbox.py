"""Tools about findings."""

from datetime import date
from typing import Annotated, Any

from pydantic import Field

from bursar.core.findings import service
from bursar.infra.web_models import In
from bursar.kernel.finding import FindingState
from bursar.reports.mcp.desk import Desk, amount, finding, money
from bursar.reports.review import SURE_MIN

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
    return {
        "findings": [finding(kept) for kept in found[: asked.limit]],
        "left_out": max(0, len(found) - asked.limit),
        "totals": [
            {
                "worth": total.worth.on_the_wire(),
                "low": total.low.on_the_wire(),
                "high": total.high.on_the_wire(),
                "overlap": total.overlap.on_the_wire(),
                "findings": total.count,
                "trace": "the sum of `counted` of these findings",
            }
            for total in totals
        ],
    }


async def explain_finding(desk: Desk, asked: ExplainFinding) -> dict[str, Any]:
    """Return a finding with formula, exact parts, prices, source rows and history."""
    async with desk.db.reading(desk.actor) as tx:
        kept = await service.get(tx, desk.actor, name=asked.id)
        history = await service.history(tx, desk.actor, name=asked.id)
    evidence, currency = kept.finding.evidence, kept.finding.worth.currency
    return finding(kept) | {
        "subject": kept.finding.subject,
        "formula": evidence.formula,
        "parts": [{"label": part.label} | (amount(part.amount, currency, kept.name) or {}) for part in evidence.parts],
        "prices": [
            {"id": price.id, "unit": price.unit, "day": price.day.isoformat(), "source": price.source}
            | (amount(price.amount, price.currency, kept.name) or {})
            for price in evidence.prices
        ],
        "rows": [
            {
                "file": row.file,
                "row": row.row,
                "text": row.text,
                "amount": amount(row.amount, row.currency or currency, kept.name),
            }
            for row in evidence.rows
        ],
        "rows_total": evidence.rows_total,
        "verified": money(kept.measured, kept.name) if kept.measured else None,
        "history": [
            {"at": event["at"].isoformat(), "who": event["actor"], "action": event["action"], "undone": event["undone"]}
            for event in history
        ],
    }


Day = Annotated[date | None, Field(description="YYYY-MM-DD")]
