"""What is told of a crossed threshold: a line, a mail, a finding; pure."""

from bursar.core.planning.budgets.rules.limits import KINDS, Status, Threshold
from bursar.kernel.finding import Evidence, Finding, Part
from bursar.kernel.money import Money

_KIND = {Threshold.NEAR: KINDS[0], Threshold.OVER: KINDS[1], Threshold.FORECAST: KINDS[2]}
_ACTION = {
    Threshold.NEAR: "Look at what still comes in this period; stop or postpone what is not needed.",
    Threshold.OVER: "Agree on a higher budget or stop what can be stopped.",
    Threshold.FORECAST: "Act before the period ends: the forecast goes past the budget.",
}


def text_of(threshold: Threshold, status: Status) -> str:
    """Return one line that says what happened."""
    name = status.budget.name[:60]
    return {
        Threshold.NEAR: f"{name}: 80 % of the budget is spent",
        Threshold.OVER: f"{name}: the budget is spent",
        Threshold.FORECAST: f"{name}: "
        + ("what is committed" if status.sure > status.allowed else "the forecast")
        + " goes past the budget",
    }[threshold]


def body_of(threshold: Threshold, status: Status) -> str:
    """Return the figures behind :func:`text_of` for a mail."""
    lines = [
        f"Period: {status.period}",
        f"Budget: {status.allowed}" + (f" ({status.carried} rolled over)" if status.carried.minor else ""),
        f"Spent so far: {status.actual}" + (f" ({status.share:.0%})" if status.share is not None else ""),
    ]
    if status.committed.minor:
        lines.append(f"Committed and not yet spent: {status.committed}")
    if status.expected is not None:
        lines.append(f"Expected by the end: {status.expected} (80 % range {status.low80} to {status.high80})")
    return "\n".join([*lines, "", _ACTION[threshold]])


def finding(threshold: Threshold, status: Status) -> Finding:
    """Return the finding of one crossed threshold; it is worth what goes past the budget, counted once for all of them."""
    currency = status.allowed.currency
    end = status.end
    zero = Money(0, currency)

    def beyond(money: Money | None) -> Money:
        over = (money or end) - status.allowed
        return over if over.minor > 0 else zero

    worth = beyond(end)
    low, high = beyond(status.low80), beyond(status.high80)
    known = threshold is not Threshold.FORECAST or status.sure > status.allowed
    return Finding(
        kind=_KIND[threshold],
        subject=f"budget:{status.budget.id}",
        period=status.period,
        title=text_of(threshold, status),
        worth=worth,
        low=low if low.minor <= worth.minor else worth,
        high=high if high.minor >= worth.minor else worth,
        confidence=0.95 if known else 0.8 if low.minor > 0 else 0.6,
        action=_ACTION[threshold],
        evidence=Evidence(
            formula=f"expected {end} - allowed {status.allowed}; spent {status.actual} until {status.known_until},"
            f" committed {status.committed}",
            parts=(Part("beyond the budget", worth.amount),) if worth.minor else (),
        ),
        recurring=False,
        cost_basis=worth,
        resource=f"budget:{status.budget.id}@{status.period.start}",
        effort="medium",
        due=status.period.end,
    )
