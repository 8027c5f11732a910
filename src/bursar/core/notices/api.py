"""Webhooks and the outbox over HTTP."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import sqlalchemy as sa
from fastapi import Query, Response
from pydantic import Field

from bursar.core.notices import service
from bursar.core.notices.service import Attempt, Delivery, Endpoint, Means
from bursar.infra.clock import utc_now
from bursar.infra.http import EgressRefused
from bursar.infra.web import As, In, Listed, Match, Out, Page, Router, TheDb, router
from bursar.kernel.errors import Conflict, TooMany

Pattern = Annotated[str, Field(min_length=1, max_length=100, examples=["finding.*"])]
Url = Annotated[str, Field(min_length=1, max_length=2000, examples=["https://example.com/hooks/bursar"])]
Words = Annotated[str, Field(max_length=200)]
State = Annotated[Literal["pending", "delivered", "failed"] | None, Query(description="Only deliveries in this state.")]
MailState = Annotated[
    Literal["queued", "sending", "sent", "unknown", "dead"] | None, Query(description="Only mails in this state.")
]


class EndpointIn(In):
    """A new webhook."""

    url: Url
    events: Annotated[list[Pattern], Field(min_length=1, max_length=50)]
    description: Words = ""


class EndpointChange(In):
    """What to change of a webhook; what is absent stays."""

    url: Url | None = None
    events: Annotated[list[Pattern], Field(min_length=1, max_length=50)] | None = None
    description: Words | None = None
    active: bool | None = None


class EndpointOut(Out):
    """A webhook."""

    id: UUID
    url: str
    description: str
    events: list[str]
    active: bool
    disabled_why: str | None
    rotating_until: datetime | None
    created_at: datetime
    changed_at: datetime


class EndpointSecretOut(Out):
    """A webhook and its signing secret, which is never shown again."""

    webhook: EndpointOut
    secret: str


class KeysOut(Out):
    """Public keys of the v1a signatures, the current one first."""

    keys: list[str]


class DeliveryOut(Out):
    """One event on its way to one webhook."""

    id: UUID
    webhook: UUID
    event: UUID
    type: str
    state: str
    attempts: int
    next_at: datetime | None
    ended_at: datetime | None


class AttemptOut(Out):
    """One attempt; the status is null when there was no answer."""

    number: int
    at: datetime
    status: int | None
    ms: int
    error: str | None


class DeliveryLogOut(Out):
    """A delivery with its body and its log."""

    delivery: DeliveryOut
    body: str
    log: list[AttemptOut]


class MadeOut(Out):
    """The id of what was made."""

    id: UUID


class MailOut(Out):
    """A mail or alert; what it says is not shown."""

    id: UUID
    channel: str
    recipient: str
    template: str
    state: str
    attempts: int
    queued_at: datetime
    changed_at: datetime
    error: str | None


def _endpoint(found: Endpoint) -> EndpointOut:
    facts = {name: getattr(found, name) for name in EndpointOut.model_fields if name != "events"}
    return EndpointOut(**facts, events=list(found.events))


def _delivery(found: Delivery) -> DeliveryOut:
    same = {"id", "type", "state", "attempts", "next_at", "ended_at"}
    facts = {name: getattr(found, name) for name in same}
    return DeliveryOut(**facts, webhook=found.endpoint, event=found.message)


def _attempt(made: Attempt) -> AttemptOut:
    return AttemptOut(**{name: getattr(made, name) for name in AttemptOut.model_fields})


def _mail(row: sa.Row[Any]) -> MailOut:
    return MailOut(**{name: getattr(row, name) for name in MailOut.model_fields})


def routes(means: Means) -> Sequence[Router]:
    """Return the routers of webhooks and of the outbox."""
    hooks = router("notices", tag="Webhooks", about="Events for other systems, signed per Standard Webhooks.")
    outbox = router("mails", tag="Mails", about="Mails and alerts on their way out.")
    _endpoint_routes(hooks, means)
    _delivery_routes(hooks)
    _mail_routes(outbox)
    return hooks, outbox


def _endpoint_routes(r: Router, means: Means) -> None:
    @r.get("/v1/webhooks", right="webhook:read")
    async def list_webhooks(db: TheDb, actor: As) -> list[EndpointOut]:
        """List the webhooks; there are at most 20."""
        async with db.reading(actor) as tx:
            return [_endpoint(each) for each in await service.endpoints(tx, actor)]

    @r.post("/v1/webhooks", right="webhook:write", status_code=201, once="never", refusals=[EgressRefused, TooMany])
    async def create_webhook(body: EndpointIn, db: TheDb, actor: As) -> EndpointSecretOut:
        """Make a webhook. The signing secret is in this answer and never shown again."""
        async with db.writing(actor) as tx:
            made, secret = await service.create(tx, actor, means, **body.model_dump(), now=utc_now())
        return EndpointSecretOut(webhook=_endpoint(made), secret=secret)

    @r.get("/v1/webhooks/keys", right="webhook:read")
    async def webhook_keys(actor: As) -> KeysOut:
        """Show the public keys that `v1a` signatures verify with."""
        return KeysOut(keys=service.keys(actor, means))

    @r.get("/v1/webhooks/{id}", right="webhook:read")
    async def get_webhook(id: UUID, db: TheDb, actor: As, match: Match) -> EndpointOut:  # noqa: A002
        """Show one webhook."""
        async with db.reading(actor) as tx:
            found = await service.endpoint(tx, actor, id_=id)
        match.tag(found.changed_at)
        return _endpoint(found)

    @r.patch("/v1/webhooks/{id}", right="webhook:write", edited=True, refusals=[EgressRefused])
    async def change_webhook(id: UUID, body: EndpointChange, db: TheDb, actor: As, match: Match) -> EndpointOut:  # noqa: A002
        """Change a webhook, switch it off or on again."""
        async with db.writing(actor) as tx:
            match.must((await service.endpoint(tx, actor, id_=id)).changed_at)
            found = await service.change(tx, actor, means, id_=id, **body.model_dump(), now=utc_now())
        match.tag(found.changed_at)
        return _endpoint(found)

    @r.delete("/v1/webhooks/{id}", right="webhook:write", status_code=204)
    async def remove_webhook(id: UUID, db: TheDb, actor: As) -> Response:  # noqa: A002
        """Delete a webhook with its delivery log."""
        async with db.writing(actor) as tx:
            await service.remove(tx, actor, id_=id, now=utc_now())
        return Response(status_code=204)

    @r.post("/v1/webhooks/{id}/rotate", right="webhook:write", once="never")
    async def rotate_webhook(id: UUID, db: TheDb, actor: As) -> EndpointSecretOut:  # noqa: A002
        """Give a webhook a new secret; for 24 hours events carry a signature of each."""
        async with db.writing(actor) as tx:
            made, secret = await service.rotate(tx, actor, means, id_=id, now=utc_now())
        return EndpointSecretOut(webhook=_endpoint(made), secret=secret)

    @r.post("/v1/webhooks/{id}/test", right="webhook:write", status_code=202, refusals=[Conflict])
    async def test_webhook(id: UUID, db: TheDb, actor: As) -> MadeOut:  # noqa: A002
        """Send a `webhook.tested` event."""
        async with db.writing(actor) as tx:
            return MadeOut(id=await service.ping(tx, actor, id_=id, now=utc_now()))


def _delivery_routes(r: Router) -> None:
    @r.get("/v1/webhooks/{id}/deliveries", right="webhook:read")
    async def list_deliveries(
        id: UUID,  # noqa: A002
        db: TheDb,
        actor: As,
        page: Page,
        state: State = None,
    ) -> Listed[DeliveryOut]:
        """List deliveries to a webhook, the newest first."""
        after = page.after[0] if page.after else None
        async with db.reading(actor) as tx:
            found = await service.deliveries(tx, actor, id_=id, state=state, limit=page.limit + 1, after=after)
        return page.listed(found, key=lambda each: (each.id,), out=_delivery)

    @r.get("/v1/webhook-deliveries/{id}", right="webhook:read")
    async def get_delivery(id: UUID, db: TheDb, actor: As) -> DeliveryLogOut:  # noqa: A002
        """Show a delivery, the body it carries and every attempt."""
        async with db.reading(actor) as tx:
            found, body, log = await service.delivery(tx, actor, id_=id)
        return DeliveryLogOut(delivery=_delivery(found), body=body, log=[_attempt(each) for each in log])

    @r.post("/v1/webhook-deliveries/{id}/replay", right="webhook:write", status_code=202, refusals=[Conflict])
    async def replay_delivery(id: UUID, db: TheDb, actor: As) -> MadeOut:  # noqa: A002
        """Deliver the same event once more, under the same event id."""
        async with db.writing(actor) as tx:
            return MadeOut(id=await service.replay(tx, actor, id_=id, now=utc_now()))


def _mail_routes(r: Router) -> None:
    @r.get("/v1/mails", right="settings:read")
    async def list_mails(db: TheDb, actor: As, page: Page, state: MailState = None) -> Listed[MailOut]:
        """List mails and alerts, the newest first; `unknown` are those of which nobody knows whether they arrived."""
        after = page.after[0] if page.after else None
        async with db.reading(actor) as tx:
            found = await service.mails(tx, actor, state=state, limit=page.limit + 1, after=after)
        return page.listed(found, key=lambda row: (row.id,), out=_mail)

    @r.post("/v1/mails/{id}/send-again", right="settings:write", status_code=202, refusals=[Conflict])
    async def send_mail_again(id: UUID, db: TheDb, actor: As) -> MadeOut:  # noqa: A002
        """Send a mail in doubt once more."""
        async with db.writing(actor) as tx:
            await service.send_again(tx, actor, id_=id, now=utc_now())
        return MadeOut(id=id)
