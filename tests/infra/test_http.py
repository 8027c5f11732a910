import asyncio
import gzip
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursar.infra import http_breaker
from bursar.infra.http import (
    Answered,
    Caps,
    Client,
    Egress,
    EgressRefused,
    Host,
    NoAnswer,
    ReplyTooLarge,
    Validators,
    hosts_from,
)
from bursar.infra.http_address import may_connect
from bursar.infra.http_guard import system_resolve
from bursar.kernel.errors import Invalid
from tests.infra.servers import Asked, Server, answer, certificate, replies, serving

LOOPBACK = ("127.0.0.0/8", "::1/128")
QUICK = Caps(connect_s=2, read_s=0.5, total_s=3, body_bytes=100_000, attempts=3)

REFUSED = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.8.8.8",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::169.254.169.254",
    "::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a9fe:a9fe",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:a9fe:a9fe::",
    "2002:7f00:1::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fe80::1",
    "fe80::1%lo",
    "fec0::1",
    "ff02::1",
    "not an address",
]
PUBLIC = ["93.184.216.34", "8.8.8.8", "2606:4700:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"]
SPELLINGS = ["2130706433", "0x7f.1", "0177.0.0.1", "127.1", "①②⑦.0.0.1", "localhost", "0", "[::ffff:127.0.0.1]", "[::]"]


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving(replies(answer())) as running:
        yield running


def loopback(server: Server, name: str = "127.0.0.1") -> Host:
    return Host(name, frozenset({server.port}), frozenset({server.scheme}), LOOPBACK)


@asynccontextmanager
async def client_of(*hosts: Host, egress: Egress | None = None, caps: Caps = QUICK) -> AsyncIterator[Client]:
    client = (egress or Egress(sleep=skip)).client("test", allow=hosts, caps=caps)
    try:
        yield client
    finally:
        await client.close()


async def skip(_seconds: float) -> None:
    """Waits of the client take no time in tests."""


def resolving(*answers: Sequence[str]) -> Egress:
    """An egress whose name server gives each answer once, the last one for ever."""
    left = list(answers)

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return Egress(resolve=resolve, sleep=skip)


@pytest.mark.parametrize("address", REFUSED)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert not may_connect(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_allowed(address: str) -> None:
    assert may_connect(address)


@pytest.mark.parametrize("address", ["169.254.169.254", "168.63.129.16", "fd00:ec2::254", "224.0.0.1", "fe80::1"])
def test_a_metadata_address_is_refused_even_inside_an_allowed_range(address: str) -> None:
    everything = [network for text in ("0.0.0.0/0", "::/0") for network in Host("x", private=(text,)).networks()]

    assert not may_connect(address, private=everything)


@given(st.ip_addresses(v=4))
def test_a_mapped_and_a_nat64_address_are_judged_as_the_ipv4_address_inside(inner: object) -> None:
    expected = may_connect(str(inner))

    assert may_connect(f"::ffff:{inner}") is expected
    assert may_connect(f"64:ff9b::{inner}") is expected


@pytest.mark.parametrize("address", [text for text in REFUSED if " " not in text and "%" not in text])
async def test_no_refused_address_is_connected_to_by_name_or_as_a_literal(address: str, server: Server) -> None:
    literal = f"[{address}]" if ":" in address else address
    everyone = Host("*", frozenset({server.port}), frozenset({"http"}))
    async with client_of(everyone) as client, client_of(everyone, egress=resolving([address])) as named:
        for one, host in ((client, literal), (named, "shop.example")):
            with pytest.raises(EgressRefused):
                await one.request("GET", f"http://{host}:{server.port}/")

    assert server.connections == 0


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_no_spelling_of_loopback_gets_through(spelling: str, server: Server) -> None:
    async with client_of(Host("*", frozenset({server.port}), frozenset({"http"}))) as client:
        with pytest.raises((EgressRefused, NoAnswer)):
            await client.request("GET", f"http://{spelling}:{server.port}/")

    assert server.connections == 0


async def test_one_refused_address_among_public_ones_refuses_the_name(server: Server) -> None:
    everyone = Host("*", frozenset({server.port}), frozenset({"http"}))
    async with client_of(everyone, egress=resolving(["93.184.216.34", "127.0.0.1"])) as client:
        with pytest.raises(EgressRefused):
            await client.request("GET", f"http://shop.example:{server.port}/")

    assert server.connections == 0


async def test_a_name_that_rebinds_is_judged_again_at_every_connection(server: Server) -> None:
    egress = resolving(["127.0.0.1"], ["127.0.0.1"], ["169.254.169.254"])
    async with client_of(loopback(server, "shop.example"), egress=egress) as client:
        for _ in range(2):
            reply = await client.request("GET", server.url("/", "shop.example"), headers={"Connection": "close"})
            assert reply.ok
        with pytest.raises(EgressRefused):
            await client.request("GET", server.url("/", "shop.example"))

    assert server.connections == 2


async def test_the_address_judged_is_the_address_connected_to(server: Server) -> None:
    asked: list[str] = []

    async def resolve(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"]

    async with client_of(loopback(server, "shop.example"), egress=Egress(resolve=resolve)) as client:
        await client.request("GET", server.url("/", "shop.example"))

    assert asked == ["shop.example"]
    assert server.asked[0].headers["host"] == f"shop.example:{server.port}"


async def test_a_redirect_is_not_followed() -> None:
    async with (
        serving(replies(answer(200, b"secret"))) as inside,
        serving(replies(answer(302, b"", location=inside.url("/latest/meta-data")))) as outside,
        client_of(loopback(outside), loopback(inside)) as client,
    ):
        reply = await client.request("GET", outside.url())

    assert (reply.status, reply.ok) == (302, False)
    assert inside.asked == []


async def test_no_proxy_of_the_environment_is_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(replies(answer(200, b"from the proxy"))) as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url())
        async with client_of(loopback(server)) as client:
            reply = await client.request("GET", server.url())

    assert reply.body == b"ok"
    assert proxy.connections == 0


async def test_no_credential_of_the_environment_is_sent(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret", encoding="ascii")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with client_of(loopback(server)) as client:
        await client.request("GET", server.url())

    assert "authorization" not in server.asked[0].headers


async def test_cookies_are_not_kept() -> None:
    async with (
        serving(replies(answer(200, b"", set_cookie="id=1; Path=/"))) as server,
        client_of(loopback(server)) as client,
    ):
        for _ in range(2):
            await client.request("GET", server.url())

    assert all("cookie" not in asked.headers for asked in server.asked)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://api.example:443/", "scheme"),
        ("https://api.example:8443/", "port 8443"),
        ("https://other.example/", "not on the list"),
        ("https://api.example.evil.example/", "not on the list"),
        ("https://api.example@evil.example/", "not on the list"),
        ("https://me:secret@api.example/", "name or password"),
        ("file:///etc/passwd", "not on the list"),
        ("gopher://api.example/", "scheme"),
        ("//api.example/", "scheme"),
        ("https://", "not on the list"),
        ("https://api.example/\r\nHost: evil", "unprintable"),
        ("https://api.example/" + "a" * 5000, "4096"),
        ("https://[::1", "valid"),
        ("https://evil.example\\@api.example/", ""),
    ],
)
async def test_an_address_off_the_list_is_refused_before_any_name_is_looked_up(url: str, why: str) -> None:
    async def resolve(host: str, _port: int) -> Sequence[str]:
        raise AssertionError(host)

    async with client_of(Host("api.example"), egress=Egress(resolve=resolve)) as client:
        with pytest.raises(EgressRefused) as caught:
            await client.request("GET", url)

    assert why in str(caught.value)


def test_a_wildcard_covers_names_below_only() -> None:
    entry = Host("*.example.com")

    assert entry.covers("a.b.example.com")
    assert not entry.covers("example.com")
    assert not entry.covers("badexample.com")


async def test_tls_is_checked_against_the_name_not_the_address(tmp_path: Path) -> None:
    tls, trusting = certificate(tmp_path, "api.example")
    egress = resolving(["127.0.0.1"])
    egress.ssl_context = trusting
    async with (
        serving(replies(answer()), tls=tls) as server,
        client_of(loopback(server, "api.example"), loopback(server, "other.example"), egress=egress) as client,
    ):
        assert (await client.request("GET", server.url("/", "api.example"))).ok
        with pytest.raises(NoAnswer, match="certificate is not valid"):
            await client.request("GET", server.url("/", "other.example"))


async def test_an_unknown_authority_is_refused(tmp_path: Path) -> None:
    tls, _ = certificate(tmp_path, "api.example")
    async with (
        serving(replies(answer()), tls=tls) as server,
        client_of(loopback(server, "api.example"), egress=resolving(["127.0.0.1"])) as client,
    ):
        with pytest.raises(NoAnswer, match="certificate is not valid"):
            await client.request("GET", server.url("/", "api.example"))

    assert server.asked == []


async def test_a_body_over_the_cap_is_cut_while_it_arrives() -> None:
    sent = 0

    async def endless(_asked: Asked, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n")
        while not writer.transport.is_closing():
            writer.write(b"x" * 65536)
            sent += 65536
            await writer.drain()

    async with serving(endless) as server, client_of(loopback(server)) as client:
        with pytest.raises(ReplyTooLarge, match="100000 bytes"):
            await client.request("GET", server.url())
        await asyncio.sleep(0.05)

    assert sent < 20_000_000


async def test_a_gzip_bomb_is_cut_at_the_decoded_size() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    async with (
        serving(replies(answer(200, bomb, content_encoding="gzip"))) as server,
        client_of(loopback(server)) as client,
    ):
        with pytest.raises(ReplyTooLarge):
            await client.request("GET", server.url())


async def test_gzip_is_decoded() -> None:
    body = gzip.compress(b"prices" * 1000)
    async with (
        serving(replies(answer(200, body, content_encoding="gzip"))) as server,
        client_of(loopback(server)) as client,
    ):
        assert (await client.get(server.url())).body == b"prices" * 1000


@pytest.mark.parametrize(
    ("response", "why"),
    [
        (answer(200, gzip.compress(b"prices" * 1000)[:-12], content_encoding="gzip"), "ends too early"),
        (answer(200, b"not gzip", content_encoding="gzip"), "broken"),
        (answer(200, b"x", content_encoding="br"), "not asked for"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort", "nothing arrived|too early"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: ", "nothing arrived"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "does not speak HTTP"),
        (b"", "nothing arrived"),
    ],
)
async def test_a_broken_answer_is_a_typed_refusal_after_three_tries(response: bytes, why: str) -> None:
    async with serving(replies(response)) as server, client_of(loopback(server)) as client:
        with pytest.raises(NoAnswer, match=why):
            await client.request("GET", server.url())

    assert len(server.asked) == 3


async def test_a_slow_loris_is_cut_by_the_total_time() -> None:
    async def drip(_asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        for _ in range(1000):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    caps = Caps(read_s=1, total_s=0.4, attempts=1)
    async with serving(drip) as server, client_of(loopback(server), caps=caps) as client:
        with pytest.raises(NoAnswer, match=r"within 0\.4 s"):
            await client.request("GET", server.url())


async def test_a_closed_port_is_no_answer() -> None:
    async with serving(replies(answer())) as server:
        pass
    async with client_of(loopback(server)) as client:
        with pytest.raises(NoAnswer, match="no connection"):
            await client.request("GET", server.url())


async def test_a_name_that_does_not_resolve_is_no_answer() -> None:
    async def resolve(_host: str, _port: int) -> Sequence[str]:
        raise OSError("unknown name")

    async with client_of(Host("api.example"), egress=Egress(resolve=resolve, sleep=skip)) as client:
        with pytest.raises(NoAnswer, match="no connection"):
            await client.request("GET", "https://api.example/")


async def test_a_busy_host_is_asked_again_after_the_time_it_names() -> None:
    waits: list[float] = []

    async def note(seconds: float) -> None:
        waits.append(seconds)

    responses = replies(answer(429, retry_after="7"), answer(503), answer(200, b"there"))
    async with serving(responses) as server, client_of(loopback(server), egress=Egress(sleep=note)) as client:
        reply = await client.request("GET", server.url())

    assert reply.body == b"there"
    assert waits[0] == 7
    assert 0 <= waits[1] <= 1


async def test_a_wait_over_the_limit_is_left_to_the_caller() -> None:
    async with serving(replies(answer(429, retry_after="3600"))) as server, client_of(loopback(server)) as client:
        with pytest.raises(Answered) as caught:
            await client.get(server.url())

    assert (caught.value.answered, caught.value.retry_after_s) == (429, 3600)
    assert len(server.asked) == 1


async def test_a_post_is_sent_once_unless_declared_repeatable() -> None:
    async with serving(replies(answer(503))) as server, client_of(loopback(server)) as client:
        once = await client.request("POST", server.url(), content=b"{}")
        assert (once.status, len(server.asked)) == (503, 1)

        await client.request("POST", server.url(), content=b"{}", repeatable=True)
        assert len(server.asked) == 4


async def test_a_host_that_keeps_failing_is_left_alone_and_tried_once_later() -> None:
    now = 0.0
    async with serving(replies(answer(500))) as server:
        egress = Egress(sleep=skip, monotonic=lambda: now)
        async with client_of(loopback(server), egress=egress) as client:
            for _ in range(http_breaker.FAILURES_TO_OPEN):
                await client.request("GET", server.url())
            with pytest.raises(NoAnswer, match="left alone"):
                await client.request("GET", server.url())
            assert len(server.asked) == http_breaker.FAILURES_TO_OPEN

            now = http_breaker.OPEN_S + 1
            await client.request("GET", server.url())
            with pytest.raises(NoAnswer, match="left alone"):
                await client.request("GET", server.url())

    assert len(server.asked) == http_breaker.FAILURES_TO_OPEN + 1


async def test_an_answer_closes_the_circuit_again() -> None:
    async with (
        serving(replies(*[answer(500)] * 4, answer(), answer(500))) as server,
        client_of(loopback(server)) as client,
    ):
        statuses = [(await client.request("GET", server.url())).status for _ in range(8)]

    assert statuses == [500] * 4 + [200] + [500] * 3


async def test_a_conditional_request_tells_that_nothing_changed() -> None:
    async def handle(asked: Asked, writer: asyncio.StreamWriter) -> None:
        same = asked.headers.get("if-none-match") == '"v1"'
        writer.write(answer(304, b"") if same else answer(200, b"prices", etag='"v1"', last_modified="Mon"))
        await writer.drain()

    async with serving(handle) as server, client_of(loopback(server)) as client:
        first = await client.get_if_changed(server.url(), Validators())
        assert first is not None
        second = await client.get_if_changed(server.url(), first.validators)

    assert first.validators == Validators('"v1"', "Mon")
    assert second is None
    assert server.asked[1].headers["if-modified-since"] == "Mon"


async def test_what_the_host_sent_is_in_no_refusal() -> None:
    async with (
        serving(replies(answer(403, b"SECRET", x_note="SECRET"))) as server,
        client_of(loopback(server)) as client,
    ):
        with pytest.raises(Answered) as caught:
            await client.get(server.url("/?token=SECRET"))

    assert "SECRET" not in str(caught.value) + repr(dict(caught.value.facts))


async def test_json_that_is_none_is_refused() -> None:
    async with serving(replies(answer(200, b"<html>"))) as server, client_of(loopback(server)) as client:
        with pytest.raises(NoAnswer, match="not JSON"):
            (await client.get(server.url())).json()


async def test_a_download_can_be_read_while_it_arrives() -> None:
    async with (
        serving(replies(answer(200, b"x" * 90_000))) as server,
        client_of(loopback(server)) as client,
        client.stream("GET", server.url()) as download,
    ):
        sizes = [len(part) async for part in download.chunks()]

    assert sum(sizes) == 90_000


@given(st.integers(1, 30), st.integers())
def test_the_back_off_stays_under_its_ceiling(attempt: int, seed: int) -> None:
    assert 0 <= http_breaker.backoff_s(attempt, random.Random(seed)) <= http_breaker.BACKOFF_MAX_S


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("120", 120),
        (" 0 ", 0),
        ("Fri, 20 Nov 2026 06:00:30 GMT", 30),
        ("Fri, 20 Nov 2020 06:00:30 GMT", 0),
        ("soon", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value: str, expected: float | None) -> None:
    assert http_breaker.retry_after_s(value, now=datetime(2026, 11, 20, 6, tzinfo=UTC)) == expected


async def test_the_system_turns_spellings_into_the_address_they_mean() -> None:
    assert list(await system_resolve("127.1", 80)) == ["127.0.0.1"]


async def test_a_self_hosters_own_host_may_be_reached_and_nothing_beside_it(server: Server) -> None:
    async with client_of(*hosts_from([f"127.0.0.1:{server.port}"])) as client:
        assert (await client.request("GET", server.url())).ok
        for other in (f"http://127.0.0.2:{server.port}/", "http://127.0.0.1:1/"):
            with pytest.raises(EgressRefused):
                await client.request("GET", other)
    async with client_of(*hosts_from(["meta.internal:80"]), egress=resolving(["169.254.169.254"])) as client:
        with pytest.raises(EgressRefused):
            await client.request("GET", "http://meta.internal/")


@pytest.mark.parametrize("entry", ["", "host", "host:", ":80", "host:0", "host:70000", "http://host:80", "host:8o"])
def test_an_own_host_of_another_form_is_refused(entry: str) -> None:
    with pytest.raises(Invalid):
        hosts_from([entry])
