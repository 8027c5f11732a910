"""The HTTP edge: what feature packages import, and :func:`create_app`.

An ``api.py`` reads::

    r = router("ledger", tag="Ledger")

    @r.post("/v1/ledger/entries", right="ledger:write", status_code=201, refusals=[NotBalanced])
    async def record_entry(body: EntryIn, db: TheDb, actor: As) -> EntryOut:
        \"\"\"Record a balanced entry.\"\"\"
        async with db.writing(actor) as tx:
            ...
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from sqlalchemy.pool import QueuePool
from starlette.types import ASGIApp

from bursar.infra import log
from bursar.infra.db import SLOW_QUERY_S, Database, query_observers
from bursar.infra.metrics import METRICS, Metrics
from bursar.infra.paging import LIMIT_MAX, Paging
from bursar.infra.web_context import As, Authenticator, Exchange, Here, TheDb, Traces, WebSettings, running
from bursar.infra.web_docs import describe, docs_router
from bursar.infra.web_edge import Edge
from bursar.infra.web_etags import Match, Matching, etag
from bursar.infra.web_events import EVENT_STREAM, Event, LastEventId, event_stream, stop_streams
from bursar.infra.web_index import Index
from bursar.infra.web_limits import Limiter, Tokens, sweep, tokens_of
from bursar.infra.web_models import (
    Count,
    Day,
    In,
    Instant,
    Listed,
    MoneyIn,
    MoneyOut,
    Out,
    ProblemOut,
    TracedOut,
    Whole,
)
from bursar.infra.web_pages import Page
from bursar.infra.web_routes import PUBLIC, SIGNED_IN, Declared, Route, Router, router

__all__ = [
    "EVENT_STREAM",
    "LIMIT_MAX",
    "PUBLIC",
    "SIGNED_IN",
    "As",
    "Authenticator",
    "Count",
    "Day",
    "Declared",
    "Event",
    "Exchange",
    "Here",
    "In",
    "Instant",
    "LastEventId",
    "Listed",
    "Match",
    "Matching",
    "MoneyIn",
    "MoneyOut",
    "Out",
    "Page",
    "Paging",
    "ProblemOut",
    "Route",
    "Router",
    "TheDb",
    "TracedOut",
    "Traces",
    "WebSettings",
    "Whole",
    "create_app",
    "etag",
    "event_stream",
    "router",
    "routes_of",
]

SLOW_JOB_QUERY_S = 1.0
"""What a statement outside a request may take before it is noted: jobs move many rows at once."""

SWEEP_EVERY_S = 600.0
"""How often full rate-limit buckets are swept."""


def _observe_statement(seconds: float, statement: object) -> None:
    """Book a statement's time to the running request, and note slow ones."""
    exchange = running.get()
    if exchange is not None:
        exchange.database_s += seconds
        exchange.statements += 1
    METRICS.statement(seconds, SLOW_QUERY_S)
    if seconds > (SLOW_JOB_QUERY_S if exchange is None else SLOW_QUERY_S):
        text = " ".join(str(statement).split())[:500]
        log.logger("database").warning("slow statement", ms=round(seconds * 1000, 1), statement=text)


def _in_use(db: Database) -> float:
    pool = db.engine.pool
    return float(pool.checkedout()) if isinstance(pool, QueuePool) else 0.0


async def _sweeping(db: Database) -> None:
    while True:
        await asyncio.sleep(SWEEP_EVERY_S)
        try:
            await sweep(db)
        except Exception as error:  # the next turn tries again
            log.logger("limits").warning("sweep failed", error=type(error).__name__)


def create_app(
    settings: WebSettings,
    db: Database,
    routers: Sequence[Router],
    authenticate: Authenticator,
    *,
    metrics: Metrics = METRICS,
    tokens: Tokens | None = None,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
    loops: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
    pages: ASGIApp | None = None,
    tracer: AbstractContextManager[Callable[[Exchange, float], None]] | None = None,
) -> FastAPI:
    """Return the application that serves ``routers`` and nothing else.

    Args:
        settings: Of the HTTP edge.
        db: The database; the caller closes it.
        routers: Of every feature, in the order of the API description.
        authenticate: Finds out who asks.
        metrics: Where requests are counted.
        tokens: Where rate-limit tokens are taken; by default the table in ``db``.
        lifespan: Entered when the server starts and left when it stops (worker, pools).
        loops: Coroutines that run while the server runs and are cancelled when it stops.
        pages: Serves the user interface for GETs of paths that are no route.
        tracer: Entered while the server runs; its value is called after each request with the exchange and its seconds
            (see :func:`bursar.infra.web_tracing.tracing`).

    Raises:
        TypeError: Two routes share a path and method or an operation id.
    """
    if _observe_statement not in query_observers:
        query_observers.append(_observe_statement)
    metrics.gauge("db_connections_in_use", "Database connections checked out of the pool.", lambda: _in_use(db))

    @asynccontextmanager
    async def running_app(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if tracer is not None:
                edge.observers.append(stack.enter_context(tracer))
            if lifespan is not None:
                await stack.enter_async_context(lifespan(app))
            tasks = [asyncio.create_task(loop()) for loop in (lambda: _sweeping(db), *loops)]
            try:
                yield
            finally:
                stop_streams()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    app = FastAPI(
        title="Bursar", version=settings.version, openapi_url=None, docs_url=None, redoc_url=None, lifespan=running_app
    )
    tags: list[dict[str, str]] = []

    def openapi() -> dict[str, Any]:
        app.openapi_schema = app.openapi_schema or describe(app, tags, settings.base_url)
        return app.openapi_schema

    everything = [*routers, docs_router(openapi)]
    tags += [{"name": each.tag, "description": each.about} for each in everything]
    routes = [route for each in everything for route in each.routes]
    app.router.routes = list(routes)
    app.openapi = openapi  # type: ignore[method-assign]  # the way FastAPI documents
    edge = Edge(
        settings,
        db,
        Index(routes),
        authenticate,
        limiter=Limiter(tokens or tokens_of(db)),
        metrics=metrics,
        lifespan=app.router,
        pages=pages,
    )
    app.middleware_stack = edge
    return app


def routes_of(app: FastAPI) -> list[Route]:
    """Return every route of ``app`` with its declaration (for tests and tools)."""
    return [route for route in app.routes if isinstance(route, Route)]
