"""The edge's parts by themselves: problem facts, cursors, the index of routes, loops that run beside the server."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import pytest
import sqlalchemy as sa
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from bursar.infra import web
from bursar.infra.db import Database
from bursar.infra.metrics import Metrics
from bursar.infra.paging import BadCursor, pack, unpack
from bursar.infra.web import PUBLIC, Day, In, MoneyIn, MoneyOut, Paging, router
from bursar.infra.web_index import Index
from bursar.infra.web_limits import tokens_of
from bursar.infra.web_models import BIGINT_MAX
from bursar.infra.web_problems import MethodNotAllowed, NoSuchRoute, body_of, refusal_of
from bursar.infra.web_tables import rate_limit
from bursar.kernel.errors import Invalid, Refusal, TooLarge
from bursar.kernel.money import Money
from tests.infra.webapp import SETTINGS, authenticate

KEY = b"k" * 32
EVERY = (
    "a",
    1,
    -(2**60),
    True,
    False,
    UUID(int=7),
    datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
    date(2026, 1, 2),
    Decimal("1.50"),
)


class Odd:
    def __str__(self) -> str:
        return "odd"


@dataclass(eq=False)
class Everything(Refusal):
    """Facts of every kind: {number}."""

    number: int
    amount: Decimal
    money: Money
    day: date
    at: datetime
    id: UUID
    inner: dict[str, Any]
    many: frozenset[str]
    nothing: None
    odd: Odd


class Asked(In):
    day: Day
    at: datetime | None = None


class Sure(In):
    sure: bool | None = None
    share: float = 0.5
    each: tuple[bool, ...] = ()


@pytest.mark.parametrize("wrong", [{"sure": 0}, {"sure": "yes"}, {"share": False}, {"share": True}])
def test_yes_and_no_are_no_numbers_nor_the_other_way_round(wrong: dict[str, object]) -> None:
    assert Sure.model_validate({"sure": None, "share": 1, "each": [True]}).share == 1

    with pytest.raises(ValidationError, match="must be"):
        Sure.model_validate(wrong)


@pytest.mark.parametrize(
    "day", [0, 0.5, "0", "1767225600", "2026-1-2", "2026-01-02T00:00:00", "1899-12-31", "2200-01-01", True]
)
def test_only_a_written_day_of_these_centuries_is_a_day(day: object) -> None:
    with pytest.raises(ValidationError):
        Asked.model_validate({"day": day})


@pytest.mark.parametrize("at", [0, 1.5, "0", "1767225600.5"])
def test_a_number_is_no_instant(at: object) -> None:
    assert Asked.model_validate({"day": "1900-01-01", "at": "2026-01-02T00:00:00Z"}).day == date(1900, 1, 1)
    with pytest.raises(ValidationError, match="as text"):
        Asked.model_validate({"day": "2199-12-31", "at": at})


def test_every_kind_of_fact_is_told() -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    refusal = Everything(
        7,
        Decimal("1E+2"),
        Money(1250, "EUR"),
        date(2026, 1, 2),
        at,
        UUID(int=7),
        {"a": [Decimal("0.10")]},
        frozenset("x"),
        None,
        Odd(),
    )
    document = orjson.loads(body_of(refusal, request_id="r", base_url="http://here"))

    assert document["detail"] == "Facts of every kind: 7."
    assert document["title"] == "Everything"
    assert document["type"] == "http://here/docs/problems#everything"
    assert document["facts"] == {
        "number": 7,
        "amount": "100",
        "money": {"amount": "12.50", "currency": "EUR"},
        "day": "2026-01-02",
        "at": "2026-01-02T00:00:00+00:00",
        "id": "00000000-0000-0000-0000-000000000007",
        "inner": {"a": ["0.10"]},
        "many": ["x"],
        "nothing": None,
        "odd": "odd",
    }


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (HTTPException(404), "no_such_route"),
        (HTTPException(400), "malformed_body"),
        (HTTPException(413), "malformed_body"),
        (HTTPException(418), "crash"),
        (ValueError("x"), "crash"),
        (Invalid("x"), "invalid"),
    ],
)
def test_every_error_has_one_answer(error: Exception, code: str) -> None:
    assert refusal_of(error)[0].code == code


def test_a_refusal_inside_the_framework_comes_out() -> None:
    error = HTTPException(400)
    error.__cause__ = TooLarge("the body", 1, "bytes")

    assert refusal_of(error)[0].code == "too_large"


def test_a_cursor_holds_every_kind_of_key_exactly() -> None:
    assert unpack(pack(EVERY, KEY, "s"), KEY, "s") == EVERY
    assert [type(each) for each in unpack(pack(EVERY, KEY, "s"), KEY, "s")] == [type(each) for each in EVERY]
    with pytest.raises(TypeError, match="float"):
        pack((1.5,), KEY, "s")


@pytest.mark.parametrize("cursor", ["", "A", "AAAA", "!!!!", "A" * 400])
def test_a_broken_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(BadCursor):
        unpack(cursor, KEY, "s")


def test_a_cursor_with_another_number_of_keys_is_refused() -> None:
    column = sa.column("a", sa.Text)

    with pytest.raises(BadCursor):
        Paging(after=("a", "b"), key=KEY, scope="s").of(sa.select(column), column)


def test_money_that_does_not_fit_is_refused() -> None:
    most = MoneyIn(amount=str(BIGINT_MAX // 100), currency="EUR")

    assert most.money().minor == BIGINT_MAX // 100 * 100
    with pytest.raises(Invalid, match="too large"):
        MoneyIn(amount="999999999999999999", currency="EUR").money()
    assert MoneyOut.exact(Decimal("0.000000000000001"), "USD").amount == "0.000000000000001"


def index_of(*paths: tuple[str, str]) -> Index:
    r = router("index", tag="Index")
    for number, (method, path) in enumerate(paths):

        async def handler() -> None:
            """Describe."""

        handler.__name__ = f"h{number}"
        r.add(method, path, right=PUBLIC)(handler)
    return Index(r.routes)


def test_a_literal_wins_and_a_dead_end_turns_back() -> None:
    index = index_of(
        ("GET", "/a/{id}"), ("GET", "/a/all"), ("GET", "/a/all/x"), ("GET", "/a/{id}/y"), ("POST", "/a/all")
    )

    assert index.find("GET", "/a/all")[0].path == "/a/all"
    assert index.find("GET", "/a/7") == (index.find("GET", "/a/8")[0], {"id": "7"})
    assert index.find("GET", "/a/all/y") == (index.find("GET", "/a/7/y")[0], {"id": "all"})
    for path in ("/a", "/a/", "/a/7/z", "/a//y", "/a/7/y/", "/"):
        with pytest.raises(NoSuchRoute):
            index.find("GET", path)
    with pytest.raises(MethodNotAllowed, match="GET, HEAD, POST"):
        index.find("PUT", "/a/all")


@pytest.mark.parametrize("path", ["/a/{id}.csv", "/a/x{id}", "/a/{id:path}"])
def test_a_parameter_is_a_whole_segment(path: str) -> None:
    with pytest.raises(TypeError, match="whole segment"):
        index_of(("GET", path))


def test_names_and_paths_are_checked_at_import() -> None:
    with pytest.raises(TypeError, match="snake_case"):
        router("Not Snake", tag="X")
    with pytest.raises(TypeError, match="malformed path"):
        index_of(("GET", "no-slash"))
    r, other = router("same", tag="A"), router("same", tag="B")
    for each, path in ((r, "/a"), (other, "/b")):

        async def handler() -> None:
            """Describe."""

        each.put(path, right=PUBLIC)(handler)
    with pytest.raises(TypeError, match="operation id"):
        Index([*r.routes, *other.routes])


async def test_loops_run_beside_the_server_and_end_with_it(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "SWEEP_EVERY_S", 0.01)
    turns = 0

    async def loop() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.01)

    await tokens_of(db)("old", 1, 0.6, 60.0)
    async with db.system("test", write=True) as tx:
        await tx.run(sa.update(rate_limit).values(tat_s=0.0))
    app = web.create_app(SETTINGS, db, [], authenticate, metrics=Metrics(), loops=[loop])
    async with app.router.lifespan_context(app):
        for _ in range(200):
            async with db.system("test") as tx:
                if not await tx.all(sa.select(rate_limit)):
                    break
            await asyncio.sleep(0.01)
        else:
            pytest.fail("nothing was swept")
    seen = turns
    await asyncio.sleep(0.05)

    assert seen > 0
    assert turns == seen
