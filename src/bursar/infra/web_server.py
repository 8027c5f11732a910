"""The uvicorn server that knows how to stop: not ready first, event streams ended, then open requests finished."""

import asyncio
import gc
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bursar.infra.web_events import stop_streams
from bursar.infra.web_headers import request_id
from bursar.infra.web_problems import MEDIA_TYPE, MalformedRequest, body_of

COLLECT_AFTER = 50_000
"""New objects after which Python looks for cycles, instead of 700: requests make many objects and few cycles."""

_stopping: set[int] = set()


def settle() -> None:
    """Leave what start-up made out of every later search for cycles; it stays as long as the process does."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 10, 10)


def draining() -> bool:
    """Tell whether a server of this process was asked to stop: it still answers, but should be sent nothing new."""
    return bool(_stopping)


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol; what is not even a request is refused in the words of every other refusal."""

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn's words for every flaw are the same
        """Answer with a problem document and end the connection."""
        body = body_of(MalformedRequest(), request_id=request_id(None))
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(f"{head}connection: close\r\n\r\n".encode("ascii") + body)
        self.transport.close()


class Server(uvicorn.Server):
    """A uvicorn server that is not ready for a while before it stops, and whose stop does not wait for event streams.

    Args:
        config: Of uvicorn.
        drain_s: How long it answers on after it was asked to stop, in seconds, for a load balancer to notice that
            readiness says no; asking once more ends the wait.
    """

    def __init__(self, config: uvicorn.Config, *, drain_s: float = 0.0) -> None:
        config.http = Protocol
        super().__init__(config)
        self._drain_s = drain_s

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Catch signals as uvicorn does, but do not raise them again at the end: the caller closes its house in order."""
        with super().capture_signals():
            try:
                yield
            finally:
                self._captured_signals.clear()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, then settle."""
        await super().startup(sockets)
        settle()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Be not ready for ``drain_s``, end every event stream, then close as uvicorn does."""
        _stopping.add(id(self))
        try:
            end_s = asyncio.get_running_loop().time() + self._drain_s
            while asyncio.get_running_loop().time() < end_s and not self.force_exit:  # noqa: ASYNC110  uvicorn sets a flag
                await asyncio.sleep(0.1)
            stop_streams()
            await super().shutdown(sockets)
        finally:
            _stopping.discard(id(self))
