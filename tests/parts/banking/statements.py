"""Statements as banks write them, and an importer of the real product, for tests of banking."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from bursar.core.intake.jobs import Importer
from bursar.core.intake.service import Batch
from bursar.infra.db import Database
from bursar.infra.files import LocalFiles
from bursar.infra.lake import Lake
from bursar.infra.sandbox import Sandbox
from bursar.kernel.actor import Actor
from bursar.kernel.lines import BANK_LINES, COST_LINES, PAYMENT_LINES
from bursar.wiring.house import DECIDED

NOW = datetime(2026, 11, 20, tzinfo=UTC)

Row = tuple[str, str, str]
"""Day as YYYYMMDD, amount, text."""


@asynccontextmanager
async def importer_in(db: Database, folder: Path) -> AsyncIterator[Importer]:
    """Open an importer over a folder."""
    sandbox = Sandbox(warm=("bursar.connectors.formats",))
    yield Importer(
        db=db,
        lake=Lake(folder / "lake", beside=DECIDED),
        documents=LocalFiles(folder / "files", free_bytes_min=0),
        sandbox=sandbox,
        parser="bursar.connectors.formats:parse_in_child",
        schemas={schema.name: schema for schema in (COST_LINES, BANK_LINES, PAYMENT_LINES)},
        scratch=folder / "tmp",
        quarantine=folder / "quarantine",
    )
    await sandbox.close()


def ofx(path: Path, rows: Sequence[Row], *, account: str = "42") -> Path:
    """Write an OFX statement."""
    entries = "".join(
        f"<STMTTRN><TRNTYPE>OTHER<DTPOSTED>{day}<TRNAMT>{amount}<FITID>{account}-{n}<NAME>{text}</STMTTRN>"
        for n, (day, amount, text) in enumerate(rows)
    )
    path.write_text(
        "OFXHEADER:100\nDATA:OFXSGML\nVERSION:102\nENCODING:USASCII\nCHARSET:1252\n\n<OFX><BANKMSGSRSV1><STMTTRNRS><STMTRS>"
        f"<CURDEF>USD<BANKACCTFROM><BANKID>1<ACCTID>{account}<ACCTTYPE>CHECKING</BANKACCTFROM><BANKTRANLIST>"
        f"<DTSTART>20260101<DTEND>20261231{entries}</BANKTRANLIST></STMTRS></STMTTRNRS></BANKMSGSRSV1></OFX>",
        encoding="cp1252",
    )
    return path


async def taken(importer: Importer, actor: Actor, *paths: Path) -> list[Batch]:
    """Import some files."""
    return [batch async for batch in importer.import_paths(actor, paths, clock=lambda: NOW)]
