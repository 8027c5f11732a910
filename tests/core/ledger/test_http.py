"""The ledger, the books and parties as a program meets them."""

from collections.abc import AsyncIterator
from datetime import date, datetime
from typing import Any

import httpx2
import pytest

from bursar.core.ledger import api as ledger_api
from bursar.core.ledger import service as ledger
from bursar.core.ledger.books import api as books_api
from bursar.core.parties import api as parties_api
from bursar.infra.clock import utc_now
from bursar.infra.db import Database
from bursar.infra.metrics import Metrics
from bursar.infra.web import WebSettings, create_app
from bursar.kernel.actor import Actor

Client = httpx2.AsyncClient


@pytest.fixture
async def client(db: Database, actor: Actor) -> AsyncIterator[Client]:
    async def gate(
        db: Database, *, authorization: str | None, cookie: str | None, address: str, now: datetime
    ) -> Actor:
        return actor

    settings = WebSettings(
        version="1", base_url="http://test", cursor_key=b"k" * 32, anonymous_per_min=10_000, login_per_min=10_000
    )
    app = create_app(settings, db, [ledger_api.r, books_api.r, parties_api.r], gate, metrics=Metrics())
    transport = httpx2.ASGITransport(app=app)
    async with Client(transport=transport, base_url="http://test", headers={"Authorization": "Bearer x"}) as made:
        yield made


async def account(client: Client, code: str, kind: str, **more: Any) -> str:
    reply = await client.post("/v1/ledger/accounts", json={"code": code, "kind": kind, "currency": "EUR", **more})
    assert reply.status_code == 201, reply.text
    return str(reply.json()["id"])


def figure(amount: dict[str, str]) -> tuple[str, str]:
    """Return amount and currency; every one has a trace."""
    assert amount["trace"].startswith("tr_")
    return amount["amount"], amount["currency"]


def transfer(key: str, **facts: Any) -> dict[str, Any]:
    amount = facts.pop("amount", None)
    money = {"amount": {"amount": amount, "currency": "EUR"}} if amount else {}
    return {"key": key, "value_day": "2026-03-01", **money, **facts}


async def test_money_moves_and_reports_agree(client: Client) -> None:
    cash, sales = await account(client, "asset:cash", "asset"), await account(client, "income:sales", "income")
    body = transfer("k1", debit=cash, credit=sales, amount="12.50")

    first, again = [await client.post("/v1/ledger/transfers", json=body) for _ in range(2)]
    shown = (await client.get(f"/v1/ledger/accounts/{cash}")).json()
    listed = (await client.get("/v1/ledger/transfers", params={"account": cash})).json()["data"]
    trial = (await client.get("/v1/books/trial-balance")).json()

    assert (first.status_code, first.json()["new"], again.json()["new"]) == (201, True, False)
    assert figure(shown["balance"]) == ("12.50", "EUR")
    assert [one["id"] for one in listed] == [first.json()["id"]] == [again.json()["id"]]
    assert [figure(one) for one in trial["totals"]] == [("12.50", "EUR")]
    assert (await client.get(f"/v1/ledger/transfers/{first.json()['id']}")).json()["amount"]["amount"] == "12.50"
    assert (await client.get("/v1/ledger/proof")).json() == []


async def test_refusals_are_problems_with_their_facts(client: Client) -> None:
    cash = await account(client, "cash", "asset")
    escrow = await account(client, "escrow", "liability", guard="debits_within_credits")

    over = await client.post("/v1/ledger/transfers", json=transfer("k1", debit=escrow, credit=cash, amount="1.00"))
    malformed = await client.post(
        "/v1/ledger/transfers", json=transfer("k2", debit=escrow, credit=cash, amount="1.005")
    )
    batch = await client.post(
        "/v1/ledger/transfers/batch",
        json={
            "transfers": [
                transfer("a", debit=cash, credit=escrow, amount="1.00"),
                transfer("b", debit=escrow, credit=cash, amount="2.00"),
            ]
        },
    )

    assert (over.status_code, over.json()["code"], over.json()["facts"]["available"]) == (409, "limit_reached", 0)
    assert malformed.status_code == 422
    assert [(one["new"], one["refused"]) for one in batch.json()] == [(True, None), (False, "limit_reached")]


async def test_holds_rates_books_and_exports(client: Client, db: Database, actor: Actor) -> None:
    cash, sales = await account(client, "cash", "asset"), await account(client, "sales", "income")
    hold = (
        await client.post(
            "/v1/ledger/transfers", json=transfer("h", action="hold", debit=cash, credit=sales, amount="9.00")
        )
    ).json()["id"]
    settled = await client.post("/v1/ledger/transfers", json=transfer("s", action="settle", of=hold))
    rate = await client.post(
        "/v1/ledger/rates", json={"base": "EUR", "quote": "USD", "day": "2026-03-01", "rate": "1.1", "source": "ecb"}
    )
    worth = (await client.get("/v1/books/revaluation", params={"on": "2026-03-02", "into": "USD"})).json()
    period = {"since": "2026-03-01", "until": "2026-03-31"}

    assert (settled.status_code, rate.status_code) == (201, 204)
    assert {one["worth"]["amount"] for one in worth["worth"]} == {"9.90"}
    income = (await client.get("/v1/books/income-statement", params=period)).json()
    assert [figure(one) for one in income["earnings"]] == [("9.00", "EUR")]
    assert (await client.get("/v1/books/balance-sheet", params={"on": "2026-03-31"})).json()["sections"][0]["total"][
        "amount"
    ] == "9.00"
    assert (await client.get("/v1/books/cash-flow", params={**period, "cash": "cash"})).json()[0]["inflow"][
        "amount"
    ] == "9.00"
    assert (await client.get("/v1/books/groups", params=period)).json()[0]["key"] is None
    assert (await client.get("/v1/books/groups", params={**period, "tag": "x"})).status_code == 200
    assert "s,settle" in (await client.get("/v1/books/export")).text
    assert " open Assets:Cash EUR" in (await client.get("/v1/books/export", params={"form": "beancount"})).text
    async with db.writing(actor) as tx:
        await ledger.close_books(tx, actor, through=date(2026, 3, 31), now=utc_now())
    assert (
        await client.post("/v1/ledger/transfers", json=transfer("x", debit=cash, credit=sales, amount="1.00"))
    ).json()["code"] == "books_closed"
    assert (await client.post(f"/v1/ledger/accounts/{cash}/close")).status_code == 409
    assert [one["code"] for one in (await client.get("/v1/ledger/accounts", params={"limit": 1})).json()["data"]] == [
        "cash"
    ]


async def test_parties_are_resolved_merged_and_split(client: Client) -> None:
    mentions = [
        {"name": "ACME Ltd"},
        {"name": "Acme"},
        {"name": "ZENITH", "identifiers": [{"scheme": "vat", "value": "DE136695976"}]},
    ]
    one, same, other = (await client.post("/v1/parties/resolve", json={"mentions": mentions})).json()["parties"]
    merged = (await client.post(f"/v1/parties/{one}/merge", json={"gone": other})).json()
    known = (await client.get(f"/v1/parties/{one}")).json()
    undone = await client.post(f"/v1/parties/changes/{merged['change']}/undo")
    split = await client.post(f"/v1/parties/{one}/split", json={"name": "x", "keys": ["ZENITH"]})

    assert one == same != other
    assert [spelling["key"] for spelling in known["names"]] == ["ACME", "ZENITH"]
    assert (undone.status_code, split.status_code) == (204, 422)
    assert (await client.post(f"/v1/parties/{one}/rename", json={"name": "Acme Tools"})).status_code == 204
    assert (await client.post(f"/v1/parties/{one}/keep-apart", json={"other": other})).status_code == 204
    assert [party["name"] for party in (await client.get("/v1/parties")).json()["data"]] == ["Acme Tools", "ZENITH"]
    assert (await client.get("/v1/parties/suggestions")).json()["data"] == []
    assert (await client.get(f"/v1/parties/{merged['change']}")).status_code == 404
