"""What the routes of identity share, and the list of roles and rights."""

from typing import Annotated

from fastapi import Depends, Request, Response
from pydantic import Field

from bursar.core.identity.rules.rights import RIGHTS, ROLES
from bursar.core.identity.rules.sessions import LIFE_REMEMBERED
from bursar.core.identity.service import Means, session_token
from bursar.core.identity.sessions.service import Opened, Place
from bursar.infra.web import SIGNED_IN, Out, router
from bursar.infra.web_context import exchange_of

r = router("identity", tag="Roles and rights", about="What each role may do.")

Password = Annotated[
    str,
    Field(min_length=1, max_length=1_024, description="As typed; at least 15 characters, or 8 with a second factor."),
]
Code = Annotated[
    str | None,
    Field(max_length=64, description="Six digits of the authenticator app, or a recovery code; null without."),
]
Email = Annotated[str, Field(min_length=3, max_length=254, examples=["ada@example.com"], description="E-mail address.")]
Name = Annotated[str, Field(min_length=1, max_length=120, description="Name for people, on one line.")]
Secret = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_-]{43}$", max_length=43, description="The text after `#` in the mailed link.")
]


async def _means(request: Request) -> Means:
    means: Means = request.app.state.identity
    return means


async def _place(request: Request) -> Place:
    here = exchange_of(request.scope)
    return Place(here.address, request.headers.get("user-agent", ""), here.id)


async def _session(request: Request) -> str:
    means: Means = request.app.state.identity
    return session_token(request.headers.get("cookie"), means.cookie) or ""


Ours = Annotated[Means, Depends(_means)]
"""Handler parameter: what identity needs from outside; wiring sets ``app.state.identity``."""

From = Annotated[Place, Depends(_place)]
"""Handler parameter: address, program and request id of the caller."""

Cookie = Annotated[str, Depends(_session)]
"""Handler parameter: the token of the present browser session; empty without one."""


def hand_over(response: Response, means: Means, opened: Opened) -> None:
    """Send the session's cookie: no script reads it, no other site sends it, no other host gets it."""
    lasting = int(LIFE_REMEMBERED.total_seconds()) if opened.remembered else None
    response.set_cookie(
        means.cookie, opened.token, max_age=lasting, httponly=True, secure=means.secure, samesite="lax", path="/"
    )


def take_back(response: Response, means: Means) -> None:
    """Remove the session's cookie."""
    response.delete_cookie(means.cookie, httponly=True, secure=means.secure, samesite="lax", path="/")


class RoleOut(Out):
    """A role and what it may do."""

    role: Annotated[str, Field(description="Name of the role.")]
    rights: Annotated[list[str], Field(description="Its rights, as `noun:verb`.")]


class RightsOut(Out):
    """Every role and every right."""

    roles: Annotated[list[RoleOut], Field(description="Roles that members can have.")]
    rights: Annotated[list[str], Field(description="All rights; the scopes of API keys are taken from these.")]


@r.get("/v1/rights", right=SIGNED_IN)
async def list_rights() -> RightsOut:
    """List the roles with their rights; the table is fixed."""
    roles = [RoleOut(role=role, rights=sorted(rights)) for role, rights in ROLES.items()]
    return RightsOut(roles=roles, rights=sorted(RIGHTS))
