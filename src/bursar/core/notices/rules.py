"""Webhooks: what is sent, how it is signed, when it is tried again."""

import base64
import hashlib
import hmac
import json
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from bursar.kernel.errors import Invalid

ENDPOINTS_MAX = 20
EVENTS_MAX = 50
"""Patterns of one endpoint."""

BODY_BYTES_MAX = 20_000
SECRET_BYTES = 32
ROTATION = timedelta(hours=24)
"""How long the previous secret still signs."""

KEEP = timedelta(days=90)
"""How long events and their deliveries are kept."""

WAITS_S = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Waits between ten attempts, 75 h 35 min in all; the example of Standard Webhooks 1.0."""

ATTEMPTS = len(WAITS_S) + 1
JITTER = 0.1
TOTAL_S = 15.0
GONE = 410

_TYPE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_PATTERN = re.compile(r"\*|[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*(\.\*)?")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where events go; ``rotating_until`` is set while two secrets sign."""

    id: UUID
    url: str
    description: str
    events: tuple[str, ...]
    active: bool
    disabled_why: str | None
    rotating_until: datetime | None
    created_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to deliver; ``status`` is None when there was no answer."""

    number: int
    at: datetime
    status: int | None
    ms: int
    error: str | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one endpoint."""

    id: UUID
    endpoint: UUID
    message: UUID
    type: str
    state: str
    attempts: int
    next_at: datetime | None
    ended_at: datetime | None


def check_events(patterns: Sequence[str]) -> tuple[str, ...]:
    """Return the patterns sorted, each once: ``*``, an event type, or ``finding.*``.

    Raises:
        Invalid: There is none, too many, or one is malformed.
    """
    bad = [pattern for pattern in patterns if not _PATTERN.fullmatch(pattern)]
    if bad or not patterns or len(patterns) > EVENTS_MAX:
        raise Invalid(
            f"{bad[0][:80]!r} is no event pattern" if bad else f"name 1 to {EVENTS_MAX} events",
            fix="Write *, an event type such as finding.raised, or finding.*.",
        )
    return tuple(sorted(set(patterns)))


def wants(patterns: Iterable[str], type_: str) -> bool:
    """Tell whether an endpoint with these patterns gets an event of this type."""
    return any(
        pattern in {"*", type_} or (pattern.endswith(".*") and type_.startswith(pattern[:-1])) for pattern in patterns
    )


def body_of(type_: str, data: Mapping[str, Any], *, at: datetime) -> str:
    """Return the JSON body of an event.

    Raises:
        ValueError: The type is malformed or the body is over 20 kB (a bug: send ids, not contents).
    """
    text = json.dumps({"type": type_, "timestamp": at.isoformat(), "data": dict(data)}, allow_nan=False)
    if not _TYPE.fullmatch(type_) or len(text.encode()) > BODY_BYTES_MAX:
        message = f"event {type_!r} is malformed or over {BODY_BYTES_MAX} bytes; send ids, not contents"
        raise ValueError(message)
    return text


def shown(secret: bytes) -> str:
    """Return a secret as its owner gets it: ``whsec_`` and base64."""
    return "whsec_" + base64.b64encode(secret).decode()


def public_key(public: bytes) -> str:
    """Return the public half (32 bytes) of a v1a key as receivers get it: ``whpk_`` and base64."""
    return "whpk_" + base64.b64encode(public).decode()


def headers(
    message: UUID, body: str, *, at: datetime, secrets: Sequence[bytes], sign: Sequence[Callable[[bytes], bytes]]
) -> dict[str, str]:
    """Return the headers that prove an event: one v1 signature per secret, one v1a per Ed25519 signing function.

    Source: Standard Webhooks 1.0.0, "Signature scheme": ``id.timestamp.body`` is signed.
    """
    stamp = str(int(at.timestamp()))
    signed = f"{message}.{stamp}.{body}".encode()
    macs = [hmac.new(secret, signed, hashlib.sha256).digest() for secret in secrets]
    signatures = [f"v1,{base64.b64encode(mac).decode()}" for mac in macs]
    signatures += [f"v1a,{base64.b64encode(each(signed)).decode()}" for each in sign]
    return {
        "content-type": "application/json",
        "webhook-id": str(message),
        "webhook-timestamp": stamp,
        "webhook-signature": " ".join(signatures),
    }


def next_wait(attempts: int, rng: random.Random) -> timedelta | None:
    """Return the wait after the given number of failed attempts, up to 10 % longer; None when that was the last."""
    if attempts >= ATTEMPTS:
        return None
    return timedelta(seconds=WAITS_S[attempts - 1] * (1 + rng.uniform(0, JITTER)))
