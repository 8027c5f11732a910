"""One metric with one filter is one figure: on the command line, over HTTP, in the report and over MCP."""

import asyncio
import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import polars as pl
import pytest
from lxml import html as markup

from bursar import wiring
from bursar.core.identity.keys import service as keys
from bursar.core.planning.forecasts import service as forecasts
from bursar.infra.clock import utc_now
from bursar.kernel.actor import Actor
from bursar.kernel.period import Grain
from bursar.kernel.trace import SpentFigure
from bursar.reports.html import money
from bursar.reports.mcp.desk import Desk
from bursar.reports.mcp.server import call, tools
from bursar.reports.sample import TRUTH_FILE, write_sample
from bursar.settings import load

SURE = {"confidence_min": 0.6}
SPAN = {"from": "2026-03-01", "to": "2026-06-01"}


def bursar(home: Path, *args: str) -> str:
    """Run the command on a home; return what it printed."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BURSAR_")}  # noqa: TID251
    done = subprocess.run(
        [sys.executable, "-m", "bursar.cli", *args],
        env=clean | {"BURSAR_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass
class Ways:
    """One organisation asked in four ways.

    Attributes:
        home: Where the organisation lives.
        cli: What ``bursar review --json`` printed.
        listed: What ``bursar findings --json`` printed.
        page: The report that the same review wrote.
        web: A client of the API.
        desk: What MCP tools work with.
    """

    home: Path
    cli: dict[str, Any]
    listed: list[dict[str, Any]]
    page: Any
    web: httpx2.AsyncClient
    desk: Desk

    async def get(self, path: str, **params: Any) -> Any:
        answer = await self.web.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        answer = await self.web.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def explained(self, token: str, *, console: bool = False) -> dict[str, Any]:
        """Resolve a token over HTTP and MCP, and at the console where asked; all must say the same and add up."""
        web = await self.get(f"/v1/trace/{token}")
        mcp = await self.tool("explain_figure", trace=token)
        assert (mcp["title"], mcp["formula"], mcp["rows_total"]) == (web["title"], web["formula"], web["rows_total"])
        assert mcp["figure"] == web["figure"] | {"trace": token}
        assert [(one["label"], one["amount"]) for one in mcp["parts"]] == [
            (one["label"], one["amount"]) for one in web["parts"]
        ]
        assert [(one["file"], one["row"]) for one in mcp["rows"]] == [(one["file"], one["row"]) for one in web["rows"]]
        if console:
            cli = await asyncio.to_thread(bursar, self.home, "explain", token, "--json")
            told = json.loads(cli)
            assert (told["title"], told["figure"]) == (web["title"], web["figure"])
            assert told["evidence"]["formula"] == web["formula"]
            assert [part["amount"] for part in told["evidence"]["parts"]] == [part["amount"] for part in web["parts"]]
        return dict(web)

    async def tool(self, name: str, **arguments: Any) -> dict[str, Any]:
        answer = await call(self.desk, tools(allow_actions=False), name, arguments)
        assert not answer.refused, answer.facts
        return answer.facts


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="bursar-same-"))
    made.chmod(0o755)
    (made / "home").mkdir(mode=0o755)
    write_sample(made / "exports", seed=7)
    (made / "exports" / TRUTH_FILE).unlink()
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
async def ways(folder: Path) -> AsyncIterator[Ways]:
    exports, home = folder / "exports", folder / "home"
    cli = json.loads(bursar(home, "review", "--json", "--html", str(folder / "report.html"), str(exports)))
    listed = json.loads(bursar(home, "findings", "--json"))
    async with wiring.open_house(load(home=home)) as house:
        actor = await wiring.local_actor(house)
        transport = httpx2.ASGITransport(app=wiring.app(house), client=("127.0.0.1", 1))
        headers = {"authorization": f"Bearer {await _key(house, actor)}"}
        desk = Desk(house.db, house.lake, actor, utc_now, b"s" * 32, wiring.tracer(house, actor.org), house.prices)
        async with httpx2.AsyncClient(transport=transport, base_url=house.settings.url, headers=headers) as web:
            yield Ways(home, cli, listed, markup.parse(folder / "report.html"), web, desk)


async def _key(house: wiring.House, actor: Actor) -> str:
    scopes = ["finding:read", "intake:read", "cost:read", "cost:write", "bank:read", "transaction:read"]
    scopes += ["transaction:write", "budget:read", "budget:write", "series:read", "forecast:read", "ledger:read"]
    scopes += ["ledger:write", "party:write", "price:read", "anomaly:read", "language:read"]
    async with house.db.writing(actor) as tx:
        _, text = await keys.make(tx, actor, name="same", scopes=scopes, networks=(), days=1, now=utc_now())
    return text


async def test_money_worth_acting_on_is_one_figure(ways: Ways) -> None:
    facts = ("worth", "low", "high", "overlap", "findings")
    cli = [{fact: total[fact] for fact in facts} for total in ways.cli["worth"]]
    web = [{fact: total[fact] for fact in facts} for total in await ways.get("/v1/findings/totals")]
    mcp = [{fact: total[fact] for fact in facts} for total in (await ways.tool("list_findings"))["totals"]]
    traces = ways.page.xpath("//header//ul[@class='figures']/li/strong/@data-trace")
    page = [
        " ".join(node.text_content().split()) for node in ways.page.xpath("//header//ul[@class='figures']/li/strong")
    ]

    assert cli
    assert cli == web == mcp
    assert traces == [total["worth"]["trace"] for total in cli]
    assert page == [f"{Decimal(total['worth']['amount']):,.0f} {total['worth']['currency']}" for total in cli]


async def test_each_finding_is_worth_the_same_everywhere(ways: Ways) -> None:
    facts = ("id", "kind", "title", "state", "confidence", "from", "to")
    amounts = ("worth", "counted", "low", "high")

    def seen(found: dict[str, Any], start: str = "from", end: str = "to") -> dict[str, Any]:
        named = found | {"from": found[start], "to": found[end]}
        worth = {name: (found[name]["amount"], found[name]["currency"]) for name in amounts}
        return {fact: named[fact] for fact in facts} | worth

    cli = [seen(one) for one in ways.cli["findings"]]
    listed = [seen(one) for one in ways.listed]
    web = [seen(one, "start", "end") for one in (await ways.get("/v1/findings", limit=200, **SURE))["data"]]
    mcp = [seen(one) for one in (await ways.tool("list_findings", limit=100))["findings"]]

    assert cli
    assert cli == listed == web == mcp


async def test_the_report_shows_the_amounts_of_the_answer(ways: Ways) -> None:
    both = [*ways.cli["findings"], *ways.cli["unsure"]]
    rows = ways.page.xpath("//table[@class='ranked']/tbody/tr")
    shown = [[" ".join(cell.text_content().split()) for cell in row.xpath("./td")] for row in rows]

    assert [(cells[0], cells[2].rsplit(" ", 2 if cells[2].endswith("a year") else 1)[0]) for cells in shown] == [
        (one["id"], f"{money(Decimal(one['counted']['amount']))} {one['counted']['currency']}") for one in both
    ]


async def test_an_explanation_is_the_same_in_every_way(ways: Ways) -> None:
    name = ways.cli["findings"][0]["id"]

    web = (await ways.get(f"/v1/findings/{name}"))["trace"]
    trace = await ways.get(f"/v1/trace/{name}")
    mcp = await ways.tool("explain_finding", id=name)

    assert web == trace
    assert web["formula"] == mcp["formula"]
    assert [(part["label"], part["amount"]) for part in web["parts"]] == [
        (part["label"], part["amount"]) for part in mcp["parts"]
    ]
    assert [(row["file"], row["row"]) for row in web["rows"]] == [(row["file"], row["row"]) for row in mcp["rows"]]
    [card] = ways.page.xpath(f"//article[@id='{name}']")
    assert " ".join(web["formula"].split()) in re.sub(r"\s+", " ", card.text_content())


async def test_cost_of_a_period_is_one_figure(ways: Ways) -> None:
    for by in ([], ["provider"], ["service"]):
        web = await ways.get("/v1/cloud/costs", **SPAN, by=by)
        mcp = await ways.tool("query_money", source="cost", by=by, limit=200, **SPAN)

        assert web["data"]
        assert [
            (one["values"], one["cost"]["amount"], one["cost"]["currency"], one["lines"]) for one in web["data"]
        ] == [(one["values"], one["sum"]["amount"], one["sum"]["currency"], one["rows"]) for one in mcp["data"]]


def exactly(row: Sequence[Any]) -> list[Any]:
    """Return a row of cost with its amount and count as numbers: files have the places of their column."""
    return [*row[:-2], Decimal(row[-2]), int(row[-1])]


async def test_cost_is_one_figure_at_the_console_and_in_exports(ways: Ways) -> None:
    by, where = ["provider", "month"], "charge = Usage"
    web = await ways.get("/v1/cloud/costs", **SPAN, by=by, filter=where)
    asked = ["costs", "--from", SPAN["from"], "--to", SPAN["to"], "--filter", where, "--by", by[0], "--by", by[1]]
    told = json.loads(await asyncio.to_thread(bursar, ways.home, *asked, "--json"))
    printed = list(csv.DictReader(io.StringIO(await asyncio.to_thread(bursar, ways.home, *asked, "--csv"))))
    sent = await ways.web.get("/v1/cloud/costs/export", params={**SPAN, "by": by, "filter": where, "form": "csv"})
    typed = await ways.web.get("/v1/cloud/costs/export", params={**SPAN, "by": by, "filter": where, "form": "parquet"})

    assert told == web["data"]
    rows = [[*one["values"], one["cost"]["currency"], one["cost"]["amount"], str(one["lines"])] for one in told]
    assert [list(row.values()) for row in printed] == rows
    assert [exactly(row) for row in list(csv.reader(io.StringIO(sent.text)))[1:]] == [exactly(row) for row in rows]
    assert sent.headers["content-type"].startswith("text/csv")
    frame = pl.read_parquet(io.BytesIO(typed.content))
    assert [exactly(row) for row in frame.iter_rows()] == [exactly(row) for row in rows]


async def test_exported_findings_and_transactions_are_those_listed(ways: Ways) -> None:
    sent = await ways.web.get("/v1/findings/export", params=SURE)
    rows = list(csv.DictReader(io.StringIO(sent.text)))
    assert [(row["id"], Decimal(row["counted"]), row["currency"]) for row in rows] == [
        (one["id"], Decimal(one["counted"]["amount"]), one["counted"]["currency"]) for one in ways.cli["findings"]
    ]

    await ways.post("/v1/transactions/derive", {})
    for where in ({}, {"q": "brandt", "since": "2026-01-01"}):
        listed: list[tuple[str, Decimal]] = []
        page: dict[str, Any] = {"next": ""}
        while page["next"] is not None:
            after = {"after": page["next"]} if page["next"] else {}
            page = await ways.get("/v1/transactions", limit=200, **where, **after)
            listed += [(one["id"], Decimal(one["amount"]["amount"])) for one in page["data"]]
        typed = await ways.web.get("/v1/transactions/export", params={**where, "form": "parquet"})
        frame = pl.read_parquet(io.BytesIO(typed.content))
        assert list(zip(frame["id"], frame["amount"], strict=True)) == listed


async def test_what_was_read_is_one_figure(ways: Ways) -> None:
    """Totals of the imports over HTTP and on the command line equal the sums of the rows that MCP finds."""
    every = {"from": "2000-01-01", "to": "2100-01-01"}
    web = {one["file"]: one for one in (await ways.get("/v1/imports", limit=200))["data"]}
    for batch in ways.cli["batches"]:
        assert [(total["amount"], total["currency"]) for total in batch["totals"]] == [
            (total["amount"], total["currency"]) for total in web[batch["file"]]["totals"]
        ]

    cost = await ways.tool("query_money", source="cost", kind="billed", **every)
    bank = await ways.tool("query_money", source="bank", **every)
    rows: dict[str, Decimal] = {}
    for one in (*cost["data"], *bank["data"]):
        rows[one["sum"]["currency"]] = rows.get(one["sum"]["currency"], Decimal(0)) + Decimal(one["sum"]["amount"])
    read: dict[str, Decimal] = {}
    for batch in ways.cli["batches"]:
        for total in batch["totals"]:
            read[total["currency"]] = read.get(total["currency"], Decimal(0)) + Decimal(total["amount"])
    assert read
    assert rows == read


def parts_sum(told: dict[str, Any]) -> Decimal:
    return sum((Decimal(part["amount"]) for part in told["parts"]), Decimal(0))


def figure(amount: dict[str, Any]) -> dict[str, Any]:
    return {"amount": amount["amount"], "currency": amount["currency"]}


async def test_every_cost_leads_to_its_lines_in_every_way(ways: Ways) -> None:
    for at, by in enumerate(([], ["provider", "month"], ["service", "tag:team"])):
        web = await ways.get("/v1/cloud/costs", **SPAN, by=by, filter="charge = Usage")
        mcp = await ways.tool("query_money", source="cost", by=by, limit=200, filter="charge = Usage", **SPAN)

        assert [one["cost"] for one in web["data"]] == [one["sum"] for one in mcp["data"]]
        for group in web["data"][:3]:
            told = await ways.explained(group["cost"]["trace"], console=at == 0)
            assert told["figure"] == figure(group["cost"])
            assert parts_sum(told) == Decimal(group["cost"]["amount"])
            assert told["rows_total"] == group["lines"]
            assert all(row["file"] and row["row"] for row in told["rows"])


async def test_a_line_named_by_a_trace_stands_in_its_file(ways: Ways, folder: Path) -> None:
    """The text of a row is found in the very line of the very file that its trace names."""
    [first] = (await ways.get("/v1/cloud/costs", **SPAN, filter="provider = azure"))["data"]
    told = await ways.explained(first["cost"]["trace"])

    for row in told["rows"][:10]:
        lines = (folder / "exports" / row["file"]).read_text(encoding="utf-8").splitlines()
        assert row["text"].rsplit(" ", 1)[1] in lines[row["row"] - 1]
        assert row["amount"]["amount"].rstrip("0") in lines[row["row"] - 1]


async def test_every_amount_of_a_bridge_is_explained_alike(ways: Ways) -> None:
    days = {"old_from": "2026-03-01", "old_to": "2026-04-01", "new_from": "2026-06-01", "new_to": "2026-07-01"}
    rates = [{"currency": "EUR", "old": "1.08", "new": "1.10"}]
    web = await ways.post("/v1/cloud/bridge", days | {"currency": "USD", "rates": rates})

    shown = [web["old"], web["new"], web["rest"], *(one["amount"] for one in (*web["causes"], *web["movers"][:4]))]
    for at, amount in enumerate(shown):
        told = await ways.explained(amount["trace"], console=at == 0)
        assert told["figure"] == figure(amount)
        if told["parts"]:
            assert parts_sum(told) == Decimal(amount["amount"])
    old = await ways.explained(web["old"]["trace"])
    assert [(one["id"], one["price"]["amount"], one["day"]) for one in old["prices"]] == [
        ("EUR/USD", "1.08", "2026-03-01"),
        ("EUR/USD", "1.10", "2026-06-01"),
    ]

    same = await ways.post("/v1/cloud/bridge", days | {"currency": "USD", "filter": "currency = USD"})
    mcp = await ways.tool("compare_periods", currency="USD", filter="currency = USD", **days)
    assert [mcp["old"], mcp["new"], mcp["movers_left_out"]] == [same["old"], same["new"], same["rest"]]
    assert [one["trace"] for one in mcp["causes"]] == [one["amount"]["trace"] for one in same["causes"]]


async def test_money_worth_acting_on_is_the_sum_of_its_findings(ways: Ways) -> None:
    web = await ways.get("/v1/findings/totals")
    for at, total in enumerate(web):
        for part in ("worth", "low", "high", "overlap"):
            told = await ways.explained(total[part]["trace"], console=at == 0 and part == "worth")
            assert told["figure"] == figure(total[part])
            assert parts_sum(told) == Decimal(total[part]["amount"])
            assert len(told["parts"]) == total["findings"]


async def test_a_finding_is_its_own_trace(ways: Ways) -> None:
    name = ways.cli["findings"][0]["id"]

    told = await ways.explained(name)

    assert told["figure"] == figure(ways.cli["findings"][0]["worth"])


async def test_bank_sums_and_transactions_lead_to_their_statements(ways: Ways) -> None:
    mcp = await ways.tool("query_money", source="bank", by=["account"], **SPAN)
    for at, group in enumerate(mcp["data"]):
        told = await ways.explained(group["sum"]["trace"], console=at == 0)
        assert told["figure"] == figure(group["sum"])
        assert parts_sum(told) == Decimal(group["sum"]["amount"])
        assert told["rows_total"] == group["rows"]
    await ways.post("/v1/transactions/derive", {})
    for one in (await ways.get("/v1/transactions", limit=3))["data"]:
        told = await ways.explained(one["amount"]["trace"])
        assert Decimal(told["figure"]["amount"]) == Decimal(one["amount"]["amount"]) == parts_sum(told)
        assert [row["row"] for row in told["rows"]] == [one["row"]]


async def test_a_budget_and_a_series_lead_to_the_lines_they_sum(ways: Ways) -> None:
    budget = {"name": "AWS", "filter": {"provider": ["aws"]}, "amount": {"amount": "100.00", "currency": "USD"}}
    made = await ways.post("/v1/budgets", budget | {"start": "2026-01-01", "roll_over": "both"})
    status = await ways.get(f"/v1/budgets/{made['id']}/status", day="2026-06-10")

    named = [name for name, value in status.items() if isinstance(value, dict)]
    assert {"allowed", "carried", "actual", "committed"} <= set(named)
    for at, amount in enumerate([*(status[name] for name in named), *status["others"]]):
        told = await ways.explained(amount["trace"], console=at == 0)
        assert told["figure"] == figure(amount)
        assert not told["parts"] or parts_sum(told) == Decimal(amount["amount"])
    cost = await ways.get(
        "/v1/cloud/costs", **{"from": "2026-06-01", "to": "2026-07-01"}, filter="provider = aws and charge = Usage"
    )
    assert status["actual"]["amount"] != "0.00"
    assert Decimal(status["actual"]["amount"]) == round(Decimal(cost["data"][0]["cost"]["amount"]), 2)


async def test_the_history_beside_a_forecast_leads_to_its_lines(ways: Ways) -> None:
    await forecasts.forecast_all(
        ways.desk.db, ways.desk.actor, lake=ways.desk.lake, now=utc_now(), grains=[Grain.WEEK, Grain.MONTH]
    )
    for source, grain in (("bank", "week"), ("cost", "month")):
        found = (await ways.get("/v1/series", source=source, grain=grain, limit=200))["data"]
        for one in (found[0], found[-1]):
            forecast = await ways.get(f"/v1/series/{one['key']}/forecast", grain=grain)
            for past in forecast["history"][-2:]:
                told = await ways.explained(past["trace"])
                assert told["figure"] == {"amount": past["amount"], "currency": one["currency"]}
                assert parts_sum(told) == Decimal(past["amount"])
                assert all(row["file"] and row["row"] for row in told["rows"])


async def test_the_books_lead_to_their_transfers_and_rates(ways: Ways) -> None:
    ids = {}
    for code, kind, currency in (
        ("asset:bank", "asset", "EUR"),
        ("income:sales", "income", "EUR"),
        ("asset:usd", "asset", "USD"),
        ("income:usd", "income", "USD"),
    ):
        account = {"code": code, "kind": kind, "currency": currency}
        ids[code] = (await ways.post("/v1/ledger/accounts", account))["id"]
    for key, debit, credit, amount, currency in (
        ("k1", "asset:bank", "income:sales", "120.50", "EUR"),
        ("k2", "income:sales", "asset:bank", "20.25", "EUR"),
        ("k3", "asset:usd", "income:usd", "10.00", "USD"),
    ):
        moved = {"key": key, "debit": ids[debit], "credit": ids[credit], "value_day": "2026-05-05"}
        await ways.post("/v1/ledger/transfers", moved | {"amount": {"amount": amount, "currency": currency}})
    rate = {"base": "USD", "quote": "EUR", "day": "2026-05-04", "rate": "0.9", "source": "central bank"}
    await ways.post("/v1/ledger/rates", rate)

    shown = [
        (await ways.get(f"/v1/ledger/accounts/{ids['asset:bank']}"))[name] for name in ("balance", "debits_posted")
    ]
    sheet = await ways.get("/v1/books/balance-sheet", on="2026-05-31")
    shown += [*sheet["earnings"], *(one["total"] for one in sheet["sections"])]
    shown += [line["balance"] for one in sheet["sections"] for line in one["lines"]]
    shown += (await ways.get("/v1/books/trial-balance"))["totals"]
    worth = await ways.get("/v1/books/revaluation", on="2026-05-31", into="EUR")
    shown += [one["worth"] for one in worth["worth"]]
    shown += [worth["gain"]]
    hold = {"key": "k4", "action": "hold", "debit": ids["asset:bank"], "credit": ids["income:sales"]}
    held = {"value_day": "2026-05-06", "amount": {"amount": "7.00", "currency": "EUR"}}
    await ways.post("/v1/ledger/transfers", hold | held)
    account = await ways.get(f"/v1/ledger/accounts/{ids['asset:bank']}")
    assert account["debits_pending"]["amount"] == "7.00"
    shown += [account["debits_pending"], account["credits_pending"]]
    shown += [one["amount"] for one in (await ways.get("/v1/ledger/transfers", limit=4))["data"]]
    may = {"since": "2026-05-01", "until": "2026-05-31"}
    for one in await ways.get("/v1/books/cash-flow", **may, cash="asset:bank"):
        shown += [one["inflow"], one["outflow"]]
    for one in await ways.get("/v1/books/groups", **may):
        shown += [one["debits"], one["credits"]]
    for at, amount in enumerate(shown):
        told = await ways.explained(amount["trace"], console=at == 0)
        assert told["figure"] == figure(amount)
        assert parts_sum(told) == Decimal(amount["amount"])
    [usd] = [one["worth"] for one in worth["worth"] if one["account"] == ids["asset:usd"]]
    told = await ways.explained(usd["trace"])
    assert (told["prices"][0]["id"], told["prices"][0]["day"], told["prices"][0]["source"]) == (
        "USD/EUR",
        "2026-05-04",
        "central bank",
    )


async def lead_somewhere(ways: Ways, told: list[dict[str, Any]], *, rows: bool = True) -> list[dict[str, Any]]:
    """Resolve the token of each amount: it is the same amount, its parts sum to it exactly, its rows name file and line."""
    assert told
    found = []
    for at, amount in enumerate(told):
        one = await ways.explained(amount["trace"], console=at == 0)
        assert Decimal(one["figure"]["amount"]) == Decimal(amount["amount"])
        assert one["figure"]["currency"] == amount["currency"]
        assert parts_sum(one) == Decimal(amount["amount"])
        assert all(row["file"] and row["row"] >= 0 for row in one["rows"])
        found.append(one)
    assert not rows or any(one["rows"] for one in found)
    return found


async def test_totals_of_imports_lead_to_the_lines_of_their_files(ways: Ways) -> None:
    batches = (await ways.get("/v1/imports", limit=200))["data"]
    for batch in batches:
        for found in await lead_somewhere(ways, batch["totals"]) if batch["totals"] else []:
            assert {row["file"] for row in found["rows"]} <= {batch["file"]}
            assert found["rows_total"] <= batch["rows_taken"]
    off = [balance["off"] for batch in batches for balance in batch["balances"] if balance["off"]]
    await lead_somewhere(ways, off[:3])


async def test_cash_ahead_leads_to_what_it_is_expected_from(ways: Ways) -> None:
    outlooks = await ways.get("/v1/cash")
    assert outlooks
    for one in outlooks[:3]:
        weeks = [amount for week in (one["weeks"][0], one["weeks"][5]) for amount in week.values() if "trace" in amount]
        assert len(weeks) == 18
        await lead_somewhere(ways, [one["balance"], *weeks])
    flows = [flow["amount"] for one in outlooks for flow in one["flows"]]
    await lead_somewhere(ways, flows[:4])
    recurring = await ways.get("/v1/cash/recurring")
    await lead_somewhere(ways, [amount for one in recurring[:3] for amount in one.values() if "trace" in str(amount)])


async def test_cost_by_rules_leads_to_own_lines_and_shares(ways: Ways) -> None:
    tag = {"key": "team", "source": "account_name"}
    split = {"name": "s3", "by": "tag:team", "shared": 'service = "Amazon Simple Storage Service" or charge = Tax'}
    have = await ways.web.get("/v1/cloud/rules")
    sent = await ways.web.put(
        "/v1/cloud/rules", json={"tags": [tag], "splits": [split]}, headers={"if-match": have.headers["etag"]}
    )
    assert sent.is_success, sent.text
    for asked in ({"inherit": True}, {"inherit": True, "split": "s3"}, {"split": "s3"}):
        web = await ways.get("/v1/cloud/costs", **SPAN, by=["month", "tag:team"], **asked)
        assert web["applied"]
        await lead_somewhere(ways, [one["cost"] for one in web["data"][:4]])
        if shared := [one["shared"] for one in web["data"] if one["shared"]]:
            await lead_somewhere(ways, shared[:2])
    body = {"from": SPAN["from"], "to": SPAN["to"], "by": "tag:team", "shared": "charge = Tax", "method": "even"}
    shares = (await ways.post("/v1/cloud/allocation", body))["data"]
    await lead_somewhere(ways, [one[name] for one in shares[:3] for name in ("direct", "shared", "total")])


async def test_invoices_plans_and_prices_lead_to_their_lines(ways: Ways) -> None:
    entered = {"month": "2026-05-01", "invoice": "typed", "total": {"amount": "12.30", "currency": "USD"}}
    matches = (await ways.post("/v1/cloud/invoice-match", {"months": ["2026-05-01"], "entered": [entered]}))["data"]
    assert matches
    for one in matches:
        amounts = [one[name] for name in ("stated", "billed", "difference")]
        await lead_somewhere(ways, [*amounts, *one["by_kind"].values()], rows=False)
    plans = (await ways.get("/v1/cloud/commitments", discount=0.3))["plans"]
    for plan in plans[:1]:
        amounts = [
            plan["hourly"],
            plan["saving_a_year"],
            plan["purchases"][-1]["hourly"],
            plan["outcomes"][0]["regret"],
        ]
        await lead_somewhere(ways, amounts)
    machines = (await ways.get("/v1/cloud/prices", vcpu=2, memory_gib=4, limit=3))["data"]
    for one in machines:
        month = {"amount": one["monthly"], "currency": one["price"]["currency"], "trace": one["trace"]}
        [price, _] = await lead_somewhere(ways, [one["price"], month], rows=False)
        assert price["prices"][0]["source"] == one["source"]


async def test_rows_to_decide_ties_and_scores_lead_somewhere(ways: Ways) -> None:
    await ways.post("/v1/transactions/derive", {})
    await lead_somewhere(ways, [one["amount"] for one in (await ways.get("/v1/transactions/queue"))[:3]])
    await ways.post("/v1/bank/postings", {})
    ties = await ways.get("/v1/bank/reconciliation")
    await lead_somewhere(ways, [one[name] for one in ties[:2] for name in ("stated", "booked", "off")])
    await lead_somewhere(ways, [one["balance"] for one in (await ways.get("/v1/bank/balances"))[:2]])
    scores = await ways.get("/v1/scoreboard")
    await lead_somewhere(ways, [one[name] for one in scores[:3] for name in ("promised", "verified")], rows=False)
    language = await ways.get("/v1/language")
    spent = {"amount": language["spent_usd"], "currency": "USD", "trace": language["trace"]}
    await lead_somewhere(ways, [spent], rows=False)
    [anomaly, *_] = (await ways.get("/v1/anomalies"))["data"]
    assert (await ways.explained(anomaly["trace"]))["figure"] == figure(anomaly["worth"])


async def test_steps_of_a_forecast_lead_to_what_they_were_learned_from(ways: Ways) -> None:
    await forecasts.forecast_all(
        ways.desk.db, ways.desk.actor, lake=ways.desk.lake, now=utc_now(), grains=[Grain.MONTH]
    )
    [first, *_] = (await ways.get("/v1/series", source="cost", grain="month"))["data"]
    recent = {"amount": first["recent"], "currency": first["currency"], "trace": first["trace"]}
    await lead_somewhere(ways, [recent])
    forecast = await ways.get(f"/v1/series/{first['key']}/forecast", grain="month")
    steps = [
        {"amount": step["mean"], "currency": forecast["currency"], "trace": step["trace"]}
        for step in forecast["steps"][:3]
    ]
    for found, step in zip(await lead_somewhere(ways, steps), forecast["steps"], strict=False):
        assert step["lower95"] in found["formula"]
    moved = await ways.post("/v1/forecasts/what-if", {"series": first["key"], "grain": "month", "price": "0.1"})
    before = [
        {"amount": one["before"], "currency": moved["currency"], "trace": one["trace"]} for one in moved["series"]
    ]
    await lead_somewhere(ways, before)


async def test_a_changed_or_foreign_token_is_refused_in_every_way(ways: Ways) -> None:
    [total, *_] = await ways.get("/v1/findings/totals")
    good = total["worth"]["trace"]
    broken = good[:-3] + ("AAA" if good[-3:] != "AAA" else "BBB")

    web = await ways.web.get(f"/v1/trace/{broken}")
    mcp = await call(ways.desk, tools(allow_actions=False), "explain_figure", {"trace": broken})

    assert (web.status_code, web.json()["code"]) == (422, "invalid")
    assert mcp.refused
    with pytest.raises(AssertionError, match="not a trace token"):
        bursar(ways.home, "explain", broken)


async def test_a_token_gives_no_right(ways: Ways) -> None:
    """Whoever may not ask the question may not have its answer by its token."""
    [first, *_] = (await ways.get("/v1/cloud/costs", **SPAN))["data"]
    poor = Desk(
        ways.desk.db, ways.desk.lake, replace(ways.desk.actor, rights=frozenset({"finding:read"})), utc_now, b"s" * 32,
        ways.desk.tracer, ways.desk.prices,
    )  # fmt: skip

    answer = await call(poor, tools(allow_actions=False), "explain_figure", {"trace": first["cost"]["trace"]})

    assert answer.refused
    assert "cost:read" in answer.facts["what"]


async def test_a_sum_of_a_series_does_not_open_the_rows_of_a_statement(ways: Ways) -> None:
    figure = SpentFigure("bank", date(2026, 3, 1), date(2026, 4, 1), "EUR", 2)
    rights = frozenset({"series:read", "intake:read"})
    poor = replace(ways.desk, actor=replace(ways.desk.actor, rights=rights))

    answer = await call(poor, tools(allow_actions=False), "explain_figure", {"trace": poor.tracer.token(figure)})

    assert answer.refused
    assert "bank:read" in answer.facts["what"]
