"""Reports and exports; see the package."""

from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import accumulate, groupby
from typing import Any
from uuid import UUID

from bursar.core.ledger.rules import reports
from bursar.core.ledger.rules.exports import Beancount, Row
from bursar.core.ledger.rules.orders import check_currency
from bursar.core.ledger.rules.reports import Line, Rate, Section
from bursar.core.ledger.store import accounts as account_store
from bursar.core.ledger.store import reports as store
from bursar.infra.db import Tx
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Invalid, NotFound, TooLarge

EXPORT_ROWS = 2_000
"""Transfers written at a time."""


@dataclass(frozen=True, slots=True)
class TrialBalance:
    """Every account with its debits and credits; ``totals`` are the debits of each currency, equal to its credits."""

    lines: Sequence[Line]
    totals: dict[str, int]


async def trial_balance(
    tx: Tx, actor: Actor, *, on: date | None = None, known_at: datetime | None = None
) -> TrialBalance:
    """Return the balances at the end of a value date, as known at an instant; today's when neither is given."""
    actor.must("ledger:read")
    whole = on is None and known_at is None
    lines = await store.current_lines(tx) if whole else await store.lines(tx, until=on, known_at=known_at)
    return TrialBalance(lines, reports.check_trial_balance(lines))


async def lines(
    tx: Tx,
    actor: Actor,
    *,
    since: date | None,
    until: date | None,
    known_at: datetime | None,
    kinds: Sequence[str] = (),
) -> list[Line]:
    """Return every account that moved, with its debits and credits; ``kinds`` limits to some kinds of account."""
    actor.must("ledger:read")
    return await store.lines(tx, since=since, until=until, known_at=known_at, kinds=kinds)


@dataclass(frozen=True, slots=True)
class Moves:
    """What moved one account: its sums, its sums by the account on the other side, the largest transfers and their number.

    ``moves`` have ``batch``, ``place``, ``key``, ``value_day``, ``memo`` and ``minor``, positive for debits.
    """

    line: Line
    against: Sequence[Line]
    moves: Sequence[Any]
    count: int


async def moves(
    tx: Tx,
    actor: Actor,
    *,
    account: UUID,
    rows: int,
    since: date | None = None,
    until: date | None = None,
    known_at: datetime | None = None,
) -> Moves:
    """Return what moved an account in a period, as known at an instant, with at most ``rows`` transfers.

    Raises:
        NotFound: There is no such account.
    """
    actor.must("ledger:read")
    found = await account_store.by_id(tx, account)
    if found is None:
        raise NotFound("account", str(account))
    span: dict[str, Any] = {"since": since, "until": until, "known_at": known_at}
    others = [
        Line(account, code, found.name, found.kind, found.currency, *sides)
        for code, *sides in await store.against(tx, account_id=account, **span)
    ]
    whole = Line(
        account, found.code, found.name, found.kind, found.currency,
        sum(one.debits for one in others), sum(one.credits for one in others),
    )  # fmt: skip
    count, largest = await store.moves(tx, account_id=account, limit=rows, **span)
    return Moves(whole, others, largest, count)


@dataclass(frozen=True, slots=True)
class Path:
    """The balance of one account over time: ``balances[i]`` (debits less credits, minor units) ends ``days[i]``."""

    days: Sequence[date]
    balances: Sequence[int]

    def at(self, day: date) -> int:
        """Return the balance at the end of a day."""
        number = bisect_right(self.days, day)
        return self.balances[number - 1] if number else 0


async def paths(tx: Tx, actor: Actor, *, accounts: Sequence[UUID], until: date | None = None) -> dict[UUID, Path]:
    """Return the balance of some accounts at the end of every day on which it changed, up to ``until`` included.

    Raises:
        TooLarge: Over 2,000,000 account days.
    """
    actor.must("ledger:read")
    rows = await store.daily(tx, accounts, until=until)
    if len(rows) == store.DAYS_MAX:
        raise TooLarge("The balances", store.DAYS_MAX, "account days")
    found = {}
    for account, mine in groupby(rows, key=lambda row: row.account):
        days, nets = zip(*((row.value_day, int(row.net)) for row in mine), strict=True)
        found[account] = Path(days, tuple(accumulate(nets)))
    return found


@dataclass(frozen=True, slots=True)
class IncomeStatement:
    """Income and expenses of a period; ``earnings`` are income less expenses by currency, minor units."""

    sections: Sequence[Section]
    earnings: dict[str, int]


async def income_statement(tx: Tx, actor: Actor, *, since: date, until: date) -> IncomeStatement:
    """Return what was earned and spent with value dates from ``since`` to ``until``, both included."""
    actor.must("ledger:read")
    _check_period(since, until)
    lines = await store.lines(tx, since=since, until=until, kinds=("income", "expense"))
    return IncomeStatement(reports.sections(lines, ("income", "expense")), reports.earnings(lines))


@dataclass(frozen=True, slots=True)
class BalanceSheet:
    """Assets, liabilities and equity at the end of a day, with the earnings until then, which are part of equity."""

    sections: Sequence[Section]
    earnings: dict[str, int]


async def balance_sheet(tx: Tx, actor: Actor, *, on: date, known_at: datetime | None = None) -> BalanceSheet:
    """Return the balance sheet at the end of ``on``; assets equal liabilities, equity and earnings in each currency."""
    actor.must("ledger:read")
    lines = await store.lines(tx, until=on, known_at=known_at)
    sections, earned = reports.sections(lines, ("asset", "liability", "equity")), reports.earnings(lines)
    for currency in {section.currency for section in sections} | earned.keys():
        side = {section.kind: section.total for section in sections if section.currency == currency}
        if side.get("asset", 0) != side.get("liability", 0) + side.get("equity", 0) + earned.get(currency, 0):
            raise reports.OutOfBalance(currency)
    return BalanceSheet(sections, earned)


@dataclass(frozen=True, slots=True)
class Revaluation:
    """Balances in one currency at stated rates.

    Attributes:
        into: The reporting currency.
        worth: Account id to its balance in minor units of ``into``; accounts without a rate are left out.
        gain: Unrealised exchange gain of open ``fx:`` positions, minor units of ``into``.
        rates: The rates used.
        missing: Currencies without a rate on or before the day.
    """

    into: str
    worth: dict[UUID, int]
    gain: int
    rates: dict[str, Rate]
    missing: Sequence[str]


async def rates_into(
    tx: Tx, actor: Actor, *, into: str, currencies: Sequence[str], on: date, known_at: datetime
) -> dict[str, Rate]:
    """Return what one of each currency costs in ``into`` at the latest rate known by then; none is there for one without.

    Raises:
        Invalid: ``into`` is no currency code.
    """
    actor.must("ledger:read")
    check_currency(into)
    found = (
        await account_store.rates(tx, into=into, currencies=currencies, day=on, known_at=known_at) if currencies else []
    )
    return {row.currency: reports.rate_of(*tuple(row)) for row in found}


async def revalue(tx: Tx, actor: Actor, *, on: date, into: str, known_at: datetime) -> Revaluation:
    """Return what every balance at the end of ``on`` is worth in ``into`` at the latest rates known, taken either way round.

    Raises:
        Invalid: ``into`` is no currency code.
    """
    actor.must("ledger:read")
    check_currency(into)
    lines = await store.lines(tx, until=on, known_at=known_at)
    foreign = sorted({line.currency for line in lines} - {into})
    rates = await rates_into(tx, actor, into=into, currencies=foreign, on=on, known_at=known_at)
    worth = {
        line.account: line.balance
        if line.currency == into
        else reports.translated(line.balance, line.currency, into, rates[line.currency].rate)
        for line in lines
        if line.currency == into or line.currency in rates
    }
    gain, _ = reports.revalued(lines, into, rates)
    return Revaluation(into, worth, gain, rates, sorted(set(foreign) - rates.keys()))


@dataclass(frozen=True, slots=True)
class Group:
    """What one party, or one value of a tag, moved: debits and credits in minor units; ``key`` is None for the rest."""

    key: str | None
    kind: str
    currency: str
    debits: int
    credits: int


async def groups(tx: Tx, actor: Actor, *, since: date, until: date, tag: str = "") -> list[Group]:
    """Return income and expenses of a period by the value of a tag; by party when ``tag`` is empty."""
    actor.must("ledger:read")
    _check_period(since, until)
    rows = await store.grouped(tx, since=since, until=until, tag=tag or None, kinds=("income", "expense"))
    return [Group(row[0], row.kind, row.currency, int(row.debits), int(row.credits)) for row in rows]


@dataclass(frozen=True, slots=True)
class Flow:
    """What came into and went out of cash against one account, minor units."""

    kind: str
    code: str
    currency: str
    inflow: int
    outflow: int


async def cash_flow(tx: Tx, actor: Actor, *, cash: str, since: date, until: date) -> list[Flow]:
    """Return where cash came from and went to; ``cash`` is the code prefix of the cash accounts."""
    actor.must("ledger:read")
    _check_period(since, until)
    if not cash:
        raise Invalid("Say which accounts are cash", "Send the prefix of their codes, such as asset:bank")
    rows = await store.cash_flow(tx, cash=cash, since=since, until=until)
    return [Flow(row.kind, row.code, row.currency, int(row.inflow), int(row.outflow)) for row in rows]


def _check_period(since: date, until: date) -> None:
    if since > until:
        raise Invalid(f"The period begins on {since}, after its end on {until}")


async def transfers(
    tx: Tx, actor: Actor, *, since: date | None = None, until: date | None = None
) -> AsyncIterator[list[Row]]:
    """Yield the transfers that moved money, with value dates from ``since`` to ``until``, a page at a time."""
    actor.must("ledger:read")
    after: UUID | None = None
    while True:
        found = await store.exported(tx, after=after, limit=EXPORT_ROWS, since=since, until=until)
        yield [Row(*tuple(row)) for row in found]
        if len(found) < EXPORT_ROWS:
            return
        after = found[-1].id


async def beancount(
    tx: Tx, actor: Actor, *, since: date | None = None, until: date | None = None
) -> AsyncIterator[str]:
    """Yield the books as beancount text, a piece at a time."""
    actor.must("ledger:read")
    writer = Beancount(await _accounts(tx))
    yield writer.opening(await _first_day(tx))
    async for rows in transfers(tx, actor, since=since, until=until):
        yield writer.transactions(rows)


async def _accounts(tx: Tx) -> list[tuple[str, str, str, date]]:
    found: list[tuple[str, str, str, date]] = []
    after: str | None = None
    while rows := await account_store.page(tx, after=after, limit=EXPORT_ROWS):
        found += [(row.code, row.kind, row.currency, row.opened_at.date()) for row in rows]
        after = rows[-1].code
    return found


async def _first_day(tx: Tx) -> date:
    day: Any = await tx.scalar("select min(value_day) from ledger_transfer where org = :org", {"org": tx.org})
    return day if isinstance(day, date) else date.max
