"""The network side of the egress client: resolve, judge every address, connect to that very address, keep the TLS name."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence

import httpcore2
import httpx2
from httpcore2 import SOCKET_OPTION, AnyIOBackend, AsyncNetworkBackend, AsyncNetworkStream

from bursar.infra.http_address import Network, may_connect

ADDRESSES_MAX = 8
"""Addresses of one name that are tried."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
Private = Callable[[str], Sequence[Network]]


class AddressRefused(Exception):  # noqa: N818  translated into a refusal by bursar.infra.http
    """A name resolves to an address that is not allowed."""


async def system_resolve(host: str, port: int) -> Sequence[str]:
    """Return the addresses of ``host`` in the system's order, without repeats; spellings such as 0x7f.1 become addresses."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


class GuardedBackend(AsyncNetworkBackend):
    """Opens sockets for httpcore: one refused address among those of a name refuses the name. No local sockets.

    Args:
        private: Ranges allowed for a host, besides public addresses.
        resolve: Name to addresses; the system's when not given.
        inner: What opens the socket; anyio's when not given.
    """

    def __init__(self, private: Private, resolve: Resolve, inner: AsyncNetworkBackend | None = None) -> None:
        self._private = private
        self._resolve = resolve
        self._inner = inner or AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        """Resolve, judge and connect; raises :class:`AddressRefused` before any packet is sent."""
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._resolve(host, port)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout from error
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(f"the name does not resolve: {type(error).__name__}") from error
        allowed = self._private(host)
        if not addresses or not all(may_connect(address, private=allowed) for address in addresses):
            raise AddressRefused(host)
        failed: Exception | None = None
        for address in addresses[:ADDRESSES_MAX]:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failed = error
        assert failed is not None
        raise failed

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        await asyncio.sleep(seconds)


class GuardedTransport(httpx2.AsyncHTTPTransport):
    """httpx's transport over :class:`GuardedBackend`: HTTP/1.1, no proxy, nothing from the environment."""

    def __init__(self, backend: GuardedBackend, ssl_context: ssl.SSLContext, connections_max: int) -> None:
        super().__init__(verify=ssl_context, trust_env=False)
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl_context,
            max_connections=connections_max,
            max_keepalive_connections=connections_max,
            keepalive_expiry=15.0,
            http1=True,
            http2=False,
            network_backend=backend,
        )
