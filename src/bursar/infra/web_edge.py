"""One request from the socket to the answer: a single ASGI application instead of a pile of middleware.

In this order, so that cheap refusals come first and nothing is read for a caller who may not: request id and address,
host, CORS, route, cross-site check, who asks, rate limit, right, body, idempotency, handler. Every way out, a crash too,
ends in a typed answer with the security headers, one log line and one measurement.
"""

import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bursar.infra import log
from bursar.infra.clock import utc_now
from bursar.infra.db import Database
from bursar.infra.metrics import Metrics
from bursar.infra.web_bodies import BODY, JSON, announced, counted, parsed, whole
from bursar.infra.web_context import EXCHANGE, UNMATCHED, Authenticator, Exchange, WebSettings, running
from bursar.infra.web_etags import check_if_match, listed
from bursar.infra.web_headers import (
    SAFE_METHODS,
    bucket_of,
    caller,
    cors,
    cross_site,
    dressed,
    host_known,
    preflight,
    request_id,
)
from bursar.infra.web_idempotency import fingerprint, key_of, once
from bursar.infra.web_index import Index
from bursar.infra.web_limits import Limited, Limiter
from bursar.infra.web_problems import (
    MEDIA_TYPE,
    CrossSite,
    MalformedAddress,
    UnknownHost,
    WrongMediaType,
    body_of,
    refusal_of,
)
from bursar.infra.web_routes import PUBLIC, SIGNED_IN, Route
from bursar.kernel.actor import Actor
from bursar.kernel.errors import NotAllowed, NotSignedIn, TooLarge, TooMany

CLIENT_GONE = 499
"""Status logged and counted when the client went away before the answer."""

HOSTS_MAX = 100
"""Most ``Host`` headers remembered as known; further ones are judged each time."""


class Reply:
    """Sends the answer of one exchange, dressed with the headers of the edge."""

    __slots__ = ("_bodiless", "_exchange", "_if_none_match", "_send", "_silent")

    def __init__(self, exchange: Exchange, send: Send, if_none_match: bytes | None) -> None:
        self._exchange = exchange
        self._send = send
        self._if_none_match = if_none_match
        self._bodiless = exchange.method == "HEAD"
        self._silent = False

    async def __call__(self, message: Message) -> None:
        """Send one ASGI message."""
        if message["type"] == "http.response.start":
            message = self._start(message)
        elif self._silent or self._bodiless:
            if message.get("more_body"):
                return
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    def _start(self, message: Message) -> Message:
        exchange = self._exchange
        sent: list[tuple[bytes, bytes]] = list(message.get("headers", ()))
        status = message["status"]
        if status < 400:
            sent += exchange.reply_headers
        if self._if_none_match is not None and status == 200 and exchange.method in SAFE_METHODS:
            tag = next((value for name, value in sent if name == b"etag"), None)
            if tag is not None and listed(self._if_none_match.decode("latin-1"), tag.decode("latin-1")):
                status, self._silent = 304, True
                sent = [pair for pair in sent if pair[0] not in {b"content-length", b"content-type"}]
        exchange.status = status
        extra = [(b"x-request-id", exchange.id.encode()), *exchange.limit_headers, *exchange.cors_headers]
        headers = dressed(sent, secure=exchange.secure, extra=extra)
        return {"type": "http.response.start", "status": status, "headers": headers}


class Edge:
    """The ASGI application in front of every route.

    Args:
        settings: Of the edge.
        db: The database.
        index: The routes.
        authenticate: Finds out who asks.
        limiter: Decides on rate limits.
        metrics: Where requests are counted.
        lifespan: Receives ASGI lifespan events.
        pages: Answers a GET of a path that is no route (the user interface); None for 404.
    """

    def __init__(
        self,
        settings: WebSettings,
        db: Database,
        index: Index,
        authenticate: Authenticator,
        *,
        limiter: Limiter,
        metrics: Metrics,
        lifespan: ASGIApp,
        pages: ASGIApp | None = None,
    ) -> None:
        self._settings = settings
        self._db = db
        self._index = index
        self._authenticate = authenticate
        self._limiter = limiter
        self._metrics = metrics
        self._lifespan = lifespan
        self._pages = pages
        self._log = log.logger("http")
        self._hosts: set[bytes | None] = set()
        self.observers: list[Callable[[Exchange, float], None]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection event."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1003})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        exchange = self._begin(scope, headers)
        scope[EXCHANGE] = exchange
        reply = Reply(exchange, send, headers.get(b"if-none-match"))
        token = running.set(exchange)
        facts = log.request_facts.set({"request_id": exchange.id})
        try:
            await self._answer(scope, receive, reply, headers)
        except ClientDisconnect:
            exchange.status = exchange.status or CLIENT_GONE
        except Exception as error:
            if exchange.status:
                self._crashed(exchange, error)
                raise  # the answer has begun: only closing the connection tells the client that it is cut
            await self._refuse(exchange, error, reply)
        finally:
            log.request_facts.reset(facts)
            running.reset(token)
            self._end(exchange)

    def _begin(self, scope: Scope, headers: dict[bytes, bytes]) -> Exchange:
        settings = self._settings
        address, secure = caller(scope.get("client"), scope["scheme"], scope["headers"], settings.proxies_trusted)
        exchange = Exchange(
            house=settings,
            db=self._db,
            id=request_id(headers.get(b"x-request-id")),
            method=scope["method"],
            path=scope["path"],
            address=address,
            secure=secure,
            started_s=time.perf_counter(),
        )
        if b"traceparent" in headers:
            exchange.traceparent = headers[b"traceparent"].decode("latin-1")
        if settings.cors_origins:
            exchange.cors_headers = cors(headers.get(b"origin"), settings)
        return exchange

    async def _answer(self, scope: Scope, receive: Receive, reply: Reply, headers: dict[bytes, bytes]) -> None:
        exchange: Exchange = scope[EXCHANGE]
        if "\0" in exchange.path or b"%00" in scope["query_string"] or b"\0" in scope["query_string"]:
            raise MalformedAddress
        if exchange.method == "OPTIONS" and b"access-control-request-method" in headers:
            await self._preflight(exchange, reply)
            return
        try:
            route, values = self._index.find(exchange.method, exchange.path)
        except Exception:
            if not self._shows_page(exchange, headers.get(b"accept", b"")):
                raise
            await self._page(scope, receive, reply, headers)
            return
        exchange.template, exchange.stream = route.path_format, route.declared.stream
        if b"if-match" in headers:
            exchange.if_match = headers[b"if-match"].decode("latin-1")
        declared = route.declared
        if declared.limit != "none":
            self._check_host(headers.get(b"host"))
        if cross_site(exchange.method, headers, self._settings):
            raise CrossSite
        await self._admit(exchange, route, headers)
        if declared.edited:
            check_if_match(exchange.if_match)
        scope["path_params"] = values
        scope["route"] = route
        scope["endpoint"] = route.endpoint
        if exchange.method == "HEAD":
            scope["method"] = "GET"
        await self._handle(scope, receive, reply, headers)

    def _check_host(self, host: bytes | None) -> None:
        if host in self._hosts:
            return
        if not host_known(host, self._settings):
            raise UnknownHost
        if len(self._hosts) < HOSTS_MAX:
            self._hosts.add(host)

    async def _admit(self, exchange: Exchange, route: Route, headers: dict[bytes, bytes]) -> None:
        """Find out who asks, charge the limit, check the right."""
        declared, settings = route.declared, self._settings
        if declared.limit == "log-in":
            await self._charge(exchange, f"log-in {bucket_of(exchange.address)}", settings.login_per_min, closed=True)
        if declared.right == PUBLIC:
            if declared.limit == "usual":
                await self._charge(exchange, f"address {bucket_of(exchange.address)}", settings.anonymous_per_min)
            return
        try:
            actor = await self._who(exchange, headers)
        except NotSignedIn:
            await self._charge(exchange, f"address {bucket_of(exchange.address)}", settings.anonymous_per_min)
            raise
        exchange.actor = actor
        log.request_facts.set({"request_id": exchange.id, "actor": actor.name, "org": str(actor.org)})
        if declared.limit == "usual":
            await self._charge(exchange, f"actor {actor.org.hex} {actor.name}", settings.actor_per_min)
        if declared.right != SIGNED_IN and declared.right not in actor.rights:
            self._metrics.count("authz_denied")
            raise NotAllowed(declared.right)

    async def _who(self, exchange: Exchange, headers: dict[bytes, bytes]) -> Actor:
        authorization, cookie = headers.get(b"authorization"), headers.get(b"cookie")
        actor = await self._authenticate(
            self._db,
            authorization=authorization.decode("latin-1") if authorization is not None else None,
            cookie=cookie.decode("latin-1") if cookie is not None else None,
            address=exchange.address,
            now=utc_now(),
        )
        return Actor(actor.org, actor.name, actor.rights, actor.person, exchange.id)

    async def _charge(self, exchange: Exchange, bucket: str, per_min: int, *, closed: bool = False) -> None:
        verdict = await self._limiter.must(bucket, per_min, closed=closed)
        if verdict is not None:
            exchange.limit_headers = verdict.headers()

    async def _handle(self, scope: Scope, receive: Receive, reply: Reply, headers: dict[bytes, bytes]) -> None:
        exchange: Exchange = scope[EXCHANGE]
        route: Route = scope["route"]
        declared = route.declared
        limit_bytes = declared.body_bytes_max or self._settings.body_bytes_max
        announced(headers, limit_bytes)
        body = b""
        key = (
            key_of(headers.get(b"idempotency-key"), demanded=declared.once == "must")
            if declared.once != "never"
            else None
        )
        if route.takes_json:
            body = await whole(receive, limit_bytes)
            if body and not _is_json(headers.get(b"content-type", b"")):
                raise WrongMediaType("application/json")
            scope[BODY], scope[JSON] = body, parsed(body) if body else None
        elif key is not None:
            body = await whole(receive, limit_bytes)
        elif exchange.method not in SAFE_METHODS:
            if route.body_field is not None and not headers.get(b"content-type", b"").startswith(_FORMS):
                raise WrongMediaType("multipart/form-data")
            receive = counted(receive, limit_bytes)
        if key is None:
            await _run(scope, receive, reply)
            return
        target = scope["path"].encode() + b"?" + scope["query_string"]
        await once(
            exchange,
            key=key,
            print_=fingerprint(exchange.method, target, body),
            now=utc_now(),
            run=lambda caught: _run(scope, receive, caught),
            send=reply,
        )

    async def _preflight(self, exchange: Exchange, reply: Reply) -> None:
        allowed = any(name == b"access-control-allow-origin" for name, _ in exchange.cors_headers)
        exchange.cors_headers = preflight(exchange.cors_headers) if allowed else exchange.cors_headers
        await reply({"type": "http.response.start", "status": 204 if allowed else 403, "headers": []})
        await reply({"type": "http.response.body", "body": b""})

    def _shows_page(self, exchange: Exchange, accept: bytes) -> bool:
        """Tell whether a path that is no route is the user interface's: asked for by a browser, or one of its files."""
        if self._pages is None or exchange.method not in SAFE_METHODS:
            return False
        if exchange.path.startswith(("/v1/", "/health", "/metrics", "/openapi")):
            return False
        return exchange.path == "/" or b"text/html" in accept or "." in exchange.path.rpartition("/")[2]

    async def _page(self, scope: Scope, receive: Receive, reply: Reply, headers: dict[bytes, bytes]) -> None:
        self._check_host(headers.get(b"host"))
        if self._pages is not None:
            await self._pages(scope, receive, reply)

    async def _refuse(self, exchange: Exchange, error: Exception, reply: Reply) -> None:
        refusal, errors = refusal_of(error)
        if refusal.status >= 500 and refusal is not error:
            self._crashed(exchange, error)
        exchange.code = refusal.code
        body = body_of(refusal, request_id=exchange.id, base_url=self._settings.base_url, errors=errors)
        headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
        match refusal:
            case Limited():
                exchange.limit_headers = refusal.verdict.headers()
                headers.append((b"retry-after", str(refusal.retry_after_s).encode()))
            case TooMany():
                headers.append((b"retry-after", str(refusal.retry_after_s).encode()))
            case NotSignedIn():
                headers.append((b"www-authenticate", b'Bearer realm="bursar"'))
            case TooLarge():
                headers.append((b"connection", b"close"))  # the rest of the body is not worth reading
            case _ if refusal.status == 405:
                headers.append((b"allow", str(refusal.facts["allowed"]).encode()))
            case _ if refusal.status == 503:
                headers.append((b"retry-after", b"5"))
        await reply({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await reply({"type": "http.response.body", "body": body})

    def _crashed(self, exchange: Exchange, error: Exception) -> None:
        self._log.error("request crashed", exc_info=error, route=exchange.template, method=exchange.method)

    def _end(self, exchange: Exchange) -> None:
        elapsed_s = time.perf_counter() - exchange.started_s
        if exchange.stream and exchange.status < 400:
            self._metrics.stream(exchange.method, exchange.template, exchange.status)
        else:
            self._metrics.request(
                exchange.method if exchange.template != UNMATCHED else "ANY",
                exchange.template,
                exchange.status,
                seconds=elapsed_s,
                database_s=exchange.database_s,
            )
        log.fast_line("request", _line(exchange, elapsed_s))
        for observer in self.observers:
            observer(exchange, elapsed_s)


_FORMS = (b"multipart/form-data", b"application/x-www-form-urlencoded")


def _line(exchange: Exchange, elapsed_s: float) -> dict[str, Any]:
    """Return the fields of the log line; the path is left out because it may hold what is nobody's business."""
    facts: dict[str, Any] = {
        "request_id": exchange.id,
        "method": exchange.method,
        "route": exchange.template,
        "status": exchange.status,
        "ms": round(elapsed_s * 1000, 1),
        "db_ms": round(exchange.database_s * 1000, 1),
        "statements": exchange.statements,
        "address": exchange.address,
    }
    if exchange.actor is not None:
        facts |= {"actor": exchange.actor.name, "org": exchange.actor.org}
    if exchange.code:
        facts["code"] = exchange.code
    return facts | exchange.notes


def _is_json(content_type: bytes) -> bool:
    kind = content_type.partition(b";")[0].strip().lower()
    return kind == b"application/json" or (kind.startswith(b"application/") and kind.endswith(b"+json"))


async def _run(scope: Scope, receive: Receive, send: Send) -> None:
    """Run the handler; FastAPI closes uploaded files through the stack."""
    async with AsyncExitStack() as stack:
        scope["fastapi_middleware_astack"] = stack
        await scope["route"].app(scope, receive, send)
