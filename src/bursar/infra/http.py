"""The one way out: every request of the product to another host goes through :class:`Egress`.

A request goes out only to a scheme, host and port on the caller's list, and only to an address that
:mod:`bursar.infra.http_address` allows at the moment of connecting. No redirect is followed, no proxy or credential is
taken from the environment, time and size are capped while streaming, and no refusal repeats what the host sent.
"""

import asyncio
import random
import ssl
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, ClassVar

import httpx2
import orjson
from httpcore2 import AsyncNetworkBackend

from bursar.infra.clock import utc_now
from bursar.infra.http_address import Network
from bursar.infra.http_breaker import Breaker, backoff_s, retry_after_s
from bursar.infra.http_guard import AddressRefused, GuardedBackend, GuardedTransport, Resolve, system_resolve
from bursar.infra.http_hosts import Host, hosts_from
from bursar.kernel.errors import Refusal

__all__ = [
    "Answered",
    "Caps",
    "Client",
    "Download",
    "Egress",
    "EgressRefused",
    "Host",
    "NoAnswer",
    "Reply",
    "ReplyTooLarge",
    "Validators",
    "hosts_from",
]

USER_AGENT = "Bursar"
URL_CHARS_MAX = 4096
RETRY_AFTER_MAX_S = 60.0
"""The longest wait a host may ask for inside one call; beyond it the caller is refused and may schedule itself."""
CONNECTIONS_MAX = 10
RETRIED_STATUS = frozenset({429, 502, 503, 504})
SAFE_METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
_CHUNK_BYTES = 1 << 16


@dataclass(eq=False)
class EgressRefused(Refusal):
    """A request to {host} is not allowed: {why}."""

    host: str
    why: str


@dataclass(eq=False)
class NoAnswer(Refusal):
    """{host} did not answer: {why}."""

    status: ClassVar[int] = 503
    host: str
    why: str
    retry_after_s: int = 0
    sent: bool = True
    """False where the request certainly never reached the host."""


@dataclass(eq=False)
class Answered(Refusal):
    """{host} answered with status {answered}."""

    status: ClassVar[int] = 503
    host: str
    answered: int
    retry_after_s: int = 0


@dataclass(eq=False)
class ReplyTooLarge(Refusal):
    """The answer of {host} is over {limit} bytes."""

    status: ClassVar[int] = 503
    host: str
    limit: int


@dataclass(frozen=True, slots=True)
class Caps:
    """Limits of one exchange; the size counts decoded bytes."""

    connect_s: float = 10.0
    read_s: float = 30.0
    total_s: float = 120.0
    body_bytes: int = 50 * 1024**2
    attempts: int = 3


@dataclass(frozen=True, slots=True)
class Validators:
    """What a host gave to ask "changed since?" with; empty texts where it gave nothing."""

    etag: str = ""
    last_modified: str = ""

    def headers(self) -> dict[str, str]:
        """Return the conditional request headers."""
        asked = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in asked.items() if value}


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer; ``body`` is decoded bytes within the caps."""

    host: str
    status: int
    headers: httpx2.Headers
    body: bytes = b""

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx; a redirect is not."""
        return 200 <= self.status < 300

    @property
    def validators(self) -> Validators:
        """What to ask "changed since?" with next time."""
        return Validators(self.headers.get("etag", ""), self.headers.get("last-modified", ""))

    def must(self) -> "Reply":
        """Return self; raise :class:`Answered` unless the status is 2xx."""
        if not self.ok:
            raise Answered(self.host, self.status, int(_asked_wait(self.headers) or 0))
        return self

    def json(self) -> Any:
        """Return the body as JSON; raises :class:`NoAnswer` where it is none."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise NoAnswer(self.host, "its answer is not JSON") from error


@dataclass
class Download:
    """An answer being read: iterate :meth:`chunks` once."""

    reply: Reply
    response: httpx2.Response = field(repr=False)
    body_bytes: int = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield decoded bytes; raises :class:`ReplyTooLarge` as soon as the cap is passed, before it is kept."""
        encoding = self.response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in {"identity", "gzip", ""}:
            raise NoAnswer(self.reply.host, "it used a content encoding that was not asked for")
        unzip = zlib.decompressobj(31) if encoding == "gzip" else None
        got = 0
        async for raw in self.response.aiter_raw(_CHUNK_BYTES):
            rest = raw
            while rest:
                try:
                    part = unzip.decompress(rest, _CHUNK_BYTES) if unzip else rest
                except zlib.error as error:
                    raise NoAnswer(self.reply.host, "its gzip encoding is broken") from error
                rest = unzip.unconsumed_tail if unzip else b""
                got += len(part)
                if got > self.body_bytes:
                    raise ReplyTooLarge(self.reply.host, self.body_bytes)
                if part:
                    yield part
        if unzip and not unzip.eof:
            raise NoAnswer(self.reply.host, "its answer ends too early")


class Client:
    """Requests of one caller (a connector, the webhooks) to the hosts on its list; made by :meth:`Egress.client`."""

    def __init__(self, egress: "Egress", name: str, allow: Sequence[Host], caps: Caps) -> None:
        self.name, self.allow, self.caps = name, tuple(allow), caps
        self._egress, self._breaker = egress, Breaker()
        backend = GuardedBackend(self._private, egress.resolve, egress.backend)
        self._http = httpx2.AsyncClient(
            transport=GuardedTransport(backend, egress.ssl_context, CONNECTIONS_MAX),
            trust_env=False,
            follow_redirects=False,
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "gzip"},
        )

    def _private(self, host: str) -> Sequence[Network]:
        entry = self._entry(host)
        return entry.networks() if entry else ()

    def _entry(self, host: str) -> Host | None:
        """Return the most exact entry about ``host``."""
        found = [entry for entry in self.allow if entry.covers(host)]
        return max(found, key=lambda entry: len(entry.name), default=None)

    def check(self, url: str) -> httpx2.URL:
        """Return the parsed address; raises :class:`EgressRefused` unless scheme, host and port are on the list."""
        if len(url) > URL_CHARS_MAX or not url.isprintable():
            raise EgressRefused("an address", f"it has over {URL_CHARS_MAX} characters or unprintable ones")
        try:
            parsed = httpx2.URL(url)
        except (httpx2.InvalidURL, ValueError, UnicodeError) as error:
            raise EgressRefused("an address", "it is not a valid one") from error
        host = parsed.raw_host.decode("ascii").lower()
        entry = self._entry(host)
        port = parsed.port or {"https": 443, "http": 80}.get(parsed.scheme, 0)
        if not host or entry is None:
            raise EgressRefused(host or "an address", "the host is not on the list")
        if parsed.userinfo:
            raise EgressRefused(host, "the address carries a name or password")
        if parsed.scheme not in entry.schemes:
            raise EgressRefused(host, f"the scheme {parsed.scheme} is not on the list")
        if port not in entry.ports:
            raise EgressRefused(host, f"port {port} is not on the list")
        return parsed

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        repeatable: bool | None = None,
        undone: frozenset[int] = frozenset(),
        caps: Caps | None = None,
    ) -> Reply:
        """Send one request and read the whole answer, whatever its status.

        Args:
            method: HTTP method.
            url: Absolute address.
            headers: Extra headers.
            params: Query parameters.
            content: Body.
            repeatable: Whether it may be sent again after a failure; by default GET, HEAD, PUT, DELETE and OPTIONS are.
            undone: Statuses by which this host says that it did nothing: then it is sent again in any case.
            caps: Other limits than the client's.

        Raises:
            EgressRefused: The address or what it resolves to is not allowed.
            NoAnswer: No connection, no whole answer in time, or the host failed too often lately.
            ReplyTooLarge: The answer passed the cap.
        """
        limits = caps or self.caps
        again = method.upper() in SAFE_METHODS if repeatable is None else repeatable
        attempts = limits.attempts if again or undone else 1
        retried = undone | (RETRIED_STATUS if again else frozenset())
        for attempt in range(1, attempts + 1):
            try:
                async with self.stream(
                    method, url, headers=headers, params=params, content=content, caps=limits
                ) as got:
                    body = b"".join([part async for part in got.chunks()])
                reply = Reply(got.reply.host, got.reply.status, got.reply.headers, body)
            except NoAnswer as refused:
                if attempt == attempts or refused.retry_after_s or (refused.sent and not again):
                    raise
                await self._egress.sleep(backoff_s(attempt, self._egress.rng))
                continue
            if reply.status not in retried or attempt == attempts:
                return reply
            wait = _asked_wait(reply.headers)
            if wait is not None and wait > RETRY_AFTER_MAX_S:
                return reply
            await self._egress.sleep(backoff_s(attempt, self._egress.rng) if wait is None else wait)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def get(self, url: str, *, params: Mapping[str, str] | None = None, caps: Caps | None = None) -> Reply:
        """Return a 2xx answer to GET; raises as :meth:`request`, and :class:`Answered` for any other status."""
        return (await self.request("GET", url, params=params, caps=caps)).must()

    async def get_if_changed(self, url: str, known: Validators, *, caps: Caps | None = None) -> Reply | None:
        """Return the 2xx answer, or None when the host says that nothing changed since ``known`` was given (304)."""
        reply = await self.request("GET", url, headers=known.headers(), caps=caps)
        return None if reply.status == httpx2.codes.NOT_MODIFIED and known.headers() else reply.must()

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        caps: Caps | None = None,
    ) -> AsyncIterator[Download]:
        """Send one request once and give the answer while it arrives; arguments and errors as :meth:`request`."""
        limits = caps or self.caps
        parsed = self.check(url)
        host = parsed.raw_host.decode("ascii").lower()
        circuit = self._breaker.of(f"{host}:{parsed.port}")
        if wait := circuit.closed_in(self._egress.monotonic()):
            why = "it failed too often lately and is left alone for a while"
            raise NoAnswer(host, why, max(1, round(wait)), sent=False)
        timeout = httpx2.Timeout(limits.read_s, connect=limits.connect_s, pool=limits.connect_s)
        request = self._http.build_request(
            method, parsed, headers=dict(headers or {}), params=params or None, content=content, timeout=timeout
        )
        failure: Refusal | None = None
        try:
            async with asyncio.timeout(limits.total_s):
                response = await self._http.send(request, stream=True)
                try:
                    circuit.report(self._egress.monotonic(), answered=response.status_code < 500)
                    yield Download(Reply(host, response.status_code, response.headers), response, limits.body_bytes)
                finally:
                    await response.aclose()
        except AddressRefused:
            circuit.abandon()
            failure = EgressRefused(host, "its address is private, reserved or a metadata service")
        except TimeoutError:
            failure = NoAnswer(host, f"no whole answer within {limits.total_s:g} s")
        except httpx2.HTTPError as error:
            unsent = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout)
            failure = NoAnswer(host, _in_words(error, limits), sent=not unsent)
        except asyncio.CancelledError:
            circuit.abandon()
            raise
        if failure:
            if isinstance(failure, NoAnswer):
                circuit.report(self._egress.monotonic(), answered=False)
            raise failure

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()


@dataclass
class Egress:
    """What all clients share; one per process. The last five fields are replaced in tests only."""

    ssl_context: ssl.SSLContext = field(default_factory=lambda: httpx2.create_ssl_context(trust_env=False))
    resolve: Resolve = system_resolve
    backend: AsyncNetworkBackend | None = None
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    monotonic: Callable[[], float] = time.monotonic
    rng: random.Random = field(default_factory=random.SystemRandom)

    def client(self, name: str, *, allow: Sequence[Host], caps: Caps | None = None) -> Client:
        """Return a client that may speak to the hosts in ``allow`` and to no other; its user closes it."""
        return Client(self, name, allow, caps or Caps())


def _asked_wait(headers: httpx2.Headers) -> float | None:
    value = headers.get("retry-after")
    return retry_after_s(value, now=utc_now()) if value else None


def _in_words(error: httpx2.HTTPError, limits: Caps) -> str:
    """Tell what failed without repeating what the host sent."""
    match error:
        case httpx2.ConnectTimeout():
            return f"no connection within {limits.connect_s:g} s"
        case httpx2.TimeoutException():
            return f"nothing arrived for {limits.read_s:g} s"
        case httpx2.ConnectError() if "CERTIFICATE" in str(error).upper():
            return "its TLS certificate is not valid for the name"
        case httpx2.ConnectError():
            return "no connection"
        case httpx2.RemoteProtocolError():
            return "it does not speak HTTP properly, or its answer ends too early"
        case _:
            return f"the connection broke ({type(error).__name__})"
