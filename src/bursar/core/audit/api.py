"""The audit trail over HTTP."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query, Request
from pydantic import Field

from bursar.core.audit import service
from bursar.core.audit.rules import Broken, Head
from bursar.core.audit.service import Means
from bursar.core.audit.tables import entry
from bursar.infra.web import As, Listed, Out, Page, TheDb, router
from bursar.kernel.errors import NotFound, TooLarge

r = router("audit", tag="Audit", about="Who changed what and when, and the proof that nobody touched the record.")


async def _means(request: Request) -> Means:
    means: Means = request.app.state.audit
    return means


class EntryOut(Out):
    """One recorded change."""

    id: Annotated[UUID, Field(description="Its id.")]
    at: Annotated[datetime, Field(description="When, to the microsecond.")]
    actor: Annotated[str, Field(description="`person:…`, `key:…`, `job:…` or `system:…`.")]
    request_id: Annotated[str, Field(description="The request or job run that caused it.")]
    action: Annotated[str, Field(description="`noun.verb`.")]
    subject: Annotated[str, Field(description="What was changed.")]
    before: Annotated[Any, Field(description="State before; null when it did not exist.")]
    after: Annotated[Any, Field(description="State after; null when it does not exist any more.")]


class HeadOut(Out):
    """The end of the chain of sealed blocks; keep it elsewhere, and a rewritten history gives itself away."""

    organisation: Annotated[UUID, Field(description="Whose chain.")]
    block: Annotated[int, Field(description="Number of the last block.")]
    hash: Annotated[str, Field(description="Its SHA-256, hexadecimal.")]
    key: Annotated[str, Field(description="Name of the signing key.")]
    signature: Annotated[str, Field(description="Ed25519 signature of the hash, hexadecimal.")]
    sealed_at: Annotated[datetime, Field(description="When it was sealed.")]


class BrokenOut(Out):
    """The first thing that is not as it was sealed."""

    kind: Annotated[
        str,
        Field(description="edited, deleted, inserted, reordered, altered, missing, unsigned, cut or forked."),
    ]
    block: Annotated[int, Field(description="Number of the block.")]
    entry: Annotated[UUID | None, Field(description="The entry; null when the block as a whole is meant.")]
    what: Annotated[str, Field(description="For people.")]


class VerdictOut(Out):
    """What a verification found."""

    ok: Annotated[bool, Field(description="Every sealed entry is as it was sealed.")]
    entries: Annotated[int, Field(description="Sealed entries that were checked.")]
    blocks: Annotated[int, Field(description="Blocks that were checked.")]
    unsealed: Annotated[int, Field(description="Entries not yet sealed (the last second); nothing is proved of them.")]
    anchored: Annotated[int, Field(description="Heads kept outside of the database that agree with the chain.")]
    head: Annotated[HeadOut | None, Field(description="The end of the chain; null before the first block.")]
    broken: Annotated[BrokenOut | None, Field(description="The first thing that is wrong; null when nothing is.")]


def _head(head: Head) -> HeadOut:
    return HeadOut(
        organisation=head.org,
        block=head.block,
        hash=head.hash.hex(),
        key=head.key,
        signature=head.signature.hex(),
        sealed_at=head.sealed_at,
    )


def _broken(broken: Broken) -> BrokenOut:
    return BrokenOut(kind=broken.kind, block=broken.block, entry=broken.entry, what=broken.what)


_Text = Annotated[str | None, Query(max_length=300, description="Only entries with exactly this value.")]


@r.get("/v1/audit", right="audit:read")
async def list_entries(
    db: TheDb, actor: As, page: Page, subject: _Text = None, by: _Text = None, action: _Text = None
) -> Listed[EntryOut]:
    """List recorded changes, newest first."""
    async with db.reading(actor) as tx:
        statement = service.listing(tx, actor, subject=subject, by=by, action=action)
        rows = await tx.all(page.of(statement, entry.c.at, entry.c.id))
    return page.listed(
        rows,
        key=lambda row: (row.at, row.id),
        out=lambda row: EntryOut(**{name: getattr(row, name) for name in EntryOut.model_fields}),
    )


@r.get("/v1/audit/head", right="audit:read", refusals=[NotFound])
async def show_head(db: TheDb, actor: As) -> HeadOut:
    """Show the end of the chain of sealed blocks."""
    async with db.reading(actor) as tx:
        head = await service.head(tx, actor)
    if head is None:
        raise NotFound("sealed block", "yet")
    return _head(head)


@r.get("/v1/audit/verification", right="audit:read", refusals=[TooLarge])
async def verify(db: TheDb, actor: As, means: Annotated[Means, Depends(_means)]) -> VerdictOut:
    """Prove that every sealed entry is as it was sealed, or name the first that is not."""
    verdict = await service.verify(
        db, actor, keyring=means.keyring, anchors=means.anchors, blocks_max=service.BLOCKS_A_REQUEST_MAX
    )
    return VerdictOut(
        ok=verdict.broken is None,
        entries=verdict.rows,
        blocks=verdict.blocks,
        unsealed=verdict.unsealed,
        anchored=verdict.anchored,
        head=_head(verdict.head) if verdict.head is not None else None,
        broken=_broken(verdict.broken) if verdict.broken is not None else None,
    )
