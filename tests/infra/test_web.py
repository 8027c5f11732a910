"""The HTTP edge: refusals, bodies, pages, conditional requests, headers, limits of size."""

import asyncio
import dataclasses
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import orjson
import pytest
import sqlalchemy as sa

from bursar.core.operations.tables import objective
from bursar.infra.db import Database
from bursar.infra.embedded_postgres import APP, EmbeddedPostgres
from bursar.infra.metrics import Metrics
from bursar.infra.paging import BadCursor, pack, unpack
from bursar.infra.web import PUBLIC, TheDb, create_app, etag, router, routes_of
from bursar.infra.web_bodies import JSON_DEPTH_MAX
from bursar.infra.web_problems import FLAWS_MAX
from tests.infra.webapp import SETTINGS, Effects, authenticate, client_of, small_app


@pytest.fixture(scope="module")
async def db(postgres: EmbeddedPostgres, module_database: str) -> AsyncIterator[Database]:
    """One database for all tests here: what they write they do not expect to be alone with."""
    shared = Database(postgres.url(APP, module_database), pool_size=4)
    yield shared
    await shared.close()


@pytest.fixture
async def no_things(db: Database) -> None:
    async with db.system("test", write=True) as tx:
        await tx.run(sa.delete(objective).where(objective.c.kind == "thing"))


@pytest.fixture
def effects() -> Effects:
    return Effects()


@pytest.fixture
async def writer(db: Database, effects: Effects) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(small_app(db, effects), "writer") as client:
        yield client


def problem(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert document["code"] == code
    assert document["instance"] == answer.headers["x-request-id"]
    assert document["type"].endswith(f"/docs/problems#{code}")
    assert "Traceback" not in answer.text
    return document


async def test_a_refusal_is_a_problem_with_its_facts(writer: httpx2.AsyncClient) -> None:
    document = problem(await writer.get("/v1/things/none"), 404, "not_found")

    assert document["facts"] == {"what": "thing", "key": "none"}
    assert document["detail"] == "There is no thing none here."


async def test_an_unknown_path_and_a_wrong_method_are_problems(writer: httpx2.AsyncClient) -> None:
    problem(await writer.get("/v1/nothing"), 404, "no_such_route")
    answer = await writer.delete("/v1/things")

    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD, POST"


async def test_invalid_fields_are_listed_by_pointer_without_echoing_them(writer: httpx2.AsyncClient) -> None:
    body = {"name": "x", "price": {"amount": "hunter2", "currency": "EUR"}, "size": 11, "sze": 1}
    document = problem(await writer.post("/v1/things", json=body), 422, "invalid_request")

    assert {flaw["pointer"] for flaw in document["errors"]} == {"#/price/amount", "#/size", "#/sze"}
    assert "hunter2" not in orjson.dumps(document).decode()


async def test_an_invalid_parameter_is_named(writer: httpx2.AsyncClient) -> None:
    document = problem(await writer.get("/v1/things?limit=201"), 422, "invalid_request")

    assert document["errors"][0]["parameter"] == "limit"


@pytest.mark.parametrize(
    ("query", "parameter", "hint"),
    [
        ("limt=5", "limt", "did you mean limit?"),
        ("limit=5&limit=6", "limit", "only once"),
        ("nonsense=", "nonsense", "no such parameter"),
        ("&".join(f"p{n}=1" for n in range(FLAWS_MAX + 9)), "p0", "no such parameter"),
    ],
)
async def test_a_stray_parameter_is_refused_and_not_left_out_in_silence(
    writer: httpx2.AsyncClient, query: str, parameter: str, hint: str
) -> None:
    document = problem(await writer.get(f"/v1/things?{query}"), 422, "invalid_request")

    assert document["errors"][0]["parameter"] == parameter
    assert hint in document["errors"][0]["detail"]
    assert len(document["errors"]) <= FLAWS_MAX


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"{'a': 1}",
        b'{"name": "\xff"}',
        b'{"name": NaN}',
        b'{"name": "\\ud800"}',
        b'{"name": "a\\u0000b"}',
        b"[" * 5000,
    ],
)
async def test_a_body_that_is_not_clean_json_is_refused(writer: httpx2.AsyncClient, body: bytes) -> None:
    answer = await writer.post("/v1/things", content=body, headers={"content-type": "application/json"})

    problem(answer, 400, "malformed_body")


async def test_an_escaped_backslash_before_u0000_is_not_a_nul(writer: httpx2.AsyncClient) -> None:
    answer = await writer.post(
        "/v1/things", content=b'{"name": "\\\\u0000"}', headers={"content-type": "application/json"}
    )

    assert answer.json()["name"] == "\\u0000"


async def test_nesting_is_allowed_up_to_the_limit_and_no_further(writer: httpx2.AsyncClient) -> None:
    def nested(levels: int) -> dict[str, Any]:
        value: Any = "leaf"
        for _ in range(levels):
            value = [value]
        return {"name": "x", "more": {"deep": value}}

    allowed = await writer.post("/v1/things", json=nested(JSON_DEPTH_MAX - 2))

    assert allowed.status_code == 201, allowed.text
    problem(await writer.post("/v1/things", json=nested(JSON_DEPTH_MAX - 1)), 400, "malformed_body")
    abyss = await writer.post("/v1/things", content=b"[" * 5000, headers={"content-type": "application/json"})
    assert "nested deeper" in abyss.json()["detail"]


@pytest.mark.parametrize("path", ["/v1/things/a%00b", "/v1/things?after=%00"])
async def test_nul_bytes_in_the_address_are_refused(writer: httpx2.AsyncClient, path: str) -> None:
    problem(await writer.get(path), 400, "malformed_address")


async def test_another_media_type_is_refused(writer: httpx2.AsyncClient) -> None:
    text = await writer.post("/v1/things", content=b'{"name": "x"}', headers={"content-type": "text/plain"})
    none = await writer.post("/v1/things", content=b'{"name": "x"}')
    form = await writer.post("/v1/files", json={"file": "x"})

    problem(text, 415, "wrong_media_type")
    problem(none, 415, "wrong_media_type")
    problem(form, 415, "wrong_media_type")


async def test_a_body_over_the_limit_is_refused_announced_or_not(writer: httpx2.AsyncClient, effects: Effects) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b'{"name": "'
        for _ in range(200):
            yield b"x" * 10_000
        yield b'"}'

    kind = {"content-type": "application/json"}
    announced = await writer.post("/v1/things", content=b'{"name": "' + b"x" * 1_048_577 + b'"}', headers=kind)
    streamed = await writer.post("/v1/things", content=chunks(), headers=kind)

    assert problem(announced, 413, "too_large")["facts"] == {"what": "the body", "limit": 1_048_576, "unit": "bytes"}
    problem(streamed, 413, "too_large")
    assert effects.runs == 0


async def test_an_upload_is_counted_while_it_streams(writer: httpx2.AsyncClient) -> None:
    small = await writer.post("/v1/files", files={"file": ("a.csv", b"x" * 100_000)})
    large = await writer.post("/v1/files", files={"file": ("a.csv", b"x" * 300_000)})

    async def chunks() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(100):
            yield b"x" * 10_000
        yield b"\r\n--b--\r\n"

    hidden = await writer.post(
        "/v1/files", content=chunks(), headers={"content-type": "multipart/form-data; boundary=b"}
    )

    assert small.json() == {"bytes": 100_000}
    problem(large, 413, "too_large")
    problem(hidden, 413, "too_large")


async def test_a_malformed_form_is_refused(writer: httpx2.AsyncClient) -> None:
    answer = await writer.post("/v1/files", content=b"nonsense", headers={"content-type": "multipart/form-data"})

    problem(answer, 400, "malformed_body")


async def test_a_crash_tells_nothing_but_the_request_id(writer: httpx2.AsyncClient, effects: Effects) -> None:
    effects.crash = True
    answer = await writer.post("/v1/things", json={"name": "x"})

    problem(answer, 500, "crash")
    assert "hunter2" not in answer.text
    assert "RuntimeError" not in answer.text


async def test_a_number_that_does_not_fit_is_refused(writer: httpx2.AsyncClient) -> None:
    problem(await writer.get(f"/v1/number?value={10**30}"), 422, "out_of_range")


async def test_a_request_id_is_taken_over_only_in_a_safe_form(writer: httpx2.AsyncClient) -> None:
    taken = await writer.get("/v1/who", headers={"x-request-id": "abcDEF-1234"})
    refused = await writer.get("/v1/who", headers={"x-request-id": "short"})
    injected = await writer.get("/v1/who", headers={"x-request-id": 'abcdefgh"; drop'})

    assert taken.headers["x-request-id"] == "abcDEF-1234"
    assert taken.json()["request"] == "abcDEF-1234"
    for answer in (refused, injected):
        assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])


async def test_nobody_passes_without_the_declared_right(db: Database) -> None:
    app = small_app(db)
    async with client_of(app) as anonymous, client_of(app, "reader") as reader:
        unknown = await anonymous.post("/v1/things", json={"name": "x"})
        lacking = await reader.post("/v1/things", content=b"not even read", headers={"content-type": "text/plain"})

    problem(unknown, 401, "not_signed_in")
    assert unknown.headers["www-authenticate"].startswith("Bearer")
    assert problem(lacking, 403, "not_allowed")["facts"] == {"right": "thing:write"}


def test_a_route_without_right_description_or_async_fails_at_import() -> None:
    r = router("bad", tag="Bad")

    with pytest.raises(TypeError, match="right"):
        r.get("/v1/a")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="noun:verb"):

        @r.get("/v1/a", right="anything")
        async def a() -> None:
            """Describe."""

    with pytest.raises(TypeError, match="docstring"):

        @r.get("/v1/b", right=PUBLIC)
        async def b() -> None: ...

    with pytest.raises(TypeError, match="async def"):

        @r.get("/v1/c", right=PUBLIC)
        def c() -> None:
            """Describe."""

    assert r.routes == []


def test_two_routes_cannot_share_an_address(db: Database) -> None:
    r = router("twice", tag="Twice")
    for name in ("one", "two"):

        async def handler(db: TheDb) -> None:
            """Describe."""

        handler.__name__ = name
        r.get("/v1/same/{id}" if name == "one" else "/v1/same/{other}", right=PUBLIC)(handler)

    with pytest.raises(TypeError, match="declared twice"):
        create_app(SETTINGS, db, [r], authenticate, metrics=Metrics())


async def test_a_route_added_past_the_router_is_not_served(db: Database) -> None:
    app = small_app(db)

    @app.get("/v1/back-door")
    async def back_door() -> str:
        return "in"

    async with client_of(app, "writer") as client:
        problem(await client.get("/v1/back-door"), 404, "no_such_route")
    assert "/v1/back-door" not in {route.path for route in routes_of(app)}


async def test_every_answer_carries_the_security_headers(writer: httpx2.AsyncClient) -> None:
    for answer in (await writer.get("/v1/who"), await writer.get("/v1/nothing"), await writer.get("/docs")):
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert "strict-transport-security" not in answer.headers


async def test_hsts_is_sent_over_tls_only(db: Database) -> None:
    app = small_app(db)
    async with client_of(app, "writer") as client:
        answer = await client.get("https://bursar.test/v1/who")
        spoofed = await client.get("/v1/who", headers={"x-forwarded-proto": "https"})

    assert answer.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"
    assert "strict-transport-security" not in spoofed.headers


async def test_head_answers_as_get_without_a_body(writer: httpx2.AsyncClient) -> None:
    answer = await writer.head("/v1/who")

    assert answer.status_code == 200
    assert answer.content == b""
    assert int(answer.headers["content-length"]) > 0


async def test_an_unseen_version_is_not_overwritten(writer: httpx2.AsyncClient, effects: Effects) -> None:
    tag = (await writer.get("/v1/things/a")).headers["etag"]
    missing = await writer.put("/v1/things/a", json={"name": "b"})
    for malformed in ("", "abc", '"a" "b"', '"a",', '"' + "x" * 101 + '"'):
        bad = await writer.put("/v1/things/a", json={"name": "b"}, headers={"if-match": malformed})
        problem(bad, 422, "invalid")
    first = await writer.put("/v1/things/a", json={"name": "b"}, headers={"if-match": tag})
    second = await writer.put("/v1/things/a", json={"name": "c"}, headers={"if-match": tag})

    problem(missing, 428, "precondition_missing")
    assert first.status_code == 200
    assert first.headers["etag"] == etag(2)
    problem(second, 412, "stale")
    assert effects.version == 2


async def test_an_unchanged_resource_is_not_sent_again(writer: httpx2.AsyncClient) -> None:
    first = await writer.get("/v1/things/a")
    again = await writer.get("/v1/things/a", headers={"if-none-match": first.headers["etag"]})

    assert again.status_code == 304
    assert again.content == b""
    assert again.headers["etag"] == first.headers["etag"]


async def test_pages_cover_a_list_without_gap_or_overlap(
    writer: httpx2.AsyncClient, db: Database, no_things: None
) -> None:
    row = {"kind": "thing", "budget": 1, "unit": "s", "share": 1, "about": ""}
    names = [f"n{number:03}" for number in range(23)]
    async with db.system("test", write=True) as tx:
        await tx.run(sa.insert(objective), [row | {"name": name} for name in names])
    seen: list[str] = []
    after = ""
    pages = 0
    while pages < 10:
        answer = (await writer.get(f"/v1/things?limit=5{after}")).json()
        seen += [item["id"] for item in answer["data"]]
        pages += 1
        if answer["next"] is None:
            break
        after = f"&after={answer['next']}"

    assert seen == names
    assert pages == 5


async def test_a_cursor_of_another_list_or_organisation_is_refused(db: Database, no_things: None) -> None:
    row = {"kind": "thing", "budget": 1, "unit": "s", "share": 1, "about": ""}
    async with db.system("test", write=True) as tx:
        await tx.run(sa.insert(objective), [row | {"name": name} for name in "abc"])
    app = small_app(db)
    async with client_of(app, "writer") as own, client_of(app, "stranger") as other:
        cursor = (await own.get("/v1/things?limit=1")).json()["next"]
        good = await own.get(f"/v1/things?limit=1&after={cursor}")
        forged = cursor[:-2] + ("A" if cursor[-2] != "A" else "B") + cursor[-1]

        assert good.json()["data"][0]["id"] == "b"
        problem(await other.get(f"/v1/things?after={cursor}"), 422, "bad_cursor")
        problem(await own.get(f"/v1/things?after={forged}"), 422, "bad_cursor")
        problem(await own.get("/v1/things?after=nonsense%2B"), 422, "bad_cursor")


def test_a_cursor_is_bound_to_its_list() -> None:
    cursor = pack(("a", 1, 2), b"k" * 32, "one")

    assert unpack(cursor, b"k" * 32, "one") == ("a", 1, 2)
    with pytest.raises(BadCursor):
        unpack(cursor, b"k" * 32, "two")


async def test_money_is_text_on_the_wire(writer: httpx2.AsyncClient) -> None:
    good = await writer.post("/v1/things", json={"name": "x", "price": {"amount": "12.50", "currency": "EUR"}})
    places = await writer.post("/v1/things", json={"name": "x", "price": {"amount": "1.5", "currency": "JPY"}})
    number = await writer.post("/v1/things", json={"name": "x", "price": {"amount": 12.5, "currency": "EUR"}})

    assert good.json()["price"] == {"amount": "12.50", "currency": "EUR"}
    problem(places, 422, "invalid")
    problem(number, 422, "invalid_request")


async def test_cors_lets_listed_origins_in_and_no_other(db: Database) -> None:
    app = small_app(db, settings=dataclasses.replace(SETTINGS, cors_origins=("https://ui.example",)))
    ask = {"access-control-request-method": "POST"}
    async with client_of(app, "writer") as client:
        listed = await client.options("/v1/things", headers={"origin": "https://ui.example"} | ask)
        other = await client.options("/v1/things", headers={"origin": "https://evil.example"} | ask)
        answer = await client.get("/v1/who", headers={"origin": "https://ui.example"})

    assert listed.status_code == 204
    assert listed.headers["access-control-allow-origin"] == "https://ui.example"
    assert "idempotency-key" in listed.headers["access-control-allow-headers"]
    assert other.status_code == 403
    assert "access-control-allow-origin" not in other.headers
    assert answer.headers["access-control-allow-credentials"] == "true"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "same-origin"}, 201),
        ({"sec-fetch-site": "none"}, 201),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "http://bursar.test"}, 201),
        ({"origin": "http://evil.test"}, 403),
        ({"origin": "null"}, 403),
        ({}, 201),
    ],
)
async def test_a_page_of_another_site_cannot_use_the_session(
    db: Database, headers: dict[str, str], status: int
) -> None:
    async with client_of(small_app(db), cookies={"who": "writer"}) as client:
        answer = await client.post("/v1/things", json={"name": "x"}, headers=headers)

    assert answer.status_code == status, answer.text


async def test_a_foreign_name_for_this_server_is_refused(writer: httpx2.AsyncClient) -> None:
    rebound = await writer.get("/v1/who", headers={"host": "evil.example:8417"})
    literal = await writer.get("/v1/who", headers={"host": "127.0.0.1:8417"})
    local = await writer.get("/v1/who", headers={"host": "localhost:8417"})

    problem(rebound, 421, "unknown_host")
    assert (literal.status_code, local.status_code) == (200, 200)


async def test_event_streams_resume_after_the_last_event_and_beat(writer: httpx2.AsyncClient) -> None:
    whole = await writer.get("/v1/events")
    rest = await writer.get("/v1/events", headers={"last-event-id": "2"})
    bad = await writer.get("/v1/events", headers={"last-event-id": "two words"})

    assert whole.headers["content-type"].startswith("text/event-stream")
    assert re.findall(r"id: (\d)", whole.text) == ["1", "2", "3"]
    assert ": still here" in whole.text
    assert 'data: {"number":3}' in whole.text
    assert re.findall(r"id: (\d)", rest.text) == ["3"]
    problem(bad, 422, "invalid")


async def test_the_description_covers_every_route_with_typed_refusals(db: Database) -> None:
    app = small_app(db)
    document = app.openapi()

    assert document["openapi"].startswith("3.1")
    names = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names)) == len(routes_of(app))
    for path in document["paths"].values():
        for operation in path.values():
            assert operation["description"]
            refusals = [status for status in operation["responses"] if status.startswith("4")]
            assert "429" in refusals
            for status in refusals:
                assert "application/problem+json" in operation["responses"][status]["content"]
    async with client_of(app) as client:
        assert (await client.get("/openapi.json")).json() == document
        page = (await client.get("/docs")).text
        problems = (await client.get("/docs/problems")).text
    assert "<script" not in page
    assert "/v1/things/{key}" in page
    assert 'id="not_found"' in problems


async def test_requests_are_counted_by_template(db: Database) -> None:
    metrics = Metrics()
    async with client_of(small_app(db, metrics=metrics), "writer") as client:
        await asyncio.gather(*(client.get(f"/v1/things/{number}") for number in range(5)))
        await client.get("/v1/number?value=7")
        await client.get("/v1/nothing/secret-in-path")
    series = metrics.read("api")

    assert series["GET", "/v1/things/{key}"].count == 5
    assert series["ANY", "unmatched"].count == 1
    assert metrics.read("database")["GET", "/v1/number"].seconds > 0
    assert not any("secret" in " ".join(labels) for labels in series)


async def test_a_handler_may_take_the_request_itself(writer: httpx2.AsyncClient) -> None:
    answer = await writer.get("/v1/echo?word=hello")

    assert answer.json() == {"path": "/v1/echo", "word": "hello", "name": "person:writer"}


async def page(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
    await send({"type": "http.response.body", "body": b"<p>the interface</p>"})


@pytest.mark.parametrize(
    ("path", "accept", "shown"),
    [
        ("/", "*/*", True),
        ("/findings/7", "text/html,*/*", True),
        ("/assets/main.js", "*/*", True),
        ("/findings/7", "application/json", False),
        ("/v1/nothing", "text/html", False),
        ("/health/nothing", "text/html", False),
        ("/v1/nothing.js", "*/*", False),
    ],
)
async def test_the_interface_is_shown_to_browsers_and_problems_to_programs(
    db: Database, path: str, accept: str, shown: bool
) -> None:
    async with client_of(small_app(db, pages=page)) as client:
        answer = await client.get(path, headers={"accept": accept})
        changed = await client.post(path, headers={"accept": accept})
        rebound = await client.get(path, headers={"accept": accept, "host": "evil.example"})

    assert ("the interface" in answer.text) is shown
    assert "content-security-policy" in answer.headers
    if not shown:
        problem(answer, 404, "no_such_route")
    assert changed.status_code == 404
    assert rebound.status_code == (421 if shown else 404)


async def test_a_websocket_is_declined(db: Database) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    scope = {"type": "websocket", "path": "/v1/things", "headers": [], "query_string": b"", "scheme": "ws"}
    await small_app(db)(scope, receive, send)

    assert sent == [{"type": "websocket.close", "code": 1003}]
