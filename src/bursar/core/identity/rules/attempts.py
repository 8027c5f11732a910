"""How fast secrets may be tried: 5 a minute for one account with a doubling delay, 20 a minute from one address."""

from dataclasses import dataclass
from datetime import datetime, timedelta

ACCOUNT_TRIES_MAX = 5
"""Tries of one account within :data:`WINDOW` that are answered."""

ADDRESS_TRIES_MAX = 20
"""Tries from one address within :data:`WINDOW` that are answered."""

WINDOW = timedelta(minutes=1)
DELAY_MAX = timedelta(minutes=15)
"""Longest wait; more would let anybody lock others out for good."""

FAILURES_MAX = 100
"""Failures in a row after which the password is dead until it is reset by mail (SP 800-63B-4, 3.2.2)."""

FORGET_AFTER = timedelta(days=1)
"""Failures are forgotten after a day without any; the count in a row towards :data:`FAILURES_MAX` is not."""


@dataclass(frozen=True, slots=True)
class Tries:
    """What is remembered of one account or address.

    Attributes:
        since: Start of the present window.
        count: Tries within it.
        failures: Failures in a row.
        at: The last try.
    """

    since: datetime
    count: int
    failures: int
    at: datetime


def delay(failures: int) -> timedelta:
    """Return how long to wait after ``failures`` in a row: nothing up to four, then 1, 2, 4, 8 and 15 minutes."""
    beyond = failures - ACCOUNT_TRIES_MAX
    if beyond < 0:
        return timedelta(0)
    return min(WINDOW * (1 << min(beyond, 10)), DELAY_MAX)


def wait(tries: Tries | None, *, tries_max: int, doubling: bool, now: datetime) -> timedelta:
    """Return how long to wait before the next try; zero when it may be made now.

    Args:
        tries: What is remembered; None for the first try.
        tries_max: Tries a window.
        doubling: Whether failures in a row delay further tries.
        now: Instant of the try.
    """
    if tries is None:
        return timedelta(0)
    until = tries.at + delay(tries.failures) if doubling else now
    if tries.count >= tries_max and now < tries.since + WINDOW:
        until = max(until, tries.since + WINDOW)
    return max(until - now, timedelta(0))


def counted(tries: Tries | None, *, now: datetime) -> Tries:
    """Return what to remember when a try is made; it counts as failed until it is known to be right."""
    if tries is None:
        return Tries(now, 1, 1, now)
    fresh = now >= tries.since + WINDOW
    forgotten = now >= tries.at + FORGET_AFTER and tries.failures < FAILURES_MAX
    failures = 1 if forgotten else tries.failures + 1
    return Tries(now if fresh else tries.since, 1 if fresh else tries.count + 1, failures, now)
