"""Organisations over HTTP."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from bursar.core.identity.api import Name
from bursar.core.identity.organisations import service
from bursar.core.identity.rules.sessions import StepUpNeeded
from bursar.core.identity.store.organisations import Row
from bursar.infra.clock import utc_now
from bursar.infra.web import SIGNED_IN, As, In, Match, Out, TheDb, router
from bursar.kernel.errors import NotFound

r = router("organisation", tag="Organisation", about="The organisation that the caller acts in.")


class OrganisationIn(In):
    """Name of an organisation."""

    name: Name


class OrganisationOut(Out):
    """An organisation."""

    id: Annotated[UUID, Field(description="Its id.")]
    name: Annotated[str, Field(description="Its name.")]
    created_at: Annotated[datetime, Field(description="When it was made.")]
    local: Annotated[bool, Field(description="It belongs to the local owner, who needs no sign-in.")]
    erased_after: Annotated[datetime | None, Field(description="When it will be erased; null unless it is deleted.")]


class FoundedOut(Out):
    """An organisation just made."""

    id: Annotated[UUID, Field(description="Its id; switch the session to it to act in it.")]


class DeletedOut(Out):
    """A deleted organisation."""

    erased_after: Annotated[datetime, Field(description="Until then it can be called back; then every row is erased.")]


def _out(row: Row) -> OrganisationOut:
    return OrganisationOut(
        id=row.id, name=row.name, created_at=row.created_at, local=row.is_local, erased_after=row.purge_after
    )


@r.get("/v1/organisation", right="organisation:read")
async def show(db: TheDb, actor: As, match: Match) -> OrganisationOut:
    """Show the organisation that the caller acts in."""
    async with db.reading(actor) as tx:
        row = await service.organisation(tx, actor)
    match.tag(row.changed_at)
    return _out(row)


@r.patch("/v1/organisation", right="organisation:write", edited=True)
async def rename(body: OrganisationIn, db: TheDb, actor: As, match: Match) -> OrganisationOut:
    """Change the organisation's name."""
    async with db.writing(actor) as tx:
        row = await service.rename(tx, actor, name=body.name, seen=match.must, now=utc_now())
    match.tag(row.changed_at)
    return _out(row)


@r.post("/v1/organisations", right=SIGNED_IN, status_code=201, once="never", refusals=[NotFound])
async def found(body: OrganisationIn, db: TheDb, actor: As) -> FoundedOut:
    """Make a further organisation; the caller is its owner."""
    return FoundedOut(id=await service.found(db, actor, name=body.name, now=utc_now()))


@r.delete("/v1/organisation", right="organisation:delete", refusals=[StepUpNeeded])
async def delete(db: TheDb, actor: As) -> DeletedOut:
    """Delete the organisation: it can be called back for 30 days, then every row of it is erased."""
    async with db.writing(actor) as tx:
        return DeletedOut(erased_after=await service.delete(tx, actor, now=utc_now()))


@r.post("/v1/organisation/keep", right="organisation:delete", status_code=204)
async def keep(db: TheDb, actor: As) -> None:
    """Call a deleted organisation back."""
    async with db.writing(actor) as tx:
        await service.keep(tx, actor, now=utc_now())
