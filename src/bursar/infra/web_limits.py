"""Rate limits: the generic cell rate algorithm in one unlogged PostgreSQL table, right for any number of workers.

A bucket is full at first and refills evenly, so a limit of 100 a minute lets 100 through at once and then one every
0.6 s. Every token is charged in the table before it is spent. A busy caller's tokens are taken in small leases, so that
most requests need no statement; an unspent lease lapses after :data:`LEASE_S`. With several workers the limit is
therefore never passed by more than what workers hold for :data:`LEASE_S` (at most :data:`LEASE_MAX` tokens each).

Source:
    GCRA: ITU-T I.371; https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import sqlalchemy as sa

from bursar.infra import log
from bursar.infra.db import Database
from bursar.infra.metrics import METRICS
from bursar.infra.web_tables import rate_limit
from bursar.kernel.errors import TooMany, Unavailable

LEASE_MAX = 16
"""Most tokens that a process takes at once."""

LEASE_SHARE = 32
"""A lease is at most the limit divided by this, so small limits are counted one by one."""

LEASE_S = 1.0
"""Seconds after which unspent tokens of a lease lapse."""

BUCKETS_MAX = 10_000
"""Most buckets a process remembers; the table remembers the rest."""

ANSWER_S = 0.5
"""Longest wait for the table; beyond it the limit counts as unavailable."""

PERIOD_S = 60.0
"""Limits are numbers a minute."""

KEEP_S = 3600.0
"""Rows that have been full again for this long are swept."""

_TAKE = sa.text("""
    insert into rate_limit as held (bucket, tat_s, granted)
    select :bucket, now_s + :n * cast(:every_s as double precision), :n
    from (select extract(epoch from clock_timestamp())::double precision as now_s) as clock
    on conflict (bucket) do update set
        granted = greatest(0, least(:n, floor(
            (excluded.tat_s - excluded.granted * :every_s + :burst_s
             - greatest(held.tat_s, excluded.tat_s - excluded.granted * :every_s)) / :every_s + 1e-6)::integer)),
        tat_s = greatest(held.tat_s, excluded.tat_s - excluded.granted * :every_s)
            + :every_s * greatest(0, least(:n, floor(
                (excluded.tat_s - excluded.granted * :every_s + :burst_s
                 - greatest(held.tat_s, excluded.tat_s - excluded.granted * :every_s)) / :every_s + 1e-6)::integer))
    returning granted, tat_s - extract(epoch from clock_timestamp())::double precision as ahead_s
""")
"""Take up to ``n`` tokens. ``excluded.tat_s - excluded.granted * every_s`` is the database's present instant."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a limit says about one request.

    Attributes:
        allowed: Whether it may pass.
        limit: Requests a minute.
        remaining: Requests that would pass right now.
        reset_s: Seconds until the bucket is full again.
        retry_after_s: Seconds until the next request passes; 0 when allowed.
    """

    allowed: bool
    limit: int
    remaining: int
    reset_s: int
    retry_after_s: int = 0

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the ``RateLimit-*`` headers."""
        return [
            (b"ratelimit-limit", str(self.limit).encode()),
            (b"ratelimit-remaining", str(self.remaining).encode()),
            (b"ratelimit-reset", str(self.reset_s).encode()),
        ]


class Tokens(Protocol):
    """Where tokens are taken; the table, or a stand-in that fails in tests."""

    async def __call__(self, bucket: str, n: int, every_s: float, burst_s: float) -> tuple[int, float]:
        """Take up to ``n`` tokens; return how many were granted and how far the cell is ahead of now, in seconds."""
        ...  # pragma: no cover


def tokens_of(db: Database) -> Tokens:
    """Return the taking of tokens from the table in ``db``: one statement, committed by itself."""

    async def take(bucket: str, n: int, every_s: float, burst_s: float) -> tuple[int, float]:
        facts = {"bucket": bucket, "n": n, "every_s": every_s, "burst_s": burst_s}
        async with asyncio.timeout(ANSWER_S), db.engine.connect() as conn:
            row = (await conn.execute(_TAKE, facts)).one()
        return int(row.granted), float(row.ahead_s)

    return take


async def sweep(db: Database) -> int:
    """Delete buckets that have been full for :data:`KEEP_S`; return how many.

    Safe to run at any time and twice: a missing bucket is a full one.
    """
    old = sa.func.extract("epoch", sa.func.clock_timestamp()) - KEEP_S
    async with db.system("rate limit sweep", write=True) as tx:
        return (await tx.run(sa.delete(rate_limit).where(rate_limit.c.tat_s < old))).rowcount


@dataclass(slots=True)
class _Held:
    """What this process holds of one bucket; instants are of the monotonic clock."""

    tokens: int = 0
    lapses_s: float = 0.0
    lease: int = 1
    taken_s: float = -math.inf
    ahead_s: float = 0.0
    shut_until_s: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Limiter:
    """Decides whether a request may pass.

    Args:
        tokens: Where tokens are taken.
        clock: Monotonic clock, seconds.
    """

    def __init__(self, tokens: Tokens, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._tokens = tokens
        self._clock = clock
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._log = log.logger("limits")

    async def must(self, bucket: str, per_min: int, *, closed: bool = False) -> Verdict | None:
        """Return the verdict on one request of ``bucket``; None when the table does not answer and ``closed`` is false.

        Args:
            bucket: Who is limited, and for what.
            per_min: Requests a minute.
            closed: Refuse when the table does not answer (log-in); otherwise let pass (reads).

        Raises:
            TooMany: The limit is passed.
            Unavailable: The table does not answer and ``closed`` is true.
        """
        try:
            verdict = await self.take(bucket, per_min)
        except Exception as error:
            METRICS.count("rate_limit_unavailable", {"closed": str(closed).lower()})
            self._log.warning("rate limit unavailable", error=type(error).__name__, closed=closed)
            if closed:
                raise Unavailable("The rate limit") from error
            return None
        if not verdict.allowed:
            METRICS.count("rate_limit_refused")
            raise Limited("requests", verdict.retry_after_s, verdict)
        return verdict

    async def take(self, bucket: str, per_min: int) -> Verdict:
        """Take one token of ``bucket`` and return the verdict.

        Raises:
            Exception: Whatever the table raises.
        """
        held = self._held.get(bucket)
        if held is None:
            held = self._held[bucket] = _Held()
            if len(self._held) > BUCKETS_MAX:
                self._held.popitem(last=False)
        now = self._clock()
        if not (held.tokens and now < held.lapses_s) and now >= held.shut_until_s:
            async with held.lock:
                now = self._clock()
                if not (held.tokens and now < held.lapses_s) and now >= held.shut_until_s:
                    await self._refill(bucket, held, per_min)
                    now = self._clock()
        return self._verdict(held, per_min, now)

    async def _refill(self, bucket: str, held: _Held, per_min: int) -> None:
        every_s = PERIOD_S / per_min
        now = self._clock()
        lease_max = max(1, min(LEASE_MAX, per_min // LEASE_SHARE))
        lasted_s = now - held.taken_s
        if lasted_s < LEASE_S / 2:  # spent so fast that twice as many would be spent in time too
            held.lease = min(held.lease * 2, lease_max)
        elif lasted_s >= LEASE_S:
            held.lease = max(1, held.lease // 2)
        granted, ahead_s = await self._tokens(bucket, held.lease, every_s, PERIOD_S)
        held.tokens, held.taken_s, held.ahead_s = granted, now, ahead_s
        held.lapses_s = now + LEASE_S
        held.shut_until_s = now + max(0.0, ahead_s + every_s - PERIOD_S) if granted == 0 else 0.0

    def _verdict(self, held: _Held, per_min: int, now: float) -> Verdict:
        every_s = PERIOD_S / per_min
        ahead_s = max(0.0, held.ahead_s - (now - held.taken_s))
        if held.tokens and now < held.lapses_s:
            held.tokens -= 1
            left = max(0, min(per_min, int((PERIOD_S - ahead_s) / every_s + 1e-6)) + held.tokens)
            return Verdict(True, per_min, min(left, per_min), math.ceil(ahead_s))
        wait_s = max(1, math.ceil(held.shut_until_s - now))
        return Verdict(False, per_min, 0, math.ceil(ahead_s), wait_s)


@dataclass(eq=False)
class Limited(TooMany):
    """Too many {what}; try again in {retry_after_s} s."""

    verdict: Verdict

    @property
    def code(self) -> str:
        """The code of :class:`TooMany`."""
        return "too_many"

    @property
    def facts(self) -> dict[str, object]:
        """What, and how long to wait."""
        return {"what": self.what, "retry_after_s": self.retry_after_s}
