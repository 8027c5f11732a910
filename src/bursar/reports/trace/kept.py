"""Figures that were written down: what alerts told, how promises held, what language models cost."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from uuid import UUID

from bursar.core.findings import service as findings
from bursar.core.findings.service import Kept
from bursar.core.language import service as language
from bursar.core.planning.budgets import service as budgets
from bursar.kernel.errors import NotFound
from bursar.kernel.finding import Evidence, FindingState, Part
from bursar.kernel.money import Money
from bursar.kernel.trace import AskedFigure, BudgetFigure
from bursar.reports.trace.answer import Asking, Traced, parts_of
from bursar.reports.trace.spent import of_budget

_SAID = {"end": "expected"}
"""What a part of a budget's state is called for people, where it has another name."""


async def of_alert(asking: Asking, figure: AskedFigure) -> Traced:
    """Say what a budget's alert told: the figure of today, and what came or went since."""
    id_, start = UUID(figure.fact("budget")), date.fromisoformat(figure.fact("start"))
    rows = await budgets.alerts(asking.tx, asking.actor, id_=id_)
    row = next((row for row in rows if (row.start_day, row.threshold) == (start, figure.fact("threshold"))), None)
    if row is None:
        raise NotFound("alert of the budget", str(id_))
    forecast = row.threshold == budgets.Threshold.FORECAST
    what = "allowed" if figure.part == "allowed" else "end" if forecast else "actual"
    amount = Money(getattr(row, figure.part), figure.currency).amount
    now = await of_budget(asking, BudgetFigure(id_, start, what, figure.currency))
    parts = parts_of(
        [
            (f"{_SAID.get(what, what)} as known now", now.amount),
            ("came or went since it was told", amount - now.amount),
        ],
        amount,
    )
    formula = f"as told on {row.told_at:%Y-%m-%d %H:%M} UTC; now: {now.evidence.formula}"
    return Traced(f"{now.title}, as told", amount, figure.currency, replace(now.evidence, formula=formula, parts=parts))


async def of_score(asking: Asking, figure: AskedFigure) -> Traced:
    """Say which measured findings a sum of the scoreboard holds."""
    measured = await findings.inbox(
        asking.tx, asking.actor, states=(FindingState.MEASURED,), kind_prefix=figure.fact("kind")
    )
    mine = [
        one
        for one in measured
        if (one.finding.kind, one.finding.worth.currency) == (figure.fact("kind"), figure.currency)
    ]
    parts = tuple(Part(f"{kept.name} {kept.finding.title}", _told(kept, figure.part).amount) for kept in mine)
    amount = sum((part.amount for part in parts), Decimal(0))
    formula = f"sum over the {len(mine)} measured findings of {figure.fact('kind')}"
    return Traced(f"{figure.fact('kind')}: {figure.part}", amount, figure.currency, Evidence(formula, parts))


def _told(kept: Kept, part: str) -> Money:
    worth = kept.finding.worth
    return worth if part == "promised" else kept.measured or Money(0, worth.currency)


async def of_language(asking: Asking, figure: AskedFigure) -> Traced:
    """Say what calls of language models did cost this month, beside the cap and what is held for those on their way."""
    nothing = language.Means(None, (), Decimal(0))
    here = await language.standing(asking.tx, asking.actor, means=nothing, now=asking.now)
    formula = f"calls answered since the first of the month; the cap is {here.monthly_max}, {here.held} are held"
    evidence = Evidence(formula, parts_of([("calls answered", here.spent)], here.spent))
    return Traced("Spent on language models this month", here.spent, figure.currency, evidence)
