import json
from decimal import Decimal
from pathlib import Path

import openpyxl
import pytest

from bursar.connectors.banks.bank_csv import BankCsv
from bursar.kernel.errors import Invalid
from tests.connectors.banks.support import read, surest, text
from tests.shared import shared_data

GOLDENS = {
    "default.csv": "default.ofx",
    "gls.csv": "gls.ofx",
    "ingesp.csv": "ingesp.ofx",
    "mint.csv": "mint.qif",
    "mint_headerless.csv": "mint.qif",
    "n26-fr.csv": "n26.ofx",
    "outbank.csv": "outbank.ofx",
    "payoneer.csv": "payoneer.ofx",
    "pcmastercard.csv": "pcmastercard.ofx",
    "creditunion.csv": "creditunion.qif",
    "stripe-all.csv": "stripe-all.ofx",
    "stripe-default.csv": "stripe-default.ofx",
    "ubs-ch-fr_trimmed.csv": "ubs-ch-fr.qif",
    "schwab-checking.csv": "schwab-checking.ofx",
    **{f"schwab-checking-baltest-case{i}.csv": f"schwab-checking-baltest-case{i}.ofx" for i in range(1, 8)},
}
"""A published table and what its publisher converted it to."""


@pytest.mark.parametrize("name", GOLDENS)
def test_a_real_table_gives_the_published_amounts(name: str) -> None:
    folder = shared_data("banking/csv2ofx")
    golden = read(folder / "converted" / GOLDENS[name])

    got = read(folder / "test" / name)

    assert got.amounts == golden.amounts
    if name != "ingesp.csv":  # its publisher read 08/04 as 4 August and 24/03 as 24 March in one file
        pairs = [sorted(one.rows.select("booking_date", "amount").rows()) for one in (got, golden)]
        assert pairs[0] == pairs[1]
    assert got.refused == []


@pytest.mark.parametrize("name", [name for name in GOLDENS if name.startswith("schwab") or name == "payoneer.csv"])
def test_a_running_balance_gives_the_published_closing_balance(name: str) -> None:
    folder = shared_data("banking/csv2ofx")

    statement = read(folder / "test" / name).parsed.statements[0]

    assert statement.closing == read(folder / "converted" / GOLDENS[name]).parsed.statements[0].closing


def test_orders_on_cards_the_publisher_left_out_are_kept_too() -> None:
    folder = shared_data("banking/csv2ofx")
    golden = read(folder / "converted/amazon.ofx")

    got = read(folder / "test/amazon.csv")

    assert set(golden.amounts) <= set(got.amounts)
    assert [reason.split("|")[0] for reason in got.refused] == ["booking_date", "booking_date", "amount"]


def test_a_card_table_signs_its_two_columns() -> None:
    assert read(shared_data("banking/csv2ofx/test/capitalone.csv")).amounts == [Decimal(-1000), Decimal(1000)]


def test_blank_lines_before_and_a_header_after_the_table_are_skipped() -> None:
    folder = shared_data("banking/csv2ofx/test")

    assert read(folder / "mint_extra.csv").amounts == read(folder / "mint.csv").amounts


def test_a_journal_is_not_taken_for_a_statement() -> None:
    with pytest.raises(Invalid, match="a journal of a bookkeeping program"):
        read(shared_data("banking/csv2ofx/test/xero.csv"))


def test_every_real_table_has_an_expectation() -> None:
    names = {path.name for path in shared_data("banking/csv2ofx/test").glob("*.csv")}

    assert names == {*GOLDENS, "amazon.csv", "capitalone.csv", "mint_extra.csv", "xero.csv"}


HEADER = "Date,Description,Amount,Currency\n"


def test_what_was_assumed_is_said(tmp_path: Path) -> None:
    got = text(tmp_path, "Date,Description,Amount\n2024-01-02,x,1.00\n")

    assert got.parsed.currency_hint == "EUR"
    assert any("EUR was taken" in note for note in got.parsed.notes)
    assert any("names no account" in note for note in got.parsed.notes)
    assert text(tmp_path, "Date,Description,Amount\n2024-01-02,x,1.00\n", currency="SEK").parsed.currency_hint == ""


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("£1.00", "1"), ("-£1.00", "-1"), ("£-1.00", "-1"), ("(1.00)", "-1"), ("1.00-", "-1"), ("1.00 CR", "1"), ("1.00 DR", "-1"),
        ('"1,234.50"', "1234.5"), ("1'234.50", "1234.5"), ("1 234.50", "1234.5"), ("\u22121.00", "-1"), ("EUR 1.00", "1"),
        ("0.10000000000000001", "0.1"),
    ],
)  # fmt: skip
def test_amounts_are_read_as_spreadsheets_print_them(tmp_path: Path, written: str, meant: str) -> None:
    assert text(tmp_path, f"{HEADER}2024-01-02,x,{written},EUR\n2024-01-02,y,0.50,EUR\n").amounts == sorted(
        [Decimal(meant), Decimal("0.5")]
    )


@pytest.mark.parametrize(
    "written", ["abc", "1.2.3", "1E+9999999", "--1", '"1,23,4"', "NaN", "inf", "1_000.00", "٣.٣", "=1+1"]
)
def test_amounts_that_are_none_are_refused(tmp_path: Path, written: str) -> None:
    got = text(tmp_path, f"{HEADER}2024-01-02,x,{written},EUR\n2024-01-02,y,0.50,EUR\n")

    assert (got.amounts, len(got.refused)) == ([Decimal("0.5")], 1)
    assert got.refused[0].startswith("amount|")


def test_a_german_table_uses_its_comma(tmp_path: Path) -> None:
    got = text(
        tmp_path,
        "Buchungstag;Verwendungszweck;Betrag;Währung\n31.01.2024;a;1.234,50;EUR\n01.02.2024;b;-3,00;EUR\n".encode(
            "cp1252"
        ),
    )

    assert got.amounts == [Decimal(-3), Decimal("1234.5")]


def test_a_column_that_shows_no_decimal_mark_can_be_settled(tmp_path: Path) -> None:
    table = 'Date,Description,Amount,Currency\n2024-01-02,x,"1,234",EUR\n'

    assert text(tmp_path, table).refused[0].startswith("amount|")
    assert text(tmp_path, table, decimal=".").total == 1234
    assert text(tmp_path, table, decimal=",").total == Decimal("1.234")


def test_debit_and_credit_columns_of_either_sign_agree(tmp_path: Path) -> None:
    head = "Date,Description,Debit,Credit,Currency\n"

    unsigned = text(tmp_path, head + "2024-01-02,a,1.00,,EUR\n2024-01-02,b,,2.00,EUR\n2024-01-03,c,,,EUR\n")
    signed = text(tmp_path, head + "2024-01-02,a,-1.00,,EUR\n2024-01-02,b,,2.00,EUR\n")

    assert unsigned.amounts == signed.amounts == [Decimal(-1), Decimal(2)]
    assert unsigned.refused == ["amount|the amount is missing|Add the amount"]


def test_card_exports_can_be_turned_round(tmp_path: Path) -> None:
    table = f"{HEADER}2024-01-02,x,9.00,EUR\n"

    assert text(tmp_path, table, sign="spent-positive").total == -9


def test_a_mapping_names_columns_by_header_or_number(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("wann,was,wieviel\n2024-01-02,x,1.50\n")
    mapping = json.dumps({"booking_date": "wann", "amount": 3, "description": ["was"]})

    with pytest.raises(Invalid, match="No column could be recognised"):
        read(tmp_path / "x.csv", BankCsv())
    got = read(tmp_path / "x.csv", BankCsv(), mapping=mapping)

    assert (got.total, got.rows.item(0, "description")) == (Decimal("1.5"), "x")


@pytest.mark.parametrize(
    "mapping",
    [
        "[",
        "[]",
        '{"amount": 1}',
        '{"booking_date": "no", "amount": 1}',
        '{"colour": 1}',
        '{"booking_date": 0, "amount": 9}',
        "[" * 100_000,
    ],
)
def test_a_wrong_mapping_is_refused(tmp_path: Path, mapping: str) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")

    with pytest.raises(Invalid, match="mapping"):
        read(tmp_path / "x.csv", BankCsv(), mapping=mapping)


def test_rows_that_do_not_fit_are_problems_with_their_line(tmp_path: Path) -> None:
    got = text(
        tmp_path,
        f'{HEADER}2024-01-02,"two\nlines",1.00,EUR\n2024-01-03,y,2.00,EUR,surplus\n\n2024-01-04,short\n2024-01-05,z,4.00,EUR\n',
    )

    assert got.rows.get_column("row").to_list() == [2, 7]
    assert [(p.row, "5 columns" in p.what) for p in got.parsed.problems] == [(4, True)]
    assert got.refused[0].startswith("amount|the amount is missing")


def test_stray_quotes_and_carriage_returns_lose_no_row(tmp_path: Path) -> None:
    got = text(tmp_path, f'{HEADER}2024-01-02,5" pipe,1.00,EUR\n2024-01-02,a\rb,1.00,EUR\n2024-01-02,ok,1.00,EUR\n')

    assert got.total == 3


def test_statuses_that_moved_no_money_are_refused(tmp_path: Path) -> None:
    table = "Date,Description,Amount,Currency,Status\n2024-01-02,x,1.00,EUR,Failed\n2024-01-02,x,2.00,EUR,Pending\n2024-01-02,x,3.00,EUR,Completed\n"

    got = text(tmp_path, table)

    assert got.rows.select("amount", "status").rows() == [(Decimal(2), "pending"), (Decimal(3), "booked")]
    assert "no money moved" in got.refused[0]


PAYPAL = (
    '"Date","Time","TimeZone","Name","Type","Status","Currency","Gross","Fee","Net","From Email Address","To Email Address","Transaction ID","Balance"\n'
    '"31/01/2024","10:00:00","CET","Ann","Payment","Completed","EUR","10,00","-0,50","9,50","a@x","b@y","T1","9,50"\n'
    '"31/01/2024","11:00:00","CET","Bob","Payment","Completed","USD","4,00","0,00","4,00","a@x","b@y","T2","4,00"\n'
)
WISE = (
    "TransferWise ID,Date,Amount,Currency,Description,Payment Reference,Running Balance,Payer Name,Payee Name,Payee Account Number,Merchant,Total fees\n"
    "TRANSFER-1,13-01-2024,-20.00,EUR,Sent money to Ann,INV 1,80.00,,Ann,DE1,,0.5\n"
)
REVOLUT = (
    "Type,Product,Started Date,Completed Date,Description,Amount,Fee,Currency,State,Balance\n"
    "TRANSFER,Current,2024-01-02 10:00:00,2024-01-03 10:00:00,To Ann,-10.00,0.20,EUR,COMPLETED,89.80\n"
)


def test_wallets_are_read_as_their_balance_moves(tmp_path: Path) -> None:
    paypal, wise, revolut = (text(tmp_path, table, name="w.csv") for table in (PAYPAL, WISE, REVOLUT))

    assert paypal.amounts == [Decimal(4), Decimal("9.5")]
    assert [s.currency for s in paypal.parsed.statements] == ["EUR", "USD"]
    assert (wise.total, wise.parsed.statements[0].opening) == (Decimal(-20), Decimal(100))
    assert (revolut.total, revolut.parsed.statements[0].opening) == (Decimal("-10.2"), Decimal(100))


def test_a_workbook_is_read_like_a_table(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (
        ["Account statement", "DE89 3704 0044 0532 0130 00"],
        ["Date", "Text", "Amount"],
        ["2024-01-02", "=cmd", -12.3],
        ["2024-01-03", "b", 0.1 + 0.2],
    ):
        sheet.append(row)
    sheet["B3"].data_type = "s"
    book.save(tmp_path / "b.xlsx")

    got = read(tmp_path / "b.xlsx", BankCsv())

    assert got.amounts == [Decimal("-12.3"), Decimal("0.3")]
    assert got.rows.item(0, "description") == "=cmd"
    assert got.rows.item(0, "account") == "DE89370400440532013000"


@pytest.mark.parametrize(
    "content", [b"PK\x03\x04broken", b"", b"\n\n\n", b"one column\n1\n2\n", b"\xff\xfe", b"," * 5000]
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.csv").write_bytes(content)

    with pytest.raises(Invalid):
        read(tmp_path / "x.csv", BankCsv())


def test_dates_that_could_be_swapped_are_refused_until_told(tmp_path: Path) -> None:
    table = f"{HEADER}03/04/2024,x,1.00,EUR\n"

    with pytest.raises(Invalid, match="day/month or month/day"):
        text(tmp_path, table)
    assert str(text(tmp_path, table, date_order="MDY").rows.item(0, "booking_date")) == "2024-03-04"


def test_a_payments_table_is_told_from_a_bank_table(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("Directorate,Supplier Name,Payment Date,Amount\nx,y,2024-01-02,1\n")
    (tmp_path / "b.csv").write_text("Date,Payee,Amount,Balance\n2024-01-02,x,1,2\n")

    assert (surest(tmp_path / "p.csv").name, surest(tmp_path / "b.csv").name) == ("payments-csv", "bank-csv")


def test_a_workbook_is_judged_by_its_header_row(tmp_path: Path) -> None:
    for name, header in (
        ("bank", ["Date", "Text", "Amount", "Balance"]),
        ("payments", ["Directorate", "Supplier", "Payment Date", "Amount"]),
    ):
        book = openpyxl.Workbook()
        assert book.active is not None
        book.active.append(header)
        book.active.append(["2024-01-02", "x", "2024-01-02", 1])
        book.save(tmp_path / f"{name}.xlsx")

    assert surest(tmp_path / "bank.xlsx").name == "bank-csv"
    assert surest(tmp_path / "payments.xlsx").name == "payments-csv"


HEAD = "Date,Description,Amount"


@pytest.mark.parametrize(
    ("content", "amounts", "refused"),
    [
        (HEAD + ",DR/CR\n2026-10-25,A,1.00,CR\n2026-10-26,B,2.00,DR\n2026-10-27,C,3.00,\n", ["1", "-2"], ["side|“” tells neither"]),
        (HEAD + ",DR/CR\n2026-10-25,A,1.00,CR\n2026-10-26,B,2.00,XX\n", ["1"], ["side|“XX” tells neither"]),
        (HEAD + ",Type\n2026-10-25,A,1.00,credit\n2026-10-26,B,2.00,interest\n", ["1", "2"], []),
        (HEAD + ",Type\n2026-10-25,A,1.00,credit\n2026-10-26,B,2.00,debit\n2026-10-27,C,3.00,fee\n", ["1", "-2"], ["side|“fee” tells neither"]),
        (HEAD + ",Type\n2026-10-25,A,-1.00,debit\n2026-10-26,B,2.00,fee\n", ["-1", "2"], []),
        (HEAD + "\n2026-10-25,A,1.00\n2026-10-26,B,$(1,002.00)\n2026-10-27,C,($3.50)\n", ["1", "-3.50"], []),
        (HEAD + '\n2026-10-25,A,1.00\n2026-10-26,B,"$(1,002.00)"\n2026-10-27,C,–3.50\n', ["1", "-1002", "-3.50"], []),
    ],
)  # fmt: skip
def test_the_way_of_the_money_is_told_or_the_row_is_refused(
    content: str, amounts: list[str], refused: list[str], tmp_path: Path
) -> None:
    got = text(tmp_path, content, "a.csv", currency="USD")

    assert [str(value.normalize()) for value in got.rows.get_column("amount")] == [
        str(Decimal(one).normalize()) for one in amounts
    ]
    assert [one[: len(start)] for one, start in zip(got.refused, refused, strict=True)] == refused


def test_rows_of_different_currency_signs_keep_their_own(tmp_path: Path) -> None:
    got = text(tmp_path, HEAD + "\n2026-10-25,A,€1.00\n2026-10-26,B,-$2.00\n2026-10-27,C,3.00\n", "a.csv")

    assert got.rows.select("amount", "currency").rows() == [(Decimal(1), "EUR"), (Decimal(-2), "USD")]
    assert [one.split("|")[0] for one in got.refused] == ["currency"]


def test_a_quote_that_never_closes_is_named_and_swallows_nothing_silently(tmp_path: Path) -> None:
    got = text(tmp_path, HEAD + '\n2026-10-25,A,1.00\n2026-10-26,"open,-2.00\n2026-10-27,C,3.00\n', "a.csv")

    assert got.amounts == [Decimal(1)]
    [problem] = got.parsed.problems
    assert (problem.row, "never closes" in problem.what) == (3, True)


def test_thousands_or_a_fraction_is_asked_and_not_guessed(tmp_path: Path) -> None:
    content = HEAD + ",Currency\n2026-10-25,A,1.234,KWD\n2026-10-26,B,-10.500,KWD\n"

    asked = text(tmp_path, content, "a.csv")
    told = [text(tmp_path, content, "a.csv", decimal=mark).amounts for mark in ".,"]

    assert asked.rows.is_empty()
    assert {one.split("|")[1].partition("”")[2] for one in asked.refused} == {" could be thousands or a fraction"}
    assert told == [[Decimal("-10.5"), Decimal("1.234")], [Decimal(-10500), Decimal(1234)]]


@pytest.mark.parametrize("day", ["0026-10-25", "25/10/0026"])
def test_a_year_that_begins_with_zero_is_no_year_of_two_digits(day: str, tmp_path: Path) -> None:
    got = text(tmp_path, HEAD + f"\n{day},A,1.00\n2026-10-26,B,1.00\n", "a.csv", date_order="DMY")

    assert [str(found) for found in got.rows.get_column("booking_date")] == ["2026-10-26"]
    assert [one.split("|")[0] for one in got.refused] == ["booking_date"]
