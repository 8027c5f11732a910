"""Health and measured performance: several processes add up, budgets are counted exactly, faults are named."""

import asyncio
import dataclasses
import importlib
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import httpx2
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from bursar.core.operations import rules, service, store
from bursar.core.operations.api import routes
from bursar.core.operations.rules import Check, Measured, Objective
from bursar.core.operations.tables import sample
from bursar.infra.clock import utc_now
from bursar.infra.db import Database
from bursar.infra.jobs import NOBODY
from bursar.infra.metrics import BOUNDS_S, Metrics
from bursar.infra.web import create_app
from bursar.kernel.actor import Actor
from bursar.kernel.errors import NotAllowed
from tests.infra.webapp import ORG, PEOPLE, SETTINGS, authenticate, client_of

API = Objective("api", "api", 0.5, "s", 0.99, "")
CACHE = Objective("cache", "cache", 0.8, "ratio", 0.8, "")
OPERATOR = Actor(ORG, "person:operator", frozenset({"operations:read"}))


def measured(name: str, *seconds: float, failures: int = 0) -> Measured:
    metrics = Metrics()
    for each in seconds:
        metrics.request("GET", name, 200, seconds=each, database_s=0)
    tally = metrics.read("api")["GET", name]
    return Measured(name, BOUNDS_S, tuple(tally.buckets), tally.seconds, failures)


def test_a_share_within_the_budget_is_exact() -> None:
    standing = rules.judge(measured("/", *[0.1] * 98, 0.5, 0.500001), API)

    assert standing.within == 0.99
    assert standing.met is True
    assert standing.count == 100
    assert standing.mean_ms == pytest.approx((9.8 + 1.000001) * 10, abs=0.01)


def test_nothing_measured_is_neither_met_nor_missed() -> None:
    standing = rules.judge(rules.total([], BOUNDS_S), API)

    assert (standing.count, standing.within, standing.met, standing.p99_ms) == (0, None, None, None)


def test_a_cache_is_judged_by_its_hits() -> None:
    standing = rules.judge(Measured("prices", BOUNDS_S, (10, *[0] * len(BOUNDS_S)), 0.0, 3), CACHE)

    assert (standing.within, standing.met, standing.p50_ms) == (0.7, False, None)


def test_the_worst_break_the_budget_most_often() -> None:
    often = measured("often", *[0.6] * 10, *[0.1] * 90)
    rarely = measured("rarely", 9.0, *[0.1] * 99)
    never = measured("never", *[0.4] * 100)

    assert [name for name, _ in rules.worst([never, rarely, often], API)] == ["often", "rarely", "never"]


@given(st.lists(st.floats(0.0005, 29), min_size=1, max_size=200), st.sampled_from([0.1, 0.5, 0.9, 0.99, 1.0]))
def test_a_percentile_lies_in_the_bucket_of_the_true_one(seconds: list[float], share: float) -> None:
    series = measured("/", *seconds)
    estimate = rules.percentile(BOUNDS_S, series.buckets, share)
    rank = max(1, -(-share * len(seconds) // 1))
    true = sorted(seconds)[int(rank) - 1]
    above = min(bound for bound in BOUNDS_S if bound >= true)
    below = max([0.0, *(bound for bound in BOUNDS_S if bound < true)])

    assert estimate is not None
    assert below <= estimate <= above + 1e-9


def test_what_is_slower_than_every_bound_counts_as_the_largest() -> None:
    assert rules.percentile(BOUNDS_S, measured("/", 100.0).buckets, 0.5) == BOUNDS_S[-1]
    assert rules.percentile(BOUNDS_S, [0] * (len(BOUNDS_S) + 1), 0.5) is None


async def test_the_recorder_records_and_prunes_until_it_is_stopped(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "RECORD_EVERY_S", 0.01)
    monkeypatch.setattr(service, "PRUNE_EVERY_S", 0.0)
    metrics = Metrics()
    metrics.cache("prices", hit=True)
    await service.record(db, now=utc_now() - timedelta(hours=rules.HOURS_MAX + 1), metrics=metrics)
    metrics.cache("prices", hit=True)
    recorder = asyncio.create_task(service.recorder(db, metrics))
    minutes: list[datetime] = []
    for _ in range(300):
        async with db.system("test") as tx:
            minutes = [row.minute for row in await tx.all(sa.select(sample.c.minute))]
        if len(minutes) == 1 and minutes[0] > utc_now() - timedelta(hours=1):
            break
        await asyncio.sleep(0.01)
    recorder.cancel()
    await asyncio.gather(recorder, return_exceptions=True)

    assert len(minutes) == 1
    assert recorder.cancelled()


async def test_the_recorder_goes_on_after_a_failure(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "RECORD_EVERY_S", 0.01)
    metrics, away = Metrics(), Database("postgresql+psycopg://nobody@127.0.0.1:1/none", come_back_s=0.0)
    metrics.cache("prices", hit=True)
    recorder = asyncio.create_task(service.recorder(away, metrics))
    await asyncio.sleep(0.3)
    running = not recorder.done()
    recorder.cancel()
    await asyncio.gather(recorder, return_exceptions=True)
    await away.close()

    assert running
    assert await service.record(db, now=utc_now(), metrics=metrics) == 1


def test_a_full_disk_and_missing_migrations_are_named() -> None:
    full = rules.disk_check(4, 100)
    behind = rules.migration_check(["a"], ["a", "b"])

    assert (full.ok, behind.ok) == (False, False)
    assert "free some space" in full.detail
    assert "bursar migrate" in behind.detail
    assert rules.disk_check(6, 100).ok
    assert not rules.disk_check(0, 0).ok
    assert rules.migration_check(["b", "a"], ["a", "b"]).ok


async def test_processes_add_up_and_nothing_is_counted_twice(db: Database) -> None:
    now = utc_now()
    one, two = Metrics(), Metrics()
    for metrics in (one, two):
        for _ in range(50):
            metrics.request("GET", "/v1/a", 200, seconds=0.02, database_s=0.01)
    two.request("GET", "/v1/slow", 503, seconds=3.0, database_s=2.0)
    await asyncio.gather(*(service.record(db, now=now, metrics=metrics) for metrics in (one, two)))
    stored_again = await service.record(db, now=now, metrics=one)
    one.request("GET", "/v1/a", 200, seconds=0.02, database_s=0.01)
    await service.record(db, now=now - timedelta(minutes=1), metrics=one)
    async with db.reading(OPERATOR) as tx:
        reported = {each.objective.name: each for each in await service.performance(tx, OPERATOR, hours=1, now=now)}

    assert stored_again == 0
    assert reported["api"].standing.count == 102
    assert reported["api"].standing.failures == 1
    assert reported["api"].standing.within == pytest.approx(101 / 102, abs=1e-6)
    assert reported["api"].worst[0][0] == "GET /v1/slow"
    assert reported["database"].standing.count == 102
    assert reported["cache"].standing.met is None
    assert set(reported) == {"api", "cache", "database", "model"}


async def test_what_could_not_be_stored_is_stored_later(db: Database, database_url: str) -> None:
    metrics = Metrics()
    metrics.cache("prices", hit=True)
    async with db.engine.connect() as holder:
        await holder.exec_driver_sql("begin")
        await holder.exec_driver_sql("lock table operations_sample in access exclusive mode")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await service.record(db, now=utc_now(), metrics=metrics)
        await holder.exec_driver_sql("rollback")
    stored = await service.record(db, now=utc_now(), metrics=metrics)

    assert stored == 1


async def test_old_samples_are_pruned(db: Database) -> None:
    metrics, now = Metrics(), utc_now()
    for age in (0, rules.HOURS_MAX + 1):
        metrics.cache("prices", hit=True)
        await service.record(db, now=now - timedelta(hours=age), metrics=metrics)
    async with db.system("test", write=True) as tx:
        gone = await store.prune(tx, before=now - timedelta(hours=rules.HOURS_MAX))
        left = await tx.scalar(sa.select(sa.func.count()).select_from(sample))

    assert (gone, left) == (1, 1)


async def test_figures_need_the_right(db: Database, actor: Actor) -> None:
    nobody = dataclasses.replace(actor, rights=frozenset())
    async with db.reading(nobody) as tx:
        with pytest.raises(NotAllowed, match="operations:read"):
            await service.performance(tx, nobody, hours=1, now=utc_now())
    with pytest.raises(NotAllowed):
        service.exposed(nobody)


@pytest.fixture
async def operator(db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx2.AsyncClient]:
    monkeypatch.setitem(PEOPLE, "operator", OPERATOR)
    metrics = Metrics()
    app = create_app(SETTINGS, db, [routes(tmp_path, metrics=metrics)], authenticate, metrics=metrics)
    async with client_of(app, "operator") as client:
        yield client


async def test_the_server_tells_that_it_is_ready(operator: httpx2.AsyncClient) -> None:
    live = await operator.get("/health/live", headers={"authorization": "", "host": "10.1.2.3"})
    ready = await operator.get("/health/ready", headers={"authorization": ""})
    detail = await operator.get("/health")
    hidden = await operator.get("/health", headers={"authorization": ""})

    assert live.json() == {"ok": True}
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "failing": []})
    assert [check["name"] for check in detail.json()["checks"]] == ["database", "migrations", "disk"]
    assert hidden.status_code == 401


async def test_the_server_is_not_ready_without_its_database_or_while_it_stops(db: Database, tmp_path: Path) -> None:
    metrics = Metrics()
    away = Database("postgresql+psycopg://nobody@127.0.0.1:1/none")
    draining = [Check("draining", False, "the server is stopping")]
    app = create_app(SETTINGS, away, [routes(tmp_path, metrics=metrics)], authenticate, metrics=metrics)
    stopping = create_app(
        SETTINGS, db, [routes(tmp_path, metrics=metrics, more=[lambda: draining[0]])], authenticate, metrics=metrics
    )
    async with client_of(app) as client, client_of(stopping) as other:
        ready = await client.get("/health/ready")
        live = await client.get("/health/live")
        drained = await other.get("/health/ready")
    await away.close()

    assert (ready.status_code, ready.json()) == (503, {"ready": False, "failing": ["database"]})
    assert live.status_code == 200
    assert drained.json()["failing"] == ["draining"]


async def test_metrics_and_performance_are_served(operator: httpx2.AsyncClient) -> None:
    for _ in range(3):
        await operator.get("/health")
    report = await operator.get("/v1/operations/performance?hours=1")
    text = await operator.get("/metrics")
    document = report.json()
    api = next(each for each in document["objectives"] if each["name"] == "api")

    assert report.status_code == 200
    assert api["standing"]["count"] == 3
    assert api["worst"][0]["name"] == "GET /health"
    assert (api["budget"], api["share"]) == (0.5, 0.99)
    assert 'bursar_http_requests_total{method="GET",route="/health",status="200"} 3.0' in text.text
    assert text.headers["content-type"].startswith("text/plain")


async def test_what_waits_for_somebody_is_told_with_its_way_out(db: Database, owner_url: str) -> None:
    importlib.import_module("bursar.wiring.http")  # declares every table, as whoever asks does
    before = {check.name: check for check in await service.waiting_for_somebody(db)}
    engine = sa.create_engine(owner_url)
    with engine.begin() as connection:
        connection.execute(
            sa.text("insert into procrastinate_jobs (queue_name, task_name, status) values ('q', 't', 'failed')")
        )
        connection.execute(sa.text("alter table mail_outbox no force row level security"))
        connection.execute(
            sa.text(
                "insert into mail_outbox (org, id, channel, recipient, template, state) values"
                " (:org, gen_random_uuid(), 'mail', 'a@example.com', 'alert', 'unknown')"
            ),
            {"org": NOBODY},
        )
    engine.dispose()
    after = {check.name: check for check in await service.waiting_for_somebody(db)}

    assert [(name, check.ok) for name, check in before.items()] == [("jobs", True), ("mails", True), ("tenancy", True)]
    assert [check.ok for check in after.values()] == [False] * 3
    assert "1 gave up" in after["jobs"].detail
    assert "1 may not have gone out, 0 given up" in after["mails"].detail
    assert "mail_outbox" in after["tenancy"].detail
