"""Budgets on the real database and lake: exact actuals, roll-over, forecast to the end, and each threshold told once."""

import asyncio
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from bursar.core.findings import service as findings
from bursar.core.intake.jobs import Importer
from bursar.core.planning.budgets import service
from bursar.core.planning.budgets.rules import limits as rules
from bursar.core.planning.budgets.service import Budget, Cadence, Change, RollOver, Status, Threshold, Wanted
from bursar.core.planning.calendars import service as calendars
from bursar.core.planning.calendars.service import Event, Planned
from bursar.core.planning.commitments.rules import NOTHING
from bursar.core.planning.forecasts import service as forecasts
from bursar.core.planning.forecasts.service import Drivers
from bursar.core.planning.series.rules import series_id
from bursar.infra.db import Database, new_id
from bursar.infra.lake import Lake
from bursar.infra.mail_tables import outbox
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, Invalid, NotAllowed, NotFound, Stale
from bursar.kernel.money import Money
from bursar.kernel.period import Grain, Period, add_months
from tests.core.planning.conftest import bill
from tests.core.planning.test_forecasts import take

NOW = datetime(2026, 10, 22, 6, tzinfo=UTC)
FIRST, LAST = date(2026, 5, 1), date(2026, 10, 20)


def flat(day: date, level: float) -> str:
    return f"{level:.2f}"


def wanted(amount: str, **facts: Any) -> Wanted:
    usual: dict[str, Any] = {
        "name": "Cloud",
        "source": "cost",
        "filter": {"provider": ["aws"]},
        "amount": Money.of(amount, "USD"),
        "cadence": Cadence.MONTH,
        "roll_over": RollOver.NONE,
        "start": date(2026, 10, 1),
        "tell": ["finance@example.com", "ops@example.com"],
    }
    return Wanted(**(usual | facts))


async def make(db: Database, actor: Actor, one: Wanted) -> Budget:
    async with db.writing(actor) as tx:
        return await service.create(tx, actor, wanted=one, now=NOW)


async def stand(db: Database, actor: Actor, lake: Lake, one: Budget, *, now: datetime = NOW, **facts: Any) -> Status:
    async with db.reading(actor) as tx:
        return await service.status(tx, actor, id_=one.id, lake=lake, now=now, **facts)


async def mails(db: Database, actor: Actor) -> list[tuple[str, str]]:
    async with db.reading(actor) as tx:
        rows = await tx.all(sa.select(outbox.c.recipient, outbox.c.facts).order_by(outbox.c.id).limit(100))
    return [(row.recipient, row.facts["title"]) for row in rows]


@pytest.fixture
async def billed(db: Database, importer: Importer, lake: Lake, actor: Actor, tmp_path: Path) -> Lake:
    """AWS costs exactly 175 USD a day, Microsoft 79; the day forecast and the month forecast are stored."""
    await take(importer, actor, bill(tmp_path / "bill.csv", FIRST, LAST, amounts=flat), now=NOW)
    await forecasts.forecast_all(db, actor, lake=lake, now=NOW, grains=[Grain.DAY, Grain.MONTH])
    return lake


async def test_a_budget_says_what_is_spent_exactly_and_what_is_expected(
    db: Database, actor: Actor, billed: Lake
) -> None:
    one = await make(db, actor, wanted("6000.00"))

    status = await stand(db, actor, billed, one)

    assert status.actual == Money.of("3500.00", "USD")  # 20 days of 175
    assert status.known_until == LAST
    assert status.allowed == one.amount
    assert status.committed == Money(0, "USD")
    assert NOTHING in status.notes
    assert status.expected is not None
    assert status.low95 is not None
    assert status.high95 is not None
    assert abs(status.expected.amount - Decimal(31 * 175)) < 40
    assert status.actual.minor <= status.low95.minor <= status.expected.minor <= status.high95.minor
    assert status.crossed == ()


async def test_each_threshold_is_told_once_with_its_finding(db: Database, actor: Actor, billed: Lake) -> None:
    one = await make(db, actor, wanted("4200.00"))  # 83 % spent, 5425 expected

    for _ in range(3):
        async with db.writing(actor) as tx:
            told = await service.check(tx, actor, lake=billed, now=NOW)
    async with db.reading(actor) as tx:
        inbox = await findings.inbox(tx, actor, kind_prefix="planning.budget")
        totals = findings.totals(inbox)
        alerts = await service.alerts(tx, actor, id_=one.id)

    assert told == []
    assert sorted(await mails(db, actor)) == [
        (to, text)
        for to in ("finance@example.com", "ops@example.com")
        for text in ("Cloud: 80 % of the budget is spent", "Cloud: the forecast goes past the budget")
    ]
    assert {kept.finding.kind for kept in inbox} == {"planning.budget_near", "planning.budget_forecast"}
    assert abs(totals[0].worth.amount - Decimal(5425 - 4200)) < 40  # two findings, counted once
    assert {row.threshold for row in alerts} == {"actual80", "forecast100"}
    assert all(row.told == ["finance@example.com", "ops@example.com"] for row in alerts)


async def test_each_person_is_told_once_in_a_period_also_who_is_named_later(
    db: Database, actor: Actor, billed: Lake
) -> None:
    one = await make(db, actor, wanted("3000.00", tell=["a@example.com", "A@example.com", "a@example.com"]))

    async def check() -> list[str]:
        async with db.writing(actor) as tx:
            await service.check(tx, actor, lake=billed, now=NOW)
        return [to for to, text in await mails(db, actor) if "is spent" in text and "80" not in text]

    assert await check() == ["a@example.com"]
    for amount in ("9000.00", "3100.00"):  # raised, and lowered again
        later = wanted(amount, tell=["B@example.com", "a@example.com"])
        async with db.writing(actor) as tx:
            await service.change(tx, actor, id_=one.id, wanted=later, seen=lambda _: None, now=NOW)
        told = await check()
    assert told == ["a@example.com", "B@example.com"]
    assert await check() == told
    async with db.reading(actor) as tx:
        [over] = [row for row in await service.alerts(tx, actor, id_=one.id) if row.threshold == "actual100"]
    assert over.told == told


async def test_two_workers_at_once_tell_a_threshold_once(db: Database, actor: Actor, billed: Lake) -> None:
    await make(db, actor, wanted("3000.00", tell=["a@example.com"]))

    async def check() -> int:
        async with db.writing(actor) as tx:
            return len(await service.check(tx, actor, lake=billed, now=NOW))

    told = await asyncio.gather(check(), check(), check())

    assert sorted(told) == [0, 0, 2]
    assert len(await mails(db, actor)) == 2


async def test_a_check_that_is_killed_before_it_ends_tells_nobody_and_the_next_tells(
    db: Database, actor: Actor, billed: Lake
) -> None:
    await make(db, actor, wanted("3000.00", tell=["a@example.com"]))

    with pytest.raises(asyncio.CancelledError):
        async with db.writing(actor) as tx:
            assert len(await service.check(tx, actor, lake=billed, now=NOW)) == 2
            raise asyncio.CancelledError
    assert await mails(db, actor) == []
    async with db.writing(actor) as tx:
        assert len(await service.check(tx, actor, lake=billed, now=NOW)) == 2

    assert len(await mails(db, actor)) == 2


async def test_a_budget_of_long_ago_stands_and_stops_nobody_elses_check(
    db: Database, actor: Actor, billed: Lake
) -> None:
    old = {
        kind: await make(db, actor, wanted("3000.00", name=kind, roll_over=kind, start=date(1970, 1, 1)))
        for kind in RollOver
    }

    carried = {kind: (await stand(db, actor, billed, one)).carried.amount for kind, one in old.items()}
    async with db.writing(actor) as tx:
        told = await service.check(tx, actor, lake=billed, now=NOW)

    spent = Decimal(175 * 153)  # May to September
    assert carried == {
        RollOver.NONE: 0,
        RollOver.UNSPENT: 3000 * (rules.PERIODS_MAX - 1) - spent,
        RollOver.BOTH: 3000 * (rules.PERIODS_MAX - 1) - spent,
    }
    assert {status.budget.name for status, _ in told} == {"none"}


async def test_a_threshold_is_told_again_in_the_next_period(
    db: Database, actor: Actor, billed: Lake, importer: Importer, tmp_path: Path
) -> None:
    await make(db, actor, wanted("1000.00", tell=["a@example.com"]))
    async with db.writing(actor) as tx:
        october = await service.check(tx, actor, lake=billed, now=NOW)
    later = datetime(2026, 11, 12, tzinfo=UTC)
    await take(importer, actor, bill(tmp_path / "b.csv", date(2026, 10, 21), date(2026, 11, 10), amounts=flat))

    async with db.writing(actor) as tx:
        november = await service.check(tx, actor, lake=billed, now=later)

    assert [threshold for _, threshold in october] == [Threshold.NEAR, Threshold.OVER]
    assert [threshold for _, threshold in november] == [Threshold.NEAR, Threshold.OVER]
    assert len(await mails(db, actor)) == 4


async def test_finer_filters_take_their_share_and_say_so(db: Database, actor: Actor, billed: Lake) -> None:
    region = await make(db, actor, wanted("9000.00", filter={"region": ["eu-west-1"]}))
    service_ = await make(
        db, actor, wanted("9000.00", name="Compute", filter={"service": ["Amazon EC2", "Virtual Machines"]})
    )
    nobody = [["nobody"], ["(total)"], ["aws | acct-1"]]  # the last two are keys of series, of other levels
    nothing = [await make(db, actor, wanted("9000.00", name=f"{it}", filter={"provider": it})) for it in nobody]

    by_region, by_service, *empty = [await stand(db, actor, billed, each) for each in (region, service_, *nothing)]

    assert by_region.actual == Money.of("2400.00", "USD")  # 20 days of 120
    assert by_region.expected is not None
    assert abs(by_region.expected.amount - 31 * 120) < 40
    assert any("share" in note for note in by_region.notes)
    assert by_service.actual == Money.of("4500.00", "USD")  # 100 + 55 + 70
    assert by_service.expected is not None
    assert abs(by_service.expected.amount - 31 * 225) < 60
    assert [(one.actual.minor, one.expected) for one in empty] == [(0, Money(0, "USD"))] * 3


async def test_a_year_reaches_beyond_the_daily_forecast_by_months(db: Database, actor: Actor, billed: Lake) -> None:
    one = await make(db, actor, wanted("99000.00", cadence=Cadence.YEAR, start=date(2026, 1, 1), filter={}))
    next_year = await stand(db, actor, billed, one, day=date(2027, 2, 1))

    status = await stand(db, actor, billed, one)

    assert status.period == Period(date(2026, 1, 1), date(2027, 1, 1))
    assert status.actual == Money.of(str(173 * 254), "USD")
    assert status.expected is not None
    assert abs(status.expected.amount - Decimal((173 + 72) * 254)) < 500
    assert next_year.actual.minor == 0
    assert any("reaches 2027-" in note for note in next_year.notes)


async def test_what_is_left_rolls_over_as_declared(db: Database, actor: Actor, billed: Lake) -> None:
    start = date(2026, 8, 1)  # August and September spend 31 and 30 times 175
    kinds = {
        kind: await make(db, actor, wanted("5500.00", name=kind, roll_over=kind, start=start)) for kind in RollOver
    }
    tight = await make(db, actor, wanted("5000.00", name="tight", roll_over=RollOver.BOTH, start=start))
    capped = await make(db, actor, wanted("5000.00", name="capped", roll_over=RollOver.UNSPENT, start=start))

    carried = {kind: (await stand(db, actor, billed, one)).carried.amount for kind, one in kinds.items()}

    assert carried == {RollOver.NONE: 0, RollOver.UNSPENT: 325, RollOver.BOTH: 325}
    assert (await stand(db, actor, billed, tight)).carried.amount == Decimal("-675.00")
    assert (await stand(db, actor, billed, capped)).carried.amount == 0


async def test_what_is_committed_is_a_part_of_what_is_forecast_and_never_beside_it(
    db: Database, actor: Actor, billed: Lake
) -> None:
    """A planned amount of 3000 on 25 October: before the next forecast it is the least that comes, then it is in it."""
    one = await make(db, actor, wanted("7000.00"))
    event = Event("Renewal", (date(2026, 10, 25),), series_id("cost", "USD", "aws"), Decimal(3000), "USD")
    over = Event("Begun", (date(2026, 10, 19),), series_id("cost", "USD", "aws"), Decimal(4000), "USD")
    async with db.writing(actor) as tx:
        await calendars.put(tx, actor, planned=Planned("", "", (event, over)), now=NOW)

    before = await stand(db, actor, billed, one)
    later = NOW + timedelta(hours=1)
    await forecasts.forecast_all(db, actor, lake=billed, now=later, grains=[Grain.DAY, Grain.MONTH])
    after = await stand(db, actor, billed, one, now=later)

    assert before.committed == after.committed == Money.of("3000.00", "USD")
    assert [(one.claim.label, one.money) for one in before.commitments] == [
        ("planned Renewal 2026-10-25", before.committed)
    ]
    assert before.expected == before.low95 == Money.of("6500.00", "USD")
    assert before.crossed == ()
    assert after.expected is not None
    assert abs(after.expected.amount - Decimal(31 * 175 + 3000)) < 40
    assert after.crossed == (Threshold.FORECAST,)


async def test_other_currencies_are_named_and_not_added(
    db: Database, actor: Actor, billed: Lake, importer: Importer, tmp_path: Path
) -> None:
    euros = bill(tmp_path / "e.csv", date(2026, 10, 1), LAST, amounts=flat, currency="EUR", only="Microsoft")
    await take(importer, actor, euros, now=NOW)
    one = await make(db, actor, wanted("9000.00", filter={}))

    status = await stand(db, actor, billed, one)

    assert status.others == (Money.of(str(20 * 79), "EUR"),)
    assert any("1580.00 EUR" in note for note in status.notes)


@pytest.mark.parametrize("key", ["(total)", "aws", "aws | acct-1 | Amazon EC2"])
async def test_what_if_moves_a_budget_from_above_itself_and_below(
    db: Database, actor: Actor, billed: Lake, key: str
) -> None:
    """From 26 October on, for six days: everything, AWS, or one service of it is half dearer."""
    one = await make(db, actor, wanted("5440.00"))
    async with db.reading(actor) as tx:
        [run] = [each for each in await forecasts.newest(tx, actor, source="cost") if each.grain is Grain.DAY]
        values = {each.key: each for each in await forecasts.values_of(tx, actor, run=run.id)}
    changed = values[key]
    change = Change(changed.id, Drivers(price=Decimal("0.5"), since=date(2026, 10, 26)))

    async with db.reading(actor) as tx:
        before, after = await service.what_if(tx, actor, id_=one.id, change=change, lake=billed, now=NOW)
        again = await service.status(tx, actor, id_=one.id, lake=billed, now=NOW)

    mine = values["aws"] if key == "(total)" else changed
    steps = [at for at, start in enumerate(run.starts) if date(2026, 10, 26) <= start < date(2026, 11, 1)]
    dearer = sum((forecasts.amount_of(mine.mean[at]) for at in steps), Decimal(0)) / 2
    assert before.expected is not None
    assert after.expected is not None
    assert before == again
    assert len(steps) == 6
    assert abs((after.expected - before.expected).amount - dearer) < Decimal("0.02")
    assert before.crossed == ()
    assert after.crossed == (Threshold.FORECAST,)
    assert (after.actual, after.allowed) == (before.actual, before.allowed)


async def test_what_if_refuses_a_series_that_is_not_forecast_and_drivers_out_of_range(
    db: Database, actor: Actor, billed: Lake
) -> None:
    one = await make(db, actor, wanted("6000.00"))
    euros = await make(db, actor, replace(wanted("1.00", name="Euros"), amount=Money.of("6000.00", "EUR")))
    total = series_id("cost", "USD", "(total)")

    async def ask(id_: UUID, series: str, drivers: Drivers) -> None:
        async with db.reading(actor) as tx:
            await service.what_if(tx, actor, id_=id_, change=Change(series, drivers), lake=billed, now=NOW)

    with pytest.raises(NotFound):
        await ask(one.id, "S" + "0" * 16, Drivers())
    with pytest.raises(NotFound):
        await ask(euros.id, total, Drivers())
    with pytest.raises(Invalid, match="growth"):
        await ask(one.id, total, Drivers(growth=Decimal(3)))


async def test_without_a_forecast_nothing_is_made_up(
    db: Database, actor: Actor, importer: Importer, lake: Lake, tmp_path: Path
) -> None:
    await take(importer, actor, bill(tmp_path / "bill.csv", FIRST, LAST, amounts=flat), now=NOW)
    one = await make(db, actor, wanted("6000.00"))

    status = await stand(db, actor, lake, one)

    assert status.expected is None
    assert any("Nothing is forecast" in note for note in status.notes)


async def test_budgets_are_edited_by_who_saw_them_and_hidden_from_others(
    db: Database, actor: Actor, other_actor: Actor, make_actor: Any
) -> None:
    one = await make(db, actor, wanted("10.00"))

    def stale(version: object) -> None:
        raise Stale

    async with db.writing(actor) as tx:
        with pytest.raises(Conflict, match="Cloud"):
            await service.create(tx, actor, wanted=wanted("5.00"), now=NOW)
    async with db.writing(actor) as tx:
        with pytest.raises(Stale):
            await service.change(tx, actor, id_=one.id, wanted=wanted("5.00"), seen=stale, now=NOW)
    async with db.reading(other_actor) as tx:
        assert await service.listed(tx, other_actor) == []
        with pytest.raises(NotFound):
            await service.get(tx, other_actor, id_=one.id)
    with pytest.raises(NotAllowed, match="budget:write"):
        async with db.writing(actor) as tx:
            await service.create(tx, make_actor("budget:read"), wanted=wanted("5.00"), now=NOW)


async def test_a_budget_of_an_organisation_without_facts_stands_at_nothing(
    db: Database, actor: Actor, lake: Lake
) -> None:
    coarse = await make(db, actor, wanted("10.00", roll_over=RollOver.BOTH))
    finer = await make(db, actor, wanted("10.00", name="finer", filter={"region": ["moon"]}))

    for one in (coarse, finer):
        status = await stand(db, actor, lake, one)
        assert (status.actual.minor, status.expected, status.known_until, status.crossed) == (0, None, None, ())
    async with db.writing(actor) as tx:
        assert await service.check(tx, actor, lake=lake, now=NOW) == []


def test_every_kind_of_finding_of_budgets_is_documented() -> None:
    text = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "findings.md").read_text(encoding="utf-8")

    assert [kind for kind in rules.KINDS if f"`{kind}`" not in text] == []


BAD = {
    "no amount": wanted("0.00"),
    "negative": wanted("-5.00"),
    "no name": wanted("5.00", name=" "),
    "a control character": wanted("5.00", name="a\x00b"),
    "no such dimension": wanted("5.00", filter={"colour": ["red"]}),
    "no values": wanted("5.00", filter={"provider": []}),
    "an empty value": wanted("5.00", filter={"provider": [""]}),
    "no address": wanted("5.00", tell=["nobody"]),
    "no domain": wanted("5.00", tell=["nobody@"]),
    "a space in an address": wanted("5.00", tell=["no body@example.com"]),
    "no source": wanted("5.00", source="moon"),
    "too many addresses": wanted("5.00", tell=[f"a{at}@example.com" for at in range(rules.TELL_MAX + 1)]),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
async def test_a_budget_that_cannot_work_is_refused(db: Database, actor: Actor, bad: Wanted) -> None:
    with pytest.raises(Invalid):
        await make(db, actor, bad)


@given(
    st.sampled_from(list(RollOver)),
    st.integers(1, 10**12),
    st.lists(st.integers(0, 10**12), max_size=12),
)
def test_rolled_over_amounts_lose_nothing(kind: RollOver, amount: int, spent: list[int]) -> None:
    budget = Budget(new_id(), "b", "cost", {}, Money(amount, "EUR"), Cadence.MONTH, kind, FIRST, (), NOW, NOW)

    may = rules.allowed(budget, [Money(one, "EUR") for one in spent]).minor

    if kind is RollOver.NONE:
        assert may == amount
    elif kind is RollOver.BOTH:
        assert may == amount * (len(spent) + 1) - sum(spent)
    else:
        assert amount <= may <= amount * (len(spent) + 1)


@given(st.sampled_from(list(Cadence)), st.dates(date(2000, 1, 1), date(2100, 1, 1)), st.integers(1, 12))
def test_a_period_holds_its_day_and_follows_the_calendar(cadence: Cadence, day: date, begins: int) -> None:
    period = rules.period_of(cadence, day, begins)
    months = {Cadence.MONTH: 1, Cadence.QUARTER: 3, Cadence.YEAR: 12}[cadence]

    assert day in period
    assert period.start.day == 1
    assert (period.start.month - begins) % months == 0
    assert period.end == add_months(period.start, months)
    assert rules.period_of(cadence, period.end, begins).start == period.end


async def test_years_and_quarters_may_begin_in_another_month_and_roll_over_there(
    db: Database, actor: Actor, billed: Lake
) -> None:
    """81 days of 175 are known from August on, in the year as in its first quarter; what is left of that moves on."""
    start = date(2026, 8, 15)
    facts: dict[str, Any] = {"start": start, "year_begins": 8, "roll_over": RollOver.BOTH}
    year = await make(db, actor, wanted("90000.00", name="year", cadence=Cadence.YEAR, **facts))
    quarter = await make(db, actor, wanted("17000.00", name="quarter", cadence=Cadence.QUARTER, **facts))

    whole = await stand(db, actor, billed, year)
    first = await stand(db, actor, billed, quarter)
    second = await stand(db, actor, billed, quarter, day=date(2026, 11, 3))

    assert whole.period == Period(date(2026, 8, 1), date(2027, 8, 1))
    assert first.period == Period(date(2026, 8, 1), date(2026, 11, 1))
    assert whole.actual == first.actual == Money.of(str(81 * 175), "USD")
    assert second.period.start == date(2026, 11, 1)
    assert second.carried == Money.of(str(17000 - 81 * 175), "USD")
