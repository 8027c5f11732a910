"""Who bears a cost: tags inherited, shared cost split, unit cost; nothing is lost and every rule is named."""

from collections.abc import AsyncIterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursar.infra.db import Database
from bursar.infra.lake import Lake
from bursar.infra.metrics import Metrics
from bursar.infra.web import create_app
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Invalid, NotAllowed, NotSignedIn, TooLarge
from bursar.kernel.lines import MEASURE_LINES
from bursar.kernel.period import Period
from bursar.parts.cloud import api
from bursar.parts.cloud.rules.inheritance import TagRule
from bursar.parts.cloud.rules.queries import CostQuery
from bursar.parts.cloud.sharing import api as sharing_api
from bursar.parts.cloud.sharing import service
from bursar.parts.cloud.sharing.rules import Method, RuleBook, Share, SplitRule, per_unit, shared_out
from bursar.parts.cloud.sharing.service import Options
from tests.infra.webapp import SETTINGS, client_of
from tests.parts.cloud.bills import MARCH, NOW, line, put

TEAM = CostQuery(MARCH, ("tag:team",))
SUPPORT = SplitRule("support", "tag:team", "service = Support")

LINES = [
    line(cost="60", tags='{"team": "web"}'),
    line(cost="30", tags='{"team": "data"}'),
    line(cost="8", tags=None, sub_account_id="222", sub_account_name="sandbox"),
    line(cost="2", tags='{"team": ""}', sub_account_id="111"),
    line(cost="1", service_name="Support", tags=None),
]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake", memory_mb=256)


def seen(version: object) -> None:
    """Every version was seen."""


async def told(
    lake: Lake, db: Database, actor: Actor, book: RuleBook, options: Options, asked: CostQuery = TEAM,
    measured: list[dict[str, Any]] | None = None,
) -> service.Answer:  # fmt: skip
    async with db.writing(actor) as tx:
        await put(lake, tx, LINES)
        if measured:
            await put(lake, tx, measured, schema=MEASURE_LINES)
        await service.replace_book(tx, actor, rules_=book, seen=seen, now=NOW)
        return await service.ask(tx, actor, lake=lake, asked=asked, options=options)


def costs(answer: service.Answer) -> dict[str | None, Decimal | None]:
    return {group.values[-1]: group.cost for group in answer.groups}


async def test_missing_tags_are_inherited_by_the_first_rule_that_fits(lake: Lake, db: Database, actor: Actor) -> None:
    book = RuleBook(
        (
            TagRule("team", value="platform", where="service = Support"),
            TagRule("team", source="account_name", where="account = 222"),
            TagRule("team", value="web"),
            TagRule("env", value="prod"),
        )
    )

    answer = await told(lake, db, actor, book, Options(inherit=True))

    assert costs(answer) == {"web": Decimal(62), "data": Decimal(30), "sandbox": Decimal(8), "platform": Decimal(1)}
    assert answer.applied == (
        'a missing tag team is "platform" where service = Support',
        "a missing tag team is taken from account_name where account = 222",
        'a missing tag team is "web"',
    )


async def test_filters_read_inherited_tags_and_rules_do_not_call_each_other(
    lake: Lake, db: Database, actor: Actor
) -> None:
    book = RuleBook(
        (TagRule("team", value="lab", where="account = 222"), TagRule("owner", value="x", where="tag:team = lab"))
    )
    asked = CostQuery(MARCH, ("tag:owner",), where="tag:team = lab")

    answer = await told(lake, db, actor, book, Options(inherit=True), asked)

    assert costs(answer) == {None: Decimal(8)}


async def test_without_asking_no_rule_is_applied(lake: Lake, db: Database, actor: Actor) -> None:
    answer = await told(lake, db, actor, RuleBook((TagRule("team", value="web"),), (SUPPORT,)), Options())

    assert answer.applied == ()
    assert costs(answer)["web"] == Decimal(60)


@pytest.mark.parametrize(
    ("rule", "shared"),
    [
        (SUPPORT, {"web": "0.67", "data": "0.33"}),
        (SplitRule("support", "tag:team", "service = Support", Method.EVEN), {"web": "0.50", "data": "0.50"}),
        (
            SplitRule("support", "tag:team", "service = Support", Method.FIXED, {"web": Decimal(1), "ops": Decimal(3)}),
            {"web": "0.25", "ops": "0.75"},
        ),
        (
            SplitRule("support", "tag:team", "service = Support", Method.USAGE, measure="tickets"),
            {"web": "0.10", "data": "0.90"},
        ),
    ],
    ids=lambda value: value.method if isinstance(value, SplitRule) else "",
)
async def test_shared_cost_is_split_by_a_stored_rule(
    lake: Lake, db: Database, actor: Actor, rule: SplitRule, shared: dict[str, str]
) -> None:
    tickets = [quantity("tickets", "1", target="web"), quantity("tickets", "9", target="data")]

    answer = await told(lake, db, actor, RuleBook((), (rule,)), Options(splits=("support",)), measured=tickets)

    got = {one.values[0]: str(one.shared.quantize(Decimal("0.01"))) for one in answer.groups if one.shared}
    assert got == shared
    assert sum(one.cost or 0 for one in answer.groups) == Decimal(101)
    assert str(rule) in answer.applied


def quantity(measure: str, amount: str, day: date = MARCH.start, **values: Any) -> dict[str, Any]:
    return {"measure": measure, "day": day, "quantity": Decimal(amount), **values}


async def test_splits_are_made_month_by_month(lake: Lake, db: Database, actor: Actor) -> None:
    more = [
        line(date(2026, 2, 3), "9", tags='{"team": "data"}'),
        line(date(2026, 2, 3), "3", service_name="Support", tags=None),
        line(date(2026, 1, 3), "5", service_name="Support", tags=None),
    ]
    asked = CostQuery(Period(date(2026, 1, 1), MARCH.end), ("month", "tag:team"))
    async with db.writing(actor) as tx:
        await put(lake, tx, [*LINES, *more])
        await service.replace_book(tx, actor, rules_=RuleBook((), (SUPPORT,)), seen=seen, now=NOW)
        answer = await service.ask(tx, actor, lake=lake, asked=asked, options=Options(splits=("support",)))

    found = {group.values: group.cost for group in answer.groups}
    assert found["2026-02-01", "data"] == Decimal(12)
    assert found["2026-01-01", None] == Decimal(5)
    assert sum(cost or 0 for cost in found.values()) == Decimal(118)
    assert any("has nobody to bear it" in said for said in answer.applied)


async def test_two_splits_share_a_line_once(lake: Lake, db: Database, actor: Actor) -> None:
    everything = SplitRule("rest", "tag:team", "tag:team is empty", Method.EVEN)

    answer = await told(lake, db, actor, RuleBook((), (SUPPORT, everything)), Options(splits=("support", "rest")))

    assert set(costs(answer)) == {"web", "data"}
    assert sum(one.cost or 0 for one in answer.groups) == Decimal(101)


async def test_a_unit_costs_what_all_of_it_costs_divided_by_how_many(lake: Lake, db: Database, actor: Actor) -> None:
    orders = [quantity("orders", "50", unit="order"), quantity("orders", "51", date(2026, 3, 31), unit="order")]

    answer = await told(lake, db, actor, RuleBook(), Options(per="orders"), CostQuery(MARCH), orders)

    assert answer.units == (Decimal(101),)
    assert per_unit(answer.groups[0].cost, answer.units[0]) == Decimal(1)
    assert answer.applied == ("per order: the quantity orders of all together, 101 in the period",)


async def test_a_quantity_with_targets_is_divided_by_target_and_month(lake: Lake, db: Database, actor: Actor) -> None:
    orders = [quantity("orders", "20", target="web"), quantity("orders", "3", target="data")]
    asked = CostQuery(MARCH, ("month", "tag:team"))

    answer = await told(lake, db, actor, RuleBook(), Options(per="orders"), asked, orders)

    units = {group.values[1]: count for group, count in zip(answer.groups, answer.units, strict=True)}
    assert units == {"web": Decimal(20), "data": Decimal(3), None: None, "": None}


@pytest.mark.parametrize(
    ("options", "asked", "says"),
    [
        (Options(splits=("nothing",)), TEAM, "no split called nothing"),
        (Options(splits=("support",)), CostQuery(MARCH, ("service",)), "the split is by tag:team"),
        (Options(splits=("support",)), CostQuery(MARCH, ("tag:team", "region")), "the split is by tag:team"),
        (Options(per="orders"), TEAM, "no quantity called orders"),
        (Options(splits=("usage",)), TEAM, "no quantity called tickets"),
    ],
)
async def test_what_does_not_fit_is_refused(
    lake: Lake, db: Database, actor: Actor, options: Options, asked: CostQuery, says: str
) -> None:
    usage = SplitRule("usage", "tag:team", "service = Support", Method.USAGE, measure="tickets")

    with pytest.raises(Invalid, match=says):
        await told(lake, db, actor, RuleBook((), (SUPPORT, usage)), options, asked)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"tags": [{"key": "team"}]}, "gives no value"),
        ({"tags": [{"key": "team", "value": "a", "source": "account"}]}, "or two"),
        ({"tags": [{"key": "team", "source": "nonsense"}]}, "no dimension"),
        ({"tags": [{"key": "team", "source": "tag:team"}]}, "cannot inherit"),
        ({"tags": [{"key": "team", "value": "a", "where": "service"}]}, "in the filter"),
        ({"tags": [{"value": "a"}]}, "cannot be read"),
        ({"splits": [{"name": "a", "by": "month", "shared": "service = a"}]}, "cannot be split by month"),
        ({"splits": [{"name": "a", "by": "service", "shared": " "}]}, "nothing says what is shared"),
        ({"splits": [{"name": "a", "by": "service", "shared": "service = a", "method": "fixed"}]}, "weights belong"),
        ({"splits": [{"name": "a", "by": "service", "shared": "service = a", "method": "usage"}]}, "measure belongs"),
        ({"splits": [{"name": "a", "by": "service", "shared": "service = a"}] * 2}, "two splits"),
        ({"splits": [{"name": "a", "by": "service", "shared": "service = a", "method": "x"}]}, "cannot be read"),
        (
            {
                "splits": [
                    {"name": "a", "by": "service", "shared": "service = a", "method": "fixed", "weights": {"b": "-1"}}
                ]
            },
            "negative",
        ),
    ],
)
def test_rules_that_cannot_be_applied_are_refused(raw: dict[str, Any], says: str) -> None:
    with pytest.raises(Invalid, match=says):
        RuleBook.from_json(raw)


def test_the_lists_of_rules_are_bounded() -> None:
    with pytest.raises(TooLarge, match="tag rules"):
        RuleBook(tuple(TagRule("team", value=str(number)) for number in range(201)))
    with pytest.raises(TooLarge, match="splits"):
        RuleBook((), tuple(SplitRule(str(number), "service", "service = a") for number in range(51)))


def test_rules_are_read_back_as_they_were_written() -> None:
    book = RuleBook(
        (TagRule("team", source="account_name"),),
        (SplitRule("a", "service", "service = b", Method.FIXED, {"x": Decimal("0.1")}),),
    )

    assert RuleBook.from_json(book.to_json()) == book


amounts = st.decimals(-(10**6), 10**6, places=12, allow_nan=False, allow_infinity=False)
cells = st.sampled_from([("2026-01-01",), ("2026-02-01",)])
targets = st.sampled_from(["a", "b", "c", None])


@given(
    st.dictionaries(st.tuples(cells, targets), amounts, max_size=8),
    st.lists(st.tuples(st.sampled_from(list(Method)), st.dictionaries(cells, amounts, max_size=2)), max_size=3),
)
def test_splits_conserve_every_cent(own: dict[Any, Decimal], pools: list[Any]) -> None:
    groups = [Share((*cell, target), "USD", cost, None, 1) for (cell, target), cost in own.items()]
    weights = {"a": Decimal(1), "z": Decimal("2.5")}
    rules = [
        (
            SplitRule(str(number), "service", "service = x", method, weights if method is Method.FIXED else {},
                      "m" if method is Method.USAGE else ""),
            {(cell, "USD"): amount for cell, amount in pool.items()},
            weights if method in {Method.FIXED, Method.USAGE} else {},
        )
        for number, (method, pool) in enumerate(pools)
    ]  # fmt: skip

    found, _ = shared_out(groups, rules, 1)

    pooled = sum((amount for _, pool in pools for amount in pool.values()), Decimal(0))
    assert sum((one.cost or Decimal(0) for one in found), Decimal(0)) == sum(own.values(), pooled)


async def test_rules_need_the_right_to_be_written(db: Database, make_actor: Any) -> None:
    reader = make_actor("cost:read")
    async with db.writing(reader) as tx:
        with pytest.raises(NotAllowed, match="cost:write"):
            await service.replace_book(tx, reader, rules_=RuleBook(), seen=seen, now=NOW)


WRITER = Actor(UUID(int=7), "person:writer", frozenset({"cost:read", "cost:write"}))


async def authenticate(
    db: Database, *, authorization: str | None, cookie: str | None, address: str, now: datetime
) -> Actor:
    """Take everybody with a bearer text for the writer."""
    if authorization is None:
        raise NotSignedIn
    return WRITER


@pytest.fixture
async def client(db: Database, lake: Lake) -> AsyncIterator[httpx2.AsyncClient]:
    async with db.writing(WRITER) as tx:
        await put(lake, tx, LINES)
    app = create_app(SETTINGS, db, [api.routes(lake), sharing_api.r], authenticate, metrics=Metrics())
    async with client_of(app, "writer") as made:
        yield made


async def test_rules_are_kept_and_used_over_http(client: httpx2.AsyncClient) -> None:
    body = {
        "tags": [{"key": "team", "value": "web", "where": "account = 222"}],
        "splits": [{"name": "support", "by": "tag:team", "shared": "service = Support"}],
    }
    first = await client.get("/v1/cloud/rules")
    blind = await client.put("/v1/cloud/rules", json=body)
    kept = await client.put("/v1/cloud/rules", json=body, headers={"If-Match": first.headers["etag"]})
    late = await client.put("/v1/cloud/rules", json=body, headers={"If-Match": first.headers["etag"]})
    asked = {"from": "2026-03-01", "to": "2026-04-01", "by": "tag:team", "inherit": "true", "split": "support"}
    answer = (await client.get("/v1/cloud/costs", params=asked)).json()

    assert (first.json()["version"], blind.status_code, late.status_code) == (0, 428, 412)
    assert kept.json()["version"] == 1
    assert kept.json()["splits"][0]["words"].startswith("support: cost where service = Support")
    assert len(answer["applied"]) == 2
    assert sum(Decimal(one["cost"]["amount"]) for one in answer["data"]) == Decimal(101)
    assert any(one["shared"] for one in answer["data"])


async def test_wrong_rules_are_refused_over_http(client: httpx2.AsyncClient) -> None:
    body = {"tags": [{"key": "team", "source": "nonsense"}]}

    answer = await client.put("/v1/cloud/rules", json=body, headers={"If-Match": "*"})

    assert answer.status_code == 422
    assert "no dimension" in answer.json()["detail"]
