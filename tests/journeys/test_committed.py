"""Budgets and what is committed, as a program meets them: holds, contracts and planned amounts over HTTP, each with its trace."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from bursar import wiring
from bursar.core.identity.keys import service as keys
from bursar.core.planning.budgets import service as budgets
from bursar.infra.clock import utc_now
from bursar.infra.mail_tables import outbox
from bursar.kernel.actor import Actor
from bursar.kernel.period import Period, add_months
from bursar.parts.banking.transactions import service as transactions
from bursar.settings import load
from tests.core.planning.conftest import HEAD
from tests.parts.banking.statements import ofx, taken

TODAY = utc_now().date()
MONTH = Period(TODAY.replace(day=1), add_months(TODAY, 1))
SCOPES = [
    "budget:read",
    "budget:write",
    "series:read",
    "forecast:read",
    "forecast:write",
    "ledger:read",
    "ledger:write",
]
SCOPES += ["bank:read", "cost:read", "intake:read", "party:read"]
CONTRACT = "ContractCommitmentId,ContractCommitmentCost,ContractCommitmentPeriodStart,ContractCommitmentPeriodEnd,BillingCurrency,ServiceProviderName,ContractCommitmentCategory,ContractCommitmentLifecycleStatus"  # fmt: skip


def instant(day: date) -> str:
    return datetime.combine(day, time(23, 59, 59), UTC).isoformat()


@dataclass
class Desk:
    """A house with a client of its API and the names of its ledger accounts."""

    house: wiring.House
    actor: Actor
    web: httpx2.AsyncClient
    ids: dict[str, str] = field(default_factory=dict)

    async def ask(self, method: str, path: str, **facts: Any) -> Any:
        answer = await self.web.request(method, path, **facts)
        assert answer.is_success, answer.text
        return answer.json()

    async def budget(self, name: str, **facts: Any) -> str:
        usual = {"source": "bank", "amount": {"amount": "1000.00", "currency": "USD"}, "start": f"{MONTH.start}"}
        return str((await self.ask("POST", "/v1/budgets", json=usual | facts | {"name": name}))["id"])

    async def stands(self, id_: str) -> tuple[str, str, dict[str, Any]]:
        """Return actual, committed and the whole; what is committed must add up where it is traced to."""
        told = await self.ask("GET", f"/v1/budgets/{id_}/status")
        trace = await self.ask("GET", f"/v1/trace/{told['committed']['trace']}")
        parts = sum((Decimal(part["amount"]) for part in trace["parts"]), Decimal(0))
        rows = [(row["file"], row["row"], Decimal(row["amount"]["amount"])) for row in trace["rows"]]
        assert parts == Decimal(trace["figure"]["amount"]) == Decimal(told["committed"]["amount"])
        assert sum((amount for _, _, amount in rows), Decimal(0)) == parts
        assert all(file and row >= 0 for file, row, _ in rows)  # the first transfer of a ledger batch has place 0
        return told["actual"]["amount"], told["committed"]["amount"], told

    async def transfer(self, key: str, amount: str = "", currency: str = "USD", **facts: Any) -> str:
        money = {"amount": {"amount": amount, "currency": currency}} if amount else {}
        body = {"key": key, "value_day": f"{TODAY}"} | money | facts
        return str((await self.ask("POST", "/v1/ledger/transfers", json=body))["id"])

    async def hold(self, key: str, amount: str, day: date, *, category: str = "Rent", **facts: Any) -> str:
        currency = facts.get("currency", "USD")
        sides = {"debit": self.ids[f"expense:{category}:{currency}"], "credit": self.ids[f"asset:bank:42:{currency}"]}
        return await self.transfer(key, amount, action="hold", due=instant(day), memo=f"Miller {key}", **sides, **facts)

    async def take(self, path: Path) -> None:
        await taken(self.house.importer, self.actor, path)
        async with self.house.db.writing(self.actor) as tx:
            await transactions.derive(tx, self.actor, lake=self.house.lake, now=utc_now())

    async def told(self) -> list[tuple[str, str]]:
        """Check the budgets as the nightly job does; return every mail there is."""
        async with self.house.db.writing(self.actor) as tx:
            await budgets.check(tx, self.actor, lake=self.house.lake, now=utc_now(), paid=wiring.PAID)
            rows = await tx.all(sa.select(outbox.c.recipient, outbox.c.facts).order_by(outbox.c.id).limit(100))
        return [(row.recipient, row.facts["title"]) for row in rows if "budget" in row.facts["title"]]


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    home = Path(tempfile.mkdtemp(prefix="bursar-committed-"))
    home.chmod(0o755)  # noqa: ASYNC240  a fixture
    async with wiring.open_house(load(home=home)) as house:
        actor = await wiring.local_actor(house)
        async with house.db.writing(actor) as tx:
            _, text = await keys.make(tx, actor, name="desk", scopes=SCOPES, networks=(), days=1, now=utc_now())
        transport = httpx2.ASGITransport(app=wiring.app(house), client=("127.0.0.1", 1))
        headers = {"authorization": f"Bearer {text}"}
        async with httpx2.AsyncClient(transport=transport, base_url=house.settings.url, headers=headers) as web:
            made = Desk(house, actor, web)
            for currency in ("USD", "EUR"):
                for code, kind, name in (
                    (f"asset:bank:42:{currency}", "asset", "42"),
                    (f"expense:Rent:{currency}", "expense", "Rent"),
                    (f"expense:Travel:{currency}", "expense", "Travel"),
                    (f"expense:Nameless:{currency}", "expense", ""),
                ):
                    body = {"code": code, "kind": kind, "currency": currency, "name": name}
                    made.ids[code] = (await made.ask("POST", "/v1/ledger/accounts", json=body))["id"]
            yield made
    shutil.rmtree(home, ignore_errors=True)


async def test_a_hold_is_committed_until_it_is_paid_settled_or_let_go(desk: Desk, tmp_path: Path) -> None:
    everything = await desk.budget("All")
    rent = await desk.budget("Rent", filter={"category": ["Rent"], "account": ["42"]})
    travel = await desk.budget("Travel", filter={"category": ["Travel"]})
    other_account = await desk.budget("77", filter={"account": ["77"]})
    euros = await desk.budget("Euros", amount={"amount": "900.00", "currency": "EUR"})
    department = await desk.budget("IT", filter={"department": ["IT"]})

    await desk.hold("now", "500.00", TODAY)
    later = await desk.hold("later", "90.00", MONTH.end + timedelta(days=14))
    seen = {id_: (await desk.stands(id_))[:2] for id_ in (everything, rent, travel, other_account, euros, department)}
    notes = (await desk.stands(department))[2]["notes"]
    payments = await desk.budget("Payments", source="payment")
    unnamed = await desk.hold("unnamed", "3.00", TODAY, category="Nameless")
    nameless = [(await desk.stands(id_))[1] for id_ in (everything, rent, payments)]
    await desk.transfer("no name", action="void", of=unnamed)
    tagged = await desk.hold("tagged", "7.00", TODAY, tags={"department": "IT"})
    both = (await desk.stands(department))[1], (await desk.stands(everything))[1]

    assert seen == {
        everything: ("0.00", "500.00"),
        rent: ("0.00", "500.00"),
        travel: ("0.00", "0.00"),
        other_account: ("0.00", "0.00"),
        euros: ("0.00", "0.00"),
        department: ("0.00", "0.00"),
    }
    assert any("department not known: 500.00 USD" in note for note in notes)
    assert nameless == ["503.00", "500.00", "503.00"]
    assert both == ("7.00", "507.00")
    await desk.transfer("gone", action="void", of=tagged)
    await desk.transfer("gone2", action="void", of=later)
    assert (await desk.stands(everything))[:2] == ("0.00", "500.00")

    paid = ofx(tmp_path / "paid.ofx", [(f"{TODAY:%Y%m%d}", "-500.00", "MILLER NOW RENT")], account="42")
    await desk.take(paid)

    assert (await desk.stands(everything))[:2] == ("500.00", "0.00")  # although nobody settled the hold


async def test_a_settled_hold_is_not_committed_and_a_part_of_one_leaves_the_rest(desk: Desk) -> None:
    everything = await desk.budget("All")
    held = await desk.hold("order", "500.00", MONTH.end - timedelta(days=1))

    await desk.transfer("half", "200.00", action="settle", of=held)
    half = (await desk.stands(everything))[1]
    await desk.transfer("rest", action="settle", of=held)
    done = (await desk.stands(everything))[1]

    assert (half, done) == ("300.00", "0.00")


async def test_who_is_told_once_that_what_is_committed_goes_past_the_budget(desk: Desk, tmp_path: Path) -> None:
    tell = ["a@example.com", "b@example.com"]
    id_ = await desk.budget("Tight", tell=tell, amount={"amount": "1000.00", "currency": "USD"})
    spent = ofx(tmp_path / "spent.ofx", [(f"{TODAY:%Y%m%d}", "-600.00", "SOMETHING")], account="42")
    await desk.take(spent)

    quiet = await desk.told()
    await desk.hold("order", "500.00", MONTH.end - timedelta(days=1))
    breach, again = await desk.told(), await desk.told()
    await desk.take(ofx(tmp_path / "more.ofx", [(f"{TODAY:%Y%m%d}", "-210.00", "ANOTHER")], account="42"))
    near = await desk.told()
    await desk.take(ofx(tmp_path / "most.ofx", [(f"{TODAY:%Y%m%d}", "-190.00", "THIRD")], account="42"))
    over = await desk.told()

    assert quiet == []
    assert breach == again == [(to, "Tight: what is committed goes past the budget") for to in tell]
    assert near[2:] == [(to, "Tight: 80 % of the budget is spent") for to in tell]
    assert over[4:] == [(to, "Tight: the budget is spent") for to in tell]
    alerts = await desk.ask("GET", f"/v1/budgets/{id_}/alerts")
    assert {one["threshold"]: (one["amount"]["amount"], one["told"]) for one in alerts} == {
        "forecast100": ("1100.00", tell),
        "actual80": ("810.00", tell),
        "actual100": ("1000.00", tell),
    }
    for one in alerts:
        told = await desk.ask("GET", f"/v1/trace/{one['amount']['trace']}")
        assert sum(Decimal(part["amount"]) for part in told["parts"]) == Decimal(one["amount"]["amount"])
    assert (await desk.stands(id_))[2]["crossed"] == ["actual80", "actual100"]


async def test_longer_periods_take_what_falls_due_in_them(desk: Desk) -> None:
    ids = {cadence: await desk.budget(cadence, cadence=cadence) for cadence in ("quarter", "year")}
    ends = {cadence: date.fromisoformat((await desk.stands(id_))[2]["end"]) for cadence, id_ in ids.items()}

    await desk.hold("in", "500.00", ends["quarter"] - timedelta(days=1))
    await desk.hold("out", "90.00", ends["quarter"])
    await desk.hold("next", "60.00", ends["year"])
    await desk.hold("euros", "80.00", ends["quarter"] - timedelta(days=1), currency="EUR")
    quarter, year = [(await desk.stands(id_))[2] for id_ in ids.values()]

    assert quarter["committed"]["amount"] == "500.00"
    assert year["committed"]["amount"] == ("590.00" if ends["quarter"] < ends["year"] else "500.00")
    assert any("in another currency: 80.00 EUR" in note for note in quarter["notes"])
    assert (quarter["allowed"]["amount"], quarter["crossed"]) == ("1000.00", [])


async def test_what_is_left_moves_on_and_decides_the_breach(desk: Desk, tmp_path: Path) -> None:
    before = add_months(MONTH.start, -1)
    rolling = await desk.budget("Rolling", roll_over="unspent", start=f"{before}")
    plain = await desk.budget("Plain", start=f"{before}")
    await desk.take(ofx(tmp_path / "a.ofx", [(f"{before:%Y%m%d}", "-400.00", "SOMETHING")], account="42"))

    await desk.hold("order", "1500.00", MONTH.end - timedelta(days=1))
    carried, strict = [(await desk.stands(id_))[2] for id_ in (rolling, plain)]

    assert (carried["carried"]["amount"], carried["allowed"]["amount"]) == ("600.00", "1600.00")
    assert (carried["crossed"], strict["crossed"]) == ([], ["forecast100"])


def contracts(path: Path, rows: Sequence[str]) -> Path:
    path.write_text("\n".join([CONTRACT, *rows]) + "\n", encoding="utf-8")
    return path


async def test_a_renewal_that_a_contract_and_the_calendar_tell_counts_once_and_says_which(
    desk: Desk, tmp_path: Path
) -> None:
    """A contract of 300 for the coming month, planned for about the same on its first day; and amounts beside it."""
    begin, end = MONTH.end, add_months(MONTH.end, 1)
    days = (end - begin).days
    row = "{},{},{}T00:00:00Z,{}T00:00:00Z,USD,{},Spend,Active"
    rows = [
        row.format("CC-1", f"{10 * days}.00", begin, end, "Amazon Web Services"),
        row.format("CC-2", f"{20 * days}.00", begin, end, "Microsoft"),
    ]
    await desk.take(contracts(tmp_path / "contracts.csv", rows))
    year = {
        "source": "cost",
        "cadence": "year",
        "start": f"{begin}",
        "amount": {"amount": "9000.00", "currency": "USD"},
    }
    everything, service = (
        await desk.budget("All", **year),
        await desk.budget("EC2", **year, filter={"service": ["Amazon EC2"]}),
    )

    async def plan(*events: tuple[str, str, date]) -> tuple[Decimal, list[str], list[tuple[str, int]]]:
        told = [{"name": name, "days": [f"{day}"], "amount": amount, "currency": "USD"} for name, amount, day in events]
        await desk.ask("PUT", "/v1/planning/calendar", json={"country": "", "events": told})
        amount, whole = (await desk.stands(everything))[1:]
        trace = await desk.ask("GET", f"/v1/trace/{whole['committed']['trace']}")
        twice = [note for note in whole["notes"] if "Counted once" in note]
        return Decimal(amount), twice, [(row["file"], row["row"]) for row in trace["rows"]]

    alone = Decimal(30 * days)
    in_files = [("contracts.csv", 3), ("contracts.csv", 2)]  # the dearer first
    assert await plan() == (alone, [], in_files)
    same, said, where = await plan(("AWS renewal", f"{10 * days + 10}.00", begin))
    assert (same, where) == (alone, in_files)
    assert said == [
        f"Counted once: planned AWS renewal {begin} ({10 * days + 10}.00 USD) is contract CC-1 until {end}, which counts."
    ]
    named, said, _ = await plan(("Renew CC-2", "5.00", begin + timedelta(days=20)))
    assert (named, len(said)) == (alone, 1)
    other, said, where = await plan(("AWS renewal", f"{10 * days}.00", begin), ("Migration", "7.00", begin))
    assert (other, len(said), where) == (alone + 7, 1, [*in_files, ("planning calendar", 2)])
    far, said, _ = await plan(("Another", f"{10 * days}.00", begin + timedelta(days=20)))
    assert (far, said) == (alone + 10 * days, [])
    assert (await desk.stands(service))[1] == "0.00"  # neither tells its service


async def test_a_hold_and_a_plan_for_the_same_payment_count_once(desk: Desk) -> None:
    everything = await desk.budget("All")
    last = MONTH.end - timedelta(days=1)
    await desk.hold("lease", "500.00", last)

    event = {"name": "Lease", "days": [f"{last}"], "amount": "500.00", "currency": "USD"}
    await desk.ask("PUT", "/v1/planning/calendar", json={"country": "", "events": [event]})
    amount, whole = (await desk.stands(everything))[1:]

    assert amount == "500.00"
    assert [note for note in whole["notes"] if "Counted once" in note] == [
        f"Counted once: planned Lease {last} (500.00 USD) is hold due {last} Miller lease, which counts."
    ]


async def test_contracts_and_planned_amounts_of_the_rest_of_the_period_are_committed(
    desk: Desk, tmp_path: Path
) -> None:
    """310 USD for the month's days of AWS: what lies after the last day that is billed is committed."""
    days = (MONTH.end - MONTH.start).days
    last = MONTH.start + timedelta(days=min(9, (TODAY - MONTH.start).days))
    bill = tmp_path / "bill.csv"
    begins, ends = f"{MONTH.start}T00:00:00Z", f"{MONTH.end}T00:00:00Z"
    bill.write_text(
        "\n".join([HEAD, *(f"10,10,10,10,acct-1,USD,{begins},{ends},Usage,{day}T00:00:00Z,{day}T23:00:00Z,AWS,Amazon EC2,r-1,eu-west-1" for day in sorted({MONTH.start, last}))]) + "\n",
        encoding="utf-8",
    )  # fmt: skip
    await desk.take(bill)
    row = "{},{},{}T00:00:00Z,{}T00:00:00Z,USD,{},Spend,{}"
    whole = (MONTH.start, MONTH.end)
    rows = [
        row.format("CC-1", f"{10 * days}.00", *whole, "Amazon Web Services", "Active"),
        row.format("CC-2", "999.00", *whole, "Microsoft", "Active"),
        row.format("CC-3", "888.00", *whole, "Amazon Web Services", "Cancelled"),
        row.format("CC-4", "777.00", MONTH.end, add_months(MONTH.end, 1), "Amazon Web Services", "Active"),
    ]
    await desk.take(contracts(tmp_path / "contracts.csv", rows))
    aws = await desk.budget("AWS", source="cost", filter={"provider": ["aws"]})
    region = await desk.budget("Region", source="cost", filter={"provider": ["aws"], "region": ["eu-west-1"]})
    rest = (MONTH.end - last).days - 1

    seen = (await desk.stands(aws))[:2]
    unsure = (await desk.stands(region))[2]
    series = (await desk.ask("GET", "/v1/series", params={"source": "cost", "grain": "day", "search": "aws"}))["data"]
    [node] = [one for one in series if one["level"] == "provider"]
    event = {"name": "Renewal", "days": [f"{MONTH.end - timedelta(days=1)}"], "series": node["key"]}
    calendar = {"country": "", "events": [event | {"amount": "50.00", "currency": "USD"}]}
    await desk.ask("PUT", "/v1/planning/calendar", json=calendar)
    planned = (await desk.stands(aws))[1]

    assert seen[0] == ("10.00" if last == MONTH.start else "20.00")
    assert Decimal(seen[1]) == 10 * rest
    assert unsure["committed"]["amount"] == "0.00"
    assert not rest or any("region not known" in note for note in unsure["notes"])
    assert Decimal(planned) == 10 * rest + (50 if rest else 0)
