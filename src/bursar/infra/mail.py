"""Mails and alerts: queued in the caller's transaction, sent by a job, never twice.

Sending is at most once, by choice: an outbox row is marked ``sending``, in a transaction of its own, after the server has
agreed to sender and recipient and before the mail itself leaves. If the process or the connection dies between that mark
and the server's answer, nobody can know whether the mail was taken: the row becomes ``unknown``, is shown, and is sent
again only when a person says so. Everything that fails before the mark, or is answered with 4xx, is tried again. Each mail
carries a Message-ID made from the row's id, so a mail sent again by hand is recognised as the same.
"""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime, parseaddr
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

import sqlalchemy as sa

from bursar.infra import jobs
from bursar.infra.clock import utc_now
from bursar.infra.db import Tx, new_id
from bursar.infra.jobs import NOBODY, Context, GiveUp, job
from bursar.infra.mail_smtp import Later, Refused, Smtp, Unknown, deliver
from bursar.infra.mail_tables import outbox
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, Invalid, NotFound

if TYPE_CHECKING:
    from jinja2 import Environment

JOB = "mail.send"
ATTEMPTS = 10
"""Over about four hours."""

UNCONFIGURED_WAIT = timedelta(minutes=10)
"""How often a mail looks whether a server has been configured meanwhile."""

ALERT_S_MAX = 30.0
RECIPIENT_CHARS_MAX = 320
SUBJECT_CHARS_MAX = 200


@dataclass(frozen=True, slots=True)
class Rendered:
    """A template filled in."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True)
class Mailer:
    """Where mails and alerts go; the worker's tool.

    Attributes:
        smtp: The mail server; None leaves mails in the outbox.
        sender: ``Name <address>``.
        alert_urls: Apprise addresses of the operator; every alert goes to each.
    """

    smtp: Smtp | None = None
    sender: str = "Bursar <bursar@localhost>"
    alert_urls: Sequence[str] = field(default=(), repr=False)


@lru_cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    loader = PackageLoader("bursar.infra", "mail_templates")
    return Environment(loader=loader, autoescape=select_autoescape(["html"]), undefined=StrictUndefined)


def render(template: str, facts: Mapping[str, Any]) -> Rendered:
    """Fill in ``mail_templates/<template>.txt`` (its first line is the subject) and ``.html``.

    Raises:
        jinja2.UndefinedError: A fact is missing (a bug).
        jinja2.TemplateNotFound: There is no such template (a bug).
    """
    head, _, text = _environment().get_template(f"{template}.txt").render(facts).partition("\n\n")
    subject = " ".join(head.removeprefix("Subject:").split())[:SUBJECT_CHARS_MAX]
    return Rendered(subject, text, _environment().get_template(f"{template}.html").render(facts))


async def queue(tx: Tx, *, to: str, template: str, facts: Mapping[str, Any]) -> UUID:
    """Put a mail into the outbox in the caller's transaction.

    Args:
        tx: Writing transaction.
        to: One address.
        template: Name of a template in ``mail_templates``.
        facts: What it needs; JSON values.

    Returns:
        The outbox id.

    Raises:
        Invalid: ``to`` is not one address.
    """
    _, address = parseaddr(to)
    if address != to or "@" not in to or not to.isprintable() or len(to) > RECIPIENT_CHARS_MAX:
        raise Invalid(f"{to[:80]!r} is not one mail address")
    return await _put(tx, "mail", to, template, facts)


async def alert(tx: Tx, *, title: str, body: str, link: str = "") -> UUID:
    """Put an alert for the operator's Apprise addresses into the outbox in the caller's transaction."""
    return await _put(tx, "alert", "operator", "alert", {"title": title, "body": body, "link": link})


async def _put(tx: Tx, channel: str, to: str, template: str, facts: Mapping[str, Any]) -> UUID:
    render(template, facts)  # a mail that cannot be rendered fails here, where somebody sees it
    id_ = new_id()
    row = {"org": tx.org, "id": id_, "channel": channel, "recipient": to, "template": template, "state": "queued"}
    await tx.run(sa.insert(outbox).values(**row, facts=dict(facts)))
    await jobs.enqueue(tx, JOB, {"id": str(id_)})
    return id_


async def send_again(tx: Tx, *, id_: UUID) -> None:
    """Queue a mail anew of which nobody knows whether it arrived.

    Raises:
        NotFound: There is none of this id.
        Conflict: It is not in doubt.
    """
    mine = sa.and_(tx.own(outbox), outbox.c.id == id_)
    row = await tx.one(sa.select(outbox.c.state).where(mine).with_for_update())
    if row is None:
        raise NotFound("mail", str(id_))
    if row.state != "unknown":
        raise Conflict("Only a mail in doubt can be sent again")
    await tx.run(sa.update(outbox).where(mine).values(state="queued", changed_at=sa.func.now()))
    await jobs.enqueue(tx, JOB, {"id": str(id_)})


@dataclass
class _Sending:
    """One attempt to send one row."""

    ctx: Context
    actor: Actor
    id: UUID

    async def move(self, before: Sequence[str], **values: Any) -> sa.Row[Any] | None:
        """Change the row if its state is among ``before``; None when it is not."""
        async with self.ctx.db.writing(self.actor) as tx:
            mine = sa.and_(tx.own(outbox), outbox.c.id == self.id, outbox.c.state.in_(before))
            change = sa.update(outbox).where(mine).values(changed_at=sa.func.now(), **values)
            return await tx.one(change.returning(outbox))

    async def close(self, state: str, error: str | None = None) -> None:
        """End the row; what it was made from is wiped unless somebody may send it again."""
        kept: dict[str, Any] = {} if state == "unknown" else {"facts": None}
        await self.move(["queued", "sending"], state=state, error=error, **kept)


@job(JOB, attempts=ATTEMPTS, seconds=180, backoff_s=30)
async def send(ctx: Context, *, id: str) -> None:  # noqa: A002  the argument queued jobs carry
    """Send one outbox row.

    Safe to run twice: a row that is sent is left alone, one that was being sent when its process died becomes ``unknown``.
    """
    sending = _Sending(ctx, ctx.actor(ctx.ticket.org), UUID(id))
    mailer = ctx.tool(Mailer)
    row = await sending.move(["queued"], attempts=outbox.c.attempts + 1)
    if row is None:
        await sending.move(["sending"], state="unknown", error="the process died while it was being sent")
        return
    if row.channel == "alert":
        await _alert(sending, mailer, row)
    elif mailer.smtp is None:
        async with ctx.db.writing(sending.actor) as tx:
            await jobs.enqueue(tx, JOB, {"id": id}, at=utc_now() + UNCONFIGURED_WAIT)
    else:
        await _mail(sending, mailer, mailer.smtp, row)


async def _mail(sending: _Sending, mailer: Mailer, smtp: Smtp, row: sa.Row[Any]) -> None:
    async def before_data() -> None:
        if await sending.move(["queued"], state="sending") is None:
            raise GiveUp("another run sends this mail")

    message = _message(mailer, row)
    try:
        await deliver(smtp, message, sender=parseaddr(mailer.sender)[1], to=row.recipient, before_data=before_data)
    except Refused as error:
        await sending.close("dead", str(error))
    except Unknown as error:
        await sending.close("unknown", str(error))
    except Later as error:
        if sending.ctx.failures + 1 >= ATTEMPTS:
            await sending.close("dead", str(error))
        else:
            await sending.move(["queued", "sending"], state="queued", error=str(error))
        raise
    else:
        await sending.close("sent")


def _message(mailer: Mailer, row: sa.Row[Any]) -> EmailMessage:
    rendered = render(row.template, row.facts)
    host = parseaddr(mailer.sender)[1].rpartition("@")[2] or "localhost"
    message = EmailMessage(policy=SMTP_POLICY)
    message["From"], message["To"], message["Subject"] = mailer.sender, row.recipient, rendered.subject
    message["Date"] = format_datetime(row.queued_at)
    message["Message-ID"] = f"<{row.id}@{host}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(rendered.text)
    message.add_alternative(rendered.html, subtype="html")
    return message


async def _alert(sending: _Sending, mailer: Mailer, row: sa.Row[Any]) -> None:
    """Send an alert to each address that has not got it; one that fails is tried again, the others are not."""
    rendered = render(row.template, row.facts)
    left = [url for url in mailer.alert_urls if _mark(url) not in row.reached]
    failed = 0
    for url in left:
        if await asyncio.to_thread(_tell, url, rendered):
            await sending.move(
                ["queued"], reached=outbox.c.reached.op("||")(sa.cast([_mark(url)], outbox.c.reached.type))
            )
        else:
            failed += 1
    if not failed:
        await sending.close("sent")
        return
    error = f"{failed} of {len(mailer.alert_urls)} alert addresses did not take it"
    if sending.ctx.failures + 1 >= ATTEMPTS:
        await sending.close("dead", error)
    else:
        await sending.move(["queued"], error=error)
    raise Later(error)


def _mark(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def _tell(url: str, rendered: Rendered) -> bool:
    """Send by Apprise; False when it was not taken."""
    from apprise import Apprise

    target = Apprise()
    return bool(target.add(url)) and bool(
        target.notify(title=rendered.subject, body=rendered.text, timeout=ALERT_S_MAX)
    )


JOBS = (send,)

__all__ = ["JOBS", "NOBODY", "Mailer", "Rendered", "Smtp", "alert", "queue", "render", "send_again"]
