"""The uvicorn server that knows how to stop: not ready first, event streams ended, then open requests finished."""

import socket

import uvicorn

from bursar.infra.web_events import stop_streams


class Server(uvicorn.Server):
    """A uvicorn server whose stop does not wait for event streams, which never end by themselves."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End every event stream, then close as uvicorn does."""
        stop_streams()
        await super().shutdown(sockets)
