"""OpenTelemetry traces of requests, sent over OTLP/HTTP; nothing of it is imported or sent unless an endpoint is set.

One span a request, made after the answer from what the edge has measured anyway, so that tracing costs nothing before.
The caller's ``traceparent`` (W3C Trace Context) becomes the parent. Needs the extra ``otel``.
"""

import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from bursar.kernel.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bursar.infra.web_context import Exchange

EXPORT_S_MAX = 5
"""Longest time one export may take; what cannot be sent is dropped, requests never wait for it."""

QUEUE_MAX = 2048
"""Most spans waiting to be sent; further ones are dropped."""

_PARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")


class TracingMissing(Refusal):
    """An OTLP endpoint is set but the extra `otel` is not installed: pip install 'bursar[otel]'."""

    status = 503


def parent_of(traceparent: str) -> tuple[int, int, int] | None:
    """Return trace id, span id and flags of a ``traceparent`` header; None when it is malformed."""
    found = _PARENT.fullmatch(traceparent)
    return (int(found[1], 16), int(found[2], 16), int(found[3], 16)) if found else None


def tracing(endpoint: str, *, version: str) -> "AbstractContextManager[Callable[[Exchange, float], None]]":
    """Return a context whose value observes requests (for ``create_app(observers=…)``) and exports them until it ends.

    Args:
        endpoint: OTLP/HTTP address of a collector, such as ``http://127.0.0.1:4318``; ``/v1/traces`` is appended.
        version: Version of the product.

    Raises:
        TracingMissing: The extra ``otel`` is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise TracingMissing from error
    exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + "/v1/traces", timeout=EXPORT_S_MAX)
    provider = TracerProvider(resource=Resource.create({"service.name": "bursar", "service.version": version}))
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=QUEUE_MAX))
    tracer = provider.get_tracer("bursar.http", version)

    @contextmanager
    def exporting() -> "Iterator[Callable[[Exchange, float], None]]":
        try:
            yield lambda exchange, seconds: _span(tracer, exchange, seconds)
        finally:
            provider.shutdown()

    return exporting()


def _span(tracer: Any, exchange: "Exchange", seconds: float) -> None:
    from opentelemetry import trace

    end_ns = time.time_ns()
    parent = parent_of(exchange.traceparent)
    context = None
    if parent is not None:
        trace_id, span_id, flags = parent
        remote = trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=trace.TraceFlags(flags))
        context = trace.set_span_in_context(trace.NonRecordingSpan(remote))
    facts: dict[str, Any] = {
        "http.request.method": exchange.method,
        "http.route": exchange.template,
        "http.response.status_code": exchange.status,
        "client.address": exchange.address,
        "bursar.request_id": exchange.id,
        "bursar.database_ms": round(exchange.database_s * 1000, 3),
        "bursar.statements": exchange.statements,
    }
    if exchange.actor is not None:
        facts |= {"bursar.actor": exchange.actor.name, "bursar.org": str(exchange.actor.org)}
    span = tracer.start_span(
        f"{exchange.method} {exchange.template}",
        context=context,
        kind=trace.SpanKind.SERVER,
        attributes=facts,
        start_time=end_ns - int(seconds * 1e9),
    )
    if exchange.status >= 500:
        span.set_status(trace.Status(trace.StatusCode.ERROR, exchange.code))
    span.end(end_time=end_ns)
