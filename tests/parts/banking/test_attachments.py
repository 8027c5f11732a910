"""Files attached to transactions over HTTP: kinds by content, limits, closed periods, safe downloads, other organisations."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bursar.infra.db import Database
from bursar.infra.metrics import Metrics
from bursar.infra.paging import Paging
from bursar.infra.web import WebSettings, create_app
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Invalid
from bursar.parts.banking.attachments import api, rules
from bursar.parts.banking.posting import service as posting
from bursar.parts.banking.transactions import service as transactions
from bursar.parts.banking.transactions.service import Filter
from tests.parts.banking.statements import NOW, importer_in, ofx, taken

PDF = b"%PDF-1.7\n" + b"x" * 10_000
OWN = {"Authorization": "Bearer x"}


@dataclass
class Place:
    """A client, and the address of the attachments of one transaction."""

    client: httpx2.AsyncClient
    path: str
    asks: Actor


@pytest.fixture
async def place(db: Database, actor: Actor, tmp_path: Path) -> AsyncIterator[Place]:
    made: Place

    async def gate(*_: Any, **__: Any) -> Actor:
        return made.asks

    settings = WebSettings(
        version="1", base_url="http://test", cursor_key=b"k" * 32, anonymous_per_min=10_000, login_per_min=10_000
    )
    async with importer_in(db, tmp_path) as importer:
        await taken(importer, actor, ofx(tmp_path / "a.ofx", [("20261007", "-120.00", "OFFICE DEPOT")]))
        async with db.writing(actor) as tx:
            await transactions.derive(tx, actor, lake=importer.lake, now=NOW)
            found = await transactions.find(tx, actor, wanted=Filter())
            [row] = await tx.all(found.page(tx, Paging(2)))
        app = create_app(settings, db, [api.routes(importer.documents)], gate, metrics=Metrics())
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test", headers=OWN) as client:
            made = Place(client, f"/v1/transactions/{row.id}/attachments", actor)
            yield made


async def test_a_receipt_is_kept_once_and_downloaded_safely(place: Place, other_actor: Actor) -> None:
    name = "../../Quittung „Café“\r\n.pdf"
    first = await place.client.post(place.path, params={"name": name}, content=PDF)
    again = await place.client.post(place.path, params={"name": "other.pdf"}, content=PDF)
    listed = (await place.client.get(place.path)).json()
    got = await place.client.get(f"{place.path}/{first.json()['id']}")
    own, place.asks = place.asks, other_actor
    foreign = [await place.client.get(path) for path in (place.path, f"{place.path}/{first.json()['id']}")]
    taken_over = await place.client.post(place.path, params={"name": "x"}, content=PDF)
    place.asks = own
    gone = await place.client.delete(f"{place.path}/{first.json()['id']}")

    assert (first.status_code, first.json()["name"], first.json()["kind"]) == (
        201,
        "Quittung „Café“.pdf",
        "application/pdf",
    )
    assert again.json()["id"] == first.json()["id"]
    assert len(listed) == 1
    assert got.content == PDF
    assert got.headers["content-disposition"].startswith('attachment; filename="Quittung _Caf__.pdf"; filename*=UTF-8')
    assert (got.headers["content-type"], got.headers["x-content-type-options"]) == (
        "application/octet-stream",
        "nosniff",
    )
    assert [answer.status_code for answer in foreign] == [404, 404]
    assert taken_over.status_code == 404
    assert gone.status_code == 204
    assert (await place.client.get(place.path)).json() == []


async def test_limits_kinds_and_closed_periods(place: Place, db: Database, actor: Actor) -> None:
    wrong = {
        "page.html": b"<!DOCTYPE html><script>1</script>", "image.svg": b"<svg onload='x'/>", "empty.pdf": b"", "run.exe": b"MZ\x00\x01" * 2_000,
    }  # fmt: skip
    refused = [
        (await place.client.post(place.path, params={"name": name}, content=body)).status_code
        for name, body in wrong.items()
    ]
    large = await place.client.post(place.path, params={"name": "big.pdf"}, content=b"%PDF-" + b"x" * rules.BYTES_MAX)
    many = [
        await place.client.post(place.path, params={"name": f"{n}.txt"}, content=f"receipt {n}".encode())
        for n in range(21)
    ]
    async with db.writing(actor) as tx:
        await posting.post(tx, actor, now=NOW)
        await transactions.close(tx, actor, until=date(2026, 11, 1), now=NOW)
    locked = await place.client.delete(f"{place.path}/{many[0].json()['id']}")

    assert refused == [422] * 4
    assert large.status_code == 413
    assert [answer.status_code for answer in many] == [201] * 20 + [413]
    assert (locked.status_code, locked.json()["code"]) == (409, "period_closed")


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n..", "image/png"), (b"\xff\xd8\xff\xe0", "image/jpeg"), (b"RIFF....WEBPVP8 ", "image/webp"),
        ("\ufeff<?xml version='1.0'?><Invoice/>".encode(), "application/xml"), (b"II*\x00", "image/tiff"),
        (b"a" + ("ä" * 2_048).encode()[: rules.HEAD_BYTES - 1], "text/plain"),
    ],
)  # fmt: skip
def test_kinds_are_told_by_content(head: bytes, kind: str) -> None:
    assert rules.kind_of(head) == kind


def test_names_lose_folders_and_hidden_characters() -> None:
    assert rules.check_name("C:\\x\\inv\u202efdp.exe") == "invfdp.exe"
    with pytest.raises(Invalid):
        rules.check_name("../..")
