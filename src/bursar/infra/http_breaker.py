"""Back-off, Retry-After and the circuit breaker of the egress client; arithmetic only, the clock is passed in."""

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

FAILURES_TO_OPEN = 5
"""Failures in a row after which a host is left alone."""

OPEN_S = 30.0
"""How long a host is left alone before one trial request."""

BACKOFF_BASE_S = 0.5
BACKOFF_MAX_S = 20.0


@dataclass
class Circuit:
    """Failures in a row of one host, and until when (monotonic seconds) it is left alone."""

    failures: int = 0
    open_until: float = 0.0
    trying: bool = False

    def closed_in(self, now: float) -> float:
        """Return the seconds until a request may go out; 0 lets this one through (after an open spell: one trial)."""
        if self.failures < FAILURES_TO_OPEN:
            return 0.0
        if now < self.open_until:
            return self.open_until - now
        if self.trying:
            return 1.0
        self.trying = True
        return 0.0

    def report(self, now: float, *, answered: bool) -> None:
        """Count one outcome."""
        self.trying = False
        if answered:
            self.failures = 0
            return
        self.failures += 1
        if self.failures >= FAILURES_TO_OPEN:
            self.open_until = now + OPEN_S

    def abandon(self) -> None:
        """Forget a request that was cancelled: it says nothing about the host."""
        self.trying = False


@dataclass
class Breaker:
    """The circuits of one client, by host."""

    circuits: dict[str, Circuit] = field(default_factory=dict)

    def of(self, host: str) -> Circuit:
        """Return the circuit of ``host``."""
        return self.circuits.setdefault(host, Circuit())


def backoff_s(attempt: int, rng: random.Random) -> float:
    """Return seconds to wait after failed ``attempt`` (from 1): full jitter under an exponential ceiling.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    ceiling = min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2.0 ** (attempt - 1))
    return rng.uniform(0, ceiling)


def retry_after_s(value: str, *, now: datetime) -> float | None:
    """Read a Retry-After header: seconds or an HTTP date; None when it is neither."""
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds())
