"""The inbox: raised once, netted, ranked, acted on, undone; dismissals know what they covered."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursar.core.findings import rules, service
from bursar.infra.db import Database
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, Invalid, NotAllowed, NotFound
from bursar.kernel.finding import Evidence, Finding, FindingState, Part, PriceUsed, SourceRow
from bursar.kernel.money import Money
from bursar.kernel.period import Period

NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)


def finding(subject: str = "disk-1", worth: int = 10_000, *, sure: float = 0.9, **facts: object) -> Finding:
    made = Finding(
        kind="cloud.idle",
        subject=subject,
        period=Period.month(date(2026, 10, 1)),
        title=f"Idle {subject}",
        worth=Money(worth, "EUR"),
        low=Money(min(0, worth), "EUR"),
        high=Money(worth, "EUR"),
        confidence=sure,
        action="Delete it.",
        evidence=Evidence(
            formula="price of the disk",
            parts=(Part("disk", Decimal(worth) / 100),),
            prices=(PriceUsed("sku-1", Decimal("0.08"), "EUR", "GB-month", date(2026, 10, 1), "bill"),),
            rows=(SourceRow("b", "bill.csv", 7, "disk", Decimal("1.5"), "EUR"),),
            rows_total=1,
            chart={"x": ["2026-10-01"], "y": ["1.5"]},
        ),
    )
    return replace(made, **facts)  # type: ignore[arg-type]


async def raised(db: Database, actor: Actor, *found: Finding, now: datetime = NOW) -> service.Raised:
    async with db.writing(actor) as tx:
        return await service.raise_(tx, actor, kinds=["cloud.idle"], findings=found, now=now)


async def inbox(db: Database, actor: Actor, *states: FindingState) -> list[service.Kept]:
    async with db.reading(actor) as tx:
        return await service.inbox(tx, actor, states=states or (FindingState.NEW, FindingState.ACCEPTED))


async def act(db: Database, actor: Actor, name: str, action: str, **facts: object) -> service.Kept:
    async with db.writing(actor) as tx:
        return await service.act(tx, actor, name=name, action=action, now=NOW, **facts)  # type: ignore[arg-type]


async def test_raising_the_same_again_changes_nothing(db: Database, actor: Actor) -> None:
    first = await raised(db, actor, finding())

    second = await raised(db, actor, finding())

    assert (first.new, second) == (1, service.Raised(0, 0, 0, 0))
    [kept] = await inbox(db, actor)
    assert kept.finding == replace(finding(), resource="disk-1")


async def test_findings_are_ranked_by_expected_money(db: Database, actor: Actor) -> None:
    await raised(db, actor, finding("a", 10_000, sure=0.5), finding("b", 8_000, sure=0.9), finding("c", 100))

    assert [kept.finding.subject for kept in await inbox(db, actor)] == ["b", "a", "c"]


async def test_what_no_longer_holds_expires_and_comes_back(db: Database, actor: Actor) -> None:
    await raised(db, actor, finding("a"), finding("b"))

    gone = await raised(db, actor, finding("a"))
    back = await raised(db, actor, finding("a"), finding("b"))

    assert (gone.expired, back.returned) == (1, 1)
    assert len(await inbox(db, actor)) == 2


async def test_overlapping_savings_never_count_for_more_than_the_resource_costs(db: Database, actor: Actor) -> None:
    basis = Money(12_000, "EUR")
    await raised(
        db,
        actor,
        finding("delete", 12_000, resource="vm", cost_basis=basis),
        finding("shrink", 6_000, resource="vm", cost_basis=basis),
    )

    kept = await inbox(db, actor)

    assert [one.counted.minor for one in kept] == [12_000, 0]
    [total] = service.totals(kept)
    assert (total.worth.minor, total.overlap.minor) == (12_000, 6_000)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 1)), min_size=1, max_size=12), st.integers(0, 10**6))
def test_netting_counts_at_most_the_cost_basis(worths: list[tuple[int, float]], basis: int) -> None:
    found = [
        (uuid4(), finding(f"s{n}", worth, sure=sure, resource="vm", cost_basis=Money(basis, "EUR")))
        for n, (worth, sure) in enumerate(worths)
    ]

    counted = rules.net(found)

    assert sum(money.minor for money in counted.values()) <= basis
    assert all(0 <= counted[identifier].minor <= one.worth.minor for identifier, one in found)


def test_findings_without_a_cost_basis_count_in_full() -> None:
    one, other = (uuid4(), finding("a", 500)), (uuid4(), finding("b", -300, resource="a"))

    assert [money.minor for money in rules.net([one, other]).values()] == [500, -300]


async def test_acting_moves_a_finding_and_undo_takes_it_back(db: Database, actor: Actor) -> None:
    await raised(db, actor, finding())

    accepted = await act(db, actor, "F1", "accept", assignee="Ada", due=date(2026, 12, 1))
    done = await act(db, actor, "F1", "done")
    async with db.writing(actor) as tx:
        undone, kept = await service.undo(tx, actor, now=NOW)

    assert (accepted.state, accepted.assignee, accepted.due) == (FindingState.ACCEPTED, "Ada", date(2026, 12, 1))
    assert done.state is FindingState.DONE
    assert (undone, kept.state) == ("done", FindingState.ACCEPTED)
    async with db.reading(actor) as tx:
        assert [one["action"] for one in await service.history(tx, actor, name="F1")] == ["accept", "done", "undo"]


async def test_undo_goes_back_step_by_step_and_then_says_that_nothing_is_left(db: Database, actor: Actor) -> None:
    await raised(db, actor, finding())
    await act(db, actor, "F1", "accept")

    async with db.writing(actor) as tx:
        await service.undo(tx, actor, now=NOW)
    async with db.writing(actor) as tx:
        with pytest.raises(Conflict, match="nothing to undo"):
            await service.undo(tx, actor, now=NOW)

    assert [kept.state for kept in await inbox(db, actor)] == [FindingState.NEW]


async def test_a_dismissal_covers_the_figures_seen_and_lapses_when_they_grow(db: Database, actor: Actor) -> None:
    await raised(db, actor, finding(worth=10_000))
    await act(db, actor, "F1", "dismiss", because="needed")

    await raised(db, actor, finding(worth=12_000))
    quiet = await inbox(db, actor)
    await raised(db, actor, finding(worth=13_000))

    assert quiet == []
    assert [kept.finding.worth.minor for kept in await inbox(db, actor)] == [13_000]


async def test_a_snoozed_finding_returns_on_its_day(db: Database, actor: Actor) -> None:
    await raised(db, actor, finding())
    await act(db, actor, "F1", "snooze", until=date(2026, 12, 1))

    await raised(db, actor, finding(), now=NOW + timedelta(days=5))
    quiet = await inbox(db, actor)
    await raised(db, actor, finding(), now=NOW + timedelta(days=11))

    assert quiet == []
    assert len(await inbox(db, actor)) == 1


@pytest.mark.parametrize(
    ("action", "facts", "said"),
    [
        ("dismiss", {}, "why"),
        ("snooze", {}, "until"),
        ("snooze", {"until": date(2026, 11, 20)}, "after today"),
        ("measure", {}, "facts"),
        ("burn", {}, "no action"),
        ("dismiss", {"because": "x" * 2001}, "2000"),
    ],
)
async def test_a_malformed_action_is_refused(
    db: Database, actor: Actor, action: str, facts: dict[str, object], said: str
) -> None:
    await raised(db, actor, finding())

    with pytest.raises(Invalid, match=said):
        await act(db, actor, "F1", action, **facts)


async def test_an_action_that_the_state_forbids_is_refused(db: Database, actor: Actor) -> None:
    await raised(db, actor, finding())
    await act(db, actor, "F1", "done")

    with pytest.raises(Conflict, match="done"):
        await act(db, actor, "F1", "accept")


@pytest.mark.parametrize("name", ["X1", "", "F", "F1;drop"])
async def test_a_name_that_is_none_is_refused(db: Database, actor: Actor, name: str) -> None:
    async with db.reading(actor) as tx:
        with pytest.raises(Invalid):
            await service.get(tx, actor, name=name)


async def test_another_organisation_sees_nothing(db: Database, actor: Actor, other_actor: Actor) -> None:
    await raised(db, actor, finding())

    assert await inbox(db, other_actor) == []
    async with db.reading(other_actor) as tx:
        with pytest.raises(NotFound):
            await service.get(tx, other_actor, name="F1")
    async with db.writing(other_actor) as tx:
        with pytest.raises(NotFound):
            await service.act(tx, other_actor, name="F1", action="accept", now=NOW)


async def test_acting_needs_the_right(db: Database, make_actor: object, actor: Actor) -> None:
    reader = Actor(actor.org, "person:reader", frozenset({"finding:read"}))
    await raised(db, actor, finding())

    with pytest.raises(NotAllowed, match="finding:act"):
        await act(db, reader, "F1", "accept")


async def test_a_measured_saving_enters_the_scoreboard(db: Database, actor: Actor) -> None:
    await raised(db, actor, finding(worth=10_000))
    await act(db, actor, "F1", "done")

    async with db.writing(actor) as tx:
        kept = await service.measure(
            tx,
            actor,
            name="F1",
            verified=Money(9_000, "EUR"),
            low=Money(8_000, "EUR"),
            high=Money(9_500, "EUR"),
            now=NOW,
        )
    async with db.reading(actor) as tx:
        [score] = await service.scoreboard(tx, actor)

    assert kept.state is FindingState.MEASURED
    assert (score.promised.minor, score.verified.minor, score.measured) == (10_000, 9_000, 1)


async def test_measuring_refuses_another_currency_and_an_interval_that_misses(db: Database, actor: Actor) -> None:
    await raised(db, actor, finding())
    await act(db, actor, "F1", "done")

    async with db.writing(actor) as tx:
        with pytest.raises(Invalid, match="currency"):
            await service.measure(
                tx, actor, name="F1", verified=Money(1, "USD"), low=Money(1, "USD"), high=Money(1, "USD"), now=NOW
            )
        with pytest.raises(Invalid, match="interval"):
            await service.measure(
                tx, actor, name="F1", verified=Money(9, "EUR"), low=Money(1, "EUR"), high=Money(2, "EUR"), now=NOW
            )


def test_returning_needs_material_growth_in_the_same_currency() -> None:
    assert not rules.returns(Money(100, "EUR"), Money(125, "EUR"))
    assert rules.returns(Money(100, "EUR"), Money(126, "EUR"))
    assert rules.returns(Money(100, "EUR"), Money(1, "USD"))
    assert rules.returns(None, Money(1, "EUR"))
