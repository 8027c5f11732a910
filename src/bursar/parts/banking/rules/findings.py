"""Findings from what the rules saw: worth, range, action, and evidence whose parts add up exactly."""

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal

from bursar.kernel.finding import Evidence, Finding, Part, SourceRow
from bursar.kernel.money import Money
from bursar.kernel.period import Period
from bursar.parts.banking.rules.doubles import Double
from bursar.parts.banking.rules.oddities import Moved, Unusual
from bursar.parts.banking.rules.recurring import Recurring, Rise

DUPLICATE = "banking.duplicate_payment"
PRICE_RISE = "banking.price_rise"
NEW_SUBSCRIPTION = "banking.new_subscription"
MISSING_INCOME = "banking.missing_income"
UNUSUAL_AMOUNT = "banking.unusual_amount"
CHANGED_ACCOUNT = "banking.changed_account"
TRIAL = "banking.trial_became_plan"
TWICE_SUBSCRIBED = "banking.duplicate_subscription"
CREEP = "banking.subscription_creep"
YEARLY_DUE = "banking.yearly_payment_due"
KINDS = (
    DUPLICATE,
    PRICE_RISE,
    NEW_SUBSCRIPTION,
    MISSING_INCOME,
    UNUSUAL_AMOUNT,
    CHANGED_ACCOUNT,
    TRIAL,
    TWICE_SUBSCRIBED,
    CREEP,
    YEARLY_DUE,
)
"""Every kind of finding this part raises."""

LIKELY = 0.6
"""From this certainty on a double is told as one, below it as a question."""

ROWS_SHOWN_MAX = 50
"""Most source rows kept as evidence of one finding."""

RowKey = tuple[str, int]
"""Batch and line of the file."""

Sources = dict[RowKey, SourceRow]


def _rows(keys: Sequence[RowKey], sources: Sources) -> tuple[SourceRow, ...]:
    return tuple(sources[key] for key in keys[-ROWS_SHOWN_MAX:] if key in sources)


def of_double(pair: Double, sources: Sources) -> Finding:
    """Return the finding of two payments for one obligation."""
    worth = Money.rounded(pair.amount, pair.currency)
    first, second = pair.days
    return Finding(
        kind=DUPLICATE,
        subject=f"{pair.account}/{pair.payee}/{pair.amount.normalize():f}/{second}",
        period=Period(first, second + timedelta(days=1)),
        title=f"{'Paid' if pair.sure >= LIKELY else 'Perhaps paid'} twice to {pair.label}",
        worth=worth,
        low=Money(0, pair.currency) if pair.sure < 0.9 else worth,
        high=worth,
        confidence=pair.sure,
        action=f"Ask {pair.label} for the second payment of {second} back."
        if pair.sure >= LIKELY
        else f"Compare the two invoices of {pair.label}; ask for the second payment of {second} back if they are one.",
        evidence=Evidence(
            formula=f"two payments of the same amount, {(second - first).days} days apart: {pair.why}",
            parts=(
                Part("paid", pair.amount * 2),
                Part("owed", -pair.amount),
            ),
            rows=_rows(pair.rows, sources),
            rows_total=2,
        ),
        recurring=False,
    )


def of_rise(rise: Rise, sources: Sources) -> Finding:
    """Return the finding of a fee that went up."""
    one = rise.series
    extra = (rise.after - rise.before) * one.per_year
    worth = Money.rounded(extra, one.currency)
    share = (rise.after / rise.before - 1) * 100
    return Finding(
        kind=PRICE_RISE,
        subject=f"{one.account}/{one.payee}",
        period=Period(one.days[rise.at - 1], one.days[-1] + timedelta(days=1)),
        title=f"{one.label} became {share:.0f} % dearer",
        worth=worth,
        low=Money(0, one.currency),
        high=worth,
        confidence=0.85,
        action=f"Negotiate or cancel {one.label} before {one.next_day}.",
        evidence=Evidence(
            formula=f"({rise.after:f} - {rise.before:f}) {one.cadence}, {one.per_year} times a year",
            parts=(
                Part(f"{one.per_year} payments of {rise.after:f}", rise.after * one.per_year),
                Part(f"{one.per_year} payments of {rise.before:f} before", -rise.before * one.per_year),
            ),
            rows=_rows(one.rows, sources),
            rows_total=len(one.rows),
            chart=_chart(one),
        ),
        cost_basis=Money.rounded(rise.after * one.per_year, one.currency),
        effort="medium",
        due=one.next_day,
    )


def _of_plan(
    one: Recurring, sources: Sources, *, kind: str, title: str, confidence: float, action: str, formula: str
) -> Finding:
    """Return the finding of a plan that could be ended before its next payment: worth a year of its last fee."""
    fee = -one.amounts[-1]
    worth = Money.rounded(fee * one.per_year, one.currency)
    return Finding(
        kind=kind,
        subject=f"{one.account}/{one.payee}",
        period=Period(one.days[0], one.days[-1] + timedelta(days=1)),
        title=title,
        worth=worth,
        low=Money(0, one.currency),
        high=worth,
        confidence=confidence,
        action=action,
        evidence=Evidence(
            formula=formula,
            parts=(Part(f"{one.per_year} payments of {fee:f}", fee * one.per_year),),
            rows=_rows(one.rows, sources),
            rows_total=len(one.rows),
            chart=_chart(one),
        ),
        cost_basis=worth,
        due=one.next_day,
    )


def of_subscription(one: Recurring, sources: Sources) -> Finding:
    """Return the finding of a fixed fee that began lately."""
    return _of_plan(
        one,
        sources,
        kind=NEW_SUBSCRIPTION,
        title=f"New {one.cadence} subscription: {one.label}",
        confidence=0.4,
        action=f"Check that somebody owns and uses {one.label}; cancel it before {one.next_day} if not.",
        formula=f"{-one.amounts[-1]:f} {one.cadence}, {one.per_year} times a year, first paid {one.days[0]}",
    )


def of_trial(one: Recurring, sources: Sources) -> Finding:
    """Return the finding of a token payment that became a plan."""
    return _of_plan(
        one,
        sources,
        kind=TRIAL,
        title=f"A trial of {one.label} became a plan",
        confidence=0.7,
        action=f"Ask who uses {one.label}; cancel it before {one.next_day} if nobody does.",
        formula=f"first {-one.amounts[0]:f}, then {-one.amounts[-1]:f} {one.cadence}, {one.per_year} times a year",
    )


def of_missing(one: Recurring, sources: Sources, newest: date) -> Finding:
    """Return the finding of regular income that stopped coming; every payment missed since counts."""
    middle = sorted(one.amounts)[len(one.amounts) // 2]
    missed = max(1, (newest - one.days[-1]).days // one.gap_days)
    worth = Money.rounded(middle, one.currency) * missed
    low = Money.rounded(min(one.amounts), one.currency) * missed
    high = Money.rounded(max(one.amounts), one.currency) * missed
    return Finding(
        kind=MISSING_INCOME,
        subject=f"{one.account}/{one.payee}/{one.next_day}",
        period=Period(one.days[-1], one.next_day + timedelta(days=1)),
        title=f"{one.label} has not paid since {one.days[-1]}",
        worth=worth,
        low=low,
        high=high,
        confidence=0.75,
        action=f"Remind {one.label}: a {one.cadence} payment was due on {one.next_day}.",
        evidence=Evidence(
            formula=f"{missed} x the median of {len(one.amounts)} {one.cadence} payments; the next was due on {one.next_day}",
            parts=(Part(f"{missed} missed, {middle:f} each", middle * missed),),
            rows=_rows(one.rows, sources),
            rows_total=len(one.rows),
        ),
        recurring=False,
    )


def of_unusual(odd: Unusual, sources: Sources) -> Finding:
    """Return the finding of one payment far above the habit."""
    one, at = odd.series, odd.at
    beyond = -one.amounts[at] - odd.usual
    worth = Money.rounded(beyond, one.currency)
    return Finding(
        kind=UNUSUAL_AMOUNT,
        subject=f"{one.account}/{one.payee}/{one.days[at]}",
        period=Period(one.days[at], one.days[at] + timedelta(days=1)),
        title=f"{one.label}: {-one.amounts[at] / odd.usual:.1f} times the usual amount",
        worth=worth,
        low=Money(0, one.currency),
        high=worth,
        confidence=0.75,
        action=f"Check the bill of {one.days[at]}: a mistake of the payee can be claimed back.",
        evidence=Evidence(
            formula=f"paid {-one.amounts[at]:f}, usually {odd.usual:f} {one.cadence}",
            parts=(Part("paid", -one.amounts[at]), Part("usual", -odd.usual)),
            rows=_rows(one.rows, sources),
            rows_total=len(one.rows),
            chart=_chart(one),
        ),
        recurring=False,
    )


def of_moved(change: Moved, sources: Sources) -> Finding:
    """Return the finding of a payee that is suddenly paid at another account: a usual form of fraud."""
    worth = Money.rounded(change.amount, change.currency)
    return Finding(
        kind=CHANGED_ACCOUNT,
        subject=f"{change.payee}/{change.new}",
        period=Period(change.day, change.day + timedelta(days=1)),
        title=f"{change.label} was paid at a new account",
        worth=worth,
        low=Money(0, change.currency),
        high=worth,
        confidence=0.65,
        action=f"Call {change.label} on a known number before the next payment goes to {change.new}.",
        evidence=Evidence(
            formula=f"{change.before} payments to {change.old}, then one to {change.new}",
            parts=(Part("paid to the new account", change.amount),),
            rows=_rows([change.row], sources),
            rows_total=1,
        ),
        recurring=False,
    )


def of_twins(first: Recurring, second: Recurring, sources: Sources) -> Finding:
    """Return the finding of one thing subscribed to from two accounts; the later plan is the one to end."""
    fee = min(-first.amounts[-1], -second.amounts[-1])
    worth = Money.rounded(fee * second.per_year, second.currency)
    return Finding(
        kind=TWICE_SUBSCRIBED,
        subject=f"{second.account}/{second.payee}",
        period=Period(second.days[0], second.days[-1] + timedelta(days=1)),
        title=f"{second.label} is paid from two accounts",
        worth=worth,
        low=Money(0, second.currency),
        high=worth,
        confidence=0.75,
        action=f"End one of the two plans with {second.label}.",
        evidence=Evidence(
            formula=f"{-first.amounts[-1]:f} {first.cadence} from {first.account} and {-second.amounts[-1]:f} from"
            f" {second.account}; the smaller one counts, {second.per_year} times a year",
            parts=(Part(f"{second.per_year} payments of {fee:f}", fee * second.per_year),),
            rows=_rows((*first.rows[-6:], *second.rows[-6:]), sources),
            rows_total=len(first.rows) + len(second.rows),
        ),
        cost_basis=worth,
    )


def of_creep(account: str, fees: Sequence[Recurring], sources: Sources) -> Finding:
    """Return the finding of many small subscriptions that were added one by one."""
    parts = tuple(Part(f"{one.label}, since {one.days[0]}", -one.amounts[-1] * one.per_year) for one in fees)
    yearly = sum((part.amount for part in parts), start=Decimal(0))
    worth = Money.rounded(yearly, fees[0].currency)
    rows = [one.rows[-1] for one in fees]
    return Finding(
        kind=CREEP,
        subject=account,
        period=Period(min(one.days[0] for one in fees), max(one.days[-1] for one in fees) + timedelta(days=1)),
        title=f"{len(fees)} small subscriptions were added one by one",
        worth=worth,
        low=Money(0, fees[0].currency),
        high=worth,
        confidence=0.65,
        action="Go through the list with the card holder; end what nobody uses.",
        evidence=Evidence(
            formula="yearly cost of every fixed monthly fee that began within the statements",
            parts=parts,
            rows=_rows(rows, sources),
            rows_total=sum(len(one.rows) for one in fees),
        ),
        cost_basis=worth,
        effort="medium",
    )


def of_yearly(one: Recurring, sources: Sources) -> Finding:
    """Return the reminder of a large yearly payment that falls due soon; it saves nothing by itself."""
    amount = -one.amounts[-1]
    return Finding(
        kind=YEARLY_DUE,
        subject=f"{one.account}/{one.payee}/{one.next_day.year}",
        period=Period(one.days[0], one.days[-1] + timedelta(days=1)),
        title=f"{one.label}: {amount:,.0f} {one.currency} fall due about {one.next_day}",
        worth=Money(0, one.currency),
        low=Money(0, one.currency),
        high=Money(0, one.currency),
        confidence=0.8,
        action=f"Compare offers before {one.next_day} and keep the money ready.",
        evidence=Evidence(
            formula=f"paid {', '.join(str(day) for day in one.days)}, {one.cadence}",
            rows=_rows(one.rows, sources),
            rows_total=len(one.rows),
        ),
        recurring=False,
        due=one.next_day,
    )


def _chart(one: Recurring) -> dict[str, list[object]]:
    return {"x": [str(day) for day in one.days], "y": [str(-amount) for amount in one.amounts]}
