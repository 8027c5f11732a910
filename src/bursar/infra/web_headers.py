"""Header rules of the edge: request ids, addresses behind proxies, hosts, cross-site requests, CORS, security headers."""

import ipaddress
import re
import secrets
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from bursar.infra.web_context import WebSettings

Headers = list[tuple[bytes, bytes]]

_REQUEST_ID = re.compile(rb"[A-Za-z0-9-]{8,64}")

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)
"""Content security policy of every answer that sets none of its own."""

SECURITY: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    (
        b"permissions-policy",
        (
            b"accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), "
            b"microphone=(), midi=(), payment=(), usb=(), browsing-topics=()"
        ),
    ),
]
"""Headers of every answer."""

HSTS = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")
"""Sent only when the request came over TLS."""

CORS_METHODS = b"GET, POST, PUT, PATCH, DELETE"
CORS_REQUEST_HEADERS = (
    b"authorization, content-type, idempotency-key, if-match, if-none-match, last-event-id, x-request-id"
)
CORS_REPLY_HEADERS = (
    b"etag, idempotent-replayed, location, ratelimit-limit, ratelimit-remaining, ratelimit-reset, retry-after, "
    b"x-request-id"
)
CORS_MAX_AGE_S = 600

IPV6_BUCKET_BITS = 64
"""One IPv6 subscriber holds a /64, so that is one address for limits."""


def request_id(sent: bytes | None) -> str:
    """Return ``sent`` when it is 8 to 64 letters, digits or hyphens; otherwise a new 128-bit id (32 hex digits)."""
    if sent is not None and _REQUEST_ID.fullmatch(sent):
        return sent.decode("ascii")
    return secrets.token_hex(16)


def _literal(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text.strip().strip("[]")))
    except ValueError:
        return None


def caller(
    client: tuple[str, int] | None, scheme: str, headers: Iterable[tuple[bytes, bytes]], proxies: int
) -> tuple[str, bool]:
    """Return the caller's address and whether TLS was used.

    Args:
        client: The socket's peer; None on a Unix socket.
        scheme: ``http`` or ``https`` of the socket.
        headers: As sent.
        proxies: Trusted reverse proxies in front; each appends one address to ``X-Forwarded-For``, so the caller is the
            ``proxies``-th from the right. What stands further left was written by the caller and is not believed.
    """
    address, secure = (client[0] if client else "local"), scheme == "https"
    if proxies <= 0:
        return address, secure
    pairs = list(headers)
    hops = [hop for name, value in pairs if name == b"x-forwarded-for" for hop in value.decode("latin-1").split(",")]
    if len(hops) >= proxies:
        address = _literal(hops[-proxies]) or address
    protocols = [value for name, value in pairs if name == b"x-forwarded-proto"]
    if protocols:
        secure = protocols[-1].split(b",")[-1].strip().lower() == b"https"
    return address, secure


def bucket_of(address: str) -> str:
    """Return what counts as one address for limits: the IPv4 address, or the /64 of an IPv6 one."""
    if ":" not in address:
        return address
    try:
        network = ipaddress.ip_network(f"{address.partition('%')[0]}/{IPV6_BUCKET_BITS}", strict=False)
    except ValueError:
        return address
    mapped = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(mapped, ipaddress.IPv6Address) and mapped.ipv4_mapped is not None:
        return str(mapped.ipv4_mapped)
    return str(network)


def host_known(host: bytes | None, settings: WebSettings) -> bool:
    """Tell whether a ``Host`` header names this server: an IP literal, localhost, the base URL's host or a listed one.

    Another name means that a foreign site's name was pointed at this address (DNS rebinding).
    """
    if host is None:
        return True
    name = urlsplit("//" + host.decode("latin-1")).hostname or ""
    if name == "localhost" or _literal(name) is not None or "*" in settings.hosts:
        return True
    return name == (urlsplit(settings.base_url).hostname or "") or name in settings.hosts


def cross_site(method: str, headers: Mapping[bytes, bytes], settings: WebSettings) -> bool:
    """Tell whether a changing request was sent by a page of a site that may not.

    Browsers say so in ``Sec-Fetch-Site`` or ``Origin``; a request with neither is not from a page. A bearer credential is
    never sent by the browser by itself, so such a request needs no check.
    """
    if method in SAFE_METHODS or b"authorization" in headers:
        return False
    origin = headers.get(b"origin")
    if origin is not None and origin.decode("latin-1") in settings.cors_origins:
        return False
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site not in {b"same-origin", b"none"}
    if origin is None:
        return False
    sent = urlsplit(origin.decode("latin-1")).netloc
    return sent not in {headers.get(b"host", b"").decode("latin-1"), urlsplit(settings.base_url).netloc}


def cors(origin: bytes | None, settings: WebSettings) -> Headers:
    """Return the CORS headers of an answer to a page of ``origin``; none when it is not allowed."""
    if origin is None or not settings.cors_origins:
        return []
    if origin.decode("latin-1") in settings.cors_origins:
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-expose-headers", CORS_REPLY_HEADERS),
            (b"cross-origin-resource-policy", b"cross-origin"),
            (b"vary", b"origin"),
        ]
    if "*" in settings.cors_origins:
        return [
            (b"access-control-allow-origin", b"*"),
            (b"access-control-expose-headers", CORS_REPLY_HEADERS),
            (b"cross-origin-resource-policy", b"cross-origin"),
        ]
    return [(b"vary", b"origin")]


def preflight(origin_headers: Headers) -> Headers:
    """Return the headers that answer a CORS preflight whose origin is allowed."""
    return [
        *origin_headers,
        (b"access-control-allow-methods", CORS_METHODS),
        (b"access-control-allow-headers", CORS_REQUEST_HEADERS),
        (b"access-control-max-age", str(CORS_MAX_AGE_S).encode()),
    ]


def dressed(sent: Headers, *, secure: bool, extra: Headers) -> Headers:
    """Return the headers of an answer with the security headers added where it set none of its own."""
    headers = [*sent, *extra]
    names = {name for name, _ in headers}
    if names.isdisjoint(_EDGE_NAMES):
        headers += _EDGE
    else:
        headers += [pair for pair in _EDGE if pair[0] not in names]
    if secure:
        headers.append(HSTS)
    return headers


_EDGE: Headers = [*SECURITY, (b"content-security-policy", CSP.encode()), (b"cache-control", b"no-store")]
_EDGE_NAMES = frozenset(name for name, _ in _EDGE)
