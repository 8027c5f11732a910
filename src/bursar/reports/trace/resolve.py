"""From a token to its answer, whatever it stands for."""

import re
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Any

from bursar.core.findings import service as findings
from bursar.infra.traces import Tracer
from bursar.kernel import trace
from bursar.reports.trace import ahead, arrived, bank, books, costs, kept, shares, spent
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
"""What resolves each kind of figure; the question of an asked one tells its own."""

QUESTIONS: Mapping[str, Resolver] = {
    "import": arrived.of_import,
    "card": arrived.of_card,
    "tie": arrived.of_tie,
    "cash": ahead.of_cash,
    "flow": ahead.of_flow,
    "recurring": ahead.of_recurring,
    "forecast": ahead.of_forecast,
    "transfer": books.of_transfer,
    "cash_flow": books.of_cash_flow,
    "groups": books.of_groups,
    "gain": books.of_gain,
    "shares": shares.of_shares,
    "invoice": shares.of_invoice,
    "commitments": shares.of_commitments,
    "price": shares.of_price,
    "alert": kept.of_alert,
    "score": kept.of_score,
    "language": kept.of_language,
}
"""What resolves an amount that is worked out by asking its question again."""

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
        one = await findings.get(asking.tx, asking.actor, name=token)
        worth = one.finding.worth
        return Traced(f"{one.name}  {one.finding.title}", worth.amount, worth.currency, one.finding.evidence)
    figure = tracer.read(token)
    resolver = QUESTIONS[figure.question] if isinstance(figure, trace.AskedFigure) else RESOLVERS[type(figure)]
    found = await resolver(asking, figure)
    parts = found.evidence.parts
    assert not parts or sum((part.amount for part in parts), Decimal(0)) == found.amount, token
    return found
