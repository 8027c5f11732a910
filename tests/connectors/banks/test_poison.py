"""What an attacker or a broken exporter sends: every answer is rows, problems or a refusal, and texts stay as they are."""

import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bursar.connectors.banks import BANK_FORMATS
from bursar.kernel.connector import FileConnector, Head
from bursar.kernel.errors import Refusal
from tests.connectors.banks.support import collected, read, text

TEXTS = [
    "=cmd|' /C calc'!A0", "@SUM(1+1)", "+1-1", "<script>alert(1)</script>", "\u202egnp.exe\u202c", "x" * 10_240, "| pipes || here",
    "ünïcödé 日本語 🎉", "%s {amount} ${jndi}", "'; DROP TABLE x; --", "tab\there",
]  # fmt: skip


def _csv(description: str) -> str:
    quoted = '"' + description.replace('"', '""') + '"'
    return f"Date,Description,Amount,Currency\n2024-01-02,{quoted},1.00,EUR\n"


def _ofx(description: str) -> str:
    safe = description.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return (
        "OFXHEADER:100\n<OFX><STMTRS><CURDEF>EUR<BANKACCTFROM><ACCTID>1</BANKACCTFROM><BANKTRANLIST><STMTTRN><DTPOSTED>20240102"
        f"<TRNAMT>1.00<FITID>1<NAME>{safe}</STMTTRN></BANKTRANLIST></STMTRS></OFX>"
    )


def _camt(description: str) -> str:
    safe = description.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return (
        '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.02"><BkToCstmrStmt><Stmt><Id>1</Id><Acct><Id><IBAN>DE1</IBAN></Id></Acct>'
        '<Ntry><Amt Ccy="EUR">1.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts>BOOK</Sts><BookgDt><Dt>2024-01-02</Dt></BookgDt>'
        f"<AddtlNtryInf>{safe}</AddtlNtryInf></Ntry></Stmt></BkToCstmrStmt></Document>"
    )


@pytest.mark.parametrize("description", TEXTS)
@pytest.mark.parametrize("write", [_csv, _ofx, _camt])
def test_descriptions_are_kept_exactly(write, description: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    got = text(tmp_path, write(description))

    assert got.rows.get_column("description").to_list() == [description]


@pytest.mark.parametrize("write", [_csv, _ofx])
def test_nul_characters_are_replaced_and_said(write, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    got = text(tmp_path, write("a\x00b"))

    assert got.rows.item(0, "description") == "a\ufffdb"
    assert "NUL characters" in got.parsed.notes[0]


@pytest.mark.parametrize("source", [_ofx("x"), _camt("x")])
@pytest.mark.parametrize(
    "declaration",
    ['<!DOCTYPE x [<!ENTITY a "b">]>', "<!doctype x>", '< !ENTITY x SYSTEM "file:///etc/passwd">'.replace("< ", "<")],
)
def test_document_types_are_refused(source: str, declaration: str, tmp_path: Path) -> None:
    for encoding in ("utf-8", "utf-16"):
        with pytest.raises(Refusal, match="document type"):
            text(tmp_path, (declaration + source).encode(encoding))


def _attempt(connector: FileConnector, path: Path, data: bytes) -> None:
    path.write_bytes(data)
    connector.sniff(Head("x", data[:65_536], len(data)))
    try:
        parsed = connector.parse(path, options={})
    except Refusal:
        return
    collected(connector, parsed)


SEEDS = [
    _csv("x").encode(), _ofx("x").encode(), _camt("x").encode(),
    b":20:R\n:25:A\n:60F:C240101EUR1,\n:61:2401020102D5,NTRFX//Y\n:86:166?00A?20B?32C\n:62F:C240102EUR1,\n-\n",
    b"!Account\nNA\n^\n!Type:Bank\nD1/13'20\nT-5.00\nPx\nSa\n$-5.00\n^\n",
    b"Supplier,Payment Date,Amount,Department\nA,2024-01-31,5.00,D\n",
]  # fmt: skip
BITS = st.sampled_from([b"\x00", b"\n", b"\r", b'"', b",", b";", b"<", b">", b"&", b"^", b"!", b":61:", b":86:", b"\xff", b"\xfe", b"-", b"1e99", b"9" * 40, b"<STMTTRN>", b"</STMTTRN>", b"<Ntry>", "\u202e".encode(), b"?20", b"2024-02-30", b"\x1f", b"|"])  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    which=st.integers(0, len(BANK_FORMATS) - 1),
    seed=st.sampled_from(SEEDS),
    edits=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 0.3), BITS | st.binary(max_size=6)), max_size=8),
)
def test_nothing_but_a_refusal_ever_escapes(
    tmp_path: Path, which: int, seed: bytes, edits: list[tuple[float, float, bytes]]
) -> None:
    data = seed
    for place, cut, bit in edits:
        at = int(place * len(data))
        data = data[:at] + bit + data[at + int(cut * len(data)) :]

    _attempt(BANK_FORMATS[which], tmp_path / "fuzz", data)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(which=st.integers(0, len(BANK_FORMATS) - 1), data=st.binary(max_size=300))
def test_random_bytes_are_refused_or_read(tmp_path: Path, which: int, data: bytes) -> None:
    _attempt(BANK_FORMATS[which], tmp_path / "fuzz", data)


def test_a_truncated_archive_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(Refusal):
        read_any(tmp_path, gzip.compress(b"Date,Amount\n2024-01-02,1\n" * 100)[:50])


def read_any(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    for connector in BANK_FORMATS:
        read(tmp_path / "x", connector)
