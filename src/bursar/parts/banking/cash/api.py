"""Cash over HTTP: thirteen weeks ahead, recurring payments, least balances."""

from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Annotated

from fastapi import Query
from pydantic import Field

from bursar.infra.clock import utc_now
from bursar.infra.lake import Lake
from bursar.infra.traces import Tracer
from bursar.infra.web import As, In, MoneyIn, MoneyOut, Out, Router, TheDb, TracedOut, Traces, router
from bursar.kernel.errors import NotFound
from bursar.parts.banking.cash import service
from bursar.parts.banking.cash.rules import paths, views
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
    recurring_in: TracedOut
    recurring_out: TracedOut
    committed: Annotated[TracedOut, Field(description="Held in the ledger and due in this week.")]
    rest: Annotated[TracedOut, Field(description="What planning forecasts for everything else.")]
    balance: TracedOut
    lower80: TracedOut
    upper80: TracedOut
    lower95: TracedOut
    upper95: TracedOut


class LowOut(Out):
    """When a balance is expected below its least: the likely day, and the days at the ends of the 80 % interval."""

    day: date
    earliest: date
    latest: Annotated[date | None, Field(description="Null where the upper end stays above for thirteen weeks.")]


class FlowOut(Out):
    """A payment that is expected."""

    account: str
    day: date
    amount: TracedOut
    label: str
    source: Annotated[str, Field(description="recurring or commitment.")]


class OutlookOut(Out):
    """Thirteen weeks of one account, or of all accounts of a currency (`account` is empty)."""

    account: str
    currency: str
    balance: TracedOut
    known: Annotated[bool, Field(description="False where no statement states a balance: it then counts from zero.")]
    on: Annotated[date, Field(description="Last day of the facts.")]
    least: Annotated[MoneyOut, Field(description="As a person set it; else nothing.")]
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
    usual: TracedOut
    lowest: TracedOut
    highest: TracedOut
    a_year: TracedOut


class LeastIn(In):
    """The least balance an account should have; null takes it back."""

    account: Annotated[str, Field(min_length=1, max_length=200)]
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    least: MoneyIn | None = None


class LeastOut(Out):
    """A least balance."""

    account: str
    least: MoneyOut


@dataclass(frozen=True, slots=True)
class _Telling:
    """Translates what is expected of one account, or of all of a currency, with the tokens of its amounts."""

    traces: Tracer
    account: str
    currency: str

    def amount(self, question: str, part: str, amount: Decimal | float, **facts: str) -> TracedOut:
        """Return an exact amount as it is, an expected one to the cent."""
        pairs = (("account", self.account), *facts.items())
        trace = self.traces.asked(question, part, self.currency, pairs)
        return TracedOut.exactly(views.told_amount(amount, self.currency), self.currency, trace)

    def outlook(self, one: Outlook) -> OutlookOut:
        low = LowOut(day=one.low.day, earliest=one.low.earliest, latest=one.low.latest) if one.low else None
        return OutlookOut(
            account=one.account, currency=one.currency, balance=self.amount("cash", "balance", one.balance), known=one.known,
            on=one.on, least=MoneyOut.exact(one.limit, one.currency), low=low, runway_days=one.runway_days,
            runway_days_min=one.runway_days_min, model=one.model, tried=one.tried,
            coverage80=None if one.coverage80 != one.coverage80 else one.coverage80,  # NaN: it cannot be told
            weeks=[self.week(week) for week in one.weeks],
            flows=[self.flow(flow) for flow in sorted(one.flows, key=lambda flow: flow.day)[:FLOWS_MAX]],
        )  # fmt: skip

    def week(self, week: Week) -> WeekOut:
        amounts = {
            name: self.amount("cash", name, getattr(week, name), week=f"{week.start}") for name in views.WEEK_AMOUNTS
        }
        return WeekOut(start=week.start, **amounts)

    def flow(self, flow: Flow) -> FlowOut:
        mine = replace(self, account=flow.account)
        facts = {"day": f"{flow.day}", "label": flow.label, "of": f"{flow.amount:f}"}
        amount = mine.amount("flow", flow.source, flow.amount, **facts)
        return FlowOut(account=flow.account, day=flow.day, amount=amount, label=flow.label, source=flow.source)

    def recurring(self, one: Recurring) -> RecurringOut:
        amounts = {
            name: self.amount("recurring", name, amount, payee=one.payee)
            for name, amount in views.recurring_amounts(one).items()
        }
        return RecurringOut(
            account=one.account, label=one.label, cadence=one.cadence, times=len(one.days), next_day=paths.next_day(one),
            **amounts,
        )  # fmt: skip


def routes(lake: Lake) -> Router:
    """Return the routes of cash over a lake."""
    r = router("cash", tag="Cash", about="Balances, recurring payments, thirteen weeks ahead, runway.")

    @r.get("/v1/cash", right="bank:read")
    async def cash_outlook(db: TheDb, actor: As, traces: Traces, account: _Account = "") -> list[OutlookOut]:
        """Show the thirteen weeks ahead: each currency's total and its accounts, with intervals and runway."""
        async with db.reading(actor) as tx:
            found = await service.outlook(tx, actor, lake=lake)
        return [
            _Telling(traces, one.account, one.currency).outlook(one) for one in found if account in ("", one.account)
        ]

    @r.get("/v1/cash/recurring", right="bank:read")
    async def list_recurring(db: TheDb, actor: As, traces: Traces, account: _Account = "") -> list[RecurringOut]:
        """List up to 1,000 recurring payments that still run, in and out."""
        async with db.reading(actor) as tx:
            found = await service.recurring_payments(tx, actor, lake=lake)
        mine = [one for one in found if account in ("", one.account)][:RECURRING_MAX]
        return [_Telling(traces, one.account, one.currency).recurring(one) for one in mine]

    @r.get("/v1/cash/least", right="bank:read")
    async def list_least(db: TheDb, actor: As) -> list[LeastOut]:
        """List the least balances that were set."""
        async with db.reading(actor) as tx:
            found = await service.least(tx, actor)
        return [
            LeastOut(account=account, least=MoneyOut.exact(amount, currency))
            for (account, currency), amount in found.items()
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
