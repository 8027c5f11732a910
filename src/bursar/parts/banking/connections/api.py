"""Connections to bank services over HTTP, and the address that their webhooks are sent to."""

from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from fastapi import Header, Request
from pydantic import Field, SecretStr

from bursar.infra.clock import utc_now
from bursar.infra.web import PUBLIC, As, Day, In, Out, Router, TheDb, router
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Invalid, TooMany
from bursar.parts.banking.connections import service
from bursar.parts.banking.connections.service import SECRET_CHARS_MAX, FeedOff, Feeds

NOTICE_BYTES_MAX = 65_536

_Secret = Annotated[SecretStr, Field(max_length=SECRET_CHARS_MAX)]


class ConnectionIn(In):
    """A connection to register."""

    provider: Annotated[str, Field(max_length=40, examples=["belvo"])]
    environment: Annotated[str, Field(max_length=40, examples=["sandbox", "production"])]
    name: Annotated[str, Field(min_length=1, max_length=100)]
    credentials: Annotated[
        dict[Annotated[str, Field(max_length=40)], _Secret],
        Field(max_length=10, description="For Belvo `secret_id` and `secret_password`; sealed, never shown again."),
    ]


class ConnectionOut(Out):
    """A connection; its credentials are not shown."""

    id: UUID
    provider: str
    environment: str
    name: str
    created_at: datetime


class RegisteredOut(Out):
    """What to tell the service about webhooks; `authorization` is never shown again."""

    id: UUID
    webhook_path: str
    authorization: str


class LinkOut(Out):
    """A link to a bank."""

    id: str
    institution: str
    state: Annotated[str, Field(description="valid, collecting, token_required, invalid, failed or gone.")]
    why: str
    pulled_until: date | None
    changed_at: datetime


class PullIn(In):
    """Which link to pull, and which days; without a link the list of links is read anew and each is pulled."""

    link: Annotated[str, Field(max_length=100)] = ""
    since: Day | None = None
    until: Day | None = None


class QueuedOut(Out):
    """The run that does it; `GET /v1/jobs/{id}` shows it."""

    run: UUID


class TokenIn(In):
    """The code that the bank asked for."""

    token: Annotated[SecretStr, Field(min_length=1, max_length=200)]


class ResumedOut(Out):
    """Whether the pull goes on; else the bank asks for another code."""

    goes_on: bool


class NoticeOut(Out):
    """Whether a webhook was new."""

    new: bool


def routes(feeds: Feeds) -> Router:
    """Return the routes of connections."""
    r = router(
        "bank_connections", tag="Bank connections", about="Bank data services: credentials, links, pulls, webhooks."
    )
    _add_registering(r, feeds)
    _add_pulling(r, feeds)

    @r.post(
        "/v1/hooks/bank/{org}/{connection}",
        right=PUBLIC,
        body_bytes_max=NOTICE_BYTES_MAX,
        refusals=[FeedOff],
        once="never",
    )
    async def receive_notice(
        org: UUID,
        connection: UUID,
        request: Request,
        db: TheDb,
        authorization: Annotated[
            str, Header(max_length=500, description="As agreed when the connection was made.")
        ] = "",
    ) -> NoticeOut:
        """Receive a webhook of a bank service; it carries counts, so the rows are pulled afterwards."""
        body = await request.body()
        async with db.writing(Actor(org, "system:bank webhook")) as tx:
            new = await service.take_notice(
                tx, feeds, connection=connection, body=body, authorization=authorization, now=utc_now()
            )
        return NoticeOut(new=new)

    return r


def _add_registering(r: Router, feeds: Feeds) -> None:
    """Declare the routes that make, list and remove connections."""

    @r.post(
        "/v1/bank/connections", right="bank:write", status_code=201, once="never", refusals=[FeedOff, Invalid, TooMany]
    )
    async def register_connection(body: ConnectionIn, db: TheDb, actor: As) -> RegisteredOut:
        """Register a connection; the service must be named in the setting BURSAR_BANK_FEEDS."""
        credentials = {name: secret.get_secret_value() for name, secret in body.credentials.items()}
        async with db.writing(actor) as tx:
            id_, authorization = await service.create(
                tx, actor, feeds, provider=body.provider, environment=body.environment, name=body.name,
                credentials=credentials, now=utc_now(),
            )  # fmt: skip
        return RegisteredOut(id=id_, webhook_path=f"/v1/hooks/bank/{actor.org}/{id_}", authorization=authorization)

    @r.get("/v1/bank/connections", right="bank:read")
    async def list_connections(db: TheDb, actor: As) -> list[ConnectionOut]:
        """List the connections."""
        async with db.reading(actor) as tx:
            rows = await service.listed(tx, actor)
        names = ConnectionOut.model_fields
        return [ConnectionOut(**{name: getattr(row, name) for name in names}) for row in rows]

    @r.delete("/v1/bank/connections/{id}", right="bank:write", status_code=204)
    async def remove_connection(id: UUID, db: TheDb, actor: As) -> None:  # noqa: A002  the path's word
        """Forget a connection and its credentials; what it brought stays."""
        async with db.writing(actor) as tx:
            await service.remove(tx, actor, connection=id, now=utc_now())


def _add_pulling(r: Router, feeds: Feeds) -> None:
    """Declare the routes of links and pulls."""

    @r.get("/v1/bank/connections/{id}/links", right="bank:read")
    async def list_links(id: UUID, db: TheDb, actor: As) -> list[LinkOut]:  # noqa: A002  the path's word
        """List the links of a connection as they stand."""
        async with db.reading(actor) as tx:
            rows = await service.links(tx, actor, connection=id)
        return [LinkOut(**{name: getattr(row, name) for name in LinkOut.model_fields}) for row in rows]

    @r.post("/v1/bank/connections/{id}/pulls", right="bank:write", status_code=202, refusals=[Invalid])
    async def ask_for_pull(id: UUID, body: PullIn, db: TheDb, actor: As) -> QueuedOut:  # noqa: A002  the path's word
        """Queue a pull of one link, or the listing of all links and a pull of each."""
        async with db.writing(actor) as tx:
            run = await service.ask(tx, actor, connection=id, link=body.link, since=body.since, until=body.until)
        return QueuedOut(run=run)

    @r.post(
        "/v1/bank/connections/{id}/links/{link}/token", right="bank:write", once="never", refusals=[FeedOff, Invalid]
    )
    async def give_token(id: UUID, link: str, body: TokenIn, db: TheDb, actor: As) -> ResumedOut:  # noqa: A002
        """Give the second factor that the bank asked for; the pull goes on."""
        token = body.token.get_secret_value()
        goes_on = await service.give_token(db, actor, feeds, connection=id, link=link[:100], token=token, now=utc_now())
        return ResumedOut(goes_on=goes_on)
