"""Clients of the price connectors that may speak to one local server, and waits that take no time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, unquote, urlsplit

from bursar.infra.http import Caps, Client, Egress, Host
from tests.infra.servers import Asked, Handler, Server, answer, serving

QUICK = Caps(connect_s=2, read_s=0.5, total_s=5, body_bytes=20_000_000, attempts=3)


async def no_wait(_seconds: float) -> None:
    """Waits take no time in tests."""


@asynccontextmanager
async def talking(handler: Handler) -> AsyncIterator[tuple[Server, Client]]:
    """Serve ``handler`` and give a client that may reach nothing else."""
    async with serving(handler) as server:
        host = Host("127.0.0.1", frozenset({server.port}), frozenset({"http"}), ("127.0.0.0/8",))
        client = Egress(sleep=no_wait).client("prices", allow=[host], caps=QUICK)
        try:
            yield server, client
        finally:
            await client.close()


def serve(reply: Callable[[Asked], bytes | None]) -> Handler:
    """A handler that writes what ``reply`` returns; None hangs until the client gives up."""

    async def handle(asked: Asked, writer: asyncio.StreamWriter) -> None:
        data = reply(asked)
        if data is None:
            await asyncio.sleep(5)
            return
        writer.write(data)
        await writer.drain()
        if b"content-length" not in data.split(b"\r\n\r\n", 1)[0].lower():
            writer.close()

    return handle


def asked_for(asked: Asked) -> dict[str, str]:
    """The query parameters of a request."""
    return {key: values[0] for key, values in parse_qs(urlsplit(asked.target).query).items()}


def path(asked: Asked) -> str:
    """The path of a request."""
    return unquote(urlsplit(asked.target).path)


def as_json(body: bytes, status: int = 200, **headers: str) -> bytes:
    """One JSON answer."""
    return answer(status, body, **({"content_type": "application/json; charset=utf-8"} | headers))
