"""Signed access tokens: JSON Web Tokens of the one kind that this house makes (RFC 9068, ``typ: at+jwt``).

One algorithm for one key: Ed25519 (EdDSA under its exact name, RFC 9864). The header holds ``alg``, ``kid`` and ``typ`` and
nothing else, so a token can neither choose another algorithm nor bring or point at its own key.
"""

import base64
import binascii
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from bursar.infra.crypto import Signer

ALGORITHM = "Ed25519"
TYPE = "at+jwt"
TOKEN_CHARS_MAX = 4_096
"""Longest token that is looked at."""

_HEADER = frozenset({"alg", "kid", "typ"})


@lru_cache(maxsize=64)
def _key(public: bytes, private: bytes = b"") -> OKPKey:
    fields: dict[str, str | list[str]] = {"kty": "OKP", "crv": "Ed25519", "x": _base64url(public)}
    if private:
        fields["d"] = _base64url(private)
    return OKPKey.import_key(fields)


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def public_key(signer: Signer) -> dict[str, str]:
    """Return the public half of ``signer`` as a JSON Web Key (RFC 8037), for programs that check tokens themselves."""
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": _base64url(signer.public),
        "kid": signer.kid,
        "alg": ALGORITHM,
        "use": "sig",
    }


def issue(signer: Signer, claims: Mapping[str, Any]) -> str:
    """Return ``claims`` as a token signed by ``signer``."""
    header = {"alg": ALGORITHM, "kid": signer.kid, "typ": TYPE}
    return jwt.encode(header, dict(claims), _key(signer.public, signer.private), algorithms=[ALGORITHM])


def read(token: str, keys: Mapping[str, bytes]) -> Mapping[str, Any] | None:
    """Return the claims of ``token``; None unless it is exactly of our kind and signed by one of ``keys``.

    Args:
        token: As sent; who sent it is unknown.
        keys: Public keys (32 bytes) by key name. Nothing else is ever fetched or believed.
    """
    header = _header(token)
    if header is None or header.keys() != _HEADER or header["alg"] != ALGORITHM or header["typ"] != TYPE:
        return None
    public = keys.get(header["kid"]) if isinstance(header["kid"], str) else None
    if public is None:
        return None
    try:
        claims = jwt.decode(token, _key(public), algorithms=[ALGORITHM]).claims
    except (JoseError, ValueError):
        return None
    return claims if isinstance(claims, dict) else None


def _header(token: str) -> Mapping[str, Any] | None:
    if len(token) > TOKEN_CHARS_MAX or token.count(".") != 2 or not token.isascii():
        return None
    first = token.partition(".")[0]
    try:
        header = orjson.loads(base64.b64decode(first + "=" * (-len(first) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        return None
    return header if isinstance(header, dict) else None
