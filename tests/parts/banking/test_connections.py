"""Connections to bank services against a local Belvo with its documented shapes and faults, through the real importer."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import httpx2
import pytest
import sqlalchemy as sa

from bursar.connectors.belvo import Belvo, BelvoRefused
from bursar.core.intake.jobs import Importer
from bursar.infra.crypto import Keyring
from bursar.infra.db import Database, new_id
from bursar.infra.metrics import Metrics
from bursar.infra.web import WebSettings, create_app
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Invalid, NotAllowed, NotFound, TooMany
from bursar.parts.banking.connections import api, jobs, service
from bursar.parts.banking.connections.service import FeedOff, Feeds
from bursar.wiring import feeds as wired
from tests.connectors.test_belvo import LINK, Bank, bank, connected, movement
from tests.parts.banking.statements import NOW, importer_in

__all__ = ["bank"]

SECRETS = {"secret_id": "id", "secret_password": "password"}
ASKED = {
    "code": "token_required", "message": "A MFA token is required", "request_id": "r1", "session": "s1", "expiry": 9600, "link": LINK,
    "token_generation_data": {"instructions": "Use this code", "type": "numeric", "value": "1", "expects_user_input": True},
}  # fmt: skip


@pytest.fixture
async def importer(db: Database, tmp_path: Path) -> AsyncIterator[Importer]:
    async with importer_in(db, tmp_path) as made:
        yield made


@pytest.fixture
def feeds(bank: Bank, importer: Importer) -> Feeds:
    bank.links = [{"id": LINK, "institution": "ofmockbank_br_retail", "status": "valid"}]

    @asynccontextmanager
    async def local(credentials: Mapping[str, str], _: str) -> AsyncIterator[Belvo]:
        async with connected(bank, credentials["secret_password"]) as belvo:
            yield belvo

    made = wired.feeds(importer, Keyring(["k" * 48]), ("belvo", "unknown"))
    return replace(made, kinds={"belvo": replace(made.kinds["belvo"], open=local)})


async def registered(db: Database, actor: Actor, feeds: Feeds) -> tuple[UUID, str]:
    async with db.writing(actor) as tx:
        made = await service.create(
            tx, actor, feeds, provider="belvo", environment="sandbox", name="Our banks", credentials=SECRETS, now=NOW
        )
    await service.refresh(db, actor, feeds, connection=made[0], now=NOW)
    return made


async def state(db: Database, actor: Actor, connection: UUID) -> dict[str, str]:
    async with db.reading(actor) as tx:
        return {row.id: row.state for row in await service.links(tx, actor, connection=connection)}


async def queued(db: Database, actor: Actor) -> list[tuple[str, dict[str, Any]]]:
    """Return what is queued for the organisation."""
    query = sa.text(
        "select task_name, args->'args' as args from procrastinate_jobs where args->>'org' = :org order by id limit 100"
    )
    async with db.reading(actor) as tx:
        return [(row.task_name, row.args) for row in await tx.all(query, {"org": str(actor.org)})]


async def test_a_link_is_pulled_through_the_importer_and_again_adds_nothing(
    db: Database, actor: Actor, feeds: Feeds, bank: Bank
) -> None:
    id_, _ = await registered(db, actor, feeds)
    bank.rows = [movement(1), movement(2, 5.5, type="INFLOW")]

    first = await service.pull(db, actor, feeds, connection=id_, link=LINK, now=NOW)
    bank.rows.append(movement(3))
    again = await service.pull(db, actor, feeds, connection=id_, link=LINK, now=NOW, collected=True)
    async with db.reading(actor) as tx:
        [link] = await service.links(tx, actor, connection=id_)
        [row] = await service.listed(tx, actor)
    names = [name for name, _ in await queued(db, actor)]

    assert first
    assert again
    assert (first.format, first.rows_taken, again.rows_taken, again.rows_known) == ("belvo", 2, 1, 2)
    assert (link.state, link.pulled_until, link.institution) == ("valid", NOW.date(), "ofmockbank_br_retail")
    assert b"password" not in row.sealed
    assert names.count("banking.pull") == 1
    assert "banking.refresh" in names


async def test_jobs_of_a_connection_that_was_removed_have_nothing_to_do(
    db: Database, actor: Actor, feeds: Feeds, bank: Bank
) -> None:
    id_, _ = await registered(db, actor, feeds)
    async with db.writing(actor) as tx:
        await service.remove(tx, actor, connection=id_, now=NOW)
    ctx: Any = SimpleNamespace(db=db, actor=lambda _: actor, tool=lambda _: feeds)

    assert await jobs.links.run(ctx, org=str(actor.org), connection=str(id_)) == 0
    assert await jobs.pull.run(ctx, org=str(actor.org), connection=str(id_), link=LINK) == {}


async def test_a_second_factor_is_kept_told_and_given(db: Database, actor: Actor, feeds: Feeds, bank: Bank) -> None:
    id_, _ = await registered(db, actor, feeds)
    bank.script = [(428, [ASKED])]

    nothing = await service.pull(db, actor, feeds, connection=id_, link=LINK, now=NOW)
    asks = await state(db, actor, id_)
    with pytest.raises(Invalid, match="too old"):
        await service.give_token(
            db, actor, feeds, connection=id_, link=LINK, token="123456", now=NOW + timedelta(hours=9)
        )
    goes_on = await service.give_token(db, actor, feeds, connection=id_, link=LINK, token="123456", now=NOW)
    with pytest.raises(Invalid, match="asks for no code"):
        await service.give_token(db, actor, feeds, connection=id_, link=LINK, token="123456", now=NOW)

    assert (nothing, asks, goes_on) == (None, {LINK: "token_required"}, True)
    assert (await queued(db, actor))[-1] == (
        "banking.pull", {"connection": str(id_), "link": LINK, "collected": True}
    )  # fmt: skip


async def test_what_is_still_collected_is_looked_at_again_later(
    db: Database, actor: Actor, feeds: Feeds, bank: Bank
) -> None:
    id_, _ = await registered(db, actor, feeds)
    bank.script = [(202, {"request_id": "q7"})]

    assert await service.pull(db, actor, feeds, connection=id_, link=LINK, now=NOW) is None
    assert await state(db, actor, id_) == {LINK: "collecting"}
    assert (await queued(db, actor))[-1][1]["collected"] is True
    done = await service.pull(db, actor, feeds, connection=id_, link=LINK, now=NOW, collected=True)

    assert done
    assert done.rows_taken == 25
    assert await state(db, actor, id_) == {LINK: "valid"}


async def test_a_wiped_sandbox_leaves_the_books_and_says_which_links_are_gone(
    db: Database, actor: Actor, feeds: Feeds, bank: Bank
) -> None:
    id_, _ = await registered(db, actor, feeds)
    bank.script = [(404, [{"code": "not_found", "request_id": "r"}])]
    wiped = await service.pull(db, actor, feeds, connection=id_, link=LINK, now=NOW)
    after_pull = await state(db, actor, id_)
    bank.links = [{"id": "new", "institution": "erebor_mx_retail", "status": "token_required"}]

    await service.refresh(db, actor, feeds, connection=id_, now=NOW)

    assert (wiped, after_pull) == (None, {LINK: "gone"})
    assert await state(db, actor, id_) == {LINK: "gone", "new": "token_required"}
    assert await service.pull(db, actor, feeds, connection=id_, link=LINK, now=NOW) is None


async def test_what_a_service_refuses_is_told_at_the_link(db: Database, actor: Actor, feeds: Feeds, bank: Bank) -> None:
    id_, _ = await registered(db, actor, feeds)
    bank.script = [(400, [{"code": "invalid_link", "request_id": "r"}])]

    with pytest.raises(BelvoRefused, match="invalid_link"):
        await service.pull(db, actor, feeds, connection=id_, link=LINK, now=NOW)

    assert await state(db, actor, id_) == {LINK: "failed"}


async def test_registering_is_checked_and_off_unless_the_setting_names_it(
    db: Database, actor: Actor, feeds: Feeds
) -> None:
    facts: dict[str, Any] = {
        "provider": "belvo",
        "environment": "sandbox",
        "name": "x",
        "credentials": SECRETS,
        "now": NOW,
    }
    wrong: list[tuple[dict[str, Any], type[Exception]]] = [
        ({"environment": "moon"}, Invalid), ({"credentials": {"secret_id": "x"}}, Invalid), ({"name": " "}, Invalid),
        ({"credentials": {**SECRETS, "secret_id": "x" * 501}}, Invalid), ({"provider": "unknown"}, FeedOff),
    ]  # fmt: skip
    async with db.writing(actor) as tx:
        for more, refusal in wrong:
            with pytest.raises(refusal):
                await service.create(tx, actor, feeds, **(facts | more))
        with pytest.raises(FeedOff, match="BURSAR_BANK_FEEDS"):
            await service.create(tx, actor, replace(feeds, kinds={}), **facts)
        with pytest.raises(NotAllowed):
            await service.create(tx, Actor(actor.org, "person:x"), feeds, **facts)
        for _ in range(20):
            id_, _ = await service.create(tx, actor, feeds, **facts)
        with pytest.raises(TooMany):
            await service.create(tx, actor, feeds, **facts)
        with pytest.raises(NotFound):
            await service.ask(tx, actor, connection=id_, link="nowhere")
        with pytest.raises(NotFound):
            await service.remove(tx, actor, connection=new_id(), now=NOW)
        await service.remove(tx, actor, connection=id_, now=NOW)


@pytest.fixture
async def client(db: Database, actor: Actor, feeds: Feeds) -> AsyncIterator[httpx2.AsyncClient]:
    async def gate(*_: Any, **__: Any) -> Actor:
        return actor

    settings = WebSettings(
        version="1", base_url="http://test", cursor_key=b"k" * 32, anonymous_per_min=10_000, login_per_min=10_000
    )
    app = create_app(settings, db, [api.routes(feeds)], gate, metrics=Metrics())
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as made:
        yield made


async def test_webhooks_are_checked_remembered_and_queue_a_pull_once(
    db: Database, actor: Actor, feeds: Feeds, client: httpx2.AsyncClient
) -> None:
    body = {"provider": "belvo", "environment": "sandbox", "name": "Our banks", "credentials": SECRETS}
    own = {"Authorization": "Bearer x"}
    made = (await client.post("/v1/bank/connections", json=body, headers=own)).json()
    await service.refresh(db, actor, feeds, connection=UUID(made["id"]), now=NOW)
    told = {
        "webhook_id": "w1", "webhook_type": "TRANSACTIONS", "process_type": "recurrent_update",
        "webhook_code": "new_transactions_available", "link_id": LINK, "request_id": "q7", "external_id": None,
        "data": {"total_transactions": 145, "first_transaction_date": "2026-09-16", "last_transaction_date": "2026-10-28"},
    }  # fmt: skip
    agreed = {"Authorization": made["authorization"]}

    async def hook(facts: Any, headers: Mapping[str, str], path: str = made["webhook_path"]) -> httpx2.Response:
        return await client.post(
            path, content=json.dumps(facts).encode(), headers={**headers, "content-type": "application/json"}
        )

    first, repeated = await hook(told, agreed), await hook(told, agreed)
    forged, other = await hook(told, {"Authorization": "Bearer no"}), await hook({}, agreed)
    elsewhere = await hook(told, agreed, f"/v1/hooks/bank/{new_id()}/{made['id']}")
    pulls = [args for name, args in await queued(db, actor) if name == "banking.pull" and args.get("collected")]
    links = (await client.get(f"/v1/bank/connections/{made['id']}/links", headers=own)).json()
    asked = await client.post(
        f"/v1/bank/connections/{made['id']}/pulls", json={"link": LINK, "since": "2026-01-01"}, headers=own
    )
    shown = (await client.get("/v1/bank/connections", headers=own)).json()
    gone = await client.delete(f"/v1/bank/connections/{made['id']}", headers=own)

    assert [first.json(), repeated.json()] == [{"new": True}, {"new": False}]
    assert [forged.status_code, other.status_code, elsewhere.status_code] == [422, 422, 404]
    assert pulls == [
        {"connection": made["id"], "link": LINK, "collected": True, "since": "2026-09-16", "until": "2026-10-28"}
    ]
    assert [(link["id"], link["state"]) for link in links] == [(LINK, "valid")]
    assert (asked.status_code, gone.status_code) == (202, 204)
    assert "password" not in json.dumps(shown)
    assert date.fromisoformat(shown[0]["created_at"][:10])
