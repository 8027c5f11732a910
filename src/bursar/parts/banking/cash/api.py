"""Cash over HTTP: thirteen weeks ahead, recurring payments, least balances."""

from datetime import date
from decimal import Decimal
from typing import Annotated

from fastapi import Query
from pydantic import Field

from bursar.infra.clock import utc_now
from bursar.infra.lake import Lake
from bursar.infra.web import As, In, MoneyIn, MoneyOut, Out, Router, TheDb, router
from bursar.kernel.errors import NotFound
from bursar.kernel.money import Money, exponent
from bursar.parts.banking.cash import service
from bursar.parts.banking.cash.rules import paths
from bursar.parts.banking.cash.rules.paths import Flow
from bursar.parts.banking.cash.rules.views import Outlook, Week
from bursar.parts.banking.rules.recurring import Recurring

FLOWS_MAX = 500
"""Expected payments in one outlook."""
RECURRING_MAX = 1_000

_Account = Annotated[str, Query(max_length=200, description="Only this account.")]


class WeekOut(Out):
    """One week ahead; the ends are those of the 80 % and 95 % interval of the balance at its end."""

    start: date
    recurring_in: MoneyOut
    recurring_out: MoneyOut
    committed: Annotated[MoneyOut, Field(description="Held in the ledger and due in this week.")]
    rest: Annotated[MoneyOut, Field(description="What planning forecasts for everything else.")]
    balance: MoneyOut
    lower80: MoneyOut
    upper80: MoneyOut
    lower95: MoneyOut
    upper95: MoneyOut


class LowOut(Out):
    """When a balance is expected below its least: the likely day, and the days at the ends of the 80 % interval."""

    day: date
    earliest: date
    latest: Annotated[date | None, Field(description="Null where the upper end stays above for thirteen weeks.")]


class FlowOut(Out):
    """A payment that is expected."""

    account: str
    day: date
    amount: MoneyOut
    label: str
    source: Annotated[str, Field(description="recurring or commitment.")]


class OutlookOut(Out):
    """Thirteen weeks of one account, or of all accounts of a currency (`account` is empty)."""

    account: str
    currency: str
    balance: MoneyOut
    known: Annotated[bool, Field(description="False where no statement states a balance: it then counts from zero.")]
    on: Annotated[date, Field(description="Last day of the facts.")]
    least: MoneyOut
    low: LowOut | None
    runway_days: Annotated[int | None, Field(description="Days until it is used up; null when it grows.")]
    runway_days_min: Annotated[int | None, Field(description="The same at the lower end of the 80 % interval.")]
    model: Annotated[str, Field(description="What forecasts the rest.")]
    tried: Annotated[int, Field(description="Earlier forecasts that the intervals come from.")]
    coverage80: Annotated[float | None, Field(description="Share of weeks inside 80 % intervals made without them.")]
    weeks: list[WeekOut]
    flows: Annotated[list[FlowOut], Field(description="Up to 500 expected payments, the next first.")]


class RecurringOut(Out):
    """A recurring payment that still runs, with its next day and range of money."""

    account: str
    label: str
    cadence: str
    times: int
    next_day: date
    usual: MoneyOut
    lowest: MoneyOut
    highest: MoneyOut
    a_year: MoneyOut


class LeastIn(In):
    """The least balance an account should have; null takes it back."""

    account: Annotated[str, Field(min_length=1, max_length=200)]
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    least: MoneyIn | None = None


class LeastOut(Out):
    """A least balance."""

    account: str
    least: MoneyOut


def _exact(amount: Decimal, currency: str) -> MoneyOut:
    """Return an exact amount without the places that only a wide column has."""
    whole = amount.normalize()
    places = max(exponent(currency), -int(whole.as_tuple().exponent))
    return MoneyOut(amount=f"{whole:.{places}f}", currency=currency)


def _rounded(amount: float | Decimal, currency: str) -> MoneyOut:
    return MoneyOut.of(Money.rounded(Decimal(str(amount)), currency))


def _week(week: Week, currency: str) -> WeekOut:
    exact = {name: _exact(getattr(week, name), currency) for name in ("recurring_in", "recurring_out", "committed")}
    names = ("rest", "balance", "lower80", "upper80", "lower95", "upper95")
    return WeekOut(start=week.start, **exact, **{name: _rounded(getattr(week, name), currency) for name in names})


def _flow(flow: Flow) -> FlowOut:
    amount = _exact(flow.amount, flow.currency)
    return FlowOut(account=flow.account, day=flow.day, amount=amount, label=flow.label, source=flow.source)


def _out(one: Outlook) -> OutlookOut:
    low = LowOut(day=one.low.day, earliest=one.low.earliest, latest=one.low.latest) if one.low else None
    return OutlookOut(
        account=one.account, currency=one.currency, balance=_exact(one.balance, one.currency), known=one.known,
        on=one.on, least=_exact(one.limit, one.currency), low=low, runway_days=one.runway_days,
        runway_days_min=one.runway_days_min, model=one.model, tried=one.tried,
        coverage80=None if one.coverage80 != one.coverage80 else one.coverage80,  # NaN: it cannot be told
        weeks=[_week(week, one.currency) for week in one.weeks],
        flows=[_flow(flow) for flow in sorted(one.flows, key=lambda flow: flow.day)[:FLOWS_MAX]],
    )  # fmt: skip


def _recurring(one: Recurring) -> RecurringOut:
    recent, usual = one.amounts[-paths.AMOUNTS_LOOKED :], paths.usual_amount(one)
    return RecurringOut(
        account=one.account, label=one.label, cadence=one.cadence, times=len(one.days), next_day=paths.next_day(one),
        usual=_exact(usual, one.currency), lowest=_exact(min(recent), one.currency),
        highest=_exact(max(recent), one.currency), a_year=_exact(usual * one.per_year, one.currency),
    )  # fmt: skip


def routes(lake: Lake) -> Router:
    """Return the routes of cash over a lake."""
    r = router("cash", tag="Cash", about="Balances, recurring payments, thirteen weeks ahead, runway.")

    @r.get("/v1/cash", right="bank:read")
    async def cash_outlook(db: TheDb, actor: As, account: _Account = "") -> list[OutlookOut]:
        """Show the thirteen weeks ahead: each currency's total and its accounts, with intervals and runway."""
        async with db.reading(actor) as tx:
            found = await service.outlook(tx, actor, lake=lake)
        return [_out(one) for one in found if account in ("", one.account)]

    @r.get("/v1/cash/recurring", right="bank:read")
    async def list_recurring(db: TheDb, actor: As, account: _Account = "") -> list[RecurringOut]:
        """List up to 1,000 recurring payments that still run, in and out."""
        async with db.reading(actor) as tx:
            found = await service.recurring_payments(tx, actor, lake=lake)
        return [_recurring(one) for one in found if account in ("", one.account)][:RECURRING_MAX]

    @r.get("/v1/cash/least", right="bank:read")
    async def list_least(db: TheDb, actor: As) -> list[LeastOut]:
        """List the least balances that were set."""
        async with db.reading(actor) as tx:
            found = await service.least(tx, actor)
        return [
            LeastOut(account=account, least=_exact(amount, currency)) for (account, currency), amount in found.items()
        ]

    @r.put("/v1/cash/least", right="bank:write", refusals=[NotFound], status_code=204)
    async def set_least(body: LeastIn, db: TheDb, actor: As) -> None:
        """Set the least balance an account should have; `balance.low` tells when it is, or will be, below."""
        amount = body.least.money().amount if body.least else None
        async with db.writing(actor) as tx:
            await service.set_least(
                tx, actor, account=body.account, currency=body.currency, least=amount, now=utc_now()
            )

    return r
