from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from bursar.connectors.banks.qif import Qif
from bursar.kernel.errors import Invalid
from tests.connectors.banks.support import read, text
from tests.shared import shared_data

EXPECTED = {
    "test.qif": (5, "-35.50"),
    "test_oth_a.qif": (5, "-35.50"),
    "test_category_override.qif": (4, "2077.44"),
    "test_circular_reference.qif": (2, "-14.59"),
    "test_split.qif": (1, "-10.00"),
    "test_transaction_before_account_definition_1.qif": (2, "-197.96"),
    "test_transaction_before_account_definition_2.qif": (2, "-197.96"),
    "test_unknown_account_type.qif": (0, "0"),
}
REFUSED = {
    "test_category_inherit.qif", "test_clear_autoswitch.qif", "test_nosymbol.qif", "test_option_autoswitch.qif", "empty.qif",
}  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_a_real_file_gives_its_rows(name: str) -> None:
    got = read(shared_data("banking/quiffen") / name)

    assert (got.rows.height, got.total) == (EXPECTED[name][0], Decimal(EXPECTED[name][1]))
    assert got.refused == []


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_file_without_transactions_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="no transactions"):
        read(shared_data("banking/quiffen") / name, Qif())


def test_every_real_file_has_an_expectation() -> None:
    assert {path.name for path in shared_data("banking/quiffen").glob("*.qif")} == {*EXPECTED, *REFUSED}


def test_opening_balance_names_the_account_and_is_no_row() -> None:
    got = read(shared_data("banking/quiffen/test.qif"))

    assert got.parsed.statements[0].account == "TestExport"
    assert got.parsed.statements[0].opening == 0
    assert "1 investment records" in got.parsed.problems[0].what


def _file(*days: str) -> str:
    return "!Type:Bank\n" + "".join(f"D{day}\nT-1.00\nPX\n^\n" for day in days)


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        (["1/2'20", "1/13'20"], date(2020, 1, 2)),
        (["1.2.20", "13.2.20"], date(2020, 2, 1)),
        (["2020-02-01"], date(2020, 2, 1)),
        (["03/04/2020", "04/04/2020", "05/04/2020"], None),
        (["01/02/20", "01/03/20", "02/01/20"], date(2020, 1, 2)),
        (["12 Jan 2020"], date(2020, 1, 12)),
    ],
)
def test_the_whole_file_decides_the_order_of_day_and_month(
    tmp_path: Path, days: list[str], expected: date | None
) -> None:
    if expected is None:
        with pytest.raises(Invalid, match="day/month or month/day"):
            text(tmp_path, _file(*days))
        assert text(tmp_path, _file(*days), date_order="DMY").rows.item(0, "booking_date") == date(2020, 4, 3)
    else:
        assert text(tmp_path, _file(*days)).rows.item(0, "booking_date") == expected


def test_accounts_transfers_and_splits_are_kept_apart(tmp_path: Path) -> None:
    source = (
        "!Account\nNGiro\nTBank\n^\n!Type:Bank\nD2020-01-02\nT-9.00\nPA\nL[Cash]\n^\nD2020-01-03\nT-3.00\nL--Split--\nSFood\n$-1.00\nSFun\n$-2.00\n^\n"
        "!Account\nNCash\nTCash\n^\n!Type:Cash\nD2020-01-02\nU9.00\n^\n"
    )

    got = text(tmp_path, source)

    assert got.rows.select("account", "amount", "category", "counterparty_account").rows() == [
        ("Giro", Decimal(-9), None, "Cash"),
        ("Giro", Decimal(-3), "Food | Fun", None),
        ("Cash", Decimal(9), None, None),
    ]


def test_records_above_any_type_are_reported(tmp_path: Path) -> None:
    got = text(tmp_path, "D2020-01-02\nT5\n^\n" + _file("2020-01-02"))

    assert got.rows.height == 1
    assert got.parsed.problems[0].row == 1


@pytest.mark.parametrize(("order", "decimal"), [("XYZ", "."), ("DMY", ";")])
def test_wrong_options_are_refused(tmp_path: Path, order: str, decimal: str) -> None:
    with pytest.raises(Invalid, match="option"):
        text(tmp_path, _file("2020-01-02"), date_order=order, decimal=decimal)
