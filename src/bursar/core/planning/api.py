"""Anomalies over HTTP, and every route of planning."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import Field

from bursar.core.findings import service as findings
from bursar.core.findings.service import Kept
from bursar.core.planning import service
from bursar.core.planning.budgets import api as budgets_api
from bursar.core.planning.calendars import api as calendars_api
from bursar.core.planning.commitments.service import Paid
from bursar.core.planning.forecasts import api as forecasts_api
from bursar.core.planning.forecasts.service import NO_EXTRAS
from bursar.core.planning.policy import api as policy_api
from bursar.core.planning.scores import api as scores_api
from bursar.core.planning.series import api as series_api
from bursar.infra.clock import utc_now
from bursar.infra.lake import Lake
from bursar.infra.web import As, In, Listed, MoneyOut, Out, Page, Router, TheDb, router
from bursar.kernel.errors import Conflict
from bursar.kernel.finding import FindingState, Observed
from bursar.ml.forecast.lineup import Extras

r = router(
    "anomalies", tag="Anomalies", about="Changes of cost that stand out, with their cause; findings of the inbox."
)

Id = Annotated[str, Path(pattern=r"^F[0-9]{1,12}$", description="Short id of the finding, such as `F12`.")]


class CauseOut(Out):
    """A child that explains a part of the change; the parts sum to the impact."""

    label: str
    amount: str


class ObservedOut(Out):
    """What the days from `first` to before `end` cost, what was expected with its 95 % range, and the difference."""

    first: date
    end: date
    actual: MoneyOut
    expected: MoneyOut
    lower: MoneyOut
    upper: MoneyOut
    impact: MoneyOut


class AnomalyOut(Out):
    """One change that stands out: what it is worth, why, and the days around it.

    `observed` is null on findings of earlier versions; their causes sum to the worth.
    """

    id: str
    kind: str
    series: str
    title: str
    action: str
    state: FindingState
    worth: MoneyOut
    recurring: bool
    confidence: float
    first: date
    last: date
    formula: str
    observed: ObservedOut | None
    causes: list[CauseOut]
    chart: dict[str, Any]
    trace: Annotated[str, Field(description="`/v1/trace/{token}` tells where its worth comes from.")]


class FeedbackIn(In):
    """What a person says about an alert: it was real, it was expected, or it is noise."""

    verdict: Literal["real", "expected", "noise"]
    because: Annotated[str, Field(max_length=1900)] = ""


def _observed(seen: Observed, currency: str) -> ObservedOut:
    names = ("actual", "expected", "lower", "upper", "impact")
    amounts = {name: MoneyOut.exact(getattr(seen, name), currency) for name in names}
    return ObservedOut(first=seen.days.start, end=seen.days.end, **amounts)


def _out(kept: Kept) -> AnomalyOut:
    finding = kept.finding
    seen = finding.evidence.observed
    return AnomalyOut(
        id=kept.name,
        kind=finding.kind,
        series=finding.resource.removeprefix("series:"),
        title=finding.title,
        action=finding.action,
        state=kept.state,
        worth=MoneyOut.of(finding.worth),
        recurring=finding.recurring,
        confidence=finding.confidence,
        first=finding.period.start,
        last=finding.period.end,
        formula=finding.evidence.formula,
        observed=_observed(seen, finding.worth.currency) if seen else None,
        causes=[
            CauseOut(label=part.label, amount=f"{part.amount:f}")
            for part in (seen.causes if seen else finding.evidence.parts)
        ],
        chart=dict(finding.evidence.chart),
        trace=kept.name,
    )


@r.get("/v1/anomalies", right="anomaly:read")
async def list_anomalies(db: TheDb, actor: As, page: Page) -> Listed[AnomalyOut]:
    """List open anomalies by expected money, the dearest first."""
    inside = replace(actor, rights=frozenset({"finding:read"}))
    async with db.reading(actor) as tx:
        ranked = [one for one in await findings.inbox(tx, inside) if one.finding.kind in service.KINDS]
    start = int(page.after[0]) if page.after else 0
    numbered = list(enumerate(ranked[start : start + page.limit + 1], start + 1))
    return page.listed(numbered, key=lambda pair: (pair[0],), out=lambda pair: _out(pair[1]))


@r.post("/v1/anomalies/{id}/feedback", right="anomaly:act", once="never", refusals=[Conflict])
async def judge_anomaly(id: Id, body: FeedbackIn, db: TheDb, actor: As) -> AnomalyOut:  # noqa: A002
    """Say whether an alert was real (it is accepted), expected or noise (it is dismissed); the scoreboard counts it."""
    async with db.writing(actor) as tx:
        return _out(await service.judge(tx, actor, name=id, verdict=body.verdict, because=body.because, now=utc_now()))


def routes(lake: Lake, paid: Paid, extras: Extras = NO_EXTRAS) -> Sequence[Router]:
    """Return every router of planning.

    Args:
        lake: Holds the facts.
        paid: Names holds that lines have paid.
        extras: Models of optional packages that compete in stored forecasts.
    """
    return (
        series_api.routes(lake),
        forecasts_api.routes(lake, extras),
        calendars_api.r,
        policy_api.r,
        r,
        budgets_api.routes(lake, paid),
        scores_api.r,
    )
