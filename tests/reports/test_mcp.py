"""The MCP server: a real client over stdio, few and cheap tools, exact and traceable amounts, actions in two steps."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bursar import wiring
from bursar.core.findings import service
from bursar.infra.clock import utc_now
from bursar.reports.mcp import acting, figures
from bursar.reports.mcp.desk import Desk
from bursar.reports.mcp.server import ANSWER_CHARS_MAX, TOKENS_MAX, TOOLS_MAX, Tool, call, tools
from bursar.reports.sample import TRUTH_FILE, write_sample
from bursar.settings import load

CHARS_A_TOKEN = 3
"""A careful count: JSON in English takes 3.5 to 4 characters a token with the tokenisers in use."""

ALL = tools(allow_actions=True)


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="bursar-mcp-"))
    folder.chmod(0o755)
    exports = folder / "exports"
    write_sample(exports, seed=7)
    (exports / TRUTH_FILE).unlink()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
async def desk(home: Path) -> AsyncIterator[Desk]:
    async with wiring.open_house(load(home=home / "home")) as house:
        await wiring.review(house, [home / "exports"])
        yield Desk(
            house.db,
            house.lake,
            (actor := await wiring.local_actor(house)),
            utc_now,
            b"s" * 32,
            wiring.tracer(house, actor.org),
            house.prices,
        )


async def asked(desk: Desk, name: str, **arguments: Any) -> dict[str, Any]:
    answer = await call(desk, ALL, name, arguments)
    assert not answer.refused, answer.facts
    return answer.facts


async def refused(desk: Desk, name: str, **arguments: Any) -> str:
    answer = await call(desk, ALL, name, arguments)
    assert answer.refused
    return f"{answer.facts['what']} {answer.facts.get('fix', '')}"


def test_tools_are_few_and_cost_little_to_describe() -> None:
    described = json.dumps([{"name": t.name, "description": t.about, "inputSchema": t.schema} for t in ALL])

    assert len(ALL) <= TOOLS_MAX
    assert len(described) / CHARS_A_TOKEN <= TOKENS_MAX


def test_nothing_that_acts_is_offered_unless_allowed() -> None:
    names = {tool.name for tool in tools(allow_actions=False)}

    assert not names & {"propose_action", "confirm_action"}
    assert not any(tool.changes for tool in tools(allow_actions=False))


async def test_findings_are_those_of_the_inbox_with_exact_amounts(desk: Desk) -> None:
    found = await asked(desk, "list_findings", limit=5)

    async with desk.db.reading(desk.actor) as tx:
        inbox = await service.inbox(tx, desk.actor, confidence_min=0.6)
    assert [one["id"] for one in found["findings"]] == [kept.name for kept in inbox[:5]]
    assert found["findings"][0]["worth"] == inbox[0].finding.worth.on_the_wire() | {"trace": inbox[0].name}
    assert found["left_out"] == len(inbox) - 5
    assert datetime.fromisoformat(found["as_of"]).tzinfo is not None


async def test_an_explained_finding_names_file_and_row(desk: Desk) -> None:
    first = (await asked(desk, "list_findings", limit=1))["findings"][0]

    told = await asked(desk, "explain_finding", id=first["id"])

    assert told["formula"]
    assert told["rows"][0]["file"]
    assert told["rows"][0]["row"] > 0
    assert told["worth"]["trace"] == first["id"]


@pytest.mark.parametrize(
    ("source", "by"), [("cost", ["service"]), ("cost", ["provider", "month"]), ("bank", ["account"])]
)
async def test_a_traced_sum_is_the_sum_of_its_rows(desk: Desk, source: str, by: list[str]) -> None:
    span = {"from": "2026-08-01", "to": "2026-10-01"}
    told = await asked(desk, "query_money", source=source, by=by, **span)

    assert told["data"]
    for group in told["data"][:4]:
        rows = await asked(desk, "search_rows", trace=group["sum"]["trace"], limit=3)
        [together] = rows["together"]
        assert Decimal(together["sum"]["amount"]) == Decimal(group["sum"]["amount"])
        assert together["sum"]["currency"] == group["sum"]["currency"]
        assert together["rows"] == group["rows"]
        assert all(row["file"] and row["row"] > 0 for row in rows["rows"])
        figure = await asked(desk, "explain_figure", trace=group["sum"]["trace"])
        assert figure["figure"] == group["sum"]
        assert sum(Decimal(part["amount"]) for part in figure["parts"]) == Decimal(group["sum"]["amount"])
        assert figure["rows_total"] == group["rows"]


async def test_groups_add_up_to_the_whole(desk: Desk) -> None:
    span: dict[str, Any] = {"source": "cost", "from": "2026-08-01", "to": "2026-09-01"}
    whole = await asked(desk, "query_money", **span)
    split = await asked(desk, "query_money", by=["service"], limit=200, **span)

    sums: dict[str, Decimal] = {}
    for group in split["data"]:
        code = group["sum"]["currency"]
        sums[code] = sums.get(code, Decimal(0)) + Decimal(group["sum"]["amount"])
    assert sums == {group["sum"]["currency"]: Decimal(group["sum"]["amount"]) for group in whole["data"]}


async def test_rows_are_found_by_text_and_filter(desk: Desk) -> None:
    span = {"from": "2026-08-01", "to": "2026-10-01"}
    bank = await asked(desk, "search_rows", source="bank", text="brandt", **span)
    cost = await asked(desk, "search_rows", source="cost", filter="provider = aws", text="STORAGE", limit=2, **span)

    assert bank["rows"]
    assert all("brandt" in row["text"].lower() for row in bank["rows"])
    assert len(cost["rows"]) == 2
    assert cost["together"][0]["rows"] > 2


async def test_a_comparison_explains_the_difference_exactly(desk: Desk) -> None:
    days = {"old_from": "2026-03-01", "old_to": "2026-04-01", "new_from": "2026-06-01", "new_to": "2026-07-01"}
    told = await asked(desk, "compare_periods", currency="USD", filter="currency = USD", **days)

    difference = Decimal(told["new"]["amount"]) - Decimal(told["old"]["amount"])
    assert sum(Decimal(one["amount"]) for one in told["causes"]) == difference == Decimal(told["difference"])
    old = await asked(desk, "explain_figure", trace=told["old"]["trace"])
    assert old["figure"] == told["old"]
    assert "explain_figure" in await refused(desk, "search_rows", trace=told["old"]["trace"])


async def test_a_forecast_that_is_not_stored_is_said_not_to_be(desk: Desk) -> None:
    told = await asked(desk, "forecast")

    assert told["data"] == []
    assert "No month forecast of cost is stored" in told["note"]


async def test_a_stored_forecast_is_told_with_range_and_record(desk: Desk) -> None:
    from bursar.core.planning.forecasts import service as forecasts
    from bursar.kernel.period import Grain

    now = desk.clock()
    await forecasts.forecast_all(desk.db, desk.actor, lake=desk.lake, now=now, grains=[Grain.WEEK])

    told = await asked(desk, "forecast", source="bank", grain="week")

    first = told["data"][0]["periods"][0]
    assert Decimal(first["low80"]) <= Decimal(first["mean"]) <= Decimal(first["high80"])
    assert told["data"][0]["model"]


async def test_the_check_of_the_data_tells_what_is_there(desk: Desk, home: Path) -> None:
    told = await asked(desk, "check_data")

    files = [path for path in (home / "exports").rglob("*") if path.is_file()]
    assert told["documents"] == len(files)
    assert told["documents_refused"] == 0
    assert told["balances"]["off"] == 0 < told["balances"]["tie"]
    assert date.fromisoformat(told["bills_cover"]["to"]) > date(2026, 9, 1)


async def test_a_proposal_changes_nothing_until_it_is_confirmed(desk: Desk) -> None:
    name = (await asked(desk, "list_findings"))["findings"][-1]["id"]

    proposed = await asked(desk, "propose_action", id=name, action="accept", assignee="Ana")
    between = await asked(desk, "explain_finding", id=name)
    done = await asked(desk, "confirm_action", token=proposed["confirm_token"])

    assert (proposed["before"]["state"], proposed["after"]["state"]) == ("new", "accepted")
    assert (between["state"], between["history"]) == ("new", [])
    assert (done["after"]["state"], done["after"]["assignee"]) == ("accepted", "Ana")
    assert "changed since" in await refused(desk, "confirm_action", token=proposed["confirm_token"])


async def test_a_token_is_good_for_its_time_its_person_and_its_words_only(desk: Desk) -> None:
    name = (await asked(desk, "list_findings"))["findings"][-2]["id"]
    token = (await asked(desk, "propose_action", id=name, action="dismiss", because="known"))["confirm_token"]

    late = replace(desk, clock=lambda: utc_now() + acting.VALID + timedelta(seconds=1))
    other = replace(desk, actor=replace(desk.actor, name="person:else"))

    assert "too old" in await refused(late, "confirm_action", token=token)
    assert "somebody else" in await refused(other, "confirm_action", token=token)
    assert "not one of ours" in await refused(desk, "confirm_action", token=f"{token[:-2]}AA")
    assert "not one of ours" in await refused(desk, "confirm_action", token="nonsense")


async def test_a_proposal_that_cannot_be_done_is_refused_with_why(desk: Desk) -> None:
    assert "Say why" in await refused(desk, "propose_action", id="F1", action="dismiss")
    assert "F99999" in await refused(desk, "propose_action", id="F99999", action="done")


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("no_such_tool", {}, "There is no tool"),
        ("query_money", {"source": "cost", "from": "2026-02-01", "to": "2026-01-01"}, "is empty"),
        ("query_money", {"source": "cost", "from": "2026-01-01"}, "to: Field required"),
        (
            "query_money",
            {"source": "cost", "from": "2026-01-01", "to": "2026-02-01", "by": ["nonsense"]},
            "no dimension",
        ),
        (
            "query_money",
            {"source": "bank", "from": "2026-01-01", "to": "2026-02-01", "by": ["service"]},
            "no dimension",
        ),
        ("query_money", {"source": "bank", "from": "2026-01-01", "to": "2026-02-01", "filter": "a = b"}, "for cost"),
        ("search_rows", {}, "Say which rows"),
        ("search_rows", {"trace": "tr_%%%"}, "not a trace token"),
        ("search_rows", {"trace": "F12"}, "F12 stands for a finding"),
        ("explain_figure", {"trace": "tr_AAAA"}, "not a trace token"),
        ("explain_figure", {"trace": "F99999"}, "F99999"),
        ("search_rows", {"source": "bank", "from": "2026-01-01", "to": "2026-02-01", "filter": "a = b"}, "for cost"),
        ("list_findings", {"limit": 100_000}, "less than or equal to 100"),
        ("list_findings", {"surprise": 1}, "surprise"),
    ],
)
async def test_a_wrong_question_is_answered_with_what_to_do(
    desk: Desk, name: str, arguments: dict[str, Any], said: str
) -> None:
    assert said in await refused(desk, name, **arguments)


async def test_tools_run_with_the_rights_of_whoever_started_the_server(desk: Desk) -> None:
    nobody = replace(desk, actor=replace(desk.actor, rights=frozenset()))
    span = {"from": "2026-01-01", "to": "2026-02-01"}
    calls: dict[str, dict[str, Any]] = {
        "list_findings": {},
        "explain_finding": {"id": "F1"},
        "explain_figure": {"trace": "F1"},
        "query_money": {"source": "cost", **span},
        "compare_periods": {
            "old_from": "2026-01-01",
            "old_to": "2026-02-01",
            "new_from": "2026-02-01",
            "new_to": "2026-03-01",
            "currency": "USD",
        },
        "forecast": {},
        "search_rows": {"source": "cost", **span},
        "check_data": {},
        "propose_action": {"id": "F1", "action": "done"},
    }

    for name, arguments in calls.items():
        assert "needs the right" in await refused(nobody, name, **arguments), name


async def test_a_bug_in_a_tool_is_told_and_an_answer_too_long_is_refused(desk: Desk) -> None:
    async def broken(_desk: Desk, _asked: Any) -> dict[str, Any]:
        raise ZeroDivisionError

    async def endless(_desk: Desk, _asked: Any) -> dict[str, Any]:
        return {"text": "x" * (ANSWER_CHARS_MAX + 1)}

    takes = figures.Forecast
    odd = (Tool("broken", "", takes, broken), Tool("endless", "", takes, endless))

    assert "ZeroDivisionError" in (await call(desk, odd, "broken", {})).facts["what"]
    assert (await call(desk, odd, "endless", {})).facts["what"] == "The answer is too long."


@asynccontextmanager
async def client(home: Path, *options: str) -> AsyncIterator[Any]:
    """Connect a client of the package ``mcp`` to ``bursar mcp`` in a process of its own."""
    from mcp.client import Client
    from mcp.client.stdio import StdioServerParameters

    clean = {name: value for name, value in os.environ.items() if not name.startswith("BURSAR_")}  # noqa: TID251
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "bursar.cli", "mcp", *options],
        env=clean | {"BURSAR_HOME": str(home)},
    )
    async with Client(server) as connected:
        yield connected


async def test_a_real_client_asks_over_stdio(home: Path) -> None:
    fresh = home / "stdio"
    fresh.mkdir(mode=0o755, exist_ok=True)

    async with client(fresh, "--allow-actions") as connected:
        listed = await connected.list_tools()
        checked = await connected.call_tool("check_data", {})
        wrong = await connected.call_tool("explain_finding", {"id": "F1"})

    assert [tool.name for tool in listed.tools] == [tool.name for tool in ALL]
    changing = [tool.name for tool in listed.tools if not tool.annotations.read_only_hint]
    assert changing == ["confirm_action"]
    assert checked.structured_content["documents"] == 0
    assert json.loads(checked.content[0].text) == checked.structured_content
    assert wrong.is_error
    assert "There is no finding F1" in wrong.content[0].text
