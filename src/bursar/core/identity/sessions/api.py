"""Browser sessions over HTTP."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Response
from pydantic import Field

from bursar.core.identity.api import Code, Cookie, Email, From, Ours, hand_over, take_back
from bursar.core.identity.rules.sessions import SecondFactorNeeded, StepUpNeeded, WrongCredentials, is_loopback
from bursar.core.identity.service import local_owner
from bursar.core.identity.sessions import service
from bursar.core.identity.sessions.service import NoOrganisation, Opened
from bursar.core.identity.tables import session as table
from bursar.infra.clock import utc_now
from bursar.infra.web import PUBLIC, SIGNED_IN, As, In, Listed, Out, Page, TheDb, router
from bursar.kernel.errors import Conflict, NotFound

r = router("sessions", tag="Sessions", about="Sign in with a browser, look after the sessions, sign out.")

_PROOF = (WrongCredentials, SecondFactorNeeded)
_Typed = Annotated[str, Field(min_length=1, max_length=1_024, description="The password.")]


class SignInIn(In):
    """Address, password and, where one is on, the second factor."""

    email: Email
    password: _Typed
    code: Code = None
    organisation: Annotated[UUID | None, Field(description="To act in; null for the longest-standing one.")] = None
    remember: Annotated[bool, Field(description="Stay signed in for seven days on this device.")] = False


class StepUpIn(In):
    """Password and, where one is on, the second factor, once more."""

    password: _Typed
    code: Code = None


class SwitchIn(In):
    """The organisation to go on in."""

    organisation: Annotated[UUID, Field(description="One of the caller's organisations.")]


class SignedInOut(Out):
    """The session; its cookie is in the headers."""

    person: Annotated[UUID, Field(description="Who is signed in.")]
    organisation: Annotated[UUID, Field(description="The organisation the session acts in.")]
    expires_at: Annotated[datetime, Field(description="Its end at the latest.")]


class SessionOut(Out):
    """A session of the caller."""

    id: Annotated[UUID, Field(description="For ending it.")]
    created_at: Annotated[datetime, Field(description="When it was opened.")]
    seen_at: Annotated[datetime, Field(description="When it was last used, to the minute.")]
    expires_at: Annotated[datetime, Field(description="Its end at the latest.")]
    address: Annotated[str, Field(description="IP address it was opened from.")]
    agent: Annotated[str, Field(description="The browser, as it names itself.")]
    current: Annotated[bool, Field(description="This very session.")]


def _out(opened: Opened) -> SignedInOut:
    return SignedInOut(person=opened.person, organisation=opened.org, expires_at=opened.expires_at)


@r.post("/v1/sessions", right=PUBLIC, status_code=201, limit="log-in", refusals=[*_PROOF, NoOrganisation])
async def sign_in(body: SignInIn, db: TheDb, means: Ours, place: From, response: Response) -> SignedInOut:
    """Sign in; the session's cookie is in the answer's headers. What was wrong is not told."""
    opened = await service.sign_in(db, means, **body.model_dump(), place=place, now=utc_now())
    hand_over(response, means, opened)
    return _out(opened)


@r.post("/v1/sessions/local", right=PUBLIC, status_code=201, limit="log-in", refusals=[NotFound, Conflict])
async def sign_in_locally(db: TheDb, means: Ours, place: From, response: Response) -> SignedInOut:
    """Sign in as the local owner: without a password, on the machine itself, with the embedded database only."""
    if not means.local or not is_loopback(place.address):
        raise NotFound("local owner", "on this server")
    now = utc_now()
    async with db.system("local owner", write=True) as tx:
        owner = await local_owner(tx, loopback=True, embedded=True, now=now)
    async with db.writing(owner) as tx:
        opened = await service.open_session(tx, owner, remember=True, place=place, fresh=True, now=now)
    hand_over(response, means, opened)
    return _out(opened)


@r.post("/v1/sessions/step-up", right=SIGNED_IN, once="never", limit="log-in", refusals=[*_PROOF, NotFound])
async def step_up(
    body: StepUpIn, db: TheDb, actor: As, means: Ours, place: From, cookie: Cookie, response: Response
) -> SignedInOut:
    """Give the password once more: dangerous things then work for five minutes. The session gets a new cookie."""
    opened = await service.step_up(db, means, actor, session=cookie, **body.model_dump(), place=place, now=utc_now())
    hand_over(response, means, opened)
    return _out(opened)


@r.post("/v1/sessions/switch", right=SIGNED_IN, once="never", refusals=[NoOrganisation, NotFound])
async def switch(
    body: SwitchIn, db: TheDb, actor: As, means: Ours, place: From, cookie: Cookie, response: Response
) -> SignedInOut:
    """Go on in another organisation of the caller; the session gets a new cookie."""
    opened = await service.switch(db, actor, session=cookie, organisation=body.organisation, place=place, now=utc_now())
    hand_over(response, means, opened)
    return _out(opened)


@r.get("/v1/sessions", right=SIGNED_IN, refusals=[NotFound])
async def list_sessions(db: TheDb, actor: As, page: Page, cookie: Cookie) -> Listed[SessionOut]:
    """List the caller's own sessions in this organisation, newest first."""
    async with db.reading(actor) as tx:
        mine = await service.current(tx, actor, session=cookie)
        rows = await tx.all(page.of(service.listing(tx, actor), table.c.created_at, table.c.id))
    names = ("id", "created_at", "seen_at", "expires_at", "address", "agent")
    return page.listed(
        rows,
        key=lambda row: (row.created_at, row.id),
        out=lambda row: SessionOut(**{name: getattr(row, name) for name in names}, current=row.id == mine),
    )


@r.delete("/v1/sessions/current", right=SIGNED_IN, status_code=204)
async def sign_out(db: TheDb, actor: As, means: Ours, cookie: Cookie, response: Response) -> None:
    """Sign out; the cookie stops working within a second."""
    async with db.writing(actor) as tx:
        await service.end_current(tx, actor, session=cookie, now=utc_now())
    take_back(response, means)


@r.delete("/v1/sessions/others", right=SIGNED_IN, status_code=204, refusals=[NotFound])
async def end_others(db: TheDb, actor: As, cookie: Cookie) -> None:
    """End all other sessions and log-ins of the caller in this organisation."""
    async with db.writing(actor) as tx:
        await service.end_others(tx, actor, session=cookie or None, now=utc_now())


@r.delete("/v1/sessions/{id}", right=SIGNED_IN, status_code=204)
async def end_session(id: UUID, db: TheDb, actor: As) -> None:  # noqa: A002  the path's word
    """End one of the caller's own sessions; it stops working within a second."""
    async with db.writing(actor) as tx:
        await service.end(tx, actor, id_=id, now=utc_now())


@r.delete("/v1/members/{person}/sessions", right="member:write", status_code=204, refusals=[StepUpNeeded])
async def end_member_sessions(person: UUID, db: TheDb, actor: As) -> None:
    """End all sessions and log-ins of a member in this organisation."""
    async with db.writing(actor) as tx:
        await service.end_of_member(tx, actor, person=person, now=utc_now())
