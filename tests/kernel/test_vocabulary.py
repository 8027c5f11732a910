"""Actors, refusals, periods, heads of documents and findings."""

from dataclasses import dataclass, replace
from datetime import date
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursar.kernel.actor import Actor
from bursar.kernel.connector import HEAD_BYTES_MAX, Head
from bursar.kernel.errors import Conflict, NotAllowed, NotFound, Refusal, TooMany
from bursar.kernel.finding import Evidence, Finding
from bursar.kernel.money import Money
from bursar.kernel.period import Period, add_months, month_of

days = st.dates(date(1990, 1, 1), date(2090, 1, 1))


def test_actor_may_do_what_it_has_the_right_for_and_nothing_else() -> None:
    actor = Actor(uuid4(), "person:x", frozenset({"ledger:read"}))

    actor.must("ledger:read")
    with pytest.raises(NotAllowed, match="ledger:write"):
        actor.must("ledger:write")

    assert actor.may("ledger:read")
    assert not actor.may("ledger:write")


def test_refusal_speaks_its_docstring_with_its_facts() -> None:
    @dataclass(eq=False)
    class OffByMoney(Refusal):
        """Entry {key} is off by {amount}."""

        key: str
        amount: int

    refusal = OffByMoney("r1", 3)

    assert str(refusal) == "Entry r1 is off by 3."
    assert refusal.code == "off_by_money"
    assert refusal.facts == {"key": "r1", "amount": 3}
    assert (NotFound("batch", "x").status, TooMany("tries", 5).status, Conflict("no").status) == (404, 429, 409)


@given(days, st.integers(1, 800))
def test_period_holds_its_days_and_no_other(start: date, length: int) -> None:
    end = date.fromordinal(start.toordinal() + length)
    period = Period(start, end)

    assert period.days == length
    assert start in period
    assert end not in period
    assert [month for month in period.months() if month_of(start) <= month < end] == list(period.months())


def test_period_refuses_to_be_empty() -> None:
    with pytest.raises(ValueError, match="empty"):
        Period(date(2026, 1, 1), date(2026, 1, 1))


def test_periods_overlap_when_they_share_a_day() -> None:
    january = Period.month(date(2026, 1, 15))

    assert january.overlaps(Period(date(2026, 1, 31), date(2026, 2, 2)))
    assert not january.overlaps(Period.month(date(2026, 2, 1)))
    assert str(january) == "2026-01-01 to 2026-01-31"


@given(days, st.integers(-600, 600))
def test_adding_months_there_and_back_returns_to_the_month(day: date, months: int) -> None:
    assert add_months(add_months(day, months), -months) == month_of(day)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\xef\xbb\xbfa;b", "a;b"),
        ("\ufeffa".encode("utf-16-le"), "a"),
        ("\ufeffa".encode("utf-16-be"), "a"),
        ("ä".encode(), "ä"),
        (b"caf\xe9", "café"),
    ],
)
def test_head_reads_text_in_its_encoding(data: bytes, text: str) -> None:
    assert Head("x", data, len(data)).text() == text


def test_head_cut_inside_a_character_stays_utf8() -> None:
    data = ("a" * (HEAD_BYTES_MAX - 1) + "ä").encode()[:HEAD_BYTES_MAX]

    assert Head("x", data, HEAD_BYTES_MAX + 1).text().startswith("aaa")


def _finding() -> Finding:
    return Finding(
        kind="cloud.idle",
        subject="disk-1",
        period=Period.month(date(2026, 1, 1)),
        title="Idle disk",
        worth=Money(100, "EUR"),
        low=Money(50, "EUR"),
        high=Money(120, "EUR"),
        confidence=0.9,
        action="Delete it.",
        evidence=Evidence(formula="price of the disk"),
    )


def test_finding_refuses_what_cannot_be_right() -> None:
    good = _finding()

    with pytest.raises(ValueError, match="different currencies"):
        replace(good, low=Money(50, "USD"))
    with pytest.raises(ValueError, match="lies outside"):
        replace(good, worth=Money(500, "EUR"))
    with pytest.raises(ValueError, match="confidence"):
        replace(good, confidence=1.5)
