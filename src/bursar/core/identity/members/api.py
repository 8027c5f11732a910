"""Members and invitations over HTTP."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Response
from pydantic import Field

from bursar.core.identity.api import Email, From, Ours, Secret, take_back
from bursar.core.identity.members import service
from bursar.core.identity.people.api import AcceptedOut
from bursar.core.identity.rules.passwords import PasswordTooCommon, PasswordTooLong, PasswordTooShort
from bursar.core.identity.rules.rights import ROLES_MAX
from bursar.core.identity.rules.sessions import SpentToken, StepUpNeeded
from bursar.core.identity.store.organisations import Row
from bursar.core.identity.tables import invitation, membership
from bursar.infra.clock import utc_now
from bursar.infra.web import PUBLIC, SIGNED_IN, As, In, Listed, Match, Out, Page, TheDb, router
from bursar.kernel.errors import NotFound

r = router("members", tag="Members", about="Who belongs to the organisation, in which roles, and who is invited.")

_Roles = Annotated[
    list[Annotated[str, Field(max_length=32)]],
    Field(
        min_length=1, max_length=ROLES_MAX, description="Roles; `GET /v1/rights` lists them.", examples=[["finance"]]
    ),
]


class RolesIn(In):
    """The roles of a member."""

    roles: _Roles


class InvitationIn(In):
    """An invitation."""

    email: Email
    roles: _Roles


class AcceptIn(In):
    """A mailed invitation taken up."""

    token: Secret
    name: Annotated[str, Field(max_length=120, description="Of somebody new; ignored where an account exists.")] = ""
    password: Annotated[
        str, Field(max_length=1_024, description="Of somebody new, at least 15 characters; ignored where one exists.")
    ] = ""


class HandOverIn(In):
    """The next owner."""

    person: Annotated[UUID, Field(description="A member.")]


class MemberOut(Out):
    """A member."""

    person: Annotated[UUID, Field(description="Id of the person.")]
    name: Annotated[str, Field(description="Their name.")]
    email: Annotated[str, Field(description="Their address.")]
    roles: Annotated[list[str], Field(description="Their roles.")]
    since: Annotated[datetime, Field(description="When they joined.")]
    second_factor: Annotated[bool, Field(description="They sign in with a second factor.")]


class InvitationOut(Out):
    """An open invitation."""

    id: Annotated[UUID, Field(description="For withdrawing it.")]
    email: Annotated[str, Field(description="Who is invited.")]
    roles: Annotated[list[str], Field(description="In which roles.")]
    invited_by: Annotated[str, Field(description="By whom, as the audit trail names them.")]
    created_at: Annotated[datetime, Field(description="When.")]
    expires_at: Annotated[datetime, Field(description="When the link stops working.")]


class InvitedOut(Out):
    """An invitation just sent."""

    id: Annotated[UUID, Field(description="For withdrawing it.")]


def _member(row: Row) -> MemberOut:
    return MemberOut(**{name: getattr(row, name) for name in MemberOut.model_fields})


@r.get("/v1/members", right="member:read")
async def list_members(db: TheDb, actor: As, page: Page) -> Listed[MemberOut]:
    """List the members, newest first."""
    async with db.reading(actor) as tx:
        rows = await tx.all(page.of(service.members(tx, actor), membership.c.since, membership.c.person))
    return page.listed(rows, key=lambda row: (row.since, row.person), out=_member)


@r.get("/v1/members/{person}", right="member:read")
async def show_member(person: UUID, db: TheDb, actor: As, match: Match) -> MemberOut:
    """Show one member."""
    async with db.reading(actor) as tx:
        row = await service.member(tx, actor, person=person)
    match.tag(row.changed_at)
    return _member(row)


@r.put("/v1/members/{person}/roles", right="member:write", edited=True, refusals=[StepUpNeeded])
async def set_roles(person: UUID, body: RolesIn, db: TheDb, actor: As, match: Match) -> MemberOut:
    """Replace the roles of a member; it counts within a second. Only an owner makes or unmakes an owner."""
    async with db.writing(actor) as tx:
        row = await service.set_roles(tx, actor, person=person, roles=body.roles, seen=match.must, now=utc_now())
    match.tag(row.changed_at)
    return _member(row)


@r.delete("/v1/members/{person}", right="member:write", status_code=204, refusals=[StepUpNeeded])
async def remove_member(person: UUID, db: TheDb, actor: As) -> None:
    """End a membership; sessions, log-ins and the keys they made end with it."""
    async with db.writing(actor) as tx:
        await service.remove(tx, actor, person=person, now=utc_now())


@r.delete("/v1/me/membership", right=SIGNED_IN, status_code=204, refusals=[NotFound])
async def leave(db: TheDb, actor: As, means: Ours, response: Response) -> None:
    """Leave the organisation; its last owner cannot."""
    async with db.writing(actor) as tx:
        await service.leave(tx, actor, now=utc_now())
    take_back(response, means)


@r.post("/v1/organisation/hand-over", right="organisation:delete", status_code=204, refusals=[StepUpNeeded, NotFound])
async def hand_over(body: HandOverIn, db: TheDb, actor: As) -> None:
    """Make another member the owner in the caller's place; the caller becomes an administrator."""
    async with db.writing(actor) as tx:
        await service.hand_over(tx, actor, person=body.person, now=utc_now())


@r.get("/v1/invitations", right="member:read")
async def list_invitations(db: TheDb, actor: As, page: Page) -> Listed[InvitationOut]:
    """List the open invitations, newest first."""
    async with db.reading(actor) as tx:
        statement = service.invitations(tx, actor, now=utc_now())
        rows = await tx.all(page.of(statement, invitation.c.created_at, invitation.c.id))
    return page.listed(
        rows,
        key=lambda row: (row.created_at, row.id),
        out=lambda row: InvitationOut(**{name: getattr(row, name) for name in InvitationOut.model_fields}),
    )


@r.post("/v1/invitations", right="member:write", status_code=201, refusals=[StepUpNeeded])
async def invite(body: InvitationIn, db: TheDb, actor: As, means: Ours) -> InvitedOut:
    """Invite somebody by mail; the link works once, for seven days."""
    async with db.writing(actor) as tx:
        made = await service.invite(tx, means, actor, email=body.email, roles=body.roles, now=utc_now())
    return InvitedOut(id=made)


@r.delete("/v1/invitations/{id}", right="member:write", status_code=204)
async def withdraw(id: UUID, db: TheDb, actor: As) -> None:  # noqa: A002  the path's word
    """Withdraw an open invitation."""
    async with db.writing(actor) as tx:
        await service.withdraw(tx, actor, id_=id, now=utc_now())


@r.post(
    "/v1/invitations/accept",
    right=PUBLIC,
    limit="log-in",
    refusals=[SpentToken, PasswordTooShort, PasswordTooLong, PasswordTooCommon],
)
async def accept(body: AcceptIn, db: TheDb, means: Ours, place: From) -> AcceptedOut:
    """Take up an invitation; somebody new gets an account. Sign in next."""
    facts = {"name": body.name, "password": body.password, "request_id": place.request_id}
    await service.accept(db, means, token_=body.token, **facts, now=utc_now())
    return AcceptedOut()
