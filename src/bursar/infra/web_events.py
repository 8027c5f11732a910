"""Server-sent events: resumable by Last-Event-ID, kept alive by heartbeats, bounded in number and time.

A handler declared with ``stream=True`` returns ``event_stream(source)``, where ``source`` is an async iterator of
:class:`Event` that begins after the id in :data:`LastEventId`. It must hold no transaction while it waits.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from fastapi import Depends, Request
from starlette.responses import StreamingResponse

from bursar.infra.metrics import METRICS
from bursar.kernel.errors import Invalid, Unavailable

HEARTBEAT_S = 15.0
"""Longest silence on a stream; then a comment line is sent, so that proxies keep it open."""

STREAM_S_MAX = 3600.0
"""Longest life of one stream; the client then comes back by itself with Last-Event-ID."""

STREAMS_MAX = 500
"""Most streams of one process."""

RETRY_MS = 2000
"""How long a client waits before it comes back."""

ID_MAX_CHARS = 100
"""Longest event id."""

_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}")
_open: set[asyncio.Event] = set()

EVENT_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events; each `data` is one JSON object.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}
"""For the ``responses`` of a streaming route."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    Attributes:
        id: Where to go on from; at most :data:`ID_MAX_CHARS` letters, digits and ``._:-``.
        data: Sent as JSON.
        name: Event type.
    """

    id: str
    data: Any
    name: str = "message"

    def encoded(self) -> bytes:
        """Return the event in the wire form of the HTML standard."""
        return b"id: %b\nevent: %b\ndata: %b\n\n" % (self.id.encode(), self.name.encode(), orjson.dumps(self.data))


async def _last_event_id(request: Request) -> str | None:
    sent = request.headers.get("last-event-id")
    if sent is not None and not _ID.fullmatch(sent):
        raise Invalid("Last-Event-ID is not an id of this stream.", fix="Send the id of the last event received.")
    return sent


LastEventId = Annotated[str | None, Depends(_last_event_id)]
"""Handler parameter: id of the last event the client has seen; None from the beginning."""


async def _lines(source: AsyncIterator[Event], heartbeat_s: float, stop: asyncio.Event) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    end = loop.time() + STREAM_S_MAX
    stopped = asyncio.ensure_future(stop.wait())
    upcoming: asyncio.Future[Event] = asyncio.ensure_future(_next(source))
    try:
        yield b"retry: %d\n\n" % RETRY_MS
        while loop.time() < end:
            both: set[asyncio.Future[Any]] = {upcoming, stopped}
            done, _ = await asyncio.wait(both, timeout=heartbeat_s, return_when=asyncio.FIRST_COMPLETED)
            if stopped in done:
                return
            if upcoming not in done:
                yield b": still here\n\n"
                continue
            try:
                event = upcoming.result()
            except StopAsyncIteration:
                return
            yield event.encoded()
            upcoming = asyncio.ensure_future(_next(source))
    finally:
        stopped.cancel()
        upcoming.cancel()
        await asyncio.gather(upcoming, stopped, return_exceptions=True)
        _open.discard(stop)
        close = getattr(source, "aclose", None)
        if close is not None:
            await close()


async def _next(source: AsyncIterator[Event]) -> Event:
    return await anext(source)


def event_stream(source: AsyncIterator[Event], *, heartbeat_s: float = HEARTBEAT_S) -> StreamingResponse:
    """Return the answer that sends ``source`` until it ends, the client goes away, or the server stops.

    Raises:
        Unavailable: This process has :data:`STREAMS_MAX` streams already.
    """
    if len(_open) >= STREAMS_MAX:
        raise Unavailable("A further event stream")
    stop = asyncio.Event()
    _open.add(stop)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_lines(source, heartbeat_s, stop), media_type="text/event-stream", headers=headers)


def stop_streams() -> None:
    """End every stream of this process (the server is stopping); clients come back to another."""
    for stop in list(_open):
        stop.set()


METRICS.gauge("event_streams", "Open event streams.", lambda: len(_open))
