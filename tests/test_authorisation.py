"""Who may do what: generated from the router, so that a new route is covered the moment it exists; deny by default.

Every route is asked by everybody: nobody, each role, an API key without the scope, a member of another organisation. The
requests announce a body that is far too large, so an admitted one is refused right behind the gate (413, or 428 where
If-Match comes first) and changes nothing.
"""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import orjson
import pytest

from bursar.core.identity.rules.rights import RIGHTS, ROLES
from bursar.infra.embedded_postgres import OWNER, EmbeddedPostgres
from bursar.infra.web import PUBLIC, SIGNED_IN, Route, routes_of
from tests.whole import BASE, Whole, whole

ADMITTED = {413, 428}

_addresses = (f"10.{a}.{b}.{c}" for a in range(256) for b in range(256) for c in range(256))
"""Each request comes from an address of its own, so that the limits of log-in do not answer."""


@pytest.fixture(scope="module")
async def running(
    postgres: EmbeddedPostgres, module_database: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Whole]:
    home: Path = tmp_path_factory.mktemp("home")
    async with whole(postgres.url(OWNER, module_database), home) as made:
        yield made


async def ask(running: Whole, method: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    """Send one request past the network and return status and problem."""
    sent: list[dict[str, Any]] = []
    raw = {"host": "127.0.0.1:8417", "content-length": "999999999999", **headers}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in raw.items()],
        "client": (next(_addresses), 1),
        "server": ("127.0.0.1", 8417),
        "state": {},
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await running.app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], orjson.loads(body)


def expected(route: Route, who: str) -> int | None:
    """Return the status that must be answered; None when the route admits ``who``."""
    right = route.declared.right
    if right == PUBLIC:
        return None
    if who == "anonymous":
        return 401
    if right == SIGNED_IN or who == "stranger":
        return None  # the stranger owns another organisation; what they see is theirs alone
    if who == "key":
        return 403 if right != "report:read" else None
    return None if right in ROLES[who] else 403


def filled(path: str) -> str:
    """Return the path with an unknown id in each parameter."""
    return re.sub(r"\{[^}]+\}", str(uuid4()), path)


async def test_every_route_admits_exactly_who_holds_its_right(running: Whole) -> None:
    wrong = []
    cases = 0
    for route in routes_of(running.app):
        for method in sorted(route.methods or ()):
            for who, headers in running.ways.items():
                status, problem = await ask(running, method, filled(route.path), headers)
                want = expected(route, who)
                cases += 1
                if want is None and status not in ADMITTED:
                    wrong.append((method, route.path, who, status, problem))
                if want is not None and status != want:
                    wrong.append((method, route.path, who, status, problem))
                if want == 403 and problem.get("facts") != {"right": route.declared.right}:
                    wrong.append((method, route.path, who, status, problem))

    assert wrong == []
    assert cases == len(running.ways) * sum(len(route.methods or ()) for route in routes_of(running.app))
    assert cases > 100


def test_every_declared_right_exists(running: Whole) -> None:
    declared = {route.declared.right for route in routes_of(running.app)}

    assert declared - {PUBLIC, SIGNED_IN} <= RIGHTS


PUBLIC_PATHS = {
    "/.well-known/jwks.json",
    "/docs",
    "/docs/problems",
    "/docs/style.css",
    "/health/live",
    "/health/ready",
    "/openapi.json",
    "/v1/hooks/bank/{org}/{connection}",
    "/v1/invitations/accept",
    "/v1/password-resets",
    "/v1/password-resets/use",
    "/v1/sessions",
    "/v1/sessions/local",
    "/v1/sign-up",
    "/v1/sign-up/verify",
    "/v1/tokens",
    "/v1/tokens/refresh",
    "/v1/tokens/revoke",
}


def test_what_is_public_is_listed(running: Whole) -> None:
    """A route becomes public by a decision here, never by accident."""
    public = {route.path for route in routes_of(running.app) if route.declared.right == PUBLIC}

    assert public - PUBLIC_PATHS == set()


async def test_reading_answers_whoever_holds_the_right(running: Whole) -> None:
    """What a route declares is what its service demands: nobody admitted at the gate is refused for a right inside."""
    wrong = []
    for route in routes_of(running.app):
        if "GET" not in (route.methods or ()) or route.declared.stream:
            continue
        for who, headers in running.ways.items():
            if expected(route, who) is not None:
                continue
            status, problem = await get(running, filled(route.path), headers)
            if status >= 500 or problem.get("code") in {"not_allowed", "not_signed_in"}:
                wrong.append((route.path, who, status, problem))

    assert wrong == []


async def get(running: Whole, path: str, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    transport = httpx2.ASGITransport(app=running.app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url=BASE, headers=headers) as client:
        answer = await client.get(path)
    is_json = "json" in answer.headers.get("content-type", "")
    return answer.status_code, answer.json() if is_json and isinstance(answer.json(), dict) else {}


def without_key(problem: dict[str, Any], key: str) -> str:
    text = orjson.dumps({name: value for name, value in problem.items() if name != "instance"}).decode()
    return text.replace(key, "KEY")


async def test_another_organisations_id_answers_as_an_unknown_one(running: Whole) -> None:
    """Every list the owner can read gives ids; the owner of another organisation asks for each by address."""
    routes = routes_of(running.app)
    readable = {route.path for route in routes if "GET" in (route.methods or ())}
    compared = set()
    for path in sorted(readable):
        detail = [each for each in readable if re.fullmatch(re.escape(path) + r"/\{[^}/]+\}", each)]
        if "{" in path or not detail:
            continue
        _, listed = await get(running, path, running.ways["owner"])
        for item in (listed.get("data") or [])[:2]:
            key = str(item.get("id") or item.get("person") or "")
            if not key:
                continue
            own, _ = await get(running, f"{path}/{key}", running.ways["owner"])
            unknown = str(uuid4()) if len(key) == 36 else key[:-1] + ("a" if key[-1] != "a" else "b")
            theirs = await get(running, f"{path}/{key}", running.ways["stranger"])
            nothing = await get(running, f"{path}/{unknown}", running.ways["stranger"])
            assert own == 200, (path, key)
            assert theirs[0] == nothing[0] == 404, (path, theirs, nothing)
            assert without_key(theirs[1], key) == without_key(nothing[1], unknown)
            compared.add(path)

    assert compared


async def test_a_credential_that_is_no_longer_good_opens_nothing(running: Whole) -> None:
    for headers in (
        {"authorization": "Bearer bsr_live_00000000_" + "0" * 38},
        {"authorization": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0."},
        {"authorization": "Basic b3duZXI6cGFzc3dvcmQ="},
        {"cookie": "bursar=" + "A" * 43},
        {"authorization": "Bearer nonsense", "cookie": running.ways["owner"]["cookie"]},
    ):
        status, problem = await ask(running, "GET", "/health", headers)

        assert (status, problem["code"]) == (401, "not_signed_in"), headers
