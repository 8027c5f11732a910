import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bursar.kernel.errors import Invalid
from tests.connectors.banks.support import Read, read, text
from tests.shared import shared_data

GOLDENS = [
    "camt053.v2.all-balance-types", "camt053.v2.minimal", "camt053.v2.minimal.ultimate", "camt053.v2.with-account-name",
    "camt053.v2.with-party-ids", "camt053.v3", "camt053.v4", "camt054.v2", "camt054.v4",
]  # fmt: skip


def _expected(entry: dict[str, Any]) -> tuple[str, Decimal, str]:
    amount = entry["getAmount"]
    currency = amount["getCurrency"]["getCode"]
    return entry["getBookingDate"]["0"][:10], Decimal(amount["getAmount"]).scaleb(-2), currency


def _got(result: Read) -> list[tuple[str, Decimal, str]]:
    return [
        (str(day), amount, currency)
        for day, amount, currency in result.rows.select("booking_date", "amount", "currency").rows()
    ]


@pytest.mark.parametrize("name", GOLDENS)
def test_a_real_message_gives_the_published_entries(name: str) -> None:
    folder = shared_data("banking/camt")
    golden = json.loads((folder / f"{name}.json").read_text())

    got = read(folder / f"{name}.xml")

    assert _got(got) == [_expected(entry) for entry in golden["getEntries"]]
    record = golden["getEntries"][0]["getRecord"]
    account = record["getAccount"]
    iban = account["getIban"]["getIban"] if "getIban" in account else account["getIdentification"]
    assert got.parsed.statements[0].account == iban
    assert got.parsed.statements[0].reference == record["getId"]


def _balance(balances: list[dict[str, Any]], kind: str) -> Decimal | None:
    found = [b for b in balances if b["getType"] == kind]
    return Decimal(found[0]["getAmount"]["getAmount"]).scaleb(-2) if found else None


@pytest.mark.parametrize("name", [name for name in GOLDENS if "053" in name])
def test_a_real_statement_gives_the_published_balances(name: str) -> None:
    folder = shared_data("banking/camt")
    balances = json.loads((folder / f"{name}.json").read_text())["getEntries"][0]["getRecord"].get("getBalances", [])

    statement = read(folder / f"{name}.xml").parsed.statements[0]

    assert statement.opening == _balance(balances, "opening")
    assert statement.closing == _balance(balances, "closing")


def test_every_real_message_has_an_expectation() -> None:
    names = {path.name.removesuffix(".xml") for path in shared_data("banking/camt").glob("*.xml")}

    assert names == {*GOLDENS, "camt053.v2.wrong", "camt054.v2.with-account-name"}


def test_a_message_without_a_statement_is_refused() -> None:
    with pytest.raises(Invalid, match="no statement"):
        read(shared_data("banking/camt/camt053.v2.wrong.xml"))


def test_an_entry_without_any_date_is_refused_with_its_line() -> None:
    got = read(shared_data("banking/camt/camt054.v2.with-account-name.xml"))

    assert got.rows.height == 0
    assert got.refused == ["booking_date|the date is missing|Add the booking date"]


@pytest.mark.parametrize(("name", "count", "total"), [("test1.xml", 2, "1000"), ("test2.xml", 6, "2000")])
def test_czech_statements_give_rows_and_balances(name: str, count: int, total: str) -> None:
    got = read(shared_data("banking/camt_cz") / name)

    assert (got.rows.height, got.total) == (count, Decimal(total))
    assert (got.parsed.statements[0].opening, got.parsed.statements[0].closing) == (Decimal(1000), Decimal(2000))


def _message(*entries: str, version: str = "053.001.08", root: str = "BkToCstmrStmt", record: str = "Stmt") -> str:
    return (
        f'<?xml version="1.0"?><Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.{version}"><{root}><{record}><Id>S1</Id>'
        "<Acct><Id><IBAN>NL26VAYB8060476890</IBAN></Id><Ccy>EUR</Ccy></Acct>\n"
        + "\n".join(entries)
        + f"</{record}></{root}></Document>"
    )


def _entry(
    amount: str = "10.00", side: str = "DBIT", status: str = "<Cd>BOOK</Cd>", inside: str = "", extra: str = ""
) -> str:
    return (
        f'<Ntry><Amt Ccy="EUR">{amount}</Amt><CdtDbtInd>{side}</CdtDbtInd>{extra}<Sts>{status}</Sts><BookgDt><Dt>2024-01-02</Dt></BookgDt>'
        f"<AcctSvcrRef>R1</AcctSvcrRef><NtryDtls>{inside}</NtryDtls></Ntry>"
    )


def _part(amount: str, name: str, currency: str = "EUR") -> str:
    return (
        f'<TxDtls><Refs><EndToEndId>E-{name}</EndToEndId></Refs><Amt Ccy="{currency}">{amount}</Amt><CdtDbtInd>DBIT</CdtDbtInd>'
        f"<RltdPties><Cdtr><Pty><Nm>{name}</Nm></Pty></Cdtr><CdtrAcct><Id><IBAN>DE{name}</IBAN></Id></CdtrAcct></RltdPties>"
        f"<RmtInf><Ustrd>for</Ustrd><Ustrd>{name}</Ustrd></RmtInf></TxDtls>"
    )


def test_a_batch_is_split_when_its_parts_add_up(tmp_path: Path) -> None:
    got = text(tmp_path, _message(_entry("10.00", inside=_part("4.00", "A") + _part("6.00", "B"))))

    columns = ["amount", "counterparty_name", "counterparty_account", "bank_id", "end_to_end_id", "description"]
    assert got.rows.select(columns).rows() == [
        (Decimal(-4), "A", "DEA", "R1#1", "E-A", "for A"),
        (Decimal(-6), "B", "DEB", "R1#2", "E-B", "for B"),
    ]


@pytest.mark.parametrize(
    "parts", [_part("4.00", "A") + _part("5.00", "B"), _part("4.00", "A") + _part("6.00", "B", "CHF")]
)
def test_a_batch_stays_one_row_when_its_parts_do_not_add_up(tmp_path: Path, parts: str) -> None:
    got = text(tmp_path, _message(_entry("10.00", inside=parts)))

    assert got.rows.get_column("amount").to_list() == [Decimal(-10)]
    assert "stay one row" in got.parsed.notes[0]


def test_pending_and_information_entries_are_told_apart(tmp_path: Path) -> None:
    got = text(tmp_path, _message(_entry(), _entry(status="PDNG"), _entry(status="<Cd>INFO</Cd>")))

    assert got.rows.get_column("status").to_list() == ["booked", "pending"]
    assert got.parsed.problems[0].row == 4


def test_a_reversal_keeps_the_effect_that_is_stated(tmp_path: Path) -> None:
    got = text(tmp_path, _message(_entry(side="CRDT", extra="<RvslInd>true</RvslInd>", inside=_part("10.00", "A"))))

    assert got.rows.select("amount", "counterparty_name").row(0) == (Decimal(10), "A")


def test_foreign_amounts_charges_and_rates_are_shown(tmp_path: Path) -> None:
    detail = (
        '<TxDtls><AmtDtls><InstdAmt><Amt Ccy="USD">11.00</Amt><CcyXchg><XchgRate>1.1</XchgRate></CcyXchg></InstdAmt></AmtDtls>'
        '<Chrgs><Rcrd><Amt Ccy="EUR">0.50</Amt></Rcrd></Chrgs><RmtInf><Ustrd>Hotel</Ustrd></RmtInf></TxDtls>'
    )

    got = text(tmp_path, _message(_entry(inside=detail)))

    assert got.rows.item(0, "description") == "Hotel · 11.00 USD at 1.1 · charges 0.50 EUR"


def test_every_message_and_prefix_is_read(tmp_path: Path) -> None:
    for version, root, record in (
        ("052.001.02", "BkToCstmrAcctRpt", "Rpt"),
        ("054.001.09", "BkToCstmrDbtCdtNtfctn", "Ntfctn"),
    ):
        assert text(tmp_path, _message(_entry(), version=version, root=root, record=record)).total == Decimal(-10)
    prefixed = (
        _message(_entry())
        .replace("xmlns=", "xmlns:n=")
        .replace("<", "<n:")
        .replace("<n:/", "</n:")
        .replace("<n:?", "<?")
    )

    assert text(tmp_path, prefixed).total == Decimal(-10)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("</Document>", "not well-formed XML at line"),
        ("<!DOCTYPE x>", "document type"),
        ("<!ENTITY x 'y'>", "document type"),
    ],
)
def test_broken_or_hostile_xml_is_refused(tmp_path: Path, broken: str, reason: str) -> None:
    good = _message(_entry())
    bad = good.replace(broken, "") if broken.startswith("</") else good.replace("<Document", broken + "<Document")

    with pytest.raises(Invalid, match=reason):
        text(tmp_path, bad)


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="deeper than"):
        text(tmp_path, _message("<a>" * 200_000))


def test_an_entry_without_a_mark_is_refused(tmp_path: Path) -> None:
    got = text(tmp_path, _message(_entry(side="BOTH")))

    assert got.refused == ["CdtDbtInd|“BOTH” is neither CRDT nor DBIT|Ask the bank for a valid message"]


def test_value_date_stands_in_for_a_missing_booking_date(tmp_path: Path) -> None:
    entry = _entry().replace(
        "<BookgDt><Dt>2024-01-02</Dt></BookgDt>", "<ValDt><DtTm>2024-01-05T10:00:00+02:00</DtTm></ValDt>"
    )

    assert text(tmp_path, _message(entry)).rows.item(0, "booking_date") == date(2024, 1, 5)
