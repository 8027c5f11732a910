"""The inbox over HTTP."""

from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

import polars as pl
from fastapi import Path, Query
from fastapi.responses import FileResponse

from bursar.core.findings import service
from bursar.core.findings.service import Kept, Score
from bursar.infra.clock import utc_now
from bursar.infra.web import As, Day, In, Listed, MoneyOut, Out, Page, TheDb, TracedOut, Traces, router
from bursar.infra.web_exports import EXPORTS, Form, export
from bursar.kernel.errors import Conflict, TooLarge
from bursar.kernel.finding import Evidence, FindingState
from bursar.kernel.trace import TotalFigure

r = router("findings", tag="Findings", about="What was noticed, ranked by money, with evidence and a record.")

OPEN = (FindingState.NEW, FindingState.ACCEPTED)
"""States listed when none is named."""

States = Annotated[
    list[FindingState] | None, Query(alias="state", description="States to list; by default the open ones.")
]
Kind = Annotated[str, Query(max_length=100, description="Only kinds that begin with this.")]
Sure = Annotated[float, Query(ge=0, le=1, description="Only findings at least this sure.")]
Name = Annotated[str, Path(pattern=r"^F[0-9]{1,12}$", description="Short id of a finding, such as `F12`.")]


class FindingOut(Out):
    """Something noticed about a subject, worth money."""

    id: str
    kind: str
    subject: str
    title: str
    action: str
    state: FindingState
    worth: MoneyOut
    counted: MoneyOut
    low: MoneyOut
    high: MoneyOut
    confidence: float
    recurring: bool
    start: date
    end: date
    effort: str
    risk: str
    due: date | None
    assignee: str
    because: str
    until: date | None
    verified: MoneyOut | None
    trace: str


class PartOut(Out):
    """One additive part of the figure."""

    label: str
    amount: str


class PriceOut(Out):
    """A price that entered the figure."""

    id: str
    price: MoneyOut
    unit: str
    day: date
    source: str


class RowOut(Out):
    """One source row: file and line."""

    batch: str
    file: str
    row: int
    text: str
    amount: MoneyOut | None


class TraceOut(Out):
    """Where a figure comes from: formula, parts that sum to it exactly, prices, source rows."""

    title: str
    figure: MoneyOut
    formula: str
    parts: list[PartOut]
    prices: list[PriceOut]
    rows: list[RowOut]
    rows_total: int


class ExplainedOut(Out):
    """A finding with its evidence, chart data and history."""

    finding: FindingOut
    trace: TraceOut
    chart: dict[str, Any]
    history: list[dict[str, Any]]


class TotalOut(Out):
    """Money worth acting on in one currency, overlaps counted once."""

    worth: TracedOut
    low: TracedOut
    high: TracedOut
    overlap: TracedOut
    findings: int


class ScoreOut(Out):
    """How one producer's promises held."""

    kind: str
    raised: int
    accepted: int
    done: int
    measured: int
    dismissed: int
    promised: TracedOut
    verified: TracedOut


class ActIn(In):
    """What is done with a finding."""

    action: Literal["accept", "dismiss", "snooze", "done", "reopen"]
    because: str = ""
    until: Day | None = None
    assignee: Annotated[str, "Who takes care of it."] = ""
    due: Day | None = None


class UndoneOut(Out):
    """The action taken back and the finding afterwards."""

    action: str
    finding: FindingOut


def out(kept: Kept) -> FindingOut:
    """Translate a finding for the wire."""
    finding = kept.finding
    return FindingOut(
        id=kept.name,
        kind=finding.kind,
        subject=finding.subject,
        title=finding.title,
        action=finding.action,
        state=kept.state,
        worth=MoneyOut.of(finding.worth),
        counted=MoneyOut.of(kept.counted),
        low=MoneyOut.of(finding.low),
        high=MoneyOut.of(finding.high),
        confidence=finding.confidence,
        recurring=finding.recurring,
        start=finding.period.start,
        end=finding.period.end,
        effort=finding.effort,
        risk=finding.risk,
        due=kept.due,
        assignee=kept.assignee,
        because=kept.because,
        until=kept.until,
        verified=MoneyOut.of(kept.measured) if kept.measured else None,
        trace=kept.name,
    )


def trace_out(title: str, amount: Decimal, currency: str, evidence: Evidence) -> TraceOut:
    """Translate where a figure comes from."""
    return TraceOut(
        title=title,
        figure=MoneyOut.exact(amount, currency),
        formula=evidence.formula,
        parts=[PartOut(label=part.label, amount=f"{part.amount:f}") for part in evidence.parts],
        prices=[
            PriceOut(
                id=price.id,
                price=MoneyOut.exact(price.amount, price.currency),
                unit=price.unit,
                day=price.day,
                source=price.source,
            )
            for price in evidence.prices
        ],
        rows=[
            RowOut(
                batch=row.batch,
                file=row.file,
                row=row.row,
                text=row.text,
                amount=None if row.amount is None else MoneyOut.exact(row.amount, row.currency or currency),
            )
            for row in evidence.rows
        ],
        rows_total=evidence.rows_total,
    )


def _trace(kept: Kept) -> TraceOut:
    worth = kept.finding.worth
    return trace_out(f"{kept.name}  {kept.finding.title}", worth.amount, worth.currency, kept.finding.evidence)


@r.get("/v1/findings", right="finding:read")
async def list_findings(
    db: TheDb,
    actor: As,
    page: Page,
    states: States = None,
    kind: Kind = "",
    confidence_min: Sure = 0.0,
) -> Listed[FindingOut]:
    """List findings by expected money, the dearest first."""
    async with db.reading(actor) as tx:
        ranked = await service.inbox(
            tx, actor, states=tuple(states or OPEN), kind_prefix=kind, confidence_min=confidence_min
        )
    start = int(page.after[0]) if page.after else 0
    numbered = list(enumerate(ranked[start : start + page.limit + 1], start + 1))
    return page.listed(numbered, key=lambda pair: (pair[0],), out=lambda pair: out(pair[1]))


EXPORTED: dict[str, pl.DataType] = {
    "id": pl.String(), "kind": pl.String(), "subject": pl.String(), "title": pl.String(), "state": pl.String(),
    "worth": pl.Decimal(38, 4), "counted": pl.Decimal(38, 4), "low": pl.Decimal(38, 4), "high": pl.Decimal(38, 4),
    "currency": pl.String(), "confidence": pl.Float64(), "recurring": pl.Boolean(), "from": pl.Date(), "to": pl.Date(),
    "action": pl.String(), "effort": pl.String(), "risk": pl.String(), "due": pl.Date(), "assignee": pl.String(),
    "because": pl.String(), "until": pl.Date(), "verified": pl.Decimal(38, 4),
}  # fmt: skip
"""Columns of the export; ``from`` and ``to`` are half-open."""


@r.get("/v1/findings/export", right="finding:read", response_class=FileResponse, responses=EXPORTS, refusals=[TooLarge])
async def export_findings(
    db: TheDb, actor: As, states: States = None, kind: Kind = "", confidence_min: Sure = 0.0, form: Form = "csv"
) -> FileResponse:
    """Export findings by expected money, the dearest first; formulas in CSV are made harmless."""
    async with db.reading(actor) as tx:
        ranked = await service.inbox(
            tx, actor, states=tuple(states or OPEN), kind_prefix=kind, confidence_min=confidence_min
        )

    async def pages() -> AsyncIterator[list[list[Any]]]:
        yield [_exported(kept) for kept in ranked]

    return await export("findings", EXPORTED, pages(), form)


def _exported(kept: Kept) -> list[Any]:
    one = kept.finding
    verified = kept.measured.amount if kept.measured else None
    return [
        kept.name, one.kind, one.subject, one.title, kept.state.value, one.worth.amount, kept.counted.amount, one.low.amount,
        one.high.amount, one.worth.currency, one.confidence, one.recurring, one.period.start, one.period.end, one.action,
        one.effort, one.risk, kept.due, kept.assignee, kept.because, kept.until, verified,
    ]  # fmt: skip


@r.get("/v1/findings/totals", right="finding:read")
async def total_findings(
    db: TheDb,
    actor: As,
    traces: Traces,
    confidence_min: Sure = 0.6,
) -> list[TotalOut]:
    """Sum what is worth acting on by currency; overlaps are counted once."""
    async with db.reading(actor) as tx:
        ranked = await service.inbox(tx, actor, confidence_min=confidence_min)
    sure = Decimal(str(confidence_min))
    return [
        TotalOut(
            **{
                part: TracedOut.to(getattr(total, part), traces.token(TotalFigure(total.currency, sure, part)))
                for part in ("worth", "low", "high", "overlap")
            },
            findings=total.count,
        )
        for total in service.totals([kept for kept in ranked if kept.counted.minor > 0])
    ]


@r.get("/v1/findings/{name}", right="finding:read")
async def explain_finding(name: Name, db: TheDb, actor: As) -> ExplainedOut:
    """Show a finding with formula, exact parts, prices, source rows, chart data and history."""
    async with db.reading(actor) as tx:
        kept = await service.get(tx, actor, name=name)
        history = await service.history(tx, actor, name=name)
    return ExplainedOut(finding=out(kept), trace=_trace(kept), chart=kept.finding.evidence.chart, history=history)


@r.post("/v1/findings/{name}/actions", right="finding:act", refusals=[Conflict])
async def act_on_finding(name: Name, body: ActIn, db: TheDb, actor: As) -> FindingOut:
    """Accept, dismiss, snooze, finish or reopen a finding."""
    async with db.writing(actor) as tx:
        kept = await service.act(
            tx,
            actor,
            name=name,
            action=body.action,
            because=body.because,
            until=body.until,
            assignee=body.assignee,
            due=body.due,
            now=utc_now(),
        )
    return out(kept)


@r.post("/v1/findings/undo", right="finding:act", refusals=[Conflict])
async def undo_action(db: TheDb, actor: As) -> UndoneOut:
    """Take the last action on a finding back."""
    async with db.writing(actor) as tx:
        action, kept = await service.undo(tx, actor, now=utc_now())
    return UndoneOut(action=action, finding=out(kept))


@r.get("/v1/scoreboard", right="finding:read")
async def scoreboard(db: TheDb, actor: As, traces: Traces) -> list[ScoreOut]:
    """Compare what each producer promised with what was verified afterwards."""

    def told(score: Score, part: str) -> TracedOut:
        trace = traces.asked("score", part, score.currency, (("kind", score.kind),))
        return TracedOut.to(getattr(score, part), trace)

    def translated(score: Score) -> ScoreOut:
        return ScoreOut(
            kind=score.kind,
            raised=score.raised,
            accepted=score.accepted,
            done=score.done,
            measured=score.measured,
            dismissed=score.dismissed,
            promised=told(score, "promised"),
            verified=told(score, "verified"),
        )

    async with db.reading(actor) as tx:
        return [translated(score) for score in await service.scoreboard(tx, actor)]
