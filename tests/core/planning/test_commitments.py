"""Which commitments a filter takes, and how much of each falls due when."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursar.core.planning.commitments.rules import NOTHING, Claim, counted, nodes, one_day
from bursar.core.planning.series.rules import COST, series_id
from bursar.kernel.money import Money
from bursar.kernel.period import Period

NOVEMBER = Period(date(2026, 11, 1), date(2026, 12, 1))
TODAY = date(2026, 11, 20)


def claim(amount: str, days: Period, *, held: bool = False, currency: str = "EUR", **known: str) -> Claim:
    return Claim("x", Decimal(amount), currency, days, {name: frozenset({said}) for name, said in known.items()}, held)


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

    assert found.parts == (("x", Money(500, "EUR")),)
    assert found.notes == (
        "Not counted as committed, account not known: 6.00 EUR.",
        "Not counted as committed, in another currency: 8.00 USD.",
    )


def test_nothing_is_committed_for_a_period_that_is_over() -> None:
    over = counted([claim("5.00", NOVEMBER)], {}, "EUR", NOVEMBER, today=NOVEMBER.end, seen=None)

    assert (over.parts, len(over.notes)) == ((), 1)


def test_series_are_found_by_their_ids() -> None:
    found = nodes(COST, "USD", [("aws", "a", "EC2"), ("aws", "a", "S3")])

    assert found[series_id("cost", "USD", "(total)")] == ()
    assert found[series_id("cost", "USD", "aws | a")] == ("aws", "a")
    assert len(found) == 5
    assert list(nodes(COST, "USD", []).values()) == [()]
