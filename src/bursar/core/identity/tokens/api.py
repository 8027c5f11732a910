"""Log-ins of programs over HTTP."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from bursar.core.identity.api import Code, Email, From, Ours
from bursar.core.identity.rules.sessions import SecondFactorNeeded, WrongCredentials
from bursar.core.identity.sessions.service import NoOrganisation
from bursar.core.identity.tables import family as table
from bursar.core.identity.tokens import service
from bursar.core.identity.tokens.service import Issued, RefreshSpent
from bursar.infra.clock import utc_now
from bursar.infra.web import PUBLIC, SIGNED_IN, As, In, Listed, Out, Page, TheDb, router
from bursar.kernel.errors import NotFound

r = router("tokens", tag="Tokens", about="Short-lived access tokens for programs that log in with a person's password.")

_Refresh = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_-]{43}$", max_length=43, description="The refresh token; it works once.")
]


class LogInIn(In):
    """Address, password and, where one is on, the second factor."""

    email: Email
    password: Annotated[str, Field(min_length=1, max_length=1_024, description="The password.")]
    code: Code = None
    organisation: Annotated[UUID | None, Field(description="To act in; null for the longest-standing one.")] = None
    label: Annotated[str, Field(max_length=120, description="What logs in, for the list of log-ins.")] = ""


class RefreshIn(In):
    """A refresh token."""

    refresh_token: _Refresh


class TokensOut(Out):
    """Fresh tokens, shown this once."""

    access_token: Annotated[str, Field(description="Send as `Authorization: Bearer …`; signed with Ed25519.")]
    refresh_token: Annotated[str, Field(description="Trade it for new tokens before the access token expires; once.")]
    token_type: Annotated[str, Field(description="Always Bearer.")] = "Bearer"  # noqa: S105  a word of RFC 6750
    expires_at: Annotated[datetime, Field(description="End of the access token.")]
    organisation: Annotated[UUID, Field(description="The organisation they act in.")]
    id: Annotated[UUID, Field(description="The log-in, for ending it.")]


class LogInOut(Out):
    """A log-in of a program."""

    id: Annotated[UUID, Field(description="For ending it.")]
    label: Annotated[str, Field(description="What logged in.")]
    address: Annotated[str, Field(description="IP address it logged in from.")]
    signed_in_at: Annotated[datetime, Field(description="When the password was given.")]
    expires_at: Annotated[datetime, Field(description="When it must log in again.")]


class KeysOut(Out):
    """A JSON Web Key Set (RFC 7517)."""

    keys: Annotated[list[dict[str, str]], Field(description="Public keys that access tokens are signed with.")]


def _out(issued: Issued) -> TokensOut:
    return TokensOut(
        access_token=issued.access,
        refresh_token=issued.refresh,
        expires_at=issued.expires_at,
        organisation=issued.org,
        id=issued.family,
    )


@r.post(
    "/v1/tokens",
    right=PUBLIC,
    status_code=201,
    limit="log-in",
    refusals=[WrongCredentials, SecondFactorNeeded, NoOrganisation],
)
async def log_in(body: LogInIn, db: TheDb, means: Ours, place: From) -> TokensOut:
    """Log a program in with a person's password. What was wrong is not told."""
    return _out(await service.log_in(db, means, **body.model_dump(), place=place, now=utc_now()))


@r.post("/v1/tokens/refresh", right=PUBLIC, refusals=[RefreshSpent])
async def refresh(body: RefreshIn, db: TheDb, means: Ours, place: From) -> TokensOut:
    """Trade a refresh token for new tokens. One that is used twice ends the whole log-in: a copy was stolen."""
    return _out(await service.refresh(db, means, token_=body.refresh_token, place=place, now=utc_now()))


@r.post("/v1/tokens/revoke", right=PUBLIC, status_code=204)
async def revoke(body: RefreshIn, db: TheDb, place: From) -> None:
    """End the log-in of a refresh token; an unknown token gets the same answer."""
    await service.revoke(db, token_=body.refresh_token, place=place, now=utc_now())


@r.get("/v1/tokens", right=SIGNED_IN, refusals=[NotFound])
async def list_log_ins(db: TheDb, actor: As, page: Page) -> Listed[LogInOut]:
    """List the caller's own log-ins of programs in this organisation, newest first."""
    async with db.reading(actor) as tx:
        rows = await tx.all(page.of(service.listing(tx, actor, now=utc_now()), table.c.signed_in_at, table.c.id))
    return page.listed(
        rows,
        key=lambda row: (row.signed_in_at, row.id),
        out=lambda row: LogInOut(**{name: getattr(row, name) for name in LogInOut.model_fields}),
    )


@r.delete("/v1/tokens/{id}", right=SIGNED_IN, status_code=204)
async def end_log_in(id: UUID, db: TheDb, actor: As) -> None:  # noqa: A002  the path's word
    """End one of the caller's own log-ins; its tokens stop working within a second."""
    async with db.writing(actor) as tx:
        await service.end(tx, actor, id_=id, now=utc_now())


@r.get("/.well-known/jwks.json", right=PUBLIC)
async def public_keys(means: Ours) -> KeysOut:
    """List the public keys of access tokens, for programs that check them themselves."""
    return KeysOut(keys=service.public_keys(means))
