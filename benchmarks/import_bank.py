"""Parse times of bank files beside the peers' parsers, in one run: ``python -m benchmarks.import_bank [--quick]``.

Every format at 10,000 rows and at 1,000,000 (100,000 with ``--quick``); the peers at 10,000 rows, because they are too
slow for more. Aim: 10,000 rows within 0.5 s, 1,000,000 within 60 s, for the slowest format; CPU seconds are judged,
because walls depend on what else the machine does (on an idle one the wall is no longer than the CPU).
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the root: this folder holds a module named http

import io
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial

from benchmarks._figures import arguments, figure, finish, table
from bursar.connectors.banks import BANK_FORMATS

SMALL = 10_000
LARGE = 1_000_000
QUICK = 100_000


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


def timed(label: str, rows: int, call: Callable[[], int]) -> list[object]:
    """Return a row of the table: what was read, how many rows, seconds on the wall and of CPU, rows in a CPU second."""
    started, cpu = time.perf_counter(), time.process_time()
    count = call()
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    assert count == rows, f"{label} read {count} of {rows} rows"
    return [label, rows, seconds, cpu, round(rows / cpu)]


MAKERS: dict[str, Callable[[int], str]] = {"ofx": ofx, "mt940": mt940, "bank-csv": csv, "qif": qif, "camt": camt}
PEERS = (("mt-940", "mt940", theirs_mt940), ("ofxtools", "ofx", theirs_ofxtools), ("ofxparse", "ofx", theirs_ofxparse))


def main(rows: int) -> None:
    warnings.simplefilter("ignore")
    lines: list[list[object]] = []
    with tempfile.TemporaryDirectory() as folder:
        for size in (SMALL, rows):
            for name, make in MAKERS.items():
                path = Path(folder) / f"{name}-{size}"
                path.write_text(make(size))
                lines.append(timed(f"bursar {name}", size, partial(ours, path, name)))
                if size != SMALL:
                    path.unlink()
        for label, name, peer in PEERS:
            lines.append(timed(f"{label} ({name})", SMALL, partial(peer, Path(folder) / f"{name}-{SMALL}")))
    table(lines, head=["what", "rows", "wall s", "CPU s", "rows a CPU s"])
    seconds = {(str(label), size): float(str(taken)) for label, size, _, taken, _ in lines}
    small = max(taken for (label, size), taken in seconds.items() if size == SMALL and label.startswith("bursar"))
    large = max(taken for (_, size), taken in seconds.items() if size == rows)
    ofxtools, ofx_ours = seconds["ofxtools (ofx)", SMALL], seconds["bursar ofx", SMALL]
    finish(
        figure(
            "CPU of the slowest format, 1M rows" if rows >= LARGE else f"CPU of the slowest format, {rows} rows",
            large,
            "s",
            target=60.0 * rows / LARGE,
            better="lower",
        ),
        others=[
            figure("CPU of the slowest format, 10,000 rows", small, "s", target=0.5, better="lower"),
            figure("OFX against ofxtools", ofxtools / ofx_ours, "times faster", target=5, better="higher"),
        ],
    )


if __name__ == "__main__":
    main(QUICK if arguments(__doc__).quick else LARGE)
