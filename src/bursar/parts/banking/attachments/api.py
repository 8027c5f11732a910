"""Attachments over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Request
from pydantic import Field
from starlette.responses import StreamingResponse

from bursar.infra.clock import utc_now
from bursar.infra.files import CHUNK_BYTES, FileStore
from bursar.infra.web import As, Out, Router, TheDb, router
from bursar.kernel.errors import Invalid, NotFound, TooLarge
from bursar.parts.banking.attachments import rules, service
from bursar.parts.banking.transactions.service import PeriodClosed

_DOWNLOAD: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The bytes.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class AttachmentOut(Out):
    """A file attached to a transaction."""

    id: UUID
    name: str
    kind: Annotated[str, Field(description="Media type, told by the content.")]
    size_bytes: int
    sha256: str
    added_at: datetime
    added_by: str


def _out(row: Any) -> AttachmentOut:
    return AttachmentOut(**{name: getattr(row, name) for name in AttachmentOut.model_fields})


def routes(files: FileStore) -> Router:
    """Return the routes of attachments over a file store."""
    r = router("attachments", tag="Transactions", about="Receipts and other papers attached to transactions.")

    @r.post(
        "/v1/transactions/{id}/attachments", right="transaction:write", status_code=201, once="never",
        body_bytes_max=rules.BYTES_MAX, refusals=[Invalid, TooLarge],
    )  # fmt: skip
    async def attach(
        id: UUID,  # noqa: A002  the path's word
        request: Request,
        db: TheDb,
        actor: As,
        name: Annotated[str, Query(min_length=1, max_length=rules.NAME_CHARS_MAX, description="File name.")],
    ) -> AttachmentOut:
        """Attach the file in the request body: a PDF, an image, XML or plain text of at most 25 MiB."""
        head = bytearray()

        async def body() -> AsyncIterator[bytes]:
            async for chunk in request.stream():
                if len(head) < rules.HEAD_BYTES:
                    head.extend(chunk[: rules.HEAD_BYTES])
                    if len(head) >= rules.HEAD_BYTES:
                        rules.kind_of(bytes(head[: rules.HEAD_BYTES]))
                yield chunk

        rules.check_name(name)
        stored = await files.put(actor.org, body(), bytes_max=rules.BYTES_MAX)
        async with db.writing(actor) as tx:
            return _out(
                await service.attach(
                    tx, actor, transaction=id, stored=stored, head=bytes(head), name=name, now=utc_now()
                )
            )

    _add_reading(r, files)
    return r


def _add_reading(r: Router, files: FileStore) -> None:
    """Declare the routes that list, download and take off."""

    @r.get("/v1/transactions/{id}/attachments", right="transaction:read")
    async def list_attachments(id: UUID, db: TheDb, actor: As) -> list[AttachmentOut]:  # noqa: A002
        """List the files of a transaction."""
        async with db.reading(actor) as tx:
            return [_out(row) for row in await service.listed(tx, actor, transaction=id)]

    @r.get(
        "/v1/transactions/{id}/attachments/{attachment}", right="transaction:read", response_class=StreamingResponse,
        responses=_DOWNLOAD,
    )  # fmt: skip
    async def download_attachment(id: UUID, attachment: UUID, db: TheDb, actor: As) -> StreamingResponse:  # noqa: A002
        """Download a file; it is always an attachment and never shown inside the page."""
        async with db.reading(actor) as tx:
            row = await service.get(tx, actor, transaction=id, id_=attachment)
        if not await files.has(actor.org, row.sha256):
            raise NotFound("file", row.sha256)

        async def parts() -> AsyncIterator[bytes]:
            async with files.local(actor.org, row.sha256) as path:
                with path.open("rb") as file:
                    while part := await asyncio.to_thread(file.read, CHUNK_BYTES):
                        yield part

        headers = {
            "Content-Disposition": rules.disposition(row.name), "Content-Length": str(row.size_bytes),
            "X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox; default-src 'none'",
        }  # fmt: skip
        return StreamingResponse(parts(), media_type="application/octet-stream", headers=headers)

    @r.delete(
        "/v1/transactions/{id}/attachments/{attachment}",
        right="transaction:write",
        status_code=204,
        refusals=[PeriodClosed],
    )
    async def remove_attachment(id: UUID, attachment: UUID, db: TheDb, actor: As) -> None:  # noqa: A002
        """Take a file off a transaction; not in a closed period."""
        async with db.writing(actor) as tx:
            await service.remove(tx, actor, transaction=id, id_=attachment, now=utc_now())
