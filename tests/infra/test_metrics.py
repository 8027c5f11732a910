"""Figures of a process: exact counts by bucket, samples without loss, Prometheus's format."""

from threading import Thread

import pytest

from bursar.infra.cache import Cache
from bursar.infra.metrics import BOUNDS_S, SERIES_MAX, Metrics, exposition


def filled() -> Metrics:
    metrics = Metrics()
    metrics.request("GET", "/v1/things/{key}", 200, seconds=0.004, database_s=0.002)
    metrics.request("GET", "/v1/things/{key}", 200, seconds=0.6, database_s=0.2)
    metrics.request("GET", "/v1/things/{key}", 500, seconds=40, database_s=0)
    metrics.cache("prices", hit=True)
    metrics.cache("prices", hit=True)
    metrics.cache("prices", hit=False)
    metrics.model("churn", "3", 0.2)
    metrics.job("intake.pull", "ok", 2)
    metrics.job("intake.pull", "dead", 1)
    metrics.statement(0.2, 0.1)
    metrics.statement(0.01, 0.1)
    metrics.stream("GET", "/v1/events", 200)
    metrics.count("authz_denied")
    metrics.count("connector_calls", {"connector": "aws", "result": "ok"}, by=3)
    metrics.gauge("queue_age_seconds", "Age of the oldest job.", lambda: 7.5)
    return metrics


@pytest.mark.parametrize(
    "line",
    [
        'bursar_http_requests_total{method="GET",route="/v1/things/{key}",status="200"} 2.0',
        'bursar_http_requests_total{method="GET",route="/v1/things/{key}",status="500"} 1.0',
        'bursar_http_requests_total{method="GET",route="/v1/events",status="200"} 1.0',
        'bursar_http_request_duration_seconds_bucket{le="0.005",method="GET",route="/v1/things/{key}"} 1.0',
        'bursar_http_request_duration_seconds_bucket{le="1.0",method="GET",route="/v1/things/{key}"} 2.0',
        'bursar_http_request_duration_seconds_bucket{le="+Inf",method="GET",route="/v1/things/{key}"} 3.0',
        'bursar_http_request_duration_seconds_count{method="GET",route="/v1/things/{key}"} 3.0',
        'bursar_http_request_database_seconds_count{method="GET",route="/v1/things/{key}"} 2.0',
        'bursar_cache_requests_total{cache="prices",result="hit"} 2.0',
        'bursar_cache_requests_total{cache="prices",result="miss"} 1.0',
        'bursar_ml_inference_duration_seconds_count{model="churn",version="3"} 1.0',
        'bursar_job_duration_seconds_count{result="dead",task="intake.pull"} 1.0',
        "bursar_db_statements_total 2.0",
        "bursar_db_slow_statements_total 1.0",
        "bursar_authz_denied_total 1.0",
        'bursar_connector_calls_total{connector="aws",result="ok"} 3.0',
        "bursar_queue_age_seconds 7.5",
    ],
)
def test_the_exposition_holds(line: str) -> None:
    text = exposition(filled()).decode()

    assert line in text.splitlines()
    assert "process_resident_memory_bytes" in text


def test_a_latency_on_a_bound_is_within_it() -> None:
    metrics = Metrics()
    for bound in BOUNDS_S:
        metrics.request("GET", "/", 200, seconds=bound, database_s=0)
    tally = metrics.read("api")["GET", "/"]

    assert tally.buckets == [1] * len(BOUNDS_S) + [0]
    assert tally.seconds == pytest.approx(sum(BOUNDS_S))


def test_samples_hold_what_came_since_the_last_and_can_be_given_back() -> None:
    metrics = filled()
    first = {(each.kind, each.name): each.tally.count for each in metrics.sample()}
    nothing = metrics.sample()
    metrics.cache("prices", hit=False)
    news = metrics.sample()
    metrics.unsample(news)
    again = metrics.sample()

    assert first["api", "GET /v1/things/{key}"] == 3
    assert first["cache", "prices"] == 3
    assert nothing == []
    assert [(each.kind, each.name, each.tally.count, each.tally.failures) for each in news] == [
        ("cache", "prices", 1, 1)
    ]
    assert [each.tally.count for each in again] == [1]
    assert metrics.sample() == []


def test_series_are_bounded() -> None:
    metrics = Metrics()
    for number in range(SERIES_MAX + 50):
        metrics.cache(f"c{number}", hit=True)
    series = metrics.read("cache")

    assert len(series) == SERIES_MAX + 1
    assert series["other",].count == 50


def test_threads_lose_no_count() -> None:
    metrics = Metrics()

    def work() -> None:
        for _ in range(2000):
            metrics.model("m", "1", 0.01)

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert metrics.read("model")["m", "1"].count == 8000


class Clock:
    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


def cache_of(metrics: Metrics, clock: Clock, size_max: int = 3) -> Cache[str, int]:
    return Cache("test", ttl_s=10, size_max=size_max, clock=clock, metrics=metrics)


def test_a_value_expires_and_hits_are_counted() -> None:
    metrics, clock = Metrics(), Clock()
    cache = cache_of(metrics, clock)
    cache.put("a", 1)
    before = cache.get("a")
    clock.s = 10.0
    after = cache.get("a")

    assert (before, after) == (1, None)
    assert len(cache) == 0
    assert (metrics.read("cache")["test",].count, metrics.read("cache")["test",].failures) == (2, 1)


def test_the_least_recently_used_goes_first() -> None:
    cache = cache_of(Metrics(), Clock())
    for key in "abc":
        cache.put(key, 1)
    cache.get("a")
    cache.put("d", 1)

    assert [key for key in "abcd" if cache.get(key)] == ["a", "c", "d"]


async def test_one_load_serves_all_who_wait() -> None:
    import asyncio

    cache, loads = cache_of(Metrics(), Clock()), 0

    async def load() -> int:
        nonlocal loads
        loads += 1
        await asyncio.sleep(0.01)
        return 7

    values = await asyncio.gather(*(cache.get_or("a", load) for _ in range(20)))

    assert values == [7] * 20
    assert loads == 1
    assert cache.get("a") == 7


async def test_a_failed_load_is_not_kept() -> None:
    cache = cache_of(Metrics(), Clock())

    async def fail() -> int:
        message = "away"
        raise OSError(message)

    async def load() -> int:
        return 7

    with pytest.raises(OSError, match="away"):
        await cache.get_or("a", fail)

    assert await cache.get_or("a", load) == 7


async def test_what_is_dropped_during_a_load_is_not_stored() -> None:
    cache = cache_of(Metrics(), Clock())

    async def load() -> int:
        cache.drop("a")  # revoked while it was read
        return 7

    assert await cache.get_or("a", load) == 7
    assert cache.get("a") is None


def test_dropping_by_condition() -> None:
    cache = cache_of(Metrics(), Clock())
    for key, value in {"a": 1, "b": 2, "c": 2}.items():
        cache.put(key, value)
    dropped = cache.drop_where(lambda _, value: value == 2)
    left = [key for key in "abc" if cache.get(key)]
    cache.clear()

    assert dropped == 2
    assert left == ["a"]
    assert len(cache) == 0
