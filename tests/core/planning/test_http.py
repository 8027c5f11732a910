"""Planning as a program meets it: real database, lake and jobs behind the HTTP edge."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from bursar.core.intake.jobs import Importer
from bursar.core.planning.commitments.service import Paid
from bursar.core.planning.jobs import JOBS, refreshed
from bursar.core.planning.series.rules import series_id
from bursar.infra.clock import utc_now
from bursar.infra.db import Database
from bursar.infra.fleet import Fleet
from bursar.infra.jobs import Context, Ticket
from bursar.infra.jobs_tables import run as job_run
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.ml.forecast.lineup import Extras
from tests.core.identity.house import House, cheap_means
from tests.core.planning.conftest import bill
from tests.core.planning.test_forecasts import take

Client = httpx2.AsyncClient


@pytest.fixture
async def planned(db: Database, importer: Importer, lake: Lake, actor: Actor, tmp_path: Path) -> date:
    """Half a year of bills up to the day before yesterday, forecast by the code of the job; the last day."""
    last = utc_now().date() - timedelta(days=2)
    await take(importer, actor, bill(tmp_path / "bill.csv", last - timedelta(days=180), last), now=utc_now())
    counts = await refreshed(db, actor, lake=lake)
    assert counts["made"] == counts["panels"] == 2
    return last


def numbers(count: int = 40, **facts: Any) -> dict[str, Any]:
    return {
        "key": "s",
        "currency": "EUR",
        "start": "2026-01-01",
        "values": [float(at % 7) for at in range(count)],
        **facts,
    }


async def test_own_numbers_are_forecast_with_their_makers_named(client: Client) -> None:
    reply = await client.post("/v1/forecasts", json={"horizon": 14, "series": [numbers()]})

    [one] = reply.json()["series"]
    assert reply.status_code == 200
    assert [step["start"][:10] for step in one["steps"]][:2] == ["2026-02-10", "2026-02-11"]
    assert len(one["steps"]) == 14
    assert one["served"]["baseline"] == "seasonal_naive"
    assert (one["served"]["trained_from"], one["served"]["trained_to"]) == ("2026-01-01", "2026-02-09")
    assert all(float(step["lower80"]) <= float(step["mean"]) <= float(step["upper80"]) for step in one["steps"])


POINT = {"at": "2026-01-01", "amount": 1.0}
BAD: dict[str, tuple[dict[str, Any] | str, int]] = {
    "no body": ("", 422),
    "NaN": ('{"series":[{"key":"s","currency":"EUR","start":"2026-01-01","values":[NaN]}]}', 400),
    "Infinity": ('{"series":[{"key":"s","currency":"EUR","start":"2026-01-01","values":[1e999]}]}', 400),
    "text for a number": ({"series": [numbers(values=["1.5"])]}, 422),
    "no series": ({"series": []}, 422),
    "points and values": ({"series": [numbers(points=[POINT])]}, 422),
    "values without a start": ({"series": [numbers(start=None)]}, 422),
    "a day twice": ({"series": [{"key": "s", "currency": "EUR", "points": [POINT, POINT]}]}, 422),
    "two currencies in one text": ({"series": [numbers(currency="EURUSD")]}, 422),
    "31 February": ({"series": [numbers(start="2026-02-31")]}, 422),
    "the end of time": ({"series": [numbers(start="9999-12-30")]}, 422),
    "a horizon of 0": ({"horizon": 0, "series": [numbers()]}, 422),
    "a horizon of 10000": ({"horizon": 10_000, "series": [numbers()]}, 422),
    "no such country": ({"country": "ZZ", "series": [numbers()]}, 422),
    "a million points": ({"series": [numbers(1_000_000)]}, 422),
    "ten million points": ({"series": [numbers(3_000_000)]}, 413),
}


@pytest.mark.parametrize(("body", "status"), BAD.values(), ids=BAD.keys())
async def test_bad_numbers_are_a_problem_and_never_a_crash(
    client: Client, body: dict[str, Any] | str, status: int
) -> None:
    how: dict[str, Any] = {"content": body} if isinstance(body, str) else {"json": body}

    reply = await client.post("/v1/forecasts", headers={"content-type": "application/json"}, **how)

    assert reply.status_code == status, reply.text[:300]
    assert reply.json()["detail"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "9" * 400])
async def test_what_is_no_finite_number_is_said_to_be_so_with_its_place(client: Client, number: str) -> None:
    body = '{"series":[{"key":"s","currency":"EUR","start":"2026-01-01",\n"values":[1, %s]}]}' % number  # noqa: UP031

    reply = await client.post("/v1/forecasts", headers={"content-type": "application/json"}, content=body)

    assert reply.status_code == 400
    assert "line 2, column 1" in reply.json()["detail"]
    assert "write null for a gap" in reply.json()["detail"]


async def test_series_are_searched_and_paged(client: Client, planned: date) -> None:
    first = (await client.get("/v1/series", params={"limit": 4})).json()
    rest = (await client.get("/v1/series", params={"limit": 200, "after": first["next"]})).json()
    ec2 = (await client.get("/v1/series", params={"search": "ec2", "level": "service"})).json()["data"]

    assert (len(first["data"]), len(rest["data"]), rest["next"]) == (4, 7, None)
    assert first["data"][0]["level"] == "total"
    assert first["data"][0]["last"] == planned.isoformat()
    assert len(ec2) == 2
    assert (await client.get("/v1/series", params={"source": "moon"})).status_code == 422


async def test_a_stored_forecast_names_model_window_version_and_record(client: Client, planned: date) -> None:
    key = series_id("cost", "USD", "aws")

    shown = (await client.get(f"/v1/series/{key}/forecast")).json()
    months = (await client.get(f"/v1/series/{key}/forecast", params={"grain": "month"})).json()
    unknown = await client.get("/v1/series/S0000000000000000/forecast")

    assert (shown["name"], shown["level"], shown["currency"], len(shown["steps"])) == ("aws", "provider", "USD", 92)
    assert shown["steps"][0]["start"] == (planned + timedelta(days=1)).isoformat()
    assert shown["served"]["trained_to"] == planned.isoformat()
    assert shown["served"]["model"]
    assert shown["served"]["version"]
    assert (shown["newer_facts"], shown["record"]) == (False, None)
    assert len(shown["history"]) == 181
    assert len(months["steps"]) == 12
    assert unknown.status_code == 404


async def test_what_if_moves_the_total(client: Client, planned: date) -> None:
    key = series_id("cost", "USD", "aws")

    reply = await client.post("/v1/forecasts/what-if", json={"series": key, "price": "0.5"})
    refused = await client.post("/v1/forecasts/what-if", json={"series": key, "price": "999"})

    aws, total = reply.json()["series"]
    assert float(aws["change"]) == pytest.approx(float(aws["before"]) / 2, rel=1e-6)
    assert total["change"] == aws["change"]
    assert refused.status_code == 422


BUDGET = {
    "name": "Cloud",
    "filter": {"provider": ["aws"]},
    "amount": {"amount": "100.00", "currency": "USD"},
    "start": "2026-01-01",
    "tell": ["finance@example.com"],
}


async def test_a_budget_lives_behind_its_etag(
    client: Client, planned: date, db: Database, actor: Actor, lake: Lake
) -> None:
    made = await client.post("/v1/budgets", json=BUDGET)
    path = f"/v1/budgets/{made.json()['id']}"
    tag = (await client.get(path)).headers["etag"]
    blind = await client.put(path, json=BUDGET)
    changed = await client.put(path, json=BUDGET | {"roll_over": "both"}, headers={"if-match": tag})
    stale = await client.put(path, json=BUDGET, headers={"if-match": tag})
    status = (await client.get(f"{path}/status", params={"day": planned.isoformat()})).json()
    again = await client.post("/v1/budgets", json=BUDGET)
    await refreshed(db, actor, lake=lake)
    alerts = (await client.get(f"{path}/alerts")).json()
    listed = (await client.get("/v1/budgets")).json()["data"]
    gone = await client.delete(path, headers={"if-match": changed.headers["etag"]})

    assert (made.status_code, blind.status_code, changed.status_code, stale.status_code) == (201, 428, 200, 412)
    assert again.status_code == 409
    assert float(status["actual"]["amount"]) > 0
    assert status["expected"]["currency"] == "USD"
    assert {one["threshold"] for one in alerts} <= {"actual80", "actual100", "forecast100"}
    assert [one["id"] for one in listed] == [made.json()["id"]]
    assert gone.status_code == 204
    assert (await client.get(path)).status_code == 404


async def test_what_if_shows_a_budget_before_and_after(client: Client, planned: date) -> None:
    made = (await client.post("/v1/budgets", json=BUDGET)).json()
    change = {"series": series_id("cost", "USD", "aws"), "price": "0.5"}

    reply = await client.post(f"/v1/budgets/{made['id']}/what-if", json=change)
    unknown = await client.post(f"/v1/budgets/{made['id']}/what-if", json=change | {"series": "S" + "0" * 16})
    refused = await client.post(f"/v1/budgets/{made['id']}/what-if", json=change | {"growth": "5"})
    past = change | {"growth": "2", "since": "1970-01-01"}
    before_it = [await client.post(path, json=past) for path in (f"/v1/budgets/{made['id']}/what-if", WHAT_IF)]

    assert reply.status_code == 200
    before, after = reply.json()["before"], reply.json()["after"]
    assert float(after["expected"]["amount"]) >= float(before["expected"]["amount"])
    assert before["expected"]["currency"] == "USD"
    assert reply.json()["trace"]
    assert (unknown.status_code, refused.status_code) == (404, 422)
    assert [one.status_code for one in before_it] == [422, 422]
    assert all(f"{planned + timedelta(days=1)}" in one.json()["detail"] for one in before_it[1:])


WHAT_IF = "/v1/forecasts/what-if"


async def test_models_and_anomalies_answer(client: Client, planned: date) -> None:
    every = (await client.get("/v1/models")).json()["data"]
    paged: list[dict[str, Any]] = []
    after = ""
    while len(paged) < 50:
        page = (await client.get(f"/v1/models?limit=1{after}")).json()
        paged += page["data"]
        if not page["next"]:
            break
        after = f"&after={page['next']}"
    kept, models = [one for one in every if one["card"]], [one for one in every if not one["card"]]
    performance = (await client.get(f"/v1/models/{models[0]['id']}/performance")).json()
    of_kept = await client.get(f"/v1/models/{kept[0]['id']}/performance")
    unknown = await client.get("/v1/models/oracle/performance")
    anomalies = await client.get("/v1/anomalies")
    judged = await client.post("/v1/anomalies/F1/feedback", json={"verdict": "noise"})

    assert paged == every
    assert sum(one["series"] for one in models) == 22  # 11 by the day and 11 by the month
    assert [(one["id"], one["version"], one["series"], one["runs"]) for one in kept] == [
        ("forecast_cost_day_usd_92", "1", 11, 1)  # six months are too few to try a model by the month
    ]
    card = kept[0]["card"]
    assert (card["state"], card["baseline"]) == ("serving", "seasonal_naive")
    assert card["metrics"]["mase"] < card["baseline_metrics"]["mase"]
    assert (of_kept.status_code, of_kept.json()["lines"]) == (200, [])
    assert performance["lines"] == []  # nothing that was forecast is over
    assert unknown.status_code == 404
    assert anomalies.json() == {"data": [], "next": None}
    assert judged.status_code == 404


CALENDAR = {
    "country": "DE",
    "subdivision": "BY",
    "events": [
        {"name": "sale", "days": ["2026-11-27", "2026-11-26", "2026-11-27"]},
        {"name": "renewal", "days": ["2027-01-01"], "amount": "1200.50", "currency": "USD"},
    ],
}


async def test_the_calendar_is_set_as_a_whole(client: Client) -> None:
    path = "/v1/planning/calendar"
    empty = (await client.get(path)).json()
    made = await client.put(path, json=CALENDAR)
    shown = (await client.get(path)).json()
    bad = [
        await client.put(path, json=CALENDAR | change)
        for change in (
            {"country": "XX"},
            {"country": ""},
            {"events": [CALENDAR["events"][0]] * 2},
            {"events": [{"name": "x", "days": ["2026-02-30"]}]},
            {"events": [{"name": "x", "days": ["2026-02-03"], "amount": "5"}]},
            {"events": [{"name": "x", "days": []}]},
        )
    ]

    said = []
    for country in ({}, {"country": None}, {"country": ""}, {"country": "GB"}):
        reply = await client.put(path, json={"events": CALENDAR["events"]} | country)
        said.append((reply.status_code, (await client.get(path)).json()["country"]))

    assert said == [(200, None), (200, None), (200, ""), (200, "GB")]  # null leaves it to the currency
    assert empty == {"country": None, "subdivision": "", "events": []}
    assert made.status_code == 200
    assert shown == made.json()
    assert shown["events"][0]["days"] == ["2026-11-26", "2026-11-27"]
    assert [reply.status_code for reply in bad] == [422] * 6


async def test_the_nightly_job_queues_one_refresh_for_each_organisation(db: Database) -> None:
    people = House(db, cheap_means(url="http://test"))
    orgs = [await people.organisation("Engines"), await people.organisation("Elsewhere")]
    nightly = next(one for one in JOBS if one.name == "planning.nightly")

    visited = [await nightly.run(Context(db, nightly, Ticket(1, 1, 1))) for _ in range(2)]

    assert visited == [2, 2]
    for org in orgs:
        async with db.reading(Actor(org, "test")) as tx:
            waiting = sa.select(sa.func.count()).select_from(job_run).where(job_run.c.name == "planning.refresh")
            assert await tx.scalar(waiting) == 1


async def test_the_refresh_job_forecasts_with_the_rights_it_declares(
    db: Database, importer: Importer, lake: Lake, actor: Actor, tmp_path: Path
) -> None:
    await take(importer, actor, bill(tmp_path / "bill.csv", date(2026, 5, 1), date(2026, 9, 30)), now=utc_now())
    refresh = next(one for one in JOBS if one.name == "planning.refresh")
    ctx = Context(db, refresh, Ticket(1, 1, 1), tools={Lake: lake, Fleet: Fleet(), Extras: Extras(), Paid: Paid()})

    first, second = [await refresh.run(ctx, org=str(actor.org)) for _ in range(2)]

    assert first == {"panels": 2, "made": 2, "left": 0, "scored": 0, "told": 0}
    assert second == {"panels": 2, "made": 0, "left": 0, "scored": 0, "told": 0}
