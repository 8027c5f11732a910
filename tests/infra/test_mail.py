"""Mails against a real SMTP server, with every fault one can have."""

import asyncio
import email
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any
from uuid import UUID

import jinja2
import pytest
import sqlalchemy as sa
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from bursar.infra import mail
from bursar.infra.db import Database
from bursar.infra.jobs import NOBODY, Context, Ticket
from bursar.infra.jobs_worker import run_worker
from bursar.infra.mail import Mailer, Smtp, render
from bursar.infra.mail_smtp import Later, deliver
from bursar.infra.mail_tables import outbox
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, Invalid, NotFound
from tests.infra.servers import answer, certificate, replies, serving
from tests.infra.test_jobs import until

LINK = {"name": "Ann", "link": "https://bursar.test/verify#secret", "hours": 24}


class Box:
    """A mail server's memory; ``faults`` are answers it gives instead, one each."""

    def __init__(self) -> None:
        self.mails: list[Any] = []
        self.faults: dict[str, list[str]] = {}

    def fault(self, at: str) -> str | None:
        left = self.faults.get(at)
        return left.pop(0) if left else None

    async def handle_MAIL(  # noqa: N802  the server's name for it
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        return self.fault("mail") or "250 OK"

    async def handle_RCPT(  # noqa: N802  the server's name for it
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if said := self.fault("rcpt"):
            return said
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802  the server's name for it
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        said = self.fault("data")
        if said == "drop":
            cut(server)
            return "250 too late"
        if said == "take and drop":
            self.take(envelope)
            cut(server)
            return "250 too late"
        if said:
            return said
        self.take(envelope)
        return "250 OK"

    def take(self, envelope: Envelope) -> None:
        content = envelope.content
        assert isinstance(content, bytes)
        self.mails.append((envelope.mail_from, envelope.rcpt_tos, email.message_from_bytes(content, policy=default)))


def cut(server: SMTP) -> None:
    assert isinstance(server.transport, asyncio.Transport)
    server.transport.abort()


@asynccontextmanager
async def post_office(box: Box, **options: Any) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: SMTP(box, loop=loop, hostname="test", **options), "127.0.0.1", 0)
    try:
        yield int(listening.sockets[0].getsockname()[1])
    finally:
        listening.close()
        await asyncio.sleep(0)


@pytest.fixture
async def box() -> Box:
    return Box()


@pytest.fixture
async def mailer(box: Box) -> AsyncIterator[Mailer]:
    async with post_office(box) as port:
        yield Mailer(Smtp("127.0.0.1", port, "none"), "Bursar <bursar@bursar.test>")


async def put(db: Database, actor: Actor, to: str = "ann@example.com", template: str = "verify") -> UUID:
    async with db.writing(actor) as tx:
        return await mail.queue(tx, to=to, template=template, facts=LINK)


async def row_of(db: Database, actor: Actor, id_: UUID) -> Any:
    async with db.reading(actor) as tx:
        return await tx.one(sa.select(outbox).where(tx.own(outbox), outbox.c.id == id_))


class Unfenced(Context):
    """A context outside of a worker."""


def context(db: Database, actor: Actor, mailer: Mailer, failures: int = 0) -> Context:
    return Unfenced(db, mail.send, Ticket(1, 1, failures, actor.org), failures, tools={Mailer: mailer})


async def attempt(db: Database, actor: Actor, mailer: Mailer, id_: UUID, failures: int = 0) -> Any:
    with suppress(Later):
        await mail.send.run(context(db, actor, mailer, failures), id=str(id_))
    return await row_of(db, actor, id_)


async def test_a_mail_leaves_by_the_worker_and_its_link_is_wiped(
    db: Database, actor: Actor, box: Box, mailer: Mailer
) -> None:
    id_ = await put(db, actor)
    stop = asyncio.Event()
    task = asyncio.create_task(run_worker(db, mail.JOBS, stop, tools=[mailer]))

    async def sent() -> bool:
        return bool((await row_of(db, actor, id_)).state == "sent")

    await until(sent)
    stop.set()
    await task

    ((sender, to, message),) = box.mails
    assert (sender, to) == ("bursar@bursar.test", ["ann@example.com"])
    assert message["Subject"] == "Confirm your address for Bursar"
    assert message["Message-ID"] == f"<{id_}@bursar.test>"
    assert "https://bursar.test/verify#secret" in message.get_body(("plain",)).get_content()
    assert 'href="https://bursar.test/verify#secret"' in message.get_body(("html",)).get_content()
    assert (await row_of(db, actor, id_)).facts is None


async def test_a_mail_of_somebody_without_an_organisation_leaves_too(db: Database, box: Box, mailer: Mailer) -> None:
    nobody = Actor(NOBODY, "system:test")
    row = await attempt(db, nobody, mailer, await put(db, nobody))

    assert (row.state, len(box.mails)) == ("sent", 1)


async def test_what_is_rolled_back_is_never_mailed(db: Database, actor: Actor) -> None:
    async def fall_over() -> None:
        async with db.writing(actor) as tx:
            await mail.queue(tx, to="ann@example.com", template="verify", facts=LINK)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fall_over()
    async with db.reading(actor) as tx:
        assert await tx.all("select id from mail_outbox") == []


@pytest.mark.parametrize("at", ["mail", "rcpt", "data"])
async def test_a_temporary_refusal_is_tried_again(
    db: Database, actor: Actor, box: Box, mailer: Mailer, at: str
) -> None:
    box.faults = {at: ["451 try later"]}
    id_ = await put(db, actor)
    first = await attempt(db, actor, mailer, id_)
    second = await attempt(db, actor, mailer, id_, failures=1)

    assert (first.state, second.state, second.attempts) == ("queued", "sent", 2)
    assert "451" in first.error
    assert len(box.mails) == 1


@pytest.mark.parametrize("at", ["mail", "rcpt", "data"])
async def test_a_final_refusal_is_not_tried_again(
    db: Database, actor: Actor, box: Box, mailer: Mailer, at: str
) -> None:
    box.faults = {at: ["550 no such person"]}
    id_ = await put(db, actor)
    first = await attempt(db, actor, mailer, id_)
    second = await attempt(db, actor, mailer, id_)

    assert (first.state, second.state, box.mails) == ("dead", "dead", [])
    assert "550" in first.error
    assert first.facts is None


async def test_the_last_attempt_leaves_the_mail_dead(db: Database, actor: Actor, box: Box, mailer: Mailer) -> None:
    box.faults = {"rcpt": ["451 try later"]}
    row = await attempt(db, actor, mailer, await put(db, actor), failures=mail.ATTEMPTS - 1)

    assert row.state == "dead"


@pytest.mark.parametrize(("fault", "arrived"), [("drop", 0), ("take and drop", 1)])
async def test_a_mail_in_doubt_is_shown_and_never_sent_by_itself(
    db: Database, actor: Actor, box: Box, mailer: Mailer, fault: str, arrived: int
) -> None:
    box.faults = {"data": [fault]}
    id_ = await put(db, actor)
    for _ in range(3):
        row = await attempt(db, actor, mailer, id_)
        assert (row.state, len(box.mails)) == ("unknown", arrived)

    async with db.writing(actor) as tx:
        await mail.send_again(tx, id_=id_)
    row = await attempt(db, actor, mailer, id_)
    assert (row.state, len(box.mails)) == ("sent", arrived + 1)
    assert len({message["Message-ID"] for _, _, message in box.mails}) == 1


async def test_a_process_that_died_while_sending_leaves_a_mail_in_doubt(
    db: Database, actor: Actor, box: Box, mailer: Mailer
) -> None:
    id_ = await put(db, actor)
    async with db.writing(actor) as tx:
        await tx.run(sa.update(outbox).where(outbox.c.id == id_).values(state="sending"))

    assert (await attempt(db, actor, mailer, id_)).state == "unknown"
    assert box.mails == []


async def test_two_runs_at_once_send_one_mail(db: Database, actor: Actor, box: Box, mailer: Mailer) -> None:
    id_ = await put(db, actor)
    runs = [mail.send.run(context(db, actor, mailer), id=str(id_)) for _ in range(5)]
    await asyncio.gather(*runs, return_exceptions=True)

    assert len(box.mails) <= 1


async def test_a_sent_mail_is_not_sent_again(db: Database, actor: Actor, box: Box, mailer: Mailer) -> None:
    id_ = await put(db, actor)
    for _ in range(3):
        await attempt(db, actor, mailer, id_)

    assert len(box.mails) == 1
    async with db.writing(actor) as tx:
        with pytest.raises(Conflict):
            await mail.send_again(tx, id_=id_)


async def test_another_organisation_cannot_send_a_mail_again(db: Database, actor: Actor, other_actor: Actor) -> None:
    id_ = await put(db, actor)

    async with db.writing(other_actor) as tx:
        with pytest.raises(NotFound):
            await mail.send_again(tx, id_=id_)


async def test_without_a_server_mails_wait_and_leave_once_there_is_one(
    db: Database, actor: Actor, box: Box, mailer: Mailer
) -> None:
    id_ = await put(db, actor)
    waiting = await attempt(db, actor, Mailer(), id_)
    async with db.system("look") as tx:
        later = await tx.scalar("select count(*) from procrastinate_jobs where scheduled_at > now()")

    assert (waiting.state, later) == ("queued", 1)
    assert (await attempt(db, actor, mailer, id_)).state == "sent"


@pytest.mark.parametrize("to", ["", "ann", "a@b.c, d@e.f", "a@b.c\nBcc: d@e.f", "Ann <a@b.c>", "a" * 400 + "@b.c"])
async def test_what_is_not_one_address_is_refused(db: Database, actor: Actor, to: str) -> None:
    with pytest.raises(Invalid):
        await put(db, actor, to)


async def test_a_mail_that_cannot_be_rendered_fails_where_it_is_queued(db: Database, actor: Actor) -> None:
    async with db.writing(actor) as tx:
        with pytest.raises(jinja2.UndefinedError):
            await mail.queue(tx, to="a@b.c", template="verify", facts={})


FACTS: dict[str, dict[str, Any]] = {
    "verify": LINK,
    "known": LINK,
    "unknown": LINK,
    "reset": LINK | {"hours": 1},
    "password": {"name": "Ann", "at": "2026-01-01"},
    "second_factor": {"name": "Ann", "on": True},
    "invitation": {"organisation": "Acme", "roles": "finance", "link": "https://x", "days": 7},
    "alert": {"title": "Disk", "body": "Nearly full", "link": ""},
    "digest": {
        "organisation": "Acme",
        "count": 1,
        "period": "this week",
        "totals": ["12.00 EUR"],
        "findings": [
            {
                "worth": "12.00 EUR",
                "often": "a year",
                "sure": "90 %",
                "title": "Idle disk",
                "id": "F1",
                "action": "Delete it.",
            }
        ],
        "more": 0,
        "every": "week",
        "link": "https://x",
    },
}


def test_every_template_is_rendered_and_escapes_what_people_wrote() -> None:
    folder = Path(mail.__file__).parent / "mail_templates"
    assert {path.stem for path in folder.glob("*.txt")} == set(FACTS)

    for name, facts in FACTS.items():
        hostile = {key: f"<script>{value}\nBcc: x" if isinstance(value, str) else value for key, value in facts.items()}
        made = render(name, hostile)
        assert "<script>" not in made.html
        assert "\n" not in made.subject
        assert made.text.strip()


async def test_starttls_and_a_login_are_used(db: Database, actor: Actor, box: Box, tmp_path: Path) -> None:
    server, trusting = certificate(tmp_path, "127.0.0.1")

    def check(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == (b"me", b"p@ss"))

    options = {"tls_context": server, "require_starttls": True, "authenticator": check, "auth_required": True}
    async with post_office(box, **options) as port:
        good = Smtp.of(f"smtp://me:p%40ss@127.0.0.1:{port}", context=trusting)
        assert (await attempt(db, actor, Mailer(good), await put(db, actor))).state == "sent"

        wrong = Smtp.of(f"smtp://me:wrong@127.0.0.1:{port}", context=trusting)
        assert (await attempt(db, actor, Mailer(wrong), await put(db, actor))).state == "queued"

        untrusted = Smtp.of(f"smtp://me:p%40ss@127.0.0.1:{port}", context=ssl.create_default_context())
        assert (await attempt(db, actor, Mailer(untrusted), await put(db, actor))).state == "queued"

    assert len(box.mails) == 1


@pytest.mark.parametrize("url", ["http://x", "smtp://", "smtp://h?tls=maybe", "smtp://me:pw@mail.example.com?tls=none"])
def test_an_address_that_is_unsafe_or_none_is_refused(url: str) -> None:
    with pytest.raises(Invalid):
        Smtp.of(url)


def test_a_mail_server_is_read_from_its_address() -> None:
    assert (Smtp.of("smtp://h").port, Smtp.of("smtps://h").port, Smtp.of("smtp://h?tls=none").port) == (587, 465, 25)
    assert "p@ss" not in repr(Smtp.of("smtps://me:p%40ss@h"))


async def test_a_server_that_is_away_or_silent_is_tried_later() -> None:
    async def nothing() -> None:
        raise AssertionError

    async with serving(replies(answer())) as server:
        pass
    with pytest.raises(Later):
        smtp = Smtp("127.0.0.1", server.port, "none")
        await deliver(smtp, EmailMessage(), sender="a@b.c", to="d@e.f", before_data=nothing)


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
async def test_an_alert_goes_to_each_address_once(db: Database, actor: Actor) -> None:
    async with serving(replies(answer(200))) as good, serving(replies(answer(500), answer(200))) as shaky:
        mailer = Mailer(alert_urls=[f"json://127.0.0.1:{good.port}/", f"json://127.0.0.1:{shaky.port}/"])
        async with db.writing(actor) as tx:
            id_ = await mail.alert(tx, title="Disk", body="Nearly full <b>")
        first = await attempt(db, actor, mailer, id_)
        second = await attempt(db, actor, mailer, id_, failures=1)

    assert (first.state, second.state) == ("queued", "sent")
    assert "1 of 2" in first.error
    assert (len(good.asked), len(shaky.asked)) == (1, 2)
    assert b"Nearly full" in good.asked[0].body


async def test_the_worker_gets_no_mail_job_twice(db: Database, actor: Actor, box: Box, mailer: Mailer) -> None:
    ids = [await put(db, actor, f"p{i}@example.com") for i in range(20)]
    stop = asyncio.Event()
    workers = [asyncio.create_task(run_worker(db, mail.JOBS, stop, tools=[mailer])) for _ in range(2)]

    async def all_sent() -> bool:
        return {(await row_of(db, actor, id_)).state for id_ in ids} == {"sent"}

    await until(all_sent, 30)
    stop.set()
    await asyncio.gather(*workers)

    assert sorted(to[0] for _, to, _ in box.mails) == sorted(f"p{i}@example.com" for i in range(20))
