"""Judging measured minutes against objectives; pure."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

HOURS_MAX = 720
"""Longest look back, hours; older samples are deleted."""

WORST_MAX = 10
"""How many of the worst series a report names."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One series over the period asked for.

    Attributes:
        name: ``GET /v1/jobs/{id}``, a cache's or a model's name.
        bounds_s: Shape (n,): upper bounds of the latency buckets, seconds, ascending.
        buckets: Shape (n + 1,): how many fell into each bucket; the last holds what is slower than every bound.
        seconds: Sum of the measured seconds.
        failures: How many failed; for a cache, how many missed.
    """

    name: str
    bounds_s: tuple[float, ...]
    buckets: tuple[int, ...]
    seconds: float
    failures: int

    @property
    def count(self) -> int:
        """How many were measured."""
        return sum(self.buckets)


@dataclass(frozen=True, slots=True)
class Objective:
    """A budget: ``share`` (0 to 1) of what ``kind`` measures lies within ``budget`` ``unit`` (``s`` or ``ratio``)."""

    name: str
    kind: str
    budget: float
    unit: str
    share: float
    about: str


@dataclass(frozen=True, slots=True)
class Standing:
    """How one objective or series stands.

    Attributes:
        count: How many were measured.
        within: Share within the budget (hits, for a cache), 0 to 1; None when nothing was measured.
        mean_ms: Mean latency, milliseconds; None for a cache or when nothing was measured.
        p50_ms: Median, milliseconds, estimated inside its bucket.
        p99_ms: 99th percentile, milliseconds, estimated inside its bucket.
        failures: How many failed.
        met: Whether the objective is met; None when nothing was measured.
    """

    count: int
    within: float | None
    mean_ms: float | None
    p50_ms: float | None
    p99_ms: float | None
    failures: int
    met: bool | None


def total(series: Iterable[Measured], bounds_s: tuple[float, ...]) -> Measured:
    """Return all of ``series``, which share ``bounds_s``, added up, without a name."""
    buckets, seconds, failures = [0] * (len(bounds_s) + 1), 0.0, 0
    for each in series:
        buckets = [a + b for a, b in zip(buckets, each.buckets, strict=True)]
        seconds += each.seconds
        failures += each.failures
    return Measured("", bounds_s, tuple(buckets), seconds, failures)


def percentile(bounds_s: Sequence[float], buckets: Sequence[int], share: float) -> float | None:
    """Return the latency in seconds below which ``share`` of the measurements lie.

    Args:
        bounds_s: Shape (n,), upper bounds of the buckets, seconds, ascending.
        buckets: Shape (n + 1,), counts.
        share: 0 to 1.

    Returns:
        Linear interpolation inside the bucket, as Prometheus's ``histogram_quantile`` does; the largest bound for what is
        slower than it; None when nothing was measured.
    """
    count = sum(buckets)
    if count == 0:
        return None
    rank, seen = share * count, 0
    for i, number in enumerate(buckets[:-1]):
        if number and seen + number >= rank:
            low = bounds_s[i - 1] if i else 0.0
            return low + (bounds_s[i] - low) * (rank - seen) / number
        seen += number
    return bounds_s[-1]


def within(measured: Measured, objective: Objective) -> float | None:
    """Return the share of ``measured`` within the budget, 0 to 1; None when nothing was measured."""
    if measured.count == 0:
        return None
    if objective.unit == "ratio":
        return 1 - measured.failures / measured.count
    return sum(measured.buckets[: bisect_left(measured.bounds_s, objective.budget) + 1]) / measured.count


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)


def judge(measured: Measured, objective: Objective) -> Standing:
    """Hold ``measured`` against ``objective``."""
    share = within(measured, objective)
    met = None if share is None else share >= objective.share
    timed = objective.unit == "s" and measured.count > 0
    return Standing(
        count=measured.count,
        within=None if share is None else round(share, 6),
        mean_ms=_ms(measured.seconds / measured.count) if timed else None,
        p50_ms=_ms(percentile(measured.bounds_s, measured.buckets, 0.5)) if timed else None,
        p99_ms=_ms(percentile(measured.bounds_s, measured.buckets, 0.99)) if timed else None,
        failures=measured.failures,
        met=met,
    )


def worst(series: Iterable[Measured], objective: Objective) -> list[tuple[str, Standing]]:
    """Return the series that break the budget most often, by number of requests over it, at most :data:`WORST_MAX`."""
    judged = [(each.name, judge(each, objective)) for each in series if each.count]
    judged.sort(key=lambda pair: (-(1 - (pair[1].within or 0)) * pair[1].count, -(pair[1].p99_ms or 0), pair[0]))
    return judged[:WORST_MAX]


@dataclass(frozen=True, slots=True)
class Check:
    """One part of the server's health: whether it is well, and what to do if not."""

    name: str
    ok: bool
    detail: str


DISK_FREE_MIN = 0.05
"""Smallest share of the disk that must be free for the server to be ready."""


def disk_check(free_bytes: int, total_bytes: int) -> Check:
    """Judge the free space of the disk that holds the data."""
    share = free_bytes / total_bytes if total_bytes else 0.0
    what = f"{share:.0%} of the disk is free ({free_bytes // 2**20} MiB)"
    return Check("disk", share > DISK_FREE_MIN, what if share > DISK_FREE_MIN else f"{what}; free some space")


def migration_check(present: Iterable[str], wanted: Iterable[str]) -> Check:
    """Judge whether the database has the migrations of this version (heads of the revision tree)."""
    have, want = sorted(present), sorted(wanted)
    if have == want:
        return Check("migrations", True, "current")
    return Check("migrations", False, f"the database is at {', '.join(have) or 'nothing'}; run `bursar migrate`")


def ready(checks: Iterable[Check]) -> bool:
    """Tell whether every check is well."""
    return all(check.ok for check in checks)


def by_kind(rows: Iterable[tuple[str, Measured]]) -> Mapping[str, list[Measured]]:
    """Group measured series by kind."""
    found: dict[str, list[Measured]] = {}
    for kind, measured in rows:
        found.setdefault(kind, []).append(measured)
    return found


def jobs_check(dead: int) -> Check:
    """Judge the jobs that gave up after all their attempts."""
    look = "; GET /v1/jobs?state=dead says why, POST /v1/jobs/{id}/retry tries again"
    return Check("jobs", dead == 0, f"{dead} gave up{look}" if dead else "none gave up")


def mails_check(unknown: int, given_up: int) -> Check:
    """Judge the mails of which nobody knows whether they went out, and those that were given up."""
    if not unknown and not given_up:
        return Check("mails", True, "none in doubt")
    again = "GET /v1/mails lists them, POST /v1/mails/{id}/send-again sends one that did not arrive"
    return Check("mails", False, f"{unknown} may not have gone out, {given_up} given up; {again}")


def tenancy_check(holes: Sequence[str]) -> Check:
    """Judge what the lints of the catalogue found: each hole lets one organisation see or block another."""
    if not holes:
        return Check("tenancy", True, "row-level security is whole")
    return Check("tenancy", False, f"{'; '.join(holes)[:300]}; run `bursar migrate`, and undo changes made by hand")
