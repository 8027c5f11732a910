"""The digest: asked for, once a period, to those who may read; webhooks for what is new and measured."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from bursar.core.findings import jobs, service
from bursar.core.findings.digest import api as digest_api
from bursar.core.findings.digest import rules
from bursar.core.findings.digest import service as digest
from bursar.core.findings.digest.rules import Every
from bursar.core.findings.digest.service import Link
from bursar.core.notices import service as notices
from bursar.core.notices.service import Means
from bursar.core.notices.tables import message
from bursar.infra import mail
from bursar.infra.crypto import Keyring
from bursar.infra.db import Database
from bursar.infra.http import Egress, Host
from bursar.infra.jobs import enqueue
from bursar.infra.jobs_worker import run_worker
from bursar.infra.mail import Mailer
from bursar.infra.mail_smtp import Smtp
from bursar.infra.mail_tables import outbox
from bursar.infra.metrics import Metrics
from bursar.infra.web import create_app
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Invalid, NotAllowed
from bursar.kernel.money import Money
from bursar.kernel.period import Period
from tests.core.findings.test_findings import finding
from tests.core.identity.house import House, cheap_means
from tests.infra.test_jobs import until
from tests.infra.test_mail import Box, post_office
from tests.infra.webapp import SETTINGS, client_of

MONDAY = datetime(2026, 11, 16, 6, 13, tzinfo=UTC)
YESTERDAY = MONDAY - timedelta(hours=12)
LINK = "https://bursar.test"


@pytest.fixture
async def people(db: Database) -> dict[str, Actor]:
    house = House(db, cheap_means())
    org = await house.organisation("Engines")
    return {
        "owner": await house.member(org, "owner", email="ann@example.com", password=None),
        "viewer": await house.member(org, "viewer", email="vic@example.com", password=None),
        "supplier": await house.member(org, "supplier", email="sue@example.com", password=None),
    }


async def raised(db: Database, actor: Actor, *found: Any, now: datetime = YESTERDAY) -> None:
    async with db.writing(actor) as tx:
        await service.raise_(tx, actor, kinds=["cloud.idle"], findings=found, now=now)


async def wish(db: Database, actor: Actor, every: Every | None, *, alerts: bool = False) -> None:
    async with db.writing(actor) as tx:
        await digest.wish(tx, actor, every=every, now=YESTERDAY, alerts=alerts)


async def sent(db: Database, actor: Actor, *, now: datetime = MONDAY) -> int:
    async with db.writing(actor) as tx:
        return await digest.send(tx, actor, link=LINK, now=now)


async def mails(db: Database, actor: Actor) -> list[Any]:
    async with db.reading(actor) as tx:
        return list(await tx.all(sa.select(outbox).where(tx.own(outbox)).order_by(outbox.c.id).limit(100)))


async def test_a_digest_goes_to_those_who_asked_once_a_period(db: Database, people: dict[str, Actor]) -> None:
    owner = people["owner"]
    await raised(db, owner, finding("a", 120_000), finding("b", 100, sure=0.3))
    await wish(db, owner, Every.DAY)
    await wish(db, people["viewer"], Every.WEEK)

    first, again = await sent(db, owner), await sent(db, owner)

    queued = await mails(db, owner)
    assert (first, again) == (2, 0)
    assert sorted(row.recipient for row in queued) == ["ann@example.com", "vic@example.com"]
    facts = next(row.facts for row in queued if row.recipient == "ann@example.com")
    assert (facts["count"], facts["totals"], facts["period"]) == (1, ["1,200.00 EUR"], "2026-11-15 to 2026-11-15")


async def test_nobody_gets_one_unasked_and_never_means_never(db: Database, people: dict[str, Actor]) -> None:
    owner = people["owner"]
    await raised(db, owner, finding())
    await wish(db, owner, Every.DAY)
    await wish(db, owner, None)

    assert await sent(db, owner) == 0
    async with db.reading(owner) as tx:
        assert await digest.wished(tx, owner) is None


async def test_who_may_no_longer_read_findings_gets_nothing(db: Database, people: dict[str, Actor]) -> None:
    owner, supplier = people["owner"], people["supplier"]
    await raised(db, owner, finding())
    async with db.writing(owner) as tx:
        before = Actor(supplier.org, supplier.name, frozenset({"finding:read"}), supplier.person)
        await digest.wish(tx, before, every=Every.DAY, now=YESTERDAY)

    assert await sent(db, owner) == 0


async def test_a_period_without_anything_new_is_silent(db: Database, people: dict[str, Actor]) -> None:
    owner = people["owner"]
    await raised(db, owner, finding(), now=MONDAY - timedelta(days=3))
    await wish(db, owner, Every.DAY)

    assert await sent(db, owner) == 0
    assert await mails(db, owner) == []


async def test_the_operators_channels_get_it_when_they_are_told_to(db: Database, people: dict[str, Actor]) -> None:
    owner = people["owner"]
    await raised(db, owner, *(finding(f"s{at}", 1_000 + at) for at in range(rules.TOLD_MAX + 2)))
    await wish(db, owner, Every.WEEK, alerts=True)

    assert await sent(db, owner) == 1

    [row] = await mails(db, owner)
    assert (row.channel, row.recipient) == ("alert", "operator")
    assert row.facts["title"].startswith("Engines: 22 new findings, 222.31 EUR")
    assert row.facts["body"].endswith("… and 2 more")


async def test_only_who_may_change_settings_changes_the_operators_digest(
    db: Database, people: dict[str, Actor]
) -> None:
    async with db.writing(people["viewer"]) as tx:
        with pytest.raises(NotAllowed):
            await digest.wish(tx, people["viewer"], every=Every.DAY, now=MONDAY, alerts=True)
        machine = Actor(people["viewer"].org, "key:1", frozenset({"finding:read"}))
        with pytest.raises(Invalid, match="Only a person"):
            await digest.wish(tx, machine, every=Every.DAY, now=MONDAY)


@pytest.mark.parametrize(
    ("every", "today", "period"),
    [
        (Every.DAY, date(2026, 11, 18), Period(date(2026, 11, 17), date(2026, 11, 18))),
        (Every.WEEK, date(2026, 11, 16), Period(date(2026, 11, 9), date(2026, 11, 16))),
        (Every.WEEK, date(2026, 11, 17), None),
    ],
)
def test_a_week_is_told_on_mondays(every: Every, today: date, period: Period | None) -> None:
    assert rules.told_on(every, today) == period


async def test_a_digest_arrives_through_the_worker_and_a_real_mail_server(
    db: Database, people: dict[str, Actor], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, box, stop = people["owner"], Box(), asyncio.Event()
    await raised(db, owner, finding("disk <1>", 120_000))
    await wish(db, owner, Every.DAY)
    monkeypatch.setattr(jobs, "utc_now", lambda: MONDAY)
    async with db.writing(owner) as tx:
        await enqueue(tx, jobs.DIGEST)

    async with post_office(box) as port:
        mailer = Mailer(Smtp("127.0.0.1", port, "none"), "Bursar <bursar@bursar.test>")
        worker = asyncio.create_task(run_worker(db, [*jobs.JOBS, *mail.JOBS], stop, tools=[mailer, Link(LINK)]))

        async def arrived() -> bool:
            return bool(box.mails)

        await until(arrived)
        stop.set()
        await worker

    _, to, got = box.mails[0]
    assert to == ["ann@example.com"]
    assert got["subject"] == "Engines: 1 new finding, 1,200.00 EUR"
    text = got.get_body(("plain",)).get_content()
    assert "1,200.00 EUR a year, 90% sure: Idle disk <1> (F1)" in text
    assert LINK in text
    assert "disk &lt;1&gt;" in got.get_body(("html",)).get_content()


@pytest.fixture
async def means() -> AsyncIterator[Means]:
    client = Egress().client("webhooks", allow=[Host("*")])
    yield Means(Keyring(["a" * 32]), client)
    await client.close()


async def listening(db: Database, actor: Actor, means: Means) -> None:
    async with db.writing(actor) as tx:
        await notices.create(tx, actor, means, url="https://hooks.example.com/x", events=("finding.*",), now=YESTERDAY)


async def events(db: Database, actor: Actor) -> list[tuple[str, dict[str, Any]]]:
    async with db.reading(actor) as tx:
        rows = await tx.all(sa.select(message).where(tx.own(message)).order_by(message.c.id).limit(100))
    return [(row.type, json.loads(row.body)["data"]) for row in rows]


async def test_new_findings_are_announced_once_in_the_transaction_that_made_them(
    db: Database, actor: Actor, means: Means
) -> None:
    await listening(db, actor, means)
    async with db.writing(actor) as tx:
        await service.raise_(tx, actor, kinds=["cloud.idle"], findings=[finding("gone")], now=MONDAY)
        await tx.conn.rollback()

    await raised(db, actor, finding("a", 500), finding("b", 900))
    await raised(db, actor, finding("a", 500), finding("b", 900))

    told = await events(db, actor)
    assert [(type_, data["finding"], data["worth"]["amount"]) for type_, data in told] == [
        ("finding.created", "F1", "9.00"),
        ("finding.created", "F2", "5.00"),
    ]


async def test_many_new_findings_are_announced_up_to_a_limit(db: Database, actor: Actor, means: Means) -> None:
    await listening(db, actor, means)

    await raised(db, actor, *(finding(f"s{at}", 100 + at) for at in range(service.ANNOUNCED_MAX + 7)))

    told = await events(db, actor)
    assert len(told) == service.ANNOUNCED_MAX
    assert [data["more"] for _, data in told] == [0] * (service.ANNOUNCED_MAX - 1) + [7]


async def test_a_measured_finding_is_announced_with_promise_and_proof(db: Database, actor: Actor, means: Means) -> None:
    await raised(db, actor, finding("a", 500))
    await listening(db, actor, means)
    async with db.writing(actor) as tx:
        await service.act(tx, actor, name="F1", action="done", now=MONDAY)
        await service.measure(
            tx,
            actor,
            name="F1",
            verified=Money(400, "EUR"),
            low=Money(300, "EUR"),
            high=Money(500, "EUR"),
            now=MONDAY,
        )

    [(type_, data)] = await events(db, actor)
    assert type_ == "finding.measured"
    assert (data["promised"]["amount"], data["verified"]["amount"], data["low"]["amount"]) == ("5.00", "4.00", "3.00")


async def test_undo_takes_back_what_a_person_did_not_what_was_measured(db: Database, actor: Actor) -> None:
    await raised(db, actor, finding("a", 500))
    low, verified, high = Money(300, "EUR"), Money(400, "EUR"), Money(500, "EUR")
    async with db.writing(actor) as tx:
        await service.act(tx, actor, name="F1", action="done", now=MONDAY)
        await service.measure(tx, actor, name="F1", verified=verified, low=low, high=high, now=MONDAY)

        action, kept = await service.undo(tx, actor, now=MONDAY)

    assert (action, kept.state.value) == ("done", "new")


async def test_people_choose_their_digest_over_http(db: Database, people: dict[str, Actor]) -> None:
    async def authenticate(
        db: Database, *, authorization: str | None, cookie: str | None, address: str, now: datetime
    ) -> Actor:
        return people[(authorization or "").removeprefix("Bearer ")]

    app = create_app(SETTINGS, db, [digest_api.r], authenticate, metrics=Metrics())
    async with client_of(app, "viewer") as viewer, client_of(app, "owner") as owner:
        first = (await viewer.get("/v1/digest")).json()
        set_ = await viewer.put("/v1/digest", json={"every": "week"})
        mine = (await viewer.get("/v1/digest")).json()
        theirs = (await owner.get("/v1/digest")).json()
        refused = await viewer.put("/v1/digest/alerts", json={"every": "day"})
        alerts = await owner.put("/v1/digest/alerts", json={"every": "day"})
        shown = (await owner.get("/v1/digest/alerts")).json()
        wrong = await viewer.put("/v1/digest", json={"every": "hour"})

    assert (first, mine, theirs) == ({"every": None}, {"every": "week"}, {"every": None})
    assert (set_.status_code, refused.status_code, alerts.status_code, wrong.status_code) == (200, 403, 200, 422)
    assert shown == {"every": "day"}
