"""Measuring: the level at acceptance against planted later facts, with an interval that holds what it says."""

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bursar.core.findings import jobs, service
from bursar.core.findings.measuring import rules
from bursar.core.findings.measuring import service as measuring
from bursar.core.findings.measuring.rules import Daily, Level
from bursar.core.findings.measuring.service import Facts
from bursar.infra.db import Database
from bursar.infra.jobs import Context, Ticket
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.kernel.errors import NotAllowed, NotFound
from bursar.kernel.finding import Evidence, Finding, FindingState
from bursar.kernel.lines import BANK_LINES
from bursar.kernel.money import Money
from bursar.kernel.period import Period
from bursar.reports.levels import BILL_LATE_DAYS, daily_of
from tests.parts.cloud.bills import daily, put

START = date(2026, 1, 5)
ACCEPTED = date(2026, 3, 16)
NOW = datetime(2026, 3, 16, 9, tzinfo=UTC)
LATER = datetime(2026, 5, 1, 9, tzinfo=UTC)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake", memory_mb=256)


def finding(resource: str = "vol-1", worth: int = 365_00, **facts: Any) -> Finding:
    made = Finding(
        kind="cloud.idle_resource",
        subject=resource,
        resource=resource,
        period=Period(START, ACCEPTED),
        title=f"Idle {resource}",
        worth=Money(worth, "USD"),
        low=Money(0, "USD"),
        high=Money(worth, "USD"),
        confidence=0.9,
        action="Delete it.",
        evidence=Evidence(formula="cost of the disk"),
    )
    return replace(made, **facts)


async def raised(db: Database, actor: Actor, found: Finding) -> service.Kept:
    async with db.writing(actor) as tx:
        await service.raise_(tx, actor, kinds=[found.kind], findings=[found], now=NOW)
        return (await service.inbox(tx, actor))[0]


async def act(db: Database, actor: Actor, action: str, *, now: datetime = NOW) -> None:
    async with db.writing(actor) as tx:
        await service.act(tx, actor, name="F1", action=action, now=now)


async def expect(db: Database, actor: Actor, kept: service.Kept, lake: Lake, *, now: datetime = NOW) -> None:
    async with db.writing(actor) as tx:
        await measuring.expect(tx, actor, finding=kept.id, facts=Facts(daily_of(lake)), now=now)


async def measure(db: Database, actor: Actor, lake: Lake, *, now: datetime = LATER) -> list[str]:
    async with db.writing(actor) as tx:
        return await measuring.measure_done(tx, actor, facts=Facts(daily_of(lake)), now=now)


async def note(db: Database, actor: Actor) -> str:
    async with db.reading(actor) as tx:
        found = await measuring.standing(tx, actor, name="F1")
    assert found is not None
    return found.note


async def cost(db: Database, actor: Actor, lake: Lake, period: Period, amount: str, **values: Any) -> None:
    """Plant the daily cost of the disk, and a neighbour that goes on, so that the bills are known to go on."""
    async with db.writing(actor) as tx:
        rows = daily(period, amount, resource_id="vol-1", **values) if amount else []
        await put(lake, tx, [*rows, *daily(period, "3", resource_id="other", **values)])


async def test_a_saving_is_verified_from_later_bills(db: Database, actor: Actor, lake: Lake) -> None:
    await cost(db, actor, lake, Period(START, ACCEPTED + timedelta(days=3)), "1.10")
    kept = await raised(db, actor, finding())
    await act(db, actor, "accept")
    await expect(db, actor, kept, lake)
    await act(db, actor, "done", now=NOW + timedelta(days=2))
    await cost(db, actor, lake, Period(ACCEPTED + timedelta(days=3), date(2026, 4, 20)), "")

    assert await measure(db, actor, lake) == ["F1"]

    async with db.reading(actor) as tx:
        got = await service.get(tx, actor, name="F1")
        [score] = await service.scoreboard(tx, actor)
        history = await service.history(tx, actor, name="F1")
    assert got.state is FindingState.MEASURED
    assert got.measured == got.measured_low == got.measured_high == Money(401_50, "USD")
    assert (score.promised, score.verified) == (Money(365_00, "USD"), Money(401_50, "USD"))
    assert history[-1]["action"] == "measure"
    assert "7.70 in each of 8 weeks before - 0.00 in each of 4 after" in history[-1]["after"]["why"]


async def test_nothing_is_measured_before_enough_later_days_are_there(db: Database, actor: Actor, lake: Lake) -> None:
    await cost(db, actor, lake, Period(START, ACCEPTED), "1.10")
    await raised(db, actor, finding())
    await act(db, actor, "done")
    needed = rules.BLOCKS_AFTER_MIN * 7
    end = ACCEPTED + timedelta(days=1 + needed + BILL_LATE_DAYS)
    await cost(db, actor, lake, Period(ACCEPTED, end - timedelta(days=1)), "")

    early = await measure(db, actor, lake)
    said = await note(db, actor)
    await cost(db, actor, lake, Period(end - timedelta(days=1), end), "")

    assert early == []
    assert said == f"needs {needed} days of facts after 2026-03-16; {needed - 7} are there"
    assert await measure(db, actor, lake) == ["F1"]


async def test_what_was_not_saved_is_verified_as_nothing(db: Database, actor: Actor, lake: Lake) -> None:
    await cost(db, actor, lake, Period(START, date(2026, 5, 1)), "1.10")
    await raised(db, actor, finding())
    await act(db, actor, "done")

    await measure(db, actor, lake)

    async with db.reading(actor) as tx:
        got = await service.get(tx, actor, name="F1")
    assert got.measured == Money(0, "USD")


async def test_the_level_is_that_of_the_acceptance_not_of_later_facts(db: Database, actor: Actor, lake: Lake) -> None:
    await cost(db, actor, lake, Period(START, ACCEPTED), "1.10")
    kept = await raised(db, actor, finding())
    await act(db, actor, "accept")
    await expect(db, actor, kept, lake)
    await cost(db, actor, lake, Period(START, ACCEPTED), "9", sub_account_id="222")
    await cost(db, actor, lake, Period(ACCEPTED, date(2026, 5, 1)), "")
    await expect(db, actor, kept, lake, now=LATER)
    await act(db, actor, "done")

    await measure(db, actor, lake)

    async with db.reading(actor) as tx:
        got = await service.get(tx, actor, name="F1")
    assert got.measured == Money(401_50, "USD")


async def test_a_provider_whose_bills_stopped_is_not_taken_for_a_saving(db: Database, actor: Actor, lake: Lake) -> None:
    await cost(db, actor, lake, Period(START, ACCEPTED), "1.10")
    await raised(db, actor, finding())
    await act(db, actor, "done")
    async with db.writing(actor) as tx:
        await put(lake, tx, daily(Period(ACCEPTED, date(2026, 5, 1)), "5", provider="azure", resource_id="x"))

    assert await measure(db, actor, lake) == []
    assert "0 are there" in await note(db, actor)


@pytest.mark.parametrize(
    ("resource", "kind", "columns"),
    [
        ("series:aws | 111 | Amazon S3", "planning.cost_shift", {"service_name": "Amazon S3"}),
        (
            "aws/sp-1",
            "cloud.unused_commitment",
            {"commitment_discount_id": "sp-1", "commitment_discount_status": "Unused", "resource_id": None},
        ),
    ],
)
async def test_series_and_commitments_are_measured_too(
    db: Database, actor: Actor, lake: Lake, resource: str, kind: str, columns: dict[str, Any]
) -> None:
    async with db.writing(actor) as tx:
        rest = daily(Period(START, date(2026, 5, 1)), "3", resource_id="other")
        await put(lake, tx, [*daily(Period(START, ACCEPTED), "2", **columns), *rest])
    await raised(db, actor, finding(resource, kind=kind))
    await act(db, actor, "done")

    await measure(db, actor, lake)

    async with db.reading(actor) as tx:
        got = await service.get(tx, actor, name="F1")
    assert got.measured == Money(730_00, "USD")


def paid(day: date, amount: str, payee: str = "Streamly") -> dict[str, Any]:
    return {
        "statement": 0,
        "account": "DE1",
        "booking_date": day,
        "amount": Decimal(amount),
        "currency": "EUR",
        "status": "booked",
        "counterparty_name": payee,
        "description": payee,
    }


async def subject_of(db: Database, actor: Actor, lake: Lake) -> str:
    from bursar.parts.banking import service as banking

    async with db.reading(actor) as tx:
        lines = await banking.movements(tx, actor, lake=lake)
    [payee] = {row["payee"] for row in lines.iter_rows(named=True) if "Streamly" in row["label"]}
    return f"DE1/{payee}"


def euros(subject: str, kind: str, worth: int, **facts: Any) -> Finding:
    whole = Money(worth, "EUR")
    return replace(finding(subject), kind=kind, worth=whole, low=Money(0, "EUR"), high=whole, **facts)


async def test_a_cancelled_subscription_is_measured_by_months(db: Database, actor: Actor, lake: Lake) -> None:
    first = date(2025, 7, 1)
    fees = [paid(first + timedelta(days=30 * at), "-30") for at in range(9)]
    rent = [paid(first + timedelta(days=30 * at), "-500", "Landlord") for at in range(14)]
    async with db.writing(actor) as tx:
        await put(lake, tx, [*fees, *rent], schema=BANK_LINES)
    await raised(db, actor, euros(await subject_of(db, actor, lake), "banking.new_subscription", 360_00))
    await act(db, actor, "done")

    await measure(db, actor, lake, now=datetime(2026, 9, 1, tzinfo=UTC))

    async with db.reading(actor) as tx:
        got = await service.get(tx, actor, name="F1")
    assert got.measured == Money(365_00, "EUR")


async def test_a_sum_paid_twice_is_verified_by_what_comes_back(db: Database, actor: Actor, lake: Lake) -> None:
    day = date(2026, 3, 2)
    async with db.writing(actor) as tx:
        await put(lake, tx, [paid(day, "-100"), paid(day + timedelta(days=3), "-100")], schema=BANK_LINES)
    subject = f"{await subject_of(db, actor, lake)}/100/2026-03-05"
    await raised(db, actor, euros(subject, "banking.duplicate_payment", 100_00, recurring=False))
    await act(db, actor, "done")

    before = await measure(db, actor, lake)
    waiting = await note(db, actor)
    async with db.writing(actor) as tx:
        await put(lake, tx, [paid(date(2026, 4, 2), "100")], schema=BANK_LINES)

    assert (before, waiting) == ([], "waits for money to come back, up to 90 days")
    assert await measure(db, actor, lake) == ["F1"]
    async with db.reading(actor) as tx:
        assert (await service.get(tx, actor, name="F1")).measured == Money(100_00, "EUR")


async def test_what_no_fact_can_show_says_so(db: Database, actor: Actor, lake: Lake) -> None:
    await raised(db, actor, finding("nothing-known"))
    await act(db, actor, "done")

    assert await measure(db, actor, lake) == []
    assert await note(db, actor) == measuring.NOTHING_TO_COMPARE


async def test_too_little_history_says_so(db: Database, actor: Actor, lake: Lake) -> None:
    await cost(db, actor, lake, Period(ACCEPTED - timedelta(days=10), date(2026, 5, 1)), "1")
    await raised(db, actor, finding())
    await act(db, actor, "done")

    assert await measure(db, actor, lake) == []
    assert await note(db, actor) == "fewer than 21 days of facts before it was accepted"


async def test_what_is_opened_again_is_not_measured(db: Database, actor: Actor, lake: Lake) -> None:
    await cost(db, actor, lake, Period(START, date(2026, 5, 1)), "1.10")
    kept = await raised(db, actor, finding())
    await act(db, actor, "done")
    await act(db, actor, "reopen", now=NOW + timedelta(hours=1))
    await expect(db, actor, kept, lake)

    assert await measure(db, actor, lake) == []
    async with db.reading(actor) as tx:
        assert await measuring.standing(tx, actor, name="F1") is None


async def test_measuring_needs_the_right_and_a_finding(
    db: Database, actor: Actor, lake: Lake, make_actor: Callable[..., Actor]
) -> None:
    reader = make_actor("finding:read", org=actor.org)
    facts = Facts(daily_of(lake))
    async with db.writing(reader) as tx:
        with pytest.raises(NotAllowed):
            await measuring.measure_done(tx, reader, facts=facts, now=LATER)
        with pytest.raises(NotAllowed):
            await measuring.expect(tx, reader, finding=reader.org, facts=facts, now=LATER)
    async with db.writing(actor) as tx:
        with pytest.raises(NotFound):
            await measuring.expect(tx, actor, finding=actor.org, facts=facts, now=LATER)


async def test_the_jobs_keep_the_level_and_measure(db: Database, actor: Actor, lake: Lake) -> None:
    await cost(db, actor, lake, Period(START, date(2026, 5, 1)), "1.10")
    kept = await raised(db, actor, finding())
    await act(db, actor, "accept")
    await act(db, actor, "done")
    tools: dict[type, Any] = {Facts: Facts(daily_of(lake))}

    def context(job: Any) -> Context:
        return Context(db, job, Ticket(1, 1, 0, actor.org), tools=tools)

    async with db.reading(actor) as tx:
        queued = await tx.scalar("select count(*) from procrastinate_jobs where task_name = 'findings.expect'")
    await jobs.expect.run(context(jobs.expect), org=str(actor.org), finding=str(kept.id))
    measured = await jobs.measure.run(context(jobs.measure), org=str(actor.org))
    again = await jobs.measure.run(context(jobs.measure), org=str(actor.org))

    assert queued == 1
    assert (measured, again) == (["F1"], [])


def test_an_interval_of_eighty_per_cent_holds_the_truth_about_that_often() -> None:
    """Weeks with a weekly pattern and noise; the true saving is planted."""
    rng = random.Random(3)
    pattern = (1.2, 1.1, 1.0, 1.0, 1.1, 0.4, 0.3)
    inside = 0
    for _ in range(600):
        days = {
            START + timedelta(days=at): Decimal(
                repr(round((20 if at < 70 else 12) * pattern[at % 7] * rng.gauss(1, 0.1), 4))
            )
            for at in range(70 + 42)
        }
        facts = Daily(START, START + timedelta(days=112), days)
        level = rules.level_at(facts, START + timedelta(days=70))
        assert level is not None
        found = rules.verified(level, rules.after(facts, START + timedelta(days=69)), "USD")
        truth = Money.rounded(Decimal(8 * sum(pattern) / 7 * 365), "USD")
        inside += found.low.minor <= truth.minor <= found.high.minor

    assert 0.74 <= inside / 600 <= 0.86


def test_days_that_are_not_complete_never_count() -> None:
    facts = Daily(START, START + timedelta(days=30), {START + timedelta(days=at): Decimal(1) for at in range(40)})

    level = rules.level_at(facts, START + timedelta(days=60))

    assert level == Level(START + timedelta(days=30), 7, (Decimal(7),) * 4)
    assert rules.after(facts, START + timedelta(days=20)) == (Decimal(7),)
