"""Which commitments a filter takes, and how much of each falls due when."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursar.core.planning.commitments.rules import NOTHING, SAME_DAYS, Claim, counted, nodes, one_day, told_twice
from bursar.core.planning.series.rules import COST, series_id
from bursar.kernel.finding import SourceRow
from bursar.kernel.money import Money
from bursar.kernel.period import Period

NOVEMBER = Period(date(2026, 11, 1), date(2026, 12, 1))
TODAY = date(2026, 11, 20)


def claim(amount: str, days: Period, *, held: bool = False, currency: str = "EUR", **known: str) -> Claim:
    texts = {name: frozenset({said}) for name, said in known.items()}
    return Claim("x", Decimal(amount), currency, days, texts, SourceRow("", "", 1), held)


@given(st.integers(0, 10**9), st.integers(1, 400), st.integers(0, 400))
def test_no_part_of_a_contract_is_lost_between_two_windows(minor: int, days: int, cut: int) -> None:
    first = date(2026, 1, 1)
    end = first + timedelta(days=days)
    at = first + timedelta(days=min(cut, days))
    one = claim(str(Decimal(minor) / 100), Period(first, end))

    before, after = one.due(first - timedelta(days=3), at), one.due(at, end + timedelta(days=3))

    assert abs((before + after).minor - minor) <= 1
    assert one.due(end, first).minor == 0


@pytest.mark.parametrize(
    ("day", "held", "seen", "due"),
    [
        (TODAY, True, None, 500),
        (date(2026, 11, 30), True, None, 500),
        (date(2026, 12, 1), True, None, 0),
        (TODAY, True, TODAY, 500),  # a line of the day is no line of the hold
        (date(2026, 11, 12), False, date(2026, 11, 11), 500),
        (date(2026, 11, 12), False, date(2026, 11, 12), 0),
        (date(2026, 11, 1), False, date(2026, 9, 1), 500),
        (date(2026, 11, 1), False, None, 500),
        (date(2026, 10, 31), False, None, 0),
        (date(2026, 11, 12), False, date(2027, 1, 1), 0),
    ],
)
def test_what_falls_due_in_the_rest_of_a_period_counts(day: date, held: bool, seen: date | None, due: int) -> None:
    one = claim("5.00", one_day(day), held=held)

    found = counted([one], {}, "EUR", NOVEMBER, today=TODAY, seen=seen)

    assert found.total("EUR") == Money(due, "EUR")
    assert (NOTHING in found.notes) == (due == 0)


def test_what_a_filter_asks_and_nobody_knows_is_named_and_not_counted() -> None:
    day = one_day(TODAY)
    claims = [
        claim("5.00", day, held=True, category="Rent", account="42"),
        claim("6.00", day, held=True, category="Rent"),
        claim("7.00", day, held=True, account="77"),
        claim("8.00", day, held=True, category="Rent", account="42", currency="USD"),
    ]

    found = counted(claims, {"category": ["Rent"], "account": ["42", "43"]}, "EUR", NOVEMBER, today=TODAY, seen=None)

    assert [one.money for one in found.parts] == [Money(500, "EUR")]
    assert found.notes == (
        "Not counted as committed, account not known: 6.00 EUR.",
        "Not counted as committed, in another currency: 8.00 USD.",
    )


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 40), st.booleans()), max_size=8),
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 40), st.booleans()), max_size=8),
)
def test_each_contract_answers_one_plan_that_is_near_in_time_and_amount(
    plans: list[tuple[int, int, bool]], contracts: list[tuple[int, int, bool]]
) -> None:
    def made(amount: int, day: int, aws: bool, held: bool) -> Claim:
        return claim(f"{amount}", one_day(TODAY + timedelta(days=day)), held=held, provider="aws" if aws else "azure")

    stated = [made(*each, held=True) for each in contracts]
    found = told_twice([made(*each, held=False) for each in plans], stated)

    matched = [(one, one.same) for one in found if one.same]
    assert len({id(same) for _, same in matched}) == len(matched)
    assert [(one.amount, one.days) for one in found] == [
        (Decimal(amount), one_day(TODAY + timedelta(days=day))) for amount, day, _ in plans
    ]
    free = [one for one in stated if all(one is not same for _, same in matched)]
    for one in found:
        candidates = [one.same] if one.same else free
        near = [
            abs(each.amount - one.amount) * 10 <= max(each.amount, one.amount)
            and abs((each.days.start - one.days.start).days) <= SAME_DAYS
            and each.known == one.known
            for each in candidates
        ]
        assert all(near) if one.same else not any(near)


def test_a_plan_that_names_a_contract_is_about_it_whatever_its_amount_while_it_lasts() -> None:
    contract = replace(claim("9.00", NOVEMBER), called=("CC-7", "7"))
    days = {date(2026, 10, 17): False, date(2026, 10, 18): True, date(2026, 11, 30): True, date(2026, 12, 1): False}

    plans = [replace(claim("100.00", one_day(day)), name="Renew cc-7") for day in days]
    others = [replace(plans[1], name="7 seats"), replace(plans[1], currency="USD")]

    assert [one.same is contract for one in told_twice(plans, [contract])] == list(days.values())
    assert [one.same for one in told_twice(others, [contract])] == [None, None]


def test_nothing_is_committed_for_a_period_that_is_over() -> None:
    over = counted([claim("5.00", NOVEMBER)], {}, "EUR", NOVEMBER, today=NOVEMBER.end, seen=None)

    assert (over.parts, len(over.notes)) == ((), 1)


def test_series_are_found_by_their_ids() -> None:
    found = nodes(COST, "USD", [("aws", "a", "EC2"), ("aws", "a", "S3")])

    assert found[series_id("cost", "USD", "(total)")] == ()
    assert found[series_id("cost", "USD", "aws | a")] == ("aws", "a")
    assert len(found) == 5
    assert list(nodes(COST, "USD", []).values()) == [()]
