"""What one request knows: settings of the HTTP edge, who asks, the database; and the handler parameters for them."""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from fastapi import Depends, Request

from bursar.infra.db import Database
from bursar.kernel.actor import Actor
from bursar.kernel.errors import NotSignedIn

if TYPE_CHECKING:
    from bursar.infra.web_routes import Route

EXCHANGE = "bursar.exchange"
"""Key of the :class:`Exchange` in the ASGI scope."""

BODY_BYTES_MAX = 1_048_576
"""Largest request body, in bytes, of a route that declares no other limit."""


@dataclass(frozen=True, slots=True)
class WebSettings:
    """What the HTTP edge needs to know; wiring fills it from the settings.

    Attributes:
        version: Version of the product, for OpenAPI and health.
        base_url: Where people reach this server, without a final slash.
        cursor_key: Secret that signs cursors, at least 32 bytes.
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
    cursor_key: bytes
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
        route: The route; None while unknown.
        actor: Who asks; None when anonymous.
        status: HTTP status of the answer; 0 before it starts.
        code: Code of the problem answered, if any.
        database_s: Seconds spent in the database so far.
        statements: Statements run so far.
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
    route: "Route | None" = None
    actor: Actor | None = None
    status: int = 0
    code: str = ""
    database_s: float = 0.0
    statements: int = 0
    limit_headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    cors_headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)
    after_answer: list[Callable[[], None]] = field(default_factory=list)

    @property
    def template(self) -> str:
        """The route's path template, such as ``/v1/jobs/{id}``; ``unmatched`` without a route."""
        return self.route.path_format if self.route is not None else "unmatched"


running: ContextVar[Exchange | None] = ContextVar("running", default=None)
"""The exchange whose request is being handled by this task."""


def exchange_of(scope: Any) -> Exchange:
    """Return the exchange that belongs to an ASGI ``scope``."""
    exchange: Exchange = scope[EXCHANGE]
    return exchange


async def _the_db(request: Request) -> Database:
    return exchange_of(request.scope).db


async def _actor(request: Request) -> Actor:
    actor = exchange_of(request.scope).actor
    if actor is None:
        raise NotSignedIn
    return actor


async def _exchange(request: Request) -> Exchange:
    return exchange_of(request.scope)


TheDb = Annotated[Database, Depends(_the_db)]
"""Handler parameter: the database; open the transaction with ``async with db.writing(actor) as tx``."""

As = Annotated[Actor, Depends(_actor)]
"""Handler parameter: who asks. The declared right has been checked; services check theirs again."""

Here = Annotated[Exchange, Depends(_exchange)]
"""Handler parameter: the request id, the caller's address, whether TLS is used (log-in, invitations, downloads)."""
