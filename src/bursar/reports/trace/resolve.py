"""From a token to its answer, whatever it stands for."""

import re
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Any

from bursar.core.findings import service as findings
from bursar.infra.traces import Tracer
from bursar.kernel import trace
from bursar.reports.trace import bank, books, costs, spent
from bursar.reports.trace.answer import Asking, Traced

Resolver = Callable[[Asking, Any], Awaitable[Traced]]

RESOLVERS: Mapping[type[Any], Resolver] = {
    trace.CostFigure: costs.of_cost,
    trace.BridgeFigure: costs.of_bridge,
    trace.BankFigure: bank.of_bank,
    trace.TransactionFigure: bank.of_transaction,
    trace.SpentFigure: spent.of_spent,
    trace.BudgetFigure: spent.of_budget,
    trace.TotalFigure: spent.of_total,
    trace.LedgerFigure: books.of_ledger,
    trace.WorthFigure: books.of_worth,
}
"""What resolves each kind of figure."""

_FINDING = re.compile(r"[Ff]?[0-9]{1,12}")


async def resolve(asking: Asking, tracer: Tracer, token: str) -> Traced:
    """Work an amount out again from its token.

    Args:
        asking: A reading transaction of whoever asks; the figure's own right is needed.
        tracer: Of the same organisation.
        token: A ``trace`` from an answer, or the id of a finding.

    Returns:
        The figure and what it is made of; except for findings, whose worth is rounded to the cent, the parts sum exactly.

    Raises:
        Invalid: The token was changed, or made for another organisation.
        NotAllowed: The right that the figure's question needed is missing.
        NotFound: What it is about is gone.
    """
    if _FINDING.fullmatch(token):
        kept = await findings.get(asking.tx, asking.actor, name=token)
        worth = kept.finding.worth
        return Traced(f"{kept.name}  {kept.finding.title}", worth.amount, worth.currency, kept.finding.evidence)
    figure = tracer.read(token)
    found = await RESOLVERS[type(figure)](asking, figure)
    parts = found.evidence.parts
    assert not parts or sum((part.amount for part in parts), Decimal(0)) == found.amount, token
    return found
