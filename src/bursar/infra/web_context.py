"""What one request knows: settings of the HTTP edge, who asks, the database; and the handler parameters for them."""

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Protocol, get_type_hints

from fastapi import Request

from bursar.infra.db import Database
from bursar.infra.traces import Tracer
from bursar.kernel.actor import Actor
from bursar.kernel.errors import NotSignedIn

EXCHANGE = "bursar.exchange"
"""Key of the :class:`Exchange` in the ASGI scope."""

UNMATCHED = "unmatched"
"""Template of a request whose path is no route."""

BODY_BYTES_MAX = 1_048_576
"""Largest request body, in bytes, of a route that declares no other limit."""


@dataclass(frozen=True, slots=True)
class WebSettings:
    """What the HTTP edge needs to know; wiring fills it from the settings.

    Attributes:
        version: Version of the product, for OpenAPI and health.
        base_url: Where people reach this server, without a final slash.
        cursor_key: Secret that marks cursors and trace tokens, at least 32 bytes.
        hosts: Names besides that of ``base_url`` under which this server is reached; ``*`` for any.
        cors_origins: Origins whose pages may call the API with credentials; ``*`` allows all without credentials.
        proxies_trusted: Number of reverse proxies in front whose ``X-Forwarded-*`` headers are believed.
        body_bytes_max: Largest body of a route that declares no other limit.
        anonymous_per_min: Requests a minute of one address that is not signed in.
        actor_per_min: Requests a minute of one person or API key.
        login_per_min: Attempts a minute of one address on routes declared with ``limit="log-in"``.
    """

    version: str
    base_url: str
    cursor_key: bytes = field(repr=False)
    hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    proxies_trusted: int = 0
    body_bytes_max: int = BODY_BYTES_MAX
    anonymous_per_min: int = 100
    actor_per_min: int = 600
    login_per_min: int = 20


class Authenticator(Protocol):
    """Finds out who asks; supplied by ``core/identity`` through wiring."""

    async def __call__(
        self, db: Database, *, authorization: str | None, cookie: str | None, address: str, now: datetime
    ) -> Actor:
        """Return the caller.

        Args:
            db: The database.
            authorization: The ``Authorization`` header as sent; None without one.
            cookie: The ``Cookie`` header as sent; None without one, and on a cross-site request.
            address: IP address of the caller (behind trusted proxies: the one they report).
            now: The present instant.

        Returns:
            The actor with its rights; the edge adds the request id.

        Raises:
            NotSignedIn: There is no credential, or it is not valid (any more).
        """
        ...  # pragma: no cover


@dataclass(slots=True)
class Exchange:
    """One request and what has become of its answer.

    Attributes:
        house: Settings of the edge.
        db: The database; inside a request with an idempotency key, the one open transaction of that request.
        id: The request id.
        method: As sent.
        path: As sent, decoded.
        address: IP address of the caller.
        secure: The caller reached us over TLS.
        started_s: Monotonic clock at the start, seconds.
        template: The route's path template, such as ``/v1/jobs/{id}``; ``unmatched`` while unknown.
        stream: The answer does not end by itself.
        actor: Who asks; None when anonymous.
        status: HTTP status of the answer; 0 before it starts.
        code: Code of the problem answered, if any.
        database_s: Seconds spent in the database so far.
        statements: Statements run so far.
        if_match: The If-Match header.
        traceparent: The ``traceparent`` header (W3C Trace Context).
        limit_headers: Headers that tell the rate limit.
        cors_headers: Headers for a page of another origin.
        reply_headers: Headers that the handler adds to a good answer.
        notes: Extra fields of the log line.
    """

    house: WebSettings
    db: Database
    id: str
    method: str
    path: str
    address: str
    secure: bool
    started_s: float
    template: str = UNMATCHED
    stream: bool = False
    actor: Actor | None = None
    status: int = 0
    code: str = ""
    database_s: float = 0.0
    statements: int = 0
    if_match: str | None = None
    traceparent: str = ""
    reply_headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    limit_headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    cors_headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)


running: ContextVar[Exchange | None] = ContextVar("running", default=None)
"""The exchange whose request is being handled by this task."""


def exchange_of(scope: Any) -> Exchange:
    """Return the exchange that belongs to an ASGI ``scope``."""
    exchange: Exchange = scope[EXCHANGE]
    return exchange


class Given:
    """Marks a handler parameter that the edge fills in from the exchange, past FastAPI's dependency solver.

    Args:
        read: Returns the value.
    """

    def __init__(self, read: Callable[[Exchange], Any]) -> None:
        self.read = read


def _actor(exchange: Exchange) -> Actor:
    if exchange.actor is None:
        raise NotSignedIn
    return exchange.actor


TheDb = Annotated[Database, Given(lambda exchange: exchange.db)]
"""Handler parameter: the database; open the transaction with ``async with db.writing(actor) as tx``."""

As = Annotated[Actor, Given(_actor)]
"""Handler parameter: who asks. The declared right has been checked; services check theirs again."""

Traces = Annotated[Tracer, Given(lambda exchange: Tracer(exchange.house.cursor_key, _actor(exchange).org))]
"""Handler parameter: makes the trace tokens that travel with amounts."""

Here = Annotated[Exchange, Given(lambda exchange: exchange)]
"""Handler parameter: the request id, the caller's address, whether TLS is used (log-in, invitations, downloads)."""


def with_given(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``handler`` in the form FastAPI calls: its :class:`Given` parameters replaced by the request.

    FastAPI would solve each as a dependency of its own, at 12 microseconds apiece.
    """
    signature = inspect.signature(handler)
    hints = get_type_hints(handler, include_extras=True)
    readers: list[tuple[str, Callable[[Exchange], Any]]] = []
    kept: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        hint = hints.get(name, parameter.annotation)
        marks = [each for each in getattr(hint, "__metadata__", ()) if isinstance(each, Given)]
        if marks:
            readers.append((name, marks[0].read))
        else:
            kept.append(parameter.replace(annotation=hint, kind=inspect.Parameter.KEYWORD_ONLY))
    if not readers:
        return handler
    own = next((each.name for each in kept if each.annotation is Request), None)
    if own is None:  # FastAPI fills in one request only
        kept.append(inspect.Parameter(_REQUEST, inspect.Parameter.KEYWORD_ONLY, annotation=Request))

    @functools.wraps(handler)
    async def called(**values: Any) -> Any:
        exchange = (values.pop(_REQUEST) if own is None else values[own]).scope[EXCHANGE]
        for name, read in readers:
            values[name] = read(exchange)
        return await handler(**values)

    returned = hints.get("return", signature.return_annotation)
    if returned is type(None):
        returned = None  # FastAPI knows an answer without a body by this
    called.__signature__ = signature.replace(parameters=kept, return_annotation=returned)  # type: ignore[attr-defined]
    return called


_REQUEST = "_request_of_the_edge"
