"""Webhooks against real receivers: signed, retried on schedule, never redirected, switched off by 410, replayable."""

import asyncio
import base64
import hashlib
import hmac
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx2
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from bursar.core.notices import api, rules, service
from bursar.core.notices.jobs import JOBS, deliver
from bursar.core.notices.service import Attempt, Means
from bursar.core.notices.tables import endpoint, message
from bursar.infra import mail
from bursar.infra.clock import utc_now
from bursar.infra.crypto import Keyring, signed_by
from bursar.infra.db import Database, new_id
from bursar.infra.http import Egress, EgressRefused, Host
from bursar.infra.jobs import Context, Ticket
from bursar.infra.jobs_worker import run_worker
from bursar.infra.mail_tables import outbox
from bursar.infra.metrics import Metrics
from bursar.infra.web import create_app
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, Invalid, NotAllowed, NotFound, NotSignedIn, TooMany
from tests.infra.servers import Asked, Server, answer, replies, serving
from tests.infra.test_jobs import until
from tests.infra.webapp import ELSEWHERE, ORG, SETTINGS, client_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RNG = random.Random(1)
RIGHTS = frozenset({"webhook:read", "webhook:write", "settings:read", "settings:write"})
PEOPLE = {
    "owner": Actor(ORG, "person:owner", RIGHTS),
    "viewer": Actor(ORG, "person:viewer", frozenset({"webhook:read"})),
    "stranger": Actor(ELSEWHERE, "person:stranger", RIGHTS),
}


async def authenticate(
    db: Database, *, authorization: str | None, cookie: str | None, address: str, now: datetime
) -> Actor:
    name = (authorization or "").removeprefix("Bearer ")
    if name not in PEOPLE:
        raise NotSignedIn
    return PEOPLE[name]


class AnyPort(frozenset[int]):
    """Every port: the tests' receivers listen where they can."""

    def __contains__(self, port: object) -> bool:
        return True


@pytest.fixture
async def means() -> AsyncIterator[Means]:
    here = Host("127.0.0.1", AnyPort(), frozenset({"http", "https"}), ("127.0.0.0/8",))
    client = Egress().client("webhooks", allow=[here, Host("*")])
    yield Means(Keyring(["a" * 32]), client)
    await client.close()


async def make(
    db: Database, actor: Actor, means: Means, url: str, *events: str, now: datetime = NOW
) -> tuple[UUID, bytes]:
    async with db.writing(actor) as tx:
        made, secret = await service.create(tx, actor, means, url=url, events=events or ("*",), now=now)
    return made.id, base64.b64decode(secret.removeprefix("whsec_"))


async def tell(db: Database, actor: Actor, type_: str = "finding.raised", **data: Any) -> UUID | None:
    async with db.writing(actor) as tx:
        return await service.announce(tx, type_=type_, data=data or {"finding": "1"}, now=utc_now())


async def waiting(db: Database, actor: Actor) -> list[Any]:
    async with db.reading(actor) as tx:
        return list(await tx.all("select id, state, attempts, next_at, ended_at from webhook_delivery order by id"))


async def attempt(db: Database, actor: Actor, means: Means, number: int = 1, delivery: UUID | None = None) -> Any:
    """Make one attempt of the only (or the given) delivery; returns its row afterwards."""
    id_ = delivery or (await waiting(db, actor))[0].id
    context = Context(db, deliver, Ticket(1, 1, 0, actor.org), tools={Means: means})
    await deliver.run(context, org=str(actor.org), delivery=str(id_), number=number)
    return next(row for row in await waiting(db, actor) if row.id == id_)


def proven(asked: Asked, *secrets: bytes) -> bool:
    """Verify as a receiver does, written from the specification."""
    signed = b".".join([asked.headers["webhook-id"].encode(), asked.headers["webhook-timestamp"].encode(), asked.body])
    sent = [part[3:] for part in asked.headers["webhook-signature"].split(" ") if part.startswith("v1,")]
    macs = [base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode() for secret in secrets]
    return all(mac in sent for mac in macs)


async def test_an_event_arrives_signed_and_is_in_the_log(db: Database, actor: Actor, means: Means) -> None:
    async with serving(replies(answer(204, b""))) as receiver:
        hook, secret = await make(db, actor, means, receiver.url("/hook"))
        stop = asyncio.Event()
        worker = asyncio.create_task(run_worker(db, JOBS, stop, tools=[means]))
        event = await tell(db, actor, finding="f1")

        async def delivered() -> bool:
            return [row.state for row in await waiting(db, actor)] == ["delivered"]

        await until(delivered)
        stop.set()
        await worker

    (asked,) = receiver.asked
    assert (asked.method, asked.target, asked.headers["webhook-id"]) == ("POST", "/hook", str(event))
    assert asked.headers["content-type"] == "application/json"
    assert proven(asked, secret)
    body = json.loads(asked.body)
    assert (body["type"], body["data"]) == ("finding.raised", {"finding": "f1"})
    async with db.reading(actor) as tx:
        ((found, sent, (log,)),) = [
            await service.delivery(tx, actor, id_=row.id) for row in await tx.all("select id from webhook_delivery")
        ]
    assert (found.state, found.endpoint, sent.encode(), log.status, log.error) == (
        "delivered",
        hook,
        asked.body,
        204,
        None,
    )


async def test_the_ed25519_signature_verifies_with_the_published_key(db: Database, actor: Actor, means: Means) -> None:
    async with serving(replies(answer())) as receiver:
        await make(db, actor, means, receiver.url())
        await tell(db, actor)
        await attempt(db, actor, means)

    (asked,) = receiver.asked
    (key,) = service.keys(actor, means)
    (signature,) = [part[4:] for part in asked.headers["webhook-signature"].split(" ") if part.startswith("v1a,")]
    signed = f"{asked.headers['webhook-id']}.{asked.headers['webhook-timestamp']}.".encode() + asked.body
    assert signed_by(base64.b64decode(key.removeprefix("whpk_")), base64.b64decode(signature), signed)


async def test_an_event_exists_exactly_when_its_change_does(db: Database, actor: Actor, means: Means) -> None:
    await make(db, actor, means, "https://example.com/")

    async def fall_over() -> None:
        async with db.writing(actor) as tx:
            await service.announce(tx, type_="finding.raised", data={}, now=NOW)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fall_over()
    assert await waiting(db, actor) == []


async def test_only_subscribed_endpoints_of_the_same_organisation_get_an_event(
    db: Database, actor: Actor, other_actor: Actor, means: Means
) -> None:
    await make(db, actor, means, "https://example.com/1", "finding.*")
    await make(db, actor, means, "https://example.com/2", "finding.raised", "job.died")
    await make(db, actor, means, "https://example.com/3", "budget.*")
    await make(db, other_actor, means, "https://example.com/4", "*")
    await tell(db, actor)

    assert len(await waiting(db, actor)) == 2
    assert await waiting(db, other_actor) == []
    assert await tell(db, actor, "price.changed") is None


@pytest.mark.parametrize("response", [answer(500), answer(302, b"", location="https://example.com/"), answer(404), b""])
async def test_whatever_is_not_2xx_is_tried_again(db: Database, actor: Actor, means: Means, response: bytes) -> None:
    async def hang_up(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(response)
        await writer.drain()
        if not response:
            writer.close()

    async with serving(hang_up) as receiver:
        await make(db, actor, means, receiver.url())
        await tell(db, actor)
        before = utc_now()
        row = await attempt(db, actor, means)

    assert (row.state, row.attempts, len(receiver.asked)) == ("pending", 1, 1)
    assert 4 <= (row.next_at - before).total_seconds() <= 7


async def test_ten_attempts_take_three_days_and_then_it_failed(db: Database, actor: Actor, means: Means) -> None:
    await make(db, actor, means, "https://example.com/")
    await tell(db, actor)
    (row,) = await waiting(db, actor)
    at, seen = NOW, []
    for number in range(1, rules.ATTEMPTS + 1):
        made = Attempt(number, at, 500, 10, "status 500")
        async with db.writing(actor) as tx:
            following = await service.record_attempt(tx, id_=row.id, made=made, now=at, rng=RNG)
        seen.append(following)
        at = following or at

    (row,) = await waiting(db, actor)
    assert (row.state, row.attempts, seen[-1]) == ("failed", 10, None)
    hours = (at - NOW) / timedelta(hours=1)
    assert 75.5 <= hours <= 75.6 * 1.1
    async with db.system("look") as tx:
        assert await tx.scalar("select count(*) from procrastinate_jobs") == 10


async def test_an_attempt_in_the_log_is_not_made_again(db: Database, actor: Actor, means: Means) -> None:
    async with serving(replies(answer(500))) as receiver:
        await make(db, actor, means, receiver.url())
        await tell(db, actor)
        for _ in range(3):
            await attempt(db, actor, means)

    assert len(receiver.asked) == 1


async def test_gone_switches_the_endpoint_off(db: Database, actor: Actor, means: Means) -> None:
    async with serving(replies(answer(410))) as receiver:
        hook, _ = await make(db, actor, means, receiver.url())
        await tell(db, actor)
        row = await attempt(db, actor, means)
        assert await tell(db, actor) is None

    assert row.state == "failed"
    async with db.writing(actor) as tx:
        found = await service.endpoint(tx, actor, id_=hook)
        assert (found.active, found.disabled_why) == (False, "the receiver answered 410 Gone")
        again = await service.change(tx, actor, means, id_=hook, active=True, now=NOW)
        assert (again.active, again.disabled_why) == (True, None)


async def test_an_endpoint_that_was_switched_off_gets_nothing_more(db: Database, actor: Actor, means: Means) -> None:
    async with serving(replies(answer())) as receiver:
        hook, _ = await make(db, actor, means, receiver.url())
        await tell(db, actor)
        async with db.writing(actor) as tx:
            await service.change(tx, actor, means, id_=hook, active=False, now=NOW)
        row = await attempt(db, actor, means)

    assert (row.state, receiver.asked) == ("failed", [])


async def test_during_a_rotation_both_secrets_sign_and_afterwards_the_new_one(
    db: Database, actor: Actor, means: Means
) -> None:
    async with serving(replies(answer(500))) as receiver:
        hook, old = await make(db, actor, means, receiver.url())
        async with db.writing(actor) as tx:
            _, shown = await service.rotate(tx, actor, means, id_=hook, now=utc_now())
        new = base64.b64decode(shown.removeprefix("whsec_"))
        await tell(db, actor)
        await attempt(db, actor, means)
        async with db.writing(actor) as tx:
            await tx.run(sa.update(endpoint).values(previous_until=utc_now() - timedelta(seconds=1)))
        await attempt(db, actor, means, 2)

    first, second = receiver.asked
    assert proven(first, old, new)
    assert proven(second, new)
    assert not proven(second, old)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


async def test_secrets_are_sealed_in_the_database(db: Database, actor: Actor, means: Means) -> None:
    _, secret = await make(db, actor, means, "https://example.com/")
    async with db.reading(actor) as tx:
        row = await tx.one(sa.select(endpoint))
        trail = await tx.all("select action, after::text as after from audit_entry")

    assert row is not None
    assert secret not in row.secret
    assert [entry.action for entry in trail] == ["webhook.created"]
    assert base64.b64encode(secret).decode() not in trail[0].after


async def test_a_replay_carries_the_same_event_id(db: Database, actor: Actor, means: Means) -> None:
    async with serving(replies(answer())) as receiver:
        await make(db, actor, means, receiver.url())
        await tell(db, actor)
        first = await attempt(db, actor, means)
        async with db.writing(actor) as tx:
            again = await service.replay(tx, actor, id_=first.id, now=utc_now())
            with pytest.raises(Conflict):
                await service.replay(tx, actor, id_=again, now=utc_now())
        await attempt(db, actor, means, delivery=again)

    one, two = receiver.asked
    assert (one.headers["webhook-id"], one.body) == (two.headers["webhook-id"], two.body)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "https://example.com:8443/",
        "https://me:pw@example.com/",
        "ftp://example.com/",
        "nonsense",
        "https://",
    ],
)
async def test_an_address_that_may_not_be_reached_is_refused_at_once(
    db: Database, actor: Actor, means: Means, url: str
) -> None:
    with pytest.raises(EgressRefused):
        await make(db, actor, means, url)


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "[::1]", "10.0.0.1", "localhost", "0x7f.1", "[64:ff9b::a9fe:a9fe]"]
)
async def test_an_endpoint_inside_the_network_is_never_connected_to(
    db: Database, actor: Actor, means: Means, host: str
) -> None:
    await make(db, actor, means, f"https://{host}/latest/meta-data")
    await tell(db, actor)
    row = await attempt(db, actor, means)

    async with db.reading(actor) as tx:
        _, _, (log,) = await service.delivery(tx, actor, id_=row.id)
    assert log.status is None
    assert "private, reserved or a metadata service" in (log.error or "")


async def test_there_are_at_most_twenty_endpoints(db: Database, actor: Actor, means: Means) -> None:
    for index in range(rules.ENDPOINTS_MAX):
        await make(db, actor, means, f"https://example.com/{index}")

    with pytest.raises(TooMany):
        await make(db, actor, means, "https://example.com/more")


async def test_old_events_are_forgotten(db: Database, actor: Actor, means: Means) -> None:
    await make(db, actor, means, "https://example.com/")
    await tell(db, actor)
    async with db.writing(actor) as tx:
        await tx.run(sa.update(message).values(at=utc_now() - rules.KEEP - timedelta(days=1)))
    await tell(db, actor)

    assert len(await waiting(db, actor)) == 1


async def test_rights_and_organisations_are_kept_apart(
    db: Database, actor: Actor, other_actor: Actor, means: Means
) -> None:
    hook, _ = await make(db, actor, means, "https://example.com/")
    powerless = Actor(actor.org, "person:x")
    async with db.writing(powerless) as tx:
        for call in (
            service.endpoints(tx, powerless),
            service.endpoint(tx, powerless, id_=hook),
            service.create(tx, powerless, means, url="https://x/", events=["*"], now=NOW),
            service.change(tx, powerless, means, id_=hook, now=NOW),
            service.remove(tx, powerless, id_=hook, now=NOW),
            service.rotate(tx, powerless, means, id_=hook, now=NOW),
            service.ping(tx, powerless, id_=hook, now=NOW),
            service.deliveries(tx, powerless, id_=hook, state=None, limit=1, after=None),
            service.delivery(tx, powerless, id_=hook),
            service.replay(tx, powerless, id_=hook, now=NOW),
            service.mails(tx, powerless, state=None, limit=1, after=None),
            service.send_again(tx, powerless, id_=hook, now=NOW),
        ):
            with pytest.raises(NotAllowed):
                await call
    async with db.writing(other_actor) as tx:
        for id_ in (hook, new_id()):
            for missing in (
                service.endpoint(tx, other_actor, id_=id_),
                service.change(tx, other_actor, means, id_=id_, now=NOW),
                service.remove(tx, other_actor, id_=id_, now=NOW),
                service.rotate(tx, other_actor, means, id_=id_, now=NOW),
                service.ping(tx, other_actor, id_=id_, now=NOW),
                service.deliveries(tx, other_actor, id_=id_, state=None, limit=1, after=None),
            ):
                with pytest.raises(NotFound):
                    await missing


@pytest.mark.parametrize("patterns", [[], ["Finding"], ["finding.**"], ["a" * 5, "b c"], ["x"] * 51, [".*"]])
def test_a_pattern_that_is_none_is_refused(patterns: list[str]) -> None:
    with pytest.raises(Invalid):
        rules.check_events(patterns)


def test_an_event_is_thin() -> None:
    with pytest.raises(ValueError, match="20000"):
        rules.body_of("finding.raised", {"text": "x" * rules.BODY_BYTES_MAX}, at=NOW)


@given(st.integers(1, 20), st.integers())
def test_the_wait_is_the_schedule_plus_at_most_a_tenth(attempts: int, seed: int) -> None:
    wait = rules.next_wait(attempts, random.Random(seed))

    if attempts >= rules.ATTEMPTS:
        assert wait is None
    else:
        assert wait is not None
        assert rules.WAITS_S[attempts - 1] <= wait.total_seconds() <= rules.WAITS_S[attempts - 1] * 1.1


@asynccontextmanager
async def over_http(db: Database, means: Means) -> AsyncIterator[httpx2.AsyncClient]:
    app = create_app(SETTINGS, db, api.routes(means), authenticate, metrics=Metrics())
    async with client_of(app) as client:
        yield client


def as_(name: str, **more: str) -> dict[str, str]:
    return {"authorization": f"Bearer {name}", **more}


async def receiver_of(server: Server, means: Means, db: Database) -> None:
    """Deliver what waits."""
    for row in await waiting(db, PEOPLE["owner"]):
        if row.state == "pending":
            await attempt(db, PEOPLE["owner"], means, row.attempts + 1, row.id)


async def test_webhooks_over_http(db: Database, means: Means) -> None:
    owner = as_("owner")
    async with serving(replies(answer())) as receiver, over_http(db, means) as client:
        body = {"url": receiver.url(), "events": ["finding.*"], "description": "CRM"}
        assert (await client.post("/v1/webhooks", json=body, headers=as_("viewer"))).status_code == 403
        made = await client.post("/v1/webhooks", json=body, headers=owner)
        assert made.status_code == 201, made.text
        hook, secret = made.json()["webhook"], made.json()["secret"]
        assert secret.startswith("whsec_")
        path = f"/v1/webhooks/{hook['id']}"

        shown = await client.get(path, headers=as_("viewer"))
        assert "secret" not in shown.json()
        assert (await client.patch(path, json={"events": ["*"]}, headers=owner)).status_code == 428
        changed = await client.patch(
            path, json={"events": ["*"]}, headers=as_("owner", **{"if-match": shown.headers["etag"]})
        )
        assert changed.json()["events"] == ["*"]
        stale = await client.patch(path, json={}, headers=as_("owner", **{"if-match": shown.headers["etag"]}))
        assert stale.status_code == 412

        event = (await client.post(f"{path}/test", headers=owner)).json()["id"]
        await receiver_of(receiver, means, db)
        (sent,) = (await client.get(f"{path}/deliveries", headers=owner)).json()["data"]
        assert (sent["event"], sent["type"], sent["state"]) == (event, "webhook.tested", "delivered")
        log = (await client.get(f"/v1/webhook-deliveries/{sent['id']}", headers=owner)).json()
        assert [each["status"] for each in log["log"]] == [200]
        again = await client.post(f"/v1/webhook-deliveries/{sent['id']}/replay", headers=owner)
        assert again.status_code == 202
        await receiver_of(receiver, means, db)
        assert {asked.headers["webhook-id"] for asked in receiver.asked} == {event}
        assert len(receiver.asked) == 2

        rotated = (await client.post(f"{path}/rotate", headers=owner)).json()
        assert rotated["secret"] != secret
        assert rotated["webhook"]["rotating_until"]
        assert len((await client.get("/v1/webhooks/keys", headers=owner)).json()["keys"]) == 1
        for foreign in (path, f"{path}/deliveries", f"/v1/webhook-deliveries/{sent['id']}"):
            assert (await client.get(foreign, headers=as_("stranger"))).status_code == 404
        assert (await client.delete(path, headers=owner)).status_code == 204
        assert (await client.get("/v1/webhooks", headers=owner)).json() == []
        bad = {"url": "http://169.254.169.254/", "events": ["*"]}
        assert (await client.post("/v1/webhooks", json=bad, headers=owner)).status_code == 422


async def test_mails_over_http(db: Database, means: Means) -> None:
    owner = PEOPLE["owner"]
    async with db.writing(owner) as tx:
        facts = {"name": "Ann", "link": "https://x/#secret", "hours": 1}
        id_ = await mail.queue(tx, to="ann@example.com", template="reset", facts=facts)
    async with over_http(db, means) as client:
        listed = await client.get("/v1/mails?state=queued", headers=as_("owner"))
        assert [row["id"] for row in listed.json()["data"]] == [str(id_)]
        assert "secret" not in listed.text
        assert (await client.post(f"/v1/mails/{id_}/send-again", headers=as_("owner"))).status_code == 409
        async with db.writing(owner) as tx:
            await tx.run(sa.update(outbox).values(state="unknown"))
        assert (await client.post(f"/v1/mails/{id_}/send-again", headers=as_("stranger"))).status_code == 404
        assert (await client.post(f"/v1/mails/{id_}/send-again", headers=as_("owner"))).status_code == 202
        assert (await client.get("/v1/mails", headers=as_("viewer"))).status_code == 403
