"""Belvo against a local server that answers with the documented shapes and faults."""

import base64
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from bursar.connectors.belvo import Belvo, BelvoRefused, Credentials, PagesMoved, notice
from bursar.connectors.belvo_format import BelvoFormat, document
from bursar.infra.db import Database
from bursar.infra.http import Caps, Egress, Host
from bursar.kernel.actor import Actor
from bursar.kernel.connector import Head, LinkGone, StillCollecting, TokenRequired
from bursar.kernel.errors import Invalid
from bursar.kernel.lines import BANK_LINES, REFUSED
from tests.parts.banking.statements import importer_in

LINK = "30cb4806-6e00-48a4-91c9-ca55968576c8"
ACCOUNT = {
    "id": "0d3ffb69-f83b-456e-ad8e-208d0998d71d", "link": LINK, "category": "CHECKING_ACCOUNT", "balance_type": "ASSET",
    "type": "Cuentas de efectivo", "name": "Cuenta perfiles", "number": "4057068115181", "currency": "BRL",
    "institution": {"name": "ofmockbank_br_retail", "type": "bank"}, "collected_at": "2026-10-31T23:59:59Z",
    "balance": {"current": 5874.13, "available": 5621.12}, "public_identification_name": "CLABE",
    "public_identification_value": "150194683119900273",
}  # fmt: skip
SINCE, UNTIL = date(2026, 10, 1), date(2026, 10, 31)


def movement(n: int, amount: object = 2145.45, **more: Any) -> dict[str, Any]:
    """Return one transaction as Belvo's API describes it."""
    return {
        "id": f"076c66e5-{n:04d}", "internal_identification": f"9{n:05d}", "account": ACCOUNT, "value_date": f"2026-10-{1 + n % 28:02d}",
        "accounting_date": None, "amount": amount, "balance": 16957.9, "currency": "BRL", "description": f"COMPRA {n}",
        "observations": None, "merchant": {"merchant_name": "Amazon", "website": None, "logo": None}, "category": "Online Platforms",
        "subcategory": None, "reference": f"{n}", "type": "OUTFLOW", "status": "PROCESSED", **more,
    }  # fmt: skip


class Bank(ThreadingHTTPServer):
    """A bank behind Belvo; ``script`` holds faults to answer with first."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.script: list[tuple[int, Any]] = []
        self.rows = [movement(n) for n in range(25)]
        self.accounts = [ACCOUNT]
        self.links: list[dict[str, Any]] = []
        self.announced: int | None = None
        self.calls: list[tuple[str, str]] = []
        self.page_max = 10


class Answering(BaseHTTPRequestHandler):
    """Basic authentication, collecting by POST, second factor by PATCH, lists in pages."""

    server: Bank

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def say(self, status: int, body: Any) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def answer(self) -> None:
        bank, path = self.server, urlsplit(self.path)
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        bank.calls.append((self.command, path.path))
        if self.headers["Authorization"] != "Basic " + base64.b64encode(b"id:password").decode():
            self.say(401, [{"code": "authentication_failed", "message": "Invalid", "request_id": "r0"}])
        elif bank.script:
            self.say(*bank.script.pop(0))
        elif self.command == "PATCH":
            good = (body["session"], body["token"], body["link"]) == ("s1", "123456", LINK)
            self.say(201 if good else 400, bank.rows if good else [{"code": "invalid_token", "request_id": "r2"}])
        elif self.command == "POST":
            self.say(201, bank.accounts if "accounts" in path.path else bank.rows)
        else:
            asked = parse_qs(path.query)
            page, size = int(asked["page"][0]), min(int(asked["page_size"][0]), bank.page_max)
            lists = {"/api/accounts/": bank.accounts, "/api/links/": bank.links, "/api/transactions/": bank.rows}
            rows = lists[path.path]
            here = rows[(page - 1) * size : page * size]
            further = f"http://elsewhere.example/?page={page + 1}" if page * size < len(rows) else None
            count = bank.announced if bank.announced is not None and rows is bank.rows else len(rows)
            self.say(200, {"count": count, "next": further, "previous": None, "results": here})

    do_GET = do_POST = do_PATCH = answer  # noqa: N815  the names the library calls


@pytest.fixture
def bank() -> Iterator[Bank]:
    server = Bank()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@asynccontextmanager
async def connected(bank: Bank, password: str = "password") -> AsyncIterator[Belvo]:
    async def no_wait(_: float) -> None:
        return None

    port = bank.server_address[1]
    host = Host("127.0.0.1", frozenset({port}), frozenset({"http"}), ("127.0.0.0/8",))
    client = Egress(sleep=no_wait).client("belvo", allow=[host], caps=Caps(total_s=10.0))
    yield Belvo(client, f"http://127.0.0.1:{port}", Credentials("id", password))
    await client.close()


async def pulled(bank: Bank, *, collected: bool = False) -> bytes:
    async with connected(bank) as belvo:
        return await belvo.pull(LINK, since=SINCE, until=UNTIL, collected=collected)


async def test_a_pull_is_a_document_that_is_imported_like_a_statement(
    bank: Bank, db: Database, actor: Actor, tmp_path: Path
) -> None:
    bank.rows = [
        movement(1, 0.1),
        movement(2, 20.20, type="INFLOW"),
        movement(3, type=None),
        movement(4, status="PENDING"),
    ]
    path = tmp_path / "pull.json"
    path.write_bytes(await pulled(bank))

    async with importer_in(db, tmp_path) as importer:
        [batch] = [
            one async for one in importer.import_paths(actor, [path], clock=lambda: datetime(2026, 11, 1, tzinfo=UTC))
        ]
        bank.rows = list(reversed(bank.rows))
        path.write_bytes(await pulled(bank, collected=True) + b"\n")
        [again] = [
            one async for one in importer.import_paths(actor, [path], clock=lambda: datetime(2026, 11, 2, tzinfo=UTC))
        ]
        async with db.reading(actor) as tx:
            rows = (await importer.lake.scan(tx, BANK_LINES)).collect().sort("booking_date")

    assert (batch.format, batch.rows_taken, batch.rows_refused, batch.totals) == (
        "belvo", 3, 1, {"BRL": Decimal("-0.1") + Decimal("20.2") - Decimal("2145.45")},
    )  # fmt: skip
    assert (again.rows_taken, again.rows_known) == (0, 3)
    assert rows["account"].unique().to_list() == ["150194683119900273"]
    assert rows["status"].to_list() == ["booked", "booked", "pending"]
    assert rows["counterparty_name"][0] == "Amazon"
    assert [balance.closing for balance in batch.balances] == [Decimal("5874.13")]


async def test_lists_are_read_to_the_last_page_without_following_its_address(bank: Bank) -> None:
    told = json.loads(await pulled(bank, collected=True))

    assert len(told["transactions"]) == 25
    assert len({row["id"] for row in told["transactions"]}) == 25
    assert bank.calls.count(("GET", "/api/transactions/")) == 3


async def test_rows_that_move_between_pages_are_noticed(bank: Bank) -> None:
    bank.announced = 26

    with pytest.raises(PagesMoved, match=r"26 .* 25"):
        await pulled(bank, collected=True)


async def test_a_second_factor_is_asked_for_and_the_pull_goes_on(bank: Bank) -> None:
    needed = {
        "code": "token_required", "message": "A MFA token is required", "request_id": "r1", "session": "s1", "expiry": 9600, "link": LINK,
        "token_generation_data": {"instructions": "Use this code", "type": "numeric", "value": "1", "expects_user_input": True},
    }  # fmt: skip
    bank.script = [(428, [needed])]
    async with connected(bank) as belvo:
        with pytest.raises(TokenRequired) as asked:
            await belvo.transactions(LINK, since=SINCE, until=UNTIL)

        with pytest.raises(BelvoRefused, match="invalid_token"):
            await belvo.resume(asked.value, "000000")
        rows = await belvo.resume(asked.value, "123456")

    assert (asked.value.instructions, asked.value.expiry_s) == ("Use this code", 9600)
    assert len(rows) == 25
    assert bank.calls[-1] == ("PATCH", "/api/transactions/")


@pytest.mark.parametrize(
    ("script", "refusal", "match"),
    [
        ([(202, {"request_id": "q7"})], StillCollecting, "q7"),
        ([(404, [{"code": "not_found", "request_id": "r"}])], LinkGone, LINK),
        ([(400, [{"code": "invalid_link", "request_id": "r"}, {"code": "blank"}])], BelvoRefused, "invalid_link, blank"),
        ([(408, [{"code": "request_timeout", "request_id": "r"}])] * 3, BelvoRefused, "request_timeout"),
        ([(500, b"<html>oops</html>")], BelvoRefused, "status 500"),
        ([(200, b"not json")], Invalid, "not JSON"),
        ([(428, [{"code": "token_required"}])], BelvoRefused, "token_required"),
    ],
)  # fmt: skip
async def test_faults_are_refusals(
    bank: Bank, script: list[tuple[int, Any]], refusal: type[Exception], match: str
) -> None:
    bank.script = script

    with pytest.raises(refusal, match=match):
        await pulled(bank)


async def test_passing_faults_are_tried_again(bank: Bank) -> None:
    bank.script = [(503, []), (429, []), (408, [{"code": "request_timeout"}])]

    told = json.loads(await pulled(bank))

    assert len(told["transactions"]) == 25


async def test_wrong_credentials_say_so_and_never_show(bank: Bank) -> None:
    async with connected(bank, "wrong") as belvo:
        with pytest.raises(BelvoRefused, match="authentication_failed") as refused:
            await belvo.links()

    assert "wrong" not in f"{refused.value}{refused.value.facts}"
    assert "password" not in repr(Credentials("id", "password"))


def test_a_webhook_tells_counts_and_is_checked() -> None:
    body = {
        "webhook_id": "w1", "webhook_type": "TRANSACTIONS", "process_type": "historical_update", "webhook_code": "historical_update",
        "link_id": LINK, "request_id": "q7", "external_id": None,
        "data": {"total_transactions": 145, "total_inflow_transactions": 32, "total_outflow_transactions": 113,
                 "first_transaction_date": "2026-09-16", "last_transaction_date": "2026-10-28"},
    }  # fmt: skip

    told = notice(json.dumps(body).encode(), authorization="Bearer t", expected="Bearer t")

    assert (told.key, told.rows, told.first, told.link) == ("w1/q7", 145, date(2026, 9, 16), LINK)
    for raw, sent, expected in (
        (body, "Bearer x", "Bearer t"), (body, "", ""), ({**body, "data": {"total_transactions": "x"}}, "t", "t"),
        ({}, "t", "t"), ([], "t", "t"), ({**body, "external_id": "x" * 70_000}, "t", "t"),
    ):  # fmt: skip
        with pytest.raises(Invalid):
            notice(json.dumps(raw).encode(), authorization=sent, expected=expected)


def test_rows_without_day_direction_or_currency_are_refused_by_number(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    rows = [
        movement(0), movement(1, value_date=None), movement(2, type="X"), movement(3, amount="-1"), movement(4, currency=None),
        movement(5, account=None), movement(6, amount=True), movement(7, amount="1e400000000000000000000"),
    ]  # fmt: skip
    path.write_bytes(document(LINK, [{**ACCOUNT, "balance_type": "LIABILITY"}], rows))

    parsed = BelvoFormat().parse(path, options={})
    refused = dict(parsed.lines.select("bank_id", REFUSED).collect().iter_rows())

    assert [key for key, why in sorted(refused.items()) if why is None] == ["900000"]
    assert str(refused["900005"]).startswith("account|")
    assert parsed.statements[0].closing == Decimal("-5874.13")
    assert BelvoFormat().sniff(Head("x", path.read_bytes()[:100], 1)) == 1.0
    assert BelvoFormat().sniff(Head("x", b'{"a": 1}', 1)) == 0.0
