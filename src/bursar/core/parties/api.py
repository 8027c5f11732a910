"""Parties over HTTP."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import sqlalchemy as sa
from fastapi import Query
from pydantic import Field

from bursar.core.parties import service
from bursar.core.parties.rules.identifiers import VALUE_CHARS_MAX
from bursar.core.parties.service import NAME_CHARS_MAX, Mention
from bursar.core.parties.tables import party as table
from bursar.core.parties.tables import suggestion
from bursar.infra.clock import utc_now
from bursar.infra.web import As, In, Listed, Out, Page, TheDb, router

r = router(
    "parties", tag="Parties", about="Counterparties under one identity, with the names and numbers that lead to them."
)

MENTIONS_MAX = 1_000
"""Mentions in one request."""

_Name = Annotated[str, Field(max_length=NAME_CHARS_MAX)]


class IdentifierIn(In):
    """A number or address that identifies a party."""

    scheme: Annotated[str, Field(pattern="^(iban|vat|tax|company|supplier|card_acceptor|account|domain|email)$")]
    value: Annotated[str, Field(min_length=1, max_length=VALUE_CHARS_MAX)]


class IdentifierOut(Out):
    """A number or address that identifies a party."""

    scheme: str
    value: str


class MentionIn(In):
    """How a counterparty is written somewhere."""

    name: _Name = ""
    identifiers: Annotated[list[IdentifierIn], Field(max_length=20)] = Field(default_factory=list)


class ResolveIn(In):
    """Mentions to resolve."""

    mentions: Annotated[list[MentionIn], Field(min_length=1, max_length=MENTIONS_MAX)]


class ResolvedOut(Out):
    """The party of each mention, in order; null where a mention says nothing."""

    parties: list[UUID | None]


class PartyOut(Out):
    """A party in a list."""

    id: UUID
    name: str
    created_at: datetime


class SpellingOut(Out):
    """A name that leads to the party: its normalised key, and as first written."""

    key: str
    written: str


class KnownOut(Out):
    """A party with everything that leads to it."""

    id: UUID
    name: str
    merged_into: Annotated[UUID | None, Field(description="The party it was merged into.")]
    names: list[SpellingOut]
    identifiers: list[IdentifierOut]


class SuggestionOut(Out):
    """Two parties that may be one."""

    one: UUID
    one_name: str
    other: UUID
    other_name: str
    certainty: Annotated[float, Field(description="0 to 1, on the stated scale.")]
    because: str


class ChangeOut(Out):
    """A recorded change."""

    change: Annotated[UUID, Field(description="Undo it by this id.")]
    party: Annotated[UUID, Field(description="The party that stands, or the new one.")]


@r.post("/v1/parties/resolve", right="party:write")
async def resolve(body: ResolveIn, db: TheDb, actor: As) -> ResolvedOut:
    """Find the party of each mention, making those that are not known; a mere likeness is only suggested."""
    mentions = [Mention(one.name, tuple((i.scheme, i.value) for i in one.identifiers)) for one in body.mentions]
    async with db.writing(actor) as tx:
        return ResolvedOut(parties=await service.resolve(tx, actor, mentions=mentions, now=utc_now()))


@r.get("/v1/parties", right="party:read")
async def list_parties(
    db: TheDb,
    actor: As,
    page: Page,
    starts: Annotated[str, Query(max_length=100, description="Beginning of the name.")] = "",
) -> Listed[PartyOut]:
    """List parties by name."""
    async with db.reading(actor) as tx:
        rows = await tx.all(
            page.of(service.listing(tx, actor, starts=starts), table.c.name, table.c.id, newest_first=False)
        )
    return page.listed(
        rows,
        key=lambda row: (row.name, row.id),
        out=lambda row: PartyOut(id=row.id, name=row.name, created_at=row.created_at),
    )


@r.get("/v1/parties/suggestions", right="party:read")
async def list_suggestions(db: TheDb, actor: As, page: Page) -> Listed[SuggestionOut]:
    """List pairs that may be one party, for a person to answer."""
    async with db.reading(actor) as tx:
        query = page.of(service.suggestions(tx, actor), suggestion.c.one, suggestion.c.other, newest_first=False)
        rows = await tx.all(query)
    return page.listed(rows, key=lambda row: (row.one, row.other), out=_suggestion)


def _suggestion(row: sa.Row[Any]) -> SuggestionOut:
    return SuggestionOut(**{name: getattr(row, name) for name in SuggestionOut.model_fields})


@r.get("/v1/parties/{id}", right="party:read")
async def get_party(id: UUID, db: TheDb, actor: As) -> KnownOut:  # noqa: A002  the path's word
    """Show a party with its names and identifiers."""
    async with db.reading(actor) as tx:
        known = await service.get(tx, actor, party=id)
    return KnownOut(
        id=known.id, name=known.name, merged_into=known.merged_into,
        names=[SpellingOut(key=key, written=written) for key, written in known.names],
        identifiers=[IdentifierOut(scheme=scheme, value=value) for scheme, value in known.identifiers],
    )  # fmt: skip


class RenameIn(In):
    """A new display name."""

    name: Annotated[_Name, Field(min_length=1)]


@r.post("/v1/parties/{id}/rename", right="party:write", status_code=204)
async def rename(id: UUID, body: RenameIn, db: TheDb, actor: As) -> None:  # noqa: A002  the path's word
    """Give a party another display name."""
    async with db.writing(actor) as tx:
        await service.rename(tx, actor, party=id, name=body.name, now=utc_now())


class MergeIn(In):
    """The party to merge into the one of the path."""

    gone: UUID


@r.post("/v1/parties/{id}/merge", right="party:merge")
async def merge(id: UUID, body: MergeIn, db: TheDb, actor: As) -> ChangeOut:  # noqa: A002  the path's word
    """Merge another party into this one; it can be undone."""
    async with db.writing(actor) as tx:
        return ChangeOut(change=await service.merge(tx, actor, keep=id, gone=body.gone, now=utc_now()), party=id)


class SplitIn(In):
    """What to split off into a new party."""

    name: Annotated[_Name, Field(min_length=1)]
    keys: Annotated[list[_Name], Field(max_length=1_000)] = Field(default_factory=list)
    identifiers: Annotated[list[IdentifierIn], Field(max_length=1_000)] = Field(default_factory=list)


@r.post("/v1/parties/{id}/split", right="party:merge", status_code=201)
async def split(id: UUID, body: SplitIn, db: TheDb, actor: As) -> ChangeOut:  # noqa: A002  the path's word
    """Split names and identifiers off into a new party; it can be undone."""
    pairs = [(i.scheme, i.value) for i in body.identifiers]
    async with db.writing(actor) as tx:
        new, change = await service.split(
            tx, actor, party=id, name=body.name, keys=body.keys, pairs=pairs, now=utc_now()
        )
    return ChangeOut(change=change, party=new)


class ApartIn(In):
    """The party that is a different one."""

    other: UUID


@r.post("/v1/parties/{id}/keep-apart", right="party:merge", status_code=204)
async def keep_apart(id: UUID, body: ApartIn, db: TheDb, actor: As) -> None:  # noqa: A002  the path's word
    """Remember that two parties are different; they are never suggested again."""
    async with db.writing(actor) as tx:
        await service.keep_apart(tx, actor, one=id, other=body.other, now=utc_now())


@r.post("/v1/parties/changes/{id}/undo", right="party:merge", status_code=204)
async def undo(id: UUID, db: TheDb, actor: As) -> None:  # noqa: A002  the path's word
    """Undo a merge or a split."""
    async with db.writing(actor) as tx:
        await service.undo(tx, actor, change=id, now=utc_now())
