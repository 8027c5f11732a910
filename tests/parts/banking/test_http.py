"""Banking as a program meets it."""

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bursar.infra.db import Database
from bursar.infra.metrics import Metrics
from bursar.infra.web import WebSettings, create_app
from bursar.kernel.actor import Actor
from bursar.parts.banking.cash import api as cash_api
from bursar.parts.banking.posting import api as postings_api
from bursar.parts.banking.transactions import api as transactions_api
from bursar.parts.banking.understanding import api as understanding_api
from tests.parts.banking.statements import importer_in, ofx, taken

Client = httpx2.AsyncClient
ROWS = [
    ("20261001", "-31.00", "GREEN TAXI"),
    ("20261014", "-29.00", "GREEN TAXI"),
    ("20261015", "-120.00", "OFFICE DEPOT"),
]


@pytest.fixture
async def client(db: Database, actor: Actor, tmp_path: Path) -> AsyncIterator[Client]:
    async def gate(
        db: Database, *, authorization: str | None, cookie: str | None, address: str, now: datetime
    ) -> Actor:
        return actor

    settings = WebSettings(
        version="1", base_url="http://test", cursor_key=b"k" * 32, anonymous_per_min=10_000, login_per_min=10_000
    )
    async with importer_in(db, tmp_path) as importer:
        await taken(importer, actor, ofx(tmp_path / "a.ofx", ROWS))
        routers = [
            transactions_api.routes(importer.lake),
            understanding_api.r,
            transactions_api.r,
            postings_api.r,
            cash_api.routes(importer.lake),
        ]
        app = create_app(settings, db, routers, gate, metrics=Metrics())
        transport = httpx2.ASGITransport(app=app)
        async with Client(transport=transport, base_url="http://test", headers={"Authorization": "Bearer x"}) as made:
            yield made


async def ask(client: Client, method: str, path: str, status: int = 200, **more: Any) -> Any:
    reply = await client.request(method, path, **more)
    assert reply.status_code == status, reply.text
    return reply.json() if reply.content else None


async def test_from_statement_to_decided_books(client: Client) -> None:
    derived = await ask(client, "POST", "/v1/transactions/derive")
    first = await ask(client, "GET", "/v1/transactions", params={"limit": 2})
    rest = await ask(client, "GET", "/v1/transactions", params={"limit": 2, "after": first["next"]})
    cards = await ask(client, "GET", "/v1/transactions/queue")
    done = await ask(
        client, "POST", "/v1/transactions/decide", json={"ids": [rest["data"][0]["id"]], "category": "Travel"}
    )
    [taxi] = (await ask(client, "GET", "/v1/transactions", params={"q": "taxi", "state": "suggested"}))["data"]

    assert derived == {"added": 3, "gone": 0, "back": 0, "months": 1}
    assert [row["amount"]["amount"] for row in [*first["data"], *rest["data"]]] == ["-120.00", "-29.00", "-31.00"]
    assert rest["next"] is None
    assert [(card["label"], card["amount"]["amount"]) for card in cards] == [
        ("OFFICE DEPOT", "120.00"), ("GREEN TAXI", "60.00")
    ]  # fmt: skip
    assert done == {"learned": 0, "automatic": 0, "suggested": 1, "silent": 0}
    assert (taxi["category"], taxi["stage"], taxi["evidence"]["times"]) == ("Travel", "model", 1)
    assert await ask(client, "GET", "/v1/transactions/audits") == []
    assert (await ask(client, "POST", "/v1/transactions/understand", json={"again": True}))["suggested"] == 2


async def test_a_transaction_is_edited_at_its_version_and_split_exactly(client: Client) -> None:
    await ask(client, "POST", "/v1/transactions/derive")
    [depot] = (await ask(client, "GET", "/v1/transactions", params={"q": "depot", "least": "120", "most": "120.00"}))[
        "data"
    ]
    path = f"/v1/transactions/{depot['id']}"
    reply = await client.get(path)
    tag = {"If-Match": reply.headers["etag"]}

    await ask(
        client, "PATCH", path, 204, json={"note": "chairs", "tags": ["fit-out"], "department": "Sales"}, headers=tag
    )
    stale = await ask(client, "PATCH", path, 412, json={"note": "x"}, headers=tag)
    fresh = {"If-Match": (await client.get(path)).headers["etag"]}
    parts = [{"amount": "-100.01", "category": "Furniture"}, {"amount": "-19.98", "category": "Paper"}]
    wrong = await ask(client, "PUT", f"{path}/parts", 422, json={"parts": parts}, headers=fresh)
    parts[1]["amount"] = "-19.99"
    await ask(client, "PUT", f"{path}/parts", 204, json={"parts": parts}, headers=fresh)
    whole = await ask(client, "GET", path)

    assert stale["code"] == "stale"
    assert "0.01" in wrong["detail"]
    assert [part["amount"]["amount"] for part in whole["parts"]] == ["-100.01", "-19.99"]
    assert (whole["note"], whole["tags"], whole["department"]) == ("chairs", ["fit-out"], "Sales")
    assert len((await ask(client, "GET", "/v1/transactions", params={"tag": "fit-out"}))["data"]) == 1


async def test_rules_policy_accounts_and_closing(client: Client) -> None:
    rule = {"when": {"words": ["TAXI"], "way": "out"}, "category": "Travel", "mode": "automatic", "place": 1}
    made = await ask(client, "POST", "/v1/rules", 201, json=rule)
    await ask(client, "POST", "/v1/transactions/derive")
    done = await ask(client, "POST", "/v1/transactions/understand", json={})
    changed = await ask(client, "PUT", f"/v1/rules/{made['id']}", json={**rule, "mode": "suggest", "version": 1})
    listed = await ask(client, "GET", "/v1/rules")
    await ask(client, "PUT", f"/v1/rules/{made['id']}", 409, json={**rule, "version": 1})
    await ask(client, "DELETE", f"/v1/rules/{made['id']}", 204)
    await ask(client, "PUT", "/v1/bank/policy", 204, json={"error_max": 0.01, "audit_share": 0.03})
    await ask(client, "POST", "/v1/bank/closing/close", 409, json={"until": "2026-10-15"})
    booked = await ask(client, "POST", "/v1/bank/postings")
    balances = await ask(client, "GET", "/v1/bank/balances")
    taxi = (await ask(client, "GET", "/v1/transactions", params={"q": "taxi"}))["data"][0]["id"]
    closed = await ask(client, "POST", "/v1/bank/closing/close", json={"until": "2026-10-15"})
    refused = await ask(
        client, "POST", "/v1/transactions/decide", 409,
        json={"ids": [row["id"] for row in (await ask(client, "GET", "/v1/transactions", params={"q": "taxi"}))["data"]], "category": "x"},
    )  # fmt: skip
    await ask(client, "POST", "/v1/bank/closing/reopen", json={"until": "2026-10-01"})

    assert (made["when"], made["version"], changed["version"], listed) == (
        {"words": ["taxi"], "way": "out"}, 1, 2, [changed]
    )  # fmt: skip
    assert done["automatic"] == 2
    assert await ask(client, "GET", "/v1/bank/policy") == {"error_max": 0.01, "audit_share": 0.03}
    assert booked == {"looked": 3, "booked": 3, "reversed": 0, "refused": 0, "openings": 0, "waits": False}
    assert [(one["account"], one["balance"]["amount"], one["until"]) for one in balances] == [
        ("42", "-180.00", "2026-10-15")
    ]
    assert [one["place"] for one in await ask(client, "GET", f"/v1/transactions/{taxi}/transfers")] == [0]
    assert await ask(client, "GET", "/v1/bank/postings") == {"waits": False, "refused": []}
    assert await ask(client, "GET", "/v1/bank/reconciliation") == []
    assert closed == {"until": "2026-10-15", "undecided": 0}
    assert refused["code"] == "period_closed"
    assert (await ask(client, "GET", "/v1/bank/closing"))["until"] == "2026-10-01"
    assert [row["account"] for row in await ask(client, "GET", "/v1/bank/accounts")] == ["42"]


async def test_cash_is_seen_coming(client: Client) -> None:
    await ask(client, "POST", "/v1/transactions/derive")
    total, account = await ask(client, "GET", "/v1/cash")
    least = {"account": "42", "currency": "USD", "least": {"amount": "5.00", "currency": "USD"}}
    await ask(client, "PUT", "/v1/cash/least", 204, json=least)
    await ask(client, "PUT", "/v1/cash/least", 404, json={**least, "account": "43"})

    assert (total["account"], account["account"], account["known"], account["low"]) == ("", "42", False, None)
    assert account["balance"].pop("trace").startswith("tr_")
    assert account["balance"] == {"amount": "-180.00", "currency": "USD"}
    assert [len(account["weeks"]), account["weeks"][0]["start"], account["tried"]] == [13, "2026-10-16", 0]
    assert await ask(client, "GET", "/v1/cash/least") == [{"account": "42", "least": least["least"]}]
    assert await ask(client, "GET", "/v1/cash/recurring") == []
    assert await ask(client, "GET", "/v1/cash", params={"account": "none"}) == []
