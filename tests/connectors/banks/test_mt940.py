import itertools
import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from bursar.connectors.banks.mt940 import Mt940
from bursar.kernel.connector import Head
from tests.connectors.banks.support import read, text
from tests.shared import shared_data

_AMOUNT = r"amount: !!python/object:mt940\.models\.Amount\n\s+amount: !!python/object/apply:decimal\.Decimal\n\s+- '([-\d.E]+)'\n\s+currency: (\w+)"
FILES = [
    *(
        f"jejik/{name}"
        for name in ("abnamro", "generic", "ing", "knab", "postfinance", "rabobank", "rabobank-iban", "sns", "triodos")
    ),
    *(f"mBank/{name}" for name in ("mt940", "mt942", "with_newline_in_tnr")),
    "cmxl/mt940",
]
FRAGMENTS = [
    "account_balance_credit", "account_balance_debit", "account_identification_iban", "account_identification_legacy",
    "available_balance", "closing_balance", "reference", "statement_number",
]  # fmt: skip


def _golden(name: str) -> tuple[list[tuple[Decimal, str]], list[str], str]:
    """Return the amounts, the detail texts and the whole golden."""
    whole = shared_data(f"banking/mt940/{name}.yml").read_text()
    transactions = whole[whole.index("\ntransactions:") :]
    amounts = [(Decimal(amount), currency) for amount, currency in re.findall(_AMOUNT, transactions)]
    details = re.findall(r"\n    transaction_details: (.*?)\n    \w+: ", transactions, re.DOTALL)
    return amounts, details, whole


@pytest.mark.parametrize("name", FILES)
def test_a_real_file_gives_the_published_amounts(name: str) -> None:
    expected, _, _ = _golden(name)

    got = read(shared_data(f"banking/mt940/{name}.sta"))

    assert got.rows.select("amount", "currency").rows() == expected
    assert got.refused == []


@pytest.mark.parametrize("name", [name for name in FILES if name != "mBank/mt942"])
def test_the_last_statement_of_a_real_file_has_the_published_balances(name: str) -> None:
    _, _, whole = _golden(name)
    head = whole[: whole.index("\ntags:")]

    published = re.findall(rf"  \w+_closing_balance: !!python/object:mt940\.models\.Balance\n\s+{_AMOUNT}", head)
    last = read(shared_data(f"banking/mt940/{name}.sta")).parsed.statements[-1]

    assert last.closing in {Decimal(amount) for amount, _ in published}
    assert last.account in whole


@pytest.mark.parametrize("name", FILES)
def test_details_are_kept_word_for_word(name: str) -> None:
    """Every word of an unstructured detail text is in our description."""
    _, details, _ = _golden(name)
    rows = read(shared_data(f"banking/mt940/{name}.sta")).rows
    plain = [
        i
        for i, detail in enumerate(details)
        if not re.search(r"[?>]2\d|/REMI/", detail) and len(details) == rows.height
    ]

    peer_adds = "D000004C000002D25,24C28,71-XXX"  # the peer appends the bank's trailer to the last row of jejik/ing
    for i in plain:
        theirs = re.sub(r"\s+|\\n|^['\"]|['\"]$|''", "", details[i].replace("\\\n", "")).replace('\\"', '"')
        theirs = theirs.removesuffix(peer_adds)
        ours = re.sub(r"\s+", "", rows.item(i, "description") or "")
        assert ours == theirs.replace("\\xAD", "\xad").replace("\\t", "") or "\\" in theirs or theirs in {"null", ""}


@pytest.mark.parametrize("name", FRAGMENTS)
def test_a_fragment_has_no_rows_and_no_refusals(name: str) -> None:
    got = read(shared_data(f"banking/mt940/cmxl/{name}.sta"))

    assert (got.rows.height, got.refused) == (0, [])


def test_balances_of_fragments_are_signed() -> None:
    folder = shared_data("banking/mt940/cmxl")

    assert read(folder / "account_balance_credit.sta").parsed.statements[0].opening == Decimal("147.64")
    assert read(folder / "account_balance_debit.sta").parsed.statements[0].opening == Decimal("-147.64")
    assert read(folder / "closing_balance.sta").parsed.statements[0].closing == Decimal(137)


@pytest.mark.parametrize("name", ["statement_line", "statement_details"])
def test_a_row_without_account_and_currency_needs_options(name: str) -> None:
    path = shared_data(f"banking/mt940/cmxl/{name}.sta")

    assert read(path).refused[0].startswith("currency|")
    assert read(path, currency="EUR", account="1").total == Decimal("-1.62")


def test_german_sub_fields_are_taken_apart() -> None:
    got = read(shared_data("banking/mt940/cmxl/statement_details.sta"), currency="EUR", account="1")

    row = got.rows.row(0, named=True)
    assert row["description"] == "FOO TRX-0A4A47C3-F846-4729-8A1B-5DF620F"
    assert row["counterparty_name"] == "Peter Pan"
    assert row["counterparty_bank"] == "HYVEDEMMXXX"
    assert row["end_to_end_id"] == "TRX-0A4A47C3-F846-4729-8A1B-5DF620F"


def test_asn_statements_close_where_the_next_opens() -> None:
    for name in ("mt940.txt", "mt940_with_spaces_for_entry_date.txt"):
        got = read(shared_data("banking/mt940/ASNB") / name)
        statements = got.parsed.statements
        sums = dict.fromkeys(range(len(statements)), Decimal(0))
        for statement, amount in got.rows.select("statement", "amount").rows():
            sums[statement] += amount

        assert len(statements) == 31
        assert all(s.opening is not None and s.opening + sums[i] == s.closing for i, s in enumerate(statements))
        assert all(left.closing == right.opening for left, right in itertools.pairwise(statements))


def test_every_real_file_has_an_expectation() -> None:
    folder = shared_data("banking/mt940")

    found = {str(path.relative_to(folder)).removesuffix(".sta") for path in folder.rglob("*.sta")}

    assert found == {*FILES, *(f"cmxl/{name}" for name in (*FRAGMENTS, "statement_line", "statement_details"))}


def _message(*entries: str) -> str:
    return ":20:R\n:25:ACC\n:28C:1/1\n:60F:C231230EUR10,\n" + "\n".join(entries) + "\n:62F:C240102EUR10,\n-\n"


@pytest.mark.parametrize(("mark", "sign"), [("C", 1), ("D", -1), ("RC", -1), ("RD", 1), ("CR", 1), ("DR", -1)])
def test_marks_move_the_balance_as_swift_says(tmp_path: Path, mark: str, sign: int) -> None:
    """RC is the reversal of a credit and takes money away; CR is a credit whose currency ends in R."""
    assert text(tmp_path, _message(f":61:240102{mark}5,NTRFNONREF")).total == 5 * sign


def test_an_entry_date_over_the_turn_of_the_year_finds_its_year(tmp_path: Path) -> None:
    got = text(tmp_path, _message(":61:2312311231D5,NTRFX", ":61:2312310102D5,NTRFX", ":61:2401021231D5,NTRFX"))

    assert got.rows.get_column("booking_date").to_list() == [date(2023, 12, 31), date(2024, 1, 2), date(2023, 12, 31)]


def test_a_line_that_is_none_is_refused_with_its_place(tmp_path: Path) -> None:
    got = text(tmp_path, _message(":61:garbage", ":61:240102C5,NTRFX", ":61:241332C5,NTRFX"))

    assert got.total == 5
    assert [reason.split("|")[0] for reason in got.refused] == ["61", "booking_date"]


def test_details_after_a_balance_do_not_belong_to_a_row(tmp_path: Path) -> None:
    got = text(tmp_path, _message(":61:240102C5,NTRFX", ":86:mine", ":62M:C240102EUR10,", ":86:of the bank"))

    assert got.rows.get_column("description").to_list() == ["mine"]


def test_carriage_returns_and_swift_blocks_are_understood(tmp_path: Path) -> None:
    source = "{1:F01X}{4:\r\n" + _message(":61:240102C5,NTRFX", ":86:a").replace("\n", "\r\n").replace(
        "-\r\n", "-}{5:}\r\n"
    )

    got = text(tmp_path, source + source)

    assert (got.rows.height, len(got.parsed.statements)) == (2, 2)
    assert got.parsed.statements[0].closing == 10


def test_sniff_tells_other_text_apart(head: Callable[[str], Head]) -> None:
    assert Mt940().sniff(head("12:30: 20:00")) == 0


@pytest.mark.parametrize(
    ("sums", "complaint"),
    [
        (":90D:1EUR5,00\n:90C:1EUR7,00", ""), (":90D:1EUR5,", ""), (":90D:what", ""), (":90D:1EUR5.0.0", ""),
        (":90D:2EUR9,50", "announces 2 entries of 9.5 in 90D and holds 1 of 5"), (":90C:0EUR0,00", "announces 0 entries of 0 in 90C and holds 1 of 7"),
    ],
)  # fmt: skip
def test_an_interim_report_holds_what_it_announces(sums: str, complaint: str, tmp_path: Path) -> None:
    got = text(
        tmp_path,
        ":20:1\n:25:DE89370400440532013000\n:28C:1/1\n:34F:EURD0,\n:13D:2610051200+0100\n:61:2610051005D5,00NTRFNONREF\n:86:A\n"
        f":61:2610051005C7,00NTRFNONREF\n:86:B\n{sums}\n-",
        "a.sta",
    )

    assert len(got.rows) == 2
    assert [complaint in problem.what for problem in got.parsed.problems] == [True] * bool(complaint)
