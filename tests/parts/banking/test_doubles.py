"""Payments made twice: what counts, and what only looks like it."""

from datetime import date, timedelta
from decimal import Decimal

import polars as pl
import pytest

from bursar.parts.banking.rules.doubles import BOOKED_WITHIN_DAYS, SERIAL_STEPS_MAX, alike, doubles, untold
from bursar.parts.banking.rules.payables import FLOOR, PAIRS_MAX, PAYMENTS_MIN, repeated

DAY = date(2026, 3, 2)


def movement(day: int, amount: str, **more: str | int) -> dict[str, object]:
    plain: dict[str, object] = {"account": "A", "payee": "brandt", "label": "Brandt", "currency": "EUR", "batch": "b1"}
    dated = {"booking_date": DAY + timedelta(days=day), "amount": Decimal(amount), "row": day + 2, "reference_key": ""}
    return plain | dated | more


def frame(*rows: dict[str, object]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema_overrides={"amount": pl.Decimal(38, 15)})


@pytest.mark.parametrize(
    ("one", "other", "slip"),
    [
        ("RG20260917", "RG20269017", True),
        ("INV4711A", "INV4711B", True),
        ("INV0003", "INV0006", False),
        ("20260099", "20260101", False),
        ("INV0003", f"INV{3 + SERIAL_STEPS_MAX:04d}", False),
        ("12", "12", False),
    ],
)
def test_numbers_that_follow_each_other_are_two_invoices(one: str, other: str, slip: bool) -> None:
    assert (alike(one, other) >= 0.8) is slip


def test_two_invoices_of_one_series_are_no_double() -> None:
    lines = frame(movement(0, "-30000.00", reference_key="INV0003"), movement(1, "-30000.00", reference_key="INV0006"))

    assert doubles(lines, []) == []


def test_one_account_exported_in_two_formats_is_no_double() -> None:
    days = ((0, "-98.76"), (3, "-120.00"), (5, "400.00"))
    csv = [movement(day, amount) for day, amount in days]
    ofx = [movement(day, amount, account="hash", batch="b2") for day, amount in days]

    assert doubles(frame(*csv, *ofx), []) == []


def test_one_invoice_paid_from_two_accounts_is_a_double() -> None:
    first = [movement(day, amount) for day, amount in ((0, "-98.76"), (3, "-120.00"), (5, "400.00"))]
    second = [
        movement(day, amount, account="B", batch="b2", payee=payee)
        for day, amount, payee in ((0, "-98.76", "brandt"), (2, "-13.00", "x"), (4, "-14.00", "y"))
    ]

    [pair] = doubles(frame(*first, *second), [])

    assert (pair.amount, pair.accounts, pair.days) == (Decimal("98.76"), 2, (DAY, DAY))


def paid(supplier: str, day: int, amount: str, **more: str) -> dict[str, object]:
    plain: dict[str, object] = {"supplier": supplier, "description": "rent", "category": "c", "department": "d"}
    facts = {"day": DAY + timedelta(days=day), "amount": Decimal(amount), "currency": "GBP", "batch": "b", "row": day}
    return plain | facts | more


def usual(supplier: str) -> list[dict[str, object]]:
    return [paid(supplier, 40 + at, f"{FLOOR + at}.{at + 1}") for at in range(PAYMENTS_MIN)]


PAIR = (paid("Lifts Ltd", 0, "2964.20"), paid("LIFTS LTD.", 9, "2964.20"))


def test_an_uneven_amount_paid_twice_within_days_is_a_question() -> None:
    [pair] = repeated(frame(*PAIR, *usual("Lifts Ltd")))

    assert (pair.amount, pair.rows) == (Decimal("2964.20"), (("b", 0), ("b", 9)))
    assert pair.sure < 0.6


@pytest.mark.parametrize(
    "more",
    [
        [paid("Lifts Ltd", 20, "2964.20")],
        [paid("Lifts Ltd", 20, "-2964.20")],
        [paid("Lifts Ltd", 2, "5000.40"), paid("Lifts Ltd", 4, "5000.40")],
    ],
    ids=["paid three times", "credited", "such pairs are usual"],
)
def test_what_explains_a_pair_silences_it(more: list[dict[str, object]]) -> None:
    assert repeated(frame(*PAIR, *more, *usual("Lifts Ltd"))) == []


@pytest.mark.parametrize(
    "pair",
    [
        (paid("Lifts Ltd", 0, "3000.00"), paid("Lifts Ltd", 9, "3000.00")),
        (paid("Lifts Ltd", 0, "29.64"), paid("Lifts Ltd", 9, "29.64")),
        (paid("Lifts Ltd", 0, "2964.20"), paid("Lifts Ltd", 30, "2964.20")),
        (paid("Lifts Ltd", 0, "2964.20"), paid("Lifts Ltd", 9, "2964.20", department="other")),
    ],
    ids=["even", "small", "far apart", "two departments"],
)
def test_a_pair_that_is_not_odd_is_not_told(pair: tuple[dict[str, object], ...]) -> None:
    assert repeated(frame(*pair, *usual("Lifts Ltd"))) == []


def test_a_supplier_that_hides_several_and_a_rare_one_are_left_out() -> None:
    hidden = [row | {"supplier": "REDACTED PERSONAL DATA"} for row in (*PAIR, *usual("x"))]

    assert repeated(frame(*hidden, *PAIR)) == []


def test_the_largest_pairs_are_told_up_to_a_limit() -> None:
    rows = []
    for at in range(PAIRS_MAX + 3):
        name = f"supplier {chr(97 + at)}"
        rows += [*usual(name), paid(name, 0, f"{5000 + at}.25"), paid(name, 1, f"{5000 + at}.25")]

    pairs = repeated(frame(*rows))

    assert [pair.amount for pair in pairs] == [Decimal(f"{5002 + PAIRS_MAX - at}.25") for at in range(PAIRS_MAX)]


def test_nothing_paid_is_nothing_found() -> None:
    assert repeated(frame(*PAIR).clear()) == []


@pytest.mark.parametrize(
    ("later", "amount", "told"),
    [
        (0, "-2964.20", 0),
        (BOOKED_WITHIN_DAYS, "-2964.20", 0),
        (BOOKED_WITHIN_DAYS + 1, "-2964.20", 1),
        (0, "-2964.21", 1),
    ],
)
def test_a_double_in_a_list_of_payments_and_at_the_bank_is_told_once(later: int, amount: str, told: int) -> None:
    listed = repeated(frame(*PAIR, *usual("Lifts Ltd")))
    booked = doubles(frame(*(movement(day + later, amount, currency="GBP") for day in (0, 9))), [])

    assert (len(listed), len(booked)) == (1, 1)
    assert len(untold(listed, booked)) == told
