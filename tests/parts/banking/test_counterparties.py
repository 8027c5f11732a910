"""One counterparty from what different statements say of it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bursar.core.intake.jobs import Importer
from bursar.core.parties import service as parties
from bursar.kernel.actor import Actor
from bursar.parts.banking.transactions import rules, service
from tests.connectors.banks.test_identifiers import CAMT, IDS
from tests.parts.banking.statements import NOW, importer_in, ofx, taken
from tests.parts.banking.test_understanding import listed


@pytest.fixture
async def importer(db: Any, tmp_path: Path) -> AsyncIterator[Importer]:
    async with importer_in(db, tmp_path) as made:
        yield made


async def test_statements_of_different_formats_meet_at_one_counterparty(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    camt = tmp_path / "a.xml"
    camt.write_text(
        CAMT.format(version="08", ids=IDS, card="", tx_card="", status="<Cd>BOOK</Cd>", open="<Pty>", close="</Pty>")
    )
    table = tmp_path / "b.csv"
    table.write_text(
        "Date,Name,Gross,Net,Transaction ID,From Email Address,To Email Address,Currency\n"
        "2026-10-25,HO Cloud,-5.00,-5.00,A,me@ours.com,pay@hetzner.com,EUR\n"
        "2026-10-26,Ann,7.00,7.00,B,ann@gmail.com,me@ours.com,EUR\n2026-10-27,Bob,7.00,7.00,C,bob@gmail.com,me@ours.com,EUR\n"
    )
    bank = ofx(
        tmp_path / "c.ofx",
        [("20261001", "-3.00", "HETZNER www.hetzner.com 4711"), ("20261002", "-4.00", "Paid at www.hetzner.com")],
    )
    await taken(importer, actor, camt, table, bank)
    async with importer.db.writing(actor) as tx:
        await service.derive(tx, actor, lake=importer.lake, now=NOW)

    who = {row.label: row.party for row in await listed(importer, actor)}
    async with importer.db.reading(actor) as tx:
        known = await parties.get(tx, actor, party=who["HO Cloud"])

    assert who["Hetzner Online GmbH"] == who["HO Cloud"] == who["HETZNER www.hetzner.com 4711"]
    assert len(set(who.values())) == 4
    assert {scheme for scheme, _ in known.identifiers} >= {"tax", "lei", "company", "domain"}


@pytest.mark.parametrize(("text", "told"), [
    ("Invoice 7, VAT no. DE 136695976, thanks", {"vat:DE136695976"}), ("UID CHE-107.787.577 MWST", {"vat:CHE107787577"}),
    ("ref DE136695976", set()), ("Inv.no 12345", set()), ("Pago.de luz", set()), ("NETFLIX.COM 866-579", {"domain:netflix.com"}),
    ("SQ *shop https://acme.de/x", {"domain:acme.de"}), ("ann@acme.com", {"domain:acme.com"}), ("St.Paul 1.5.2026", set()),
    ("AMAZON.CO.UK*X1", {"domain:amazon.co.uk"}), ("", set()),
])  # fmt: skip
def test_a_text_tells_marked_numbers_and_sites(text: str, told: set[str]) -> None:
    import polars as pl

    row = pl.DataFrame(
        {"counterparty_name": [None], "description": [text]}, schema_overrides={"counterparty_name": pl.String}
    )

    assert set((row.select(rules.told()).item() or "").split()) == told
