"""Parts of exports, balances and header fingerprints."""

from decimal import Decimal
from uuid import uuid4

import pytest

from bursar.core.intake import rules


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("report-00001.csv.gz", ("report.csv", 1)),
        ("x/report_2.parquet", ("report.parquet", 2)),
        ("report.csv", None),
        ("report-2026-10.xml", None),
    ],
)
def test_numbered_parts_are_recognised(name: str, part: tuple[str, int] | None) -> None:
    assert rules.part_of_export(name) == part


def test_parts_of_one_export_are_siblings_until_a_number_comes_twice() -> None:
    first, second = uuid4(), uuid4()
    held = [(first, "cur-00001.csv"), (second, "other-00001.csv")]

    assert rules.siblings("cur-00002.csv", held) == rules.siblings("cur-00002.csv.gz", held) == frozenset({first})
    assert rules.siblings("cur-00001.csv", held) == frozenset()
    assert rules.siblings("plain.csv", held) == frozenset()


def test_balance_ties_when_opening_and_rows_make_the_closing() -> None:
    def balance(closing: str | None) -> rules.Balance:
        return rules.Balance(
            "DE1", "EUR", Decimal("10.00"), None if closing is None else Decimal(closing), Decimal("5.50"), 2
        )

    assert balance("15.50").ties is True
    assert balance("15.49").ties is False
    assert balance("15.49").off == Decimal("-0.01")
    assert balance(None).ties is None
    assert rules.Balance.from_json(balance("15.50").to_json()) == balance("15.50")
    assert rules.Balance.from_json(balance(None).to_json()) == balance(None)


def test_header_fingerprint_ignores_case_and_blanks_but_not_order() -> None:
    assert rules.header_fingerprint(["A ", "b"]) == rules.header_fingerprint(["a", "B"])
    assert rules.header_fingerprint(["a", "b"]) != rules.header_fingerprint(["b", "a"])
