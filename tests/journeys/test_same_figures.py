"""One metric with one filter is one figure: on the command line, over HTTP, in the report and over MCP."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from lxml import html as markup

from bursar import wiring
from bursar.core.identity.keys import service as keys
from bursar.infra.clock import utc_now
from bursar.kernel.actor import Actor
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
        cli: What ``bursar review --json`` printed.
        listed: What ``bursar findings --json`` printed.
        page: The report that the same review wrote.
        web: A client of the API.
        desk: What MCP tools work with.
    """

    cli: dict[str, Any]
    listed: list[dict[str, Any]]
    page: Any
    web: httpx2.AsyncClient
    desk: Desk

    async def get(self, path: str, **params: Any) -> Any:
        answer = await self.web.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

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
        desk = Desk(house.db, house.lake, actor, utc_now, b"s" * 32)
        async with httpx2.AsyncClient(transport=transport, base_url=house.settings.url, headers=headers) as web:
            yield Ways(cli, listed, markup.parse(folder / "report.html"), web, desk)


async def _key(house: wiring.House, actor: Actor) -> str:
    scopes = ["finding:read", "intake:read", "cost:read", "bank:read"]
    async with house.db.writing(actor) as tx:
        _, text = await keys.make(tx, actor, name="same", scopes=scopes, networks=(), days=1, now=utc_now())
    return text


async def test_money_worth_acting_on_is_one_figure(ways: Ways) -> None:
    facts = ("worth", "low", "high", "overlap", "findings")
    cli = [{fact: total[fact] for fact in facts} for total in ways.cli["worth"]]
    web = [{fact: total[fact] for fact in facts} for total in await ways.get("/v1/findings/totals")]
    mcp = [{fact: total[fact] for fact in facts} for total in (await ways.tool("list_findings"))["totals"]]
    page = [
        " ".join(node.text_content().split()) for node in ways.page.xpath("//header//ul[@class='figures']/li/strong")
    ]

    assert cli
    assert cli == web == mcp
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
    rows = ways.page.xpath("//section[@aria-labelledby='list']//tbody/tr")
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
