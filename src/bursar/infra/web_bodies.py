"""Request bodies: counted while they stream, parsed once, deep nesting and NUL bytes refused."""

from collections.abc import Iterator
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive

from bursar.infra.web_problems import MalformedBody
from bursar.kernel.errors import TooLarge

JSON_DEPTH_MAX = 32
"""Deepest nesting of arrays and objects in a JSON body."""

JSON = "bursar.json"
"""Key of the parsed body in the ASGI scope."""

BODY = "bursar.body"
"""Key of the raw body in the ASGI scope."""


def announced(headers: dict[bytes, bytes], limit_bytes: int) -> None:
    """Refuse a body that announces itself as larger than ``limit_bytes``.

    Raises:
        TooLarge: The announced length is over the limit.
        MalformedBody: The announced length is not a number.
    """
    length = headers.get(b"content-length")
    if length is None:
        return
    if not length.isdigit():
        raise MalformedBody("its length is not a number")
    if int(length) > limit_bytes:
        raise TooLarge("the body", limit_bytes, "bytes")


def counted(receive: Receive, limit_bytes: int) -> Receive:
    """Return ``receive`` that raises :class:`TooLarge` as soon as the body passes ``limit_bytes``, announced or not."""
    seen = 0

    async def limited() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > limit_bytes:
                raise TooLarge("the body", limit_bytes, "bytes")
        return message

    return limited


async def whole(receive: Receive, limit_bytes: int) -> bytes:
    """Read the body.

    Raises:
        TooLarge: It passes ``limit_bytes``; the rest is not read.
        ClientDisconnect: The client went away.
    """
    parts: list[bytes] = []
    seen = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientDisconnect
        part = message.get("body", b"")
        seen += len(part)
        if seen > limit_bytes:
            raise TooLarge("the body", limit_bytes, "bytes")
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


def _inside(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _walk(value: object) -> None:
    """Refuse nesting beyond the limit, and NUL characters in texts."""
    layer = [value]
    for _ in range(JSON_DEPTH_MAX + 1):
        if any(isinstance(each, str) and "\0" in each for each in layer):
            raise MalformedBody("a text holds a NUL character")
        layer = [inner for each in layer for inner in _inside(each)]
        if not layer:
            return
    raise MalformedBody(f"it is nested deeper than {JSON_DEPTH_MAX}")


def _flaw(error: orjson.JSONDecodeError) -> str:
    """Say where a body stops being JSON, and of numbers that are none what stands for them."""
    if "depth limit" in error.msg:  # the parser has a limit too, far above ours
        return f"it is nested deeper than {JSON_DEPTH_MAX}"
    where = f"it is not JSON: {error.msg}, in line {error.lineno}, column {error.colno}"
    endless = "infinity" in error.msg or error.doc[error.pos :].startswith(("NaN", "Inf"))
    return f"{where}; JSON has finite numbers only, write null for a gap" if endless else where


def parsed(body: bytes) -> Any:
    """Return the JSON value of ``body``.

    Raises:
        MalformedBody: It is not JSON (RFC 8259: UTF-8, no NaN, no lone surrogates), too deeply nested, or holds NUL.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedBody(_flaw(error)) from error
    if b"\\u0000" in body or body.count(b"[") + body.count(b"{") > JSON_DEPTH_MAX:
        _walk(value)
    return value


class ReadRequest(Request):
    """A request whose body the edge has read and parsed already."""

    async def body(self) -> bytes:
        """Return the raw body."""
        raw: bytes = self.scope[BODY]
        return raw

    async def json(self) -> Any:
        """Return the parsed body."""
        return self.scope[JSON]
