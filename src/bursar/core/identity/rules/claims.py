"""What an access token says and when it is believed (RFC 9068)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

ACCESS_LIFE = timedelta(minutes=15)
LEEWAY = timedelta(seconds=30)
"""How far the clocks of two machines may differ."""

REFRESH_LIFE = timedelta(days=30)
"""Longest life of a family of refresh tokens; then the program logs in again."""

AUDIENCE_PATH = "/v1"


@dataclass(frozen=True, slots=True)
class Claims:
    """The believed content of an access token.

    Attributes:
        family: The log-in it came from; revoking that ends it.
        person: Whose token it is.
        org: The organisation it acts in.
        signed_in_at: When the password was given.
        expires_at: End of its life, without leeway.
    """

    family: UUID
    person: UUID
    org: UUID
    signed_in_at: datetime
    expires_at: datetime


def written(claims: Claims, *, url: str, serial: str, now: datetime) -> dict[str, Any]:
    """Return ``claims`` in the words of RFC 9068.

    Args:
        claims: What the token shall say.
        url: Base URL of this server; issuer and, with ``/v1``, audience.
        serial: Unique name of this token (``jti``).
        now: Instant of issue.
    """
    return {
        "iss": url,
        "aud": url + AUDIENCE_PATH,
        "sub": str(claims.person),
        "client_id": "bursar",
        "org": str(claims.org),
        "sid": str(claims.family),
        "jti": serial,
        "iat": _seconds(now),
        "auth_time": _seconds(claims.signed_in_at),
        "exp": _seconds(claims.expires_at),
    }


def believed(said: Mapping[str, Any], *, url: str, now: datetime) -> Claims | None:
    """Return the claims of a token whose signature is right; None unless they hold now, here.

    Args:
        said: The token's claims.
        url: Base URL of this server.
        now: The present instant.
    """
    if said.get("iss") != url or said.get("aud") != url + AUDIENCE_PATH:
        return None
    try:
        issued, expires, signed_in = (_instant(said[name]) for name in ("iat", "exp", "auth_time"))
        claims = Claims(_id(said["sid"]), _id(said["sub"]), _id(said["org"]), signed_in, expires)
    except (KeyError, ValueError):
        return None
    lives = issued - LEEWAY <= now < expires + LEEWAY
    return claims if lives and expires - issued <= ACCESS_LIFE and signed_in <= now + LEEWAY else None


def _seconds(at: datetime) -> int:
    return int(at.timestamp())


def _instant(value: object) -> datetime:
    """Return the instant of whole seconds since 1970.

    Raises:
        ValueError: It is not a number that a clock can show.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**37:
        message = "not an instant"
        raise ValueError(message)
    return datetime.fromtimestamp(value, UTC)


def _id(value: object) -> UUID:
    if not isinstance(value, str):
        message = "not an id"
        raise ValueError(message)  # noqa: TRY004  one kind of fault for the caller
    return UUID(value)
