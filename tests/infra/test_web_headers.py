"""Addresses behind proxies, names of the server, request ids."""

import dataclasses

import pytest

from bursar.infra.web_headers import bucket_of, caller, dressed, host_known, request_id
from tests.infra.webapp import SETTINGS

XFF = b"x-forwarded-for"


@pytest.mark.parametrize(
    ("sent", "proxies", "address"),
    [
        ([], 0, "10.0.0.1"),
        ([(XFF, b"1.2.3.4")], 0, "10.0.0.1"),
        ([(XFF, b"1.2.3.4")], 1, "1.2.3.4"),
        ([(XFF, b"6.6.6.6, 1.2.3.4")], 1, "1.2.3.4"),
        ([(XFF, b"6.6.6.6, 1.2.3.4, 10.0.0.2")], 2, "1.2.3.4"),
        ([(XFF, b"6.6.6.6"), (XFF, b"1.2.3.4")], 1, "1.2.3.4"),
        ([(XFF, b"1.2.3.4")], 2, "10.0.0.1"),
        ([(XFF, b"not an address")], 1, "10.0.0.1"),
        ([(XFF, b"[2001:db8::1]")], 1, "2001:db8::1"),
    ],
)
def test_only_what_trusted_proxies_add_is_believed(sent: list[tuple[bytes, bytes]], proxies: int, address: str) -> None:
    assert caller(("10.0.0.1", 5), "http", sent, proxies) == (address, False)


def test_the_scheme_is_believed_from_a_trusted_proxy_only() -> None:
    sent = [(b"x-forwarded-proto", b"https")]

    assert caller(("10.0.0.1", 5), "http", sent, 0)[1] is False
    assert caller(("10.0.0.1", 5), "http", sent, 1)[1] is True
    assert caller(("10.0.0.1", 5), "https", [], 0)[1] is True
    assert caller(None, "http", [], 0)[0] == "local"


@pytest.mark.parametrize(
    ("address", "bucket"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("local", "local"),
        ("a:b", "a:b"),
    ],
)
def test_an_ipv6_subscriber_is_one_address(address: str, bucket: str) -> None:
    assert bucket_of(address) == bucket


@pytest.mark.parametrize(
    ("host", "known"),
    [
        (None, True),
        (b"bursar.test", True),
        (b"BURSAR.TEST:443", True),
        (b"localhost:8417", True),
        (b"127.0.0.1", True),
        (b"[::1]:8417", True),
        (b"inside.example", True),
        (b"evil.example", False),
        (b"bursar.test.evil.example", False),
        (b"localhost.evil.example", False),
        (b"", False),
    ],
)
def test_only_known_names_are_served(host: bytes | None, known: bool) -> None:
    assert host_known(host, dataclasses.replace(SETTINGS, hosts=("inside.example",))) is known
    assert host_known(host, dataclasses.replace(SETTINGS, hosts=("*",)))


@pytest.mark.parametrize("sent", [None, b"", b"1234567", b"a" * 65, b"abc def ghi", b"abcdefgh\n", "äöüäöüäö".encode()])
def test_an_unsafe_request_id_is_replaced(sent: bytes | None) -> None:
    made = request_id(sent)

    assert len(made) == 32
    assert made != request_id(sent)


def test_a_safe_request_id_is_kept() -> None:
    assert request_id(b"abcdefgh") == "abcdefgh"


def test_an_answer_keeps_the_headers_it_set_itself() -> None:
    own = [(b"cache-control", b"public"), (b"content-security-policy", b"sandbox")]
    headers = dressed(own, secure=True, extra=[])

    assert [value for name, value in headers if name == b"cache-control"] == [b"public"]
    assert [value for name, value in headers if name == b"content-security-policy"] == [b"sandbox"]
    assert (b"strict-transport-security", b"max-age=31536000; includeSubDomains") in headers
