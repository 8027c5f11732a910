"""API keys over HTTP."""

from datetime import datetime
from typing import Annotated

from fastapi import Path
from pydantic import Field

from bursar.core.identity.keys import service
from bursar.core.identity.rules.sessions import KEY_LIFE_DAYS, KEY_LIFE_DAYS_MAX, NETWORKS_MAX, StepUpNeeded
from bursar.core.identity.store.sessions import Row
from bursar.core.identity.tables import key as table
from bursar.infra.clock import utc_now
from bursar.infra.web import As, In, Listed, Out, Page, TheDb, router

r = router("keys", tag="API keys", about="Keys for programs that act for the organisation.")

_Days = Annotated[int, Field(ge=1, le=KEY_LIFE_DAYS_MAX, strict=True, description="Days until it expires.")]
_Id = Annotated[str, Path(pattern=r"^[0-9A-Za-z]{8}$", description="The eight characters after `bsr_live_`.")]


class KeyIn(In):
    """A new API key."""

    name: Annotated[str, Field(min_length=1, max_length=120, description="What it is for.")]
    scopes: Annotated[
        list[Annotated[str, Field(max_length=64)]],
        Field(min_length=1, max_length=200, description="Its rights; only those that the caller has."),
    ]
    networks: Annotated[
        list[Annotated[str, Field(max_length=64)]],
        Field(max_length=NETWORKS_MAX, description="Addresses and networks it may be used from; empty for everywhere."),
    ] = Field(default_factory=list)
    days: _Days = KEY_LIFE_DAYS


class RotateIn(In):
    """The successor of a key."""

    days: _Days = KEY_LIFE_DAYS


class KeyOut(Out):
    """An API key, without its secret."""

    id: Annotated[str, Field(description="The eight characters after `bsr_live_`.")]
    name: Annotated[str, Field(description="What it is for.")]
    scopes: Annotated[list[str], Field(description="Its rights, as far as its maker has them.")]
    networks: Annotated[list[str], Field(description="Where it may be used from; empty for everywhere.")]
    created_at: Annotated[datetime, Field(description="When it was made.")]
    expires_at: Annotated[datetime, Field(description="When it stops working.")]
    used_at: Annotated[datetime | None, Field(description="Last use, to the minute; null for never.")]
    used_from: Annotated[str, Field(description="IP address of that use.")]


class MadeKeyOut(KeyOut):
    """A key just made, with its secret."""

    key: Annotated[str, Field(description="Send as `Authorization: Bearer …`. It is shown this once.")]


def _facts(row: Row) -> dict[str, object]:
    return {name: getattr(row, name) for name in KeyOut.model_fields}


@r.get("/v1/keys", right="key:read")
async def list_keys(db: TheDb, actor: As, page: Page) -> Listed[KeyOut]:
    """List the living API keys of the organisation, newest first."""
    async with db.reading(actor) as tx:
        rows = await tx.all(page.of(service.listing(tx, actor), table.c.created_at, table.c.id))
    return page.listed(
        rows, key=lambda row: (row.created_at, row.id), out=lambda row: KeyOut.model_validate(_facts(row))
    )


@r.post("/v1/keys", right="key:write", status_code=201, once="never", refusals=[StepUpNeeded])
async def make_key(body: KeyIn, db: TheDb, actor: As) -> MadeKeyOut:
    """Make an API key; the answer shows it this once."""
    async with db.writing(actor) as tx:
        row, text = await service.make(tx, actor, **body.model_dump(), now=utc_now())
    return MadeKeyOut.model_validate({**_facts(row), "key": text})


@r.post("/v1/keys/{id}/rotate", right="key:write", status_code=201, once="never", refusals=[StepUpNeeded])
async def rotate_key(id: _Id, body: RotateIn, db: TheDb, actor: As) -> MadeKeyOut:  # noqa: A002  the path's word
    """Make the successor of a key; both work until the old one is revoked or expires."""
    async with db.writing(actor) as tx:
        row, text = await service.rotate(tx, actor, id_=id, days=body.days, now=utc_now())
    return MadeKeyOut.model_validate({**_facts(row), "key": text})


@r.delete("/v1/keys/{id}", right="key:write", status_code=204)
async def revoke_key(id: _Id, db: TheDb, actor: As) -> None:  # noqa: A002  the path's word
    """End a key; it stops working within a second."""
    async with db.writing(actor) as tx:
        await service.revoke(tx, actor, id_=id, now=utc_now())
