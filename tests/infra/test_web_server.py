"""A real server on a real socket: stopping with open streams, bodies cut short, traces exported."""

import asyncio
import importlib.util
import json
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx2
import pytest
import uvicorn

from bursar.infra.db import Database
from bursar.infra.metrics import Metrics
from bursar.infra.web import PUBLIC, Event, Listed, create_app, event_stream, router
from bursar.infra.web_server import Server, draining
from bursar.infra.web_tracing import TracingMissing, parent_of, tracing
from tests.infra.webapp import SETTINGS, Effects, authenticate, small_app


@asynccontextmanager
async def listening(app: Any, *, drain_s: float = 0.0) -> AsyncIterator[tuple[Server, int]]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = Server(
            uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=20), drain_s=drain_s
        )
        serving = asyncio.ensure_future(server.serve([listener]))
        while not server.started and not serving.done():  # noqa: ASYNC110  uvicorn sets a flag
            await asyncio.sleep(0.01)
        yield server, listener.getsockname()[1]
        server.should_exit = True
        await serving


def endless(db: Database) -> Any:
    r = router("endless", tag="Endless")

    @r.get("/v1/endless", right=PUBLIC, stream=True)
    async def endless_events() -> Any:
        """Never end by itself."""

        async def source() -> AsyncIterator[Event]:
            yield Event("1", {})
            await asyncio.Event().wait()

        return event_stream(source())

    return create_app(SETTINGS, db, [r], authenticate, metrics=Metrics())


async def test_a_stop_does_not_wait_for_event_streams(db: Database) -> None:
    began_s = time.monotonic()
    async with (
        listening(endless(db)) as (server, port),
        httpx2.AsyncClient(trust_env=False) as client,
        client.stream("GET", f"http://127.0.0.1:{port}/v1/endless") as answer,
    ):
        lines = answer.aiter_lines()
        assert "retry: 2000" in [await anext(lines) for _ in range(2)]
        server.should_exit = True
        rest = [line async for line in lines]

    assert "id: 1" in rest
    assert time.monotonic() - began_s < 15


async def test_a_server_that_stops_is_not_ready_but_answers_until_it_is_drained(db: Database) -> None:
    r = router("drain", tag="Drain")

    @r.get("/v1/drain", right=PUBLIC)
    async def ready() -> Listed[bool]:
        """Tell whether it drains."""
        return Listed(data=[draining()], next=None)

    app = create_app(SETTINGS, db, [r], authenticate, metrics=Metrics())
    async with listening(app, drain_s=2.0) as (server, port), httpx2.AsyncClient(trust_env=False) as client:
        before = (await client.get(f"http://127.0.0.1:{port}/v1/drain")).json()
        server.should_exit = True
        await asyncio.sleep(0.5)
        async with httpx2.AsyncClient(trust_env=False) as new:
            during = (await new.get(f"http://127.0.0.1:{port}/v1/drain")).json()

    assert (before["data"], during["data"], draining()) == ([False], [True], False)


async def test_a_client_that_leaves_ends_its_stream(db: Database) -> None:
    async with listening(endless(db)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /v1/endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200" in await reader.readline()
        writer.close()
        await writer.wait_closed()


async def test_a_refused_upload_closes_the_connection(db: Database) -> None:
    effects = Effects()
    async with listening(small_app(db, effects)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"POST /v1/things HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer writer\r\n"
            b"Content-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n{"
        )
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()

    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer.lower()
    assert effects.runs == 0


@pytest.mark.parametrize(
    "sent",
    [
        b"BREW /v1/things HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /v1/things?" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /v1/things HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
    ],
    ids=["no method of HTTP", "long address", "two lengths", "TLS"],
)
async def test_what_is_no_request_is_refused_with_a_problem(db: Database, sent: bytes) -> None:
    async with listening(small_app(db, Effects())) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
        writer.close()

    assert head.startswith(b"HTTP/1.1 400")
    assert b"content-type: application/problem+json" in head.lower()
    assert json.loads(body)["code"] == "malformed_request"


async def test_a_body_cut_short_does_nothing(db: Database) -> None:
    effects = Effects()
    async with listening(small_app(db, effects)) as (_, port):
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"POST /v1/things HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer writer\r\n"
            b'Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"name": "x"'
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(0.2)

    assert effects.runs == 0


@pytest.mark.parametrize(
    ("header", "good"),
    [
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", True),
        ("00-00000000000000000000000000000000-b7ad6b7169203331-01", False),
        ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", False),
        ("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", False),
        ("", False),
        ("nonsense", False),
    ],
)
def test_only_a_well_formed_parent_is_believed(header: str, good: bool) -> None:
    assert (parent_of(header) is not None) is good


class Collector(BaseHTTPRequestHandler):
    """Takes OTLP over HTTP."""

    bodies: list[bytes]

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class names it
        """Say nothing."""


@pytest.mark.skipif(importlib.util.find_spec("opentelemetry.sdk") is None, reason="the extra otel is not installed")
async def test_a_request_becomes_a_span_of_its_callers_trace(db: Database) -> None:
    Collector.bodies = []
    collector = HTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=collector.serve_forever, daemon=True)
    thread.start()
    trace = "0af7651916cd43dd8448eb211c80319c"
    app = small_app(db, tracer=tracing(f"http://127.0.0.1:{collector.server_port}", version="1"))
    async with listening(app) as (_, port), httpx2.AsyncClient(trust_env=False) as client:
        sent = {"authorization": "Bearer writer", "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
        await client.get(f"http://127.0.0.1:{port}/v1/things/secret-key", headers=sent)
    collector.shutdown()
    collector.server_close()
    thread.join()
    exported = b"".join(Collector.bodies)

    assert bytes.fromhex(trace) in exported
    assert b"GET /v1/things/{key}" in exported
    assert b"person:writer" in exported
    assert b"secret-key" not in exported


@pytest.mark.skipif(importlib.util.find_spec("opentelemetry.sdk") is not None, reason="the extra otel is installed")
def test_an_endpoint_without_the_extra_is_refused() -> None:
    with pytest.raises(TracingMissing, match="otel"):
        tracing("http://127.0.0.1:4318", version="1")
