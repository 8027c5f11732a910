"""Parse times of bank files beside the peers' parsers, in one run: ``python benchmarks/import_bank.py [rows]``.

Prints seconds and rows per second for each format at 10,000 rows and at ``rows`` (default 1,000,000), and the peers'
times at 10,000 rows (they are too slow for more). Aim: 10,000 rows within 0.5 s, 1,000,000 within 60 s.
"""

import io
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from bursar.connectors.banks import BANK_FORMATS

SMALL = 10_000


def ofx(rows: int) -> str:
    head = "OFXHEADER:100\nDATA:OFXSGML\nVERSION:102\nSECURITY:NONE\nENCODING:USASCII\nCHARSET:1252\nCOMPRESSION:NONE\nOLDFILEUID:NONE\nNEWFILEUID:NONE\n\n"
    body = "".join(
        f"<STMTTRN>\n<TRNTYPE>DEBIT\n<DTPOSTED>2024{1 + i % 12:02d}{1 + i % 28:02d}\n<TRNAMT>-{i % 900}.{i % 100:02d}\n<FITID>F{i}\n"
        f"<NAME>MERCHANT {i % 997}\n<MEMO>card payment {i}\n</STMTTRN>\n"
        for i in range(rows)
    )
    signon = "<SIGNONMSGSRSV1><SONRS><STATUS><CODE>0<SEVERITY>INFO</STATUS><DTSERVER>20240101<LANGUAGE>ENG</SONRS></SIGNONMSGSRSV1>"
    return (
        f"{head}<OFX>{signon}<BANKMSGSRSV1><STMTTRNRS><TRNUID>0<STATUS><CODE>0<SEVERITY>INFO</STATUS><STMTRS><CURDEF>EUR<BANKACCTFROM><BANKID>1"
        f"<ACCTID>A1<ACCTTYPE>CHECKING</BANKACCTFROM><BANKTRANLIST><DTSTART>20240101<DTEND>20241231\n{body}</BANKTRANLIST>"
        "<LEDGERBAL><BALAMT>1.00<DTASOF>20241231</LEDGERBAL></STMTRS></STMTTRNRS></BANKMSGSRSV1></OFX>"
    )


def mt940(rows: int) -> str:
    body = "".join(
        f":61:24{1 + i % 12:02d}{1 + i % 28:02d}{1 + i % 12:02d}{1 + i % 28:02d}D{i % 900},{i % 100:02d}NTRFNONREF//B{i}\n"
        f":86:166?00GUTSCHRIFT?20EREF+E{i}?21SVWZ+Invoice {i}?30BIC?31DE{i % 997:020d}?32MERCHANT {i % 997}\n"
        for i in range(rows)
    )
    return f":20:R\n:25:DE1\n:28C:1/1\n:60F:C240101EUR0,00\n{body}:62F:C241231EUR0,00\n-\n"


def csv(rows: int) -> str:
    return "Booking date;Value date;Payee;Description;Amount;Currency\n" + "".join(
        f"2024-{1 + i % 12:02d}-{1 + i % 28:02d};2024-{1 + i % 12:02d}-{1 + i % 28:02d};MERCHANT {i % 997};card payment {i};-{i % 900},{i % 100:02d};EUR\n"
        for i in range(rows)
    )


def qif(rows: int) -> str:
    return "!Type:Bank\n" + "".join(
        f"D2024-{1 + i % 12:02d}-{1 + i % 28:02d}\nT-{i % 900}.{i % 100:02d}\nPMERCHANT {i % 997}\nMcard payment {i}\n^\n"
        for i in range(rows)
    )


def camt(rows: int) -> str:
    body = "".join(
        f'<Ntry><Amt Ccy="EUR">{i % 900}.{i % 100:02d}</Amt><CdtDbtInd>DBIT</CdtDbtInd><Sts>BOOK</Sts><BookgDt><Dt>2024-{1 + i % 12:02d}-{1 + i % 28:02d}'
        f"</Dt></BookgDt><AcctSvcrRef>R{i}</AcctSvcrRef><NtryDtls><TxDtls><Refs><EndToEndId>E{i}</EndToEndId></Refs><RltdPties><Cdtr><Nm>MERCHANT {i % 997}"
        f"</Nm></Cdtr></RltdPties><RmtInf><Ustrd>Invoice {i}</Ustrd></RmtInf></TxDtls></NtryDtls></Ntry>\n"
        for i in range(rows)
    )
    return (
        '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt><Stmt><Id>S</Id><Acct><Id><IBAN>DE1</IBAN></Id><Ccy>EUR</Ccy></Acct>'
        f"{body}</Stmt></BkToCstmrStmt></Document>"
    )


def ours(path: Path, name: str) -> int:
    connector = next(connector for connector in BANK_FORMATS if connector.name == name)
    return connector.parse(path, options={}).lines.collect().height


def theirs_ofxtools(path: Path) -> int:
    from ofxtools.Parser import OFXTree

    tree = OFXTree()
    tree.parse(str(path))
    return len(tree.convert().statements[0].transactions)


def theirs_ofxparse(path: Path) -> int:
    from ofxparse import OfxParser

    return len(OfxParser.parse(io.BytesIO(path.read_bytes())).account.statement.transactions)


def theirs_mt940(path: Path) -> int:
    import mt940 as peer

    return len(peer.parse(str(path)))


def timed(label: str, rows: int, call: Callable[[], int]) -> None:
    started = time.perf_counter()
    count = call()
    seconds = time.perf_counter() - started
    assert count == rows, f"{label} read {count} of {rows} rows"
    print(f"{label:<28}{rows:>10,} rows {seconds:>9.3f} s {rows / seconds:>12,.0f} rows/s")


def main(rows: int) -> None:
    warnings.simplefilter("ignore")
    makers: dict[str, Callable[[int], str]] = {"ofx": ofx, "mt940": mt940, "bank-csv": csv, "qif": qif, "camt": camt}
    with tempfile.TemporaryDirectory() as folder:
        for size in (SMALL, rows):
            for name, make in makers.items():
                path = Path(folder) / f"{name}-{size}"
                path.write_text(make(size))
                timed(f"bursar {name}", size, lambda path=path, name=name: ours(path, name))  # type: ignore[misc]
                if size != SMALL:
                    path.unlink()
        for label, name, peer in (
            ("mt-940", "mt940", theirs_mt940), ("ofxtools", "ofx", theirs_ofxtools), ("ofxparse", "ofx", theirs_ofxparse),
        ):  # fmt: skip
            timed(f"{label} ({name})", SMALL, lambda peer=peer, name=name: peer(Path(folder) / f"{name}-{SMALL}"))  # type: ignore[misc]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
