"""Bad input everywhere gets a clear refusal: every route of the application, generated from its description."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from bursar.infra.embedded_postgres import OWNER, EmbeddedPostgres
from bursar.infra.web import Route, routes_of
from tests.whole import BASE, Whole, whole

JSON = {"content-type": "application/json"}
DEEP = b'{"a":' * 200 + b"1" + b"}" * 200


@pytest.fixture(scope="module")
async def running(
    postgres: EmbeddedPostgres, module_database: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Whole]:
    home: Path = tmp_path_factory.mktemp("home")
    async with whole(postgres.url(OWNER, module_database), home) as made:
        yield made


async def refused(running: Whole, route: Route, method: str, path: str, **sent: Any) -> str:
    """Send one request as an API key with every right; return what is wrong with the answer, if anything."""
    transport = httpx2.ASGITransport(app=running.app, raise_app_exceptions=False, client=(next(_addresses), 1))
    headers = {"authorization": f"Bearer {running.key}", "if-match": '"0"'} | sent.pop("headers", {})
    async with httpx2.AsyncClient(transport=transport, base_url=BASE, headers=headers) as client:
        answer = await client.request(method, path, **sent)
    kind = answer.headers.get("content-type", "")
    good = 400 <= answer.status_code < 500 and kind == "application/problem+json"
    declared = str(answer.status_code) in {str(status) for status in route.responses}
    if good and declared and orjson.loads(answer.content)["detail"]:
        return ""
    return f"{method} {path} {sent}: {answer.status_code} {answer.text[:200]}"


_addresses = (f"10.{a}.{b}.{c}" for a in range(256) for b in range(256) for c in range(256))


def with_json(running: Whole) -> list[tuple[Route, str, str]]:
    return [
        (route, method, re.sub(r"\{[^}]+\}", "00000000-0000-7000-8000-000000000000", route.path))
        for route in routes_of(running.app)
        for method in sorted(route.methods or ())
        if route.takes_json
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"[]",
        b"1",
        b'"text"',
        b"null",
        b"\xff\xfe",
        b'{"no_such_field_anywhere": 1}',
        b'{"name": "a\\u0000b"}',
        DEEP,
        b"[" * 100_000,
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": 1E+9999999}',
    ],
    ids=lambda body: f"{bytes(body[:20])!r}",
)
async def test_a_bad_body_is_refused_by_every_route(running: Whole, body: bytes) -> None:
    faults = [
        await refused(running, route, method, path, content=body, headers=JSON)
        for route, method, path in with_json(running)
    ]

    assert [fault for fault in faults if fault] == []
    assert len(faults) > 5


async def test_a_huge_body_is_refused_by_every_route(running: Whole) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 100_000

    faults = [
        await refused(running, route, method, path, content=endless(), headers=JSON)
        for route, method, path in with_json(running)
        if route.declared.body_bytes_max is None
    ]

    assert [fault for fault in faults if fault] == []


async def test_another_media_type_is_refused_by_every_route(running: Whole) -> None:
    faults = [
        await refused(running, route, method, path, content=b"<a/>", headers={"content-type": "application/xml"})
        for route, method, path in with_json(running)
    ]

    assert [fault for fault in faults if fault] == []


async def test_wrong_types_are_refused_in_every_field(running: Whole) -> None:
    """Each field of each body alone gets a value of a kind it cannot have."""
    faults = []
    schemas = running.app.openapi()["components"]["schemas"]
    for route, method, path in with_json(running):
        assert route.body_field is not None
        schema = schemas.get(getattr(route.body_field.field_info.annotation, "__name__", ""), {})
        for name in schema.get("properties", {}):
            body = {name: {"nested": [{"wrong": None}]}, "surplus": 1}
            faults.append(await refused(running, route, method, path, json=body))

    assert [fault for fault in faults if fault] == []
    assert len(faults) > 5


async def test_nul_bytes_and_nonsense_in_the_address_are_refused(running: Whole) -> None:
    faults = []
    for route in routes_of(running.app):
        for method in sorted(route.methods or ()):
            path = re.sub(r"\{[^}]+\}", "a%00b", route.path)
            faults.append(await refused(running, route, method, path + "?a=%00", headers=JSON))

    assert [fault for fault in faults if fault] == []
