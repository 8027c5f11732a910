from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from bursar.connectors.banks.ofx import Ofx
from bursar.kernel.connector import Head
from bursar.kernel.errors import Invalid
from tests.connectors.banks.support import read, text
from tests.shared import shared_data

EXPECTED: dict[str, tuple[int, str, list[str | None]]] = {
    "anzcc.ofx": (1, "-5.50", ["-123.45"]),
    "bank_medium.ofx": (3, "-345.27", ["382.34"]),
    "checking.ofx": (3, "-59.50", ["100.99"]),
    "fidelity-savings.ofx": (4, "-1778.3952", [None]),
    "fidelity.ofx": (3, "-0.57", [None]),
    "investment_401k.ofx": (0, "0", [None]),
    "investment_medium.ofx": (3, "-3.95", [None]),
    "multiple_accounts.ofx": (0, "0", ["111", "222"]),
    "multiple_accounts2.ofx": (0, "0", ["111", "222"]),
    "ofx-v102-empty-tags.ofx": (1, "12.34", [None]),
    "suncorp.ofx": (1, "-16.85", ["1234.12"]),
    "td_ameritrade.ofx": (0, "0", [None]),
    "tiaacref.ofx": (0, "0", [None]),
    "vanguard.ofx": (0, "0", [None]),
    "vanguard401k.ofx": (0, "0", [None]),
    "fail_nice/empty_balance.ofx": (1, "120", [None]),
    "fail_nice/date_missing.ofx": (0, "0", ["0"]),
    "fail_nice/decimal_error.ofx": (0, "0", ["0"]),
}
"""File to rows taken, their sum, and the closing balance of each statement (read off the files by hand)."""

REFUSED = {
    "account_listing_aggregation.ofx": "lists accounts",
    "bank_small.ofx": "holds no statement",
    "error_message.ofx": "error 2000: General Server Error",
    "signon_fail.ofx": "error 15500: Your request",
    "signon_success.ofx": "holds no statement",
    "signon_success_no_message.ofx": "holds no statement",
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_real_file_gives_its_rows_and_balances(name: str) -> None:
    count, total, closings = EXPECTED[name]

    got = read(shared_data("banking/ofxparse") / name)

    assert (got.rows.height, got.total) == (count, Decimal(total))
    assert [s.closing for s in got.parsed.statements] == [Decimal(c) if c else None for c in closings]


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_without_a_statement_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(Invalid, match=REFUSED[name]):
        read(shared_data("banking/ofxparse") / name)


def test_every_real_file_has_an_expectation() -> None:
    folder = shared_data("banking/ofxparse")

    found = {str(path.relative_to(folder)) for path in folder.rglob("*.ofx")}

    assert found == {*EXPECTED, *REFUSED}


def test_unreadable_rows_carry_their_reason() -> None:
    got = read(shared_data("banking/ofxparse/fail_nice/date_missing.ofx"))

    assert [reason.split("|")[:2] for reason in got.refused] == [
        ["booking_date", "the date is missing"],
        ["booking_date", "the date is missing"],
        ["booking_date", "“20120231” is not a date of the calendar"],
    ]


def test_trades_of_an_investment_account_are_counted_not_taken() -> None:
    got = read(shared_data("banking/ofxparse/fidelity.ofx"))

    assert "14 investment movements of account 01234567890" in got.parsed.problems[0].what
    assert "8 BUYSTOCK, 4 INCOME, 2 SELLSTOCK" in got.parsed.problems[0].what


def test_the_same_files_give_the_amounts_of_a_peer() -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ofxparse import OfxParser

        for name in ("bank_medium.ofx", "checking.ofx", "suncorp.ofx", "anzcc.ofx"):
            path = shared_data("banking/ofxparse") / name
            with path.open("rb") as stream:
                theirs = OfxParser.parse(stream).account.statement
            got = read(path)

            assert got.rows.get_column("amount").to_list() == [t.amount for t in theirs.transactions]
            assert got.rows.get_column("booking_date").to_list() == [t.date.date() for t in theirs.transactions]
            assert got.rows.get_column("bank_id").to_list() == [t.id for t in theirs.transactions]
            assert got.parsed.statements[0].closing == theirs.balance


def _sgml(*rows: str, closing: str = "<LEDGERBAL><BALAMT>1<DTASOF>20240131</LEDGERBAL>", tail: str = "</OFX>") -> str:
    return (
        "OFXHEADER:100\nDATA:OFXSGML\nENCODING:USASCII\nCHARSET:1252\n\n<OFX><BANKMSGSRSV1><STMTTRNRS><STMTRS><CURDEF>EUR"
        "<BANKACCTFROM><BANKID>1<ACCTID>A1<ACCTTYPE>CHECKING</BANKACCTFROM><BANKTRANLIST><DTSTART>20240101<DTEND>20240131\n"
        + "\n".join(rows)
        + f"\n</BANKTRANLIST>{closing}</STMTRS></STMTTRNRS></BANKMSGSRSV1>{tail}"
    )


def _row(amount: str = "-1.00", day: str = "20240102", name: str = "N", extra: str = "") -> str:
    return f"<STMTTRN><TRNTYPE>DEBIT<DTPOSTED>{day}<TRNAMT>{amount}<FITID>f<NAME>{name}{extra}</STMTTRN>"


def test_row_numbers_are_lines_of_the_file(tmp_path: Path) -> None:
    got = text(tmp_path, _sgml(_row(), "", _row()))

    assert got.rows.get_column("row").to_list() == [7, 9]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1234,56", "1234.56"),
        ("+1.5", "1.5"),
        ("-.5", "-0.5"),
        ("1,234.56", "1234.56"),
        ("1.234,56", "1234.56"),
        ("1e2", "100"),
    ],
)
def test_amounts_are_read_in_the_forms_banks_write(tmp_path: Path, written: str, meant: str) -> None:
    assert text(tmp_path, _sgml(_row(written))).total == Decimal(meant)


@pytest.mark.parametrize("written", ["1,234", "$120", "1E+9999999", "NaN", "1.2.3", "", "٣", "1.1234567890123456"])
def test_amounts_that_are_none_are_refused(tmp_path: Path, written: str) -> None:
    got = text(tmp_path, _sgml(_row(written), _row("2")))

    assert (got.rows.height, len(got.refused)) == (1, 1)
    assert got.refused[0].startswith("amount|")


def test_a_file_cut_off_inside_a_row_keeps_the_rows_before(tmp_path: Path) -> None:
    whole = _sgml(_row("-1"), _row("-2"), _row("-3"))

    got = text(tmp_path, whole[: whole.rindex("<NAME>")])

    assert got.total == Decimal(-3)
    assert "cut off inside this transaction" in got.refused[0]
    assert "end mark </OFX> is missing" in got.parsed.problems[0].what


def test_entities_cdata_and_comments_are_text(tmp_path: Path) -> None:
    got = text(
        tmp_path,
        _sgml(_row(name="A &amp;amp; B &lt;b&gt;"), _row(name="<![CDATA[C & <D>]]>"), "<!-- x\n -->" + _row(name="E")),
    )

    assert got.rows.get_column("description").to_list() == ["A &amp; B <b>", "C & <D>", "E"]
    assert got.rows.get_column("row").to_list() == [7, 8, 10]


def test_lower_case_tags_are_read(tmp_path: Path) -> None:
    source = _sgml(_row()).replace("STMTTRN>", "stmttrn>").replace("TRNAMT", "trnamt")

    assert text(tmp_path, source).total == Decimal(-1)


def test_a_currency_of_the_row_and_the_other_account_are_kept(tmp_path: Path) -> None:
    extra = "<BANKACCTTO><BANKID>B9<ACCTID>X9</BANKACCTTO><CURRENCY><CURRATE>1.1<CURSYM>usd</CURRENCY>"

    got = text(tmp_path, _sgml(_row(extra=extra)))

    assert got.rows.select("currency", "counterparty_account", "counterparty_bank").row(0) == ("USD", "X9", "B9")
    assert "1 rows are stated in a currency other than their account's" in got.parsed.notes[0]


def test_pending_transactions_are_reported(tmp_path: Path) -> None:
    got = text(tmp_path, _sgml(_row()).replace("</BANKTRANLIST>", "</BANKTRANLIST><STMTTRNP><TRNAMT>3</STMTTRNP>"))

    assert "1 pending transactions" in got.parsed.problems[0].what


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
def test_names_survive_every_encoding(tmp_path: Path, encoding: str) -> None:
    got = text(tmp_path, _sgml(_row(name="Müller & Söhne €")).encode(encoding))

    assert got.rows.item(0, "counterparty_name") == "Müller & Söhne €"


def test_two_equal_purchases_both_stay(tmp_path: Path) -> None:
    assert text(tmp_path, _sgml(_row(), _row())).rows.height == 2


def test_options_fill_what_the_file_leaves_empty(tmp_path: Path) -> None:
    source = _sgml(_row()).replace("<CURDEF>EUR", "<CURDEF>").replace("<ACCTID>A1", "<ACCTID>")

    got = text(tmp_path, source, currency="gbp", account="mine")

    assert got.rows.select("currency", "account").row(0) == ("GBP", "mine")
    assert got.parsed.statements[0].opening_day == date(2024, 1, 1)


def test_a_wrong_currency_option_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="option currency"):
        text(tmp_path, _sgml(_row()), currency="euros")


def test_a_document_over_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bursar.connectors.banks import _text, ofx
    from bursar.kernel.errors import TooLarge

    monkeypatch.setattr(_text, "DOCUMENT_BYTES_MAX", 100)
    with pytest.raises(TooLarge):
        text(tmp_path, _sgml(_row()))
    monkeypatch.undo()
    monkeypatch.setattr(ofx, "STATEMENTS_MAX", 0)
    with pytest.raises(Invalid, match="statements"):
        text(tmp_path, _sgml(_row()))


def test_sniff_tells_other_text_apart(head: Callable[[str], Head]) -> None:
    assert Ofx().sniff(head("date,amount\n2024-01-01,1")) == 0
