"""What is measured: one set of figures a process, exported for Prometheus and sampled by the minute.

Latencies go into fixed buckets that hold every budget as a bound, so that "how many were over budget" is exact. Series
are named by route templates, never by paths. :data:`METRICS` is the process's set; code that measures calls it directly.
"""

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the latency buckets, in seconds; one more bucket holds what is slower."""

SERIES_MAX = 5_000
"""Most series of one kind; further names are counted under ``other``."""

API, DATABASE, CACHE, MODEL, JOB = "api", "database", "cache", "model", "job"
KINDS = (API, DATABASE, CACHE, MODEL, JOB)
"""Kinds of samples: requests, database time of a request, cache look-ups, model answers, job runs."""

_FAMILIES = {
    API: ("bursar_http_request_duration_seconds", "Time to answer a request.", ("method", "route")),
    DATABASE: ("bursar_http_request_database_seconds", "Database time of a request.", ("method", "route")),
    MODEL: ("bursar_ml_inference_duration_seconds", "Time of a model's answer.", ("model", "version")),
    JOB: ("bursar_job_duration_seconds", "Time of a job run.", ("task", "result")),
}


@dataclass(slots=True)
class Tally:
    """Counts of one series.

    Attributes:
        buckets: Shape (len(BOUNDS_S) + 1,): how many fell into each bucket, not cumulated.
        seconds: Sum of the measured seconds.
        failures: How many failed (5xx answers, cache misses, failed jobs).
    """

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    seconds: float = 0.0
    failures: int = 0

    @property
    def count(self) -> int:
        """How many were measured."""
        return sum(self.buckets)

    def add(self, seconds: float, *, failed: bool = False) -> None:
        """Count one measurement."""
        self.buckets[bisect_left(BOUNDS_S, seconds)] += 1
        self.seconds += seconds
        self.failures += failed

    def minus(self, earlier: "Tally") -> "Tally":
        """Return what came after ``earlier``."""
        buckets = [now - then for now, then in zip(self.buckets, earlier.buckets, strict=True)]
        return Tally(buckets, self.seconds - earlier.seconds, self.failures - earlier.failures)

    def copy(self) -> "Tally":
        """Return a copy."""
        return Tally(list(self.buckets), self.seconds, self.failures)


@dataclass(frozen=True, slots=True)
class Sample:
    """What one process measured of one series since its last sample."""

    kind: str
    name: str
    tally: Tally


class Metrics:
    """All figures of one process; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tallies: dict[str, dict[tuple[str, ...], Tally]] = {kind: {} for kind in KINDS}
        self._statuses: dict[tuple[str, str, int], int] = {}
        self._counts: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self._gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        self._sampled: dict[tuple[str, tuple[str, ...]], Tally] = {}
        self._slow_statements = 0
        self._statements = 0
        self._statement_seconds = 0.0

    def _tally(self, kind: str, labels: tuple[str, ...]) -> Tally:
        series = self._tallies[kind]
        found = series.get(labels)
        if found is None:
            if len(series) >= SERIES_MAX:
                labels = tuple("other" for _ in labels)
            found = series.setdefault(labels, Tally())
        return found

    def request(self, method: str, route: str, status: int, *, seconds: float, database_s: float) -> None:
        """Count one answered request; ``route`` is the template."""
        labels, failed = (method, route), status >= 500
        with self._lock:
            self._tally(API, labels).add(seconds, failed=failed)
            if database_s:
                self._tally(DATABASE, labels).add(database_s)
            key = (method, route, status)
            self._statuses[key] = self._statuses.get(key, 0) + 1

    def stream(self, method: str, route: str, status: int) -> None:
        """Count one stream that ended; it has no latency."""
        with self._lock:
            key = (method, route, status)
            self._statuses[key] = self._statuses.get(key, 0) + 1

    def statement(self, seconds: float, budget_s: float) -> None:
        """Count one database statement, and as slow when it took longer than ``budget_s``."""
        with self._lock:
            self._statements += 1
            self._statement_seconds += seconds
            self._slow_statements += seconds > budget_s

    def cache(self, name: str, *, hit: bool) -> None:
        """Count one look-up in the cache ``name``."""
        with self._lock:
            self._tally(CACHE, (name,)).add(0.0, failed=not hit)

    def model(self, name: str, version: str, seconds: float) -> None:
        """Count one answer of a model."""
        with self._lock:
            self._tally(MODEL, (name, version)).add(seconds)

    def job(self, task: str, result: str, seconds: float) -> None:
        """Count one run of a job; ``result`` is ``ok``, ``failed`` (tried again), ``dead`` or ``cancelled``."""
        with self._lock:
            self._tally(JOB, (task, result)).add(seconds, failed=result in {"failed", "dead"})

    def count(self, name: str, labels: Mapping[str, str] | None = None, by: float = 1) -> None:
        """Add to the counter ``bursar_<name>_total``."""
        key = (name, tuple(sorted((labels or {}).items())))
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + by

    def gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Register ``bursar_<name>``, read when it is scraped; registering again replaces it."""
        self._gauges[name] = (help_text, read)

    def read(self, kind: str) -> dict[tuple[str, ...], Tally]:
        """Return a copy of every series of ``kind`` since the process started."""
        with self._lock:
            return {labels: tally.copy() for labels, tally in self._tallies[kind].items()}

    def sample(self) -> list[Sample]:
        """Return what was measured since the last call, by series; the caller stores it.

        A caller that fails to store hands the samples to :meth:`unsample`.
        """
        samples = []
        with self._lock:
            for kind, series in self._tallies.items():
                for labels, tally in series.items():
                    key = (kind, labels)
                    news = tally.minus(self._sampled.get(key, Tally()))
                    if any(news.buckets):
                        self._sampled[key] = tally.copy()
                        samples.append(Sample(kind, " ".join(labels), news))
        return samples

    def unsample(self, samples: Iterable[Sample]) -> None:
        """Give ``samples`` back, to be returned by the next :meth:`sample` once more."""
        with self._lock:
            for each in samples:
                for (kind, labels), seen in self._sampled.items():
                    if kind == each.kind and " ".join(labels) == each.name:
                        self._sampled[kind, labels] = seen.minus(each.tally)
                        break

    def _latencies(self) -> Iterator[HistogramMetricFamily]:
        for kind, (name, text, names) in _FAMILIES.items():
            family = HistogramMetricFamily(name, text, labels=names)
            for labels, tally in self.read(kind).items():
                total, buckets = 0, []
                for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), tally.buckets, strict=True):
                    total += count
                    buckets.append((bound, total))
                family.add_metric(labels, buckets, sum_value=tally.seconds)
            yield family

    def _counters(self) -> Iterator[CounterMetricFamily]:
        requests = CounterMetricFamily(
            "bursar_http_requests", "Answered requests.", labels=("method", "route", "status")
        )
        caches = CounterMetricFamily("bursar_cache_requests", "Cache look-ups.", labels=("cache", "result"))
        with self._lock:
            statuses, counts = dict(self._statuses), dict(self._counts)
        for (method, route, status), number in statuses.items():
            requests.add_metric((method, route, str(status)), number)
        for (name,), tally in self.read(CACHE).items():
            caches.add_metric((name, "hit"), tally.count - tally.failures)
            caches.add_metric((name, "miss"), tally.failures)
        yield requests
        yield caches
        yield CounterMetricFamily("bursar_db_statements", "Database statements.", value=self._statements)
        yield CounterMetricFamily(
            "bursar_db_statement_seconds", "Time in database statements.", value=self._statement_seconds
        )
        yield CounterMetricFamily(
            "bursar_db_slow_statements", "Statements over the database budget.", value=self._slow_statements
        )
        for name in sorted({name for name, _ in counts}):
            family: CounterMetricFamily | None = None
            for (each, labels), amount in counts.items():
                if each == name:
                    family = family or CounterMetricFamily(
                        f"bursar_{name}", f"Count of {name.replace('_', ' ')}.", labels=[key for key, _ in labels]
                    )
                    family.add_metric([value for _, value in labels], amount)
            if family is not None:
                yield family

    def families(self) -> Iterator[HistogramMetricFamily | CounterMetricFamily | GaugeMetricFamily]:
        """Yield everything in the shape of Prometheus."""
        yield from self._latencies()
        yield from self._counters()
        for name, (text, read) in sorted(self._gauges.items()):
            yield GaugeMetricFamily(f"bursar_{name}", text, value=read())


class _Export(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[HistogramMetricFamily | CounterMetricFamily | GaugeMetricFamily]:
        """Yield the families (called by the registry)."""
        return self._metrics.families()


def exposition(metrics: Metrics) -> bytes:
    """Return ``metrics`` and the process's own figures in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(_Export(metrics))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return generate_latest(registry)


METRICS = Metrics()
"""The figures of this process."""
