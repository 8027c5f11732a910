"""The sample organisation: the same bytes for the same seed, balances that tie, truths that point at their rows."""

import csv
import gzip
import hashlib
import io
import json
import re
from collections import defaultdict
from datetime import date
from decimal import Decimal
from pathlib import Path

import mt940
import pytest
from lxml import etree
from ofxtools.Parser import OFXTree

from bursar.kernel.errors import Invalid
from bursar.reports.sample import TRUTH_FILE, Truth, write_sample

NS = {"c": "urn:iso:std:iso:20022:tech:xsd:camt.053.001.02"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("halden")


@pytest.fixture(scope="module")
def truth(folder: Path) -> Truth:
    return write_sample(folder)


def text_of(path: Path) -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_seed_gives_the_same_bytes(folder: Path, truth: Truth, tmp_path: Path) -> None:
    again = write_sample(tmp_path)

    assert again == truth
    assert digest(tmp_path) == digest(folder)


def test_another_seed_gives_other_bytes_and_the_same_truths(truth: Truth, tmp_path: Path) -> None:
    other = write_sample(tmp_path, seed=8)

    assert [planted.kind for planted in other.planted] == [planted.kind for planted in truth.planted]
    assert {file.path: file.total for file in other.files} != {file.path: file.total for file in truth.files}


@pytest.mark.parametrize(
    ("months", "end"), [(23, date(2026, 10, 31)), (61, date(2026, 10, 31)), (24, date(2026, 10, 30))]
)
def test_what_cannot_be_covered_is_refused(tmp_path: Path, months: int, end: date) -> None:
    with pytest.raises(Invalid):
        write_sample(tmp_path, months=months, end=end)


def test_it_is_small_and_holds_enough_truths(folder: Path, truth: Truth) -> None:
    assert sum(file.rows for file in truth.files) <= 100_000
    assert len(truth.planted) >= 40
    assert len({planted.id for planted in truth.planted}) == len(truth.planted)
    assert len({planted.kind for planted in truth.planted}) >= 25
    assert {file.path for file in truth.files} | {TRUTH_FILE} == set(digest(folder))


def test_the_truth_file_says_the_same(folder: Path, truth: Truth) -> None:
    written = json.loads((folder / TRUTH_FILE).read_text(encoding="utf-8"))

    assert [item["id"] for item in written["planted"]] == [planted.id for planted in truth.planted]
    assert [Decimal(item["worth"]) for item in written["planted"]] == [planted.worth for planted in truth.planted]


def block(lines: list[str], row: int, path: str) -> str:
    """Return the text of the entry that begins at line ``row`` of a file."""
    ends = {".xml": "</Ntry>", ".ofx": "</STMTTRN>"}
    suffix = Path(path).suffix
    if suffix == ".sta":
        after = next(at for at in range(row, len(lines)) if lines[at].startswith((":61:", ":62F:")))
        return "".join(lines[row - 1 : after])
    if suffix in ends:
        after = next(at for at in range(row, len(lines)) if lines[at].strip() == ends[suffix])
        return "".join(lines[row - 1 : after + 1])
    if "openai" in path:
        return "".join(lines[row - 1 : row + 2])
    return lines[row - 1]


def test_every_truth_points_at_rows_that_name_its_subject(folder: Path, truth: Truth) -> None:
    lines = {file.path: text_of(folder / file.path).splitlines() for file in truth.files}
    without_rows = {planted.id for planted in truth.planted if not planted.where}
    unnamed = [
        (planted.id, place.file, row)
        for planted in truth.planted
        for place in planted.where
        for row in place.rows
        if not any(subject in block(lines[place.file], row, place.file) for subject in planted.subjects)
    ]

    assert without_rows == {"B11", "B17", "B18"}  # what is missing, or still to come, has no row
    assert unnamed == []


def test_the_rows_of_a_truth_lie_in_its_period(folder: Path, truth: Truth) -> None:
    day = re.compile(r"20\d\d-[01]\d-[0-3]\d")
    for planted in truth.planted:
        for place in planted.where:
            if not place.file.endswith(".csv.gz") or planted.id in {"C04", "C06", "C25"}:
                continue
            lines = text_of(folder / place.file).splitlines()
            days = [date.fromisoformat(day.findall(lines[row - 1])[0]) for row in place.rows]
            assert planted.start <= min(days), planted
            assert max(days) <= planted.end, planted


def test_the_control_totals_are_those_of_the_files(folder: Path, truth: Truth) -> None:
    column = {"aws-cur-legacy": "lineItem/UnblendedCost", "focus-1.0-azure": "BilledCost", "focus-1.2": "BilledCost"}
    for file in truth.files:
        if file.format in column:
            rows = list(csv.DictReader(io.StringIO(text_of(folder / file.path), newline="")))
            assert len(rows) == file.rows
            assert sum(Decimal(row[column[file.format]]) for row in rows) == file.total
            assert None not in rows[0]


def test_google_s_rows_are_json_with_credits(folder: Path, truth: Truth) -> None:
    for file in truth.files:
        if file.format == "gcp-billing-export":
            rows = [json.loads(line, parse_float=Decimal) for line in text_of(folder / file.path).splitlines()]
            assert sum(row["cost"] for row in rows) == file.total
            assert all(row["credits"][0]["amount"] <= 0 for row in rows)


def test_camt_balances_tie(folder: Path, truth: Truth) -> None:
    carried = None
    for file in sorted((file for file in truth.files if file.format == "camt.053"), key=lambda file: file.path):
        for statement in etree.fromstring((folder / file.path).read_bytes()).iterfind(".//c:Stmt", NS):
            opening, closing = (signed(balance) for balance in statement.iterfind("c:Bal", NS))
            moved = sum(signed(entry) for entry in statement.iterfind("c:Ntry", NS))
            assert opening + moved == closing
            assert carried in {None, opening}
            carried = closing


def signed(element: "etree._Element") -> Decimal:
    amount = Decimal(element.findtext("c:Amt", namespaces=NS) or "")
    return -amount if element.findtext("c:CdtDbtInd", namespaces=NS) == "DBIT" else amount


def test_mt940_balances_tie_and_stay_above_zero(folder: Path) -> None:
    text = text_of(folder / "bank/handelmaas-mt940.sta")
    months = 0
    for message in text.split("-}"):
        if ":60F:" not in message:
            continue
        months += 1
        read = mt940.models.Transactions()
        read.parse(message)
        opening = read.data["final_opening_balance"].amount.amount
        balance = opening
        for entry in read:
            balance += entry.data["amount"].amount
            assert balance > 0
        assert balance == read.data["final_closing_balance"].amount.amount
    assert months == 24


def test_ofx_reads_and_no_balance_is_negative(folder: Path, truth: Truth) -> None:
    tree = OFXTree()
    tree.parse(str(folder / "bank/cascade-valley-usd.ofx"))
    statement = tree.convert().statements[0]
    file = next(file for file in truth.files if file.format == "ofx")
    moved = sum(entry.trnamt for entry in statement.transactions)

    assert moved == file.total
    assert len({entry.fitid for entry in statement.transactions}) == file.rows
    balance = statement.ledgerbal.balamt - moved
    for entry in statement.transactions:
        balance += entry.trnamt
        assert balance > 0
    assert balance == statement.ledgerbal.balamt


def test_cloud_invoices_are_paid_to_the_cent_except_the_planted_one(folder: Path, truth: Truth) -> None:
    billed: dict[str, Decimal] = defaultdict(Decimal)
    for file in truth.files:
        if file.format == "focus-1.0-azure":
            for row in csv.DictReader(io.StringIO(text_of(folder / file.path), newline="")):
                billed[row["x_InvoiceId"]] += Decimal(row["BilledCost"])
    paid: dict[str, Decimal] = {}
    for path in sorted(folder.glob("bank/*.xml")):
        for entry in etree.fromstring(path.read_bytes()).iterfind(".//c:Ntry", NS):
            found = re.search(r"Azure (E0900\d{4}A7)", entry.findtext(".//c:Ustrd", namespaces=NS) or "")
            if found:
                paid[found[1]] = -signed(entry)
    off = {number: paid[number] - billed[number].quantize(Decimal("0.01")) for number in paid}

    assert len(paid) == 23
    assert [difference for difference in off.values() if difference] == [Decimal("312.40")]


def test_every_iban_has_right_check_digits(folder: Path) -> None:
    ibans = set(re.findall(r"<IBAN>(\w+)</IBAN>", "".join(text_of(path) for path in folder.glob("bank/*.xml"))))

    assert ibans
    for iban in ibans:
        digits = "".join(str(int(char, 36)) for char in iban[4:] + iban[:4])
        assert int(digits) % 97 == 1, iban
