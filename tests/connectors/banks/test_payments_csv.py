import csv
import gzip
import io
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

import polars as pl
import pytest

from bursar.connectors.banks.payments_csv import PaymentsCsv
from bursar.kernel.errors import Invalid
from tests.connectors.banks.support import read, text
from tests.shared import shared_data

FILES = {
    "daily_payments_by_body.csv": "sum",
    "daily_payments_by_unit_top60.csv.gz": "Amount",
    "leeds_ledger_2010_2020.csv.gz": "amount",
}
PLACE = Decimal("1e-15")


def _plain(name: str, tmp_path: Path) -> Path:
    data = shared_data(f"spend/{name}").read_bytes()
    path = tmp_path / name.removesuffix(".gz")
    path.write_bytes(gzip.decompress(data) if name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("name", FILES)
def test_a_real_publication_keeps_every_row_and_the_exact_total(name: str, tmp_path: Path) -> None:
    path = _plain(name, tmp_path)
    source = path.read_bytes().decode().replace("\r", " ")  # a stray carriage return stands inside two Leeds suppliers
    theirs = list(csv.DictReader(io.StringIO(source, newline="")))

    got = read(path)

    assert got.connector.name == "payments-csv"
    assert (got.rows.height, got.refused) == (len(theirs), [])
    assert got.total == sum((Decimal(row[FILES[name]]).quantize(PLACE, ROUND_HALF_EVEN) for row in theirs), Decimal(0))


def test_leeds_has_its_columns(tmp_path: Path) -> None:
    rows = read(_plain("leeds_ledger_2010_2020.csv.gz", tmp_path)).rows

    assert rows.height == 358_532
    assert (
        rows.select(pl.col("supplier", "category", "department", "reference").is_not_null().mean()).row(0) > (0.99,) * 4
    )
    assert rows.select(pl.col("row").is_sorted()).item()


LAYOUTS = {
    "oxford": "Service Area,Expenses Type,Date,Transaction No,Amount,Supplier Name\nHousing,Repairs,31/01/2014,17,1234.50,ACME\n",
    "oxford 2": 'Body Name,Directorate,Expenditure Category,Payment Date,Transaction Number,Net Amount,Supplier\nOCC,Housing,Repairs,31-Jan-14,17,"1,234.50",ACME\n',
    "department": "Department Family,Entity,Date,Expense Type,Expense Area,Supplier,Transaction number,Amount,Description\nCO,CO,31/01/2014,IT,X,ACME,17,1234.50,d\n",
    "pounds": 'Payment Date,Supplier Name,Description,Payment Amount (£),Cost Centre\n31/01/2014,ACME,d,"£1,234.50",C1\n',
    "vendor": "Vendor,Vendor ID,Posting Date,Cost Element,Value,Document Number\nACME,9,2014-01-31,IT,1234.50,17\n",
    "beneficiary": "Beneficiary Name;Date of Payment;Amount;Purpose\nACME;31.01.2014;1.234,50;x\n",
    "merchant": "Merchant Name,Transaction Date,Transaction Amount,Merchant Category,Directorate\nACME,31 January 2014,1234.50,FOOD,H\n",
    "preamble": "Spending over 500 pounds\n\nSupplier,Date Paid,Gross Amount,Department\nACME,31/01/2014,1234.50,H\n",
    "creditor": "Creditor,Invoice Date,Invoice Amount,Subjective,Responsible Unit\nACME,2014/01/31,1234.50,IT,H\n",
    "payee": "Payee Name,Paid Date,Amount Paid,Account Description,Voucher Number\nACME,20140131,1234.50,IT,17\n",
    "card": "Organisation Name,Supplier Beneficiary,Date,Summary of Purpose of Expenditure,Amount (GBP)\nO,ACME,31/01/14,x,1234.50\n",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_known_header_layout_is_recognised(layout: str, tmp_path: Path) -> None:
    got = text(tmp_path, LAYOUTS[layout], name="p.csv")

    assert got.connector.name == "payments-csv"
    assert got.rows.select(pl.col("day").cast(pl.String), "amount", "supplier").row(0) == (
        "2014-01-31",
        Decimal("1234.5"),
        "ACME",
    )


def test_credits_keep_their_sign_and_subtotals_are_refused(tmp_path: Path) -> None:
    table = "Supplier,Payment Date,Amount,Department\nA,2024-01-31,-5.00,D\n,,100.00,\nA,bad,1,D\nA,2024-01-31,x,D\n"

    got = text(tmp_path, table)

    assert got.amounts == [Decimal(-5)]
    assert [reason.split("|")[0] for reason in got.refused] == ["day", "day", "amount"]


def test_the_currency_is_stated_assumed_or_read(tmp_path: Path) -> None:
    table = "Supplier,Payment Date,Amount,Department\nA,2024-01-31,5.00,D\n"

    assert text(tmp_path, table).parsed.currency_hint == "EUR"
    assert text(tmp_path, table.replace("Department", "Directorate")).parsed.currency_hint == "GBP"
    assert text(tmp_path, table.replace("Amount", "Amount (£)")).parsed.currency_hint == "GBP"
    assert text(tmp_path, table, currency="USD").rows.item(0, "currency") == "USD"
    assert (
        text(tmp_path, table.replace("Department", "Currency").replace(",D", ",chf")).rows.item(0, "currency") == "CHF"
    )


def test_a_mapping_and_a_date_order_settle_the_rest(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("firm,when,much\nA,03/04/2024,5.00\n")

    with pytest.raises(Invalid, match="recognised"):
        read(tmp_path / "p.csv", PaymentsCsv())
    with pytest.raises(Invalid, match="day/month or month/day"):
        read(tmp_path / "p.csv", PaymentsCsv(), mapping='{"day": "when", "amount": "much", "supplier": 1}')
    got = read(
        tmp_path / "p.csv", PaymentsCsv(), mapping='{"day": "when", "amount": "much", "supplier": 1}', date_order="DMY"
    )

    assert got.rows.select("supplier", "amount").row(0) == ("A", Decimal(5))
