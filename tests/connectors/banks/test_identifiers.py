"""What statements say of a counterparty besides its name and account, by format."""

from pathlib import Path

import pytest

from tests.connectors.banks.support import read, text
from tests.shared import shared_data

CAMT = """<?xml version="1.0" encoding="UTF-8"?>
<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.{version}"><BkToCstmrStmt><Stmt><Id>1</Id>
<Acct><Id><IBAN>DE89370400440532013000</IBAN></Id><Ccy>EUR</Ccy></Acct>
<Ntry><Amt Ccy="EUR">12.30</Amt><CdtDbtInd>DBIT</CdtDbtInd><Sts>{status}</Sts><BookgDt><Dt>2026-10-01</Dt></BookgDt>
{card}<NtryDtls><TxDtls>{tx_card}<RltdPties>
<Dbtr>{open}<Nm>Ourselves</Nm><Id><OrgId><Othr><Id>DE136695976</Id><SchmeNm><Prtry>VAT</Prtry></SchmeNm></Othr></OrgId></Id>{close}</Dbtr>
<Cdtr>{open}<Nm>Hetzner Online GmbH</Nm>{ids}{close}</Cdtr></RltdPties></TxDtls></NtryDtls></Ntry></Stmt></BkToCstmrStmt></Document>"""

IDS = """<Id><OrgId><LEI>529900T8BM49AURSDO55</LEI><Othr><Id>DE 812 871 812</Id><SchmeNm><Cd>TXID</Cd></SchmeNm></Othr>
<Othr><Id>HRB 6089</Id><SchmeNm><Cd>COID</Cd></SchmeNm></Othr><Othr><Id>4711</Id><SchmeNm><Cd>CUST</Cd></SchmeNm></Othr></OrgId>
<PrvtId><Othr><Id>DE98ZZZ09999999999</Id><SchmeNm><Prtry>SEPA</Prtry></SchmeNm></Othr></PrvtId></Id>
<CtctDtls><EmailAdr>billing@hetzner.com</EmailAdr></CtctDtls>"""
POI = "<CardTx><POI><Id><Id>{id}</Id><Tp>{kind}</Tp><ShrtNm>HETZNER ONLINE</ShrtNm></Id></POI></CardTx>"


def camt(folder: Path, *, version: str = "08", ids: str = IDS, card: str = "", tx_card: str = "") -> tuple[str, str]:
    deep = int(version) >= 8
    content = CAMT.format(
        version=version, ids=ids, card=card, tx_card=tx_card, status="<Cd>BOOK</Cd>" if deep else "BOOK",
        open="<Pty>" if deep else "", close="</Pty>" if deep else "",
    )  # fmt: skip
    [row] = text(folder, content).rows.select("counterparty_name", "counterparty_ids").rows()
    return row[0], row[1] or ""


@pytest.mark.parametrize("version", ["02", "04", "08", "13"])
def test_a_camt_names_the_numbers_of_the_counterparty_and_never_our_own(version: str, tmp_path: Path) -> None:
    name, told = camt(tmp_path, version=version)

    assert name == "Hetzner Online GmbH"
    assert set(told.split()) == {
        "lei:529900T8BM49AURSDO55", "tax:DE812871812", "company:HRB6089", "creditor:DE98ZZZ09999999999",
        "email:billing@hetzner.com", "domain:hetzner.com",
    }  # fmt: skip


@pytest.mark.parametrize("place", ["card", "tx_card"])
def test_a_card_acceptor_is_told_and_a_terminal_is_not(place: str, tmp_path: Path) -> None:
    acceptor = camt(tmp_path, ids="", **{place: POI.format(id="000123456", kind="MERC")})
    terminal = camt(tmp_path, ids="", **{place: POI.format(id="T-77", kind="OPOI")})

    assert (acceptor[1], terminal[1]) == ("card_acceptor:000123456", "")


def test_real_files_tell_their_numbers() -> None:
    camt_ids = read(shared_data("banking/camt/camt053.v2.with-party-ids.xml")).rows.get_column("counterparty_ids")
    mt940 = read(shared_data("banking/mt940/cmxl/statement_details.sta"), currency="EUR", account="1").rows.get_column(
        "counterparty_ids"
    )

    assert camt_ids.drop_nulls().to_list() == []  # the payer is told by a person's number and a bank's own only
    assert "creditor:DE98ZZZ09999999999" in mt940.drop_nulls().to_list()


def test_an_mt940_tells_the_creditor(tmp_path: Path) -> None:
    dutch = (
        ":20:1\r\n:25:NL20INGB0001234567\r\n:28C:1\r\n:60F:C261001EUR100,00\r\n:61:261001D12,30NDDTEREF//1\r\n"
        ":86:/EREF/1//MARF/M1//CSID/NL98ZZZ999999999999//CNTP/NL69INGB0123456789/INGBNL2A/KPN//REMI/USTD//Bill/\r\n:62F:C261001EUR87,70\r\n"
    )
    got = text(tmp_path, dutch, "a.sta")

    assert got.rows.get_column("counterparty_ids").to_list() == ["creditor:NL98ZZZ999999999999"]


def test_tables_tell_numbers_and_the_domain_of_whoever_got_the_money(tmp_path: Path) -> None:
    paypal = (
        "Date,Name,Gross,Net,Transaction ID,From Email Address,To Email Address,Currency\n"
        "2026-10-25,Shop,-5.00,-5.00,A,me@ours.com,pay@shop.example,EUR\n2026-10-26,Client,7.00,7.00,B,ann@client.org,me@ours.com,EUR\n"
    )
    bank = "Buchungstag;Betrag;Währung;Verwendungszweck;Gläubiger-ID;USt-IdNr\n25.10.2026;-3,00;EUR;Strom;DE98ZZZ09999999999;\n26.10.2026;-4,00;EUR;X;;DE812871812\n"

    assert text(tmp_path, paypal, "p.csv").rows.get_column("counterparty_ids").to_list() == [
        "email:pay@shop.example domain:shop.example", "email:ann@client.org domain:client.org",
    ]  # fmt: skip
    assert text(tmp_path, bank, "b.csv").rows.get_column("counterparty_ids").to_list() == [
        "creditor:DE98ZZZ09999999999", "vat:DE812871812",
    ]  # fmt: skip
