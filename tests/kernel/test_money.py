"""Money loses nothing, mixes nothing, and lets no strange text through."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursar.kernel.money import Money, allocate, decimal_from, exponent, magnitude

weights = st.lists(st.integers(0, 10**6), min_size=1, max_size=30).filter(any)


@given(st.integers(-(10**15), 10**15), weights)
def test_allocate_conserves_the_total(minor: int, shares: list[int]) -> None:
    parts = allocate(Money(minor, "EUR"), shares)

    assert sum(part.minor for part in parts) == minor


@given(st.integers(-(10**15), 10**15), weights)
def test_allocate_is_within_one_minor_unit_of_the_exact_share(minor: int, shares: list[int]) -> None:
    parts = allocate(Money(minor, "EUR"), shares)

    for part, share in zip(parts, shares, strict=True):
        assert abs(part.minor - Decimal(minor) * share / sum(shares)) < 1


@pytest.mark.parametrize(
    ("currency", "power"),
    [("EUR", 0), ("USD", 0), ("KWD", 0), ("SEK", 1), ("JPY", 2), ("KRW", 3), ("VND", 4), ("XYZ", 0)],
)
def test_a_magnitude_says_how_many_units_a_euro_costs(currency: str, power: int) -> None:
    assert magnitude(currency) == power


@pytest.mark.parametrize("shares", [[], [0, 0], [-1, 2]])
def test_allocate_refuses_weights_that_cannot_split(shares: list[int]) -> None:
    with pytest.raises(ValueError, match="weights"):
        allocate(Money(1, "EUR"), shares)


def test_money_of_another_currency_cannot_be_mixed() -> None:
    with pytest.raises(TypeError, match="EUR with USD"):
        Money(1, "EUR") + Money(1, "USD")
    with pytest.raises(TypeError, match="EUR with int"):
        Money(1, "EUR") + 1  # type: ignore[operator]


def test_money_adds_subtracts_multiplies_and_compares() -> None:
    assert Money(150, "EUR") + Money(-50, "EUR") == Money(100, "EUR")
    assert Money(150, "EUR") - Money(50, "EUR") == -Money(-100, "EUR")
    assert Money(150, "EUR") * 3 == Money(450, "EUR")
    assert Money(1, "EUR") < Money(2, "EUR")


@pytest.mark.parametrize(
    ("currency", "text", "minor"), [("EUR", "12.34", 1234), ("JPY", "12", 12), ("KWD", "1.234", 1234)]
)
def test_money_knows_the_places_of_its_currency(currency: str, text: str, minor: int) -> None:
    money = Money.of(text, currency)

    assert money.minor == minor
    assert str(money) == f"{text} {currency}"
    assert money.on_the_wire() == {"amount": text, "currency": currency}


@pytest.mark.parametrize("text", ["12.345", Decimal("NaN"), Decimal("Infinity")])
def test_money_refuses_what_its_currency_cannot_hold(text: str | Decimal) -> None:
    with pytest.raises(ValueError, match="places"):
        Money.of(text, "EUR")


def test_money_of_whole_units() -> None:
    assert Money.of(5, "EUR") == Money(500, "EUR")


def test_rounding_is_half_even() -> None:
    assert Money.rounded(Decimal("0.125"), "EUR") == Money(12, "EUR")
    assert Money.rounded(Decimal("-0.135"), "EUR") == Money(-14, "EUR")


@pytest.mark.parametrize("currency", ["eur", "EURO", "", "E1R", "ÉUR"])
def test_money_refuses_what_is_no_currency(currency: str) -> None:
    with pytest.raises(ValueError, match="4217"):
        Money(1, currency)


def test_money_refuses_a_fraction_of_a_minor_unit() -> None:
    with pytest.raises(TypeError, match="float"):
        Money(1.5, "EUR")  # type: ignore[arg-type]


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20, places=15))
def test_decimal_from_reads_what_decimal_writes(value: Decimal) -> None:
    assert decimal_from(f"{value:f}") == value


@pytest.mark.parametrize("text", ["1E+9999999", "NaN", "1,5", "", "--1", "0x1", "1_000", "٣", "1e", "inf"])
def test_decimal_from_refuses_other_forms(text: str) -> None:
    with pytest.raises(ValueError, match="not a decimal number"):
        decimal_from(text)


def test_exponent_is_two_unless_listed() -> None:
    assert [exponent(code) for code in ("USD", "JPY", "BHD")] == [2, 0, 3]
